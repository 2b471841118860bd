//! What is promised, and how the chance of a false rollback is shared out.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ramp::HOLDBACK;

/// No step is left while `ln E` of the rollback evidence is above this; the little that is left is for rounding.
pub const AMBER: f64 = 1e-9;

/// The controller's part of α; the guards in the gateways hold 0.3.
const CONTROLLER: f64 = 0.6;

/// The harm budget's part of α.
const HARM: f64 = 0.1;

/// Shares of the metrics before what is absent goes to the rest in proportion. The limits share theirs evenly, and so do the
/// metrics of the user.
const RELATIVE: f64 = 0.4;
const LATENCY: f64 = 0.3;
const ABSOLUTE: f64 = 0.2;
const METRICS: f64 = 0.1;

/// More metrics than this would leave none enough of α.
const MOST_METRICS: u8 = 16;

/// A ratio of latencies above this is no limit.
const SLOWEST: f64 = 1_000.0;

/// More requests than this do not fail together.
const LARGEST_CLUSTER: f64 = 1e6;

/// What the judge holds a rollout to. Fixed when the rollout begins.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Chance of rolling back a canary that keeps its limits, over the whole rollout. Above 0 and below 1; default 0.01.
    pub alpha: f64,
    /// Chance of passing a step with a canary worse than the step's margin. Above 0 and below 1; default 0.05.
    pub beta: f64,
    /// How many times stable's odds of failure the canary's may be, at least 1; default 1.
    pub odds: f64,
    /// A limit of the canary's failure rate, as a fraction between 0 and 1. Without one, a limit is derived from stable's
    /// past for the time when there is nothing left to compare with.
    pub max_error_rate: Option<f64>,
    /// The margin of every step, as a difference of failure rates between 0 and 1. Without one, [`crate::margin`] says.
    pub margin: Option<f64>,
    /// Whether the canary is compared with stable in order to roll it back; default yes.
    pub relative: bool,
    /// Whether clients stay with the version that they were given; default no. See [`crate::relative`].
    pub sticky: bool,
    /// How many times stable's latency the canary's may be, as distributions, 1 to 1000; nothing: not compared. Rounded up to a
    /// power of 1.1. Where clients stay with a version, give `cluster`, too. See [`crate::latency`].
    pub not_slower_than: Option<f64>,
    /// The share of the canary's requests that may be slower than the limit at which [`crate::Details::slow`] counts, as a
    /// fraction between 0 and 1: 0.01 for a limit of the 99th percentile.
    pub max_slow: Option<f64>,
    /// How many metrics of the user there are, each a count of failures of a count of trials, compared with stable; at most 16.
    pub metrics: u8,
    /// How many failures in excess of stable's a rollout may cost.
    pub budget: Option<Budget>,
    /// How many requests fail together, 1 to a million; default 1. It tempers all evidence: every `ln e` is divided by it.
    pub cluster: f64,
    /// Where the shares are left to the judge: the time at each, in seconds. See [`crate::ramp`].
    pub ramp: Option<f64>,
    /// Where the shares are left to the judge: what stays with stable until the last step, in basis points; default 1,000.
    pub holdback: u16,
}

/// A limit of what a rollout may cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Budget {
    /// So many failures in excess of stable's, once they are told apart from chance. Above 0. See [`crate::Harm`].
    Excess(f64),
    /// So many failures, whatever stable does: not covered by α. Above 0.
    Hard(u64),
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            beta: 0.05,
            odds: 1.0,
            max_error_rate: None,
            margin: None,
            relative: true,
            sticky: false,
            not_slower_than: None,
            max_slow: None,
            metrics: 0,
            budget: None,
            cluster: 1.0,
            ramp: None,
            holdback: HOLDBACK,
        }
    }
}

/// Which part of a [`Policy`] cannot be promised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InvalidPolicy {
    /// α is not above 0 and below 1.
    Alpha(f64),
    /// β is not above 0 and below 1.
    Beta(f64),
    /// The odds are below 1 (the process would not be valid) or not finite.
    Odds(f64),
    /// The limit of the failure rate is not between 0 and 1.
    MaxErrorRate(f64),
    /// The margin is not between 0 and 1.
    Margin(f64),
    /// The ratio of latencies is not from 1 to 1000.
    NotSlowerThan(f64),
    /// The limit of the share of slow requests is not between 0 and 1.
    MaxSlow(f64),
    /// More metrics than 16.
    Metrics(u8),
    /// The harm budget is not above 0, or not finite.
    Budget(f64),
    /// The size of clusters is not from 1 to a million.
    Cluster(f64),
    /// The time at each share is below 0 or not finite.
    Ramp(f64),
}

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alpha(value) => write!(f, "alpha is {value}; give a number above 0 and below 1, such as 0.01"),
            Self::Beta(value) => write!(f, "beta is {value}; give a number above 0 and below 1, such as 0.05"),
            Self::Odds(value) => write!(f, "the odds are {value}; give 1 or more: below 1 nothing can be promised"),
            Self::MaxErrorRate(value) => {
                write!(f, "the limit of the error rate is {value}; give a fraction between 0 and 1, such as 0.01")
            }
            Self::Margin(value) => write!(f, "the margin is {value}; give a fraction between 0 and 1, such as 0.005"),
            Self::NotSlowerThan(value) => {
                write!(
                    f,
                    "the canary may be {value} times as slow as stable; give a number from 1 to 1000, such as 1.1"
                )
            }
            Self::MaxSlow(value) => {
                write!(f, "the limit of slow requests is {value}; give a fraction between 0 and 1, such as 0.01")
            }
            Self::Metrics(count) => write!(f, "there are {count} metrics; give at most {MOST_METRICS}"),
            Self::Budget(value) => write!(f, "the harm budget is {value}; give a number above 0, such as 50"),
            Self::Ramp(value) => write!(f, "the time at each share is {value} s; give a number from 0, such as 10"),
            Self::Cluster(value) => {
                write!(f, "{value} requests are to fail together; give a number from 1 to a million, such as 10")
            }
        }
    }
}

impl std::error::Error for InvalidPolicy {}

impl Policy {
    /// Refuses what cannot be promised.
    ///
    /// # Errors
    ///
    /// The first part that is out of its range.
    pub fn check(&self) -> Result<(), InvalidPolicy> {
        let chance = |value: f64| value > 0.0 && value < 1.0;
        // Rates so close to 0 or 1 that their odds lose all digits are refused with the rest.
        let rate = |value: f64| (1e-9..=1.0 - 1e-9).contains(&value);
        if !chance(self.alpha) || self.alpha < f64::MIN_POSITIVE {
            return Err(InvalidPolicy::Alpha(self.alpha));
        }
        if !chance(self.beta) || self.beta < f64::MIN_POSITIVE {
            return Err(InvalidPolicy::Beta(self.beta));
        }
        if !(1.0..=1e6).contains(&self.odds) {
            return Err(InvalidPolicy::Odds(self.odds));
        }
        if let Some(limit) = self.max_error_rate.filter(|limit| !rate(*limit)) {
            return Err(InvalidPolicy::MaxErrorRate(limit));
        }
        if let Some(margin) = self.margin.filter(|margin| !rate(*margin)) {
            return Err(InvalidPolicy::Margin(margin));
        }
        if let Some(ratio) = self.not_slower_than.filter(|ratio| !(1.0..=SLOWEST).contains(ratio)) {
            return Err(InvalidPolicy::NotSlowerThan(ratio));
        }
        if let Some(share) = self.max_slow.filter(|share| !rate(*share)) {
            return Err(InvalidPolicy::MaxSlow(share));
        }
        if self.metrics > MOST_METRICS {
            return Err(InvalidPolicy::Metrics(self.metrics));
        }
        match self.budget {
            Some(Budget::Excess(most)) if !(most.is_finite() && most > 0.0) => return Err(InvalidPolicy::Budget(most)),
            Some(Budget::Hard(0)) => return Err(InvalidPolicy::Budget(0.0)),
            _ => {}
        }
        if !(1.0..=LARGEST_CLUSTER).contains(&self.cluster) {
            return Err(InvalidPolicy::Cluster(self.cluster));
        }
        if let Some(hold) = self.ramp.filter(|hold| !(hold.is_finite() && *hold >= 0.0)) {
            return Err(InvalidPolicy::Ramp(hold));
        }
        Ok(())
    }

    /// `ln(1/α_c)`: the rollback evidence at which the canary is harmful.
    pub(crate) fn ln_rollback(&self) -> f64 {
        -libm::log(CONTROLLER * self.alpha)
    }

    /// `α_c`, the chance of a false rollback by the controller.
    pub(crate) fn controller(&self) -> f64 {
        CONTROLLER * self.alpha
    }

    /// `ln(1/β)`: the evidence at which a step is proven safe.
    pub(crate) fn ln_safe(&self) -> f64 {
        -libm::log(self.beta)
    }

    /// `α_h`, the chance that a harm budget in excess of stable's rolls back a canary no worse than stable.
    pub(crate) fn harm(&self) -> f64 {
        HARM * self.alpha
    }

    /// Weights of the metrics in the rollback evidence.
    pub(crate) fn shares(&self) -> Shares {
        let present = |share: f64, is: bool| if is { share } else { 0.0 };
        let relative = present(RELATIVE, self.relative);
        let latency = present(LATENCY, self.not_slower_than.is_some());
        let metrics = present(METRICS, self.metrics > 0);
        let all = relative + latency + ABSOLUTE + metrics;
        // A limit of errors is held from the start even where it is derived only later: weights must not depend on what is seen.
        let limits = if self.max_slow.is_some() { 2.0 } else { 1.0 };
        Shares {
            relative: relative / all,
            latency: latency / all,
            limit: ABSOLUTE / all / limits,
            metric: metrics / all / f64::max(f64::from(self.metrics), 1.0),
        }
    }
}

/// The weight of each metric in the rollback evidence: 0 to 1, in all 1, and 0 for what is absent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shares {
    pub(crate) relative: f64,
    pub(crate) latency: f64,
    /// Of each absolute limit.
    pub(crate) limit: f64,
    /// Of each metric of the user.
    pub(crate) metric: f64,
}

#[cfg(test)]
mod tests {
    use super::Policy;

    #[test]
    fn shares_sum_to_one_whatever_is_absent() {
        for bits in 0..16_u8 {
            let on = |bit: u8| bits & (1 << bit) != 0;
            let policy = Policy {
                relative: on(0),
                not_slower_than: on(1).then_some(1.1),
                max_slow: on(2).then_some(0.01),
                metrics: if on(3) { 3 } else { 0 },
                ..Policy::default()
            };
            let shares = policy.shares();
            let limits = if on(2) { 2.0 } else { 1.0 };
            let all = shares.relative + shares.latency + limits * shares.limit + 3.0 * shares.metric;
            assert!((all - 1.0).abs() < 1e-12, "{policy:?}: {all}");
        }
    }
}
