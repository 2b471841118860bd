//! From a decided split and the instances that are there to the snapshot that a router serves.

use davy_core::{
    Backend, Generation, Health, Instance, Millis, Release, Role, ServiceKey, Snapshot, Strategy, Target, Weight,
    rollout::{Rollout, Split, State, guard},
};

/// How long a router serves a trial without hearing from the controller.
pub const LEASE: Millis = Millis::seconds(15);
/// The longest wait for a response head.
const TIMEOUT: Millis = Millis::seconds(30);

/// What to serve.
///
/// # Errors
/// In words, when a release that should get traffic is unknown or has no instance.
pub(crate) fn snapshot(
    key: &ServiceKey,
    state: &State,
    generation: Generation,
    split: &Split,
    instances: &[Instance],
    served: Option<&Snapshot>,
) -> Result<Snapshot, String> {
    let rollout = state.rollout.as_ref();
    let (canary, stable) = (rollout.map(|r| &r.request.release), rollout.and_then(|r| r.from.as_ref()));
    let known =
        |release: Option<&Release>, what: &str| release.cloned().ok_or_else(|| format!("there is no {what} release"));
    let plan: Vec<(Release, Role, Weight)> = match split {
        Split::Trial { canary: weight, .. } => vec![
            (known(stable, "stable")?, Role::Stable, weight.rest()),
            (known(canary, "canary")?, Role::Canary, *weight),
        ],
        Split::Bake => vec![
            (known(canary, "promoted")?, Role::Canary, Weight::ALL),
            (known(stable, "old")?, Role::Stable, Weight::NONE),
        ],
        Split::Only { release } => vec![(known(state.release(release), "such")?, Role::Stable, Weight::ALL)],
        Split::Nothing => Vec::new(),
    };
    let without = match split {
        Split::Trial { without, .. } => without.as_slice(),
        _ => &[],
    };
    // One that starts again keeps its place; one that has never been healthy gets none yet.
    let known = |instance: &Instance| {
        let mut backends = served.into_iter().flat_map(|snapshot| &snapshot.serve).flat_map(|target| &target.instances);
        backends.any(|backend| backend.id == instance.id)
    };
    let running: Vec<&Instance> = instances
        .iter()
        .filter(|instance| !matches!(instance.health, Health::Ended { .. }) && !without.contains(&instance.id))
        .collect();
    let serve = plan
        .iter()
        .map(|(release, role, weight)| {
            let ours = running.iter().copied().filter(|instance| instance.release == release.id);
            let begun = |instance: &&Instance| !matches!(instance.health, Health::Starting { .. }) || known(instance);
            let mut backends: Vec<_> = ours.clone().filter(begun).map(backend).collect();
            if backends.is_empty() {
                backends = ours.map(backend).collect();
            }
            if backends.is_empty() && *weight > Weight::NONE {
                return Err(format!("release {} has no running instance", release.id));
            }
            Ok(Target { release: release.id.clone(), role: *role, weight: *weight, instances: backends })
        })
        .collect::<Result<_, _>>()?;
    let step = rollout.filter(|_| matches!(split, Split::Trial { .. })).map(Rollout::current);
    let sticky = rollout.map(|rollout| &rollout.request.policy.strategy);
    let described = plan
        .iter()
        .max_by_key(|(_, role, weight)| (*weight, *role))
        .map(|(release, ..)| release)
        .or(canary)
        .or(state.stable.as_ref())
        .ok_or("there is no release whose route is known")?;
    let fallback = match split {
        Split::Trial { .. } | Split::Bake => stable.map(|release| release.id.clone()),
        Split::Only { .. } | Split::Nothing => None,
    };
    Ok(Snapshot {
        key: key.clone(),
        generation,
        rollout: rollout.map(|rollout| rollout.request.rollout.clone()),
        route: described.workload.route.clone(),
        serve,
        fallback,
        lease: matches!(split, Split::Trial { .. }).then_some(LEASE),
        health: described.workload.health.clone(),
        timeout: TIMEOUT,
        matches: step.map(|step| step.matches.clone()).unwrap_or_default(),
        mirror: step.and_then(|step| step.mirror),
        sticky: step.is_some() && matches!(sticky, Some(Strategy::Canary(canary)) if canary.sticky),
        guard: rollout.filter(|_| step.is_some()).and_then(|rollout| guard(&rollout.request)),
        slow_over: rollout.and_then(|rollout| rollout.request.policy.analysis.slow_over()),
    })
}

fn backend(instance: &Instance) -> Backend {
    Backend { id: instance.id.clone(), address: instance.address }
}
