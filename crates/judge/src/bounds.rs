//! What can be said of the canary's difference from stable, right at every look: for people, and for the next weight.
//!
//! Each bound is a ladder of nulls that are tested since the rollout began. A rung is taken once its e-process has reached
//! 40; it stays taken. The bound is the last rung up to which **all** are taken. So for a true value only one rung can
//! make the bound wrong, the first one that is true, and Ville's inequality says that this happens in at most 1/40 of all
//! rollouts: each bound alone is right with 97.5 %, any two with 95 %, all three with 92.5 %, at all looks together.
//! (The best rung taken without those before it would be a union of many tests, with no such bound.)
//!
//! - `high` of the difference `p_c − p_b`: nulls `p_c ≥ p_b + δ` from 50 % down to 0.01 %, by the products of
//!   [`crate::promotion`].
//! - `low` of the difference: nulls `p_c ≤ p_b + g` from −50 % up to 50 %, by the likelihood ratio of [`ln_e_above`].
//! - `odds_ratio_low`: nulls "odds at most `ω0` times stable's" from 1 to 100, by the process of [`crate::relative`].
//!   Below 1 that process is not valid, and nothing is said.
//!
//! What is bounded: a difference that lasts. Where it changes, `high` has been passed from below, and `low` from above,
//! in some block each; once `low` is not below `high`, it has changed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::blocks::Block;
use crate::counts::Pair;
use crate::plain::{Plain, Worth};
use crate::policy::Policy;
use crate::promotion::{self, CERTAIN, FRACTIONS, Sample, ln_mean, nearest, past_rate};
use crate::wording;

/// `ln 40`: each bound is wrong in at most one of 40 rollouts.
pub const LN_TAKEN: f64 = 3.688_879_454_113_936_3;

/// The differences that are tested, as fractions.
pub const DIFFERENCES: [f64; 9] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];

/// The differences that are tested for the upper bound: finer ones matter to [`crate::ramp`] where traffic is heavy.
pub const HIGHEST: [f64; 12] = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];

/// The odds ratios that are tested.
pub const ODDS_RATIOS: [f64; 10] = [1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0];

/// Rungs of the lower bound: the differences below 0, 0, and those above.
const RUNGS: usize = 2 * DIFFERENCES.len() + 1;

/// Until stable has had so many requests its rate is not known well enough to bet on.
const PAST: u64 = 100;

/// What is known of the canary's difference from stable since the rollout began. Each bound is right at all looks
/// together in 97.5 % of rollouts; see the [module](self).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Bounds {
    /// The canary's failures per request minus stable's.
    pub difference: Difference,
    /// The canary's odds of failure are more than this many times stable's; 0 while nothing is shown.
    pub odds_ratio_low: f64,
}

/// A difference of failure rates, as a fraction between −1 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Difference {
    /// As counted in closed blocks of the rollout where both versions had a share; nothing without requests of both.
    pub estimate: Option<f64>,
    /// It is above this; −1 while nothing is shown. Not below `high`: the difference has changed since.
    pub low: f64,
    /// It is below this; 1 while nothing is shown.
    pub high: f64,
}

impl Default for Difference {
    fn default() -> Self {
        Self { estimate: None, low: -1.0, high: 1.0 }
    }
}

/// Where the canary's failure rate is, for a person: "between 0.5 percentage points below stable's and 1 percentage point above
/// stable's".
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&wording::doubts::bounds(self))
    }
}

/// `ln e` of one block against `p_c ≤ p_b + difference`, for the alternative `(p_c, p_b)`; 0 where the block cannot tell or
/// the alternative is not above the null. Rates in (0, 1), the difference in (−1, 1).
///
/// The likelihood ratio of the alternative against the nearest point of the null, as in [`crate::promotion`]: that null
/// is convex, too, so the proof is the same.
#[must_use]
pub fn ln_e_above(sample: Sample, (p_c, p_b): (f64, f64), difference: f64) -> f64 {
    let Sample { n_c, x_c, n_b, x_b } = sample;
    if n_c <= 0.0 || n_b <= 0.0 || p_c <= p_b + difference {
        return 0.0;
    }
    let (theta_c, theta_b) = if difference < 0.0 {
        let theta_c = nearest(n_b, n_c, p_b, p_c, -difference);
        (theta_c, theta_c - difference)
    } else {
        let theta_b = nearest(n_c, n_b, p_c, p_b, difference);
        (theta_b + difference, theta_b)
    };
    let certain = |theta: f64| theta < f64::MIN_POSITIVE || 1.0 - theta < CERTAIN;
    if certain(theta_c) || certain(theta_b) {
        return 0.0;
    }
    promotion::likelihood_ratio(n_c, x_c, p_c, theta_c) + promotion::likelihood_ratio(n_b, x_b, p_b, theta_b)
}

/// The rungs of the lower bound, rising.
fn rung(index: usize) -> f64 {
    let zero = DIFFERENCES.len();
    match index {
        _ if index < zero => -DIFFERENCES[zero - 1 - index],
        _ if index > zero => DIFFERENCES[index - zero - 1],
        _ => 0.0,
    }
}

/// The alternative for the lower bound, from past blocks and the size of this one: stable's past rate, and the canary's
/// with as much of stable's mixed in as this block is large, so that one block never bets far on few.
fn alternative(past: Pair, n_c: f64) -> (f64, f64) {
    let inside = |rate: f64| rate.clamp(1e-6, 1.0 - 1e-6);
    let (canary, stable) = (past.canary, past.stable);
    let p_b = inside((stable.x as f64 + 0.5) / (stable.n as f64 + 1.0));
    let doubt = n_c + 20.0;
    (inside((canary.x as f64 + doubt * p_b) / (canary.n as f64 + doubt)), p_b)
}

/// The processes under the bounds.
#[derive(Clone, Debug)]
pub(crate) struct Ladders {
    cluster: f64,
    worth: Worth,
    /// Counts in the blocks seen here.
    counted: Pair,
    high: [[f64; FRACTIONS.len()]; HIGHEST.len()],
    high_taken: [bool; HIGHEST.len()],
    low: [f64; RUNGS],
    low_taken: [bool; RUNGS],
    odds: [Plain; ODDS_RATIOS.len()],
    /// How many odds ratios are taken, from the first on. They are nested: with a larger one every product is smaller.
    odds_taken: usize,
}

impl Ladders {
    pub(crate) fn begin(policy: &Policy) -> Self {
        Self {
            cluster: policy.cluster,
            worth: Worth::of(policy),
            counted: Pair::default(),
            high: Default::default(),
            high_taken: Default::default(),
            low: Default::default(),
            low_taken: Default::default(),
            odds: Default::default(),
            odds_taken: 0,
        }
    }

    /// Takes one closed block in which both versions had a share; `before` is what all blocks before it have counted.
    pub(crate) fn add(&mut self, block: &Block, before: Pair) {
        let counts = &block.counts;
        let sample = Sample {
            n_c: counts.canary.n as f64,
            x_c: counts.canary.x as f64,
            n_b: counts.stable.n as f64,
            x_b: counts.stable.x as f64,
        };
        let past = past_rate(before.stable);
        for ((products, taken), margin) in self.high.iter_mut().zip(&mut self.high_taken).zip(HIGHEST) {
            if *taken {
                continue;
            }
            for (product, fraction) in products.iter_mut().zip(FRACTIONS) {
                *product += promotion::ln_e(sample, past, margin, fraction) / self.cluster;
            }
            // The mean reaches a line only if one of them does.
            *taken = products.iter().any(|product| *product >= LN_TAKEN) && ln_mean(*products) >= LN_TAKEN;
        }
        if before.stable.n >= PAST {
            let alternative = alternative(before, sample.n_c);
            for (index, (product, taken)) in self.low.iter_mut().zip(&mut self.low_taken).enumerate() {
                if !*taken {
                    *product += ln_e_above(sample, alternative, rung(index)) / self.cluster;
                    *taken = *product >= LN_TAKEN;
                }
            }
        }
        self.compare(block);
        self.counted = self.counted.plus(*counts);
    }

    fn compare(&mut self, block: &Block) {
        for (odds, plain) in ODDS_RATIOS.into_iter().zip(&mut self.odds).skip(self.odds_taken) {
            plain.reach(block.from_ms);
            if let Some(terms) = self.worth.terms(block.weight, &block.counts, odds) {
                plain.add(&terms);
            }
        }
        while self.odds.get(self.odds_taken).is_some_and(|plain| plain.reached(LN_TAKEN)) {
            self.odds_taken += 1;
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        let high = self.high_taken.iter().rposition(|taken| !taken).map_or(0, |last| last + 1);
        let low = self.low_taken.iter().position(|taken| !taken).unwrap_or(RUNGS);
        let estimate =
            self.counted.canary.rate().zip(self.counted.stable.rate()).map(|(canary, stable)| canary - stable);
        Bounds {
            difference: Difference {
                estimate,
                low: low.checked_sub(1).map_or(-1.0, rung),
                high: HIGHEST.get(high).copied().unwrap_or(1.0),
            },
            odds_ratio_low: self.odds_taken.checked_sub(1).map_or(0.0, |last| ODDS_RATIOS[last]),
        }
    }
}
