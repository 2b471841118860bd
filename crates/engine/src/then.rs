//! A rollout as it was at a moment in the past, and its whole course, from what is written of it.

use crate::{
    decisions::decisions,
    evidence::{Collector, Seen},
    past::Past,
    reconciler::Live,
};
use davy_core::{
    RolloutId, ServiceKey, Timestamp, Weight,
    rollout::{Event, State},
};
use davy_judge::{Difference, Kind};
use davy_ports::{Batch, Record};

/// What may be drawn of one rollout at most; where there is more, some are left out evenly.
const POINTS: usize = 500;

/// The course of a rollout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// What was counted and judged, in order of time.
    pub points: Vec<Point>,
    /// What was decided, in order.
    pub decisions: Vec<Decision>,
}

/// What was known when a batch of evidence was complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// The last event of the rollout until then.
    pub sequence: u64,
    /// The new release's share as it was asked for.
    pub intended: Weight,
    /// Its share of the batch's requests; none without any.
    pub observed: Option<Weight>,
    /// All that was counted of the new release until then.
    pub canary: Seen,
    /// The same of the one that served before.
    pub stable: Seen,
    /// The verdict; none where nothing is judged.
    pub kind: Option<Kind>,
    /// What was known of the difference of their failure rates.
    pub difference: Option<Difference>,
    /// The margin that the step has to prove the difference to be below.
    pub limit: Option<f64>,
}

/// Something that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The event that says so.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// What, in a sentence.
    pub what: String,
    /// Why, where it is said.
    pub why: Option<String>,
    /// Whether it only comes of the one before that does not follow, or is done again.
    pub follows: bool,
}

/// The state that a rollout's own events are folded into: what served before it is known from before.
fn before(past: &Past, rollout: &RolloutId) -> State {
    let stable = past.rollout(rollout).and_then(|summary| past.before(summary)).cloned();
    State { stable, ..State::default() }
}

/// The rollout as it was after an event, and when that was; none when it had not begun by then, or was over.
pub(crate) fn then(
    past: &Past,
    key: &ServiceKey,
    records: &[Record],
    batches: &[Batch],
    rollout: &RolloutId,
    sequence: u64,
) -> Option<(Live, Timestamp)> {
    let mut state = before(past, rollout);
    let mut collector: Option<Collector> = None;
    let (mut last, mut at) = (0, Timestamp(0));
    for record in records.iter().filter(|record| record.sequence <= sequence) {
        state.apply(record.entry.at, &record.entry.event);
        (last, at) = (record.sequence, record.entry.at.max(at));
        if let (None, Some(begun)) = (&collector, &state.rollout) {
            collector = Some(Collector::new(begun));
        }
    }
    let next = records.iter().find(|record| record.sequence > sequence).map(|record| record.entry.at);
    let known: Vec<Batch> =
        batches.iter().take_while(|batch| next.is_none_or(|next| batch.window.to <= next)).cloned().collect();
    let mut live = Live::unseen(key.clone(), state, last);
    live.state.rollout.as_ref()?;
    let collector = collector.as_mut()?;
    collector.recover(&known);
    let traffic = collector.traffic(live.state.routed, at);
    let all = traffic.canary.saturating_add(traffic.stable);
    live.observed = (all > 0).then(|| (Weight::share(traffic.canary, all), all));
    (live.verdict, live.seen, live.metrics) = (collector.verdict(), collector.seen(), collector.metrics());
    live.unseen = Some("this is how it was, as the journal tells it".to_owned());
    Some((live, at))
}

/// The course of a rollout up to an event.
pub(crate) fn course(past: &Past, records: &[Record], batches: &[Batch], rollout: &RolloutId, sequence: u64) -> Course {
    let mut state = before(past, rollout);
    let mut course = Course { points: Vec::new(), decisions: decisions(records, rollout) };
    course.decisions.retain(|decision| decision.sequence <= sequence);
    let mut collector: Option<Collector> = None;
    let mut records = records.iter().filter(|record| record.sequence <= sequence).peekable();
    let end = records.clone().last().map(|record| record.entry.at);
    let ended = records.clone().any(|record| matches!(record.entry.event, Event::RolloutFinished { .. }));
    let (every, mut last) = (batches.len().div_ceil(POINTS).max(1), 0);
    for (number, batch) in batches.iter().enumerate() {
        // What is counted after the last event belongs to the present; of a past moment it was not known yet.
        if !ended && sequence < u64::MAX && end.is_some_and(|end| batch.window.to > end) {
            break;
        }
        while let Some(record) = records.next_if(|record| record.entry.at <= batch.window.to) {
            state.apply(record.entry.at, &record.entry.event);
            last = record.sequence;
            if let (None, Some(begun)) = (&collector, &state.rollout) {
                collector = Some(Collector::new(begun));
            }
        }
        let Some(collector) = &mut collector else { continue };
        collector.recover(std::slice::from_ref(batch));
        if (number + 1) % every != 0 && number + 1 != batches.len() {
            continue;
        }
        let intended = state.rollout.as_ref().map_or(batch.weight, |rollout| rollout.intended);
        course.points.push(point(collector, batch, last, intended));
    }
    course
}

fn point(collector: &Collector, batch: &Batch, sequence: u64, intended: Weight) -> Point {
    let (canary, stable, _) = collector.seen();
    let routed = |role| {
        let cells = batch.window.cells.iter().filter(|cell| cell.role == role);
        cells.fold(0_u64, |sum, cell| sum.saturating_add(cell.routed))
    };
    let (ours, theirs) = (routed(davy_core::Role::Canary), routed(davy_core::Role::Stable));
    let all = ours.saturating_add(theirs);
    let verdict = collector.verdict();
    Point {
        at: batch.window.to,
        sequence,
        intended,
        observed: (all > 0).then(|| Weight::share(ours, all)),
        canary,
        stable,
        kind: verdict.as_ref().map(|verdict| verdict.kind),
        difference: verdict.as_ref().map(|verdict| verdict.evidence.bounds.difference),
        limit: verdict.and_then(|verdict| verdict.evidence.promotion).map(|proof| proof.margin),
    }
}
