//! One service in one environment, kept at what its journal says: looks at the world, asks `core`, appends, acts.
//!
//! Nothing here waits for the journal: what is written is carried to its end beside (`write`), one append at a time, and
//! meanwhile counts are judged, the lease is renewed and traffic is put back if it must be. Whatever is to be decided waits
//! its turn (`turns`).

mod beside;
mod listen;
mod reports;
mod show;
mod turns;
mod write;

pub(crate) use reports::{AT_ONCE as REPORTS_AT_ONCE, text as report_text, write as write_report};
pub use show::{Live, reached};

use crate::{
    busy::Busy,
    clock::now,
    evidence::Collector,
    past::{Known, Service},
    store::BatchesDigest,
};
use beside::Beside;
use davy_core::{
    Actor, Instance, RolloutId, ServiceKey, Serving, Timestamp, Window,
    rollout::{Batches, Cause, Command, Input, Look, Refusal, Sight, State},
};
use davy_judge::{Kind, Verdict};
use davy_ports::{Batch, Error, Journal, Platform, Reading, Retry, Router, Signals, Streamed, Telemetry};
use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use turns::{Then, Turn, Writing};
use write::Trouble;

/// The time between two looks.
const TICK: Duration = Duration::from_millis(200);
/// The longest look at the platform or the router.
const LOOK: Duration = Duration::from_millis(1_500);
/// The time between two renewals of a lease.
const RENEW: Duration = Duration::from_secs(3);
/// Batches that could not be stored yet. Beyond it nothing is judged, and no lease is renewed: the router puts traffic back.
const BACKLOG: usize = 600;

/// The world as the engine reaches it.
#[derive(Clone)]
pub struct Ports {
    /// The record of everything.
    pub journal: Arc<dyn Journal>,
    /// Where instances run.
    pub platform: Arc<dyn Platform>,
    /// What splits traffic.
    pub router: Arc<dyn Router>,
    /// Where counts come from.
    pub telemetry: Arc<dyn Telemetry>,
    /// Where the service's own counters are read.
    pub signals: Arc<dyn Signals>,
    /// Where reports are written.
    pub reports: PathBuf,
}

/// Whether things stand as they did when somebody decided.
pub type Still = Arc<dyn Fn(&Live) -> bool + Send + Sync>;

/// What a person asks for.
pub(crate) struct Asked {
    pub(crate) command: Command,
    pub(crate) by: Actor,
    /// What has to hold when its turn comes.
    pub(crate) still: Option<Still>,
    pub(crate) reply: oneshot::Sender<Result<(), Declined>>,
}

/// Why nothing was done.
#[derive(Debug)]
pub(crate) enum Declined {
    /// It does not fit.
    Refused(Refusal),
    /// Things do not stand as they did when it was decided on.
    Changed,
}

/// What is sent to a reconciler.
pub(crate) enum Message {
    /// A person asks.
    Command(Asked),
    /// Traffic was put back without asking.
    Reverted(Cause),
    /// An effect that took its time has been answered.
    Answer(Input),
    /// Stop looking after this service.
    Stop,
}

/// What a reconciler shares with the engine.
pub(crate) struct Shared {
    pub(crate) ports: Ports,
    pub(crate) past: Arc<Known>,
    pub(crate) sender: mpsc::UnboundedSender<Message>,
    pub(crate) live: watch::Sender<Live>,
    /// The last sequence number that was written, of all services.
    pub(crate) written: watch::Sender<u64>,
    /// Set while traffic is being put back past the mailbox: nothing is routed meanwhile.
    pub(crate) reverting: Arc<AtomicBool>,
    /// Whose turn it is to write a report.
    pub(crate) reports: Arc<Semaphore>,
}

/// Looks after one service.
pub(crate) struct Reconciler {
    key: ServiceKey,
    ports: Ports,
    past: Arc<Known>,
    /// Shared with whoever looks: most looks change nothing.
    state: Arc<State>,
    position: u64,
    sequence: u64,
    /// Of the last decision: none is dated before it.
    decided: Timestamp,
    mailbox: mpsc::UnboundedReceiver<Message>,
    sender: mpsc::UnboundedSender<Message>,
    live: watch::Sender<Live>,
    written: watch::Sender<u64>,
    reverting: Arc<AtomicBool>,
    /// What is to be decided, in order.
    turns: VecDeque<Turn>,
    writing: Option<Writing>,
    /// Why nothing can be appended, while nothing can.
    unwritten: Trouble,
    /// While nothing is under way there is none, and it is large.
    collector: Option<Box<Collector>>,
    windows: Option<Streamed<'static, Result<Window, Error>>>,
    readings: Option<Streamed<'static, Reading>>,
    listening_since: Timestamp,
    /// What is stored of a rollout, being read.
    recalling: Option<(RolloutId, Beside<Vec<Batch>>)>,
    /// In the order of their numbers; the first one is being stored.
    unstored: VecDeque<Batch>,
    storing: Option<Beside<bool>>,
    /// Why evidence cannot be stored or read, while it cannot.
    unkept: Trouble,
    /// Over the stored batches of the rollout under way.
    digest: BatchesDigest,
    /// Reports to write once what they tell of is stored.
    unreported: VecDeque<RolloutId>,
    reporting: Option<Beside<()>>,
    /// Whose turn it is, of all services.
    reports: Arc<Semaphore>,
    instances: Sight<Arc<Vec<Instance>>>,
    router: Sight<Option<Arc<Serving>>>,
    renewed: Option<tokio::time::Instant>,
    /// The next look, if nothing gives cause for an earlier one.
    tick: tokio::time::Interval,
    busy: Busy,
    /// When harm was found, until it is written.
    harmed: Option<Timestamp>,
}

/// What happened.
enum Woken {
    Message(Option<Box<Message>>),
    Window(Result<Window, Error>),
    Reading(Reading),
    /// How it ended, if it was not broken off.
    Written(Option<write::Written>),
    /// Whether it is, if that was not broken off.
    Stored(Option<bool>),
    Recalled(Vec<Batch>),
    Reported,
    Tick,
}

impl Reconciler {
    pub(crate) fn new(
        key: ServiceKey,
        known: Service,
        mailbox: mpsc::UnboundedReceiver<Message>,
        shared: Shared,
    ) -> Self {
        let Service { state, position, sequence } = known;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let Shared { ports, past, sender, live, written, reverting, reports } = shared;
        Self {
            key,
            ports,
            past,
            state: Arc::new(state),
            position,
            sequence,
            decided: Timestamp(0),
            mailbox,
            sender,
            live,
            written,
            reverting,
            turns: VecDeque::new(),
            writing: None,
            unwritten: Trouble::default(),
            collector: None,
            windows: None,
            readings: None,
            listening_since: now(),
            recalling: None,
            unstored: VecDeque::new(),
            storing: None,
            unkept: Trouble::default(),
            digest: BatchesDigest::new(),
            unreported: VecDeque::new(),
            reporting: None,
            reports,
            instances: unseen_yet(),
            router: unseen_yet(),
            renewed: None,
            tick,
            busy: Busy::default(),
            harmed: None,
        }
    }

    /// Runs until it is told to stop, or another server has taken over.
    pub(crate) async fn run(mut self) {
        self.work().await;
        // What could not be written is not tried for ever.
        if let Some(writing) = &self.writing {
            writing.task.abort();
        }
        if let Some(storing) = &self.storing {
            storing.abort();
        }
    }

    async fn work(&mut self) {
        self.take_up();
        loop {
            self.take_turns().await;
            self.write_report();
            let woken = tokio::select! {
                biased;
                written = ended(self.writing.as_mut().map(|writing| &mut writing.task)) => Woken::Written(written),
                message = self.mailbox.recv() => Woken::Message(message.map(Box::new)),
                stored = ended(self.storing.as_mut()) => Woken::Stored(stored),
                batches = ended(self.recalling.as_mut().map(|(_, task)| task)) => Woken::Recalled(batches.unwrap_or_default()),
                _ = ended(self.reporting.as_mut()) => Woken::Reported,
                window = listen::next(&mut self.windows) => Woken::Window(window),
                reading = listen::read(&mut self.readings) => Woken::Reading(reading),
                _ = self.tick.tick() => Woken::Tick,
            };
            match woken {
                Woken::Message(message) => match message.map(|message| *message) {
                    None | Some(Message::Stop) => return,
                    Some(message) => self.message(message),
                },
                Woken::Written(Some(write::Written::Fenced)) | Woken::Stored(Some(false)) => {
                    tracing::warn!(service = %self.key, "another server looks after it now");
                    return;
                }
                Woken::Written(written) => self.written(written).await,
                Woken::Window(window) => self.window(window).await,
                Woken::Stored(Some(true)) => self.stored().await,
                Woken::Stored(None) => {
                    self.storing = None;
                    self.store();
                }
                Woken::Recalled(batches) => self.recalled(&batches),
                Woken::Reported => self.reporting = None,
                Woken::Reading(reading) => {
                    if let Some(collector) = &mut self.collector {
                        collector.read(reading);
                    }
                }
                Woken::Tick => self.look().await,
            }
        }
    }

    /// Begins from what is written: whatever was asked for and not answered is lost, and counts are gathered on.
    fn take_up(&mut self) {
        self.restart();
        self.recall();
    }

    /// Somebody else was here before: what is asked for, and not answered to us, is lost.
    fn restart(&mut self) {
        if !self.state.pending.is_empty() {
            self.turns.push_front(Turn::new(Input::Restarted, davy(), Then::Nothing));
        }
    }

    fn message(&mut self, message: Message) {
        let turn = match message {
            Message::Command(Asked { command, by, still, reply }) => {
                Turn::new(Input::Command(command), by, Then::Answer(reply)).if_still(still)
            }
            Message::Reverted(cause) => {
                let by = match &cause {
                    Cause::Person { by } | Cause::Rollback { by } => by.clone(),
                    _ => davy(),
                };
                Turn::new(Input::RevertedUnasked { cause }, by, Then::RouteAgain)
            }
            Message::Answer(input) => Turn::new(input, davy(), Then::Nothing),
            Message::Stop => return,
        };
        self.turns.push_back(turn);
    }

    /// Looks at everything, and decides on it if nothing else is being decided.
    async fn look(&mut self) {
        self.tick.reset();
        self.observe().await;
        let listening_since = self.listening_since;
        if let Some(collector) = &mut self.collector {
            collector.mind_silence(listening_since, now());
        }
        // While traffic is being put back, why is in the mailbox: what is seen now is its consequence.
        let reverting = self.reverting.load(Ordering::SeqCst);
        if reverting || self.writing.is_some() || !self.turns.is_empty() {
            return self.publish();
        }
        let verdict = self.collector.as_deref().and_then(Collector::verdict);
        let stored = self.unstored.is_empty();
        let verdict = verdict.filter(|verdict| stored || verdict.kind == Kind::Harmful);
        let traffic =
            self.collector.as_ref().map(|collector| collector.traffic(self.state.routed, now())).unwrap_or_default();
        let batches = self.batches(verdict.as_deref());
        let look = Look { instances: self.instances.clone(), router: self.router.clone(), verdict, batches, traffic };
        self.turns.push_back(Turn::new(Input::Look(Box::new(look)), davy(), Then::Nothing));
    }

    /// What a new verdict rests on.
    fn batches(&self, verdict: Option<&Verdict>) -> Option<Batches> {
        let (known, verdict) = (self.state.rollout.as_ref()?.verdict, verdict?);
        if known == Some((verdict.kind, verdict.weight)) { None } else { self.digest.batches() }
    }

    async fn observe(&mut self) {
        let (platform, router) = (self.ports.platform.clone(), self.ports.router.clone());
        let (key, generation) = (self.key.clone(), self.state.routed);
        let due = self.renewed.is_none_or(|at| at.elapsed() >= RENEW);
        let renew = self.state.leased() && due && self.unstored.len() < BACKLOG;
        let instances = bounded(LOOK, "look at the instances", platform.observe(&key));
        let serving = async {
            match renew {
                true => bounded(LOOK, "renew the router's lease", router.renew(&key, generation)).await.map(Some),
                false => bounded(LOOK, "look at the router", router.observe(&key)).await,
            }
        };
        let (instances, serving) = futures_util::future::join(instances, serving).await;
        if renew {
            self.renewed = serving.is_ok().then(tokio::time::Instant::now);
        }
        let mut serving = match serving {
            // A refused renewal says that the router holds something else: look at what.
            Err(error) if renew && error.retry == Retry::Never => {
                bounded(LOOK, "look at the router", router.observe(&key)).await
            }
            serving => serving,
        };
        // What it counts goes into the rate: alone it is no change.
        let counted = serving.as_mut().ok().and_then(|serving| serving.as_mut()?.counted.take());
        counted.into_iter().for_each(|counted| self.busy.count(now(), counted));
        see(&mut self.instances, instances.map(Arc::new));
        see(&mut self.router, serving.map(|serving| serving.map(Arc::new)));
    }
}

/// Davy itself, as an actor.
pub(crate) fn davy() -> Actor {
    Actor::new("davy")
}

/// The end of some work, if there is any.
async fn ended<T: Send + 'static>(work: Option<&mut Beside<T>>) -> Option<T> {
    match work {
        Some(work) => work.end().await,
        None => std::future::pending().await,
    }
}

async fn bounded<T>(limit: Duration, tried: &str, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::later(tried, format!("no answer within {limit:?}"))),
    }
}

fn unseen_yet<T>() -> Sight<T> {
    Sight::Unseen { why: "not looked at yet".to_owned() }
}

/// Takes what is seen now; what is as it was stays the same, so that nobody has to compare it again.
fn see<T: PartialEq>(known: &mut Sight<T>, seen: Result<T, Error>) {
    let seen = match seen {
        Ok(value) => Sight::Seen(value),
        Err(error) => Sight::Unseen { why: error.to_string() },
    };
    if *known != seen {
        *known = seen;
    }
}
