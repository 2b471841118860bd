//! The harm budget: what a rollout may cost.
//!
//! `H = Σ (x_c − n_c x_b / n_b)`, kept ≥ 0 at each block, counts requests that failed or were too slow, each once, in excess
//! of stable's. It fires at `H ≥ B` once the excess can be told from chance. What tells it is an e-process of its own, that of
//! [`crate::relative`] for `ω0 = 1` with 16 ratios `r` whose `r − 1` is log-spaced from 0.01 to 30, at `ln(1/α_h)`; with a
//! latency limit, the mean of that of failures and that of slow requests. So a canary that is no worse than stable in every
//! block fires it with probability at most α_h, at any weight and however long it lasts (Ville's inequality).
//!
//! A bound on `H` from its variance alone would be simpler, and is not valid: at 90 % a failure of stable takes 9 from `H`
//! and comes so rarely that 50 failures of a healthy canary without one have a chance of `0.9^50`, five times α_h, each time.

use crate::blocks::Block;
use crate::counts::{Counts, Pair};
use crate::evidence::Harm;
use crate::policy::{Budget, Policy};
use crate::relative::{Comparison, spaced};
use crate::sum::{Sum, ln_mix};

/// Alternatives. The rollback evidence begins at 1.3; a budget is about small excesses of much traffic, too.
const RATIOS: usize = 16;
const SMALLEST: f64 = 0.01;
const LARGEST: f64 = 30.0;

/// The count, and what tells it from chance.
#[derive(Clone, Debug)]
pub(crate) struct HarmBudget {
    budget: Budget,
    ln_needed: f64,
    failures: Comparison<RATIOS>,
    slow: Option<Comparison<RATIOS>>,
    /// `H`, or failures so far.
    spent: Sum,
    /// Harm in blocks since the last in which both versions had requests.
    pending: Pair,
    failures_before: Pair,
    slow_before: Pair,
}

impl HarmBudget {
    pub(crate) fn begin(policy: &Policy, budget: Budget) -> Self {
        let ratios = spaced::<RATIOS>(SMALLEST, LARGEST).map(|above| 1.0 + above);
        let comparison = |sticky| Comparison::among(1.0, ratios, sticky).tempered(policy.cluster);
        Self {
            budget,
            ln_needed: -libm::log(policy.harm()),
            failures: comparison(policy.sticky),
            // Which clients were slow before is not known: where they stay with a version their repetition is no evidence.
            slow: (policy.max_slow.is_some() && !policy.sticky).then(|| comparison(false)),
            spent: Sum::default(),
            pending: Pair::default(),
            failures_before: Pair::default(),
            slow_before: Pair::default(),
        }
    }

    /// What an epoch left unfinished: no evidence, but a plain cap counts it.
    pub(crate) fn drop_open(&mut self, open: Pair, slow: Pair) {
        if matches!(self.budget, Budget::Hard(_)) {
            self.spent.add(harmed(open.canary, slow.canary) as f64);
        }
    }

    /// Takes what ended after its epoch was over: it has been harm, and tells nothing apart from chance.
    pub(crate) fn add_late(&mut self, counts: Pair, slow: Pair) {
        let harm = |all: Counts, slow| Counts::answered(all.n, harmed(all, slow));
        let harm = Pair { canary: harm(counts.canary, slow.canary), stable: harm(counts.stable, slow.stable) };
        match self.budget {
            Budget::Hard(_) => self.spent.add(harm.canary.x as f64),
            Budget::Excess(_) => self.exceed(harm),
        }
    }

    /// Takes one closed block, and the slow requests in it.
    pub(crate) fn add(&mut self, block: &Block, slow: Pair) {
        let harm = Pair {
            canary: Counts::answered(block.counts.canary.n, harmed(block.counts.canary, slow.canary)),
            stable: Counts::answered(block.counts.stable.n, harmed(block.counts.stable, slow.stable)),
        };
        match self.budget {
            // Failures at 100 % are failures, whatever there is to compare with.
            Budget::Hard(_) => self.spent.add(harm.canary.x as f64),
            Budget::Excess(_) if block.compares() => {
                self.failures.add(block, self.failures_before);
                self.failures_before = self.failures_before.plus(block.counts);
                if let Some(process) = &mut self.slow {
                    let alone = |counts: Counts| Counts::answered(counts.n, counts.x);
                    let counts = Pair { canary: alone(slow.canary), stable: alone(slow.stable) };
                    process.add(&Block { counts, ..*block }, self.slow_before);
                    self.slow_before = self.slow_before.plus(counts);
                }
                self.exceed(harm);
            }
            Budget::Excess(_) => {}
        }
    }

    /// Blocks without requests of one version wait for one with both: until then nothing says what stable would have failed.
    fn exceed(&mut self, harm: Pair) {
        self.pending = self.pending.plus(harm);
        let Pair { canary, stable } = self.pending;
        if canary.n > 0 && stable.n > 0 {
            let expected = canary.n as f64 * (stable.x as f64 / stable.n as f64);
            self.spent.add(canary.x as f64 - expected);
            if self.spent.value() < 0.0 {
                self.spent = Sum::default();
            }
            self.pending = Pair::default();
        }
    }

    /// Whether the budget is spent.
    pub(crate) fn fired(&self) -> bool {
        match self.budget {
            Budget::Hard(most) => self.spent.value() >= most as f64,
            Budget::Excess(most) => self.spent.value() >= most && self.ln_e() >= self.ln_needed,
        }
    }

    /// `ln` of the evidence that there is an excess.
    fn ln_e(&self) -> f64 {
        let failures = self.failures.value().ln_e;
        match &self.slow {
            None => failures,
            Some(slow) => {
                let half = libm::log(0.5);
                ln_mix(&[(half, failures), (half, slow.value().ln_e)])
            }
        }
    }

    pub(crate) fn harm(&self) -> Harm {
        let told = matches!(self.budget, Budget::Excess(_)).then(|| (self.ln_e(), self.ln_needed));
        Harm {
            budget: self.budget,
            spent: self.spent.value(),
            ln_e: told.map(|(ln_e, _)| ln_e),
            ln_needed: told.map(|(_, ln_needed)| ln_needed),
        }
    }
}

/// Requests that failed or were slow, each once.
fn harmed(all: Counts, slow: Counts) -> u64 {
    all.x.saturating_add(slow.x).saturating_sub(slow.repeated)
}
