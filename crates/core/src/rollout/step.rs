//! The decision: a pure function, defined for every state and input.

use super::{
    Cause, Command, Effect, Event, Input, Look, Outcome, Passes, PauseReason, Phase, Refusal, Request, RequestKind,
    Rollout, Split, State,
};
use crate::{
    FallbackCause, Generation, Health, Instance, InstanceId, Millis, Mode, OnDeadline, Release, ReleaseId, Serving,
    Timestamp, Weight,
};
use davy_judge::{Kind, Standing, Verdict, absolute};

/// A crash loop is a failed release after so many restarts of its instances.
const RESTARTS: u32 = 3;
/// After so many refusals in a row a person is asked.
const REFUSALS: u32 = 3;
/// The time between two attempts at the same effect.
const RETRY: Millis = Millis::seconds(1);
/// The time between two orders for instances that are missing.
const REORDER: Millis = Millis::seconds(5);

/// Decides. The events have not happened yet: whoever calls this appends them, and then carries out what they ask for.
///
/// # Errors
/// A command that does not fit the state. Every other input is always accepted, and may change nothing.
pub fn step(state: &State, at: Timestamp, input: &Input) -> Result<Vec<Event>, Refusal> {
    let mut decision = Decision { state: state.clone(), at, events: Vec::new() };
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

/// A working copy of the state that every event is folded into at once, so that what follows sees it.
struct Decision {
    state: State,
    at: Timestamp,
    events: Vec<Event>,
}

impl Decision {
    fn push(&mut self, event: Event) {
        self.state.apply(self.at, &event);
        self.events.push(event);
    }

    fn passed(&self, since: Timestamp, length: Millis) -> bool {
        self.at.since(since) >= length
    }

    // Commands.

    fn command(&mut self, command: &Command) -> Result<(), Refusal> {
        if let Command::Request(request) = command {
            return self.request(request);
        }
        let Some(rollout) = &self.state.rollout else { return Err(Refusal::NoRollout) };
        let name = rollout.request.rollout.clone();
        if let Some((outcome, _)) = &rollout.ending {
            return Err(Refusal::Ending { rollout: name, outcome: *outcome });
        }
        if rollout.promoted {
            return Err(Refusal::Promoted { rollout: name });
        }
        match command {
            Command::Request(_) => {}
            Command::Pause { .. } if rollout.pause.is_some() => return Err(Refusal::PausedAlready { rollout: name }),
            Command::Pause { by } => self.push(Event::Paused { why: PauseReason::Person { by: by.clone() } }),
            Command::Resume { .. } if rollout.pause.is_none() => return Err(Refusal::NotPaused { rollout: name }),
            Command::Resume { by } => self.push(Event::Resumed { by: by.clone() }),
            Command::Promote { by } => {
                let why = match &rollout.phase {
                    Phase::Starting { .. } => Some("its instances are not healthy yet"),
                    _ if rollout.is_first() => Some("it is the service's first: it is promoted as soon as it serves"),
                    _ if rollout.is_last_step() && rollout.forced => Some("it is at its last step already"),
                    _ => None,
                };
                if let Some(why) = why {
                    return Err(Refusal::NothingToPromote { rollout: name, why });
                }
                let before = rollout.clone();
                self.push(Event::PromoteRequested { by: by.clone() });
                self.enter_step(&before);
            }
            Command::Abort { by } => self.end(Cause::Person { by: by.clone() }),
        }
        Ok(())
    }

    fn request(&mut self, request: &Request) -> Result<(), Refusal> {
        if request.kind == RequestKind::Remove {
            return self.removal(request);
        }
        let serves = |release: &Release| release.id == request.release.id;
        let Some(rollout) = &self.state.rollout else {
            if self.state.stable.as_ref().is_some_and(serves) {
                return Err(Refusal::AlreadyServing { release: request.release.id.clone() });
            }
            self.begin(request.clone());
            return Ok(());
        };
        if let Some(queued) = self.state.queued.as_ref().filter(|queued| serves(&queued.release)) {
            return Err(Refusal::AlreadyUnderWay { rollout: queued.rollout.clone() });
        }
        if rollout.ending.is_none() && self.state.queued.is_none() && serves(&rollout.request.release) {
            return Err(match rollout.promoted {
                true => Refusal::AlreadyServing { release: request.release.id.clone() },
                false => Refusal::AlreadyUnderWay { rollout: rollout.request.rollout.clone() },
            });
        }
        let baking = matches!(rollout.phase, Phase::Baking { .. });
        let back = request.kind == RequestKind::Rollback && rollout.from.as_ref().is_some_and(serves);
        if back && rollout.ending.is_none() && (baking || !rollout.promoted) {
            self.end(Cause::Rollback { by: request.by.clone() });
            return Ok(());
        }
        let forward = rollout.is_forward();
        if let Some(queued) = &self.state.queued {
            self.push(Event::RolloutDropped { rollout: queued.rollout.clone(), by: request.rollout.clone() });
        }
        self.push(Event::RolloutQueued { request: request.clone() });
        if forward {
            self.end(Cause::Superseded { by: request.rollout.clone() });
        } else if baking {
            self.push(Event::BakeEnded);
        }
        Ok(())
    }

    /// What serves is to serve no more. A bake ends for it; a trial has to be ended by a person first.
    fn removal(&mut self, request: &Request) -> Result<(), Refusal> {
        let waiting = self.state.queued.as_ref().filter(|queued| queued.kind == RequestKind::Remove);
        if let Some(queued) = waiting {
            return Err(Refusal::AlreadyUnderWay { rollout: queued.rollout.clone() });
        }
        let Some(rollout) = &self.state.rollout else {
            if self.state.stable.is_none() {
                return Err(Refusal::NothingServes);
            }
            self.begin(request.clone());
            return Ok(());
        };
        let name = rollout.request.rollout.clone();
        if rollout.request.kind == RequestKind::Remove && self.state.queued.is_none() {
            return Err(Refusal::AlreadyUnderWay { rollout: name });
        }
        if rollout.is_forward() {
            return Err(Refusal::UnderWay { rollout: name });
        }
        let baking = matches!(rollout.phase, Phase::Baking { .. });
        if let Some(queued) = &self.state.queued {
            self.push(Event::RolloutDropped { rollout: queued.rollout.clone(), by: request.rollout.clone() });
        }
        self.push(Event::RolloutQueued { request: request.clone() });
        if baking {
            self.push(Event::BakeEnded);
        }
        Ok(())
    }

    fn begin(&mut self, mut request: Request) {
        if request.kind == RequestKind::Remove {
            // What serves now, whatever served when it was asked.
            request.release = self.state.stable.clone().unwrap_or(request.release);
            return self.push(Event::RolloutRequested { request });
        }
        let release = request.release.id.clone();
        self.push(Event::RolloutRequested { request });
        let first = self.state.rollout.as_ref().map(|rollout| rollout.current().clone());
        let room = |stable| self.state.stable.as_ref().is_none_or(|old| old.replicas() <= stable);
        if let Some(step) = first.filter(|step| step.canary > 0 && room(step.stable)) {
            self.order(&release, step.canary, Vec::new());
        }
    }

    fn order(&mut self, release: &ReleaseId, count: u32, spare: Vec<InstanceId>) {
        let generation = self.state.generation.next();
        self.push(Event::InstancesRequested { generation, release: release.clone(), count, spare });
    }

    /// Another step was entered: its weight at once if it needs no other instances than the one before.
    fn enter_step(&mut self, before: &Rollout) {
        let Some(rollout) = &self.state.rollout else { return };
        let (now, then) = (rollout.current(), before.current());
        let ready =
            (now.canary, now.stable) == (then.canary, then.stable) && !matches!(before.phase, Phase::Starting { .. });
        let there = rollout.step == before.step && matches!(rollout.phase, Phase::Holding { .. });
        if ready && !there {
            self.route_step();
        }
    }

    // Answers to effects.

    fn effect(&self, generation: Generation) -> Option<Effect> {
        let answered = |effect: &Effect| effect.generation() == generation;
        self.state.pending.iter().map(|pending| &pending.effect).find(|effect| answered(effect)).cloned()
    }

    fn done(&mut self, generation: Generation) {
        match self.effect(generation) {
            Some(Effect::Run { .. }) => self.push(Event::InstancesOrdered { generation }),
            Some(Effect::Route { .. }) => self.push(Event::WeightApplied { generation }),
            Some(Effect::Revert { .. }) => self.push(Event::Reverted { generation: self.state.routed, cause: None }),
            Some(Effect::Remove { release, .. }) => {
                self.push(Event::Removed { release });
                self.finish();
            }
            None => {}
        }
    }

    fn refused(&mut self, generation: Generation, why: &str) {
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

    fn lost(&mut self, generation: Generation, why: &str) {
        if let Some(effect) = self.effect(generation) {
            self.push(Event::EffectLost { generation, effect: effect.words(), why: why.to_owned() });
        }
    }

    fn restarted(&mut self) {
        let pending: Vec<_> = self.state.pending.iter().map(|pending| pending.effect.generation()).collect();
        for generation in pending {
            self.lost(generation, "the controller was restarted before the answer came");
        }
    }

    fn reverted_unasked(&mut self, cause: &Cause) {
        let back = self.state.rollout.as_ref().is_some_and(|rollout| {
            rollout.ending.is_none() && (!rollout.promoted || matches!(rollout.phase, Phase::Baking { .. }))
        });
        if back {
            self.push(Event::Reverted { generation: self.state.routed, cause: Some(cause.clone()) });
        }
    }

    // Looks at the world.

    fn look(&mut self, look: &Look) {
        // Harm first: the router may have gone back for it already, and the reason is the verdict's.
        self.notice_verdict(look);
        self.notice_router(look);
        self.notice_pause_limit();
        self.replace_missing(look);
        let Some(rollout) = self.state.rollout.clone() else { return self.steady(look) };
        match &rollout.phase {
            Phase::Starting { since } => self.starting(&rollout, *since, look),
            Phase::Shifting { .. } => {}
            Phase::Holding { generation, since, seen } => self.holding(&rollout, *generation, *since, *seen, look),
            Phase::Recovering { since } => self.recovering(&rollout, *since, look),
            Phase::Baking { since } => self.baking(&rollout, *since, look),
            Phase::Reverting { since } => self.reverting(*since, look),
            Phase::Settling { leaving, since } => self.settling(&rollout, leaving, *since, look),
            Phase::Draining { leaving, since } => self.draining(&rollout, leaving, *since, look),
            Phase::Removing { leaving, since } => self.removing(leaving, *since),
        }
    }

    /// Nothing is under way: what serves is served, also after an interruption.
    fn steady(&mut self, look: &Look) {
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
    fn notice_router(&mut self, look: &Look) {
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

    fn notice_verdict(&mut self, look: &Look) {
        let (Some(rollout), Some(verdict)) = (&self.state.rollout, &look.verdict) else { return };
        // Nothing is on trial when an earlier release is to serve again, or the first ever.
        if !rollout.is_forward() || rollout.is_first() || rollout.request.kind == RequestKind::Rollback {
            return;
        }
        let known = rollout.verdict.as_ref();
        if known.is_none_or(|known| (known.kind, known.weight) != (verdict.kind, verdict.weight)) {
            self.push(Event::VerdictReached { verdict: verdict.clone(), batches: look.batches.clone() });
        }
        if verdict.kind == Kind::Harmful {
            self.end(Cause::Judge { why: verdict.because.clone() });
        }
    }

    fn notice_pause_limit(&mut self) {
        let Some(rollout) = &self.state.rollout else { return };
        let Some(pause) = rollout.pause.as_ref().filter(|_| rollout.is_forward()) else { return };
        if self.passed(pause.since, rollout.request.policy.pause_limit) {
            self.end(Cause::PauseLimit);
        }
    }

    /// Orders instances that should run and are not there.
    fn replace_missing(&mut self, look: &Look) {
        let Some(instances) = look.instances.seen() else { return };
        if self.state.pending.iter().any(|pending| matches!(pending.effect, Effect::Run { .. })) {
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
        let wanted = self.state.wanted().into_iter().filter(missing);
        let missing: Vec<_> = wanted.map(|(release, count)| (release.id.clone(), count)).collect();
        for (release, count) in missing {
            self.order(&release, count, Vec::new());
        }
    }

    /// The old release's instances beyond those that the present step leaves, while it begins: those that are no longer
    /// served first, the unhealthy and the youngest next.
    fn surplus(&self, instances: &[Instance]) -> Option<Vec<InstanceId>> {
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
        let leave = ours.len().saturating_sub(rollout.current().stable as usize);
        Some(ours[..leave].iter().map(|instance| instance.id.clone()).collect())
    }

    fn starting(&mut self, rollout: &Rollout, since: Timestamp, look: &Look) {
        let Some(instances) = look.instances.seen() else { return };
        let step = rollout.current();
        let surplus = self.surplus(instances).unwrap_or_default();
        if !surplus.is_empty() {
            if rollout.pause.is_none() {
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
        if self.passed(since, grace) {
            let last = ours.iter().find(|instance| !instance.health.is_healthy()).map_or_else(
                || "no instance was seen".to_owned(),
                |instance| format!("instance {}: {}", instance.id, health(instance)),
            );
            return self.end(Cause::Canary { why: format!("it was not healthy within {grace}; {last}") });
        }
        self.serve_again(look, None);
    }

    /// Takes old instances out of service, lets their requests end, and ends them.
    fn shrink(&mut self, rollout: &Rollout, surplus: Vec<InstanceId>, look: &Look) {
        let pending = |wanted: fn(&Effect) -> bool| self.state.pending.iter().any(|pending| wanted(&pending.effect));
        if pending(|effect| matches!(effect, Effect::Route { .. } | Effect::Run { .. })) {
            return;
        }
        let step = rollout.current();
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

    /// Asks for the present step's weight.
    fn route_step(&mut self) {
        let Some(rollout) = &self.state.rollout else { return };
        let split = match rollout.is_first() {
            true => Split::Only { release: rollout.request.release.id.clone() },
            false => Split::Trial { canary: rollout.weight(), without: Vec::new() },
        };
        let step = rollout.step;
        self.route(Some(step), split);
    }

    fn route(&mut self, step: Option<usize>, split: Split) {
        let generation = self.state.generation.next();
        self.push(Event::WeightRequested { generation, step, split });
    }

    fn holding(&mut self, rollout: &Rollout, generation: Generation, since: Timestamp, seen: bool, look: &Look) {
        if rollout.is_first() {
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
            let measured = matches!(kind, Some(Kind::Safe | Kind::Undecided)) && clean;
            let carries = seen && current && traffic.stable == 0;
            if held && ((measured && carries) || back) {
                self.push(Event::Promoted);
                return self.route(None, Split::Bake);
            }
        } else if held && shown(rollout, kind, seen, current, look) {
            self.push(Event::StepPassed { step: rollout.step });
            return self.enter_step(rollout);
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
    fn recovering(&mut self, rollout: &Rollout, since: Timestamp, look: &Look) {
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

    fn baking(&mut self, rollout: &Rollout, since: Timestamp, look: &Look) {
        let carried = look.traffic.generation == self.state.routed && look.traffic.canary > 0;
        let observed = rollout.observed.is_some() || carried;
        let superseded = self.state.queued.is_some();
        if observed && (superseded || self.passed(since, rollout.request.policy.bake)) {
            self.push(Event::BakeEnded);
            return;
        }
        self.serve_again(look, None);
    }

    fn reverting(&mut self, since: Timestamp, look: &Look) {
        let Some(serving) = look.router.seen() else {
            return self.revert_again(since);
        };
        let gone = serving.as_ref().is_none_or(|serving| matches!(serving.mode, Mode::Fallback { .. }));
        match gone {
            true => self.push(Event::Reverted { generation: self.state.routed, cause: None }),
            false => self.revert_again(since),
        }
    }

    fn revert_again(&mut self, since: Timestamp) {
        let asked = self.state.pending.iter().any(|pending| matches!(pending.effect, Effect::Revert { .. }));
        if asked || !self.passed(since, RETRY) {
            return;
        }
        if let Some((_, cause)) = self.state.rollout.as_ref().and_then(|rollout| rollout.ending.clone()) {
            let generation = self.state.generation.next();
            self.push(Event::RevertRequested { generation, cause });
        }
    }

    fn settling(&mut self, rollout: &Rollout, leaving: &ReleaseId, since: Timestamp, look: &Look) {
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
                if !healthy && !self.passed(since, release.workload.health.grace) {
                    return;
                }
                Some(release)
            }
            (stays, None) => stays,
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
        if !asked && (first || self.passed(since, RETRY)) {
            self.route(None, settled);
        }
    }

    fn draining(&mut self, rollout: &Rollout, leaving: &ReleaseId, since: Timestamp, look: &Look) {
        let quiet = match look.router.seen() {
            Some(Some(serving)) => serving.in_flight(leaving) == 0,
            Some(None) => true,
            None => false,
        };
        if quiet || self.passed(since, rollout.request.policy.drain) {
            self.remove(leaving);
        }
    }

    fn remove(&mut self, leaving: &ReleaseId) {
        let generation = self.state.generation.next();
        self.push(Event::RemovalRequested { generation, release: leaving.clone() });
    }

    fn removing(&mut self, leaving: &ReleaseId, since: Timestamp) {
        let asked = self.state.pending.iter().any(|pending| matches!(pending.effect, Effect::Remove { .. }));
        if !asked && self.passed(since, RETRY) {
            self.remove(leaving);
        }
    }

    /// Keeps the router at what was asked for: after it lost its memory, or when instances moved.
    fn serve_again(&mut self, look: &Look, step: Option<usize>) {
        let (Some(serving), Some(instances)) = (look.router.seen(), look.instances.seen()) else { return };
        let Some(split) = self.state.split.clone() else { return };
        let asked = self.state.pending.iter().any(|pending| matches!(pending.effect, Effect::Route { .. }));
        if asked || split == Split::Nothing {
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

    /// Puts traffic back, whatever the rollout was doing.
    fn end(&mut self, cause: Cause) {
        let fallback = matches!(self.state.split, Some(Split::Trial { .. } | Split::Bake));
        if fallback {
            let generation = self.state.generation.next();
            self.push(Event::RevertRequested { generation, cause });
        } else {
            self.push(Event::Reverted { generation: self.state.routed, cause: Some(cause) });
        }
    }

    fn finish(&mut self) {
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
        let rollout = rollout.request.rollout.clone();
        self.push(Event::RolloutFinished { rollout, outcome, why });
        if let Some(request) = self.state.queued.clone() {
            self.begin_queued(request);
        }
    }

    fn begin_queued(&mut self, request: Request) {
        let serves = self.state.stable.as_ref().is_some_and(|stable| stable.id == request.release.id);
        if request.kind == RequestKind::Remove && self.state.stable.is_none() {
            let rollout = request.rollout.clone();
            self.push(Event::RolloutRequested { request });
            let why = "nothing serves any more".to_owned();
            self.push(Event::RolloutFinished { rollout, outcome: Outcome::Removed, why });
        } else if serves && request.kind != RequestKind::Remove {
            let rollout = request.rollout.clone();
            self.push(Event::RolloutRequested { request });
            let why = "the release serves already".to_owned();
            self.push(Event::RolloutFinished { rollout, outcome: Outcome::Promoted, why });
        } else {
            self.begin(request);
        }
    }
}

/// What a step is to show before the next, once its hold is over.
fn shown(rollout: &Rollout, kind: Option<Kind>, seen: bool, current: bool, look: &Look) -> bool {
    let step = rollout.current();
    let evidence = look.verdict.as_ref().map(|verdict| &verdict.evidence);
    match step.passes {
        Passes::Proven => seen && kind == Some(Kind::Safe),
        Passes::Observed => {
            let clean = evidence.is_some_and(|evidence| !evidence.amber && !evidence.hanging);
            seen && matches!(kind, Some(Kind::Safe | Kind::Undecided)) && clean
        }
        Passes::Measured => {
            let limit = rollout.request.policy.analysis.max_error_rate.is_some()
                || evidence.is_some_and(|evidence| absolute::derived_limit(evidence.rollout.stable).is_some());
            limit && matches!(kind, Some(Kind::Safe | Kind::Undecided))
        }
        Passes::Tried => step.mirror.is_none() || (current && look.traffic.mirrored > 0),
    }
}

/// Why the new release counts as one that keeps crashing.
fn crashing(ours: &[&Instance]) -> Option<String> {
    let worst = ours.iter().max_by_key(|instance| instance.restarts)?;
    let told = || format!("instance {} ended {} times: {}", worst.id, worst.restarts, health(worst));
    (worst.restarts >= RESTARTS).then(told)
}

/// The instances of a release that have not ended.
fn running<'a>(instances: &'a [Instance], release: &'a ReleaseId) -> impl Iterator<Item = &'a Instance> {
    of(instances, release).filter(|instance| !matches!(instance.health, Health::Ended { .. }))
}

fn of<'a>(instances: &'a [Instance], release: &'a ReleaseId) -> impl Iterator<Item = &'a Instance> {
    instances.iter().filter(move |instance| instance.release == *release)
}

fn health(instance: &Instance) -> String {
    match &instance.health {
        Health::Healthy => "healthy".to_owned(),
        Health::Starting { why } => format!("not healthy yet ({why})"),
        Health::Unhealthy { why } => format!("unhealthy ({why})"),
        Health::Ended { why } => format!("ended ({why})"),
    }
}

/// What a step still lacks at its deadline, in a sentence.
fn missing(rollout: &Rollout, kind: Option<Kind>, look: &Look) -> String {
    match (kind, &look.verdict) {
        (Some(_), Some(verdict)) => verdict.because.clone(),
        _ => format!("no verdict was reached at {}: nothing was measured", rollout.weight()),
    }
}
