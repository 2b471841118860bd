//! The API's types: what others may rely on. Weights in basis points, times in milliseconds since the Unix epoch.

use davy_core::{
    InstanceId, ReleaseId, RolloutId, ServiceKey, Timestamp, Weight,
    rollout::{Next, Outcome, Pause, RequestKind},
};
use davy_engine::{Live, MetricSeen, Role, Seen, Summary};
use davy_judge::Verdict;
use serde::{Deserialize, Serialize};

/// A problem (RFC 9457) with a code, a hint and, for a file, its errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    pub errors: Vec<serde_json::Value>,
}

/// Asks for a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The rollout that does it.
    pub rollout: RolloutId,
    /// What the person should know before it goes on.
    #[serde(default)]
    pub notices: Vec<String>,
}

/// A line of an answer that takes long. The last one has what the answer would have been.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Requests to stable and canary.
    pub requests: Option<u64>,
    /// The time in which they were counted, in seconds; at most 60.
    pub seconds: Option<f64>,
}

/// Goes back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// To which release; the one that served before when absent.
    pub to: Option<ReleaseId>,
}

/// Sets a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveSecret {
    /// Its name.
    pub name: String,
    /// For which service it was set.
    pub service: Option<String>,
    /// In which environment.
    pub environment: Option<String>,
}

/// A secret was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretSet {
    /// Which of its values it is now.
    pub version: u64,
    /// Whether that is a new one.
    pub changed: bool,
    /// What the person should know; may be empty.
    pub notice: String,
}

/// A secret as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCreated {
    /// The token itself.
    pub token: String,
    /// Until when.
    pub expires: Option<Timestamp>,
    /// What the person should know; may be empty.
    pub notice: String,
}

/// A token as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The last signed checkpoint in one line; none before there is one.
    pub head: Option<String>,
}

/// Stops the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shutdown {
    /// Whether gateway and instances go on.
    pub keep_traffic: bool,
}

/// Intended and observed share of the new release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights {
    /// As asked for.
    pub intended: Weight,
    /// As seen; none while nothing was seen.
    pub observed: Option<Weight>,
}

/// One rollout, as it is now or as it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    pub verdict: Option<davy_judge::Kind>,
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
    /// Forward or back.
    pub request: RequestKind,
    /// What it brings.
    pub release: ReleaseId,
    /// What served before.
    pub from: Option<ReleaseId>,
    /// The words that the release runs.
    pub command: Vec<String>,
    /// Who asked.
    pub by: String,
    /// When it began.
    pub began: Timestamp,
    /// Requests answered by and failed on the new release.
    pub canary: Counted,
    /// The same of stable.
    pub stable: Counted,
    /// Requests on the new release that are no evidence: matched ones, and copies.
    #[serde(default)]
    pub aside: Counted,
    /// What the service counted itself, metric by metric.
    #[serde(default)]
    pub metrics: Vec<MetricSeen>,
    /// The verdict's sentence with the names of metrics, and what it rests on, in plain words.
    #[serde(default)]
    pub explained: Vec<String>,
    /// How it takes over: `canary`, `blue-green`, `rolling`, `recreate`.
    #[serde(default)]
    pub strategy: String,
    /// Whether requests fail while the old instances make room for the new ones.
    #[serde(default)]
    pub interrupts: bool,
    /// Where the new release can be looked at before it gets its share.
    #[serde(default)]
    pub preview: Vec<String>,
    /// What the router does by itself, or why it cannot be seen.
    pub router: String,
    /// Why nothing can be written, while nothing can.
    pub stuck: Option<String>,
    /// By the server's clock.
    pub now: Timestamp,
}

/// Requests of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Answered.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
}

/// One service in one environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Why it is set aside, if it is: its journal cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// One service with what belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
}

impl ServiceDetail {
    /// As the engine sees it.
    #[must_use]
    pub fn of(live: &Live, rollouts: Vec<Rollout>) -> Self {
        let rollout = live.state.rollout.as_ref();
        let workload = live.state.stable.as_ref().or(rollout.map(|rollout| &rollout.request.release));
        let workload = workload.map(|release| &release.workload);
        let secret = |secret: &davy_core::Secret| match &secret.pin {
            Some(pin) => format!("{} version {}", secret.name, pin.version),
            None => secret.name.to_string(),
        };
        Self {
            service: Service::of(live),
            host: workload.and_then(|workload| workload.route.host.clone()),
            path: workload.map(|workload| workload.route.path.clone()),
            command: workload.map(|workload| workload.run.words()).unwrap_or_default(),
            replicas: workload.map_or(0, |workload| workload.replicas),
            secrets: workload.map(|workload| workload.secrets.iter().map(secret).collect()).unwrap_or_default(),
            router: router(live),
            rollouts,
        }
    }
}

/// One running copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl From<Seen> for Counted {
    fn from(seen: Seen) -> Self {
        Self { requests: seen.requests, failed: seen.failed }
    }
}

impl Service {
    /// As the engine sees it.
    #[must_use]
    pub fn of(live: &Live) -> Self {
        let instance = |instance: &davy_core::Instance| Instance {
            id: instance.id.clone(),
            release: instance.release.clone(),
            address: instance.address.to_string(),
            health: match &instance.health {
                davy_core::Health::Healthy => "healthy".to_owned(),
                davy_core::Health::Starting { why } => format!("starting: {why}"),
                davy_core::Health::Unhealthy { why } => format!("unhealthy: {why}"),
                davy_core::Health::Ended { why } => format!("ended: {why}"),
            },
            restarts: instance.restarts,
        };
        Self {
            kind: "service".to_owned(),
            service: live.key.service.to_string(),
            environment: live.key.environment.to_string(),
            state: match (&live.state.rollout, &live.state.stable) {
                (Some(rollout), _) => rollout.word(),
                (None, Some(_)) => "serving",
                (None, None) => "removed",
            }
            .to_owned(),
            stable: live.state.stable.as_ref().map(|release| release.id.clone()),
            weight: live.state.rollout.as_ref().map(|rollout| rollout.intended),
            rollout: live.state.rollout_id().cloned(),
            instances: live.instances.iter().map(instance).collect(),
            why: None,
        }
    }

    /// One that is set aside.
    #[must_use]
    pub fn aside(key: &ServiceKey, why: &str) -> Self {
        Self {
            kind: "service".to_owned(),
            service: key.service.to_string(),
            environment: key.environment.to_string(),
            state: "set-aside".to_owned(),
            stable: None,
            weight: None,
            rollout: None,
            instances: Vec::new(),
            why: Some(why.to_owned()),
        }
    }
}

impl Rollout {
    /// One that ended or waits for its turn.
    #[must_use]
    pub fn past(summary: &Summary, now: Timestamp) -> Self {
        let ended = summary.ended.as_ref();
        let promoted = summary.promoted.map(|_| Outcome::Promoted);
        let outcome = ended.map(|ended| ended.outcome).or(promoted);
        let served = outcome == Some(Outcome::Promoted);
        Self {
            kind: "rollout".to_owned(),
            id: summary.rollout.clone(),
            service: summary.key.service.to_string(),
            environment: summary.key.environment.to_string(),
            state: outcome.map_or("queued", Outcome::as_str).to_owned(),
            step: 0,
            steps: Vec::new(),
            weight: Weights { intended: if served { Weight::ALL } else { Weight::NONE }, observed: None },
            verdict: None,
            judged: None,
            paused: None,
            next: None,
            deadline: None,
            outcome,
            why: ended.map(|ended| ended.why.clone()),
            request: summary.kind,
            release: summary.release.id.clone(),
            from: None,
            command: summary.release.workload.run.words(),
            by: summary.by.to_string(),
            began: summary.began,
            canary: Counted::default(),
            stable: Counted::default(),
            aside: Counted::default(),
            metrics: Vec::new(),
            explained: Vec::new(),
            strategy: String::new(),
            interrupts: false,
            preview: Vec::new(),
            router: String::new(),
            stuck: None,
            now,
        }
    }

    /// The one under way.
    #[must_use]
    pub fn present(live: &Live, now: Timestamp) -> Option<Self> {
        let rollout = live.state.rollout.as_ref()?;
        let request = &rollout.request;
        let outcome = match &rollout.ending {
            Some((outcome, _)) => Some(*outcome),
            None => rollout.promoted.then_some(Outcome::Promoted),
        };
        let on_trial = !rollout.is_first() && request.kind == RequestKind::Deploy;
        let verdict = live.verdict.clone().filter(|_| on_trial);
        let analysis = &request.policy.analysis;
        let explained = verdict.iter().flat_map(|verdict| {
            let because = analysis.told(verdict, live.instances.iter().map(|instance| &instance.id));
            std::iter::once(because).chain(davy_engine::report::evidence::lines(verdict, analysis))
        });
        let explained = explained.collect();
        let next = rollout.next(verdict.as_ref().map(|verdict| (now, verdict)));
        let first = rollout.is_first().then(|| "the first deployment: there is nothing to compare it with".to_owned());
        Some(Self {
            kind: "rollout".to_owned(),
            id: request.rollout.clone(),
            service: live.key.service.to_string(),
            environment: live.key.environment.to_string(),
            state: rollout.word().to_owned(),
            step: rollout.step,
            steps: rollout.steps(),
            weight: Weights { intended: rollout.intended, observed: live.observed.map(|(share, _)| share) },
            verdict: verdict.as_ref().map(|verdict| verdict.kind),
            judged: verdict,
            paused: rollout.pause.clone(),
            next: Some(next),
            deadline: rollout.is_forward().then(|| rollout.deadline()),
            outcome,
            why: rollout.ending.as_ref().map(|(_, cause)| cause.sentence()).or(first),
            request: request.kind,
            release: request.release.id.clone(),
            from: rollout.from.as_ref().map(|release| release.id.clone()),
            command: request.release.workload.run.words(),
            by: request.by.to_string(),
            began: rollout.began,
            canary: live.seen.0.into(),
            stable: live.seen.1.into(),
            aside: live.seen.2.into(),
            metrics: live.metrics.clone(),
            explained,
            strategy: request.policy.strategy.as_str().to_owned(),
            interrupts: rollout.interrupts(),
            preview: preview(live, rollout),
            router: router(live),
            stuck: live.stuck.clone(),
            now,
        })
    }
}

/// Hosts and addresses of the new release, while it waits for its first share.
fn preview(live: &Live, rollout: &davy_core::rollout::Rollout) -> Vec<String> {
    if rollout.weight() > Weight::NONE || !rollout.is_forward() || rollout.current().canary == 0 {
        return Vec::new();
    }
    let hosts = rollout.current().matches.iter().filter_map(|wanted| match wanted {
        davy_core::Match::Host(host) => Some(format!("host {host}")),
        _ => None,
    });
    let ours = live.instances.iter().filter(|instance| instance.release == rollout.request.release.id);
    let addresses = ours.filter(|instance| instance.health.is_healthy());
    hosts.chain(addresses.map(|instance| format!("http://{}", instance.address))).collect()
}

fn router(live: &Live) -> String {
    match (&live.serving, &live.unseen) {
        (_, Some(why)) => format!("cannot be seen: {why}"),
        (None, None) => "holds nothing of this service".to_owned(),
        (Some(serving), None) => match &serving.mode {
            davy_core::Mode::Split => "serves the split".to_owned(),
            davy_core::Mode::Fallback { cause, .. } => match cause {
                davy_core::FallbackCause::Revert => "serves stable alone: traffic was put back".to_owned(),
                davy_core::FallbackCause::Lapse => "serves stable alone: the controller was silent".to_owned(),
                davy_core::FallbackCause::Restart => "serves stable alone: it was restarted".to_owned(),
                davy_core::FallbackCause::Guard => "serves stable alone: its guard cut the canary off".to_owned(),
            },
        },
    }
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
