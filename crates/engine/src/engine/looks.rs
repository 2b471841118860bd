//! What pages ask of the engine: what changed, what served when, how it was.

use super::{Engine, EngineError};
use crate::{
    past::Summary,
    reconciler::{Live, report_text},
    served::Served,
    then::{self, Course},
};
use davy_core::{
    Millis, Policy, Release, ReleaseId, RolloutId, ServiceKey, Timestamp,
    rollout::{Event, Refusal},
};
use davy_ports::{Batch, JournalError, Looked, Watch};
use std::collections::BTreeMap;
use tokio::sync::watch;

/// What somebody has seen of every service.
#[derive(Debug, Default)]
pub struct Watched(BTreeMap<ServiceKey, watch::Receiver<Live>>);

impl Engine {
    /// What changed since it was last asked: what it has `seen` of each service says what that is. Services that are new come, too.
    pub fn changed(&self, seen: &mut Watched) -> Vec<Live> {
        {
            let services = self.services();
            if services.len() > seen.0.len() {
                for (key, handle) in services.iter() {
                    seen.0.entry(key.clone()).or_insert_with(|| {
                        let mut live = handle.live.clone();
                        live.mark_changed();
                        live
                    });
                }
            }
        }
        let news = seen.0.values_mut().filter(|live| live.has_changed().unwrap_or(false));
        news.map(|live| live.borrow_and_update().clone()).collect()
    }

    /// What is told of the last rollouts that fit, the newest first, at most so many, and only those before one where one is given.
    #[must_use]
    pub fn last_rollouts<T>(
        &self,
        most: usize,
        before: Option<&RolloutId>,
        fits: impl Fn(&Summary) -> bool,
        told: impl Fn(&Summary) -> T,
    ) -> Vec<T> {
        let past = self.past.now();
        let is_before = |summary: &&Summary| before.is_none_or(|before| summary.rollout < *before);
        let mut all: Vec<&Summary> = past.of(None).filter(is_before).filter(|summary| fits(summary)).collect();
        // Only those that are asked for are put in order.
        if all.len() > most {
            all.select_nth_unstable_by(most, |a, b| b.rollout.cmp(&a.rollout));
            all.truncate(most);
        }
        all.sort_by(|a, b| b.rollout.cmp(&a.rollout));
        all.into_iter().map(told).collect()
    }

    /// How what is on its way is to go, or what serves got there.
    ///
    /// # Errors
    /// When the service is unknown or nothing of it serves, or the journal cannot be read.
    pub async fn policy(&self, key: &ServiceKey) -> Result<Policy, EngineError> {
        let live = self.known(key)?.live.borrow().clone();
        match (&live.state.rollout, &live.state.stable) {
            (Some(rollout), _) if rollout.is_forward() => Ok(rollout.request.policy.clone()),
            (_, Some(stable)) => self.policy_with(key, &stable.id).await,
            (Some(rollout), None) => Ok(rollout.request.policy.clone()),
            (None, None) => Err(Refusal::NothingServes.into()),
        }
    }

    /// How the last rollout of a release was to go.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn policy_with(&self, key: &ServiceKey, release: &ReleaseId) -> Result<Policy, EngineError> {
        match self.history(Some(key)).into_iter().find(|summary| summary.release.id == *release) {
            Some(last) => self.policy_of(&last.rollout).await,
            None => Ok(Policy::default()),
        }
    }

    /// How a rollout was to go.
    pub(super) async fn policy_of(&self, rollout: &RolloutId) -> Result<Policy, EngineError> {
        let records = self.ports.journal.rollout(rollout).await?;
        let policy = records.into_iter().find_map(|record| match record.entry.event {
            Event::RolloutRequested { request } | Event::RolloutQueued { request } => Some(request.policy),
            _ => None,
        });
        Ok(policy.unwrap_or_default())
    }

    /// What of a service's own metrics could be read now: of the release on trial and of stable, or only of what serves. Nothing
    /// where it reads none.
    ///
    /// # Errors
    /// As of [`Engine::policy`].
    pub async fn watched(&self, key: &ServiceKey) -> Result<Option<Watch>, EngineError> {
        let analysis = self.policy(key).await?.analysis;
        let Some(source) = analysis.source.filter(|_| !analysis.metrics.is_empty()) else { return Ok(None) };
        let state = self.service(key).ok_or_else(|| EngineError::NoService(key.clone()))?.state;
        let trial = state.rollout.as_ref().filter(|rollout| rollout.is_forward());
        let canary = trial.map(|rollout| &rollout.request.release.id);
        let stable = state.stable.as_ref().map(|release| &release.id);
        let (Some(canary), Some(stable)) = (canary.or(stable), stable.or(canary)) else { return Ok(None) };
        let (key, canary, stable) = (key.clone(), canary.clone(), stable.clone());
        Ok(Some(Watch { key, canary, stable, source, metrics: analysis.metrics }))
    }

    /// What its counters stand at now.
    ///
    /// # Errors
    /// When the source cannot be asked.
    pub async fn look(&self, watch: &Watch) -> Result<Vec<Looked>, davy_ports::Error> {
        self.ports.signals.look(watch).await
    }

    /// The releases of a service that served, the latest first, each once.
    #[must_use]
    pub fn served(&self, key: &ServiceKey) -> Vec<Served> {
        self.past.now().served(key)
    }

    /// Since when the release serves that does now.
    #[must_use]
    pub fn serves_since(&self, key: &ServiceKey) -> Option<Timestamp> {
        self.past.now().serves_since(key)
    }

    /// How long it took the last time until a release of a service that was started anew had all traffic.
    #[must_use]
    pub fn returns_in(&self, key: &ServiceKey) -> Option<Millis> {
        self.past.now().returns_in(key)
    }

    /// What served when a rollout began.
    #[must_use]
    pub fn before(&self, summary: &Summary) -> Option<Release> {
        self.past.now().before(summary).cloned()
    }

    /// A rollout as it was after an event, and when that was; none where it had not begun by then, or was over.
    ///
    /// # Errors
    /// When it is unknown, or the journal cannot be read.
    pub async fn then(&self, rollout: &RolloutId, sequence: u64) -> Result<Option<(Live, Timestamp)>, EngineError> {
        let key = self.rollout(rollout)?.key;
        let records = self.records(rollout).await?;
        let batches = self.evidence(rollout).await?;
        Ok(then::then(&self.past.now(), &key, &records, &batches, rollout, sequence))
    }

    /// The course of a rollout up to an event.
    ///
    /// # Errors
    /// When it is unknown, or the journal cannot be read.
    pub async fn course(&self, rollout: &RolloutId, sequence: u64) -> Result<Course, EngineError> {
        let records = self.records(rollout).await?;
        let batches = self.evidence(rollout).await?;
        Ok(then::course(&self.past.now(), &records, &batches, rollout, sequence))
    }

    /// What is stored of it; nothing any more where that was let go.
    async fn evidence(&self, rollout: &RolloutId) -> Result<Vec<Batch>, EngineError> {
        match self.ports.journal.evidence(rollout).await {
            Err(JournalError::LetGo { .. }) => Ok(Vec::new()),
            batches => Ok(batches?),
        }
    }

    /// The report of a rollout as it stands, as text.
    ///
    /// # Errors
    /// When it is unknown, or the journal cannot be read.
    pub async fn report_text(&self, rollout: &RolloutId) -> Result<String, EngineError> {
        self.rollout(rollout)?;
        let told = report_text(&self.ports, &self.past, rollout).await;
        told.map_err(|why| EngineError::Place(davy_ports::Error::later("write the report", why)))
    }
}
