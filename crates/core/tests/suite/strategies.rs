//! Strategies other than a plain canary, told from outside.

use crate::world::{World, release, strategy};
use davy_core::{
    Millis, Role, Strategy, Weight,
    rollout::{Effect, Event, Input, Outcome, Phase, RequestKind, Split},
};
use davy_judge::Kind;

/// Release 1 or 3 serves; release `to` is asked for with a strategy.
fn asked(from: u32, to: u32, strategy: Strategy) -> World {
    let mut world = World::new();
    for (number, after) in [(from, 3), (to, 0)] {
        world.strategy = strategy.clone();
        let request = world.request(number, RequestKind::Deploy);
        world.input(&Input::Command(request)).expect("a deployment");
        world.settle();
        world.run(Millis::seconds(after));
    }
    world
}

/// Runs until it holds, tells what every weight was served with.
fn served(world: &mut World, length: u64) -> Vec<(Weight, usize, usize)> {
    let mut told = Vec::new();
    for _ in 0..length {
        world.run(Millis(500));
        let serving = world.serving.as_ref().expect("served");
        let of = |role| serving.snapshot.serve.iter().find(|target| target.role == role);
        let count = |role| of(role).map_or(0, |target| target.instances.len());
        let weight = of(Role::Canary).map_or(Weight::NONE, |target| target.weight);
        let now = (weight, count(Role::Stable), count(Role::Canary));
        if told.last() != Some(&now) {
            told.push(now);
        }
    }
    told
}

fn weight(percent: u16) -> Weight {
    Weight::new(percent * 100).expect("a weight")
}

#[test]
fn blue_green_waits_at_nothing_switches_once_and_is_judged_after() {
    let mut world = asked(1, 4, strategy(1));
    world.kind = Kind::Undecided;
    let told = served(&mut world, 12);
    assert_eq!(told, [(weight(0), 2, 2), (weight(100), 2, 2)], "never anything between");
    assert!(matches!(
        world.state.rollout.as_ref().expect("it holds").phase,
        Phase::Holding { .. } | Phase::Baking { .. }
    ));
    world.kind = Kind::Harmful;
    if world.state.rollout.as_ref().is_some_and(|rollout| !rollout.promoted) {
        world.run(Millis::seconds(20));
        assert_eq!(world.state.last.as_ref().map(|last| last.outcome), Some(Outcome::RolledBack));
        assert_eq!(world.state.stable, Some(release(1)));
    }
}

#[test]
fn blue_green_does_not_switch_blind() {
    let mut world = asked(1, 4, strategy(1));
    world.kind = Kind::Blind;
    world.run(Millis::seconds(15));
    assert_eq!(world.state.rollout.as_ref().expect("it waits").step, 0);
    assert!(!world.events.iter().any(|(_, event)| matches!(event, Event::StepPassed { .. })));
}

#[test]
fn a_rolling_update_replaces_as_many_as_there_is_room_for() {
    let mut world = asked(2, 5, strategy(3));
    let told = served(&mut world, 40);
    // Three replicas, at most four at any time.
    let expected = [(weight(25), 3, 1), (weight(50), 2, 2), (weight(75), 1, 3), (weight(100), 1, 3)];
    assert!(expected.iter().all(|step| told.contains(step)), "{told:?}");
    world.run(Millis::seconds(30));
    assert_eq!(world.state.stable, Some(release(5)));
    assert_eq!(world.instances.len(), 3);
}

#[test]
fn harm_in_a_rolling_update_brings_every_old_instance_back() {
    let mut world = asked(2, 5, strategy(3));
    while world.instances.iter().filter(|instance| instance.release == release(2).id).count() == 3 {
        world.run(Millis(500));
    }
    world.kind = Kind::Harmful;
    world.run(Millis::seconds(20));
    assert_eq!(world.state.last.as_ref().map(|last| last.outcome), Some(Outcome::RolledBack));
    assert_eq!(world.instances.len(), 3);
    assert!(world.instances.iter().all(|instance| instance.release == release(2).id));
    let serving = world.serving.as_ref().expect("served");
    assert_eq!(serving.snapshot.serve[0].instances.len(), 3, "and all of them are served");
}

#[test]
fn recreate_ends_the_old_before_the_new_begins_and_says_so() {
    let mut world = asked(1, 4, strategy(5));
    assert!(world.state.rollout.as_ref().expect("under way").interrupts());
    world.run(Millis::seconds(30));
    assert_eq!(world.state.stable, Some(release(4)));
    let nothing = world
        .events
        .iter()
        .position(|(_, event)| matches!(event, Event::WeightRequested { split: Split::Nothing, .. }));
    let ended = world.events.iter().position(
        |(_, event)| matches!(event, Event::InstancesRequested { release: of, count: 0, .. } if *of == release(1).id),
    );
    let begun = world
        .events
        .iter()
        .position(|(_, event)| matches!(event, Event::InstancesRequested { release: of, .. } if *of == release(4).id));
    assert!(nothing < ended && ended < begun && nothing.is_some(), "{nothing:?} {ended:?} {begun:?}");
}

#[test]
fn a_recreate_that_fails_starts_the_old_release_again() {
    let mut world = asked(1, 4, strategy(5));
    while world.instances.iter().any(|instance| instance.release == release(1).id) {
        world.run(Millis(500));
    }
    world.healthy = false;
    world.run(Millis::seconds(15));
    assert!(world.instances.iter().all(|instance| instance.release == release(1).id), "the new ones are gone");
    world.healthy = true;
    world.run(Millis::seconds(20));
    assert_eq!(world.state.last.as_ref().map(|last| last.outcome), Some(Outcome::RolledBack));
    assert_eq!(world.state.stable, Some(release(1)));
    assert!(world.instances.iter().all(|instance| instance.release == release(1).id));
}

#[test]
fn a_rolling_update_that_replaces_in_place_serves_all_the_time() {
    // Half of two may be missing, none be too many.
    let mut world = asked(1, 4, strategy(4));
    for _ in 0..60 {
        world.run(Millis(500));
        let serving = world.serving.as_ref().expect("served");
        let weight =
            |target: &davy_core::Target| if target.instances.is_empty() { 0 } else { target.weight.basis_points() };
        assert_eq!(serving.snapshot.serve.iter().map(weight).sum::<u16>(), 10_000, "{serving:?}");
        assert!(world.instances.len() <= 2 || world.state.rollout.is_none(), "never more than two");
    }
    assert_eq!(world.state.stable, Some(release(4)));
}

#[test]
fn a_recreate_that_is_taken_back_in_its_bake_never_runs_both() {
    let mut world = asked(1, 4, strategy(5));
    while !world.state.rollout.as_ref().is_some_and(|rollout| rollout.promoted) {
        world.run(Millis(500));
    }
    let request = world.request(1, RequestKind::Rollback);
    world.input(&Input::Command(request)).expect("a way back");
    world.settle();
    for _ in 0..80 {
        world.run(Millis(500));
        let both = [1, 4].map(|number| world.instances.iter().any(|one| one.release == release(number).id));
        assert_ne!(both, [true, true], "not both at the same time");
    }
    assert_eq!(world.state.stable, Some(release(1)));
    assert_eq!(world.state.split, Some(Split::Only { release: release(1).id }));
    assert_eq!(world.instances.len(), 2);
}

#[test]
fn a_step_brings_its_instances_before_its_weight() {
    let mut world = asked(1, 5, strategy(6));
    world.kind = Kind::Safe;
    let told = served(&mut world, 40);
    let expected = [(weight(0), 2, 1), (weight(10), 2, 1), (weight(50), 2, 3), (weight(100), 2, 3)];
    assert_eq!(
        told[told.len().min(told.iter().position(|step| *step == expected[0]).expect("the first step"))..][..4],
        expected
    );
}

#[test]
fn orders_that_are_lost_again_and_again_are_not_waited_for() {
    for number in [0, 5] {
        let mut world = World::new();
        for number_of in [1, 4] {
            world.strategy = strategy(number);
            let request = world.request(number_of, RequestKind::Deploy);
            world.input(&Input::Command(request)).expect("a deployment");
            if number_of == 1 {
                world.settle();
                world.run(Millis::seconds(3));
            }
        }
        for _ in 0..120 {
            world.pass(Millis(500));
            let look = world.look();
            world.input(&look).expect("never refused");
            let new = release(4).id;
            world.settle_but(|effect| matches!(effect, Effect::Run { release, .. } if *release == new));
        }
        let last = world.state.last.as_ref().map(|last| last.outcome);
        assert_eq!(last, Some(Outcome::RolledBack), "{}", strategy(number).as_str());
        assert!(world.instances.iter().all(|instance| instance.release == release(1).id));
    }
}
