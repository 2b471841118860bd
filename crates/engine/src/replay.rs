//! A rollout's verdicts once more, from what is stored of it: the same bit for bit, or what another analysis would have said.

use crate::evidence::Collector;
use davy_core::{
    Analysis, RolloutId, Timestamp,
    rollout::{Cause, Event, Rollout, State},
};
use davy_judge::{Kind, Verdict};
use davy_ports::{Batch, Record};
use std::sync::Arc;

/// Batches that a verdict may be ahead of those it names: harm is acted on before it is stored.
const AHEAD: usize = 2;

/// What the stored evidence says.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// Each change of the verdict.
    pub verdicts: Vec<Replayed>,
    /// Verdicts in the journal that rest on stored evidence, and a guard's finding.
    pub told: usize,
    /// Of these, those that come out the same, bit for bit.
    pub same: usize,
}

/// A verdict, and after which batch it was reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// The batch, from 1.
    pub batch: u64,
    /// When the batch ended.
    pub at: Timestamp,
    /// The verdict.
    pub verdict: Verdict,
}

/// Judges a rollout's stored batches again; by another analysis if one is given. None when the records do not know the rollout.
#[must_use]
pub fn replay(records: &[Record], rollout: &RolloutId, batches: &[Batch], other: Option<&Analysis>) -> Option<Replay> {
    let mut begun = begun(records, rollout)?;
    if let Some(other) = other {
        begun.request.policy.analysis = other.clone();
    }
    let mut collector = Collector::new(&begun);
    let all: Vec<Option<Arc<Verdict>>> = batches
        .iter()
        .map(|batch| {
            collector.feed(batch);
            collector.verdict()
        })
        .collect();
    let mut verdicts: Vec<Replayed> = Vec::new();
    for (batch, verdict) in batches.iter().zip(&all) {
        let Some(verdict) = verdict else { continue };
        let known = verdicts.last().map(|last| (last.verdict.kind, last.verdict.weight));
        if known != Some((verdict.kind, verdict.weight)) {
            let (batch, at) = (batch.number, batch.window.to);
            verdicts.push(Replayed { batch, at, verdict: Verdict::clone(verdict) });
        }
    }
    let told = records.iter().filter(|record| record.entry.rollout.as_ref() == Some(rollout));
    let cut = told.clone().find_map(|record| match &record.entry.event {
        Event::Reverted { cause: Some(Cause::Guard { cut, .. }), .. } => Some(cut.finding.holds()),
        _ => None,
    });
    let told = told.filter_map(|record| match &record.entry.event {
        // Silence is no batch: what was said of it cannot be found in them.
        Event::VerdictReached { verdict, batches: Some(named) } if verdict.kind != Kind::Blind => {
            Some((verdict, named))
        }
        _ => None,
    });
    // A guard's finding is its own evidence.
    let (mut count, mut same) = (usize::from(cut.is_some()), usize::from(cut == Some(true)));
    for (verdict, named) in told {
        count += 1;
        let from = usize::try_from(named.last.saturating_sub(1)).unwrap_or(usize::MAX);
        let after = all.iter().skip(from).take(1 + AHEAD).flatten();
        same += usize::from(after.into_iter().any(|found| **found == **verdict));
    }
    Some(Replay { verdicts, told: count, same })
}

/// The rollout as it was when it began.
fn begun(records: &[Record], rollout: &RolloutId) -> Option<Rollout> {
    let mut state = State::default();
    for record in records {
        state.apply(record.entry.at, &record.entry.event);
        if matches!(&record.entry.event, Event::RolloutRequested { request } if request.rollout == *rollout) {
            return state.rollout;
        }
    }
    None
}
