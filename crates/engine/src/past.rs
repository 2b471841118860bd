//! What was, as the journal tells it: where each service stands and the rollouts it had. Read once; then whoever
//! writes adds what he wrote, and only what is new is read: what is kept does not grow with the events of a rollout.

use davy_core::{
    Actor, Millis, OnDeadline, Policy, Release, ReleaseId, RolloutId, ServiceKey, Timestamp,
    rollout::{CauseKind, Ended, Event, Outcome, RequestKind, State},
};
use davy_ports::{Journal, JournalError, Record};
use futures_util::StreamExt as _;
use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// One rollout in the past or present.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Which.
    pub rollout: RolloutId,
    /// Of which service.
    pub key: ServiceKey,
    /// What it brought or brings.
    pub release: Release,
    /// What served when it began; none for the first deployment, and before it begins.
    pub from: Option<ReleaseId>,
    /// Forward or back.
    pub kind: RequestKind,
    /// Who asked.
    pub by: Actor,
    /// When.
    pub began: Timestamp,
    /// What its policy says of waiting.
    pub limits: Limits,
    /// When it was promoted, if it was.
    pub promoted: Option<Timestamp>,
    /// How it ended, once it has.
    pub ended: Option<Ended>,
}

/// How long a rollout waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest time that one step may take.
    pub deadline: Millis,
    /// What happens then.
    pub on_deadline: OnDeadline,
    /// The longest pause.
    pub pause: Millis,
    /// How long the old release is kept after promotion.
    pub bake: Millis,
}

impl From<&Policy> for Limits {
    fn from(policy: &Policy) -> Self {
        let Policy { deadline, on_deadline, pause_limit, bake, .. } = *policy;
        Self { deadline, on_deadline, pause: pause_limit, bake }
    }
}

/// So many releases that served are kept for a rollback.
const RELEASES: usize = 10;

/// Everything up to an event of the journal.
#[derive(Debug, Default, PartialEq)]
pub struct Past {
    sequence: u64,
    latest: Timestamp,
    /// Streams that cannot be read, and why.
    damaged: BTreeMap<ServiceKey, String>,
    services: BTreeMap<ServiceKey, (Service, Vec<Summary>)>,
    /// Of which service each rollout is.
    rollouts: BTreeMap<RolloutId, ServiceKey>,
}

/// The past as it is known to all: nobody waits for another one's reading.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<Past>);

impl Known {
    /// What is known now.
    pub(crate) fn now(&self) -> MutexGuard<'_, Past> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is new.
    ///
    /// # Errors
    /// When the journal cannot be read; what was read stays.
    pub(crate) async fn read(&self, journal: &dyn Journal) -> Result<(), JournalError> {
        let known = self.now().sequence;
        let mut records = journal.since(known);
        while let Some(record) = records.next().await {
            match record {
                Ok(record) => self.now().add_next(&record),
                Err(JournalError::Damaged { .. }) => return self.read_apart(journal).await,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads each stream by itself, so that one that cannot be read is set aside and the others go on.
    async fn read_apart(&self, journal: &dyn Journal) -> Result<(), JournalError> {
        let mut last = 0;
        loop {
            let before = last;
            for key in journal.streams().await? {
                let position = self.now().service(&key).map_or(0, |service| service.position);
                match journal.stream(&key, position).await {
                    Ok(records) => {
                        last = records.iter().map(|record| record.sequence).fold(last, u64::max);
                        records.iter().for_each(|record| self.now().add(record));
                    }
                    Err(JournalError::Damaged { why }) => {
                        if self.now().damaged.insert(key.clone(), why.clone()).is_none() {
                            tracing::error!(service = %key, why, "its journal cannot be read: it is left as it is");
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
            if last == before {
                // What comes from now on has a higher number than all that was read.
                let mut past = self.now();
                past.sequence = past.sequence.max(last);
                return Ok(());
            }
        }
    }
}

/// One service in one environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Service {
    /// Where it stands.
    pub(crate) state: State,
    /// After so many events of its stream.
    pub(crate) position: u64,
    /// The last of them among all events.
    pub(crate) sequence: u64,
}

impl Past {
    /// Reads what is new.
    ///
    /// # Errors
    /// When the journal cannot be read; what was read stays.
    pub async fn read(&mut self, journal: &dyn Journal) -> Result<(), JournalError> {
        let known = Known(Mutex::new(std::mem::take(self)));
        let read = known.read(journal).await;
        *self = known.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        read
    }

    /// Why a service's stream cannot be read, if it cannot.
    pub(crate) fn damage(&self, key: &ServiceKey) -> Option<&str> {
        self.damaged.get(key).map(String::as_str)
    }

    /// The services whose streams cannot be read, and why.
    pub(crate) fn damaged(&self) -> &BTreeMap<ServiceKey, String> {
        &self.damaged
    }

    /// Adds what comes after all that is known.
    fn add_next(&mut self, record: &Record) {
        self.add(record);
        self.sequence = self.sequence.max(record.sequence);
    }

    /// When the latest event happened.
    pub(crate) fn latest(&self) -> Timestamp {
        self.latest
    }

    /// Every service whose stream can be read.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&ServiceKey, &Service)> {
        let whole = self.services.iter().filter(|(key, _)| !self.damaged.contains_key(key));
        whole.map(|(key, (service, _))| (key, service))
    }

    /// One service.
    pub(crate) fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.services.get(key).map(|(service, _)| service)
    }

    /// The rollouts of a service, or of all.
    pub fn of(&self, key: Option<&ServiceKey>) -> impl Iterator<Item = &Summary> {
        let wanted = match key {
            Some(key) => self.services.range((Bound::Included(key), Bound::Included(key))),
            None => self.services.range::<ServiceKey, _>(..),
        };
        wanted.flat_map(|(_, (_, summaries))| summaries)
    }

    /// What a service may still need: what should run, what waits for its turn, and the last releases that served, which a
    /// rollback may bring back. What never served is not among them: it takes no place from those.
    pub(crate) fn needed(&self, key: &ServiceKey) -> Vec<Release> {
        let Some((Service { state, .. }, summaries)) = self.services.get(key) else { return Vec::new() };
        let mut needed: Vec<Release> = Vec::new();
        let mut add = |release: &Release, most: usize| {
            if needed.len() < most && !needed.iter().any(|other| other.id == release.id) {
                needed.push(release.clone());
            }
        };
        let mut served: Vec<&Summary> = summaries.iter().filter(|summary| summary.promoted.is_some()).collect();
        served.sort_by_key(|summary| std::cmp::Reverse(summary.promoted));
        served.iter().for_each(|summary| add(&summary.release, RELEASES));
        let waiting = state.queued.iter().map(|request| &request.release);
        state
            .wanted()
            .into_iter()
            .map(|(release, _)| release)
            .chain(waiting)
            .for_each(|release| add(release, usize::MAX));
        needed
    }

    /// One rollout.
    pub(crate) fn rollout(&self, rollout: &RolloutId) -> Option<&Summary> {
        let (_, summaries) = self.services.get(self.rollouts.get(rollout)?)?;
        summaries.iter().rev().find(|summary| summary.rollout == *rollout)
    }

    /// What served when a rollout began.
    pub(crate) fn before(&self, summary: &Summary) -> Option<&Release> {
        let from = summary.from.as_ref()?;
        let (_, summaries) = self.services.get(&summary.key)?;
        let own = summaries.iter().rposition(|other| other.rollout == summary.rollout)?;
        // What served is likely to be the one just before.
        summaries[..own].iter().rev().map(|other| &other.release).find(|release| release.id == *from)
    }

    /// Adds the next event of its stream, if it is not known yet.
    pub(crate) fn add(&mut self, record: &Record) {
        self.latest = self.latest.max(record.entry.at);
        let (key, at) = (&record.stream, record.entry.at);
        let (Service { state, position, sequence }, summaries) = self.services.entry(key.clone()).or_default();
        if record.position <= *position {
            return;
        }
        let (from, waited) = match &record.entry.event {
            Event::RolloutRequested { request } => (
                state.stable.as_ref().map(|release| release.id.clone()),
                state.queued.as_ref().is_some_and(|queued| queued.rollout == request.rollout),
            ),
            _ => (None, false),
        };
        state.apply(at, &record.entry.event);
        (*position, *sequence) = (record.position, record.sequence);
        match &record.entry.event {
            Event::RolloutRequested { request } if waited => {
                if let Some(summary) = told(summaries, &request.rollout) {
                    summary.from = from;
                }
            }
            Event::RolloutRequested { request } | Event::RolloutQueued { request } => {
                self.rollouts.insert(request.rollout.clone(), key.clone());
                summaries.push(Summary {
                    rollout: request.rollout.clone(),
                    key: key.clone(),
                    release: request.release.clone(),
                    from,
                    kind: request.kind,
                    by: request.by.clone(),
                    began: at,
                    limits: Limits::from(&request.policy),
                    promoted: None,
                    ended: None,
                });
            }
            Event::Promoted => {
                let current = record.entry.rollout.as_ref();
                if let Some(summary) = current.and_then(|rollout| told(summaries, rollout)) {
                    summary.promoted = Some(at);
                }
            }
            Event::RolloutFinished { rollout, outcome, why, cause } => {
                if let Some(summary) = told(summaries, rollout) {
                    let (rollout, why, cause) = (rollout.clone(), why.clone(), cause.or(only(*outcome)));
                    summary.ended = Some(Ended { rollout, outcome: *outcome, why, cause, at });
                }
            }
            Event::RolloutDropped { rollout, by } => {
                if let Some(summary) = told(summaries, rollout) {
                    let why = format!("rollout {by} took its place before it began");
                    let (rollout, outcome) = (rollout.clone(), Outcome::Superseded);
                    summary.ended = Some(Ended { rollout, outcome, why, cause: only(outcome), at });
                }
            }
            _ => {}
        }
    }
}

/// The only kind of cause that an outcome has: an older version did not write it down.
const fn only(outcome: Outcome) -> Option<CauseKind> {
    match outcome {
        Outcome::Aborted | Outcome::Removed => Some(CauseKind::Person),
        Outcome::Superseded => Some(CauseKind::Superseded),
        Outcome::Promoted | Outcome::RolledBack => None,
    }
}

/// One of a service's rollouts, looked for from the last one on: a long past is not searched for what is under way.
fn told<'a>(summaries: &'a mut [Summary], rollout: &RolloutId) -> Option<&'a mut Summary> {
    summaries.iter_mut().rev().find(|summary| summary.rollout == *rollout)
}
