//! Everything that may happen next.

use crate::{
    key::key,
    laws,
    world::{Flight, Node, Scope, TICK, by},
};
use davy_core::{
    FallbackCause, Generation, Health, Instance, Millis, ReleaseId, Serving, Weight,
    rollout::{Cause, Command, Effect, Event, Input, Look, Phase, RequestKind, Rollout, Sight, Split, Traffic},
};
use davy_judge::{Counts, Judge, Kind, Standing, Verdict, Window, ramp::Risk};
use std::sync::OnceLock;

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

/// What is observed at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) health: Healthy,
    pub(crate) router: bool,
    pub(crate) busy: bool,
    pub(crate) judged: Judged,
    pub(crate) flow: Flow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Healthy {
    All,
    Unseen,
    /// One instance is otherwise: the how manyth.
    But(usize, Ill),
    /// All instances of the release on trial are.
    Canary(Ill),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ill {
    Starting,
    Ended,
    Crashing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Nothing,
    Harmful,
    Safe,
    /// Proven, while something speaks against the canary.
    Amber,
    /// Proven, of an epoch that is over.
    Stale,
    /// Proven, and the budget leaves no room.
    Stay,
    Undecided,
    NoTraffic,
    Blind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Nothing,
    Canary,
    Both,
    /// Counts of an epoch that is over.
    Stale,
    /// All was counted for long, and nothing came.
    Idle,
}

/// All goes well.
pub(crate) const WELL: Seen =
    Seen { health: Healthy::All, router: true, busy: false, judged: Judged::Safe, flow: Flow::Canary };

fn judged() -> &'static Verdict {
    static VERDICT: OnceLock<Verdict> = OnceLock::new();
    VERDICT.get_or_init(|| {
        let mut judge = Judge::new(davy_judge::Policy::default()).expect("a policy");
        for second in 0..40 {
            judge.observe(&Window {
                epoch: second / 20,
                weight: if second < 20 { 5_000 } else { 10_000 },
                from_ms: second * 1000,
                to_ms: (second + 1) * 1000,
                canary: Counts::answered(500, 0),
                stable: Counts::answered(if second < 20 { 500 } else { 0 }, 0),
            });
        }
        let mut verdict = judge.verdict();
        assert_eq!(verdict.evidence.limit.as_ref().map(|limit| limit.standing), Some(Standing::Clean));
        verdict.because = String::new();
        verdict
    })
}

/// What can be seen of a node, made once and changed from look to look.
pub(crate) struct Scene {
    input: Input,
    /// What the present look does not show.
    instances: Vec<Instance>,
    serving: Option<Serving>,
    verdict: Option<Verdict>,
}

impl Scene {
    /// What the machine is told of a look.
    pub(crate) fn show(&mut self, node: &Node, seen: Seen) -> &Input {
        if let Input::Look(look) = &mut self.input {
            if let Sight::Unseen { .. } = look.instances {
                look.instances = Sight::Seen(std::mem::take(&mut self.instances));
            }
            if let Sight::Unseen { .. } = look.router {
                look.router = Sight::Seen(self.serving.take());
            }
            look.verdict = look.verdict.take().or_else(|| self.verdict.take());
            node.see(look, seen);
            let unseen = || "no answer".to_owned();
            if seen.health == Healthy::Unseen
                && let Sight::Seen(instances) = &mut look.instances
            {
                self.instances = std::mem::take(instances);
                look.instances = Sight::Unseen { why: unseen() };
            }
            if !seen.router
                && let Sight::Seen(serving) = &mut look.router
            {
                self.serving = serving.take();
                look.router = Sight::Unseen { why: unseen() };
            }
            if seen.judged == Judged::Nothing {
                self.verdict = look.verdict.take();
            }
        }
        &self.input
    }
}

impl Node {
    /// What there is to be seen.
    pub(crate) fn scene(&self) -> Scene {
        let look = Look {
            instances: Sight::Seen(self.instances()),
            router: Sight::Seen(self.serving()),
            verdict: self.state.rollout.as_ref().map(|_| judged().clone()),
            batches: None,
            traffic: Traffic::default(),
        };
        Scene { input: Input::Look(Box::new(look)), instances: Vec::new(), serving: None, verdict: None }
    }

    /// Makes a look, in which all is to be seen, show what is seen.
    fn see(&self, look: &mut Look, seen: Seen) {
        let Look { instances: Sight::Seen(instances), router: Sight::Seen(serving), verdict, traffic, .. } = look
        else {
            return;
        };
        let trial = self.state.rollout.as_ref().filter(|rollout| !rollout.promoted);
        for (at, instance) in instances.iter_mut().enumerate() {
            let ill = match seen.health {
                Healthy::But(one, ill) => (one == at).then_some(ill),
                Healthy::Canary(ill) => {
                    trial.is_some_and(|rollout| rollout.request.release.id == instance.release).then_some(ill)
                }
                Healthy::All | Healthy::Unseen => None,
            };
            instance.health = match ill {
                None => Health::Healthy,
                Some(Ill::Starting) => Health::Starting { why: String::new() },
                Some(Ill::Ended | Ill::Crashing) => Health::Ended { why: String::new() },
            };
            instance.restarts = if ill == Some(Ill::Crashing) { 3 } else { 0 };
        }
        if let Some(serving) = serving {
            serving.in_flight.clear();
            if seen.busy {
                serving.in_flight.extend(instances.iter().map(|instance| davy_core::InFlight {
                    release: instance.release.clone(),
                    instance: instance.id.clone(),
                    requests: 1,
                }));
            }
        }
        let generation = self.state.routed;
        let before = Generation(generation.0.saturating_sub(1));
        let (of, canary, stable) = match seen.flow {
            Flow::Nothing | Flow::Idle => (generation, 0, 0),
            Flow::Canary => (generation, 10, 0),
            Flow::Both => (generation, 10, 10),
            Flow::Stale => (before, 10, 0),
        };
        let (last_minute, idle) = match seen.flow {
            Flow::Nothing => (None, Millis(0)),
            Flow::Idle => (Some(0), Millis::seconds(60)),
            _ => (Some(600), Millis(0)),
        };
        *traffic = Traffic { generation: of, canary, stable, mirrored: 0, matched: 0, last_minute, idle };
        let (Some(verdict), Some(rollout)) = (verdict, &self.state.rollout) else { return };
        verdict.kind = match seen.judged {
            Judged::Harmful => Kind::Harmful,
            Judged::Safe | Judged::Amber | Judged::Stale | Judged::Stay => Kind::Safe,
            Judged::Undecided => Kind::Undecided,
            Judged::NoTraffic => Kind::NoTraffic,
            Judged::Blind | Judged::Nothing => Kind::Blind,
        };
        let weight = rollout.intended.basis_points();
        verdict.epoch = if seen.judged == Judged::Stale { before.0 } else { generation.0 };
        verdict.weight = weight;
        verdict.evidence.amber = seen.judged == Judged::Amber;
        verdict.evidence.limit = judged().evidence.limit.filter(|_| seen.judged != Judged::Amber);
        verdict.evidence.ramp = (rollout.is_automatic() && weight > 0 && seen.judged != Judged::Undecided).then(|| {
            let risk =
                Risk { rate: 10.0, past: 0.001, worst: 0.001, left: 50.0, hold: 3.0, needed: 9.7, holdback: 1_000 };
            let mut ramp = risk.next(weight);
            let next = rollout.plan.get(rollout.step + 1).map_or(weight, |step| step.weight.basis_points());
            ramp.next = if seen.judged == Judged::Stay { weight } else { next };
            ramp
        });
    }

    /// Whether counts of the present epoch can exist: the router has served it.
    fn counted(&self) -> bool {
        self.router.as_ref().is_some_and(|held| held.snapshot.generation == self.state.routed)
    }

    fn looks(&self) -> Vec<Seen> {
        use Judged::{Amber, Blind, Harmful, NoTraffic, Nothing, Safe, Stale, Stay, Undecided};
        let well = Seen { flow: if self.counted() { Flow::Canary } else { Flow::Nothing }, ..WELL };
        let mut flows = match self.counted() {
            true => vec![Flow::Canary, Flow::Nothing, Flow::Both],
            false => vec![Flow::Nothing, Flow::Stale],
        };
        let asks = |rollout: &Rollout| match rollout.phase {
            Phase::Baking { .. } => true,
            Phase::Starting { .. } => rollout.is_automatic() && rollout.step_since == rollout.began,
            _ => false,
        };
        let asks = self.state.rollout.as_ref().is_some_and(asks);
        if asks {
            flows.push(Flow::Idle);
        }
        let verdicts: &[Judged] = match &self.state.rollout {
            Some(rollout) if rollout.is_forward() && !rollout.is_first() => {
                &[Safe, Undecided, Harmful, Amber, Stale, Stay, NoTraffic, Blind, Nothing]
            }
            _ => &[Safe],
        };
        let holds = self.state.rollout.as_ref().is_some_and(|r| matches!(r.phase, Phase::Holding { .. }));
        let mut looks = Vec::new();
        for (number, flow) in flows.into_iter().enumerate() {
            // Verdicts and counts are weighed against each other where a weight is held.
            let verdicts = if holds || number == 0 { verdicts } else { &[Undecided] };
            looks.extend(verdicts.iter().map(|&judged| Seen { flow, judged, ..well }));
        }
        looks.push(Seen { health: Healthy::Unseen, router: false, ..well });
        looks.push(Seen { health: Healthy::Unseen, ..well });
        for at in 0..self.instances.len() {
            let ills = [Ill::Starting, Ill::Ended, Ill::Crashing];
            // To see one dead is a fault of the edge, too.
            let ills = if self.faults > 0 { &ills[..] } else { &ills[..1] };
            looks.extend(ills.iter().map(|&ill| Seen { health: Healthy::But(at, ill), ..well }));
        }
        looks.push(Seen { router: false, ..well });
        if asks {
            looks.push(Seen { router: false, flow: Flow::Idle, ..well });
        }
        looks.push(Seen { busy: true, ..well });
        looks
    }

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
            actions.extend((1..=3).map(|number| Action::Request(number, RequestKind::Deploy)));
            let before = self.state.rollout.as_ref().and_then(|rollout| rollout.from.as_ref());
            let known = before.or(self.state.stable.as_ref()).map_or("v1", |release| release.id.as_str());
            let known = known[1..].parse().unwrap_or(1);
            actions.push(Action::Request(known, RequestKind::Rollback));
            if self.state.stable.as_ref().is_none_or(|stable| stable.id.as_str() != "v2") {
                actions.push(Action::Request(2, RequestKind::Rollback));
            }
            actions.push(Action::Request(3, RequestKind::Remove));
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
        let whole = |held: &crate::world::Held| {
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
