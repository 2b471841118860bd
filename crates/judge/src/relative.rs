//! Errors of the canary against errors of stable: the process that rolls back.
//!
//! Null: in every block the canary's odds of failure are at most `ω0 ≥ 1` times stable's. Given the totals of a block
//! (`n_c`, `n_b` requests, `m = x_c + x_b` failures), `x_c` then is Fisher's noncentral hypergeometric with some
//! `ω ≤ ω0`, and
//!
//! ```text
//! θ1 = n_c ω0 / (n_c ω0 + n_b)        ln e(r) = x_c ln r − m ln1p((r − 1) θ1)
//! ```
//!
//! has `E[e] ≤ 1` for every `r > 1`. Proof: the generating function of `x_c` has real roots only, so `x_c` is a sum of
//! at most `m` independent draws and `E[r^x_c] ≤ (1 + (r − 1) μ/m)^m` with `μ` its mean (for `ω = 1`: Hoeffding 1963).
//! Balancing neighbouring probabilities gives `E[x_c (n_b − m + x_c)] = ω E[(n_c − x_c)(m − x_c)]`, hence
//! `μ (n_b − m + ω n_c + ω m) = ω n_c m + (ω − 1) E[x_c²]`; with `E[x_c²] ≤ m μ` and `ω ≥ 1` that is `μ ≤ m θ1(ω)`.
//! Below 1 the last step fails, which is why `ω0 < 1` is refused.
//!
//! Where clients stay with a version (sticky), requests are not drawn one by one, but clients are: a client counts by its first
//! failure in the rollout only, and `θ1 = w ω0 / (w ω0 + 1 − w)` with the configured weight `w`, which each client's draw had.
//!
//! Since it conditions on totals, daily rhythms, incidents of both versions and changes of the weight need no model.
//! Source of the approach: Lindon, Sanden, Shirikian, KDD 2022 (arXiv 2205.14762).

use crate::blocks::Block;
use crate::counts::{Pair, WHOLE};
use crate::mixture::{Mixture, Value};

/// Alternatives `r`, log-spaced, both ends included.
const RATIOS: usize = 20;
const SMALLEST: f64 = 1.3;
const LARGEST: f64 = 1_000.0;

/// `ln e(r)` of one block; 0 where the block cannot tell (a version without requests, or no failure).
#[must_use]
pub fn ln_e(counts: &Pair, odds: f64, ratio: f64) -> f64 {
    let (n_c, n_b) = (counts.canary.n as f64, counts.stable.n as f64);
    let (x_c, x_b) = (counts.canary.x as f64, counts.stable.x as f64);
    if n_c == 0.0 || n_b == 0.0 || x_c + x_b == 0.0 {
        return 0.0;
    }
    let share = n_c * odds / (n_c * odds + n_b);
    x_c * libm::log(ratio) - (x_c + x_b) * libm::log1p((ratio - 1.0) * share)
}

/// As [`ln_e`] for clients that stay with a version: `share` is the configured weight as a fraction.
#[must_use]
pub fn ln_e_sticky(counts: &Pair, odds: f64, ratio: f64, share: f64) -> f64 {
    let (x_c, x_b) = (counts.canary.first_failures() as f64, counts.stable.first_failures() as f64);
    if share <= 0.0 || share >= 1.0 || x_c + x_b == 0.0 {
        return 0.0;
    }
    let share = share * odds / (share * odds + 1.0 - share);
    x_c * libm::log(ratio) - (x_c + x_b) * libm::log1p((ratio - 1.0) * share)
}

/// The `k`-th alternative.
fn ratio(k: usize) -> f64 {
    let step = libm::log(LARGEST / SMALLEST) / (RATIOS - 1) as f64;
    SMALLEST * libm::exp(step * k as f64)
}

/// The process over all blocks in which both versions had a share.
#[derive(Clone, Debug)]
pub(crate) struct Relative {
    odds: f64,
    sticky: bool,
    ratios: [f64; RATIOS],
    mixture: Mixture<RATIOS>,
}

impl Relative {
    pub(crate) fn begin(odds: f64, sticky: bool) -> Self {
        Self { odds, sticky, ratios: std::array::from_fn(ratio), mixture: Mixture::begin(0) }
    }

    /// Takes one closed block; `before` is what had been counted before it.
    pub(crate) fn add(&mut self, block: &Block, before: Pair) {
        self.mixture.reach(block.from_ms, before, 0);
        let share = f64::from(block.weight) / f64::from(WHOLE);
        let terms = self.ratios.map(|ratio| match self.sticky {
            true => ln_e_sticky(&block.counts, self.odds, ratio, share),
            false => ln_e(&block.counts, self.odds, ratio),
        });
        for start in self.mixture.starts_mut() {
            for (sum, term) in start.sums.iter_mut().zip(terms) {
                sum.add(term);
            }
        }
    }

    pub(crate) fn value(&self) -> Value {
        self.mixture.value()
    }
}

#[cfg(test)]
mod tests {
    use super::{RATIOS, ratio};

    #[test]
    fn alternatives_reach_from_end_to_end() {
        assert_eq!(ratio(0), 1.3);
        assert!((ratio(RATIOS - 1) - 1_000.0).abs() < 1e-9);
    }
}
