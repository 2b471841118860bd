//! The machine where nothing has to fit: answers that nobody waits for, looks at what cannot be, times that leap.

use crate::{
    choices::Choices,
    journal::look,
    machine::strategy,
    model::world::{by, key, release},
};
use davy_core::{
    Backend, Cut, FallbackCause, Generation, Health, HealthCheck, InFlight, Instance, InstanceId, Millis, Mode,
    OnDeadline, Policy, Release, Role, RolloutId, Route, Serving, Snapshot, Target, Timestamp, Weight,
    rollout::{Cause, Command, Effect, Event, Input, Look, Request, RequestKind, Sight, State, Traffic, guard, step},
};
use davy_judge::{
    Counts, Judge, Kind, Verdict, Window,
    guard::{Finding, Order, Row, Side},
    ramp::Risk,
};
use std::sync::Arc;

/// Any inputs at any times: never a panic; what is decided folds, and comes out of JSON as it went in; the laws that need no world
/// to hold.
pub(crate) fn body(choices: &mut Choices<'_>) {
    let (mut state, mut at, mut rollouts) = (State::default(), Timestamp(choices.number()), 0);
    while !choices.is_over() {
        at = match choices.byte() % 16 {
            0 => Timestamp(choices.number()),
            1 => Timestamp(at.0.saturating_add(choices.number())),
            _ => Timestamp(at.0.saturating_add(u64::from(choices.byte()) * 500)),
        };
        let input = input(choices, &state, &mut rollouts);
        let decided = step(&state, at, &input);
        let Ok(events) = decided else {
            assert!(matches!(input, Input::Command(_)), "only commands are refused: {input:?}");
            continue;
        };
        let before = state.clone();
        for event in &events {
            decide(&state, event);
            let json = serde_json::to_string(event).unwrap_or_else(|error| panic!("{error}: {event:?}"));
            let read = serde_json::from_str::<Event>(&json);
            assert_eq!(read.ok().as_ref(), Some(event), "{json} is read as another one");
            state.apply(at, event);
            look(&state);
        }
        decided_on(&before, &state, &input);
    }
}

/// A few inputs to a state that no decision need have led to.
pub(crate) fn probe(state: &State, at: Timestamp, choices: &mut Choices<'_>) {
    let fixed = [
        Input::Restarted,
        Input::Command(Command::Abort { by: by() }),
        Input::Command(Command::Promote { by: by() }),
        Input::RevertedUnasked { cause: cause(choices) },
        Input::Look(Box::new(seen(&mut Choices::of(&[]), state))),
        input(choices, state, &mut 0),
        input(choices, state, &mut 0),
    ];
    for input in &fixed {
        let decided = step(state, at, input);
        assert!(decided.is_ok() || matches!(input, Input::Command(_)), "only commands are refused: {input:?}");
    }
}

/// Each event, where it is decided.
fn decide(state: &State, event: &Event) {
    let rollout = state.rollout.as_ref();
    if let Some(effect) = Effect::of(event) {
        assert!(effect.generation() > state.generation, "generations rise with every effect");
    }
    match event {
        Event::RolloutRequested { .. } => assert!(rollout.is_none(), "one rollout at a time"),
        Event::StepPassed { .. } | Event::Promoted => {
            let rollout = rollout.expect("a step of a rollout");
            assert!(rollout.pause.is_none() && rollout.ending.is_none(), "what waits or ends does not advance");
        }
        Event::RemovalRequested { release, .. } => {
            let stable = state.stable.as_ref().map(|stable| &stable.id);
            assert!(stable != Some(release), "the release that serves is never removed");
        }
        _ => {}
    }
}

fn decided_on(before: &State, after: &State, input: &Input) {
    match input {
        Input::Command(Command::Abort { .. }) => {
            let ended = after.rollout.as_ref().is_none_or(|rollout| rollout.ending.is_some());
            assert!(ended, "an abort ends the rollout");
        }
        Input::Restarted => assert!(after.pending.is_empty(), "nothing asked before a restart is waited for"),
        Input::Look(look) if look.verdict.as_ref().is_some_and(|verdict| verdict.kind == Kind::Harmful) => {
            let trial = before.rollout.as_ref().filter(|rollout| {
                !rollout.is_first() && rollout.request.kind == RequestKind::Deploy && rollout.is_forward()
            });
            let same = trial.zip(after.rollout.as_ref());
            let same = same.filter(|(before, after)| before.request.rollout == after.request.rollout);
            assert!(same.is_none_or(|(_, after)| after.ending.is_some()), "harm ends the rollout at once");
        }
        _ => {}
    }
}

fn why() -> String {
    "no".to_owned()
}

fn input(choices: &mut Choices<'_>, state: &State, rollouts: &mut u32) -> Input {
    match choices.byte() % 16 {
        0 | 1 => Input::Command(command(choices, rollouts)),
        2 => Input::Restarted,
        3 => Input::RevertedUnasked { cause: cause(choices) },
        4..=7 => {
            let pending = state.pending.first().map(|pending| pending.effect.generation());
            let generation = if choices.seldom(8) { None } else { pending };
            let generation = generation.unwrap_or_else(|| Generation(choices.number()));
            match choices.byte() % 4 {
                0 => Input::Refused { generation, why: why() },
                1 => Input::Lost { generation, why: why() },
                _ => Input::Done { generation },
            }
        }
        _ => Input::Look(Box::new(seen(choices, state))),
    }
}

fn command(choices: &mut Choices<'_>, rollouts: &mut u32) -> Command {
    match choices.byte() % 8 {
        0..=3 => {
            *rollouts += 1;
            let kind = match choices.byte() % 8 {
                0 => RequestKind::Remove,
                1 => RequestKind::Rollback,
                _ => RequestKind::Deploy,
            };
            let replicas = if choices.seldom(8) { choices.number() % 101 } else { u64::from(choices.byte() % 4) };
            let release = release(u32::from(choices.byte() % 4), u32::try_from(replicas).unwrap_or(1).max(1));
            let rollout = RolloutId::new(format!("r{rollouts}"));
            Command::Request(Request { rollout, release, policy: policy(choices), by: by(), kind })
        }
        4 => Command::Pause { by: by() },
        5 => Command::Resume { by: by() },
        6 => Command::Promote { by: by() },
        _ => Command::Abort { by: by() },
    }
}

fn policy(choices: &mut Choices<'_>) -> Policy {
    let mut policy = Policy { strategy: strategy(choices), ..Policy::default() };
    let odd = choices.byte();
    if odd & 1 > 0 {
        policy.on_deadline = OnDeadline::Rollback;
    }
    if odd & 2 > 0 {
        (policy.hold, policy.deadline) = (Millis(choices.number()), Millis(choices.number()));
    }
    if odd & 4 > 0 {
        (policy.bake, policy.drain) = (Millis(choices.number()), Millis(choices.number()));
        policy.pause_limit = Millis(choices.number());
    }
    policy
}

fn cause(choices: &mut Choices<'_>) -> Cause {
    match choices.byte() % 4 {
        0 => Cause::Person { by: by() },
        1 => Cause::Rollback { by: by() },
        2 => Cause::Router { why: why() },
        _ => Cause::Judge { why: why() },
    }
}

/// The releases that a look may tell of: those of the state, and others.
fn releases(state: &State) -> Vec<Release> {
    let rollout = state.rollout.as_ref();
    let mut all: Vec<Release> = state.stable.iter().cloned().collect();
    all.extend(rollout.map(|rollout| rollout.request.release.clone()));
    all.extend(rollout.and_then(|rollout| rollout.from.clone()));
    all.push(release(9, 1));
    all
}

fn seen(choices: &mut Choices<'_>, state: &State) -> Look {
    let releases = releases(state);
    let odd = choices.byte();
    let instances = instances(choices, &releases, odd & 8 == 0);
    let serving = (odd & 1 == 0).then(|| serving(choices, state, &releases, &instances));
    let generation = if odd & 2 > 0 { Generation(choices.number()) } else { state.routed };
    let verdict = (odd & 4 == 0).then(|| verdict(choices, state));
    let traffic = Traffic {
        generation,
        canary: choices.number(),
        stable: if odd & 32 > 0 { choices.number() } else { 0 },
        mirrored: choices.number(),
        matched: 0,
        idle: Millis(choices.number()),
        last_minute: (odd & 64 > 0).then(|| choices.number()),
    };
    let unseen = odd & 128 > 0;
    let which = if unseen { choices.byte() % 3 } else { 3 };
    Look {
        instances: if which == 0 || which == 2 {
            Sight::Unseen { why: why() }
        } else {
            Sight::Seen(Arc::new(instances))
        },
        router: if which == 1 || which == 2 {
            Sight::Unseen { why: why() }
        } else {
            Sight::Seen(serving.map(Arc::new))
        },
        verdict: verdict.map(Arc::new),
        batches: None,
        traffic,
    }
}

/// All that are wanted, or any.
fn instances(choices: &mut Choices<'_>, releases: &[Release], whole: bool) -> Vec<Instance> {
    let mut all = Vec::new();
    let count = if whole { 0 } else { choices.byte() % 8 };
    let one = |release: &Release, number: usize, health: Health, restarts: u32| Instance {
        id: InstanceId::new(format!("{}-{number}", release.id)),
        release: release.id.clone(),
        address: ([127, 0, 0, 1], u16::try_from(number % 60_000).unwrap_or_default()).into(),
        health,
        restarts,
        since: Timestamp(0),
    };
    if whole {
        for release in &releases[..releases.len() - 1] {
            all.extend(
                (0..release.replicas().min(200) as usize).map(|number| one(release, number, Health::Healthy, 0)),
            );
        }
    }
    for number in 0..usize::from(count) {
        let health = match choices.byte() % 6 {
            0 => Health::Starting { why: why() },
            1 => Health::Unhealthy { why: why() },
            2 => Health::Ended { why: why() },
            _ => Health::Healthy,
        };
        let restarts = if choices.seldom(4) { u32::try_from(choices.number() & 0xffff_ffff).unwrap_or(0) } else { 0 };
        all.push(one(choices.one(releases), number, health, restarts));
    }
    all
}

fn serving(choices: &mut Choices<'_>, state: &State, releases: &[Release], instances: &[Instance]) -> Serving {
    let rollout = state.rollout.as_ref();
    let odd = choices.byte();
    let generation = if odd & 1 > 0 { Generation(choices.number()) } else { state.routed };
    let cause = match choices.byte() % 8 {
        0 => Some(FallbackCause::Revert),
        1 => Some(FallbackCause::Lapse),
        2 => Some(FallbackCause::Restart),
        3 => Some(FallbackCause::Guard),
        _ => None,
    };
    let serve = releases.iter().take(usize::from(odd >> 6)).map(|release| Target {
        release: release.id.clone(),
        role: Role::Canary,
        weight: Weight::ALL,
        instances: instances
            .iter()
            .filter(|one| one.release == release.id)
            .map(|one| Backend { id: one.id.clone(), address: one.address })
            .collect(),
    });
    let snapshot = Snapshot {
        key: key(),
        generation,
        rollout: rollout.filter(|_| odd & 2 == 0).map(|rollout| rollout.request.rollout.clone()),
        route: Route { host: None, path: "/".to_owned() },
        serve: serve.collect(),
        fallback: None,
        lease: None,
        health: HealthCheck { path: None, grace: Millis(1), interval: Millis(1) },
        timeout: Millis(1),
        matches: Vec::new(),
        mirror: None,
        sticky: false,
        guard: None,
        slow_over: None,
    };
    let under = instances.iter().filter(|_| odd & 4 > 0).map(|one| InFlight {
        release: one.release.clone(),
        instance: one.id.clone(),
        requests: choices.number(),
    });
    let in_flight = under.collect();
    let cut = rollout.filter(|_| odd & 8 > 0).map(|rollout| Cut {
        rollout: rollout.request.rollout.clone(),
        release: rollout.request.release.id.clone(),
        at: Timestamp(0),
        finding: finding(choices, guard(&rollout.request)),
    });
    let mode = cause.map_or(Mode::Split, |cause| Mode::Fallback { cause, at: Timestamp(0) });
    Serving { snapshot, mode, boot: "b".to_owned(), counted: None, in_flight, cut }
}

fn finding(choices: &mut Choices<'_>, order: Option<Order>) -> Finding {
    let order = order.unwrap_or(Order {
        alpha: 0.003,
        odds: 1.0,
        relative: true,
        limits: Vec::new(),
        past: false,
        cluster: 1.0,
    });
    let mut side = || Side { routed: choices.number(), failed: choices.number() };
    let row = Row { epoch: 1, weight: 1_000, start: 0, canary: side(), stable: side(), waiting: 0 };
    Finding { order, run: 1, rows: vec![row], later: 0, past: None, ln_e: 6.0, ln_needed: 5.9 }
}

fn verdict(choices: &mut Choices<'_>, state: &State) -> Verdict {
    let mut judge = Judge::new(davy_judge::Policy::default()).expect("the default policy is valid");
    let failed = u64::from(choices.byte());
    judge.observe(&Window {
        epoch: state.routed.0,
        weight: 1_000,
        from_ms: 0,
        to_ms: 1_000,
        canary: Counts::answered(500, failed),
        stable: Counts::answered(4_500, 0),
    });
    let mut verdict = judge.verdict();
    let odd = choices.byte();
    let kinds = [Kind::Safe, Kind::Safe, Kind::Undecided, Kind::NoTraffic, Kind::Blind, Kind::Harmful];
    verdict.kind = *choices.one(&kinds);
    verdict.weight = u16::try_from(choices.number() & 0xffff).unwrap_or_default();
    verdict.epoch = if odd & 1 > 0 { choices.number() } else { state.routed.0 };
    verdict.evidence.amber = odd & 2 > 0;
    verdict.evidence.hanging = odd & 4 > 0;
    if odd & 8 > 0 {
        let risk = Risk { rate: 10.0, past: 0.001, worst: 0.001, left: 50.0, hold: 3.0, needed: 9.7, holdback: 1_000 };
        let mut ramp = risk.next(verdict.weight);
        ramp.next = u16::try_from(choices.number() & 0xffff).unwrap_or_default();
        verdict.evidence.ramp = Some(ramp);
    }
    verdict
}
