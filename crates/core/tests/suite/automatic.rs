//! Steps that the judge chooses among.

use crate::world::{World, release, strategy};
use davy_core::{
    Millis, Weight,
    rollout::{Command, Event, Input, Outcome, Phase, RequestKind},
};
use davy_judge::Kind;

/// A second release on its way.
fn asked() -> World {
    let mut world = World::new();
    world.kind = Kind::Safe;
    let first = world.request(1, RequestKind::Deploy);
    world.input(&Input::Command(first)).expect("taken");
    world.run(Millis::seconds(5));
    world.strategy = strategy(8);
    let second = world.request(2, RequestKind::Deploy);
    world.input(&Input::Command(second)).expect("taken");
    world
}

/// The shares that were served, in order.
fn shares(world: &World) -> Vec<u16> {
    let mut shares: Vec<u16> = Vec::new();
    for (_, event) in &world.events {
        if let Event::WeightRequested { split: davy_core::rollout::Split::Trial { canary, .. }, .. } = event
            && shares.last() != Some(&canary.basis_points())
        {
            shares.push(canary.basis_points());
        }
    }
    shares
}

#[test]
fn begins_where_the_traffic_says_and_leaps_where_little_can_be_lost() {
    let mut world = asked();
    world.run(Millis::seconds(40));
    assert_eq!(shares(&world), [200, 1_000, 5_000, 9_000, 10_000]);
    assert_eq!(world.state.stable, Some(release(2)));
    let chosen = world.events.iter().filter(|(_, event)| matches!(event, Event::StepChosen { .. })).count();
    assert_eq!(chosen, 5, "each choice is in the journal with its reason");
}

#[test]
fn waits_for_the_traffic_to_be_known_but_not_for_ever() {
    let mut world = asked();
    world.last_minute = None;
    world.run(Millis::seconds(2));
    assert!(matches!(world.state.rollout.as_ref().expect("it waits").phase, Phase::Starting { .. }));
    assert_eq!(shares(&world), [] as [u16; 0]);
    world.run(Millis::seconds(3));
    assert_eq!(shares(&world), [100]);
}

#[test]
fn heavy_traffic_begins_with_little_and_a_spent_budget_goes_no_further() {
    let mut world = asked();
    world.last_minute = Some(600_000);
    world.run(Millis::seconds(1));
    assert_eq!(shares(&world), [10]);
    world.risk.left = 0.0;
    world.run(Millis::seconds(10));
    let rollout = world.state.rollout.as_ref().expect("it waits");
    assert_eq!((rollout.weight(), rollout.pause.is_some()), (Weight::new(10).expect("a weight"), false));
    world.run(Millis::seconds(20));
    let rollout = world.state.rollout.as_ref().expect("it is paused");
    assert!(rollout.pause.is_some(), "at the step's deadline a person is asked");
    world.input(&Input::Command(Command::Promote { by: crate::world::by() })).expect("a person may");
    world.run(Millis::seconds(12));
    assert_eq!(shares(&world), [10, 10_000]);
}

#[test]
fn only_proof_moves_it_and_harm_ends_it() {
    let mut world = asked();
    world.kind = Kind::Undecided;
    world.run(Millis::seconds(10));
    assert_eq!(shares(&world), [200]);
    world.kind = Kind::Harmful;
    world.run(Millis::seconds(20));
    assert_eq!(world.state.last.as_ref().map(|last| last.outcome), Some(Outcome::RolledBack));
    assert_eq!(world.state.stable, Some(release(1)));
}
