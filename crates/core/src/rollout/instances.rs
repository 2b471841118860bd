//! Who is to run: orders, what is missing, what is one too many, what a step waits for before its weight comes.

use super::{
    Cause, Effect, Event, Look, Pending, Phase, Rollout, Split, Step,
    step::{Decision, REORDER, RESTARTS, RETRY},
};
use crate::{Health, Instance, InstanceId, Millis, Release, ReleaseId, Timestamp, Weight};

impl Decision<'_> {
    pub(super) fn order(&mut self, release: &ReleaseId, count: u32, spare: Vec<InstanceId>) {
        let generation = self.state.generation.next();
        self.push(Event::InstancesRequested { generation, release: release.clone(), count, spare });
    }

    /// Whether an order for instances is on its way.
    pub(super) fn ordering(&self) -> bool {
        self.state.pending.iter().any(|pending| matches!(pending.effect, Effect::Run { .. }))
    }

    /// Where instances of the old release were told to end and nobody knows whether they did, another order goes past that
    /// one, and the platform takes that one no more. Whether it is still to be waited for.
    pub(super) fn outdone(&mut self, old: &Release, count: u32) -> bool {
        if !self.state.rollout.as_ref().is_some_and(|rollout| rollout.fewer) {
            return false;
        }
        let mut orders = self.state.pending.iter().filter_map(|pending| match &pending.effect {
            Effect::Run { release, count, .. } if *release == old.id => Some(*count),
            _ => None,
        });
        let last = orders.next_back();
        let due = self.state.ordered.get(&old.id).is_none_or(|at| self.passed(*at, REORDER));
        if last.is_some_and(|last| last < count) || due && !self.ordering() {
            self.order(&old.id, count, Vec::new());
            return true;
        }
        self.ordering()
    }

    /// Orders instances that should run and are not there.
    pub(super) fn replace_missing(&mut self, look: &Look) {
        let Some(instances) = look.instances.seen() else { return };
        if self.ordering() {
            return;
        }
        // Old instances that are still to leave hold the room of new ones.
        let crowded = self.surplus(instances).is_some_and(|surplus| !surplus.is_empty());
        let held_back = self.state.rollout.as_ref().and_then(|rollout| {
            let new = &rollout.request.release.id;
            match rollout.from.as_ref() {
                _ if rollout.is_forward() && crowded => Some(new),
                // What must not run beside the new ones waits until they are gone, on the way back, too.
                Some(old)
                    if rollout.interrupts() && running(instances, new).next().is_some() && !rollout.is_forward() =>
                {
                    Some(&old.id)
                }
                _ => None,
            }
        });
        let missing = |(release, count): &(&Release, u32)| {
            let due = self.state.ordered.get(&release.id).is_none_or(|at| self.passed(*at, REORDER));
            due && Some(&release.id) != held_back && running(instances, &release.id).count() < *count as usize
        };
        // The new ones of a later wave come once the old ones have left for them.
        let starting = self.state.rollout.as_ref().filter(|rollout| matches!(rollout.phase, Phase::Starting { .. }));
        let mut wanted = self.state.wanted();
        if let Some(rollout) = starting.filter(|rollout| rollout.is_forward()) {
            let there = |(release, _): &&mut (&Release, u32)| **release == rollout.request.release;
            wanted.iter_mut().filter(there).for_each(|(_, count)| *count = wave(rollout, instances).canary);
        }
        let wanted = wanted.into_iter().filter(missing);
        let missing: Vec<_> = wanted.map(|(release, count)| (release.id.clone(), count)).collect();
        for (release, count) in missing {
            self.order(&release, count, Vec::new());
        }
    }

    /// The old release's instances beyond those that the present step leaves, while it begins: those that are no longer
    /// served first, the unhealthy and the youngest next.
    pub(super) fn surplus(&self, instances: &[Instance]) -> Option<Vec<InstanceId>> {
        let rollout = self.state.rollout.as_ref().filter(|rollout| matches!(rollout.phase, Phase::Starting { .. }))?;
        let old = rollout.from.as_ref()?;
        let without = match &self.state.split {
            Some(Split::Trial { without, .. }) => without.as_slice(),
            _ => &[],
        };
        let mut ours: Vec<&Instance> = running(instances, &old.id).collect();
        ours.sort_by_key(|instance| {
            let served = !without.contains(&instance.id);
            (served, instance.health.is_healthy(), std::cmp::Reverse(instance.since), instance.id.clone())
        });
        let leave = ours.len().saturating_sub(wave(rollout, instances).stable as usize);
        Some(ours[..leave].iter().map(|instance| instance.id.clone()).collect())
    }

    pub(super) fn starting(&mut self, rollout: &Rollout, since: Timestamp, look: &Look) {
        let Some(instances) = look.instances.seen() else { return };
        if !self.begun(rollout, look) {
            return;
        }
        let Some(rollout) = &self.under_way() else { return };
        let step = rollout.current();
        let surplus = self.surplus(instances).unwrap_or_default();
        if !surplus.is_empty() {
            if rollout.pause.is_none() && !self.stuck(rollout) {
                self.shrink(rollout, surplus, look);
            }
            return;
        }
        let release = &rollout.request.release;
        let ours: Vec<&Instance> = of(instances, &release.id).collect();
        let healthy: Vec<Instance> =
            ours.iter().filter(|instance| instance.health.is_healthy()).map(|&instance| instance.clone()).collect();
        if healthy.len() >= step.canary as usize {
            if rollout.pause.is_none() {
                // None that may be about to end is served again.
                if let Some(old) = rollout.from.as_ref().filter(|_| rollout.fewer) {
                    if !self.stuck(rollout) {
                        self.outdone(old, step.stable);
                    }
                    return;
                }
                if !healthy.is_empty() {
                    self.push(Event::InstancesReady { release: release.id.clone(), instances: healthy });
                }
                self.route_step();
            }
            return;
        }
        if let Some(why) = crashing(&ours) {
            return self.end(Cause::Canary { why });
        }
        // Where old ones had to leave first, that is not the new ones' fault.
        let left = match &self.state.split {
            Some(Split::Trial { without, .. }) => !without.is_empty(),
            split => *split == Some(Split::Nothing),
        };
        let since = if left { since.max(self.state.routed_at.plus(rollout.request.policy.drain)) } else { since };
        let grace = release.workload.health.grace;
        // While an order is on its way, its image may have to come first: that time is not the instances' own.
        let ordered =
            |pending: &&Pending| matches!(&pending.effect, Effect::Run { release: of, .. } if *of == release.id);
        let until = self.state.pending.iter().find(ordered).map_or(self.at, |pending| pending.since);
        if until.since(since) >= grace {
            let last = ours.iter().find(|instance| !instance.health.is_healthy()).map_or_else(
                || "no instance was seen".to_owned(),
                |instance| format!("instance {}: {}", instance.id, health(instance)),
            );
            return self.end(Cause::Canary { why: format!("it was not healthy within {grace}; {last}") });
        }
        self.serve_again(look, None);
    }

    /// Whether old instances that are to end take longer than all the time that a step has, each wave's requests and the new
    /// instances' health besides: then a person is asked, or it goes back.
    fn stuck(&mut self, rollout: &Rollout) -> bool {
        let policy = &rollout.request.policy;
        let wave = policy.drain.0.saturating_add(rollout.request.release.workload.health.grace.0);
        let waves = Millis(wave.saturating_mul(rollout.step as u64 + 1));
        let stuck = self.at >= rollout.deadline().plus(waves);
        if stuck {
            self.too_late(rollout, "the old release's instances that are to end are still there".to_owned());
        }
        stuck
    }

    /// Takes old instances out of service, lets their requests end, and ends them.
    pub(super) fn shrink(&mut self, rollout: &Rollout, surplus: Vec<InstanceId>, look: &Look) {
        let pending = |wanted: fn(&Effect) -> bool| self.state.pending.iter().any(|pending| wanted(&pending.effect));
        if pending(|effect| matches!(effect, Effect::Route { .. } | Effect::Run { .. })) {
            return;
        }
        let step = wave(rollout, look.instances.seen().map_or(&[], |instances| instances.as_slice()));
        let canary = match step.stable {
            // The new ones that are there carry all of it.
            0 => Weight::ALL,
            _ => rollout.intended,
        };
        let split = match step.stable {
            // Nobody is left to serve: that is said, and answered 503.
            0 if rollout.intended == Weight::NONE => Split::Nothing,
            _ => Split::Trial { canary, without: surplus.clone() },
        };
        if self.state.split.as_ref() != Some(&split) {
            return self.route(None, split);
        }
        let Some(serving) = look.router.seen() else { return };
        let served = serving
            .as_ref()
            .map_or(split == Split::Nothing, |serving| serving.snapshot.generation >= self.state.routed);
        if !served {
            if self.passed(self.state.routed_at, RETRY) {
                self.route(None, split);
            }
            return;
        }
        let quiet = serving.as_ref().is_none_or(|serving| !surplus.iter().any(|instance| serving.uses(instance)));
        let Some(old) = rollout.from.as_ref().map(|old| old.id.clone()) else { return };
        let since = self.state.routed_at;
        if quiet || self.passed(since, rollout.request.policy.drain) {
            let due = self.state.ordered.get(&old).is_none_or(|at| *at < since || self.passed(*at, REORDER));
            if due {
                self.order(&old, step.stable, surplus);
            }
        }
    }
}

/// How far the present step may go with the new instances that are healthy: where old ones have to leave for it, it goes by
/// way of the steps before, and each old one leaves only when those that are to carry its share are there.
fn wave<'a>(rollout: &'a Rollout, instances: &[Instance]) -> &'a Step {
    let step = rollout.current();
    let Some(old) = &rollout.from else { return step };
    if running(instances, &old.id).count() <= step.stable as usize {
        return step;
    }
    let healthy = of(instances, &rollout.request.release.id).filter(|instance| instance.health.is_healthy()).count();
    let until = rollout.plan.iter().take(rollout.step).position(|before| healthy < before.canary as usize);
    until.map_or(step, |until| &rollout.plan[until])
}

/// Why the new release counts as one that keeps crashing.
pub(super) fn crashing(ours: &[&Instance]) -> Option<String> {
    let worst = ours.iter().max_by_key(|instance| instance.restarts)?;
    let told = || format!("instance {} ended {} times: {}", worst.id, worst.restarts, health(worst));
    (worst.restarts >= RESTARTS).then(told)
}

/// The instances of a release that have not ended.
pub(super) fn running<'a>(instances: &'a [Instance], release: &'a ReleaseId) -> impl Iterator<Item = &'a Instance> {
    of(instances, release).filter(|instance| !matches!(instance.health, Health::Ended { .. }))
}

pub(super) fn of<'a>(instances: &'a [Instance], release: &'a ReleaseId) -> impl Iterator<Item = &'a Instance> {
    instances.iter().filter(move |instance| instance.release == *release)
}

pub(super) fn health(instance: &Instance) -> String {
    match &instance.health {
        Health::Healthy => "healthy".to_owned(),
        Health::Starting { why } => format!("not healthy yet ({why})"),
        Health::Unhealthy { why } => format!("unhealthy ({why})"),
        Health::Ended { why } => format!("ended ({why})"),
    }
}
