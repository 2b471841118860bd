//! Which share may come next, where that is left to the judge.
//!
//! What a share `w` would cost, were the canary's failure rate by `d` above stable's: its excess failures until it is found or
//! the hold is over, and those of the time that blocks, sealing and actuation take. With `λ` requests a second, `p_b` stable's
//! rate, `T` the hold, `L` that delay, and `A` the evidence needed (in nats),
//!
//! ```text
//! g(d, w) = max_r [ p_c ln r − m ln1p((r − 1) w) ]       p_c = p_b + d,  m = p_c + p_b (1 − w)/w
//! harm(d, w) = d · ( min(A/g, w λ T) + w λ L )           g ≤ 0: A/g = ∞
//! ```
//!
//! `g` is what one canary request adds to the best component of [`crate::relative`] on average. Its maximum is at
//! `r = p_c/p_b`: the derivative `p_c/r − m w/(1 + (r − 1) w)` is 0 where `r w (m − p_c) = p_c (1 − w)`.
//!
//! Where `φ` requests fail together all evidence is divided by `φ`, and `A` is `φ` times as much.
//!
//! A share may come if it and every smaller one of the ladder cost at most half of what is left of the budget, for every `d`
//! that is not excluded yet. So where nothing is known the canary begins small, and each bound that closes in opens the way.

use serde::{Deserialize, Serialize};

use crate::counts::{Counts, WHOLE};
use crate::policy::{Budget, Policy};
use crate::promotion::past_rate;
use crate::relative::{LARGEST, SMALLEST};
use crate::wording;

/// The shares of an automatic ramp, in basis points, as far as [`rungs`] goes.
const LADDER: [u16; 18] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 1_500, 2_500, 3_500, 5_000, 6_500, 7_500, 8_500, 9_000];

/// What stays with stable until the last step of an automatic ramp, where nothing else is said, in basis points: it keeps the
/// comparison sharp.
pub const HOLDBACK: u16 = 1_000;

/// The shares of an automatic ramp below 100 %, in basis points, rising: the last leaves `holdback` basis points to stable.
pub fn rungs(holdback: u16) -> impl Iterator<Item = u16> {
    let last = WHOLE.saturating_sub(holdback);
    LADDER.into_iter().filter(move |rung| *rung < last).chain((last > 0).then_some(last))
}

/// The budget of a ramp without one of its own, in failures in excess of stable's.
pub const BUDGET: f64 = 50.0;

/// `ln 40`: what the mixture over alternatives and starts costs, beside the best of them (20 ratios, and half for the first start).
const LN_MIXED: f64 = 3.688_879_454_113_936;

/// Seconds from a failed request to traffic on stable: a block, its sealing, and the way back.
const DELAY: f64 = 2.0;

/// A share is never more than so many times the one before.
const LEAP: u32 = 5;

/// A ramp begins at 1 % or above where that brings so many canary requests within so many seconds, and at 25 % at most.
const BEGIN: u16 = 100;
const BEGIN_AT_MOST: u16 = 2_500;
const FIRST_REQUESTS: f64 = 60.0;
const FIRST_SECONDS: f64 = 300.0;

/// How much worse a canary may be, as a difference of failure rates, largest last. Finer ones matter where traffic is heavy.
const WORSE: [f64; 15] =
    [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.75, 1.0];

/// What is known when a share is to be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Risk {
    /// Requests a second of both versions.
    pub rate: f64,
    /// Stable's failure rate.
    pub past: f64,
    /// `U`: the canary's failure rate is less than this above stable's, at most 1.
    pub worst: f64,
    /// What is left of the budget, in failures in excess of stable's.
    pub left: f64,
    /// The time at a share, in seconds.
    pub hold: f64,
    /// `A`: the evidence of a rollback in nats, what the mixture costs included, as many times as requests fail together.
    pub needed: f64,
    /// What stays with stable until the last step, in basis points.
    #[serde(default = "holdback")]
    pub holdback: u16,
}

const fn holdback() -> u16 {
    HOLDBACK
}

/// The way on of an automatic ramp.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Ramp {
    /// The share that may come next, in basis points: above the present one, or equal to it where none may come.
    pub next: u16,
    /// What that could cost, in failures in excess of stable's, were the canary as bad as it can still be.
    pub cost: f64,
    /// What that rests on.
    pub risk: Risk,
    /// What bars the way to larger ones, where that is the budget.
    pub barred: Option<Barred>,
}

/// A share that would cost too much.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Barred {
    /// Which, in basis points.
    pub weight: u16,
    /// Were the canary's failure rate so much above stable's …
    pub worse: f64,
    /// … it would cost so many failures in excess of stable's.
    pub harm: f64,
}

impl Ramp {
    /// Why this share, in one plain sentence for a person.
    #[must_use]
    pub fn because(&self) -> String {
        wording::chosen(self)
    }
}

impl Risk {
    /// Before a canary's first request: nothing is known but the traffic, in requests a second, and stable's failure rate is taken
    /// to be 0.05 %.
    #[must_use]
    pub fn before(policy: &Policy, rate: f64) -> Self {
        Self::now(policy, rate, past_rate(Counts::default()), 1.0, 0.0)
    }

    /// With what is known: the traffic in requests a second, stable's rate, `U`, and the excess failures so far.
    pub(crate) fn now(policy: &Policy, rate: f64, past: f64, worst: f64, spent: f64) -> Self {
        let budget = match policy.budget {
            Some(Budget::Excess(budget)) => budget,
            Some(Budget::Hard(budget)) => budget as f64,
            None => BUDGET,
        };
        Self {
            rate,
            past: past.clamp(1e-6, 1.0 - 1e-3),
            worst,
            left: budget - spent,
            hold: policy.ramp.unwrap_or_default(),
            // All evidence is divided by the size of clusters, so that so many times as much has to come.
            // Where nothing is compared with stable it never comes; infinity itself has no form in JSON.
            needed: f64::min(
                policy.cluster * (policy.ln_rollback() - libm::log(policy.shares().relative) + LN_MIXED),
                f64::MAX,
            ),
            holdback: policy.holdback,
        }
    }

    /// `harm(d, w)` at `weight` basis points, in failures in excess of stable's.
    #[must_use]
    pub fn harm(&self, worse: f64, weight: u16) -> f64 {
        let share = f64::from(weight) / f64::from(WHOLE);
        let canary = (self.past + worse).min(1.0);
        let failures = canary + self.past * (1.0 - share) / share;
        let ratio = (canary / self.past).clamp(SMALLEST, LARGEST);
        let growth = canary * libm::log(ratio) - failures * libm::log1p((ratio - 1.0) * share);
        let arrivals = share * self.rate;
        let until_found = if growth > 0.0 { self.needed / growth } else { f64::INFINITY };
        worse * (until_found.min(arrivals * self.hold) + arrivals * DELAY)
    }

    /// The most that `weight` could cost.
    fn most(&self, weight: u16) -> Barred {
        let known = WORSE.into_iter().filter(|worse| *worse < self.worst);
        let costs = known.map(|worse| Barred { weight, worse, harm: self.harm(worse, weight) });
        let last = Barred { weight, worse: self.worst, harm: self.harm(self.worst, weight) };
        costs.fold(last, |most, cost| if cost.harm > most.harm { cost } else { most })
    }

    /// What bars `weight`, if anything does.
    fn bars(&self, weight: u16) -> Option<Barred> {
        Some(self.most(weight)).filter(|most| most.harm > self.left.max(0.0) / 2.0)
    }

    /// The share after `present`, once its margin is proven.
    #[must_use]
    pub fn next(&self, present: u16) -> Ramp {
        let mut next = present;
        for weight in rungs(self.holdback) {
            if let Some(barred) = self.bars(weight) {
                return self.ramp(next, Some(barred));
            }
            if weight > present && u32::from(weight) <= LEAP * u32::from(present) {
                next = weight;
            }
        }
        self.ramp(next, None)
    }

    fn ramp(&self, next: u16, barred: Option<Barred>) -> Ramp {
        Ramp { next, cost: self.most(next).harm, risk: *self, barred }
    }

    /// The share to begin with: the smallest from 1 % that brings 60 canary requests within 5 minutes, at most 25 %, and less
    /// where the budget asks for it.
    #[must_use]
    pub fn first(&self) -> Ramp {
        let enough = |weight: u16| {
            f64::from(weight) / f64::from(WHOLE) * self.rate * FIRST_SECONDS >= FIRST_REQUESTS
                || weight >= BEGIN_AT_MOST
        };
        let last = WHOLE.saturating_sub(self.holdback);
        let wanted = rungs(self.holdback).find(|weight| *weight >= BEGIN && enough(*weight)).unwrap_or(last);
        let allowed = rungs(self.holdback).take_while(|weight| self.bars(*weight).is_none()).last();
        self.ramp(wanted.min(allowed.unwrap_or(LADDER[0])), None)
    }
}

#[cfg(test)]
mod tests {
    use super::{BUDGET, HOLDBACK, LADDER, Risk, rungs};
    use crate::policy::Policy;

    fn risk(rate: f64, worst: f64) -> Risk {
        Risk { rate, past: 0.001, worst, left: BUDGET, hold: 10.0, needed: 9.7, holdback: HOLDBACK }
    }

    #[test]
    fn the_last_share_leaves_the_holdback_and_is_reached_from_every_other() {
        for holdback in [100, 500, HOLDBACK, 2_500, 5_000, 9_950] {
            let safe = Risk { holdback, ..risk(10.0, 0.0001) };
            let shares: Vec<u16> = rungs(holdback).collect();
            assert!(shares.windows(2).all(|pair| pair[0] < pair[1]), "{shares:?}");
            assert_eq!(shares.last(), Some(&(10_000 - holdback)));
            assert!(shares.contains(&safe.first().next), "{holdback}: {:?}", safe.first());
            for present in &shares {
                let next = safe.next(*present).next;
                assert!(shares.contains(&next), "{holdback}: {next} after {present}");
                assert!(next > *present || *present == 10_000 - holdback, "{holdback}: nothing after {present}");
            }
        }
    }

    #[test]
    fn requests_that_fail_together_make_every_share_dearer() {
        let now = |cluster| {
            let policy = Policy { ramp: Some(1e9), cluster, ..Policy::default() };
            Risk::now(&policy, 100.0, 0.001, 0.05, 0.0)
        };
        let (one, ten) = (now(1.0), now(10.0));
        // What block and way back take is the same.
        let until_found = |risk: Risk| risk.harm(0.02, 1_000) - 0.02 * 10.0 * super::DELAY;
        assert!((until_found(ten) / until_found(one) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn begins_small_where_traffic_is_heavy_and_large_where_it_is_light() {
        let told: Vec<(f64, u16)> = [0.0, 0.5, 2.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0]
            .map(|rate| (rate, risk(rate, 1.0).first().next))
            .to_vec();
        let shares: Vec<u16> = told.iter().map(|(_, share)| *share).collect();
        assert_eq!(shares, [2_500, 2_500, 1_000, 200, 100, 100, 10, 1], "{told:?}");
    }

    #[test]
    fn what_is_excluded_opens_the_way() {
        for rate in [1.0, 30.0, 1_000.0, 20_000.0] {
            let mut before = 0;
            for worst in [1.0, 0.5, 0.1, 0.05, 0.02, 0.005, 0.002, 0.0005, 0.0001] {
                let next = risk(rate, worst).next(1_000).next;
                assert!((1_000..=5_000).contains(&next) && next >= before, "{rate} {worst}: {next} after {before}");
                before = next;
            }
        }
    }

    #[test]
    fn no_share_leaps_and_none_comes_without_a_budget() {
        let safe = risk(10.0, 0.0001);
        for present in LADDER {
            let next = safe.next(present).next;
            assert!(next > present || present == 9_000, "{present}");
            assert!(u32::from(next) <= 5 * u32::from(present), "{present} to {next}");
        }
        let spent = Risk { left: 0.0, ..safe };
        assert_eq!(spent.next(1_000).next, 1_000);
    }

    #[test]
    fn the_best_alternative_is_the_ratio_itself() {
        let risk = Risk { hold: 1e12, ..risk(1e-3, 1.0) };
        let share: f64 = 0.1;
        let (canary, failures) = (0.021_f64, 0.021 + 0.001 * 9.0);
        let growth = |ratio: f64| canary * ratio.ln() - failures * ((ratio - 1.0) * share).ln_1p();
        let best = (1_300..1_000_000).map(|ratio| growth(f64::from(ratio) / 1_000.0)).fold(0.0, f64::max);
        assert!((risk.harm(0.02, 1_000) - 0.02 * risk.needed / best).abs() < 1e-3);
    }
}
