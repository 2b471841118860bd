//! The engine: every service's reconciler, and what people and pages may ask of them.

mod looks;

use crate::{
    clock::{not_before, now},
    past::{Known, Service, Summary},
    rate::{self, Rate},
    reconciler::{
        Asked, Declined, Live, Message, Ports, REPORTS_AT_ONCE, Reconciler, Shared, Still, davy, write_report,
    },
};
use davy_core::{
    Actor, Finding, Mode, Pin, Policy, Release, ReleaseId, RolloutId, SecretName, ServiceKey, Site, Source, Timestamp,
    Workload,
    rollout::{Cause, Command, Outcome, Phase, Refusal, Request, RequestKind},
};
use davy_ports::{JournalError, LogLine, LogQuery, Record, Streamed};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use looks::Watched;

/// The longest wait for a reconciler to take a command.
const COMMAND: Duration = Duration::from_secs(20);
/// The longest wait for the router when traffic is put back past the mailbox.
const REVERT: Duration = Duration::from_secs(2);

/// Everything under way.
pub struct Engine {
    ports: Ports,
    services: Mutex<BTreeMap<ServiceKey, Handle>>,
    past: Arc<Known>,
    written: watch::Sender<u64>,
    reports: Arc<Semaphore>,
}

#[derive(Clone)]
struct Handle {
    sender: mpsc::UnboundedSender<Message>,
    live: watch::Receiver<Live>,
    reverting: Arc<AtomicBool>,
}

/// What to deploy.
#[derive(Clone, Debug, PartialEq)]
pub struct Deploy {
    /// Which service, where.
    pub key: ServiceKey,
    /// Where its files are.
    pub source: Source,
    /// How it runs.
    pub workload: Workload,
    /// How it gets there.
    pub policy: Policy,
    /// Who asks.
    pub by: Actor,
}

/// A deployment that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The rollout that does it.
    pub rollout: RolloutId,
    /// What the person should know about what it brings.
    pub notices: Vec<String>,
}

/// What a person may do to a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// To the last step, unproven.
    Promote,
    /// Stay.
    Pause,
    /// Go on.
    Resume,
    /// Put traffic back.
    Abort,
}

/// Why the engine did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The command does not fit.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Things do not stand as they did when it was decided on.
    #[error("it has changed since it was looked at, and nothing was done")]
    Changed,
    /// A place could not do it.
    #[error("{0}")]
    Place(davy_ports::Error),
    /// The journal could not be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// No such rollout.
    #[error("there is no rollout {0}")]
    NoRollout(RolloutId),
    /// It has ended: nothing can be asked of it.
    #[error("rollout {0} is over")]
    Over(RolloutId),
    /// It waits for another one to be cleared away.
    #[error("rollout {0} has not begun: it waits until the one before it is cleared away")]
    Waiting(RolloutId),
    /// No such service.
    #[error("there is no service {0}")]
    NoService(ServiceKey),
    /// Its journal cannot be read: nothing is decided about it, and its traffic is left as it is.
    #[error("{key} is set aside, its traffic is left as it is: {why}")]
    SetAside {
        /// Which service.
        key: ServiceKey,
        /// What was found.
        why: String,
    },
    /// There is nothing to go back to.
    #[error("{key} has no earlier release that served{}", .to.as_ref().map(|to| format!(" called {to}")).unwrap_or_default())]
    NoRelease {
        /// Which service.
        key: ServiceKey,
        /// The release that was named.
        to: Option<ReleaseId>,
    },
    /// The reconciler did not answer.
    #[error(
        "the command was taken, but its answer did not come in time: the journal may be busy; look at `davy rollout status`"
    )]
    Slow,
}

impl Engine {
    /// Takes up everything that the journal says is under way.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn start(ports: Ports) -> Result<Self, EngineError> {
        let (services, past) = Default::default();
        let reports = Arc::new(Semaphore::new(REPORTS_AT_ONCE));
        let engine = Self { ports, services, past, written: watch::Sender::new(0), reports };
        engine.past.read(&*engine.ports.journal).await?;
        not_before(engine.past.now().latest());
        let services: Vec<_> =
            engine.past.now().services().map(|(key, service)| (key.clone(), service.clone())).collect();
        for (key, service) in services {
            engine.adopt(&key, service);
        }
        Ok(engine)
    }

    fn services(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServiceKey, Handle>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn adopt(&self, key: &ServiceKey, known: Service) -> Handle {
        let mut services = self.services();
        if let Some(handle) = services.get(key) {
            return handle.clone();
        }
        let sequence = known.sequence;
        self.written.send_if_modified(|seen| {
            *seen = sequence.max(*seen);
            true
        });
        let (sender, mailbox) = mpsc::unbounded_channel();
        let live = watch::Sender::new(Live::unseen(key.clone(), known.state.clone(), sequence));
        let reverting = Arc::new(AtomicBool::new(false));
        let handle = Handle { sender: sender.clone(), live: live.subscribe(), reverting: reverting.clone() };
        let shared = Shared {
            ports: self.ports.clone(),
            past: self.past.clone(),
            sender,
            live,
            written: self.written.clone(),
            reverting,
            reports: self.reports.clone(),
        };
        let reconciler = Reconciler::new(key.clone(), known, mailbox, shared);
        tokio::spawn(reconciler.run());
        services.insert(key.clone(), handle.clone());
        handle
    }

    fn handle(&self, key: &ServiceKey) -> Option<Handle> {
        self.services().get(key).cloned()
    }

    /// The services whose journals cannot be read, and why.
    #[must_use]
    pub fn set_aside(&self) -> BTreeMap<ServiceKey, String> {
        let running = self.services();
        let damaged = self.past.now().damaged().clone();
        // One that was read before it was damaged goes on from what is known.
        damaged.into_iter().filter(|(key, _)| !running.contains_key(key)).collect()
    }

    fn known(&self, key: &ServiceKey) -> Result<Handle, EngineError> {
        match (self.handle(key), self.past.now().damage(key)) {
            (Some(handle), _) => Ok(handle),
            (None, Some(why)) => Err(EngineError::SetAside { key: key.clone(), why: why.to_owned() }),
            (None, None) => Err(EngineError::NoService(key.clone())),
        }
    }

    /// Asks for a rollout of a new release.
    ///
    /// # Errors
    /// When the artifact cannot be prepared, or the command does not fit.
    pub async fn deploy(&self, deploy: Deploy) -> Result<Taken, EngineError> {
        let Deploy { key, source, workload, policy, by } = deploy;
        if let Err(aside @ EngineError::SetAside { .. }) = self.known(&key) {
            return Err(aside);
        }
        let prepared = self.ports.platform.prepare(&key, &source, &workload).await.map_err(EngineError::Place)?;
        let release = Release::new(&key, prepared.digest, workload);
        let rollout = self.request(&key, release, policy, by, RequestKind::Deploy, None).await?;
        Ok(Taken { rollout, notices: prepared.notices })
    }

    /// What is being fetched for a service now, in words.
    #[must_use]
    pub fn fetching(&self, key: &ServiceKey) -> Option<String> {
        self.ports.platform.fetching(key)
    }

    /// What runs at the places and is not Davy's.
    pub async fn found(&self) -> Vec<Site> {
        self.ports.platform.found().await
    }

    /// What its place says of a workload before it is deployed; nothing is changed.
    pub async fn examine(&self, source: &Source, workload: &Workload) -> Vec<Finding> {
        self.ports.platform.examine(source, workload).await
    }

    async fn request(
        &self,
        key: &ServiceKey,
        release: Release,
        policy: Policy,
        by: Actor,
        kind: RequestKind,
        still: Option<Still>,
    ) -> Result<RolloutId, EngineError> {
        let rollout = RolloutId::new(uuid::Uuid::now_v7().simple().to_string());
        let handle = match self.known(key) {
            Err(EngineError::NoService(_)) => self.adopt(key, Service::default()),
            known => known?,
        };
        let request = Request { rollout: rollout.clone(), release, policy, by: by.clone(), kind };
        self.command(&handle, Command::Request(request), by, still).await?;
        Ok(rollout)
    }

    async fn command(
        &self,
        handle: &Handle,
        command: Command,
        by: Actor,
        still: Option<Still>,
    ) -> Result<(), EngineError> {
        let (reply, answer) = oneshot::channel();
        let asked = Asked { command, by, still, reply };
        handle.sender.send(Message::Command(asked)).map_err(|_| EngineError::Slow)?;
        match tokio::time::timeout(COMMAND, answer).await {
            Ok(Ok(answer)) => answer.map_err(|declined| match declined {
                Declined::Refused(refusal) => EngineError::Refused(refusal),
                Declined::Changed => EngineError::Changed,
            }),
            Ok(Err(_)) | Err(_) => Err(EngineError::Slow),
        }
    }

    /// Acts on the rollout under way, if it stands as `still` says where that is given. An abort without it puts traffic back
    /// before anything else, whether or not the journal can be written.
    ///
    /// # Errors
    /// When it is unknown, over, the command does not fit, or things have changed.
    pub async fn act(
        &self,
        rollout: &RolloutId,
        action: Action,
        by: Actor,
        still: Option<Still>,
    ) -> Result<(), EngineError> {
        let handle = match self.handle_of(rollout) {
            Some(handle) => handle,
            None => self.coming(rollout).ok_or_else(|| self.not_under_way(rollout))?,
        };
        let command = match action {
            Action::Promote => Command::Promote { by: by.clone() },
            Action::Pause => Command::Pause { by: by.clone() },
            Action::Resume => Command::Resume { by: by.clone() },
            Action::Abort => {
                let cause = Cause::Person { by: by.clone() };
                if passes(&handle, still.as_ref()) && self.revert_now(&handle, rollout, cause).await {
                    return Ok(());
                }
                Command::Abort { by: by.clone() }
            }
        };
        // Another rollout may be under way when its turn comes: that is none of what was asked.
        let (own, given) = (rollout.clone(), still.clone());
        let own: Still = Arc::new(move |live| {
            live.state.rollout_id() == Some(&own) && still.as_ref().is_none_or(|still| still(live))
        });
        match self.command(&handle, command, by, Some(own)).await {
            Err(EngineError::Changed) if given.is_none() => Err(self.not_under_way(rollout)),
            answer => answer,
        }
    }

    /// The service of a rollout that is not over: that it is not shown as the one under way may be of a moment ago.
    fn coming(&self, rollout: &RolloutId) -> Option<Handle> {
        let summary = self.rollout(rollout).ok().filter(|summary| summary.ended.is_none())?;
        self.handle(&summary.key)
    }

    /// Why nothing can be asked of a rollout that is not under way.
    fn not_under_way(&self, rollout: &RolloutId) -> EngineError {
        match self.rollout(rollout) {
            Ok(Summary { ended: Some(_), .. }) => EngineError::Over(rollout.clone()),
            Ok(_) => EngineError::Waiting(rollout.clone()),
            Err(unknown) => unknown,
        }
    }

    /// Puts a rollout's traffic back without asking anybody, during a trial or a bake; whether it did.
    async fn revert_now(&self, handle: &Handle, rollout: &RolloutId, cause: Cause) -> bool {
        let (key, back) = {
            let live = handle.live.borrow();
            let own = live.state.rollout.as_ref().filter(|own| own.request.rollout == *rollout);
            let back = own.is_some_and(|rollout| match rollout.is_forward() {
                true => live.state.leased(),
                false => rollout.ending.is_none() && matches!(rollout.phase, Phase::Baking { .. }),
            });
            (live.key.clone(), back)
        };
        if !back {
            return false;
        }
        handle.reverting.store(true, Ordering::SeqCst);
        let reverted = tokio::time::timeout(REVERT, self.ports.router.revert(&key)).await;
        let back = matches!(reverted, Ok(Ok(serving)) if matches!(serving.mode, Mode::Fallback { .. }));
        match back {
            true => {
                handle.sender.send(Message::Reverted(cause)).ok();
            }
            false => handle.reverting.store(false, Ordering::SeqCst),
        }
        back
    }

    fn handle_of(&self, rollout: &RolloutId) -> Option<Handle> {
        // What is shown as under way was known before.
        let key = self.past.now().rollout(rollout)?.key.clone();
        let services = self.services();
        let current = |handle: &&Handle| handle.live.borrow().state.rollout_id() == Some(rollout);
        services.get(&key).filter(current).cloned()
    }

    /// Goes back: during a trial or a bake at once to the release that served before, else by a rollout of an
    /// earlier release. Gives the rollout that does it.
    ///
    /// # Errors
    /// When there is nothing to go back to, the command does not fit, or things do not stand as `still` says.
    pub async fn rollback(
        &self,
        key: &ServiceKey,
        to: Option<ReleaseId>,
        by: Actor,
        still: Option<Still>,
    ) -> Result<RolloutId, EngineError> {
        let handle = self.known(key)?;
        let (current, stable, from) = {
            let live = handle.live.borrow();
            let rollout = live.state.rollout.as_ref().filter(|rollout| rollout.ending.is_none());
            let from = rollout.and_then(|rollout| rollout.from.clone());
            let stable = live.state.stable.as_ref().map(|release| release.id.clone());
            (rollout.map(|rollout| rollout.request.rollout.clone()), stable, from)
        };
        let named = |release: &Release| to.as_ref().is_none_or(|to| release.id == *to);
        let serving = |release: &Release| Some(&release.id) == stable.as_ref();
        let under_way = current.is_some() && from.as_ref().is_some_and(named);
        if let Some(current) = current.as_ref().filter(|_| under_way)
            && passes(&handle, still.as_ref())
            && self.revert_now(&handle, current, Cause::Rollback { by: by.clone() }).await
        {
            return Ok(current.clone());
        }
        let summaries = self.history(Some(key));
        let release = match (&from, under_way) {
            (Some(release), true) => release.clone(),
            _ => summaries
                .iter()
                .filter(|summary| {
                    let bad = summary.ended.as_ref().is_some_and(|ended| ended.outcome != Outcome::Promoted);
                    summary.promoted.is_some() && (!bad || to.is_some())
                })
                .map(|summary| summary.release.clone())
                .find(|release| named(release) && !serving(release))
                .ok_or_else(|| EngineError::NoRelease { key: key.clone(), to: to.clone() })?,
        };
        let last = summaries.iter().find(|summary| summary.release.id == release.id);
        let last = last.ok_or_else(|| EngineError::NoRelease { key: key.clone(), to })?;
        let policy = self.policy_of(&last.rollout).await?;
        let rollout = self.request(key, release, policy, by, RequestKind::Rollback, still).await?;
        Ok(if under_way { current.unwrap_or(rollout) } else { rollout })
    }

    /// The values of secrets that a release has which runs, or which a rollback may bring back; and those with which metrics are read.
    ///
    /// # Errors
    /// When the journal, or one service's part of it, cannot be read: then nobody knows what is needed.
    pub async fn pins(&self) -> Result<BTreeSet<(SecretName, Pin)>, EngineError> {
        let mut releases: Vec<Release> = Vec::new();
        let mut tokens: Vec<davy_core::Secret> = Vec::new();
        // A value goes only if it is certain that nobody needs it.
        self.past.read(&*self.ports.journal).await?;
        if let Some((key, why)) = self.set_aside().into_iter().next() {
            return Err(EngineError::SetAside { key, why });
        }
        for live in self.live() {
            let requests = live.state.rollout.iter().map(|rollout| &rollout.request).chain(&live.state.queued);
            let sources = requests.filter_map(|request| request.policy.analysis.source.as_ref());
            tokens.extend(sources.filter_map(|source| source.token.clone()));
            releases.extend(self.past.now().needed(&live.key));
        }
        let secrets = releases.into_iter().flat_map(|release| release.workload.secrets.clone()).chain(tokens);
        Ok(secrets.filter_map(|secret| Some((secret.name, secret.pin?))).collect())
    }

    /// Takes all traffic from a service, then its instances. Its history stays. Gives the rollout that does it.
    ///
    /// # Errors
    /// When it is unknown or nothing of it serves, while a rollout is on its way, or when things do not stand as `still` says.
    pub async fn remove(&self, key: &ServiceKey, by: Actor, still: Option<Still>) -> Result<RolloutId, EngineError> {
        let handle = self.known(key)?;
        let release = {
            let live = handle.live.borrow();
            let rollout = live.state.rollout.as_ref().map(|rollout| &rollout.request.release);
            live.state.stable.as_ref().or(rollout).cloned()
        };
        let release = release.ok_or(Refusal::NothingServes)?;
        let policy = self.policy_with(key, &release.id).await?;
        self.request(key, release, policy, by, RequestKind::Remove, still).await
    }

    /// Every service as it is now.
    #[must_use]
    pub fn live(&self) -> Vec<Live> {
        self.services().values().map(|handle| handle.live.borrow().clone()).collect()
    }

    /// One service as it is now.
    #[must_use]
    pub fn service(&self, key: &ServiceKey) -> Option<Live> {
        self.handle(key).map(|handle| handle.live.borrow().clone())
    }

    /// How busy a service is; none where nothing of it serves, or too little of its past is known.
    pub async fn rate(&self, key: &ServiceKey) -> Option<Rate> {
        self.service(key)?.state.stable.as_ref()?;
        rate::measure(self.ports.telemetry.as_ref(), key, now()).await
    }

    /// The service that a rollout under way belongs to.
    #[must_use]
    pub fn under_way(&self, rollout: &RolloutId) -> Option<Live> {
        self.handle_of(rollout).map(|handle| handle.live.borrow().clone())
    }

    /// Every rollout of a service, or of all: the newest first.
    #[must_use]
    pub fn history(&self, key: Option<&ServiceKey>) -> Vec<Summary> {
        let mut summaries: Vec<Summary> = self.past.now().of(key).cloned().collect();
        summaries.sort_by(|a, b| b.rollout.cmp(&a.rollout));
        summaries
    }

    /// One rollout, past or present.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn rollout(&self, rollout: &RolloutId) -> Result<Summary, EngineError> {
        self.past.now().rollout(rollout).cloned().ok_or_else(|| EngineError::NoRollout(rollout.clone()))
    }

    /// The rollouts that ended before a moment, of each service whose journal can be read.
    #[must_use]
    pub fn ended_before(&self, at: Timestamp) -> BTreeMap<ServiceKey, BTreeSet<RolloutId>> {
        let past = self.past.now();
        let over = past.of(None).filter(|summary| past.damage(&summary.key).is_none());
        let mut ended: BTreeMap<ServiceKey, BTreeSet<RolloutId>> = BTreeMap::new();
        for summary in over.filter(|summary| summary.ended.as_ref().is_some_and(|ended| ended.at < at)) {
            ended.entry(summary.key.clone()).or_default().insert(summary.rollout.clone());
        }
        ended
    }

    /// The events of one rollout.
    ///
    /// # Errors
    /// When it is unknown or the journal cannot be read.
    pub async fn records(&self, rollout: &RolloutId) -> Result<Vec<Record>, EngineError> {
        match self.ports.journal.rollout(rollout).await? {
            none if none.is_empty() => Err(EngineError::NoRollout(rollout.clone())),
            records => Ok(records),
        }
    }

    /// At most `limit` events after a sequence number.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn after(&self, sequence: u64, limit: usize) -> Result<Vec<Record>, EngineError> {
        Ok(self.ports.journal.after(sequence, limit).await?)
    }

    /// Changes whenever something was written: the last sequence number.
    #[must_use]
    pub fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// Writes a rollout's report as it stands and says where.
    ///
    /// # Errors
    /// When it is unknown, the journal cannot be read or the file cannot be written.
    pub async fn report(&self, rollout: &RolloutId) -> Result<PathBuf, EngineError> {
        self.rollout(rollout)?;
        let written = write_report(&self.ports, &self.past, rollout).await;
        written.map_err(|why| EngineError::Place(davy_ports::Error::later("write the report", why)))
    }

    /// The output of a service's instances.
    ///
    /// # Errors
    /// When the platform cannot be asked.
    pub async fn logs(
        &self,
        query: &LogQuery,
    ) -> Result<Streamed<'static, Result<LogLine, davy_ports::Error>>, EngineError> {
        self.ports.platform.logs(query).await.map_err(EngineError::Place)
    }

    /// Recomputes the journal's chains.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn verify(&self) -> Result<davy_ports::Verified, EngineError> {
        Ok(self.ports.journal.verify().await?)
    }

    /// Stops looking after services; what runs goes on.
    pub fn stop(&self) {
        for handle in self.services().values() {
            handle.sender.send(Message::Stop).ok();
        }
    }

    /// Who Davy itself is in the journal.
    #[must_use]
    pub fn actor() -> Actor {
        davy()
    }
}

/// Whether traffic may be put back past the mailbox. What depends on how things stand is decided in its turn, unless nothing can be
/// written: then nothing changes, and the turn would not come.
fn passes(handle: &Handle, still: Option<&Still>) -> bool {
    still.is_none_or(|still| {
        let live = handle.live.borrow();
        live.stuck.is_some() && still(&live)
    })
}
