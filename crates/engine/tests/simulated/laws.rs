//! What must hold, whatever happened.

use crate::{reach::World, site::FAILS};
use davy_core::{
    Mode, Release, ReleaseId, RolloutId, ServiceKey, Weight,
    rollout::{Event, Outcome, RequestKind, State},
};
use davy_ports::{Journal as _, Record};
use std::collections::{BTreeMap, BTreeSet};

/// A release that fails so many of its requests must not be promoted by anybody but a person.
fn is_bad(release: &Release) -> bool {
    release.workload.env.get(FAILS).is_some_and(|one_in| one_in == "3")
}

/// How many rollouts came to an end.
pub(crate) fn rollouts(records: &[Record]) -> usize {
    records.iter().filter(|record| matches!(record.entry.event, Event::RolloutFinished { .. })).count()
}

/// Laws of what was written.
pub(crate) async fn of_the_journal(world: &World, records: &[Record]) -> Vec<String> {
    let mut broken: Vec<String> = match world.journal.verify().await {
        Ok(verified) => verified.broken.into_iter().map(|broken| broken.why).collect(),
        Err(error) => vec![error.to_string()],
    };
    let mut under_way: BTreeMap<ServiceKey, RolloutId> = BTreeMap::new();
    let mut releases: BTreeMap<RolloutId, (Release, RequestKind)> = BTreeMap::new();
    let mut by_hand: BTreeSet<RolloutId> = BTreeSet::new();
    // Where hardly anybody used the service, its past allows so much that nothing breaks it.
    let mut unknown: BTreeSet<RolloutId> = BTreeSet::new();
    let mut stable: BTreeMap<ServiceKey, Release> = BTreeMap::new();
    let mut last = BTreeMap::new();
    for record in records {
        let (key, entry) = (&record.stream, &record.entry);
        if last.insert(key.clone(), entry.at).is_some_and(|before| before > entry.at) {
            broken.push(format!("event {} is dated before the one before it", record.position));
        }
        match &entry.event {
            Event::RolloutRequested { request } => {
                if let Some(other) = under_way.insert(key.clone(), request.rollout.clone()) {
                    broken.push(format!("{} began while {other} was under way", request.rollout));
                }
                releases.insert(request.rollout.clone(), (request.release.clone(), request.kind));
            }
            Event::RolloutFinished { rollout, outcome, cause, .. } => {
                if cause.is_none() != (*outcome == Outcome::Promoted) {
                    broken.push(format!("{rollout} is {} for {cause:?}", outcome.as_str()));
                }
                if under_way.remove(key).as_ref() != Some(rollout) {
                    broken.push(format!("{rollout} ended and was not under way"));
                }
                if *outcome == Outcome::Removed {
                    stable.remove(key);
                }
            }
            Event::PromoteRequested { .. } => by_hand.extend(entry.rollout.clone()),
            Event::VerdictReached { verdict, .. }
                if verdict.evidence.limit.is_some_and(|limit| limit.rate > 1.0 / 3.0) =>
            {
                unknown.extend(entry.rollout.clone());
            }
            Event::Promoted => {
                let rollout = entry.rollout.clone().unwrap_or_else(|| RolloutId::new("none"));
                if let Some((release, kind)) = releases.get(&rollout) {
                    let excused = *kind == RequestKind::Rollback
                        || by_hand.contains(&rollout)
                        || unknown.contains(&rollout)
                        || stable.get(key).is_none_or(is_bad);
                    if is_bad(release) && !excused {
                        broken.push(format!("{rollout} promoted a bad release"));
                    }
                    stable.insert(key.clone(), release.clone());
                }
            }
            _ => {}
        }
    }
    broken
}

/// Laws of a service of which nothing is under way.
pub(crate) fn at_rest(world: &World, key: &ServiceKey, state: &State) -> Vec<String> {
    let now = davy_engine::now();
    world.site(key, |site, _| {
        let mut broken = Vec::new();
        let instances = site.observe(now);
        let Some(stable) = &state.stable else {
            if !instances.is_empty() {
                broken.push(format!("{} instances of a service that was removed are left", instances.len()));
            }
            if site.serving(now).is_some_and(|serving| !serving.snapshot.serve.is_empty()) {
                broken.push("the router serves a service that was removed".to_owned());
            }
            return broken;
        };
        let others: Vec<&ReleaseId> =
            instances.iter().map(|instance| &instance.release).filter(|release| **release != stable.id).collect();
        if !others.is_empty() {
            broken.push(format!("instances of {others:?} are left"));
        }
        let healthy = instances.iter().filter(|it| it.release == stable.id && it.health.is_healthy()).count();
        if healthy != stable.replicas() as usize {
            broken.push(format!("{healthy} of {} instances of stable are healthy", stable.replicas()));
        }
        match site.serving(now) {
            None => broken.push("the router serves nothing".to_owned()),
            Some(serving) => {
                let serve = &serving.snapshot.serve;
                let alone = serve.len() == 1 && serve[0].release == stable.id && serve[0].weight == Weight::ALL;
                if !alone || serving.mode != Mode::Split {
                    let served: Vec<_> = serve.iter().map(|target| (&target.release, target.weight)).collect();
                    broken.push(format!("the router serves {served:?} in mode {:?}", serving.mode));
                }
            }
        }
        broken
    })
}
