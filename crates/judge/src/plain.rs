//! The process of [`crate::relative`] in little memory: for bounds and questions that are asked beside the verdict.
//!
//! The same alternatives and starts as the process that rolls back, as one float each where that has compensated sums and
//! the counts before each start. What a few roundings can change is a figure on a screen, the same on every machine.
//!
//! A block multiplies the products of all starts by the same factor, so their sum `A`, each by its `ν`, is enough:
//! `A ← e (A + ν of the starts that begin)`.

use crate::counts::{Pair, WHOLE};
use crate::mixture::{nu, nu_from, start_ms};
use crate::policy::Policy;
use crate::relative::{LARGEST, RATIOS, SMALLEST};
use crate::sum::ln_mix;

/// What one block adds, for each alternative.
pub(crate) type Terms = [f64; RATIOS];

/// What a block is worth under each alternative.
#[derive(Clone, Debug)]
pub(crate) struct Worth {
    above: Terms,
    ln_ratios: Terms,
    sticky: bool,
    cluster: f64,
}

impl Worth {
    pub(crate) fn new(sticky: bool, cluster: f64) -> Self {
        let step = libm::log(LARGEST / SMALLEST) / (RATIOS - 1) as f64;
        let ratios: Terms = std::array::from_fn(|k| SMALLEST * libm::exp(step * k as f64));
        Self { above: ratios.map(|ratio| ratio - 1.0), ln_ratios: ratios.map(libm::log), sticky, cluster }
    }

    pub(crate) fn of(policy: &Policy) -> Self {
        Self::new(policy.sticky, policy.cluster)
    }

    /// `ln e` of one block against `odds` times stable's odds, as the process that rolls back has it; nothing where the
    /// block cannot tell.
    pub(crate) fn terms(&self, weight: u16, counts: &Pair, odds: f64) -> Option<Terms> {
        let Pair { canary, stable } = counts;
        let (c, b, x_c, x_b) = if self.sticky {
            let share = f64::from(weight) / f64::from(WHOLE);
            (share, 1.0 - share, canary.first_failures(), stable.first_failures())
        } else {
            (canary.n as f64, stable.n as f64, canary.x, stable.x)
        };
        let (x_c, all) = (x_c as f64, x_c as f64 + x_b as f64);
        if c <= 0.0 || b <= 0.0 || all == 0.0 {
            return None;
        }
        let share = c * odds / (c * odds + b);
        Some(std::array::from_fn(|k| {
            (x_c * self.ln_ratios[k] - all * libm::log1p(self.above[k] * share)) / self.cluster
        }))
    }
}

/// The products of one process.
#[derive(Clone, Debug)]
pub(crate) struct Plain<const K: usize = RATIOS> {
    /// `ln` of the sum over the starts reached.
    sums: [f64; K],
    /// How many starts are reached.
    starts: usize,
}

impl<const K: usize> Default for Plain<K> {
    fn default() -> Self {
        Self { sums: [libm::log(nu(0)); K], starts: 1 }
    }
}

impl<const K: usize> Plain<K> {
    /// Opens the starts that a block beginning at `from_ms` of the rollout has reached.
    pub(crate) fn reach(&mut self, from_ms: u64) {
        while start_ms(self.starts).is_some_and(|start| start <= from_ms) {
            let fresh = libm::log(nu(self.starts));
            self.sums = self.sums.map(|sum| ln_mix(&[(0.0, sum), (0.0, fresh)]));
            self.starts += 1;
        }
    }

    pub(crate) fn add(&mut self, terms: &[f64; K]) {
        for (sum, term) in self.sums.iter_mut().zip(terms) {
            *sum += term;
        }
    }

    /// Whether `E` may have reached a line of at least 2. It is an average of the alternatives' sums and at most 1 besides, so
    /// it has not while all of them are far below, which is nearly always and costs no `exp`.
    pub(crate) fn may_reach(&self, ln_needed: f64) -> bool {
        self.sums.iter().any(|sum| *sum >= ln_needed - std::f64::consts::LN_2)
    }

    /// Whether `E` has reached a line of at least 2.
    pub(crate) fn reached(&self, ln_needed: f64) -> bool {
        self.may_reach(ln_needed) && self.ln_e() >= ln_needed
    }

    /// `ln E`.
    pub(crate) fn ln_e(&self) -> f64 {
        let even = -libm::log(K as f64);
        let alternatives = ln_mix(&self.sums.map(|sum| (even, sum)));
        ln_mix(&[(0.0, alternatives), (libm::log(nu_from(self.starts)), 0.0)])
    }
}

#[cfg(test)]
mod tests {
    use super::{Plain, Worth};
    use crate::blocks::Block;
    use crate::counts::{Counts, Pair};
    use crate::relative::Relative;

    #[test]
    fn it_is_the_process_that_rolls_back() {
        let worth = Worth::new(false, 1.0);
        let (mut plain, mut relative) = (<Plain>::default(), Relative::begin(1.5, false));
        let mut before = Pair::default();
        for minute in 0..200 {
            let (x_c, x_b) = (minute % 7 + u64::from(minute > 100) * 9, minute % 5 + 1);
            let counts = Pair { canary: Counts::answered(1_000, x_c), stable: Counts::answered(3_000, x_b) };
            let from_ms = minute * 60_000;
            plain.reach(from_ms);
            plain.add(&worth.terms(2_500, &counts, 1.5).expect("failures of both"));
            relative.add(&Block { epoch: 1, weight: 2_500, from_ms, to_ms: from_ms + 60_000, counts }, before);
            before = before.plus(counts);
            let (ours, theirs) = (plain.ln_e(), relative.value().ln_e);
            assert!((ours - theirs).abs() < 1e-9 * theirs.abs().max(1.0), "minute {minute}: {ours} and {theirs}");
            assert_eq!(plain.reached(3.0), ours >= 3.0);
        }
        assert!(plain.reached(3.0), "the later minutes are worse");
    }
}
