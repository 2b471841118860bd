//! What a verdict rests on, in numbers that stay finite.

use serde::{Deserialize, Serialize};

use crate::bounds::Bounds;
use crate::counts::Pair;
use crate::forecast::Forecast;
use crate::honesty::{Calibration, SampleRatio};
use crate::policy::Budget;
use crate::ramp::Ramp;

/// Everything a person or a page needs to understand a verdict, and everything a recomputation is compared with.
///
/// Evidence in the sense of statistics (`ln_e`, counts of closed blocks) changes only when a block closes. All logarithms
/// are natural.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Evidence {
    /// Counts in closed blocks of the whole rollout.
    pub rollout: Pair,
    /// Counts in closed blocks since the current weight was entered.
    pub step: Pair,
    /// Counts in the unfinished block, not yet judged.
    pub open: Pair,
    /// The canary's failures per request in `step`, nothing without a request.
    pub canary_rate: Option<f64>,
    /// Stable's failures per request in `step`, nothing without a request.
    pub stable_rate: Option<f64>,
    /// `ln E`, the rollback evidence over all metrics that are counted together, or of a metric of the user that is above it.
    pub ln_e: f64,
    /// `ln(1/α_c)`: the canary is harmful once `ln_e` reaches this.
    pub ln_needed: f64,
    /// Whether anything speaks against the canary right now: `ln E` of all metrics above 0, or at 100 % a limit that is not
    /// clean. No step is left while it does.
    pub amber: bool,
    /// The metrics in force.
    pub metrics: Vec<Metric>,
    /// Metrics that have reached what they need alone.
    pub causes: Vec<Measure>,
    /// The metric that contributes most, while `amber` and without a cause.
    pub suspect: Option<Measure>,
    /// The proof of the current step; nothing before the first weight above 0, and nothing at 100 %.
    pub promotion: Option<Promotion>,
    /// The proof that the step is not slower, which it needs besides where latency is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<Speed>,
    /// Metrics of the user of which nothing has been heard from the canary since this weight was entered: a step waits for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unheard: Vec<u8>,
    /// Requests of the canary admitted in this epoch that had not ended when the last block closed.
    pub canary_in_flight: u64,
    /// The same of stable.
    pub stable_in_flight: u64,
    /// Whether the canary has so many more than its share in flight that no step is left: it may be hanging.
    pub hanging: bool,
    /// The absolute limit in force; a limit from stable's past is there once the weight has passed 75 %.
    ///
    /// At 100 % this alone is watched: what is [`Standing::Clean`] through a whole hold may be promoted. Without a limit
    /// there, nothing is watched, and nothing may be promoted by itself.
    pub limit: Option<Limit>,
    /// The limit of the share of slow requests, which acts at 100 % as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_limit: Option<Limit>,
    /// What the rollout has cost so far, where it has a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub harm: Option<Harm>,
    /// Closed blocks so far.
    pub blocks: u64,
    /// Windows ignored because their time had been counted already.
    pub duplicates: u64,
    /// Windows ignored because their epoch was over.
    pub late: u64,
    /// Counts of requests that ended after their epoch was over: in no evidence, but in the harm budget.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub ended_late: Pair,
    /// Windows dropped because they could not be true.
    pub nonsense: u64,
    /// The way on, where the policy leaves the shares to the judge and traffic was seen at the present one.
    #[serde(default)]
    pub ramp: Option<Ramp>,
    /// What is known of the canary's difference from stable.
    #[serde(default)]
    pub bounds: Bounds,
    /// How well it is known that requests fail one by one.
    #[serde(default)]
    pub calibration: Calibration,
    /// Routing decisions against the configured split; nothing where clients stay with a version.
    #[serde(default)]
    pub sample_ratio: Option<SampleRatio>,
    /// At the crossing: the instance of the canary without which there would be no evidence to speak of, as
    /// [`crate::Instance::id`]. Its host may be bad, not the version. In records and sentences it is written as 16 hexadecimal
    /// digits: not every reader of JSON keeps all 64 bits of a number.
    #[serde(default, with = "hexadecimal")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub single_instance: Option<u64>,
}

fn is_nothing(counts: &Pair) -> bool {
    *counts == Pair::default()
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(id: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        id.map(|id| format!("{id:016x}")).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        let digits = Option::<String>::deserialize(deserializer)?;
        digits.map(|digits| u64::from_str_radix(&digits, 16).map_err(D::Error::custom)).transpose()
    }
}

/// What a metric measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The canary's failures against stable's.
    Relative,
    /// The canary's failures against a limit.
    Absolute,
    /// The canary's latency against stable's.
    Latency,
    /// The canary's slow requests against a limit.
    SlowLimit,
    /// A metric of the user, by its number: the canary's failures against stable's.
    Metric(u8),
    /// What the rollout may cost. It is no part of `E`: it has a part of α of its own.
    Budget,
}

impl Measure {
    /// Whether it compares with stable, so that it stands still where stable has no share.
    pub(crate) const fn compares(self) -> bool {
        matches!(self, Self::Relative | Self::Latency | Self::Metric(_))
    }
}

/// One metric's part in the rollback evidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = MetricEvidence))]
pub struct Metric {
    /// What it measures.
    pub measure: Measure,
    /// Its weight in `E`, 0 to 1, fixed at the start.
    pub share: f64,
    /// Its own `ln E_m`.
    pub ln_e: f64,
    /// The `ln E_m` at which it alone makes the canary harmful.
    pub ln_needed: f64,
    /// Begin of its largest component, in milliseconds since the rollout began: since when it most likely is so.
    pub since_ms: u64,
    /// Counts in closed blocks since then; of latency, as failures, requests above the thresholds.
    pub since: Pair,
    /// Of latency: where requests count as slow in the largest component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
}

/// Where requests count as slow, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Thresholds {
    /// Of the canary: as much higher as the canary may be slower.
    pub canary_ms: f64,
    /// Of stable.
    pub stable_ms: f64,
}

/// The proof that a step is not slower.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Speed {
    /// Above stable's 99th percentile when the step began; nothing until stable has answered 1,000 requests.
    pub thresholds: Option<Thresholds>,
    /// Requests in the step's blocks, and as failures those above the thresholds.
    pub counts: Pair,
    /// The proof that the canary's share above its threshold is less than the margin above stable's.
    pub proof: Promotion,
}

/// What a rollout has cost. A request counts once, if it failed or exceeded the latency limit.
///
/// A budget in excess of stable's counts `H = Σ (x_c − n_c x_b / n_b)` over closed blocks with requests of both versions, kept
/// ≥ 0 at each. It is spent when `spent` has reached it and `ln_e` has reached `ln_needed`: below that an excess cannot be told
/// from chance. `ln_e` is the process of [`crate::relative`] for `ω0 = 1` with 16 ratios `r`, `r − 1` log-spaced from 0.01 to
/// 30; with a latency limit the mean of that of failures and that of slow requests. A canary no worse than stable in every
/// block therefore spends it with probability at most `α_h = 0.1 α`, at any weight and however long it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Harm {
    /// What it may cost.
    pub budget: Budget,
    /// The canary's failures in excess of stable's, never below 0; for a plain cap all of the canary's failures.
    pub spent: f64,
    /// `ln` of the evidence that there is an excess; nothing for a plain cap.
    pub ln_e: Option<f64>,
    /// `ln(1/α_h)`; nothing for a plain cap.
    pub ln_needed: Option<f64>,
}

/// The proof of a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Promotion {
    /// The weight whose first entry began this proof, in basis points.
    pub weight: u16,
    /// `δ1`: what is to be proven is that the canary's failure rate is less than this above stable's. A difference of
    /// rates, frozen when the step began.
    pub margin: f64,
    /// `ln E_prom`.
    pub ln_e: f64,
    /// `ln(1/β)`.
    pub ln_needed: f64,
    /// Whether `ln_e` has ever reached `ln_needed` in this step.
    pub proven: bool,
    /// What it still needs; nothing once proven, or out of reach.
    pub forecast: Option<Forecast>,
}

/// An absolute limit of the canary's failure rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Limit {
    /// Failures per request.
    pub rate: f64,
    /// Who set it.
    pub origin: Origin,
    /// Since when it is watched, in milliseconds since the rollout began.
    pub since_ms: u64,
    /// How the canary stands to it.
    pub standing: Standing,
}

/// Where a limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The policy.
    User,
    /// Stable's failures earlier in this rollout: "against the past".
    Past,
}

/// How the canary stands to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// No evidence that it is broken.
    Clean,
    /// Some evidence that it is broken.
    Amber,
    /// Some evidence that it is broken, and stable breaks it, too: not the canary's doing alone.
    StableFailsToo,
}
