//! What a verdict rests on, in numbers that stay finite.

use serde::{Deserialize, Serialize};

use crate::counts::Pair;
use crate::forecast::Forecast;

/// Everything a person or a page needs to understand a verdict, and everything a recomputation is compared with.
///
/// Evidence in the sense of statistics (`ln_e`, counts of closed blocks) changes only when a block closes. All logarithms
/// are natural.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// `ln E`, the rollback evidence over all metrics.
    pub ln_e: f64,
    /// `ln(1/α_c)`: the canary is harmful once `ln_e` reaches this.
    pub ln_needed: f64,
    /// Whether anything speaks against the canary right now: `ln_e` above 0, or at 100 % a limit that is not clean. No
    /// step is left while it does.
    pub amber: bool,
    /// The metrics in force.
    pub metrics: Vec<Metric>,
    /// Metrics that have reached what they need alone.
    pub causes: Vec<Measure>,
    /// The metric that contributes most, while `amber` and without a cause.
    pub suspect: Option<Measure>,
    /// The proof of the current step; nothing before the first weight above 0, and nothing at 100 %.
    pub promotion: Option<Promotion>,
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
    /// Closed blocks so far.
    pub blocks: u64,
    /// Windows ignored because their time had been counted already.
    pub duplicates: u64,
    /// Windows ignored because their epoch was over.
    pub late: u64,
    /// Windows dropped because they could not be true.
    pub nonsense: u64,
}

/// What a metric measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The canary's failures against stable's.
    Relative,
    /// The canary's failures against a limit.
    Absolute,
}

/// One metric's part in the rollback evidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Counts in closed blocks since then.
    pub since: Pair,
}

/// The proof of a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The policy.
    User,
    /// Stable's failures earlier in this rollout: "against the past".
    Past,
}

/// How the canary stands to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// No evidence that it is broken.
    Clean,
    /// Some evidence that it is broken.
    Amber,
    /// Some evidence that it is broken, and stable breaks it, too: not the canary's doing alone.
    StableFailsToo,
}
