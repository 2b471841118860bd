//! Everything that may happen next.

use super::{
    key::key,
    laws,
    looks::{Flow, Healthy, Ill, Scene, Seen},
    world::{Flight, Node, Scope, TICK, by},
};
use davy_core::{
    FallbackCause, ReleaseId, Weight,
    rollout::{Cause, Command, Effect, Event, Input, RequestKind, Split},
};

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Tick,
    Look(Seen),
    Pause,
    Resume,
    Promote,
    Abort,
    Request(u32, RequestKind),
    /// An abort that goes to the router first, and is written after.
    AbortUnasked,
    /// The edge does the effect of this place, and says so.
    Do(usize),
    /// It does it; its answer is on its way.
    Carry(usize),
    /// The answer arrives.
    Answer(usize),
    Refuse(usize),
    /// As before, of a router that refuses weights.
    RefuseWeight(usize),
    /// It was not done, and nobody hears that.
    Lose(usize),
    /// It was done, and nobody hears that.
    LoseAfter(usize),
    /// As before, and what nobody waits for any more is carried out later.
    Late(usize),
    /// It is carried out now.
    Arrive,
    /// The controller ends and begins anew, with what is on its way to be carried out later, or never.
    Crash,
    /// As before, with all of it carried out.
    CrashAfter,
    Lapse,
    RestartRouter,
    ForgetRouter,
    /// The router goes back for good, as somebody told it who was not heard of any more.
    Revert,
    /// Its guard cuts the canary off.
    Cut,
    Vanish(usize),
}

impl Node {
    /// Everything that may happen here.
    pub(crate) fn actions(&self, scope: &Scope) -> Vec<Action> {
        let mut actions = vec![Action::Tick];
        for (at, flight) in self.flights.iter().enumerate() {
            actions.push(match flight.answer {
                Some(_) => Action::Answer(at),
                None if scope.slow => Action::Carry(at),
                None => Action::Do(at),
            });
        }
        if let Some(rollout) = &self.state.rollout {
            actions.push(Action::Abort);
            actions.push(Action::AbortUnasked);
            if self.nudges > 0 {
                let nudge = if rollout.pause.is_some() { Action::Resume } else { Action::Pause };
                actions.extend([nudge, Action::Promote]);
            }
        }
        if self.requests > 0 {
            // Whatever a release is called, each may be asked for: names are nothing to a key.
            let each =
                (1..=3).flat_map(|number| [RequestKind::Deploy, RequestKind::Rollback].map(|kind| (number, kind)));
            actions.extend(each.map(|(number, kind)| Action::Request(number, kind)));
            let serves = self.state.stable.as_ref().or(self.state.rollout.as_ref().map(|it| &it.request.release));
            if let Some(number) = serves.and_then(|release| release.id.as_str()[1..].parse().ok()) {
                actions.push(Action::Request(number, RequestKind::Remove));
            }
        }
        if self.late.is_some() {
            actions.push(Action::Arrive);
        }
        if self.refusals > 0 {
            let weights = |(_, flight): &(usize, &Flight)| {
                flight.answer.is_none() && matches!(flight.effect, Effect::Route { .. })
            };
            actions.extend(self.flights.iter().enumerate().filter(weights).map(|(at, _)| Action::RefuseWeight(at)));
        }
        if self.faults + self.crashes > 0 {
            actions.extend([Action::Crash, Action::CrashAfter]);
        }
        if self.faults > 0 {
            for (at, flight) in self.flights.iter().enumerate() {
                actions.push(Action::Lose(at));
                if flight.answer.is_none() {
                    actions.extend([Action::Refuse(at), Action::Late(at), Action::LoseAfter(at)]);
                }
            }
            if let Some(held) = &self.router {
                actions.push(Action::ForgetRouter);
                if held.snapshot.lease.is_some() {
                    actions.extend([Action::Lapse, Action::RestartRouter]);
                }
                if held.snapshot.fallback.is_some() {
                    actions.push(Action::Revert);
                }
                if self.guarded().is_some() {
                    actions.push(Action::Cut);
                }
            }
            actions.extend((0..self.instances.len()).map(Action::Vanish));
        }
        actions.extend(self.looks().into_iter().map(Action::Look));
        actions
    }

    /// What follows; nothing where nothing changes.
    pub(crate) fn after(&self, scope: &Scope, action: Action, scene: &mut Scene) -> Result<Option<Self>, String> {
        if let Action::Look(seen) = action {
            // Most looks change nothing: that is known before anything is copied.
            let input = scene.show(self, seen);
            let Ok(events) = (scope.machine)(&self.state, self.now, input) else {
                return Err("a look is refused".to_owned());
            };
            let dead = matches!(seen.health, Healthy::But(_, Ill::Ended | Ill::Crashing));
            let told = |event: &Event| matches!(event, Event::VerdictReached { .. });
            if events.iter().all(told) && !laws::witnesses(self, input) {
                laws::decided(self, input, &events)?;
                return Ok(None);
            }
            let mut node = self.clone();
            node.faults -= u8::from(dead);
            return node.decided(scope, input, &events).map(Some);
        }
        let mut node = self.clone();
        let spend = |node: &mut Self| node.faults -= 1;
        let input = match action {
            Action::Look(_) => return Ok(None),
            Action::Tick => {
                node.now = node.now.plus(TICK);
                return Ok(Some(node));
            }
            Action::Pause | Action::Resume | Action::Promote => {
                node.nudges -= 1;
                Input::Command(match action {
                    Action::Pause => Command::Pause { by: by() },
                    Action::Resume => Command::Resume { by: by() },
                    _ => Command::Promote { by: by() },
                })
            }
            Action::Abort => Input::Command(Command::Abort { by: by() }),
            Action::AbortUnasked => {
                if !node.fall_back(FallbackCause::Revert) {
                    return Ok(None);
                }
                Input::RevertedUnasked { cause: Cause::Person { by: by() } }
            }
            Action::Request(number, kind) => {
                node.requests -= 1;
                Input::Command(Command::Request(scope.request(&mut node, number, kind)))
            }
            Action::Carry(at) => {
                let flight = node.flights[at].clone();
                let took = node.carry_out(&flight)?;
                node.flights[at].answer = Some(took);
                return Ok(Some(node));
            }
            Action::Arrive => {
                let Some(flight) = node.late.take() else { return Ok(None) };
                node.carry_out(&flight)?;
                return Ok(Some(node));
            }
            Action::Do(at) | Action::LoseAfter(at) => {
                let mut flight = node.flights.remove(at);
                let took = node.carry_out(&flight)?;
                flight.answer = Some(took);
                match action {
                    Action::Do(_) => answer(&flight),
                    _ => {
                        spend(&mut node);
                        Input::Lost { generation: flight.effect.generation(), why: String::new() }
                    }
                }
            }
            Action::Answer(at) => {
                let flight = node.flights.remove(at);
                answer(&flight)
            }
            Action::Refuse(at) | Action::RefuseWeight(at) => {
                match action {
                    Action::Refuse(_) => spend(&mut node),
                    _ => node.refusals -= 1,
                }
                let flight = node.flights.remove(at);
                Input::Refused { generation: flight.effect.generation(), why: String::new() }
            }
            Action::Lose(at) | Action::Late(at) => {
                spend(&mut node);
                let flight = node.flights.remove(at);
                let generation = flight.effect.generation();
                if matches!(action, Action::Late(_)) {
                    node.late = Some(flight);
                }
                Input::Lost { generation, why: String::new() }
            }
            Action::Crash | Action::CrashAfter => {
                match node.crashes {
                    0 => spend(&mut node),
                    _ => node.crashes -= 1,
                }
                let mut flights = std::mem::take(&mut node.flights);
                if action == Action::CrashAfter {
                    for flight in flights.iter_mut().filter(|flight| flight.answer.is_none()) {
                        flight.answer = Some(node.carry_out(flight)?);
                    }
                }
                let late = flights.into_iter().rfind(|flight| flight.answer.is_none());
                node.late = late.or(node.late);
                Input::Restarted
            }
            Action::Lapse | Action::RestartRouter | Action::Revert | Action::Cut => {
                spend(&mut node);
                let cause = match action {
                    Action::Lapse => FallbackCause::Lapse,
                    Action::RestartRouter => FallbackCause::Restart,
                    Action::Cut => FallbackCause::Guard,
                    _ => FallbackCause::Revert,
                };
                let guarded = node.guarded();
                node.fall_back(cause);
                if let (Action::Cut, Some(held)) = (action, &mut node.router) {
                    held.cut = guarded;
                }
                if action == Action::RestartRouter {
                    node.forget_calls();
                }
                return Ok(Some(node));
            }
            Action::ForgetRouter => {
                spend(&mut node);
                node.router = None;
                node.forget_calls();
                return Ok(Some(node));
            }
            Action::Vanish(at) => {
                spend(&mut node);
                node.instances.remove(at);
                return Ok(Some(node));
            }
        };
        node.decide(scope, &input)
    }

    /// Decides on an input, and folds what was decided in; nothing where nothing changes.
    fn decide(self, scope: &Scope, input: &Input) -> Result<Option<Self>, String> {
        match (scope.machine)(&self.state, self.now, input) {
            Ok(events) => self.decided(scope, input, &events).map(Some),
            Err(_) if matches!(input, Input::Command(_)) => Ok(None),
            Err(_) => Err(format!("an input that is no command is refused: {input:?}")),
        }
    }

    fn decided(mut self, scope: &Scope, input: &Input, events: &[Event]) -> Result<Self, String> {
        laws::witness(&mut self, input);
        let state = laws::decided(&self, input, events)?;
        laws::events(&mut self, events);
        let look = match input {
            Input::Look(look) => Some(&**look),
            _ => None,
        };
        self.turn(state, events, look);
        laws::answered(scope, &self, input)?;
        Ok(self)
    }

    /// Calls to a router that ended are not carried out by the one after it.
    fn forget_calls(&mut self) {
        let called = |flight: &Flight| matches!(flight.effect, Effect::Route { .. } | Effect::Revert { .. });
        self.late.take_if(|late| called(late));
    }

    /// Nothing goes wrong any more, and nobody asks for anything.
    pub(crate) fn calm_down(&mut self) {
        self.late = None;
        (self.faults, self.refusals, self.crashes, self.requests, self.nudges) = (0, 0, 0, 0, 0);
    }

    /// One more thing of a world without faults: effects are carried out and answered, then there is a look, then time passes.
    pub(crate) fn calmly(&self, scope: &Scope, seen: Seen, named: u128) -> Result<Self, String> {
        let mut scene = self.scene();
        if let Some(flight) = self.flights.first() {
            let action = if flight.answer.is_none() { Action::Do(0) } else { Action::Answer(0) };
            return Ok(self.after(scope, action, &mut scene)?.unwrap_or_else(|| self.clone()));
        }
        let whole = self.state.rollout.as_ref().is_some_and(|rollout| rollout.intended == Weight::ALL);
        let flow = match (self.counted(), seen.flow) {
            (_, Flow::Idle) => Flow::Idle,
            (false, _) => Flow::Nothing,
            (true, Flow::Both) if whole => Flow::Canary,
            (true, flow) => flow,
        };
        match self.after(scope, Action::Look(Seen { flow, ..seen }), &mut scene)? {
            Some(looked) if key(&looked) != named => Ok(looked),
            looked => {
                let mut later = looked.unwrap_or_else(|| self.clone());
                later.now = later.now.plus(TICK);
                Ok(later)
            }
        }
    }

    /// Whether nothing is left to do, and the world is as the state says.
    pub(crate) fn is_final(&self) -> bool {
        if self.state.rollout.is_some() || !self.flights.is_empty() || self.state.queued.is_some() {
            return false;
        }
        let Some(stable) = &self.state.stable else {
            return self.instances.is_empty() && self.router.as_ref().is_none_or(|held| held.snapshot.serve.is_empty());
        };
        let split = Split::Only { release: stable.id.clone() };
        let whole = |held: &super::world::Held| {
            let mut listed = held.snapshot.serve.iter().flat_map(|target| &target.instances).map(|backend| &backend.id);
            let all = self.instances();
            all.iter().all(|instance| listed.any(|id| *id == instance.id)) && held.snapshot.fallback.is_none()
        };
        let routed = self.router.as_ref().is_some_and(whole);
        let only = |release: &ReleaseId| self.count(release) == self.instances.len();
        self.state.split.as_ref() == Some(&split)
            && routed
            && only(&stable.id)
            && self.instances.len() == stable.replicas() as usize
    }
}

fn answer(flight: &Flight) -> Input {
    let generation = flight.effect.generation();
    match (flight.answer, &flight.effect) {
        (Some(true), _) => Input::Done { generation },
        // As the engine: a router that did not fall back has not answered.
        (_, Effect::Revert { .. }) => Input::Lost { generation, why: String::new() },
        _ => Input::Refused { generation, why: String::new() },
    }
}

/// Whether an event is one that brings the new release nearer to all traffic.
pub(crate) fn advances(event: &Event) -> bool {
    matches!(event, Event::StepPassed { .. } | Event::Promoted)
}
