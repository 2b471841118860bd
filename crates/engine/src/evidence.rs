//! From windows to stored batches to verdicts: the judge sees exactly what is stored, in the order it is stored.

use davy_core::{
    Cell, Failures, Generation, Millis, Policy, Role, RolloutId, Strategy, Timestamp, Window,
    rollout::{Passes, Request, Rollout, Traffic},
};
use davy_judge::{Blindness, Counts, Judge, Verdict};
use davy_ports::{Batch, Cursor};
use std::collections::BTreeMap;

/// Windows are merged over this time before they are stored and judged.
const BATCH: Millis = Millis::seconds(1);
/// A source that says nothing for so long is blind.
const SILENCE: Millis = Millis::seconds(2);

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

/// Gathers the windows of one rollout.
#[derive(Debug)]
pub(crate) struct Collector {
    rollout: RolloutId,
    base: Generation,
    origin: Timestamp,
    /// Whether requests at 0 % are evidence, too: stable's past is all that the new release is judged against.
    past: bool,
    judge: Judge,
    judged: bool,
    number: u64,
    open: BTreeMap<Generation, Window>,
    newest: Generation,
    cursor: Option<Cursor>,
    gap: Option<String>,
    ended: bool,
    heard: Option<Timestamp>,
    traffic: BTreeMap<Generation, Traffic>,
    canary: Seen,
    stable: Seen,
    /// Of the canary, what is no evidence: matched requests and copies.
    aside: Seen,
}

impl Collector {
    /// For a rollout that begins.
    #[must_use]
    pub(crate) fn new(rollout: &Rollout) -> Self {
        let Rollout { request: Request { rollout: id, policy: Policy { analysis, strategy, .. }, .. }, .. } = rollout;
        let policy = davy_judge::Policy {
            sticky: matches!(strategy, Strategy::Canary(canary) if canary.sticky),
            alpha: analysis.alpha,
            beta: analysis.beta,
            max_error_rate: analysis.max_error_rate,
            relative: analysis.not_worse_than_stable,
            ..davy_judge::Policy::default()
        };
        let judged = Judge::new(policy);
        let usable = judged.is_ok();
        let judge = judged.or_else(|_| Judge::new(davy_judge::Policy::default()));
        Self {
            rollout: id.clone(),
            base: rollout.base,
            origin: rollout.began,
            past: rollout.plan.iter().any(|step| step.passes == Passes::Measured),
            judge: judge.unwrap_or_else(|_| unreachable!("the default policy is valid")),
            judged: usable,
            number: 0,
            open: BTreeMap::new(),
            newest: Generation(0),
            cursor: None,
            gap: None,
            ended: false,
            heard: None,
            traffic: BTreeMap::new(),
            canary: Seen::default(),
            stable: Seen::default(),
            aside: Seen::default(),
        }
    }

    /// Takes up where the stored batches end.
    pub(crate) fn recover(&mut self, batches: &[Batch]) {
        for batch in batches {
            self.count(&batch.window);
            self.feed(batch);
            self.number = batch.number;
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
        if let Some(cursor) = &self.cursor {
            if cursor.boot == window.boot && window.sequence <= cursor.sequence {
                return Vec::new();
            }
            if cursor.boot == window.boot && window.sequence > cursor.sequence + 1 {
                let lost = window.sequence - cursor.sequence - 1;
                self.gap = Some(format!("{lost} windows of counts were lost"));
            }
        }
        self.cursor = Some(Cursor { boot: window.boot.clone(), sequence: window.sequence });
        if window.generation <= self.base {
            return Vec::new();
        }
        self.count(&window);
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
        if let Some(why) = &batch.blind {
            self.judge.blind(if why == SILENT { Blindness::Silence } else { Blindness::Source });
        }
        if !batch.evidence {
            return;
        }
        let since = |at: Timestamp| at.since(batch.origin).0;
        self.judge.observe(&davy_judge::Window {
            epoch: batch.generation.0,
            weight: batch.weight.basis_points(),
            from_ms: since(batch.window.from),
            to_ms: since(batch.window.to),
            canary: counts(&batch.window, Role::Canary),
            stable: counts(&batch.window, Role::Stable),
        });
    }

    /// Says so if the source has been silent for too long.
    pub(crate) fn mind_silence(&mut self, since: Timestamp, now: Timestamp) {
        let heard = self.heard.unwrap_or(since).max(since);
        if now.since(heard) >= SILENCE {
            self.judge.blind(Blindness::Silence);
            self.gap.get_or_insert_with(|| SILENT.to_owned());
        }
    }

    /// The verdict on what was judged so far.
    #[must_use]
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.judged.then(|| self.judge.verdict())
    }

    /// What was routed in one epoch.
    #[must_use]
    pub(crate) fn traffic(&self, generation: Generation) -> Traffic {
        self.traffic.get(&generation).copied().unwrap_or(Traffic { generation, ..Traffic::default() })
    }

    /// Everything seen of canary and stable, and what went to the canary as no evidence.
    #[must_use]
    pub(crate) const fn seen(&self) -> (Seen, Seen, Seen) {
        (self.canary, self.stable, self.aside)
    }

    /// Ends the gathering of evidence: gives what is open; traffic is counted on.
    pub(crate) fn close(&mut self) -> Vec<Batch> {
        self.ended = true;
        self.flush()
    }

    fn flush(&mut self) -> Vec<Batch> {
        let newest = self.newest;
        let open = std::mem::take(&mut self.open);
        open.into_values()
            .map(|window| {
                self.number += 1;
                Batch {
                    rollout: self.rollout.clone(),
                    number: self.number,
                    generation: window.generation,
                    weight: window.weight,
                    origin: self.origin,
                    evidence: window.generation == newest && (self.past || window.weight > davy_core::Weight::NONE),
                    blind: self.gap.take(),
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
            *routed += cell.routed;
            seen.requests += cell.answered;
            seen.failed += cell.failures.total();
        }
        while self.traffic.len() > 8 {
            self.traffic.pop_first();
        }
    }
}

fn counts(window: &Window, role: Role) -> Counts {
    let cells = window.cells.iter().filter(|cell| cell.role == role);
    cells.fold(Counts::default(), |sum, cell| Counts {
        // Given up by the client is an end too: what is admitted and has not ended is in flight.
        n: sum.n + cell.answered + cell.client_gone,
        x: sum.x + cell.failures.total(),
        admitted: sum.admitted + cell.routed,
        repeated: sum.repeated + cell.repeated,
    })
}

/// Adds a later window of the same epoch.
fn merge(into: &mut Window, window: &Window) {
    into.sequence = window.sequence;
    into.to = window.to;
    into.unserved += window.unserved;
    for cell in &window.cells {
        let same = |other: &&mut Cell| {
            other.instance == cell.instance && other.release == cell.release && other.role == cell.role
        };
        match into.cells.iter_mut().find(same) {
            Some(sum) => add(sum, cell),
            None => into.cells.push(cell.clone()),
        }
    }
}

fn add(sum: &mut Cell, cell: &Cell) {
    sum.routed += cell.routed;
    sum.answered += cell.answered;
    sum.client_gone += cell.client_gone;
    sum.repeated += cell.repeated;
    sum.failures = Failures {
        status: sum.failures.status + cell.failures.status,
        timeout: sum.failures.timeout + cell.failures.timeout,
        refused: sum.failures.refused + cell.failures.refused,
        reset: sum.failures.reset + cell.failures.reset,
    };
    let mut latency: BTreeMap<u8, u64> = sum.latency.iter().copied().collect();
    for (bucket, count) in &cell.latency {
        *latency.entry(*bucket).or_default() += count;
    }
    sum.latency = latency.into_iter().collect();
}
