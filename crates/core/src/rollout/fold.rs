//! Events folded into the state. Total: an event that does not fit changes only what it can.

use super::{
    Cause, CauseKind, Effect, Ended, Event, Outcome, Pause, PauseReason, Pending, Phase, Request, RequestKind, Rollout,
    Split, State, plan,
};
use crate::{Generation, Release, Timestamp, Weight};

impl State {
    /// Folds a whole stream.
    #[must_use]
    pub fn fold<'a>(events: impl IntoIterator<Item = (Timestamp, &'a Event)>) -> Self {
        let mut state = Self::default();
        for (at, event) in events {
            state.apply(at, event);
        }
        state
    }

    /// Folds one more event.
    pub fn apply(&mut self, at: Timestamp, event: &Event) {
        if let Some(effect) = Effect::of(event) {
            self.generation = self.generation.max(effect.generation());
            self.pending.push(Pending { effect, since: at });
        }
        match event {
            Event::RolloutRequested { request } => self.begin(at, request),
            Event::RolloutQueued { request } => self.queued = Some(Request::clone(request)),
            Event::RolloutDropped { rollout, .. } => {
                self.queued.take_if(|request| request.rollout == *rollout);
            }
            Event::InstancesRequested { release, spare, .. } => {
                self.ordered.insert(release.clone(), at);
                if let Some(rollout) = &mut self.rollout {
                    let old = rollout.from.as_ref().is_some_and(|old| old.id == *release);
                    rollout.fewer |= old && !spare.is_empty();
                }
            }
            Event::InstancesOrdered { generation } => self.ordered(at, *generation),
            Event::InstancesRefused { generation, .. } => self.answered(*generation),
            Event::InstancesReady { .. } => {}
            Event::WeightRequested { generation, step, split } => self.route(at, *generation, *step, split),
            Event::WeightApplied { generation } => self.applied(at, *generation),
            Event::WeightRefused { generation, .. } => {
                self.answered(*generation);
                if let Some(rollout) = &mut self.rollout {
                    rollout.refusals += 1;
                    if matches!(rollout.phase, Phase::Shifting { .. }) {
                        rollout.phase = Phase::Recovering { since: at };
                    }
                }
            }
            Event::WeightObserved { generation, observed } => self.observed(*generation, *observed),
            Event::EffectLost { generation, .. } => {
                self.answered(*generation);
                self.recovering(at, *generation);
            }
            Event::VerdictReached { verdict, .. } => {
                if let Some(rollout) = &mut self.rollout {
                    rollout.verdict = Some((verdict.kind, verdict.weight));
                }
            }
            Event::StepPassed { step } => self.enter(at, step.saturating_add(1)),
            Event::StepChosen { step, .. } => self.enter(at, *step),
            Event::LeaseLapsed { generation } | Event::RouterRestarted { generation } => {
                self.recovering(at, *generation);
            }
            Event::Paused { why } => {
                if let Some(rollout) = &mut self.rollout {
                    rollout.pause = Some(Pause { why: why.clone(), since: at });
                }
            }
            Event::Resumed { .. } => {
                if let Some(rollout) = &mut self.rollout {
                    rollout.pause = None;
                    rollout.step_since = at;
                    rollout.refusals = 0;
                }
            }
            Event::PromoteRequested { .. } => {
                if let Some(rollout) = &mut self.rollout {
                    rollout.forced = true;
                    rollout.pause = None;
                    rollout.step_since = at;
                    rollout.refusals = 0;
                    if !rollout.is_last_step() {
                        rollout.step = rollout.plan.len() - 1;
                        rollout.phase = Phase::Starting { since: at };
                    }
                }
            }
            Event::RevertRequested { cause, .. } => self.ending(at, cause),
            Event::Reverted { cause, .. } => {
                self.pending.retain(|pending| !matches!(pending.effect, Effect::Revert { .. }));
                if let Some(cause) = cause {
                    self.ending(at, cause);
                }
                self.reverted(at);
            }
            Event::Promoted => self.promoted(at),
            Event::BakeEnded => {
                if let Some(rollout) = &mut self.rollout
                    && let Some(old) = &rollout.from
                {
                    rollout.phase = Phase::Settling { leaving: old.id.clone(), since: at };
                }
            }
            Event::Draining { release } => {
                if let Some(rollout) = &mut self.rollout {
                    rollout.phase = Phase::Draining { leaving: release.clone(), since: at };
                }
            }
            Event::RemovalRequested { release, .. } => {
                if let Some(rollout) = &mut self.rollout {
                    rollout.phase = Phase::Removing { leaving: release.clone(), since: at };
                }
            }
            Event::Removed { .. } => {
                self.pending.retain(|pending| !matches!(pending.effect, Effect::Remove { .. }));
                if let Some(rollout) = &mut self.rollout {
                    rollout.cleared = true;
                }
            }
            Event::RolloutFinished { rollout, outcome, why, cause } => {
                let (rollout, why) = (rollout.clone(), why.clone());
                self.last = Some(Ended { rollout, outcome: *outcome, why, cause: *cause, at });
                self.rollout = None;
                let stays = self.stable.as_ref().map(|release| &release.id);
                self.ordered.retain(|release, _| Some(release) == stays);
            }
        }
    }

    fn begin(&mut self, at: Timestamp, request: &Request) {
        self.queued.take_if(|queued| queued.rollout == request.rollout);
        let removal = request.kind == RequestKind::Remove;
        self.rollout = Some(Rollout {
            request: request.clone(),
            from: self.stable.clone(),
            began: at,
            base: self.generation,
            phase: match removal {
                true => Phase::Settling { leaving: request.release.id.clone(), since: at },
                false => Phase::Starting { since: at },
            },
            plan: plan(
                &request.policy,
                request.kind,
                request.release.replicas(),
                self.stable.as_ref().map(Release::replicas),
            ),
            step: 0,
            step_since: at,
            intended: Weight::NONE,
            observed: None,
            verdict: None,
            pause: None,
            forced: request.kind == RequestKind::Rollback,
            refusals: 0,
            fewer: false,
            promoted: false,
            cleared: false,
            ending: removal.then(|| (Outcome::Removed, Cause::Person { by: request.by.clone() })),
        });
        if removal {
            self.stable = None;
        }
    }

    fn enter(&mut self, at: Timestamp, step: usize) {
        let Some(rollout) = &mut self.rollout else { return };
        rollout.step = step.min(rollout.plan.len() - 1);
        rollout.step_since = at;
        rollout.phase = Phase::Starting { since: at };
    }

    fn ordered(&mut self, at: Timestamp, generation: Generation) {
        let order = self.pending.iter().find(|pending| pending.effect.generation() == generation);
        if let (Some(Pending { effect: Effect::Run { release, .. }, since: asked }), Some(rollout)) =
            (order, &mut self.rollout)
        {
            rollout.fewer &= rollout.from.as_ref().is_none_or(|old| old.id != *release);
            // What the order took is not the instances' own time.
            if let Phase::Starting { since } = &mut rollout.phase
                && *release == rollout.request.release.id
            {
                *since = since.plus(at.since((*asked).max(*since)));
            }
        }
        self.answered(generation);
    }

    fn answered(&mut self, generation: Generation) {
        self.pending.retain(|pending| pending.effect.generation() != generation);
    }

    fn route(&mut self, at: Timestamp, generation: Generation, step: Option<usize>, split: &Split) {
        self.split = Some(split.clone());
        self.routed = generation;
        self.routed_at = at;
        let Some(rollout) = &mut self.rollout else { return };
        if let Some(step) = step.map(|step| step.min(rollout.plan.len() - 1)) {
            if step != rollout.step || matches!(rollout.phase, Phase::Starting { .. }) {
                rollout.step_since = at;
            }
            rollout.step = step;
            rollout.phase = Phase::Shifting { generation, since: at };
        }
        match split {
            Split::Trial { canary, .. } => rollout.intended = *canary,
            Split::Bake => rollout.intended = Weight::ALL,
            Split::Only { release } if *release == rollout.request.release.id => rollout.intended = Weight::ALL,
            Split::Only { .. } | Split::Nothing => rollout.intended = Weight::NONE,
        }
    }

    fn applied(&mut self, at: Timestamp, generation: Generation) {
        self.answered(generation);
        let Some(rollout) = &mut self.rollout else { return };
        rollout.refusals = 0;
        if matches!(rollout.phase, Phase::Shifting { generation: asked, .. } if asked == generation) {
            rollout.phase = Phase::Holding { generation, since: at, seen: false };
            rollout.observed = None;
        }
    }

    fn observed(&mut self, generation: Generation, share: Weight) {
        let Some(rollout) = &mut self.rollout else { return };
        if let Phase::Holding { generation: held, seen, .. } = &mut rollout.phase
            && *held == generation
        {
            *seen = true;
            rollout.observed = Some(share);
        }
        if matches!(rollout.phase, Phase::Baking { .. }) && self.routed == generation {
            rollout.observed = Some(share);
        }
    }

    fn recovering(&mut self, at: Timestamp, generation: Generation) {
        let Some(rollout) = &mut self.rollout else { return };
        let held = match &rollout.phase {
            Phase::Shifting { generation, .. } | Phase::Holding { generation, .. } => *generation,
            _ => return,
        };
        if held == generation {
            rollout.phase = Phase::Recovering { since: at };
            rollout.observed = None;
        }
    }

    fn ending(&mut self, at: Timestamp, cause: &Cause) {
        let Some(rollout) = &mut self.rollout else { return };
        if rollout.ending.is_none() {
            rollout.ending = Some((cause.outcome(), cause.clone()));
        }
        rollout.pause = None;
        rollout.phase = Phase::Reverting { since: at };
    }

    fn reverted(&mut self, at: Timestamp) {
        let Some(rollout) = &mut self.rollout else { return };
        rollout.intended = Weight::NONE;
        rollout.observed = None;
        if rollout.promoted {
            rollout.promoted = false;
            self.stable.clone_from(&rollout.from);
        }
        rollout.phase = Phase::Settling { leaving: rollout.request.release.id.clone(), since: at };
    }

    fn promoted(&mut self, at: Timestamp) {
        let Some(rollout) = &mut self.rollout else { return };
        rollout.promoted = true;
        rollout.pause = None;
        self.stable = Some(rollout.request.release.clone());
        rollout.phase = Phase::Baking { since: at };
    }
}

impl PauseReason {
    /// The reason in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Person { by } => format!("{by} asked for it"),
            Self::Deadline { why } => format!("the step's deadline passed without proof: {why}"),
            Self::Router { why } => format!("the router refuses what it is asked: {why}"),
        }
    }
}

impl Cause {
    /// How a rollout ends for this cause.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Person { .. } => Outcome::Aborted,
            Self::Superseded { .. } => Outcome::Superseded,
            Self::Rollback { .. }
            | Self::Judge { .. }
            | Self::Guard { .. }
            | Self::Canary { .. }
            | Self::Deadline { .. }
            | Self::PauseLimit
            | Self::Router { .. } => Outcome::RolledBack,
        }
    }

    /// What kind of cause it is.
    #[must_use]
    pub const fn kind(&self) -> CauseKind {
        match self {
            Self::Judge { .. } => CauseKind::Judge,
            Self::Person { .. } => CauseKind::Person,
            Self::Rollback { .. } => CauseKind::Rollback,
            Self::Superseded { .. } => CauseKind::Superseded,
            Self::Canary { .. } => CauseKind::Canary,
            Self::Deadline { .. } => CauseKind::Deadline,
            Self::PauseLimit => CauseKind::PauseLimit,
            Self::Guard { .. } => CauseKind::Guard,
            Self::Router { .. } => CauseKind::Router,
        }
    }

    /// The cause in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Judge { why } | Self::Guard { why, .. } => why.clone(),
            Self::Person { by } => format!("{by} asked for it"),
            Self::Rollback { by } => format!("{by} asked for the release before it"),
            Self::Superseded { by } => format!("rollout {by} took its place"),
            Self::Canary { why } => format!("the new release failed: {why}"),
            Self::Deadline { why } => format!("the step's deadline passed: {why}"),
            Self::PauseLimit => "nobody answered the pause in time".to_owned(),
            Self::Router { why } => format!("the router had gone back: {why}"),
        }
    }
}
