//! Requests that have not ended yet: what they hide must not be taken for health.
//!
//! Every e-value of the proof counts requests that ended. A canary that hangs answers its good requests at once and
//! fails the others only at the route's timeout; until then it looks perfect, and quick steps would be over. So a step
//! waits while the canary has requests in flight far beyond its share: with requests in flight in place of failures, the
//! block process of [`crate::relative`] against three times stable's odds, looked at once, reaches `1/β`. It can only
//! hold back, so neither α nor β is touched; a canary that is merely somewhat slower is not held.

use crate::counts::{Counts, Pair};
use crate::relative;
use crate::sum::ln_mix;

/// How many times stable's odds of being in flight are allowed: latency is judged elsewhere.
const ODDS: f64 = 3.0;

/// Alternatives beyond that, mixed evenly.
const RATIOS: [f64; 5] = [1.5, 3.0, 10.0, 30.0, 100.0];

/// What was admitted in this epoch and has not ended, in closed blocks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InFlight {
    admitted: Pair,
}

impl InFlight {
    /// Takes one closed block of the epoch.
    pub(crate) fn add(&mut self, counts: Pair) {
        self.admitted = self.admitted.plus(counts);
    }

    /// Requests of the canary and of stable that have not ended.
    pub(crate) fn unanswered(&self) -> (u64, u64) {
        let open = |counts: Counts| counts.admitted.saturating_sub(counts.n);
        (open(self.admitted.canary), open(self.admitted.stable))
    }

    /// Whether the canary has so many that a step must wait.
    pub(crate) fn holds_back(&self, ln_safe: f64) -> bool {
        let (canary, stable) = self.unanswered();
        let as_failures =
            |counts: Counts, open| Counts { n: counts.admitted, x: open, admitted: counts.admitted, repeated: 0 };
        let pair = Pair {
            canary: as_failures(self.admitted.canary, canary),
            stable: as_failures(self.admitted.stable, stable),
        };
        let even = -libm::log(RATIOS.len() as f64);
        ln_mix(&RATIOS.map(|ratio| (even, relative::ln_e(&pair, ODDS, ratio)))) >= ln_safe
    }
}
