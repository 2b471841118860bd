//! The judge's guard where the requests are, at each failure, with as much of stable under way as there is on the average.
//!
//! It weighs what was admitted up to each of several cuts, as in a gateway; here they are so many milliseconds ago.

use crate::rules::Seen;
use davy_judge::{
    InvalidPolicy,
    guard::{Guard as Judge, Order, Row, Side, start_after},
};
use std::collections::VecDeque;

/// How long ago cuts are, in milliseconds.
pub const CUTS_MS: [f64; 8] = [0.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 400.0];

/// The part of α that guards have.
const SHARE: f64 = 0.3;

/// One gateway's guard over one rollout.
#[derive(Clone, Debug)]
pub struct Guard {
    judge: Judge,
    /// What was admitted before every cut.
    settled: Vec<Row>,
    /// Failures admitted after the oldest cut.
    recent: VecDeque<Seen>,
}

impl Guard {
    /// As a rollout without limits orders it: with this α, against this many times stable's odds.
    ///
    /// # Errors
    ///
    /// An α or odds that cannot be promised.
    pub fn new(alpha: f64, odds: f64) -> Result<Self, InvalidPolicy> {
        let order = Order { alpha: SHARE * alpha, odds, relative: true, limits: Vec::new(), past: true, cluster: 1.0 };
        let judge = Judge::begin(order, 1).map_err(|_| InvalidPolicy::Alpha(alpha))?;
        Ok(Self { judge, settled: Vec::new(), recent: VecDeque::new() })
    }

    /// Takes one failure; whether the canary is cut off.
    pub fn failed(&mut self, seen: &Seen) -> bool {
        let oldest = seen.at_ms - CUTS_MS[CUTS_MS.len() - 1];
        while let Some(first) = self.recent.front().copied().filter(|first| first.admitted_ms <= oldest) {
            self.recent.pop_front();
            add(&mut self.settled, &first);
        }
        self.recent.push_back(*seen);
        seen.canary
            && CUTS_MS.iter().zip(seen.waiting).any(|(age, waiting)| {
                let mut rows = self.settled.clone();
                self.recent
                    .iter()
                    .filter(|one| one.admitted_ms <= seen.at_ms - age)
                    .for_each(|one| add(&mut rows, one));
                let Some(last) = rows.last_mut() else { return false };
                last.waiting = waiting.round() as u64;
                self.judge.find(&rows, None).is_some()
            })
    }
}

fn add(rows: &mut Vec<Row>, seen: &Seen) {
    let start = start_after(seen.at_ms as u64);
    if rows.last().is_none_or(|row| (row.weight, row.start) != (seen.weight, start)) {
        let (canary, stable) = (Side::default(), Side::default());
        rows.push(Row { epoch: rows.len() as u64, weight: seen.weight, start, canary, stable, waiting: 0 });
    }
    if let Some(row) = rows.last_mut() {
        let side = if seen.canary { &mut row.canary } else { &mut row.stable };
        // Successes say nothing here.
        side.routed += 1;
        side.failed += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{CUTS_MS, Guard};
    use crate::rules::Seen;

    fn seen(at: u32, canary: bool, waiting: [f64; CUTS_MS.len()]) -> Seen {
        let at_ms = f64::from(at);
        Seen { at_ms, admitted_ms: at_ms, weight: 1_000, canary, successes: 0, waiting }
    }

    #[test]
    fn a_catastrophe_at_a_tenth_is_cut_off_after_few_failures() {
        let needed = |waiting| {
            let mut guard = Guard::new(0.01, 1.0).expect("a valid order");
            (1..1_000).find(|at| guard.failed(&seen(*at, true, waiting)))
        };
        assert_eq!(needed([0.0; 8]), Some(4));
        assert_eq!(needed([6.0; 8]), Some(8), "a slow stable costs time");
        let answered = [900.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(needed(answered), Some(8 + 50), "no longer than until it has answered");
    }

    #[test]
    fn failures_shared_by_weight_are_no_evidence() {
        let mut guard = Guard::new(0.01, 1.0).expect("a valid order");
        for at in 0..10_000 {
            assert!(!guard.failed(&seen(at * 10, at % 10 == 0, [0.0; 8])), "after {at}");
        }
    }
}
