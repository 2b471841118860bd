//! The rollouts that were, as the journal tells them: read once, then only what is new.

use davy_core::{
    Actor, Release, RolloutId, ServiceKey, Timestamp,
    rollout::{Ended, Event, Outcome, RequestKind},
};
use davy_ports::Record;
use std::collections::BTreeMap;

/// One rollout in the past or present.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Which.
    pub rollout: RolloutId,
    /// Of which service.
    pub key: ServiceKey,
    /// What it brought or brings.
    pub release: Release,
    /// Forward or back.
    pub kind: RequestKind,
    /// Who asked.
    pub by: Actor,
    /// When.
    pub began: Timestamp,
    /// When it was promoted, if it was.
    pub promoted: Option<Timestamp>,
    /// How it ended, once it has.
    pub ended: Option<Ended>,
}

/// Every rollout up to an event of the journal.
#[derive(Debug, Default)]
pub(crate) struct Past {
    sequence: u64,
    services: BTreeMap<ServiceKey, Vec<Summary>>,
}

impl Past {
    /// The last event that is in it.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The rollouts of a service, or of all.
    pub(crate) fn of(&self, key: Option<&ServiceKey>) -> impl Iterator<Item = &Summary> {
        let wanted = self.services.iter().filter(move |(service, _)| key.is_none_or(|key| key == *service));
        wanted.flat_map(|(_, summaries)| summaries)
    }

    /// Adds the next event.
    pub(crate) fn add(&mut self, record: &Record) {
        self.sequence = self.sequence.max(record.sequence);
        let (key, at) = (&record.stream, record.entry.at);
        let summaries = self.services.entry(key.clone()).or_default();
        match &record.entry.event {
            Event::RolloutRequested { request } | Event::RolloutQueued { request } => {
                if summaries.iter().any(|summary| summary.rollout == request.rollout) {
                    return;
                }
                summaries.push(Summary {
                    rollout: request.rollout.clone(),
                    key: key.clone(),
                    release: request.release.clone(),
                    kind: request.kind,
                    by: request.by.clone(),
                    began: at,
                    promoted: None,
                    ended: None,
                });
            }
            Event::Promoted => {
                let current = record.entry.rollout.as_ref();
                if let Some(summary) = summaries.iter_mut().find(|summary| Some(&summary.rollout) == current) {
                    summary.promoted = Some(at);
                }
            }
            Event::RolloutFinished { rollout, outcome, why } => {
                if let Some(summary) = summaries.iter_mut().find(|summary| summary.rollout == *rollout) {
                    let ended = Ended { rollout: rollout.clone(), outcome: *outcome, why: why.clone(), at };
                    summary.ended = Some(ended);
                }
            }
            Event::RolloutDropped { rollout, by } => {
                if let Some(summary) = summaries.iter_mut().find(|summary| summary.rollout == *rollout) {
                    let why = format!("rollout {by} took its place before it began");
                    summary.ended = Some(Ended { rollout: rollout.clone(), outcome: Outcome::Superseded, why, at });
                }
            }
            _ => {}
        }
    }
}
