//! What is stored: events of a stream, batches of evidence, deeds, heads; and what a router tells before it is.

use crate::{choices::Choices, wild};
use davy_core::{
    Actor, EnvironmentName, RolloutId, ServiceKey, ServiceName, Timestamp, Window,
    rollout::{Cause, Effect, Event, State},
};
use davy_engine::{
    Deed,
    fuzz::{Heard, batch, gather, past},
    replay, report,
    store::Head,
};
use davy_ports::{Batch, Entry, Error, Interval, Measured, Reading, Record, Span};

/// Lines of any kind, each perhaps after its time. Whatever can be read is folded, reported, judged again, and is the same when it
/// is written and read once more.
pub(crate) fn body(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut stream = Stream::default();
    for line in text.lines().take(400) {
        let (time, line) = match line.split_once(' ') {
            Some((time, rest)) if time.bytes().all(|byte| byte.is_ascii_digit()) => (time.parse().ok(), rest),
            _ => (None, line),
        };
        stream.at = Timestamp(time.unwrap_or(stream.at.0.saturating_add(1_000)));
        stream.read(line);
    }
    stream.tell();
}

#[derive(Default)]
struct Stream {
    at: Timestamp,
    state: State,
    records: Vec<Record>,
    batches: Vec<Batch>,
    /// Rollouts as they began, and what was heard since.
    heard: Vec<(davy_core::rollout::Rollout, Vec<(Timestamp, Heard)>)>,
}

/// What is read is written and read as the same.
fn again<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(line: &str) -> Option<T> {
    let value = serde_json::from_str::<T>(line).ok()?;
    let written = serde_json::to_string(&value).unwrap_or_else(|error| panic!("{error}: {value:?}"));
    let read = serde_json::from_str::<T>(&written);
    assert_eq!(read.ok().as_ref(), Some(&value), "{written} is read as another one");
    Some(value)
}

impl Stream {
    fn read(&mut self, line: &str) {
        if line.starts_with('[') {
            let rollout = self.state.rollout_id().map_or("r", RolloutId::as_str).to_owned();
            self.batches.extend(batch(&rollout, self.batches.len() as u64 + 1, line));
        } else if let Some(event) = again::<Event>(line) {
            self.apply(event);
            wild::probe(&self.state, self.at, &mut Choices::of(line.as_bytes()));
        } else if let Some(window) = again::<Window>(line) {
            self.hear(Heard::Window(Box::new(window)));
        } else if let Some(measured) = again::<Measured>(line) {
            self.hear(Heard::Reading(reading(measured)));
        } else if let Some(head) = Head::parse(line) {
            assert_eq!(Head::parse(&head.to_string()), Some(head), "a head is read as it is written");
        } else if again::<Deed>(line).is_none() && line == "silence" {
            self.hear(Heard::Silence);
        }
    }

    fn hear(&mut self, heard: Heard) {
        if let Some((_, all)) = self.heard.last_mut() {
            all.push((self.at, heard));
        }
    }

    fn apply(&mut self, event: Event) {
        let own = match &event {
            Event::RolloutRequested { request } | Event::RolloutQueued { request } => Some(request.rollout.clone()),
            Event::RolloutDropped { rollout, .. } => Some(rollout.clone()),
            _ => self.state.rollout_id().cloned(),
        };
        let before = self.state.generation;
        self.state.apply(self.at, &event);
        assert!(self.state.generation >= before, "generations never fall");
        look(&self.state);
        if let Event::RolloutRequested { .. } = &event
            && let Some(rollout) = &self.state.rollout
        {
            self.heard.push((rollout.clone(), Vec::new()));
        }
        if let Event::Reverted { cause: Some(Cause::Guard { cut, .. }), .. } = &event {
            let _ = (cut.finding.holds(), cut.finding.because(), cut.finding.counts());
        }
        let position = self.records.len() as u64 + 1;
        let entry = Entry { at: self.at, by: Actor::new("davy"), rollout: own, event };
        self.records.push(Record { sequence: position, stream: key(), position, entry, hash: String::new() });
    }

    /// Everything that is drawn from it.
    fn tell(&self) {
        let events = self.records.iter().map(|record| (record.entry.at, &record.entry.event));
        assert_eq!(State::fold(events), self.state, "a state is the fold of its events");
        let past = past(&self.records);
        let mut rollouts: Vec<&RolloutId> =
            self.records.iter().filter_map(|record| record.entry.rollout.as_ref()).collect();
        rollouts.dedup();
        for rollout in rollouts.into_iter().take(4) {
            let report = report::report(&past, &self.records, rollout, report::Evidence::Kept(&self.batches));
            let _ = (report, replay(&self.records, rollout, &self.batches, None));
        }
        for (rollout, heard) in self.heard.iter().take(4) {
            let (_, verdict) = gather(rollout, heard.iter().cloned());
            if let Some(verdict) = verdict {
                let json = serde_json::to_string(&verdict).unwrap_or_else(|error| panic!("{error}: {verdict:?}"));
                let read = serde_json::from_str::<davy_judge::Verdict>(&json);
                assert_eq!(read.ok(), Some(verdict), "a verdict comes out of the journal as it went in");
            }
        }
    }
}

fn key() -> ServiceKey {
    ServiceKey {
        service: ServiceName::new("logo").expect("a name"),
        environment: EnvironmentName::new("production").expect("a name"),
    }
}

fn reading(Measured { metric, seen }: Measured) -> Reading {
    let span = seen.map_err(|why| Error::later("read a metric", why));
    let span = span.map(|Interval { from, to, canary, stable, .. }| Span { from, to, since: from, canary, stable });
    Reading { metric, span }
}

/// What people and pages are told of a state, whatever it is.
pub(crate) fn look(state: &State) {
    let effects: Vec<String> = state.pending.iter().map(|pending| Effect::words(&pending.effect)).collect();
    let _ = (state.wanted(), state.leased(), effects);
    let Some(rollout) = &state.rollout else { return };
    assert!(!rollout.plan.is_empty(), "a plan has a step");
    let _ = (rollout.word(), rollout.next(None), rollout.deadline());
    let _ = (rollout.interrupts(), rollout.is_last_step(), rollout.steps());
}
