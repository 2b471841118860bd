//! Laws that hold in every random world. A failure prints the seed: `DAVY_SEED=n cargo nextest run -p davy-core laws`.

use crate::world::{World, by, strategy};
use davy_core::{
    FallbackCause, Generation, Health, InstanceId, Millis, ReleaseId,
    rollout::{Command, Effect, Event, Input, Passes, Phase, RequestKind, Split, State},
};
use davy_judge::Kind;
use fastrand::Rng;

const KINDS: [Kind; 5] = [Kind::Harmful, Kind::Safe, Kind::Undecided, Kind::NoTraffic, Kind::Blind];

fn command(world: &mut World, dice: &mut Rng) -> Command {
    match dice.u8(0..8) {
        0..=2 => {
            world.strategy = strategy(dice.usize(0..9));
            let kind = match dice.u8(0..8) {
                0 | 1 => RequestKind::Rollback,
                2 => RequestKind::Remove,
                _ => RequestKind::Deploy,
            };
            world.request(dice.u32(1..5), kind)
        }
        3 => Command::Pause { by: by() },
        4 => Command::Resume { by: by() },
        5 => Command::Promote { by: by() },
        _ => Command::Abort { by: by() },
    }
}

/// One thing that may happen in a world full of faults.
fn happen(world: &mut World, dice: &mut Rng) {
    match dice.u8(0..20) {
        0 | 1 => {
            let command = command(world, dice);
            let before = world.state.clone();
            if world.input(&Input::Command(command)).is_err() {
                assert_eq!(world.state, before, "a refusal changes nothing");
            }
        }
        2 => world.kind = KINDS[dice.usize(0..KINDS.len())],
        3 => {
            world.flowing = dice.u8(0..4) > 0;
            world.idle = Millis::seconds(if world.flowing { 0 } else { dice.u64(0..90) });
        }
        4 => world.healthy = dice.u8(0..4) > 0,
        5 => world.reachable = dice.u8(0..3) > 0,
        6 => {
            let causes = [FallbackCause::Lapse, FallbackCause::Restart, FallbackCause::Revert, FallbackCause::Guard];
            world.fall_back(causes[dice.usize(0..4)]);
        }
        7 => {
            world.asked.retain(|_| dice.bool());
            world.input(&Input::Restarted).expect("never refused");
        }
        8 => {
            let count = world.instances.len();
            if count > 0 {
                let instance = &mut world.instances[dice.usize(0..count)];
                instance.restarts += 1;
                instance.health = Health::Ended { why: "killed".to_owned() };
            }
        }
        9 => {
            let count = world.instances.len();
            if count > 0 {
                world.instances.remove(dice.usize(0..count));
            }
        }
        10 => {
            // An answer to something that nobody asked, or asked long ago.
            let generation = Generation(dice.u64(0..=world.state.generation.0 + 1));
            let why = || "a stray answer".to_owned();
            let stray = [
                Input::Done { generation: Generation(0) },
                Input::Refused { generation, why: why() },
                Input::Lost { generation, why: why() },
            ];
            world.input(&stray[dice.usize(0..3)]).expect("never refused");
        }
        _ => {
            while !world.asked.is_empty() {
                let effect = world.asked.remove(0);
                let generation = effect.generation();
                let answer = match dice.u8(0..10) {
                    0 => Input::Lost { generation, why: "no answer".to_owned() },
                    1 => {
                        world.carry_out(&effect);
                        Input::Lost { generation, why: "it was done, but nobody heard".to_owned() }
                    }
                    2 => Input::Refused { generation, why: "no".to_owned() },
                    _ => world.carry_out(&effect),
                };
                world.input(&answer).expect("never refused");
            }
        }
    }
    world.pass(Millis(dice.u64(100..3_000)));
    let look = world.look();
    world.input(&look).expect("never refused");
}

/// What must be so after each step, of the events since `from`.
fn laws(world: &World, from: usize, before: &State) {
    let mut state = before.clone();
    for (at, event) in &world.events[from..] {
        let rollout = state.rollout.as_ref();
        if let Some(effect) = Effect::of(event) {
            assert!(effect.generation() > state.generation, "generations rise: {event:?}");
        }
        match event {
            Event::StepPassed { .. } => {
                let rollout = rollout.expect("a step of a rollout");
                assert!(rollout.pause.is_none(), "a paused rollout does not advance");
                let kind = rollout.verdict.map(|(kind, _)| kind);
                match rollout.current().passes {
                    Passes::Proven => assert_eq!(kind, Some(Kind::Safe), "only Safe moves a canary forward"),
                    Passes::Observed | Passes::Measured => {
                        assert!(
                            matches!(kind, Some(Kind::Safe | Kind::Undecided)),
                            "missing data moves nothing forward"
                        );
                    }
                    Passes::Tried => {}
                }
                if rollout.current().passes == Passes::Observed {
                    assert!(rollout.observed.is_some(), "a wave passes only once observed");
                }
            }
            Event::InstancesRequested { release, count, spare, .. } => {
                let (new, old) =
                    rollout.map_or((None, None), |rollout| (Some(&rollout.request.release), rollout.from.as_ref()));
                for instance in spare {
                    let served = world.serving.as_ref().filter(|_| serves_instance(world, instance));
                    assert!(served.is_none(), "an instance that is served does not end");
                }
                let running = |release: &ReleaseId| {
                    let ours = world.instances.iter().filter(|instance| instance.release == *release);
                    ours.filter(|instance| !matches!(instance.health, Health::Ended { .. })).count()
                };
                if let (Some(new), Some(old), Some(rollout)) = (new, old, rollout) {
                    let starting = matches!(rollout.phase, Phase::Starting { .. });
                    // Those of the waves before may come again beside what is left of the old ones.
                    let waves = rollout.plan[..rollout.step].iter().map(|step| step.canary).max().unwrap_or_default();
                    if *release == new.id && starting && rollout.current().stable == 0 && *count > waves {
                        assert_eq!(running(&old.id), 0, "the old instances end before the new ones begin");
                    }
                    let more = *count as usize > running(&old.id);
                    if *release == old.id && more && rollout.interrupts() && rollout.ending.is_some() {
                        assert_eq!(running(&new.id), 0, "the new instances end before the old ones begin again");
                    }
                    if *release == old.id && rollout.is_forward() {
                        assert_eq!(*count, rollout.current().stable, "no more of the old end than the step says");
                    }
                }
            }
            Event::Promoted => {
                let rollout = rollout.expect("a rollout");
                if !rollout.is_first() && rollout.request.kind == RequestKind::Deploy {
                    assert!(matches!(world.kind, Kind::Safe | Kind::Undecided), "missing data promotes nothing");
                    assert!(rollout.observed.is_some(), "promoted only once observed");
                    assert!(rollout.pause.is_none() && rollout.is_last_step());
                }
            }
            Event::RemovalRequested { release, .. } => {
                let keeps = state.stable.as_ref().is_some_and(|stable| stable.id == *release);
                assert!(!keeps, "the release that serves is never removed");
                assert!(!serves(world, release), "nothing that is served is removed");
                let rollout = rollout.expect("removals belong to a rollout");
                if rollout.from.as_ref().is_some_and(|from| from.id == *release) {
                    let baked = world.events.iter().any(|(_, event)| matches!(event, Event::BakeEnded));
                    let asked = rollout.request.kind == RequestKind::Remove;
                    assert!(asked || rollout.promoted && baked, "stable stays until the bake has ended");
                }
            }
            Event::BakeEnded => {
                let asked = world.events[from..].iter().any(|(_, event)| matches!(event, Event::RolloutQueued { .. }));
                let observed = rollout.is_some_and(|rollout| rollout.observed.is_some()) || world.flowing;
                let unused = world.idle >= Millis::seconds(60) && world.reachable;
                assert!(
                    observed || asked || unused,
                    "a bake ends once traffic was seen, or none for long, or when a person asks for the next one"
                );
            }
            Event::RolloutRequested { .. } => assert!(rollout.is_none(), "one rollout at a time"),
            _ => {}
        }
        state.apply(*at, event);
    }
    assert_eq!(state, world.state, "the state is the fold of its events");
}

/// Whether the router would send a new request to a release.
fn serves(world: &World, release: &ReleaseId) -> bool {
    let held = world.serving.as_ref().filter(|serving| serving.snapshot.generation == world.state.routed);
    held.is_some_and(|serving| serving.snapshot.serve.iter().any(|target| target.release == *release))
}

/// Whether the router would send a new request to an instance.
fn serves_instance(world: &World, instance: &InstanceId) -> bool {
    let held = world.serving.as_ref().filter(|serving| serving.snapshot.generation >= world.state.routed);
    held.is_some_and(|serving| serving.uses(instance))
}

fn one(seed: u64) {
    let mut dice = Rng::with_seed(seed);
    let mut world = World::new();
    for _ in 0..dice.usize(5..150) {
        let (from, before) = (world.events.len(), world.state.clone());
        happen(&mut world, &mut dice);
        laws(&world, from, &before);
    }
    // Once faults stop, everything comes to its end.
    (world.healthy, world.reachable, world.flowing, world.kind) = (true, true, true, Kind::Safe);
    for instance in &mut world.instances {
        instance.restarts = 0;
        instance.health = Health::Healthy;
    }
    world.asked.clear();
    world.input(&Input::Restarted).expect("never refused");
    let from = world.events.len();
    world.run(Millis::seconds(240));
    let tail: Vec<_> = world.events[from..].iter().rev().take(12).collect();
    assert!(
        world.state.rollout.is_none(),
        "it never ends: {:?}\n{tail:#?}",
        world.state.rollout.as_ref().map(|r| &r.phase)
    );
    assert!(world.state.pending.is_empty());
    if let Some(stable) = &world.state.stable {
        assert_eq!(
            world.state.split,
            Some(Split::Only { release: stable.id.clone() }),
            "what serves is what is stable"
        );
        assert!(world.instances.iter().all(|instance| instance.release == stable.id), "nothing else is left");
        assert_eq!(world.instances.len(), stable.workload.replicas as usize);
    } else {
        assert!(world.instances.is_empty(), "nothing is left of what does not serve");
    }
}

#[test]
fn the_laws_hold_in_every_world() {
    if let Some(seed) = std::env::var("DAVY_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return one(seed);
    }
    let worlds: u64 = std::env::var("DAVY_WORLDS").ok().and_then(|worlds| worlds.parse().ok()).unwrap_or(1_500);
    let base = fastrand::u64(0..1 << 40);
    for seed in base..base + worlds {
        let result = std::panic::catch_unwind(|| one(seed));
        if let Err(panic) = result {
            let why = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            panic!("DAVY_SEED={seed} repeats this: {why}");
        }
    }
}
