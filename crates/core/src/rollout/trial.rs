//! A weight that is served: what it has to show, and what comes after.

use super::{
    Cause, Event, Look, Passes, PauseReason, RequestKind, Rollout, Split,
    instances::{crashing, of},
    step::{Decision, RETRY},
};
use crate::{Generation, Millis, OnDeadline, Release, Timestamp, Weight};
use davy_judge::{Kind, Standing, Verdict, absolute};

impl Decision {
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
            let observed = Weight::share(traffic.canary, traffic.canary + traffic.stable);
            self.push(Event::WeightObserved { generation, observed });
        }
        let seen = seen || (current && traffic.canary > 0);
        if rollout.pause.is_some() {
            return self.serve_again(look, Some(rollout.step));
        }
        // A verdict is about one epoch; blindness is about all.
        let about = |verdict: &&Verdict| verdict.epoch == generation.0 || verdict.kind == Kind::Blind;
        let kind = look.verdict.as_ref().filter(about).map(|verdict| verdict.kind);
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
            let why = missing(rollout, kind, look);
            return match rollout.request.policy.on_deadline {
                OnDeadline::Pause => self.push(Event::Paused { why: PauseReason::Deadline { why } }),
                OnDeadline::Rollback => self.end(Cause::Deadline { why }),
            };
        }
        self.serve_again(look, Some(rollout.step));
    }

    /// The router fell back, or nobody knows what it serves: the same weight again once the canary can take it.
    pub(super) fn recovering(&mut self, rollout: &Rollout, since: Timestamp, look: &Look) {
        let (Some(instances), Some(_)) = (look.instances.seen(), look.router.seen()) else { return };
        let serves = |release: &Release| of(instances, &release.id).any(|instance| instance.health.is_healthy());
        let step = rollout.current();
        // Stable, too, may just be starting: after a restart of everything its requests are not to fail as evidence.
        let old = rollout
            .from
            .as_ref()
            .is_none_or(|old| step.stable == 0 || serves(old) || self.passed(since, old.workload.health.grace));
        let ready = old && (step.canary == 0 || serves(&rollout.request.release));
        let wait = Millis(RETRY.0 * u64::from(rollout.refusals));
        if ready && rollout.pause.is_none() && self.passed(since, wait) {
            self.route_step();
        }
    }

    pub(super) fn baking(&mut self, rollout: &Rollout, since: Timestamp, look: &Look) {
        let traffic = look.traffic;
        let carried = traffic.generation == self.state.routed && traffic.canary > 0 && traffic.stable == 0;
        let observed = rollout.observed == Some(Weight::ALL) || carried;
        let superseded = self.state.queued.is_some();
        if observed && (superseded || self.passed(since, rollout.request.policy.bake)) {
            self.push(Event::BakeEnded);
            return;
        }
        self.serve_again(look, None);
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
