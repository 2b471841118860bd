//! Errors of the canary against a limit: the process that rolls back where there is nothing to compare with, too.
//!
//! Null: each canary request fails with probability at most `p0`, whatever happened before it was admitted. For ten
//! alternatives `q`, odds log-spaced from `1.5·odds(p0)` to `max(4, 3·odds(p0))`,
//!
//! ```text
//! ln E_q = Σ x_c ln(q/p0) + (n_c − x_c) ln((1 − q)/(1 − p0))
//! ```
//!
//! `n_c` counts at admission and `x_c` at failure, so that fast failures cannot fake a rate: a request in flight counts
//! as a success until it fails, which only lowers `E_q`.
//!
//! A start in mid-stream needs one thing more. Failures of requests admitted before it would meet no admission; when
//! traffic falls just after the start, they alone would fake a rate. So the first failures after a start, as many as
//! requests were in flight when it began (and never more than are in flight now), are taken as old and left out. What is
//! left is at most what requests admitted since the start have failed, and `E_q` grows with `x_c`, so the product stays
//! below the likelihood ratio of those requests, which is a martingale at the null's edge.

use crate::blocks::Block;
use crate::counts::{Counts, Pair};
use crate::mixture::{Mixture, Value};

/// Alternatives `q`.
pub(crate) const RATES: usize = 10;

/// A limit at or above this is none: alternatives beyond it say nothing.
const USELESS: f64 = 0.9;

/// A derived limit is never below this rate.
const DERIVED_FLOOR: f64 = 0.005;

/// `ln 1000`: the upper bound under a derived limit holds with 99.9 %.
const LN_DOUBT: f64 = 6.907_755_278_982_137;

/// One alternative: what a failure and a success add to `ln E_q`.
#[derive(Clone, Copy, Debug)]
struct Alternative {
    failure: f64,
    success: f64,
}

/// `ln E_q` of one block for each of the ten alternatives to the limit `p0`.
#[must_use]
pub fn ln_e(canary: Counts, p0: f64) -> [f64; RATES] {
    alternatives(p0).map(|alternative| alternative.ln_e(canary.admitted, canary.x))
}

impl Alternative {
    fn ln_e(self, admitted: u64, failures: u64) -> f64 {
        let (n, x) = (admitted as f64, failures as f64);
        x * self.failure + (n - x) * self.success
    }
}

fn alternatives(p0: f64) -> [Alternative; RATES] {
    let limit = p0 / (1.0 - p0);
    let first = 1.5 * limit;
    let step = libm::log(f64::max(4.0, 3.0 * limit) / first) / (RATES - 1) as f64;
    std::array::from_fn(|k| {
        let odds = first * libm::exp(step * k as f64);
        // (1 − q)/(1 − p0) = (1 + odds(p0))/(1 + odds(q)), and q/p0 is that times the ratio of the odds.
        let success = libm::log1p((limit - odds) / (1.0 + odds));
        Alternative { failure: success + libm::log(odds / limit), success }
    })
}

/// The limit that stable's own past gives: twice the 99.9 % upper bound of its failure rate, at least 0.5 %.
///
/// The bound is Chernoff's, the `p ≥ x/n` with `n KL(x/n ‖ p) = ln 1000`, which is never below the exact one. Nothing is
/// derived where the limit would be no limit: without past, or with a past too bad.
#[must_use]
pub fn derived_limit(stable: Counts) -> Option<f64> {
    let rate = stable.rate()?;
    let n = stable.n as f64;
    let (mut low, mut high) = (rate, 1.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if n * divergence(rate, middle) < LN_DOUBT {
            low = middle;
        } else {
            high = middle;
        }
    }
    let limit = f64::max(2.0 * high, DERIVED_FLOOR);
    (limit < USELESS).then_some(limit)
}

/// `KL(Bernoulli(a) ‖ Bernoulli(b))` in nats, for `a ≤ b`; infinite at `b = 1` unless `a = 1`.
fn divergence(a: f64, b: f64) -> f64 {
    let failures = if a > 0.0 { a * libm::log(a / b) } else { 0.0 };
    let successes = if a < 1.0 { (1.0 - a) * (libm::log1p(-a) - libm::log1p(-b)) } else { 0.0 };
    failures + successes
}

/// The process against one limit.
#[derive(Clone, Debug)]
pub(crate) struct Absolute {
    pub(crate) limit: f64,
    pub(crate) begun_ms: u64,
    alternatives: [Alternative; RATES],
    mixture: Mixture<RATES>,
    /// Requests admitted in this epoch that have not ended.
    in_flight: u64,
    /// How many requests fail together: what every `ln E_q` is divided by.
    cluster: f64,
}

impl Absolute {
    /// Begins with the requests admitted from `begun_ms` on.
    pub(crate) fn begin(limit: f64, begun_ms: u64) -> Self {
        let (alternatives, mixture) = (alternatives(limit), Mixture::begin(begun_ms));
        Self { limit, begun_ms, alternatives, mixture, in_flight: 0, cluster: 1.0 }
    }

    /// The same where `cluster` requests fail together.
    pub(crate) fn tempered(mut self, cluster: f64) -> Self {
        self.cluster = cluster;
        self
    }

    /// An epoch is over. What is in flight from it will be counted under it, if at all, and never comes here.
    pub(crate) fn enter_epoch(&mut self) {
        self.in_flight = 0;
    }

    /// Takes one closed block; `before` is what had been counted before it.
    pub(crate) fn add(&mut self, block: &Block, before: Pair) {
        self.mixture.reach(block.from_ms, before, self.in_flight);
        let Counts { n, admitted, .. } = block.counts.canary;
        let x = block.counts.canary.first_failures();
        let present = self.in_flight.saturating_add(admitted);
        // Only what was admitted can fail: a source that breaks this must not fake a rate.
        let failures = x.min(present);
        for start in self.mixture.starts_mut() {
            start.older = start.older.min(self.in_flight);
            let old = failures.min(start.older);
            start.older -= old;
            for (sum, alternative) in start.sums.iter_mut().zip(&self.alternatives) {
                sum.add(alternative.ln_e(admitted, failures - old) / self.cluster);
            }
        }
        self.in_flight = present.saturating_sub(n);
    }

    pub(crate) fn value(&self) -> Value {
        self.mixture.value()
    }
}

#[cfg(test)]
mod tests {
    use super::{derived_limit, divergence};
    use crate::counts::Counts;

    #[test]
    fn derived_limits_against_known_bounds() {
        // Without failures Chernoff's bound is the exact one: 1 − 0.001^(1/n).
        let limit = derived_limit(Counts::answered(1_000, 0)).expect("a past");
        assert!((limit - 2.0 * (1.0 - libm::pow(0.001, 1e-3))).abs() < 1e-9);
        assert_eq!(derived_limit(Counts::answered(1_000_000, 10)), Some(0.005));
        assert_eq!(derived_limit(Counts::default()), None);
        assert_eq!(derived_limit(Counts::answered(5, 0)), None);
        assert_eq!(derived_limit(Counts::answered(5, 5)), None);
        let many = derived_limit(Counts::answered(1_000_000_000_000, 10_000_000_000)).expect("a past");
        assert!((many - 0.02).abs() < 1e-5);
    }

    #[test]
    fn divergence_is_finite_inside_and_zero_at_itself() {
        assert_eq!(divergence(0.3, 0.3), 0.0);
        assert!(divergence(0.0, 0.5).is_finite());
        assert!(divergence(0.5, 1.0).is_infinite());
    }
}
