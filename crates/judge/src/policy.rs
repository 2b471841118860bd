//! What is promised, and how the chance of a false rollback is shared out.

use std::fmt;

use serde::{Deserialize, Serialize};

/// No step is left while `ln E` of the rollback evidence is above this; the little that is left is for rounding.
pub const AMBER: f64 = 1e-9;

/// The controller's part of α; the guards in the gateways hold 0.3, the harm budget 0.1.
const CONTROLLER: f64 = 0.6;

/// Shares of the metrics before what is absent goes to the rest in proportion. Latency (0.3) and metrics of the user
/// (0.1) are absent so far.
const RELATIVE: f64 = 0.4;
const ABSOLUTE: f64 = 0.2;

/// What the judge holds a rollout to. Fixed when the rollout begins.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Chance of rolling back a canary that keeps its limits, over the whole rollout. Above 0, at most 0.5; default 0.01.
    pub alpha: f64,
    /// Chance of passing a step with a canary worse than the step's margin. Above 0, at most 0.5; default 0.05.
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
}

impl Default for Policy {
    fn default() -> Self {
        Self { alpha: 0.01, beta: 0.05, odds: 1.0, max_error_rate: None, margin: None, relative: true, sticky: false }
    }
}

/// Which part of a [`Policy`] cannot be promised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InvalidPolicy {
    /// α is not above 0 and at most 0.5.
    Alpha(f64),
    /// β is not above 0 and at most 0.5.
    Beta(f64),
    /// The odds are below 1 (the process would not be valid) or not finite.
    Odds(f64),
    /// The limit of the failure rate is not between 0 and 1.
    MaxErrorRate(f64),
    /// The margin is not between 0 and 1.
    Margin(f64),
}

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alpha(value) => write!(f, "alpha is {value}; give a number above 0, at most 0.5, such as 0.01"),
            Self::Beta(value) => write!(f, "beta is {value}; give a number above 0, at most 0.5, such as 0.05"),
            Self::Odds(value) => write!(f, "the odds are {value}; give 1 or more: below 1 nothing can be promised"),
            Self::MaxErrorRate(value) => {
                write!(f, "the limit of the error rate is {value}; give a fraction between 0 and 1, such as 0.01")
            }
            Self::Margin(value) => write!(f, "the margin is {value}; give a fraction between 0 and 1, such as 0.005"),
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
        let chance = |value: f64| value > 0.0 && value <= 0.5;
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

    /// Weight of the comparison with stable in the rollback evidence, when it is present.
    pub(crate) fn relative_share(&self) -> f64 {
        RELATIVE / (RELATIVE + ABSOLUTE)
    }

    /// Weight of the absolute limit. It is held from the start even where the limit is derived only later: weights must
    /// not depend on what is seen.
    pub(crate) fn absolute_share(&self) -> f64 {
        if self.relative { ABSOLUTE / (RELATIVE + ABSOLUTE) } else { 1.0 }
    }
}
