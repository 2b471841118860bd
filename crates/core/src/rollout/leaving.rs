//! The way out: traffic back, requests that end, instances that go, the end of a rollout.

use super::{
    Cause, Effect, Event, Look, Outcome, RequestKind, Rollout, Split,
    instances::{of, running},
    step::{Decision, RETRY},
};
use crate::{Mode, Release, ReleaseId, Serving, Timestamp};

impl Decision<'_> {
    /// Puts traffic back, whatever the rollout was doing.
    pub(super) fn end(&mut self, cause: Cause) {
        let fallback = matches!(self.state.split, Some(Split::Trial { .. } | Split::Bake));
        if fallback {
            let generation = self.state.generation.next();
            self.push(Event::RevertRequested { generation, cause });
        } else {
            self.push(Event::Reverted { generation: self.state.routed, cause: Some(cause) });
        }
    }

    pub(super) fn reverting(&mut self, since: Timestamp, look: &Look) {
        let Some(serving) = look.router.seen() else {
            return self.revert_again(since);
        };
        // A router that the split never reached has nothing to fall back from: what it serves is what served before.
        let new = self.state.rollout.as_ref().map(|rollout| &rollout.request.release.id);
        let untouched = |serving: &Serving| {
            serving.snapshot.fallback.is_none()
                && !serving.snapshot.serve.iter().any(|target| Some(&target.release) == new)
        };
        let gone =
            serving.as_ref().is_none_or(|serving| matches!(serving.mode, Mode::Fallback { .. }) || untouched(serving));
        match gone {
            true => self.push(Event::Reverted { generation: self.state.routed, cause: None }),
            false => self.revert_again(since),
        }
    }

    pub(super) fn revert_again(&mut self, since: Timestamp) {
        let asked = self.state.pending.iter().any(|pending| matches!(pending.effect, Effect::Revert { .. }));
        if asked || !self.passed(since, RETRY) {
            return;
        }
        if let Some((_, cause)) = self.state.rollout.as_ref().and_then(|rollout| rollout.ending.clone()) {
            let generation = self.state.generation.next();
            self.push(Event::RevertRequested { generation, cause });
        }
    }

    pub(super) fn settling(&mut self, rollout: &Rollout, leaving: &ReleaseId, since: Timestamp, look: &Look) {
        let stays = [Some(&rollout.request.release), rollout.from.as_ref()]
            .into_iter()
            .flatten()
            .find(|release| release.id != *leaving && self.state.stable.as_ref() == Some(release));
        let stays = match (stays, look.instances.seen()) {
            // It may start only when the other is gone: nobody serves until then.
            (Some(release), Some(instances))
                if rollout.interrupts() && running(instances, &release.id).next().is_none() =>
            {
                None
            }
            (Some(release), Some(instances)) => {
                // Where old instances had left, they have to start again before they can serve.
                let healthy = of(instances, &release.id).any(|instance| instance.health.is_healthy());
                let waited = self.passed(since, release.workload.health.grace);
                if !healthy && !waited {
                    return;
                }
                if self.kept_whole(rollout, release, waited, look) {
                    return;
                }
                Some(release)
            }
            (Some(release), None) => {
                let waited = self.passed(since, release.workload.health.grace);
                if self.kept_whole(rollout, release, waited, look) {
                    return;
                }
                Some(release)
            }
            (None, _) => None,
        };
        let settled = stays.map_or(Split::Nothing, |release| Split::Only { release: release.id.clone() });
        let never = self.state.split.is_none() && settled == Split::Nothing;
        if self.state.split.as_ref() == Some(&settled) || never {
            let confirmed = |serving: &Serving| {
                serving.snapshot.generation >= self.state.routed
                    && !serving.snapshot.serve.iter().any(|target| target.release == *leaving)
            };
            let seen = matches!(look.router.seen(), Some(Some(serving)) if confirmed(serving));
            if never || seen {
                return self.push(Event::Draining { release: leaving.clone() });
            }
        }
        let asked = self.state.pending.iter().any(|pending| matches!(pending.effect, Effect::Route { .. }));
        let first = self.state.split.as_ref() != Some(&settled);
        if !asked && (first || self.passed(self.state.routed_at, RETRY)) {
            self.route(None, settled);
        }
    }

    /// Whether what stays is still to be kept whole: none of it is served until an order for all of it has gone past one that
    /// ends some.
    fn kept_whole(&mut self, rollout: &Rollout, stays: &Release, waited: bool, look: &Look) -> bool {
        // What must not run beside the new ones is ordered once that can be seen.
        let blind = rollout.interrupts() && look.instances.seen().is_none();
        let back = rollout.from.as_ref() == Some(stays);
        // Beside the new ones no more of them may begin: those that are there stay, until the new ones are gone.
        let (new, there) = (&rollout.request.release.id, look.instances.seen());
        let beside = there.filter(|there| rollout.interrupts() && running(there, new).next().is_some());
        let whole = beside.map(|there| u32::try_from(running(there, &stays.id).count()).unwrap_or(u32::MAX));
        let whole = whole.unwrap_or(u32::MAX).min(stays.replicas());
        back && (!blind && self.outdone(stays, whole) || rollout.fewer && (self.ordering() || !waited))
    }

    pub(super) fn draining(&mut self, rollout: &Rollout, leaving: &ReleaseId, since: Timestamp, look: &Look) {
        let quiet = match look.router.seen() {
            Some(Some(serving)) => serving.in_flight(leaving) == 0,
            Some(None) => true,
            None => false,
        };
        if quiet || self.passed(since, rollout.request.policy.drain) {
            self.remove(leaving);
        }
    }

    pub(super) fn remove(&mut self, leaving: &ReleaseId) {
        let generation = self.state.generation.next();
        self.push(Event::RemovalRequested { generation, release: leaving.clone() });
    }

    /// Whether the old release, which had to end first, is still to serve again.
    pub(super) fn comes_back(&self) -> bool {
        self.state.split == Some(Split::Nothing)
            && self.state.rollout.as_ref().is_some_and(|rollout| {
                rollout.interrupts() && rollout.ending.is_some() && rollout.from == self.state.stable
            })
    }

    /// The leaving release is gone: the old one starts again, and is served as soon as it can.
    fn bring_back(&mut self, rollout: &Rollout, since: Timestamp, look: &Look) {
        let (Some(old), Some(instances)) = (&rollout.from, look.instances.seen()) else { return };
        let healthy = of(instances, &old.id).any(|instance| instance.health.is_healthy());
        let routing = self.state.pending.iter().any(|pending| matches!(pending.effect, Effect::Route { .. }));
        if healthy && !routing && self.passed(self.state.routed_at, RETRY) {
            let release = old.id.clone();
            self.route(None, Split::Only { release });
        } else if self.passed(since, old.workload.health.grace) {
            // It goes on without the rollout: what is stable is kept running and served.
            self.finish();
        }
    }

    pub(super) fn removing(&mut self, rollout: &Rollout, leaving: &ReleaseId, since: Timestamp, look: &Look) {
        if rollout.cleared {
            if self.comes_back() {
                return self.bring_back(rollout, since, look);
            }
            let served = |serving: &Serving| serving.snapshot.generation >= self.state.routed;
            let routing = self.state.pending.iter().any(|pending| matches!(pending.effect, Effect::Route { .. }));
            let done = matches!(look.router.seen(), Some(Some(serving)) if served(serving));
            if !routing && (done || self.passed(self.state.routed_at, RETRY)) {
                // A route that was refused is asked for again when nothing is under way.
                self.finish();
            }
            return;
        }
        let removing = self.state.pending.iter().any(|pending| matches!(pending.effect, Effect::Remove { .. }));
        if !removing && self.passed(since, RETRY) {
            self.remove(leaving);
        }
    }

    pub(super) fn finish(&mut self) {
        let Some(rollout) = &self.state.rollout else { return };
        let (outcome, why) = match &rollout.ending {
            Some((outcome, cause)) => (*outcome, cause.sentence()),
            None if rollout.is_first() => (
                Outcome::Promoted,
                "the first deployment of the service: there was nothing to compare it with".to_owned(),
            ),
            None if rollout.request.kind == RequestKind::Rollback => {
                (Outcome::Promoted, "an earlier release serves again, as asked".to_owned())
            }
            None => (Outcome::Promoted, "every step was passed and the last weight was held and observed".to_owned()),
        };
        let cause = rollout.ending.as_ref().map(|(_, cause)| cause.kind());
        let rollout = rollout.request.rollout.clone();
        self.push(Event::RolloutFinished { rollout, outcome, why, cause });
        if let Some(request) = self.state.queued.clone() {
            self.begin_queued(request);
        }
    }
}
