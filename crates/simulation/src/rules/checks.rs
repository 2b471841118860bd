//! Checks of the canary's failure rate at intervals, as many tools make them.
//!
//! What is modelled, and from whose documentation:
//!
//! - [`Kind::Check`]: every interval the failure rate of the last interval; above the limit, back. A step lasts its hold,
//!   at least one interval. An alert on an error rate that aborts a deployment.
//! - [`Kind::Interval`]: every interval the success rate of the last interval; at or above the limit the next weight
//!   comes, below it a counter rises that is never reset, and once it stands at the threshold the next tick puts traffic
//!   back. An interval without a request counts as failed. Progressive delivery controllers with `interval`, `threshold`.
//! - [`Kind::FailureLimit`]: measurements run in the background while the weights rise by time; a measurement fails below
//!   the limit, and more failures than the failure limit put traffic back. A step lasts its hold, at least two intervals.
//!   An interval without a request measures nothing. Rollout controllers with `interval`, `successCondition`, `failureLimit`.

use super::{Rule, Ruling, Tally};
use crate::traffic::Second;

/// Which check.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// The largest failure rate that passes.
    Check(f64),
    /// The least success rate that passes, and how many failed checks are too many.
    Interval(f64, u32),
    /// The least success rate that passes, and how many failed measurements are allowed.
    FailureLimit(f64, u32),
}

/// A check every interval.
#[derive(Clone, Debug)]
pub struct Checks {
    kind: Kind,
    interval_s: u64,
    since: Tally,
    failed: u32,
    /// Of [`Kind::Check`]: whether the last check passed.
    passed: bool,
}

impl Checks {
    /// One check each so many seconds.
    #[must_use]
    pub fn new(kind: Kind, interval_s: u64) -> Self {
        Self { kind, interval_s: interval_s.max(1), since: Tally::default(), failed: 0, passed: false }
    }
}

impl Rule for Checks {
    fn second(&mut self, second: &Second) -> Ruling {
        self.since.add(second);
        let due = (second.from_s + 1).is_multiple_of(self.interval_s);
        let rate = self.since.rate();
        if due {
            self.since = Tally::default();
        }
        match self.kind {
            Kind::Check(limit) if due => {
                self.passed = rate.is_some_and(|rate| rate <= limit);
                if rate.is_some_and(|rate| rate > limit) { Ruling::Back } else { forward(self.passed) }
            }
            Kind::Check(_) => forward(self.passed),
            Kind::Interval(_, threshold) if due && self.failed >= threshold => Ruling::Back,
            Kind::Interval(limit, _) if due => {
                let passed = rate.is_some_and(|rate| 1.0 - rate >= limit);
                self.failed += u32::from(!passed);
                forward(passed)
            }
            Kind::Interval(..) => Ruling::Stay,
            Kind::FailureLimit(limit, allowed) => {
                self.failed += u32::from(due && rate.is_some_and(|rate| 1.0 - rate < limit));
                if self.failed > allowed { Ruling::Back } else { Ruling::Forward }
            }
        }
    }

    fn patience_s(&self) -> u64 {
        match self.kind {
            Kind::FailureLimit(..) => 2 * self.interval_s,
            _ => self.interval_s,
        }
    }
}

const fn forward(passed: bool) -> Ruling {
    if passed { Ruling::Forward } else { Ruling::Stay }
}
