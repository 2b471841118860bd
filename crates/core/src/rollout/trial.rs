//! A weight that is served: what it has to show, and what comes after.

use super::{
    Cause, Event, Look, Passes, PauseReason, RequestKind, Rollout, Sight, Split,
    instances::{crashing, of},
    step::{Decision, RETRY},
};
use crate::{Generation, Millis, Mode, OnDeadline, Release, Timestamp, Weight};
use davy_judge::{Kind, Standing, Verdict, absolute};

/// A service without a request for so long is one that nobody uses.
const IDLE: Millis = Millis::seconds(60);

impl Decision<'_> {
    /// Another step was entered: its weight at once if it needs no other instances than the one before, and they are seen to
    /// be healthy.
    fn enter_step(&mut self, before: &Rollout, look: &Look) {
        let (Some(rollout), Some(instances)) = (&self.state.rollout, look.instances.seen()) else { return };
        let (now, then) = (rollout.current(), before.current());
        let healthy =
            of(instances, &rollout.request.release.id).filter(|instance| instance.health.is_healthy()).count();
        if (now.canary, now.stable) == (then.canary, then.stable) && healthy >= now.canary as usize {
            self.route_step();
        }
    }

    pub(super) fn holding(
        &mut self,
        rollout: &Rollout,
        generation: Generation,
        since: Timestamp,
        seen: bool,
        look: &Look,
    ) {
        if rollout.is_first() && rollout.pause.is_none() {
            self.push(Event::Promoted);
            return self.finish();
        }
        if let Some(instances) = look.instances.seen()
            && let Some(why) = crashing(&of(instances, &rollout.request.release.id).collect::<Vec<_>>())
        {
            return self.end(Cause::Canary { why });
        }
        let traffic = look.traffic;
        let current = traffic.generation == generation;
        if current && traffic.canary > 0 && !seen {
            let observed = Weight::share(traffic.canary, traffic.canary.saturating_add(traffic.stable));
            self.push(Event::WeightObserved { generation, observed });
        }
        let seen = seen || (current && traffic.canary > 0);
        if rollout.pause.is_some() {
            return self.serve_again(look, Some(rollout.step));
        }
        // A verdict is about one epoch; blindness is about all.
        let about = |verdict: &&Verdict| verdict.epoch == generation.0 || verdict.kind == Kind::Blind;
        let kind = look.verdict.as_deref().filter(about).map(|verdict| verdict.kind);
        let step = rollout.current();
        let held = self.passed(since, step.hold);
        let back = rollout.request.kind == RequestKind::Rollback;
        if rollout.is_last_step() {
            let limit = look.verdict.as_ref().and_then(|verdict| verdict.evidence.limit.as_ref());
            // A person who took the steps on themselves has also done without a past to compare with.
            let clean = limit.map_or(rollout.forced, |limit| limit.standing == Standing::Clean);
            let spoken = look.verdict.as_ref().is_some_and(|verdict| verdict.evidence.amber);
            let measured = matches!(kind, Some(Kind::Safe | Kind::Undecided)) && clean && !spoken;
            let carries = current && traffic.canary > 0 && traffic.stable == 0;
            if held && ((measured && carries) || back) {
                self.push(Event::Promoted);
                return self.route(None, Split::Bake);
            }
        } else if held
            && shown(rollout, kind, seen, current, look)
            && let Some((step, chosen)) = rollout.following(look)
        {
            self.push(Event::StepPassed { step: rollout.step });
            if let Some(why) = chosen {
                self.push(Event::StepChosen { step, why });
            }
            return self.enter_step(rollout, look);
        }
        if self.at >= rollout.deadline() && !back {
            return self.too_late(rollout, missing(rollout, kind, look));
        }
        self.serve_again(look, Some(rollout.step));
    }

    /// A step's deadline has passed: a person is asked, or it goes back.
    pub(super) fn too_late(&mut self, rollout: &Rollout, why: String) {
        match rollout.request.policy.on_deadline {
            OnDeadline::Pause => self.push(Event::Paused { why: PauseReason::Deadline { why } }),
            OnDeadline::Rollback => self.end(Cause::Deadline { why }),
        }
    }

    /// The router fell back, or nobody knows what it serves: the same weight again once the canary can take it.
    pub(super) fn recovering(&mut self, rollout: &Rollout, since: Timestamp, look: &Look) {
        if let Some(instances) = look.instances.seen()
            && let Some(why) = crashing(&of(instances, &rollout.request.release.id).collect::<Vec<_>>())
        {
            return self.end(Cause::Canary { why });
        }
        if rollout.pause.is_some() {
            return;
        }
        let wait = Millis(RETRY.0 * u64::from(rollout.refusals));
        // What was interrupted for longer than that is not too late before it could start again.
        let late = self.at >= rollout.deadline() && self.passed(since, rollout.request.release.workload.health.grace);
        match self.awaited(rollout, since, look) {
            None if self.passed(since, wait) => self.route_step(),
            Some(what) if late => {
                self.too_late(rollout, format!("{} could not be served again: {what}", rollout.weight()));
            }
            _ => {}
        }
    }

    /// What there has to be before a weight is asked for again, and is not.
    fn awaited(&self, rollout: &Rollout, since: Timestamp, look: &Look) -> Option<String> {
        let instances = match (&look.instances, &look.router) {
            (Sight::Seen(instances), Sight::Seen(_)) => instances,
            (Sight::Unseen { why }, _) => return Some(format!("the instances could not be looked at: {why}")),
            (_, Sight::Unseen { why }) => return Some(format!("the router could not be looked at: {why}")),
        };
        let ill = |release: &Release| {
            let healthy = of(instances, &release.id).any(|instance| instance.health.is_healthy());
            (!healthy).then(|| format!("no instance of release {} is healthy", release.id))
        };
        let step = rollout.current();
        // Stable, too, may just be starting: after a restart of everything its requests are not to fail as evidence.
        let old = rollout.from.as_ref().filter(|old| step.stable > 0 && !self.passed(since, old.workload.health.grace));
        let new = Some(&rollout.request.release).filter(|_| step.canary > 0);
        old.and_then(ill).or_else(|| new.and_then(ill))
    }

    /// The old release is kept for a while, and until the new one was seen to carry all traffic.
    pub(super) fn baking(&mut self, rollout: &Rollout, since: Timestamp, look: &Look) {
        let traffic = look.traffic;
        let carried = traffic.generation == self.state.routed && traffic.canary > 0 && traffic.stable == 0;
        if carried && rollout.observed != Some(Weight::ALL) {
            self.push(Event::WeightObserved { generation: self.state.routed, observed: Weight::ALL });
        }
        let observed = carried || rollout.observed == Some(Weight::ALL);
        let until = if observed { rollout.request.policy.bake } else { rollout.unused() };
        if self.passed(since, until) && (observed || self.unused(look)) {
            self.push(Event::BakeEnded);
            return;
        }
        self.serve_again(look, None);
    }

    /// Whether nobody uses the service: the router serves the new release alone, and for a minute it counted and counted nothing.
    /// The old release then carries nothing, and whatever comes meets the new one.
    fn unused(&self, look: &Look) -> bool {
        let Some(Some(serving)) = look.router.seen() else { return false };
        let alone = serving.mode == Mode::Split && serving.snapshot.generation >= self.state.routed;
        alone && look.traffic.idle >= IDLE
    }
}

/// What a step is to show before the next, once its hold is over.
pub(super) fn shown(rollout: &Rollout, kind: Option<Kind>, seen: bool, current: bool, look: &Look) -> bool {
    let step = rollout.current();
    let evidence = look.verdict.as_ref().map(|verdict| &verdict.evidence);
    match step.passes {
        Passes::Proven => seen && kind == Some(Kind::Safe),
        Passes::Observed => {
            let clean = evidence.is_some_and(|evidence| !evidence.amber && !evidence.hanging);
            seen && matches!(kind, Some(Kind::Safe | Kind::Undecided)) && clean
        }
        Passes::Measured => {
            let limit = rollout.request.policy.analysis.limit().is_some()
                || evidence.is_some_and(|evidence| absolute::derived_limit(evidence.rollout.stable).is_some());
            limit && matches!(kind, Some(Kind::Safe | Kind::Undecided))
        }
        Passes::Tried => step.mirror.is_none() || (current && look.traffic.mirrored > 0),
    }
}

/// What a step still lacks at its deadline, in a sentence.
pub(super) fn missing(rollout: &Rollout, kind: Option<Kind>, look: &Look) -> String {
    match (kind, &look.verdict) {
        (Some(_), Some(verdict)) => look.told(&rollout.request.policy.analysis, verdict),
        _ => format!("no verdict was reached at {}: nothing was measured", rollout.weight()),
    }
}
