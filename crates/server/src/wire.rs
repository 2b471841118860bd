//! The API's types: what others may rely on. Weights in basis points, times in milliseconds since the Unix epoch.

mod looked;
mod session;
mod shown;

pub use looked::{Breach, CounterChecked, MetricChecked, MetricsChecked, Verified, Verify};
pub use session::{Code, MakeCode, Session, SessionsEnded, SignIn, SignedIn, Way, Ways};
pub use shown::changes;

use davy_core::{
    InstanceId, OnDeadline, ReleaseId, RolloutId, ServiceKey, Timestamp, Weight,
    rollout::{CauseKind, Next, Outcome, Pause, RequestKind},
};
use davy_engine::{MetricSeen, Role};
use davy_judge::{Kind, Verdict};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A problem (RFC 9457) with a code, a hint and, for a file, its errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The status in words.
    pub title: String,
    /// A stable code.
    pub code: String,
    /// What was tried and what happened.
    pub detail: String,
    /// What to do next; may be empty.
    #[serde(default)]
    pub hint: String,
    /// The errors of a file.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub errors: Vec<serde_json::Value>,
}

/// Asks for a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// The text of `davy.yaml`.
    pub file: String,
    /// The folder that its relative paths are taken from. Absolute.
    pub folder: String,
    /// Which of its environments; the only one when absent.
    pub environment: Option<String>,
    /// Must be the file's service when given.
    pub service: Option<String>,
    /// In place of the file's image.
    #[serde(default)]
    pub image: Option<String>,
}

/// What a channel is still to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Untold {
    /// `untold`.
    #[serde(rename = "type")]
    pub kind: String,
    /// About which service.
    pub service: String,
    /// Where.
    pub environment: String,
    /// The channel as the file names it.
    pub channel: String,
    /// How many messages.
    pub waiting: usize,
    /// When the oldest happened.
    pub since: Timestamp,
    /// How often that was tried.
    pub attempts: u32,
    /// What happened the last time.
    pub trouble: Option<String>,
}

/// What came of the test of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tested {
    /// `tested`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The channel as the file names it.
    pub channel: String,
    /// Whether the message arrived.
    pub ok: bool,
    /// Why not.
    pub trouble: Option<String>,
}

/// A deployment was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Taken {
    /// The rollout that does it.
    pub rollout: RolloutId,
    /// What the person should know before it goes on.
    #[serde(default)]
    pub notices: Vec<String>,
}

/// A line of an answer that takes long. The last one has what the answer would have been.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Line {
    /// It is worked on.
    Working {
        /// What it waits for, in words; null when there is nothing to say.
        on: Option<String>,
    },
    /// It is done.
    Done {
        /// The answer.
        answer: serde_json::Value,
    },
    /// It could not be done.
    Failed {
        /// Why.
        problem: Problem,
    },
}

/// How busy a service is; null where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// Requests to stable and canary.
    pub requests: Option<u64>,
    /// The time in which they were counted, in seconds; at most 60.
    pub seconds: Option<f64>,
}

/// Goes back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// To which release; the one that served before when absent.
    pub to: Option<ReleaseId>,
}

/// Sets a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetSecret {
    /// Its name.
    pub name: String,
    /// For one service; for all when absent.
    pub service: Option<String>,
    /// In one environment; in all when absent.
    pub environment: Option<String>,
    /// Its value in base64.
    pub value: String,
}

/// Removes a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveSecret {
    /// Its name.
    pub name: String,
    /// For which service it was set.
    pub service: Option<String>,
    /// In which environment.
    pub environment: Option<String>,
}

/// A secret was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretSet {
    /// Which of its values it is now.
    pub version: u64,
    /// Whether that is a new one.
    pub changed: bool,
    /// What the person should know; may be empty.
    pub notice: String,
}

/// A secret as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Secret {
    /// `secret`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// For one service; for all when absent.
    pub service: Option<String>,
    /// In one environment; in all when absent.
    pub environment: Option<String>,
    /// The newest version.
    pub version: u64,
    /// When it was set.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Whether new releases are given it; else it is only kept for those that have it.
    pub set: bool,
    /// The versions that are kept.
    pub kept: Vec<u64>,
}

/// Asks for a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// Its name: who acts by it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Where; everywhere when empty.
    #[serde(default)]
    pub environments: Vec<String>,
    /// How many milliseconds it is worth something; for ever when absent.
    pub expires: Option<u64>,
}

/// A token was given out: this is the only time that it is seen.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    /// The token itself.
    pub token: String,
    /// Until when.
    pub expires: Option<Timestamp>,
    /// What the person should know; may be empty.
    pub notice: String,
}

/// A token as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// `token`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Where; everywhere when empty.
    pub environments: Vec<String>,
    /// When it was given out.
    pub created: Timestamp,
    /// By whom.
    pub by: String,
    /// Until when; for ever when absent.
    pub expires: Option<Timestamp>,
    /// `active`, `expired` or `revoked`.
    pub state: String,
}

/// Where the journal stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Checkpoint {
    /// The last signed checkpoint in one line; none before there is one.
    pub head: Option<String>,
}

/// Stops the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// Whether gateway and instances go on.
    pub keep_traffic: bool,
}

/// Intended and observed share of the new release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Weights {
    /// As asked for.
    pub intended: Weight,
    /// As seen; none while nothing was seen.
    pub observed: Option<Weight>,
}

/// One rollout, as it is now or as it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rollout {
    /// `rollout`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub id: RolloutId,
    /// Of which service.
    pub service: String,
    /// Where.
    pub environment: String,
    /// `queued`, `starting`, `shifting`, `holding`, `recovering`, `paused`, `baking`, `reverting`, `settling`,
    /// `draining`, `removing`, or its outcome.
    pub state: String,
    /// The step, from 0.
    pub step: usize,
    /// All steps.
    pub steps: Vec<Weight>,
    /// Shares.
    pub weight: Weights,
    /// The verdict's kind; none before there is one.
    pub verdict: Option<Kind>,
    /// The verdict with its evidence.
    pub judged: Option<Verdict>,
    /// Why it waits.
    pub paused: Option<Pause>,
    /// What comes next.
    pub next: Option<Next>,
    /// When the present step must be proven.
    pub deadline: Option<Timestamp>,
    /// How it ended or, promoted, will end.
    pub outcome: Option<Outcome>,
    /// Why it ended.
    pub why: Option<String>,
    /// What kind of cause that is; null while it goes forward, when it was promoted, and where an older version of Davy rolled it back.
    #[serde(default)]
    pub cause: Option<CauseKind>,
    /// Forward or back.
    pub request: RequestKind,
    /// What it brings.
    pub release: ReleaseId,
    /// What served before.
    pub from: Option<ReleaseId>,
    /// The words that the release runs.
    pub command: Vec<String>,
    /// The same in short: the image's tag, or the command.
    #[serde(default)]
    #[schema(required)]
    pub version: String,
    /// What served before, in short.
    #[serde(default)]
    pub from_version: Option<String>,
    /// Who asked.
    pub by: String,
    /// When it began.
    pub began: Timestamp,
    /// What happens when a step is not proven by its deadline.
    #[serde(default)]
    #[schema(required)]
    pub on_deadline: OnDeadline,
    /// How long each step has, in milliseconds.
    #[serde(default)]
    #[schema(required)]
    pub deadline_ms: u64,
    /// How long a pause lasts before traffic goes back, in milliseconds.
    #[serde(default)]
    #[schema(required)]
    pub pause_limit_ms: u64,
    /// How long the old release is kept after promotion, in milliseconds.
    #[serde(default)]
    #[schema(required)]
    pub bake_ms: u64,
    /// When it was promoted.
    #[serde(default)]
    pub promoted: Option<Timestamp>,
    /// When it was over and cleared away.
    #[serde(default)]
    pub ended: Option<Timestamp>,
    /// Requests answered by and failed on the new release.
    pub canary: Counted,
    /// The same of stable.
    pub stable: Counted,
    /// Requests on the new release that are no evidence: matched ones, and copies.
    #[serde(default)]
    #[schema(required)]
    pub aside: Counted,
    /// What the service counted itself, metric by metric.
    #[serde(default)]
    #[schema(required)]
    pub metrics: Vec<MetricSeen>,
    /// The verdict's sentence with the names of metrics, and what it rests on, in plain words.
    #[serde(default)]
    #[schema(required)]
    pub explained: Vec<String>,
    /// How it takes over: `canary`, `blue-green`, `rolling`, `recreate`.
    #[serde(default)]
    #[schema(required)]
    pub strategy: String,
    /// Whether requests fail while the old instances make room for the new ones.
    #[serde(default)]
    #[schema(required)]
    pub interrupts: bool,
    /// Where the new release can be looked at before it gets its share.
    #[serde(default)]
    #[schema(required)]
    pub preview: Vec<String>,
    /// What the router does by itself, or why it cannot be seen.
    pub router: String,
    /// Why nothing can be written, while nothing can.
    pub stuck: Option<String>,
    /// By the server's clock.
    pub now: Timestamp,
}

/// Requests of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counted {
    /// Answered.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
}

/// One service in one environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// `service`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub service: String,
    /// Where.
    pub environment: String,
    /// `serving`, the state of the rollout under way, `removed` when nothing serves, or `set-aside` when its journal cannot be read.
    pub state: String,
    /// What serves.
    pub stable: Option<ReleaseId>,
    /// The new release's share as asked for, while a rollout is under way.
    pub weight: Option<Weight>,
    /// The rollout under way.
    pub rollout: Option<RolloutId>,
    /// The running copies.
    pub instances: Vec<Instance>,
    /// What serves in short, or comes first: the image's tag, or the command.
    #[serde(default)]
    pub version: Option<String>,
    /// The verdict on the rollout under way.
    #[serde(default)]
    pub verdict: Option<Kind>,
    /// Requests of the last minute.
    #[serde(default)]
    #[schema(required)]
    pub traffic: Traffic,
    /// Since when what serves does so.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// What a person has to do, in a sentence; null while nobody has to.
    #[serde(default)]
    pub needs: Option<String>,
    /// Why it is set aside, if it is: its journal cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// One service with what belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceDetail {
    /// As in the list.
    #[serde(flatten)]
    pub service: Service,
    /// The host that it answers to; every one when absent.
    pub host: Option<String>,
    /// The beginning of the paths that it answers to.
    pub path: Option<String>,
    /// What an instance runs.
    pub command: Vec<String>,
    /// How many instances it should have.
    pub replicas: u32,
    /// The names of the secrets that an instance is given, each with its version.
    pub secrets: Vec<String>,
    /// What the router does, or why it cannot be seen.
    pub router: String,
    /// The last rollouts, the newest first.
    pub rollouts: Vec<Rollout>,
    /// The releases that served, the latest first.
    #[serde(default)]
    #[schema(required)]
    pub releases: Vec<Release>,
}

/// A release that served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ReleaseServed)]
pub struct Release {
    /// Its name.
    pub id: ReleaseId,
    /// What it runs, in short: the image's tag, or the command.
    pub version: String,
    /// From when to when it served last; the second is null while it serves.
    #[schema(value_type = Vec<Option<u64>>)]
    pub served: (Timestamp, Option<Timestamp>),
    /// Whether it serves now.
    pub live: bool,
    /// What a rollback to it takes.
    pub rollback: Back,
}

/// What a rollback takes, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ReleaseBack)]
pub struct Back {
    /// About how long until the release has all traffic; null where that is not known.
    pub seconds: Option<f64>,
    /// Why it cannot serve again; null where it can.
    pub why_not: Option<String>,
}

/// A setting in which two releases differ. A value is null where there is none; secrets are told by their versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// Which, in the words of `davy.yaml`.
    pub key: String,
    /// Before.
    pub from: Option<String>,
    /// After.
    pub to: Option<String>,
}

/// The course of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Timeline {
    /// `timeline`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What was counted and judged, in order; at most 500, evenly chosen.
    pub points: Vec<Point>,
    /// What was decided, in order.
    pub decisions: Vec<Decision>,
}

/// What was known when some evidence was complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// The last event of the rollout until then: `?at=` takes it.
    pub sequence: u64,
    /// The new release's share as asked for.
    pub intended: Weight,
    /// Its share of what was routed just before; null when nothing was.
    pub observed: Option<Weight>,
    /// All that was counted of the new release until then.
    pub canary: Counted,
    /// The same of stable.
    pub stable: Counted,
    /// The verdict; null where nothing is judged.
    pub kind: Option<Kind>,
    /// Where the canary's failure rate minus stable's is; null before anything is known.
    pub difference: Option<Range>,
    /// What the difference has to be proven to be below for the step to pass, as a fraction; null where nothing is to be proven.
    pub limit: Option<f64>,
}

/// A range of fractions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Range {
    /// It is above this.
    pub low: f64,
    /// It is below this.
    pub high: f64,
}

/// Something that was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Decision {
    /// The event that says so.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// What, in a sentence.
    pub what: String,
    /// Why; null where it is not said.
    pub why: Option<String>,
    /// Whether it only comes of the last one that does not follow, or is done again because something stumbled.
    pub follows: bool,
}

/// Which server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `health`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its version.
    pub version: String,
}

/// It is done, and there is nothing to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// `done`, or `stopping` of a server that ends.
    #[serde(rename = "type")]
    pub kind: String,
}

impl Done {
    /// What was asked for.
    #[must_use]
    pub fn told() -> Self {
        Self { kind: "done".to_owned() }
    }
}

/// A report was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reported {
    /// `report`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The file on the server's machine.
    pub path: String,
}

/// One running copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Instance {
    /// Its name.
    pub id: InstanceId,
    /// What it runs.
    pub release: ReleaseId,
    /// Where it listens.
    pub address: String,
    /// Whether it can serve.
    pub health: String,
    /// How often it was started again.
    pub restarts: u32,
}

/// The key of a service from its two names.
///
/// # Errors
/// When one is not a name.
pub fn key(environment: &str, service: &str) -> Result<ServiceKey, davy_core::InvalidName> {
    Ok(ServiceKey {
        service: davy_core::ServiceName::new(service)?,
        environment: davy_core::EnvironmentName::new(environment)?,
    })
}
