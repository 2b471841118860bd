//! From windows to stored batches to verdicts: the judge sees exactly what is stored, in the order it is stored.

mod merge;
#[cfg(test)]
mod tests;

use crate::counted::Counted;
use davy_core::{
    Cell, Generation, Millis, Role, RolloutId, Timestamp, Weight, Window,
    rollout::{Passes, Request, Rollout, Traffic},
};
use davy_judge::{Blindness, Counts, Judge, Verdict};
use davy_ports::{Batch, Cursor, Interval, Measured, Reading, Tries};
use merge::merge;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, OnceLock},
};

/// Windows are merged over this time before they are stored and judged.
const BATCH: Millis = Millis::seconds(1);
/// A source that says nothing for so long is blind.
const SILENCE: Millis = Millis::seconds(2);

/// So much is kept of why a metric could not be read, each time.
const WORDS: usize = 500;

/// So many changes of the weight are remembered.
const EPOCHS: usize = 32;

/// A window is a moment: one that is longer tells of a clock that jumped or a router that stood still.
const LONGEST: Millis = Millis::seconds(60);

/// How long after its begin a rollout's first counts may come; else the router's clock is another.
const FIRST: Millis = Millis::seconds(3_600);

/// Why a batch after a silence is marked.
const SILENT: &str = "no counts arrived from the router";

/// What was seen of one version over a rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Seen {
    /// Requests answered.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
}

/// What was read of one of the service's own metrics over a rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MetricSeen {
    /// Its name.
    pub name: String,
    /// Of the release on trial.
    pub canary: Tries,
    /// Of the release that served before.
    pub stable: Tries,
    /// Why it cannot be read now, while it cannot.
    pub blind: Option<String>,
}

/// Gathers the windows of one rollout.
#[derive(Debug)]
pub(crate) struct Collector {
    rollout: RolloutId,
    base: Generation,
    origin: Timestamp,
    /// Whether requests at 0 % are evidence, too: stable's past is all that the new release is judged against.
    past: bool,
    judge: Judge,
    /// What it says, from when it is asked until it is given more.
    verdict: OnceLock<Arc<Verdict>>,
    judged: bool,
    number: u64,
    open: BTreeMap<Generation, Window>,
    newest: Generation,
    cursor: Option<Cursor>,
    /// Where the windows of a run of the router end so far.
    told_to: Option<(String, Timestamp)>,
    gap: Option<String>,
    /// What was read of metrics and is not in a batch yet.
    readings: Vec<Reading>,
    /// Which weight is served since when, as far as windows tell.
    epochs: Vec<(Timestamp, Generation, Weight)>,
    metrics: Vec<MetricSeen>,
    ended: bool,
    heard: Option<Timestamp>,
    traffic: BTreeMap<Generation, Traffic>,
    minute: Minute,
    idle: Idle,
    canary: Seen,
    stable: Seen,
    /// Of the canary, what is no evidence: matched requests and copies.
    aside: Seen,
}

impl Collector {
    /// For a rollout that begins.
    #[must_use]
    pub(crate) fn new(rollout: &Rollout) -> Self {
        let Rollout { request: Request { rollout: id, policy, .. }, .. } = rollout;
        let named = |metric: &davy_core::Metric| MetricSeen { name: metric.name.clone(), ..MetricSeen::default() };
        let metrics = policy.analysis.metrics.iter().map(named);
        let policy = policy.judge();
        let judged = Judge::new(policy);
        let usable = judged.is_ok();
        let judge = judged.or_else(|_| Judge::new(davy_judge::Policy::default()));
        Self {
            rollout: id.clone(),
            base: rollout.base,
            origin: rollout.began,
            past: rollout.plan.iter().any(|step| step.passes == Passes::Measured),
            judge: judge.unwrap_or_else(|_| unreachable!("the default policy is valid")),
            verdict: OnceLock::new(),
            judged: usable,
            number: 0,
            open: BTreeMap::new(),
            newest: Generation(0),
            cursor: None,
            told_to: None,
            gap: None,
            readings: Vec::new(),
            epochs: Vec::new(),
            metrics: metrics.collect(),
            ended: false,
            heard: None,
            traffic: BTreeMap::new(),
            minute: Minute::default(),
            idle: Idle::default(),
            canary: Seen::default(),
            stable: Seen::default(),
            aside: Seen::default(),
        }
    }

    /// Takes up where the stored batches end.
    pub(crate) fn recover(&mut self, batches: &[Batch]) {
        for batch in batches {
            self.count(&batch.window);
            self.remember(&batch.window);
            self.feed(batch);
            (self.number, self.origin) = (batch.number, batch.origin);
            self.newest = self.newest.max(batch.generation);
            self.cursor = Some(Cursor { boot: batch.window.boot.clone(), sequence: batch.window.sequence });
        }
    }

    /// Where the source is to go on.
    #[must_use]
    pub(crate) fn cursor(&self) -> Option<Cursor> {
        self.cursor.clone()
    }

    /// Takes one window; gives the batches that it closed, in the order to store them.
    pub(crate) fn take(&mut self, window: Window, now: Timestamp) -> Vec<Batch> {
        self.heard = Some(now);
        let before = self.cursor.as_ref().filter(|cursor| cursor.boot == window.boot).map(|cursor| cursor.sequence);
        if before.is_some_and(|before| window.sequence <= before) {
            return Vec::new();
        }
        let lost = before.map(|before| window.sequence - before - 1);
        if let Some(lost) = lost.filter(|lost| *lost > 0) {
            self.gap = Some(format!("{lost} windows of counts were lost"));
        }
        if !window.is_plausible() {
            // Nothing in it is believed, its number neither: what comes next tells whether one is missing.
            self.fault("the router told counts that cannot be true");
            return Vec::new();
        }
        self.cursor = Some(Cursor { boot: window.boot.clone(), sequence: window.sequence });
        if let Err(why) = self.follows(&window) {
            self.fault(why);
            return Vec::new();
        }
        self.minute.count(&window);
        self.idle.count(&window, lost);
        if window.generation <= self.base {
            return Vec::new();
        }
        let is_other = window.from < self.origin || window.from.since(self.origin) > FIRST;
        if self.number == 0 && self.open.is_empty() && is_other {
            self.origin = window.from;
        }
        self.count(&window);
        self.remember(&window);
        if self.ended {
            return Vec::new();
        }
        let mut closed = Vec::new();
        if window.generation > self.newest {
            closed.extend(self.flush());
            self.newest = window.generation;
        }
        match self.open.get_mut(&window.generation) {
            Some(open) if open.weight == window.weight && open.boot == window.boot => merge(open, &window),
            Some(_) => {
                closed.extend(self.flush());
                self.open.insert(window.generation, window);
            }
            None => {
                self.open.insert(window.generation, window);
            }
        }
        if self.open.values().any(|open| open.to.since(open.from) >= BATCH) {
            closed.extend(self.flush());
        }
        closed
    }

    /// Judges a closed batch. Called in the order of the numbers.
    pub(crate) fn feed(&mut self, batch: &Batch) {
        let since = |at: Timestamp| at.since(batch.origin).0;
        self.observe(batch);
        // After its counts: a batch that something is missing of says nothing for the canary, however good it looks.
        if let Some(why) = &batch.blind {
            self.judge().blind(if why == SILENT { Blindness::Silence } else { Blindness::Source });
        }
        for Measured { metric, seen } in &batch.metrics {
            if let Some(told) = self.metrics.get_mut(usize::from(*metric)) {
                let blind = seen.as_ref().err().cloned();
                let (canary, stable) = seen.as_ref().map(|seen| (seen.canary, seen.stable)).unwrap_or_default();
                let sum = |a: Tries, b: Tries| Tries {
                    of: a.of.saturating_add(b.of),
                    failed: a.failed.saturating_add(b.failed),
                };
                let (canary, stable) = (sum(told.canary, canary), sum(told.stable, stable));
                *told = MetricSeen { name: std::mem::take(&mut told.name), canary, stable, blind };
            }
            match seen {
                Ok(seen) => {
                    let window = davy_judge::Window {
                        epoch: seen.generation.0,
                        weight: seen.weight.basis_points(),
                        from_ms: since(seen.from),
                        to_ms: since(seen.to),
                        canary: Counts::answered(seen.canary.of, seen.canary.failed),
                        stable: Counts::answered(seen.stable.of, seen.stable.failed),
                    };
                    self.judge().observe_metric(*metric, &window);
                }
                Err(_) => self.judge().blind_metric(*metric, Blindness::Source),
            }
        }
    }

    fn observe(&mut self, batch: &Batch) {
        let since = |at: Timestamp| at.since(batch.origin).0;
        let counted = Counted::of(&batch.window);
        let window = davy_judge::Window {
            epoch: batch.generation.0,
            weight: batch.weight.basis_points(),
            from_ms: since(batch.window.from),
            to_ms: since(batch.window.to),
            canary: counted.counts.canary,
            stable: counted.counts.stable,
        };
        if batch.evidence {
            self.judge().observe_with(&window, &counted.details());
        } else if !batch.window.cohorts.is_empty() {
            // Batches of routers that tell no cohorts are judged as they were.
            self.judge().observe_late(&window, &counted.details());
        }
    }

    /// Whether a window's time goes on from the last one's.
    fn follows(&mut self, window: &Window) -> Result<(), &'static str> {
        let told_to = self.told_to.take().filter(|(boot, _)| *boot == window.boot).map(|(_, to)| to);
        // Windows of several epochs end together.
        let goes_back = window.to <= window.from || told_to.is_some_and(|to| window.to < to);
        let leaps = window.to.since(window.from) > LONGEST
            || told_to.is_some_and(|to| window.from.since(to) > LONGEST && self.gap.is_none());
        let to = if goes_back { told_to } else { Some(window.to) };
        self.told_to = to.map(|to| (window.boot.clone(), to));
        match (goes_back, leaps) {
            (true, _) => Err("the router's clock went back"),
            (_, true) => Err("the router's clock leapt ahead, or it stood still"),
            _ => Ok(()),
        }
    }

    /// Something is wrong with what the router tells: nothing is seen until a sound batch comes, which says so, too.
    fn fault(&mut self, why: &str) {
        self.gap = Some(why.to_owned());
        self.idle = Idle::default();
        self.judge().blind(Blindness::Nonsense);
    }

    /// Says so if the source has been silent for too long.
    pub(crate) fn mind_silence(&mut self, since: Timestamp, now: Timestamp) {
        let heard = self.heard.unwrap_or(since).max(since);
        if now.since(heard) >= SILENCE {
            self.judge().blind(Blindness::Silence);
            self.gap.get_or_insert_with(|| SILENT.to_owned());
        }
    }

    /// The verdict on what was judged so far.
    #[must_use]
    pub(crate) fn verdict(&self) -> Option<Arc<Verdict>> {
        self.judged.then(|| self.verdict.get_or_init(|| Arc::new(self.judge.verdict())).clone())
    }

    /// The judge, to be given more.
    fn judge(&mut self) -> &mut Judge {
        self.verdict.take();
        &mut self.judge
    }

    /// What was routed in one epoch.
    #[must_use]
    pub(crate) fn traffic(&self, generation: Generation, now: Timestamp) -> Traffic {
        let known = self.traffic.get(&generation).copied().unwrap_or(Traffic { generation, ..Traffic::default() });
        let heard = self.heard.is_some_and(|heard| now.since(heard) < SILENCE);
        let idle = if heard { self.idle.length() } else { Millis(0) };
        Traffic { last_minute: self.minute.requests(), idle, ..known }
    }

    /// Everything seen of canary and stable, and what went to the canary as no evidence.
    #[must_use]
    pub(crate) const fn seen(&self) -> (Seen, Seen, Seen) {
        (self.canary, self.stable, self.aside)
    }

    /// What was read of the service's own metrics.
    #[must_use]
    pub(crate) fn metrics(&self) -> Vec<MetricSeen> {
        self.metrics.clone()
    }

    /// Ends the gathering of evidence: gives what is open; traffic is counted on.
    pub(crate) fn close(&mut self) -> Vec<Batch> {
        self.ended = true;
        self.flush()
    }

    /// Takes what was read of a metric: it goes with the next batch.
    pub(crate) fn read(&mut self, reading: Reading) {
        if !self.ended {
            self.readings.push(reading);
        }
    }

    /// What was read, put to the weight under which it was counted. A reading in whose time the weight changed is left out.
    fn measured(&mut self) -> Vec<Measured> {
        let epochs = &self.epochs;
        let place = |Reading { metric, span }: Reading| {
            let span = match span {
                Ok(span) => span,
                Err(error) => {
                    let why = error.to_string().chars().take(WORDS).collect();
                    return Some(Measured { metric, seen: Err(why) });
                }
            };
            let at = epochs.iter().rposition(|(since, ..)| *since <= span.since)?;
            let changed = epochs.get(at + 1).is_some_and(|(since, ..)| *since < span.to);
            let (_, generation, weight) = epochs[at];
            let (from, to, canary, stable) = (span.from.max(self.origin), span.to, span.canary, span.stable);
            let seen = Interval { generation, weight, from, to, canary, stable };
            (!changed && from < to).then_some(Measured { metric, seen: Ok(seen) })
        };
        self.readings.drain(..).filter_map(place).collect()
    }

    fn remember(&mut self, window: &Window) {
        let present = self.epochs.last().map(|(_, generation, weight)| (*generation, *weight));
        let newer = present.is_none_or(|(generation, _)| window.generation >= generation);
        if newer && present != Some((window.generation, window.weight)) {
            self.epochs.push((window.from, window.generation, window.weight));
        }
        // Longer ago than any reading reaches.
        if self.epochs.len() > EPOCHS {
            self.epochs.remove(0);
        }
    }

    fn flush(&mut self) -> Vec<Batch> {
        let newest = self.newest;
        let open = std::mem::take(&mut self.open);
        let mut metrics = if open.is_empty() { Vec::new() } else { self.measured() };
        let last = open.len();
        open.into_values()
            .enumerate()
            .map(|(index, window)| {
                self.number += 1;
                Batch {
                    rollout: self.rollout.clone(),
                    number: self.number,
                    generation: window.generation,
                    weight: window.weight,
                    origin: self.origin,
                    evidence: window.generation == newest && (self.past || window.weight > Weight::NONE),
                    blind: self.gap.take(),
                    // After the newest window: an epoch's requests come before what was counted in it.
                    metrics: if index + 1 == last { std::mem::take(&mut metrics) } else { Vec::new() },
                    window,
                }
            })
            .collect()
    }

    fn count(&mut self, window: &Window) {
        let traffic = self
            .traffic
            .entry(window.generation)
            .or_insert(Traffic { generation: window.generation, ..Traffic::default() });
        for cell in &window.cells {
            let (routed, seen) = match cell.role {
                Role::Canary => (&mut traffic.canary, &mut self.canary),
                Role::Stable => (&mut traffic.stable, &mut self.stable),
                Role::Mirrored => (&mut traffic.mirrored, &mut self.aside),
                Role::Matched => (&mut traffic.matched, &mut self.aside),
            };
            *routed = routed.saturating_add(cell.routed);
            seen.requests = seen.requests.saturating_add(cell.answered);
            seen.failed = seen.failed.saturating_add(cell.failures.total());
        }
        while self.traffic.len() > 8 {
            self.traffic.pop_first();
        }
    }
}

/// How many requests were routed in the last minute, by the second.
#[derive(Debug, Default)]
struct Minute {
    seconds: VecDeque<(u64, u64)>,
    /// Of all these seconds.
    sum: u128,
}

impl Minute {
    fn count(&mut self, window: &Window) {
        let second = window.to.0 / 1_000;
        let original = window.cells.iter().filter(|cell| cell.role != Role::Mirrored);
        let routed = original.fold(0_u64, |sum, cell| sum.saturating_add(cell.routed));
        match self.seconds.back_mut() {
            Some((last, sum)) if *last >= second => {
                let more = sum.saturating_add(routed);
                self.sum += u128::from(more - *sum);
                *sum = more;
            }
            _ => {
                self.sum += u128::from(routed);
                self.seconds.push_back((second, routed));
            }
        }
        while let Some((first, routed)) = self.seconds.front().copied()
            && first + 60 < second
        {
            self.sum -= u128::from(routed);
            self.seconds.pop_front();
        }
    }

    /// Where less than a minute is known, as many as there would have been.
    fn requests(&self) -> Option<u64> {
        let (first, last) = (self.seconds.front()?.0, self.seconds.back()?.0);
        let sum = u64::try_from(self.sum).unwrap_or(u64::MAX);
        Some(sum.saturating_mul(60) / (last - first + 1))
    }
}

/// How long no request has come, by the router's time: since when, and until when that is known.
#[derive(Debug, Default)]
struct Idle(Option<(Timestamp, Timestamp)>);

impl Idle {
    /// Counts a window before which so many were lost; nobody knows how many where the one before is of another run.
    fn count(&mut self, window: &Window, lost: Option<u64>) {
        let routed = |cell: &Cell| cell.role != Role::Mirrored && cell.routed > 0;
        let came = window.unserved > 0 || window.cells.iter().any(routed);
        self.0 = Some(match self.0.filter(|_| lost == Some(0)) {
            _ if came => (window.to, window.to),
            Some((since, to)) => (since, to.max(window.to)),
            None => (window.from, window.to),
        });
    }

    fn length(&self) -> Millis {
        self.0.map_or(Millis(0), |(since, to)| to.since(since))
    }
}
