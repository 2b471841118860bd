//! The JSON Schema, from types whose comments are the keys' reference. The reader is held against it by a test.

#![expect(dead_code, reason = "the types describe the file; the reader reads it with places")]

use schemars::{JsonSchema, generate::SchemaSettings};
use std::collections::BTreeMap;

/// One service: what runs, and how a new version of it is rolled out.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Davy {
    /// The service's name: 1 to 63 of a-z, 0-9 and -, beginning with a letter.
    service: String,
    /// What runs, split into words, no shell; $PORT and the keys of `env` are replaced. Relative paths begin at the file's folder.
    command: String,
    /// Files and folders that belong to a release, besides those that the command names.
    files: Option<Vec<String>>,
    /// The port in a container. On `local` each instance is given one of its own as $PORT.
    port: Option<u16>,
    /// How many instances, 1 to 100. Default 1.
    replicas: Option<u32>,
    /// When an instance counts as able to serve.
    health: Option<Health>,
    /// Which requests are the service's. Default: all.
    route: Option<Route>,
    /// The environment of the process; $PORT in values is replaced.
    env: Option<BTreeMap<String, Scalar>>,
    /// Where it can be deployed. Default: `production` on `local`.
    environments: Option<BTreeMap<String, Environment>>,
    /// How a new version gets all traffic, or none.
    rollout: Option<Rollout>,
}

/// A text, a number or a truth, taken as written.
#[derive(JsonSchema)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(f64),
    Truth(bool),
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Health {
    /// Asked for with GET; 200 to 399 is healthy. Without it, an open port is.
    path: Option<String>,
    /// How long a new instance may take. Default 60s.
    grace: Option<String>,
    /// The time between two checks. Default 2s.
    interval: Option<String>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Route {
    /// A host name, without scheme and port. Default: every one.
    host: Option<String>,
    /// A prefix of whole segments. Default /.
    path: Option<String>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Environment {
    /// Where instances run.
    platform: Option<Platform>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Platform {
    /// Processes on this machine.
    Local,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Rollout {
    /// The trial.
    canary: Option<Canary>,
    /// What the judge may spend and must heed.
    analysis: Option<Analysis>,
    /// The longest wait for the requests in flight on a release that leaves. Default 30s.
    drain: Option<String>,
    /// How long the old release is kept after promotion. Default 15m.
    bake: Option<String>,
    /// What happens when harm is found.
    on_failure: Option<OnFailure>,
    /// What happens when a step's deadline passes. Default pause.
    on_deadline: Option<OnDeadline>,
    /// The longest pause; then the rollout is rolled back. Default 24h.
    pause_limit: Option<String>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum OnFailure {
    Rollback,
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum OnDeadline {
    Pause,
    Rollback,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Canary {
    /// Rising weights, the last 100%. Default [1%, 5%, 25%, 50%, 100%].
    steps: Option<Vec<String>>,
    /// The least time at each weight. Default 60s.
    hold: Option<String>,
    /// The most time at each weight. Default 30m.
    deadline: Option<String>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Analysis {
    /// The chance of rolling back a healthy version, at most. Default 0.01.
    alpha: Option<f64>,
    /// Limits on failures: answers of 5xx, timeouts, refused and broken connections.
    error_rate: Option<ErrorRate>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ErrorRate {
    /// The new version's failure rate is not to exceed this.
    max: Option<String>,
    /// Whether it is compared with stable. Default true.
    not_worse_than_stable: Option<bool>,
}

/// The JSON Schema (draft 2020-12) of `davy.yaml`.
#[must_use]
pub fn schema() -> serde_json::Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Davy>();
    schema.insert("title".to_owned(), "davy.yaml".into());
    schema.to_value()
}
