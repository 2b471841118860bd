//! From what the engine sees to what the API shows.

use super::{
    Back, Change, Counted, Decision, Instance, Point, Range, Release, Rollout, Service, ServiceDetail, Timeline,
    Traffic, Weights,
};
use davy_core::{
    Run, ServiceKey, Timestamp, Weight,
    rollout::{Outcome, Pause, PauseReason, Phase, RequestKind},
};
use davy_engine::{Course, Live, Rate, Seen, Served, Summary};
use davy_judge::Kind;
use std::collections::BTreeMap;

impl ServiceDetail {
    /// As the engine sees it.
    #[must_use]
    pub fn of(live: &Live, since: Option<Timestamp>, rollouts: Vec<Rollout>, releases: Vec<Release>) -> Self {
        let rollout = live.state.rollout.as_ref();
        let workload = live.state.stable.as_ref().or(rollout.map(|rollout| &rollout.request.release));
        let workload = workload.map(|release| &release.workload);
        let secret = |secret: &davy_core::Secret| match &secret.pin {
            Some(pin) => format!("{} version {}", secret.name, pin.version),
            None => secret.name.to_string(),
        };
        Self {
            service: Service::of(live, since),
            host: workload.and_then(|workload| workload.route.host.clone()),
            path: workload.map(|workload| workload.route.path.clone()),
            command: workload.map(|workload| workload.run.words()).unwrap_or_default(),
            replicas: workload.map_or(0, |workload| workload.replicas),
            secrets: workload.map(|workload| workload.secrets.iter().map(secret).collect()).unwrap_or_default(),
            router: router(live),
            rollouts,
            releases,
        }
    }
}

impl From<Seen> for Counted {
    fn from(seen: Seen) -> Self {
        Self { requests: seen.requests, failed: seen.failed }
    }
}

impl Service {
    /// As the engine sees it; `since` when what serves does so.
    #[must_use]
    pub fn of(live: &Live, since: Option<Timestamp>) -> Self {
        let rollout = live.state.rollout.as_ref();
        let shown = live.state.stable.as_ref().or(rollout.map(|rollout| &rollout.request.release));
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
            version: shown.map(version),
            verdict: verdict(live).map(|verdict| verdict.kind),
            traffic: live.traffic.into(),
            since: since.filter(|_| live.state.stable.is_some()),
            needs: needs(live),
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
            version: None,
            verdict: None,
            traffic: Traffic::default(),
            since: None,
            needs: Some(format!("its journal cannot be read, and its traffic is left as it is: {why}")),
            why: Some(why.to_owned()),
        }
    }
}

impl Rollout {
    /// One that ended or waits for its turn; `from` served before.
    #[must_use]
    pub fn past(summary: &Summary, from: Option<&davy_core::Release>, now: Timestamp) -> Self {
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
            cause: ended.and_then(|ended| ended.cause),
            request: summary.kind,
            release: summary.release.id.clone(),
            from: summary.from.clone(),
            command: summary.release.workload.run.words(),
            version: version(&summary.release),
            from_version: from.map(version),
            by: summary.by.to_string(),
            began: summary.began,
            on_deadline: summary.limits.on_deadline,
            deadline_ms: summary.limits.deadline.0,
            pause_limit_ms: summary.limits.pause.0,
            bake_ms: summary.limits.bake.0,
            promoted: summary.promoted,
            ended: ended.map(|ended| ended.at),
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
        let verdict = verdict(live).cloned();
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
            cause: rollout.ending.as_ref().map(|(_, cause)| cause.kind()),
            request: request.kind,
            release: request.release.id.clone(),
            from: rollout.from.as_ref().map(|release| release.id.clone()),
            command: request.release.workload.run.words(),
            version: version(&request.release),
            from_version: rollout.from.as_ref().map(version),
            by: request.by.to_string(),
            began: rollout.began,
            on_deadline: request.policy.on_deadline,
            deadline_ms: request.policy.deadline.0,
            pause_limit_ms: request.policy.pause_limit.0,
            bake_ms: request.policy.bake.0,
            promoted: match &rollout.phase {
                Phase::Baking { since } => Some(*since),
                _ => None,
            },
            ended: None,
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

/// The verdict where there is anything to compare.
fn verdict(live: &Live) -> Option<&davy_judge::Verdict> {
    let rollout = live.state.rollout.as_ref()?;
    live.verdict.as_deref().filter(|_| !rollout.is_first() && rollout.request.kind == RequestKind::Deploy)
}

/// What a person has to do; none while nobody has to.
fn needs(live: &Live) -> Option<String> {
    if let Some(why) = &live.stuck {
        return Some(format!("nothing can be written, and nothing advances: {why}"));
    }
    let rollout = live.state.rollout.as_ref()?;
    let Pause { why, .. } = rollout.pause.as_ref().filter(|_| rollout.is_forward())?;
    let harmful = verdict(live).is_some_and(|verdict| verdict.kind == Kind::Harmful);
    Some(match why {
        _ if harmful => format!("the canary is harmful, and the rollout is held: {}; abort it", why.sentence()),
        PauseReason::Person { by } => format!("{by} paused it: resume, promote or abort it"),
        PauseReason::Deadline { .. } | PauseReason::Router { .. } => {
            format!("{}; resume, promote or abort it", why.sentence())
        }
    })
}

/// The longest command that is told in short.
const SHORT: usize = 60;

/// What a release runs, in short: the tag of its image, or its command without the folder of its program.
fn version(release: &davy_core::Release) -> String {
    let text = match &release.workload.run {
        Run::Container(container) => {
            let image = container.image.rsplit('/').next().unwrap_or_default();
            let (name, digest) = image.split_once('@').unwrap_or((image, ""));
            match (name.split_once(':'), digest) {
                (Some((_, tag)), _) => tag.to_owned(),
                (None, "") => name.to_owned(),
                (None, digest) => digest.trim_start_matches("sha256:").chars().take(12).collect(),
            }
        }
        Run::Process(process) => {
            let program = process.command.first().map(|program| program.rsplit('/').next().unwrap_or_default());
            let words: Vec<&str> =
                program.into_iter().chain(process.command.iter().skip(1).map(String::as_str)).collect();
            words.join(" ")
        }
    };
    match text.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl From<Option<Rate>> for Traffic {
    fn from(rate: Option<Rate>) -> Self {
        Self { requests: rate.map(|rate| rate.requests), seconds: rate.map(|rate| rate.seconds) }
    }
}

/// How long traffic takes to go back to a release whose instances still run, in seconds.
const AT_ONCE: f64 = 1.0;

impl Release {
    /// One that served; `returns_in` is what it took the last time to bring one back, in seconds.
    #[must_use]
    pub fn of(served: &Served, live: &Live, returns_in: Option<f64>) -> Self {
        let id = &served.release.id;
        let serves = live.state.stable.as_ref().is_some_and(|stable| stable.id == *id);
        let rollout = live.state.rollout.as_ref().filter(|rollout| rollout.ending.is_none());
        let runs = rollout.and_then(|rollout| rollout.from.as_ref()).is_some_and(|from| from.id == *id);
        let why_not = match (serves && !runs, served.kept) {
            (true, _) => Some("it serves now".to_owned()),
            (_, false) => Some("too many releases have served since: what it runs is no longer kept".to_owned()),
            _ => None,
        };
        let seconds = if runs { Some(AT_ONCE) } else { returns_in };
        Self {
            id: id.clone(),
            version: version(&served.release),
            served: (served.from, served.to),
            live: serves,
            rollback: Back { seconds: seconds.filter(|_| why_not.is_none()), why_not },
        }
    }
}

/// In which settings a release differs from the one before it.
#[must_use]
pub fn changes(before: Option<&davy_core::Release>, after: &davy_core::Release) -> Vec<Change> {
    let (old, new) = (before.map(settings).unwrap_or_default(), settings(after));
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    changed.map(|key| Change { key: key.clone(), from: old.get(key).cloned(), to: new.get(key).cloned() }).collect()
}

/// The settings of a release in the words of the file.
fn settings(release: &davy_core::Release) -> BTreeMap<String, String> {
    let davy_core::Workload { run, env, secrets, replicas, health, route } = &*release.workload;
    let mut all = BTreeMap::new();
    let mut tell = |key: &str, value: Option<String>| all.extend(value.map(|value| (key.to_owned(), value)));
    tell("artifact", Some(release.digest.to_string()));
    match run {
        Run::Process(process) => {
            tell("command", Some(process.command.join(" ")));
            tell("files", (!process.files.is_empty()).then(|| process.files.join(", ")));
        }
        Run::Container(container) => {
            tell("image", Some(container.image.clone()));
            tell("command", (!container.command.is_empty()).then(|| container.command.join(" ")));
            tell("port", container.port.map(|port| port.to_string()));
            tell("user", container.user.clone());
            tell("volumes", (!container.volumes.is_empty()).then(|| container.volumes.join(", ")));
            tell("stop-signal", container.stop_signal.clone());
            tell("resources.cpu", container.cpu.map(|cpu| format!("{cpu}m")));
            tell("resources.memory", container.memory.map(|bytes| format!("{bytes} bytes")));
            tell("engine", container.engine.clone());
        }
    }
    env.iter().for_each(|(name, value)| tell(&format!("env.{name}"), Some(value.clone())));
    for secret in secrets {
        let value = match &secret.pin {
            Some(pin) => format!("version {} for {}", pin.version, pin.scope),
            None => "not set".to_owned(),
        };
        tell(&format!("secrets.{}", secret.name), Some(value));
    }
    tell("replicas", Some(replicas.to_string()));
    tell("health.path", health.path.clone());
    tell("health.grace", Some(health.grace.to_string()));
    tell("health.interval", Some(health.interval.to_string()));
    tell("route.host", route.host.clone());
    tell("route.path", Some(route.path.clone()));
    all
}

impl From<Course> for Timeline {
    fn from(course: Course) -> Self {
        let point = |point: davy_engine::Point| Point {
            at: point.at,
            sequence: point.sequence,
            intended: point.intended,
            observed: point.observed,
            canary: point.canary.into(),
            stable: point.stable.into(),
            kind: point.kind,
            difference: point.difference.map(|found| Range { low: found.low, high: found.high }),
            limit: point.limit,
        };
        let decision = |decision: davy_engine::Decision| Decision {
            sequence: decision.sequence,
            at: decision.at,
            what: decision.what,
            why: decision.why,
            follows: decision.follows,
        };
        Self {
            kind: "timeline".to_owned(),
            points: course.points.into_iter().map(point).collect(),
            decisions: course.decisions.into_iter().map(decision).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{changes, version};
    use davy_core::{
        Container, Digest, EnvironmentName, HealthCheck, Millis, Process, Release, Route, Run, ServiceKey, ServiceName,
        Workload,
    };

    fn release(run: Run, change: impl FnOnce(&mut Workload)) -> Release {
        let key = ServiceKey {
            service: ServiceName::new("logo").expect("a name"),
            environment: EnvironmentName::new("production").expect("a name"),
        };
        let health = HealthCheck { path: None, grace: Millis::seconds(5), interval: Millis::seconds(1) };
        let route = Route { host: None, path: "/".to_owned() };
        let mut workload = Workload { run, env: Default::default(), secrets: Vec::new(), replicas: 1, health, route };
        change(&mut workload);
        Release::new(&key, Digest::new("d"), workload)
    }

    fn process(words: &[&str]) -> Run {
        Run::Process(Process { command: words.iter().map(ToString::to_string).collect(), files: Vec::new() })
    }

    fn image(name: &str) -> Run {
        Run::Container(Container {
            image: name.to_owned(),
            command: Vec::new(),
            port: None,
            user: None,
            volumes: Vec::new(),
            stop_signal: None,
            cpu: None,
            memory: None,
            engine: None,
        })
    }

    #[test]
    fn a_version_is_short() {
        let of = |run| version(&release(run, |_| {}));
        assert_eq!(of(image("registry.example.com:5000/team/logo:2.0")), "2.0");
        assert_eq!(of(image("registry.example.com:5000/team/logo")), "logo");
        assert_eq!(of(image("logo@sha256:0123456789abcdef")), "0123456789ab");
        assert_eq!(of(image("logo:2.0@sha256:0123456789abcdef")), "2.0");
        assert_eq!(of(process(&["/opt/bin/logo", "--port", "$PORT"])), "logo --port $PORT");
        assert_eq!(of(process(&["é".repeat(100).as_str()])).chars().count(), 61);
    }

    #[test]
    fn changes_are_in_the_words_of_the_file() {
        let before = release(process(&["logo"]), |_| {});
        let after = release(process(&["logo", "--fast"]), |workload| {
            workload.env.insert("COLOR".to_owned(), "blue".to_owned());
            workload.replicas = 3;
        });
        let told: Vec<_> = changes(Some(&before), &after).into_iter().map(|one| (one.key, one.from, one.to)).collect();
        let some = |text: &str| Some(text.to_owned());
        let expected = [
            ("command".to_owned(), some("logo"), some("logo --fast")),
            ("env.COLOR".to_owned(), None, some("blue")),
            ("replicas".to_owned(), some("1"), some("3")),
        ];
        assert_eq!(told, expected);
        assert_eq!(changes(Some(&after), &after), []);
        assert!(changes(None, &after).iter().all(|change| change.from.is_none()));
    }
}
