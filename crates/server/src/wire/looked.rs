//! What was looked at because somebody asked: the journal, and where metrics are read.

use davy_core::ReleaseId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks for a check of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// Heads that were kept elsewhere, a line each as `davy audit head` prints it.
    #[serde(default)]
    pub heads: Vec<String>,
}

/// What a check of the journal found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verified {
    /// `verified`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many streams were read.
    pub streams: u64,
    /// How many events.
    pub events: u64,
    /// How many of them are packed.
    pub packed: u64,
    /// How many batches of evidence.
    pub batches: u64,
    /// Of how many rollouts the evidence was let go, by a deed that holds.
    pub let_go: u64,
    /// How many records of what was done to the server itself.
    pub deeds: u64,
    /// How many signed checkpoints.
    pub checkpoints: u64,
    /// How many saved heads were compared.
    pub heads: usize,
    /// What does not hold; empty when all is well.
    pub broken: Vec<Breach>,
}

/// A place where the journal does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Breach {
    /// Which stream.
    pub stream: String,
    /// Which event of it.
    pub position: u64,
    /// What is wrong.
    pub why: String,
}

impl Verified {
    /// What was found, with so many saved heads.
    #[must_use]
    pub fn of(found: davy_ports::Verified, heads: usize) -> Self {
        let davy_ports::Verified { streams, events, packed, batches, let_go, deeds, checkpoints, broken } = found;
        let broken =
            broken.into_iter().map(|davy_ports::Broken { stream, position, why }| Breach { stream, position, why });
        let kind = "verified".to_owned();
        Self { kind, streams, events, packed, batches, let_go, deeds, checkpoints, heads, broken: broken.collect() }
    }
}

/// What a service's metrics source says now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MetricsChecked {
    /// `metrics-checked`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its address; null where the service reads no metrics.
    pub source: Option<String>,
    /// The secret with which it is asked.
    pub token: Option<String>,
    /// The time between two readings, in milliseconds.
    pub interval_ms: Option<u64>,
    /// Why it could not be asked.
    pub trouble: Option<String>,
    /// What to do about that; may be empty.
    pub hint: String,
    /// Metric by metric; without counters where it could not be asked.
    pub metrics: Vec<MetricChecked>,
}

/// One metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MetricChecked {
    /// Its name.
    pub name: String,
    /// Whether every counter of it can be read.
    pub ok: bool,
    /// Its counters, of each release that runs.
    pub counters: Vec<CounterChecked>,
}

/// One counter of one release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CounterChecked {
    /// What it counts: `failures` or `tries`.
    pub of: String,
    /// Of which release.
    pub release: ReleaseId,
    /// What that is now: `stable` or `canary`.
    pub role: String,
    /// What the source was asked for.
    pub query: String,
    /// How many series there are.
    pub series: usize,
    /// What they stand at together; null where there are none.
    pub value: Option<u64>,
    /// How old the newest sample is, in milliseconds, by the server's clock.
    pub age_ms: Option<u64>,
    /// Whether a rollout could read it.
    pub ok: bool,
    /// Why not.
    pub trouble: Option<String>,
    /// What to do about that; may be empty.
    pub hint: String,
}
