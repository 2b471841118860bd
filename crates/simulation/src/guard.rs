//! The judge's guard where the requests are, at each failure, with as much of stable under way as there is on the average.
//!
//! It weighs what was admitted up to each of several cuts, as in a gateway; here they are so many milliseconds ago. It is held to what a
//! rollout's policy orders: compared or not, limits, clusters, and a limit from stable's past once little of it is left.

use crate::{rules::Seen, traffic::Second};
use davy_judge::guard::{FREEZE_ABOVE, Frozen, Guard as Judge, InvalidOrder, Order, Row, Side, start_after};
use std::collections::VecDeque;

/// How long ago cuts are, in milliseconds.
pub const CUTS_MS: [f64; 8] = [0.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 400.0];

/// Seconds before the present one that a cut may lie in.
const RECENT_S: u64 = 1;

/// One gateway's guard over one rollout.
#[derive(Clone, Debug)]
pub struct Guard {
    judge: Judge,
    /// Stable's past, once little of it is left.
    frozen: Option<Frozen>,
    /// What was admitted before every cut.
    settled: Vec<Row>,
    /// Requests admitted in the seconds that cuts may lie in.
    admitted: VecDeque<Admitted>,
    /// Failures admitted after the oldest cut.
    recent: VecDeque<Seen>,
}

/// Requests of one second.
#[derive(Clone, Copy, Debug)]
struct Admitted {
    from_s: u64,
    weight: u16,
    canary: u64,
    stable: u64,
}

impl Guard {
    /// The first of a rollout.
    ///
    /// # Errors
    ///
    /// What in the order cannot be promised.
    pub fn new(order: Order) -> Result<Self, InvalidOrder> {
        let judge = Judge::begin(order, 1)?;
        let (settled, admitted, recent) = (Vec::new(), VecDeque::new(), VecDeque::new());
        Ok(Self { judge, frozen: None, settled, admitted, recent })
    }

    /// Counts the requests of a second.
    pub fn admits(&mut self, second: &Second) {
        if second.weight > FREEZE_ABOVE && self.frozen.is_none() {
            self.frozen = Some(self.judge.freeze(self.past()));
        }
        while let Some(first) = self.admitted.front().copied().filter(|first| first.from_s + RECENT_S < second.from_s) {
            self.admitted.pop_front();
            first.count(&mut self.settled, 1.0);
        }
        let Second { from_s, weight, canary, stable, .. } = *second;
        self.admitted.push_back(Admitted { from_s, weight, canary, stable });
    }

    /// All of stable's so far.
    fn past(&self) -> Side {
        let routed = self.settled.iter().map(|row| row.stable.routed);
        let failed = self.settled.iter().map(|row| row.stable.failed);
        let recent = self.recent.iter().filter(|seen| !seen.canary).count() as u64;
        Side {
            routed: routed.chain(self.admitted.iter().map(|second| second.stable)).sum(),
            failed: failed.sum::<u64>() + recent,
        }
    }

    /// Takes one failure; whether the canary is cut off.
    pub fn failed(&mut self, seen: &Seen) -> bool {
        let oldest = seen.at_ms - CUTS_MS[CUTS_MS.len() - 1];
        while let Some(first) = self.recent.front().copied().filter(|first| first.admitted_ms <= oldest) {
            self.recent.pop_front();
            fail(&mut self.settled, &first);
        }
        self.recent.push_back(*seen);
        seen.canary
            && CUTS_MS.iter().zip(seen.waiting).any(|(age, waiting)| {
                let mut rows = self.up_to(seen.at_ms - age);
                let Some(last) = rows.last_mut() else { return false };
                last.waiting = waiting.round() as u64;
                self.judge.find(&rows, self.frozen.as_ref()).is_some()
            })
    }

    /// What was admitted up to a cut.
    fn up_to(&self, cut_ms: f64) -> Vec<Row> {
        let mut rows = self.settled.clone();
        let latest = self.admitted.back().map_or(0, |second| second.from_s);
        for second in &self.admitted {
            let part = cut_ms / 1_000.0 - second.from_s as f64;
            // What comes after the latest second is not drawn yet, and comes as fast.
            second.count(&mut rows, if second.from_s == latest { part } else { part.min(1.0) });
        }
        self.recent.iter().filter(|seen| seen.admitted_ms <= cut_ms).for_each(|seen| fail(&mut rows, seen));
        rows
    }
}

impl Admitted {
    /// So much of the second.
    fn count(&self, rows: &mut Vec<Row>, part: f64) {
        if part > 0.0 {
            let until = |n: u64| admitted_by(n, part);
            let row = row(rows, self.weight, self.from_s * 1_000);
            row.canary.routed += until(self.canary);
            row.stable.routed += until(self.stable);
        }
    }
}

/// How many of `n` requests of a second are admitted by a part of it: those whose place is no later.
fn admitted_by(n: u64, part: f64) -> u64 {
    // The little more is for rounding: a request counts at its own place.
    (n as f64 * part + 0.5 + 1e-6).floor() as u64
}

fn fail(rows: &mut Vec<Row>, seen: &Seen) {
    let row = row(rows, seen.weight, seen.admitted_ms as u64);
    let side = if seen.canary { &mut row.canary } else { &mut row.stable };
    side.failed += 1;
}

/// What is counted at a weight and since a start.
fn row(rows: &mut Vec<Row>, weight: u16, at_ms: u64) -> &mut Row {
    let start = start_after(at_ms);
    let at = rows.iter().rposition(|row| (row.weight, row.start) == (weight, start)).unwrap_or_else(|| {
        let (canary, stable) = (Side::default(), Side::default());
        rows.push(Row { epoch: rows.len() as u64, weight, start, canary, stable, waiting: 0 });
        rows.len() - 1
    });
    &mut rows[at]
}

#[cfg(test)]
mod tests {
    use super::{CUTS_MS, Guard, admitted_by};
    use crate::{
        rules::Seen,
        traffic::{Second, place},
    };
    use davy_judge::guard::Order;

    fn order() -> Order {
        Order { alpha: 0.003, odds: 1.0, relative: true, limits: Vec::new(), past: true, cluster: 1.0 }
    }

    fn seen(at: u32, canary: bool, waiting: [f64; CUTS_MS.len()]) -> Seen {
        let at_ms = f64::from(at);
        Seen { at_ms, admitted_ms: at_ms, weight: 1_000, canary, successes: 0, waiting }
    }

    /// How many failures of the canary, a millisecond apart, cut it off.
    fn needed(order: Order, waiting: [f64; CUTS_MS.len()]) -> Option<u32> {
        let mut guard = Guard::new(order).expect("a valid order");
        (1..1_000).find(|at| guard.failed(&seen(*at, true, waiting)))
    }

    #[test]
    fn a_catastrophe_at_a_tenth_is_cut_off_after_few_failures() {
        assert_eq!(needed(order(), [0.0; 8]), Some(4));
        assert_eq!(needed(order(), [6.0; 8]), Some(8), "a slow stable costs time");
        let answered = [900.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(needed(order(), answered), Some(8 + 50), "no longer than until it has answered");
        assert_eq!(needed(Order { cluster: 10.0, ..order() }, [0.0; 8]), Some(34), "ten times the evidence is needed");
        assert_eq!(needed(Order { relative: false, ..order() }, [0.0; 8]), None, "nothing is compared");
    }

    #[test]
    fn failures_shared_by_weight_are_no_evidence() {
        let mut guard = Guard::new(order()).expect("a valid order");
        for at in 0..10_000 {
            assert!(!guard.failed(&seen(at * 10, at % 10 == 0, [0.0; 8])), "after {at}");
        }
    }

    #[test]
    fn a_request_is_admitted_at_its_place() {
        for n in [1_u64, 3, 7, 100] {
            for at in 0..n {
                let part = place(at, n) / 1_000.0;
                assert_eq!(admitted_by(n, part), at + 1, "{at} of {n}");
                assert_eq!(admitted_by(n, part - 1e-3 / n as f64), at, "{at} of {n}");
            }
        }
    }

    #[test]
    fn the_past_is_frozen_when_little_of_stable_is_left_and_judges_alone() {
        let mut guard = Guard::new(order()).expect("a valid order");
        for from_s in 0..200 {
            guard.admits(&Second { from_s, weight: 1_000, canary: 100, stable: 900, ..Second::default() });
        }
        guard.admits(&Second { from_s: 200, weight: 10_000, canary: 1_000, ..Second::default() });
        let alone = |at: u32| Seen { weight: 10_000, ..seen(200_000 + at, true, [0.0; 8]) };
        let needed = (1..1_000).find(|at| guard.failed(&alone(*at))).expect("it is cut off");
        assert!(needed < 10, "{needed}");
    }
}
