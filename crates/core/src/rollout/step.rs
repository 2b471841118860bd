//! The decision: a pure function, defined for every state and input.

use super::{
    Cause, Effect, Event, Input, Look, PauseReason, Phase, Refusal, RequestKind, Rollout, Split, State,
    instances::{of, running},
};
use crate::{FallbackCause, Generation, Health, Millis, Mode, Serving, Timestamp};
use davy_judge::{Kind, Verdict};
use std::borrow::Cow;

/// A crash loop is a failed release after so many restarts of its instances.
pub(super) const RESTARTS: u32 = 3;
/// After so many refusals in a row a person is asked.
const REFUSALS: u32 = 3;
/// The time between two attempts at the same effect.
pub(super) const RETRY: Millis = Millis::seconds(1);
/// The time between two orders for instances that are missing.
pub(super) const REORDER: Millis = Millis::seconds(5);

/// Decides. The events have not happened yet: whoever calls this appends them, and then carries out what they ask for.
///
/// # Errors
/// A command that does not fit the state. Every other input is always accepted, and may change nothing.
pub fn step(state: &State, at: Timestamp, input: &Input) -> Result<Vec<Event>, Refusal> {
    let mut decision = Decision { state: Cow::Borrowed(state), at, events: Vec::new() };
    match input {
        Input::Command(command) => decision.command(command)?,
        Input::Done { generation } => decision.done(*generation),
        Input::Refused { generation, why } => decision.refused(*generation, why),
        Input::Lost { generation, why } => decision.lost(*generation, why),
        Input::Restarted => decision.restarted(),
        Input::RevertedUnasked { cause } => decision.reverted_unasked(cause),
        Input::Look(look) => decision.look(look),
    }
    Ok(decision.events)
}

/// The state, and from the first event on a working copy that every event is folded into at once, so that what follows sees it.
pub(super) struct Decision<'a> {
    pub(super) state: Cow<'a, State>,
    pub(super) at: Timestamp,
    pub(super) events: Vec<Event>,
}

impl<'a> Decision<'a> {
    /// The rollout under way as it stands now, whatever is decided after.
    pub(super) fn under_way(&self) -> Option<Cow<'a, Rollout>> {
        match &self.state {
            Cow::Borrowed(state) => state.rollout.as_ref().map(Cow::Borrowed),
            Cow::Owned(state) => state.rollout.clone().map(Cow::Owned),
        }
    }
}

impl Decision<'_> {
    pub(super) fn push(&mut self, event: Event) {
        self.state.to_mut().apply(self.at, &event);
        self.events.push(event);
    }

    pub(super) fn passed(&self, since: Timestamp, length: Millis) -> bool {
        self.at.since(since) >= length
    }

    pub(super) fn effect(&self, generation: Generation) -> Option<Effect> {
        let answered = |effect: &Effect| effect.generation() == generation;
        self.state.pending.iter().map(|pending| &pending.effect).find(|effect| answered(effect)).cloned()
    }

    pub(super) fn done(&mut self, generation: Generation) {
        match self.effect(generation) {
            Some(Effect::Run { .. }) => self.push(Event::InstancesOrdered { generation }),
            Some(Effect::Route { .. }) => self.push(Event::WeightApplied { generation }),
            Some(Effect::Revert { .. }) => self.push(Event::Reverted { generation: self.state.routed, cause: None }),
            Some(Effect::Remove { release, .. }) => {
                self.push(Event::Removed { release });
                if !self.comes_back() {
                    self.finish();
                }
            }
            None => {}
        }
    }

    pub(super) fn refused(&mut self, generation: Generation, why: &str) {
        match self.effect(generation) {
            Some(Effect::Run { release, .. }) => {
                self.push(Event::InstancesRefused { generation, why: why.to_owned() });
                let starting = self.state.rollout.as_ref().is_some_and(|rollout| {
                    rollout.request.release.id == release && matches!(rollout.phase, Phase::Starting { .. })
                });
                if starting {
                    self.end(Cause::Canary { why: why.to_owned() });
                }
            }
            Some(Effect::Route { .. }) => {
                self.push(Event::WeightRefused { generation, why: why.to_owned() });
                let ask = self.state.rollout.as_ref().is_some_and(|rollout| {
                    rollout.is_forward() && rollout.refusals >= REFUSALS && rollout.pause.is_none()
                });
                if ask {
                    self.push(Event::Paused { why: PauseReason::Router { why: why.to_owned() } });
                }
            }
            Some(Effect::Revert { .. } | Effect::Remove { .. }) => self.lost(generation, why),
            None => {}
        }
    }

    pub(super) fn lost(&mut self, generation: Generation, why: &str) {
        if let Some(effect) = self.effect(generation) {
            self.push(Event::EffectLost { generation, effect: effect.words(), why: why.to_owned() });
        }
    }

    pub(super) fn restarted(&mut self) {
        let pending: Vec<_> = self.state.pending.iter().map(|pending| pending.effect.generation()).collect();
        for generation in pending {
            self.lost(generation, "the controller was restarted before the answer came");
        }
    }

    pub(super) fn reverted_unasked(&mut self, cause: &Cause) {
        let back = self.state.rollout.as_ref().is_some_and(|rollout| {
            rollout.ending.is_none() && (!rollout.promoted || matches!(rollout.phase, Phase::Baking { .. }))
        });
        if back {
            self.push(Event::Reverted { generation: self.state.routed, cause: Some(cause.clone()) });
        }
    }

    pub(super) fn look(&mut self, look: &Look) {
        // Harm first: the router may have gone back for it already, and the reason is the guard's or the verdict's.
        self.notice_guard(look);
        self.notice_verdict(look);
        self.notice_router(look);
        self.notice_pause_limit();
        self.replace_missing(look);
        let Some(rollout) = self.under_way() else { return self.steady(look) };
        match &rollout.phase {
            Phase::Starting { since } => self.starting(&rollout, *since, look),
            Phase::Shifting { .. } => {}
            Phase::Holding { generation, since, seen } => self.holding(&rollout, *generation, *since, *seen, look),
            Phase::Recovering { since } => self.recovering(&rollout, *since, look),
            Phase::Baking { since } => self.baking(&rollout, *since, look),
            Phase::Reverting { since } => self.reverting(*since, look),
            Phase::Settling { leaving, since } => self.settling(&rollout, leaving, *since, look),
            Phase::Draining { leaving, since } => self.draining(&rollout, leaving, *since, look),
            Phase::Removing { leaving, since } => self.removing(&rollout, leaving, *since, look),
        }
    }

    /// Nothing is under way: what serves is served, also after an interruption.
    pub(super) fn steady(&mut self, look: &Look) {
        let asked = self.state.pending.iter().any(|pending| matches!(pending.effect, Effect::Route { .. }));
        if let (Some(stable), Some(instances)) = (&self.state.stable, look.instances.seen())
            && self.state.split == Some(Split::Nothing)
        {
            let release = stable.id.clone();
            let healthy = of(instances, &release).any(|instance| instance.health.is_healthy());
            if healthy && !asked && self.passed(self.state.routed_at, RETRY) {
                self.route(None, Split::Only { release });
            }
            return;
        }
        self.serve_again(look, None);
    }

    /// A router that fell back by itself, or was told to while the journal could not be written.
    pub(super) fn notice_router(&mut self, look: &Look) {
        let Some(Some(serving)) = look.router.seen() else { return };
        let Some(rollout) = &self.state.rollout else { return };
        let Mode::Fallback { cause, .. } = serving.mode else { return };
        if rollout.ending.is_some() || serving.snapshot.rollout.as_ref() != Some(&rollout.request.rollout) {
            return;
        }
        let generation = serving.snapshot.generation;
        let held = matches!(rollout.phase, Phase::Holding { generation: held, .. } if held == generation);
        match cause {
            FallbackCause::Revert if rollout.is_forward() || matches!(rollout.phase, Phase::Baking { .. }) => {
                let why = "it was told to send all traffic to the fallback".to_owned();
                self.push(Event::Reverted { generation, cause: Some(Cause::Router { why }) });
            }
            FallbackCause::Lapse if held => self.push(Event::LeaseLapsed { generation }),
            FallbackCause::Restart if held => self.push(Event::RouterRestarted { generation }),
            _ => {}
        }
    }

    pub(super) fn notice_verdict(&mut self, look: &Look) {
        let (Some(rollout), Some(verdict)) = (&self.state.rollout, &look.verdict) else { return };
        // Nothing is on trial when an earlier release is to serve again, or the first ever.
        if !rollout.is_forward() || rollout.is_first() || rollout.request.kind == RequestKind::Rollback {
            return;
        }
        let harm = (verdict.kind == Kind::Harmful).then(|| look.told(&rollout.request.policy.analysis, verdict));
        if rollout.verdict != Some((verdict.kind, verdict.weight)) {
            self.push(Event::VerdictReached {
                verdict: Box::new(Verdict::clone(verdict)),
                batches: look.batches.clone(),
            });
        }
        if let Some(why) = harm {
            self.end(Cause::Judge { why });
        }
    }

    pub(super) fn notice_pause_limit(&mut self) {
        let Some(rollout) = &self.state.rollout else { return };
        let Some(pause) = rollout.pause.as_ref().filter(|_| rollout.is_forward()) else { return };
        if self.passed(pause.since, rollout.request.policy.pause_limit) {
            self.end(Cause::PauseLimit);
        }
    }

    /// Asks for the present step's weight.
    pub(super) fn route_step(&mut self) {
        let Some(rollout) = &self.state.rollout else { return };
        let split = match rollout.is_first() {
            true => Split::Only { release: rollout.request.release.id.clone() },
            false => Split::Trial { canary: rollout.weight(), without: Vec::new() },
        };
        let step = rollout.step;
        self.route(Some(step), split);
    }

    pub(super) fn route(&mut self, step: Option<usize>, split: Split) {
        let generation = self.state.generation.next();
        self.push(Event::WeightRequested { generation, step, split });
    }

    /// Keeps the router at what was asked for: after it lost its memory, or when instances moved.
    pub(super) fn serve_again(&mut self, look: &Look, step: Option<usize>) {
        let (Some(serving), Some(instances)) = (look.router.seen(), look.instances.seen()) else { return };
        let Some(split) = self.state.split.clone() else { return };
        let asked = self.state.pending.iter().any(|pending| matches!(pending.effect, Effect::Route { .. }));
        if asked || split == Split::Nothing || !self.passed(self.state.routed_at, RETRY) {
            return;
        }
        let without = match &split {
            Split::Trial { without, .. } => without.as_slice(),
            _ => &[],
        };
        let moved = |serving: &Serving| {
            serving.snapshot.serve.iter().any(|target| {
                let then: Vec<_> = target.instances.iter().map(|backend| (&backend.id, backend.address)).collect();
                let mut now = running(instances, &target.release)
                    .filter(|instance| !without.contains(&instance.id))
                    .filter(|instance| !matches!(instance.health, Health::Starting { .. }))
                    .map(|instance| (&instance.id, instance.address));
                now.any(|backend| !then.contains(&backend))
            })
        };
        let stale = serving.as_ref().is_none_or(|serving| {
            serving.snapshot.generation < self.state.routed || (serving.mode == Mode::Split && moved(serving))
        });
        if stale {
            self.route(step, split);
        }
    }
}
