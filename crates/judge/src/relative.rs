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
use crate::mixture::{Lanes, Starts, Value};
use crate::sum::ln_sum;

/// Alternatives `r`, log-spaced, both ends included.
pub(crate) const RATIOS: usize = 20;
pub(crate) const SMALLEST: f64 = 1.3;
pub(crate) const LARGEST: f64 = 1_000.0;

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

/// `K` alternatives, log-spaced from `smallest` to `largest`, both ends included.
pub(crate) fn spaced<const K: usize>(smallest: f64, largest: f64) -> [f64; K] {
    let step = libm::log(largest / smallest) / (K - 1) as f64;
    std::array::from_fn(|k| smallest * libm::exp(step * k as f64))
}

/// Alternatives to an odds ratio, and what a block is worth under each.
#[derive(Clone, Debug)]
pub(crate) struct Alternatives<const K: usize> {
    odds: f64,
    /// `r − 1`.
    above: [f64; K],
    ln_ratios: [f64; K],
    /// How many requests fail together: what every `ln e` is divided by.
    cluster: f64,
}

impl<const K: usize> Alternatives<K> {
    pub(crate) fn new(odds: f64, ratios: [f64; K], cluster: f64) -> Self {
        Self { odds, above: ratios.map(|ratio| ratio - 1.0), ln_ratios: ratios.map(libm::log), cluster }
    }

    /// For a block of `canary` and `stable` requests: what each failure of either takes from `ln e`. Nothing where a version has none.
    pub(crate) fn costs(&self, canary: f64, stable: f64) -> Option<[f64; K]> {
        if canary <= 0.0 || stable <= 0.0 {
            return None;
        }
        let share = canary * self.odds / (canary * self.odds + stable);
        Some(self.above.map(|above| libm::log1p(above * share)))
    }

    /// `ln e` under each alternative, of `x_c` failures of the canary among `all`.
    pub(crate) fn ln_e(&self, x_c: f64, all: f64, costs: &[f64; K]) -> [f64; K] {
        std::array::from_fn(|k| (x_c * self.ln_ratios[k] - all * costs[k]) / self.cluster)
    }
}

/// The `k`-th alternative.
pub(crate) fn ratio(k: usize) -> f64 {
    let step = libm::log(LARGEST / SMALLEST) / (RATIOS - 1) as f64;
    SMALLEST * libm::exp(step * k as f64)
}

/// The process over all blocks in which both versions had a share.
#[derive(Clone, Debug)]
pub(crate) struct Comparison<const K: usize> {
    alternatives: Alternatives<K>,
    sticky: bool,
    starts: Starts<Pair>,
    lanes: Lanes<K>,
}

/// The process of errors.
pub(crate) type Relative = Comparison<RATIOS>;

impl Relative {
    pub(crate) fn begin(odds: f64, sticky: bool) -> Self {
        Self::among(odds, spaced(SMALLEST, LARGEST), sticky)
    }
}

impl<const K: usize> Comparison<K> {
    /// Against `odds` times stable's odds, by these ratios above them.
    pub(crate) fn among(odds: f64, ratios: [f64; K], sticky: bool) -> Self {
        let alternatives = Alternatives::new(odds, ratios, 1.0);
        Self { alternatives, sticky, starts: Starts::begin(0), lanes: Lanes::begin() }
    }

    /// The same where up to `cluster` requests, all of one version, fail together. With `t = size/cluster`, a failed cluster
    /// expects `1 + θ1 (r^t − 1) ≤ (1 + θ1 (r − 1))^t` (Jensen, for `t ≤ 1`), which is what it takes: `E[e] ≤ 1` again.
    pub(crate) fn tempered(mut self, cluster: f64) -> Self {
        self.alternatives.cluster = cluster;
        self
    }

    /// Takes one closed block; `before` is what had been counted before it.
    pub(crate) fn add(&mut self, block: &Block, before: Pair) {
        self.lanes.open(self.starts.reach(block.from_ms, || before));
        let Pair { canary, stable } = block.counts;
        let (costs, x_c, x_b) = if self.sticky {
            let share = f64::from(block.weight) / f64::from(WHOLE);
            (self.alternatives.costs(share, 1.0 - share), canary.first_failures(), stable.first_failures())
        } else {
            (self.alternatives.costs(canary.n as f64, stable.n as f64), canary.x, stable.x)
        };
        let (x_c, all) = (x_c as f64, x_c as f64 + x_b as f64);
        if let Some(costs) = costs.filter(|_| all > 0.0) {
            self.lanes.add(&self.alternatives.ln_e(x_c, all, &costs));
        }
    }

    pub(crate) fn value(&self) -> Value {
        let even = libm::log(K as f64);
        let terms = self.lanes.terms().map(|term| term - even);
        let ln_e = ln_sum(terms.chain(std::iter::once(self.starts.ln_rest())));
        let (since_ms, before) = self.starts.mark(self.lanes.largest().1).copied().unwrap_or_default();
        Value { ln_e, since_ms, before }
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGEST, RATIOS, SMALLEST, spaced};

    #[test]
    fn alternatives_reach_from_end_to_end() {
        let ratios: [f64; RATIOS] = spaced(SMALLEST, LARGEST);
        assert_eq!(ratios[0], 1.3);
        assert!((ratios[RATIOS - 1] - 1_000.0).abs() < 1e-9);
    }
}
