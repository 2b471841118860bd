//! One service in one environment, kept at what its journal says: looks at the world, asks `core`, appends, acts.

use crate::{
    clock::now,
    evidence::{Collector, MetricSeen, Seen},
    past::{Past, Service},
    report, routes,
    store::BatchesDigest,
};
use davy_core::{
    Actor, Instance, Mode, ServiceKey, Serving, Timestamp, Window,
    rollout::{
        Batches, Cause, Command, Effect, Event, Input, Look, Outcome, Phase, Refusal, RequestKind, Rollout, Sight,
        State, step,
    },
};
use davy_judge::{Kind, Verdict};
use davy_ports::{
    Batch, Entry, Error, Journal, JournalError, Order, Platform, Reading, Retry, Router, Signals, Streamed, Telemetry,
    Watch,
};
use futures_util::StreamExt;
use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

/// The time between two looks.
const TICK: Duration = Duration::from_millis(200);
/// The longest look at the platform or the router.
const LOOK: Duration = Duration::from_millis(1_500);
/// The longest wait for a router to serve or to revert.
const ROUTE: Duration = Duration::from_secs(3);
/// The longest wait for a platform to take an order.
const ORDER: Duration = Duration::from_secs(20);
/// What a removal may take beyond its grace.
const REMOVE: Duration = Duration::from_secs(10);
/// The longest single attempt at an append or a store.
const APPEND: Duration = Duration::from_secs(5);
/// How long a process may take to end when it is asked.
const GRACE: davy_core::Millis = davy_core::Millis::seconds(10);
/// Batches that could not be stored yet; more are not kept.
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

/// What a reconciler shows of itself.
#[derive(Clone, Debug)]
pub struct Live {
    /// Which service.
    pub key: ServiceKey,
    /// Where it stands.
    pub state: State,
    /// The instances last seen.
    pub instances: Vec<Instance>,
    /// What the router serves, when it could be asked.
    pub serving: Option<Serving>,
    /// Why the router could not be asked.
    pub unseen: Option<String>,
    /// The verdict now, on trial.
    pub verdict: Option<Verdict>,
    /// The canary's observed share in the present epoch, with the requests it rests on.
    pub observed: Option<(davy_core::Weight, u64)>,
    /// What was seen of canary and stable in the rollout, and of the canary aside: matched requests and copies.
    pub seen: (Seen, Seen, Seen),
    /// What was read of the service's own metrics in the rollout.
    pub metrics: Vec<MetricSeen>,
    /// Why nothing can be written, while nothing can.
    pub stuck: Option<String>,
    /// The last record's sequence number.
    pub sequence: u64,
}

/// What is sent to a reconciler.
#[derive(Debug)]
pub(crate) enum Message {
    /// A person asks.
    Command(Command, Actor, oneshot::Sender<Result<(), Refusal>>),
    /// Traffic was put back without asking.
    Reverted(Cause),
    /// An effect that took its time has been answered.
    Answer(Input),
    /// Stop looking after this service.
    Stop,
}

/// Looks after one service.
pub(crate) struct Reconciler {
    pub(crate) key: ServiceKey,
    pub(crate) ports: Ports,
    pub(crate) past: Arc<Mutex<Past>>,
    pub(crate) state: State,
    pub(crate) position: u64,
    pub(crate) sequence: u64,
    pub(crate) mailbox: mpsc::UnboundedReceiver<Message>,
    pub(crate) sender: mpsc::UnboundedSender<Message>,
    pub(crate) live: watch::Sender<Live>,
    pub(crate) written: watch::Sender<u64>,
    /// Set while traffic is being put back past the mailbox: nothing is routed meanwhile.
    pub(crate) reverting: Arc<AtomicBool>,
    pub(crate) collector: Option<Collector>,
    pub(crate) windows: Option<Streamed<'static, Result<Window, Error>>>,
    pub(crate) readings: Option<Streamed<'static, Reading>>,
    pub(crate) listening_since: Timestamp,
    pub(crate) unstored: VecDeque<Batch>,
    /// Why evidence could not be stored, while it cannot.
    pub(crate) unwritten: Option<String>,
    /// Over the stored batches.
    pub(crate) digest: BatchesDigest,
    pub(crate) instances: Sight<Vec<Instance>>,
    pub(crate) router: Sight<Option<Serving>>,
    pub(crate) renewed: Option<tokio::time::Instant>,
    /// When harm was found, if traffic was put back before it could be written.
    pub(crate) decided_at: Option<Timestamp>,
}

impl Reconciler {
    /// Runs until it is told to stop.
    pub(crate) async fn run(mut self) {
        if !self.state.pending.is_empty() {
            self.decide(Input::Restarted, &davy()).await.ok();
        }
        self.listen().await;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                message = self.mailbox.recv() => match message {
                    None | Some(Message::Stop) => return,
                    Some(message) => self.message(message).await,
                },
                window = next(&mut self.windows) => {
                    if self.window(window).await {
                        self.look().await;
                    }
                }
                reading = read(&mut self.readings) => if let Some(collector) = &mut self.collector {
                    collector.read(reading);
                },
                _ = tick.tick() => self.look().await,
            }
        }
    }

    async fn message(&mut self, message: Message) {
        match message {
            Message::Command(command, by, reply) => {
                let answer = self.decide(Input::Command(command), &by).await;
                self.publish(None);
                reply.send(answer).ok();
                self.look().await;
            }
            Message::Reverted(cause) => {
                let by = match &cause {
                    Cause::Person { by } | Cause::Rollback { by } => by.clone(),
                    _ => davy(),
                };
                self.decide(Input::RevertedUnasked { cause }, &by).await.ok();
                self.reverting.store(false, Ordering::SeqCst);
                self.look().await;
            }
            Message::Answer(input) => {
                self.decide(input, &davy()).await.ok();
            }
            Message::Stop => {}
        }
    }

    /// Takes a window; whether there is something new to judge.
    async fn window(&mut self, window: Result<Window, Error>) -> bool {
        let (Some(collector), Ok(window)) = (&mut self.collector, window) else { return false };
        let closed = collector.take(window, now());
        let Some(rollout) = self.state.rollout.as_ref().filter(|rollout| !rollout.promoted) else { return false };
        if closed.is_empty() {
            return false;
        }
        let forward = rollout.is_forward();
        for batch in closed {
            collector.feed(&batch);
            self.unstored.push_back(batch);
        }
        let harmful = forward && collector.verdict().is_some_and(|verdict| verdict.kind == Kind::Harmful);
        if harmful {
            // The one exception: traffic first, the journal after.
            self.decided_at = Some(now());
            tokio::time::timeout(ROUTE, self.ports.router.revert(&self.key)).await.ok();
        }
        self.store().await;
        true
    }

    async fn store(&mut self) {
        while let Some(batch) = self.unstored.front() {
            let why = match tokio::time::timeout(APPEND, self.ports.journal.store(batch)).await {
                Ok(Ok(())) => {
                    self.digest.add(batch);
                    self.unstored.pop_front();
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the journal did not answer in time".to_owned(),
            };
            if self.unwritten.as_ref() != Some(&why) {
                tracing::warn!(service = %self.key, why, "evidence could not be stored; it is kept and nothing advances");
            }
            while self.unstored.len() > BACKLOG {
                self.unstored.pop_front();
            }
            self.unwritten = Some(why);
            return;
        }
        self.unwritten = None;
    }

    /// Looks at everything and decides.
    async fn look(&mut self) {
        if !self.unstored.is_empty() {
            self.store().await;
        }
        self.observe().await;
        if self.reverting.load(Ordering::SeqCst) {
            // Why traffic went back is in the mailbox: what is seen now is its consequence.
            return;
        }
        let listening_since = self.listening_since;
        let verdict = self.collector.as_mut().and_then(|collector| {
            collector.mind_silence(listening_since, now());
            collector.verdict()
        });
        let stored = self.unstored.is_empty();
        let verdict = verdict.filter(|verdict| stored || verdict.kind == Kind::Harmful);
        let traffic = self.collector.as_ref().map(|collector| collector.traffic(self.state.routed)).unwrap_or_default();
        let batches = self.batches(verdict.as_ref());
        let look = Look { instances: self.instances.clone(), router: self.router.clone(), verdict, batches, traffic };
        self.decide(Input::Look(Box::new(look)), &davy()).await.ok();
        self.publish(None);
    }

    /// What a new verdict rests on.
    fn batches(&self, verdict: Option<&Verdict>) -> Option<Batches> {
        let known = self.state.rollout.as_ref()?.verdict.as_ref();
        let verdict = verdict?;
        let told = known.is_some_and(|known| (known.kind, known.weight) == (verdict.kind, verdict.weight));
        if told { None } else { self.digest.batches() }
    }

    async fn observe(&mut self) {
        let (platform, router) = (self.ports.platform.clone(), self.ports.router.clone());
        let (key, generation) = (self.key.clone(), self.state.routed);
        let due = self.renewed.is_none_or(|at| at.elapsed() >= Duration::from_secs(3));
        let renew = self.state.leased() && due;
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
        self.instances = sight(instances);
        self.router = match (renew, serving) {
            // A refused renewal says that the router holds something else: look at what.
            (true, Err(error)) if error.retry == Retry::Never => {
                sight(bounded(LOOK, "look at the router", router.observe(&key)).await)
            }
            (_, serving) => sight(serving),
        };
    }

    /// Decides, appends, acts, and goes on with the answers until nothing is left to do.
    async fn decide(&mut self, input: Input, by: &Actor) -> Result<(), Refusal> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            loop {
                let at = self.decided_at.take().unwrap_or_else(now);
                let events = step(&self.state, at, &input)?;
                if events.is_empty() {
                    break;
                }
                if self.append(at, by, &events).await {
                    for event in &events {
                        self.happened(event).await;
                        if let Some(effect) = Effect::of(event) {
                            inputs.extend(self.act(effect).await);
                        }
                    }
                    break;
                }
                // Somebody else appended: what was decided on is no longer so.
            }
        }
        Ok(())
    }

    /// Appends until it is done; false when the stream stood elsewhere and was read again.
    async fn append(&mut self, at: Timestamp, by: &Actor, events: &[Event]) -> bool {
        let mut rollout = self.state.rollout_id().cloned();
        let entries: Vec<Entry> = events
            .iter()
            .map(|event| {
                if let Event::RolloutRequested { request } = event {
                    rollout = Some(request.rollout.clone());
                }
                let own = match event {
                    Event::RolloutQueued { request } => Some(request.rollout.clone()),
                    Event::RolloutDropped { rollout, .. } => Some(rollout.clone()),
                    _ => rollout.clone(),
                };
                Entry { at, by: by.clone(), rollout: own, event: event.clone() }
            })
            .collect();
        let mut told = None;
        loop {
            let appending = self.ports.journal.append(&self.key, self.position, &entries);
            let why = match tokio::time::timeout(APPEND, appending).await {
                Ok(Ok(records)) => {
                    for record in &records {
                        self.state.apply(record.entry.at, &record.entry.event);
                        self.position = record.position;
                        self.sequence = record.sequence;
                    }
                    if told.is_some() {
                        // Counts that came meanwhile are still to be read: that is no silence of their source.
                        self.listening_since = now();
                    }
                    let last = self.sequence;
                    self.written.send_if_modified(|seen| {
                        let newer = last > *seen;
                        *seen = last.max(*seen);
                        newer
                    });
                    return true;
                }
                Ok(Err(JournalError::Conflict { .. })) => {
                    self.read_again().await;
                    return false;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the journal did not answer in time".to_owned(),
            };
            if told.as_ref() != Some(&why) {
                tracing::error!(service = %self.key, why, "nothing can be written; trying again, nothing advances");
            }
            let router = self.ports.router.clone();
            self.router = sight(bounded(LOOK, "look at the router", router.observe(&self.key)).await);
            self.publish(Some(why.clone()));
            told = Some(why);
            tokio::time::sleep(Duration::from_millis(200)).await;
            // An attempt that timed out may have been written.
            if self.position_moved().await {
                self.read_again().await;
                return false;
            }
        }
    }

    /// The service as it is written; none while the journal cannot be read.
    async fn as_written(&mut self) -> Option<Service> {
        let reading = async {
            let mut past = self.past.lock().await;
            past.read(&*self.ports.journal).await.ok()?;
            Some(past.service(&self.key).cloned().unwrap_or_default())
        };
        tokio::time::timeout(APPEND, reading).await.ok().flatten()
    }

    async fn position_moved(&mut self) -> bool {
        self.as_written().await.is_some_and(|written| written.position != self.position)
    }

    async fn read_again(&mut self) {
        if let Some(Service { state, position, sequence }) = self.as_written().await {
            (self.state, self.position, self.sequence) = (state, position, sequence);
        }
    }

    /// What follows from an event besides its effect.
    async fn happened(&mut self, event: &Event) {
        let rollout = self.state.rollout_id().map_or_else(String::new, ToString::to_string);
        tracing::info!(service = %self.key, rollout, event = name(event), "journal");
        match event {
            Event::RolloutRequested { .. } => self.listen().await,
            Event::Paused { .. } => self.report(self.state.rollout_id().cloned()).await,
            Event::Promoted => {
                self.end_evidence().await;
                self.report(self.state.rollout_id().cloned()).await;
            }
            Event::RolloutFinished { rollout, .. } => {
                self.end_evidence().await;
                self.report(Some(rollout.clone())).await;
                let (platform, key) = (self.ports.platform.clone(), self.key.clone());
                tokio::spawn(async move {
                    if let Err(error) = bounded(ORDER, "forget old artifacts", platform.prune(&key)).await {
                        tracing::warn!(service = %key, %error, "old artifacts are still there");
                    }
                });
                let queued = self.state.rollout.is_some();
                if !queued {
                    self.collector = None;
                    self.windows = None;
                    self.readings = None;
                }
            }
            _ => {}
        }
    }

    /// Stores the rest of the evidence: what comes later is counted and shown, not kept.
    async fn end_evidence(&mut self) {
        if let Some(collector) = &mut self.collector {
            self.unstored.extend(collector.close());
        }
        self.readings = None;
        self.store().await;
    }

    /// Begins to gather counts for the rollout under way, after what is stored of it.
    async fn listen(&mut self) {
        let Some(rollout) = &self.state.rollout else { return };
        let request = &rollout.request;
        let mut collector = Collector::new(rollout);
        self.digest = BatchesDigest::new();
        let reading = self.ports.journal.evidence(&request.rollout);
        if let Ok(Ok(batches)) = tokio::time::timeout(APPEND, reading).await {
            collector.recover(&batches);
            batches.iter().for_each(|batch| self.digest.add(batch));
        }
        self.readings = watch(&self.key, rollout).map(|watch| self.ports.signals.readings(watch));
        if rollout.promoted {
            collector.close();
            self.readings = None;
        }
        self.unstored.clear();
        self.windows = Some(self.ports.telemetry.windows(&self.key, collector.cursor()));
        self.collector = Some(collector);
        self.listening_since = now();
    }

    async fn act(&mut self, effect: Effect) -> Option<Input> {
        let generation = effect.generation();
        match effect {
            Effect::Run { release, count, spare, .. } => {
                let release = self.state.release(&release)?.clone();
                let order = Order { key: self.key.clone(), release, count, spare, generation };
                let (platform, sender) = (self.ports.platform.clone(), self.sender.clone());
                tokio::spawn(async move {
                    let answer = bounded(ORDER, "order instances", platform.ensure(&order)).await;
                    sender.send(Message::Answer(answered(generation, answer))).ok();
                });
                None
            }
            Effect::Route { split, .. } => {
                if self.reverting.load(Ordering::SeqCst) {
                    let why = "traffic is being put back".to_owned();
                    return Some(Input::Refused { generation, why });
                }
                let instances = self.instances.seen().cloned().unwrap_or_default();
                let served = self.router.seen().and_then(Option::as_ref).map(|serving| &serving.snapshot);
                let snapshot = match routes::snapshot(&self.key, &self.state, generation, &split, &instances, served) {
                    Ok(snapshot) => snapshot,
                    Err(why) => return Some(Input::Refused { generation, why }),
                };
                let router = self.ports.router.clone();
                let answer = bounded(ROUTE, "serve the new weights", router.serve(&snapshot)).await;
                self.renewed = Some(tokio::time::Instant::now());
                Some(answered(generation, answer))
            }
            Effect::Revert { .. } => {
                let router = self.ports.router.clone();
                let answer = bounded(ROUTE, "put traffic back", router.revert(&self.key)).await;
                Some(match answer {
                    Ok(serving) if matches!(serving.mode, Mode::Fallback { .. }) => Input::Done { generation },
                    Ok(_) => Input::Lost { generation, why: "the router did not fall back".to_owned() },
                    Err(error) => Input::Lost { generation, why: error.to_string() },
                })
            }
            Effect::Remove { release, .. } => {
                let (platform, sender, key) = (self.ports.platform.clone(), self.sender.clone(), self.key.clone());
                tokio::spawn(async move {
                    let limit = GRACE.duration() + REMOVE;
                    let removing = platform.remove(&key, &release, generation, GRACE);
                    let answer = bounded(limit, "remove instances", removing).await;
                    sender.send(Message::Answer(answered(generation, answer))).ok();
                });
                None
            }
        }
    }

    async fn report(&mut self, rollout: Option<davy_core::RolloutId>) {
        let Some(rollout) = rollout else { return };
        match write_report(&self.ports, &self.past, &rollout).await {
            Ok(path) => tracing::info!(%rollout, path = %path.display(), "report written"),
            Err(why) => tracing::warn!(%rollout, why, "the report could not be written"),
        }
    }

    fn publish(&self, stuck: Option<String>) {
        let traffic = self.collector.as_ref().map(|collector| collector.traffic(self.state.routed));
        let routed = traffic.map(|traffic| (traffic.canary, traffic.canary + traffic.stable));
        let on_trial = self.state.rollout.as_ref().is_some_and(|rollout| {
            matches!(rollout.phase, Phase::Holding { .. } | Phase::Shifting { .. } | Phase::Baking { .. })
        });
        self.live.send_replace(Live {
            key: self.key.clone(),
            state: self.state.clone(),
            instances: self.instances.seen().cloned().unwrap_or_default(),
            serving: self.router.seen().cloned().flatten(),
            unseen: match &self.router {
                Sight::Unseen { why } => Some(why.clone()),
                Sight::Seen(_) => None,
            },
            verdict: self.collector.as_ref().and_then(Collector::verdict),
            observed: routed
                .filter(|(_, all)| on_trial && *all > 0)
                .map(|(canary, all)| (davy_core::Weight::share(canary, all), all)),
            seen: self.collector.as_ref().map(Collector::seen).unwrap_or_default(),
            metrics: self.collector.as_ref().map(Collector::metrics).unwrap_or_default(),
            stuck: stuck.or_else(|| self.unwritten.clone()),
            sequence: self.sequence,
        });
    }
}

/// Writes `deployment_report.md` of a rollout and says where.
///
/// # Errors
/// In words, when the journal cannot be read or the file cannot be written.
pub(crate) async fn write_report(
    ports: &Ports,
    past: &Mutex<Past>,
    rollout: &davy_core::RolloutId,
) -> Result<PathBuf, String> {
    let records = ports.journal.rollout(rollout).await.map_err(|error| error.to_string())?;
    let batches = ports.journal.evidence(rollout).await.map_err(|error| error.to_string())?;
    let text = {
        let mut past = past.lock().await;
        past.read(&*ports.journal).await.map_err(|error| error.to_string())?;
        report::report(&past, &records, rollout, &batches).ok_or("the journal does not know it")?
    };
    let folder = ports.reports.join(rollout.as_str());
    let path = folder.join("deployment_report.md");
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|error| format!("write {}: {error}", path.display()))?;
    Ok(path)
}

/// Davy itself, as an actor.
pub(crate) fn davy() -> Actor {
    Actor::new("davy")
}

/// The word of an outcome that a rollout has reached for those who wait for it: promotion ends the wait, not the bake.
#[must_use]
pub fn reached(state: &State) -> Option<Outcome> {
    state.rollout.as_ref().filter(|rollout| rollout.promoted).map(|_| Outcome::Promoted)
}

async fn next(windows: &mut Option<Streamed<'static, Result<Window, Error>>>) -> Result<Window, Error> {
    match windows {
        Some(stream) => match stream.next().await {
            Some(window) => window,
            None => {
                *windows = None;
                Err(Error::later("read counts", "the source ended"))
            }
        },
        None => std::future::pending().await,
    }
}

async fn read(readings: &mut Option<Streamed<'static, Reading>>) -> Reading {
    if let Some(stream) = readings
        && let Some(reading) = stream.next().await
    {
        return reading;
    }
    std::future::pending().await
}

/// The counters to read during a rollout; none where there is nothing to compare.
fn watch(key: &ServiceKey, rollout: &Rollout) -> Option<Watch> {
    let (analysis, stable) = (&rollout.request.policy.analysis, rollout.from.as_ref()?);
    let source = analysis.source.clone().filter(|_| rollout.request.kind == RequestKind::Deploy)?;
    let (canary, stable, metrics) = (rollout.request.release.id.clone(), stable.id.clone(), analysis.metrics.clone());
    (!metrics.is_empty()).then(|| Watch { key: key.clone(), canary, stable, source, metrics })
}

async fn bounded<T>(limit: Duration, tried: &str, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::later(tried, format!("no answer within {limit:?}"))),
    }
}

fn answered<T>(generation: davy_core::Generation, answer: Result<T, Error>) -> Input {
    match answer {
        Ok(_) => Input::Done { generation },
        Err(error) => {
            let why = match error.hint.is_empty() {
                true => error.to_string(),
                false => format!("{error}; {}", error.hint),
            };
            match error.retry {
                Retry::Never => Input::Refused { generation, why },
                Retry::Later => Input::Lost { generation, why },
            }
        }
    }
}

fn sight<T>(seen: Result<T, Error>) -> Sight<T> {
    match seen {
        Ok(value) => Sight::Seen(value),
        Err(error) => Sight::Unseen { why: error.to_string() },
    }
}

/// The event's name, as in the journal.
fn name(event: &Event) -> String {
    serde_json::to_value(event)
        .ok()
        .and_then(|value| value.get("type").and_then(|name| name.as_str().map(str::to_owned)))
        .unwrap_or_default()
}
