//! Which releases served when, as the rollouts of a service tell it.

use crate::past::{Past, Summary};
use davy_core::{
    Millis, Release, ReleaseId, ServiceKey, Timestamp,
    rollout::{Outcome, RequestKind},
};

/// A release that served, and when it did so last.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// Which.
    pub release: Release,
    /// Since when.
    pub from: Timestamp,
    /// Until when; none while it serves.
    pub to: Option<Timestamp>,
    /// Whether what it runs is still kept, so that it can serve again.
    pub kept: bool,
}

impl Past {
    /// The releases of a service that served, the latest first, each once.
    pub(crate) fn served(&self, key: &ServiceKey) -> Vec<Served> {
        let kept: Vec<ReleaseId> = self.needed(key).into_iter().map(|release| release.id).collect();
        let mut latest: Vec<Served> = Vec::new();
        for (release, from, to) in stretches(self.of(Some(key))).into_iter().rev() {
            if !latest.iter().any(|other| other.release.id == release.id) {
                latest.push(Served { kept: kept.contains(&release.id), release, from, to });
            }
        }
        latest
    }

    /// Since when the release serves that does now.
    pub(crate) fn serves_since(&self, key: &ServiceKey) -> Option<Timestamp> {
        let (_, from, to) = stretches(self.of(Some(key))).pop()?;
        to.is_none().then_some(from)
    }

    /// How long it took the last time to start a release and give it all traffic without a trial; none where nobody has seen it.
    pub(crate) fn returns_in(&self, key: &ServiceKey) -> Option<Millis> {
        let untried = |summary: &&Summary| summary.kind == RequestKind::Rollback || summary.from.is_none();
        let all: Vec<&Summary> = self.of(Some(key)).filter(untried).collect();
        all.iter().rev().find_map(|summary| Some(summary.promoted?.since(summary.began)))
    }
}

type Stretch = (Release, Timestamp, Option<Timestamp>);

/// Which release served from when to when, in order.
fn stretches<'a>(summaries: impl Iterator<Item = &'a Summary>) -> Vec<Stretch> {
    let mut all: Vec<Stretch> = Vec::new();
    for summary in summaries {
        let close = |all: &mut Vec<Stretch>, at| {
            if let Some((_, _, to @ None)) = all.last_mut() {
                *to = Some(at);
            }
        };
        if let Some(at) = summary.promoted {
            close(&mut all, at);
            all.push((summary.release.clone(), at, None));
        }
        let Some(ended) = &summary.ended else { continue };
        let before = summary.from.as_ref().and_then(|from| {
            let known = all.iter().rev().map(|(release, ..)| release);
            known.clone().find(|release| release.id == *from).cloned()
        });
        match (ended.outcome, summary.promoted) {
            (Outcome::Promoted, _) | (_, None) if ended.outcome != Outcome::Removed => {}
            (Outcome::Removed, _) => close(&mut all, ended.at),
            // Put back during its bake: the one before serves again.
            _ => {
                close(&mut all, ended.at);
                all.extend(before.map(|release| (release, ended.at, None)));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::stretches;
    use crate::past::Summary;
    use davy_core::{
        Actor, Digest, EnvironmentName, HealthCheck, Millis, Process, Release, RolloutId, Route, Run, ServiceKey,
        ServiceName, Timestamp, Workload,
        rollout::{Ended, Outcome, RequestKind},
    };

    fn release(version: &str) -> Release {
        let key = key();
        let run = Run::Process(Process { command: vec![version.to_owned()], files: Vec::new() });
        let health = HealthCheck { path: None, grace: Millis::seconds(1), interval: Millis::seconds(1) };
        let route = Route { host: None, path: "/".to_owned() };
        let workload = Workload { run, env: Default::default(), secrets: Vec::new(), replicas: 1, health, route };
        Release::new(&key, Digest::new(version), workload)
    }

    fn key() -> ServiceKey {
        ServiceKey {
            service: ServiceName::new("logo").expect("a name"),
            environment: EnvironmentName::new("production").expect("a name"),
        }
    }

    fn rollout(version: &str, from: Option<&str>, promoted: Option<u64>, ended: Option<(Outcome, u64)>) -> Summary {
        let rollout = RolloutId::new(version);
        Summary {
            rollout: rollout.clone(),
            key: key(),
            release: release(version),
            from: from.map(|from| release(from).id),
            kind: RequestKind::Deploy,
            by: Actor::new("lena"),
            began: Timestamp(0),
            limits: (&davy_core::Policy::default()).into(),
            promoted: promoted.map(Timestamp),
            ended: ended.map(|(outcome, at)| Ended {
                rollout,
                outcome,
                why: String::new(),
                cause: None,
                at: Timestamp(at),
            }),
        }
    }

    #[test]
    fn one_that_was_put_back_gives_its_place_to_the_one_before_and_a_removal_ends_all() {
        let mut all = vec![
            rollout("a", None, Some(10), Some((Outcome::Promoted, 15))),
            rollout("bad", Some("a"), None, Some((Outcome::RolledBack, 25))),
            rollout("b", Some("a"), Some(30), Some((Outcome::Aborted, 40))),
            rollout("c", Some("a"), Some(50), None),
        ];
        let told = |all: &[Summary]| {
            let name = |release: &Release| release.workload.run.words().concat();
            let all = stretches(all.iter()).into_iter();
            all.map(|(release, from, to)| (name(&release), from.0, to.map(|to| to.0))).collect::<Vec<_>>()
        };
        let entry = |name: &str, from, to| (name.to_owned(), from, to);
        let expected =
            [entry("a", 10, Some(30)), entry("b", 30, Some(40)), entry("a", 40, Some(50)), entry("c", 50, None)];
        assert_eq!(told(&all), expected);
        let mut removal = rollout("gone", Some("c"), None, Some((Outcome::Removed, 60)));
        removal.kind = RequestKind::Remove;
        all.push(removal);
        assert_eq!(told(&all).last(), Some(&entry("c", 50, Some(60))));
    }
}
