//! What decides on counts, for tools other than Davy.

pub mod checks;
pub mod oracle;
pub mod peeking;
pub mod rank;

use crate::{guard::CUTS_MS, traffic::Second};

/// What a rule says after a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Stay at this weight.
    Stay,
    /// The next weight may come.
    Forward,
    /// Put traffic back.
    Back,
}

/// One request whose outcome is known at once, for rules that look at requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// When the outcome is known, in milliseconds since the rollout began.
    pub at_ms: f64,
    /// When it was admitted.
    pub admitted_ms: f64,
    /// The canary's share when it was routed, in basis points.
    pub weight: u16,
    /// Whether the canary had it; else stable.
    pub canary: bool,
    /// Requests of the same version that succeeded since its last failure, before this one.
    pub successes: u64,
    /// Requests of stable admitted before each of the guard's cuts that wait for their answer meanwhile, on the average.
    pub waiting: [f64; CUTS_MS.len()],
}

/// A rule for one rollout.
pub trait Rule {
    /// A failure, where the rule sees each as it comes; whether the canary is cut off at once. Most tools do not.
    fn failed(&mut self, _failure: &Seen) -> bool {
        false
    }

    /// A second is over.
    fn second(&mut self, second: &Second) -> Ruling;

    /// The least time at a weight, whatever the hold, in seconds.
    fn patience_s(&self) -> u64 {
        0
    }
}

/// Failures and requests of both versions, summed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub canary: u64,
    pub canary_failed: u64,
    pub stable: u64,
    pub stable_failed: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, second: &Second) {
        self.canary += second.canary;
        self.canary_failed += second.canary_failed.len() as u64;
        self.stable += second.stable;
        self.stable_failed += second.stable_failed.len() as u64;
    }

    /// The share of the canary's requests that failed.
    pub(crate) fn rate(&self) -> Option<f64> {
        (self.canary > 0).then(|| self.canary_failed as f64 / self.canary as f64)
    }
}
