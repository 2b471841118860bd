//! Waits that would last for ever: each has an end.

use crate::{
    stories::{command, on_trial, only_release, outcome, served},
    world::{World, release, strategy, verdict},
};
use davy_core::{
    FallbackCause, Health, Millis, Weight,
    rollout::{Effect, Event, Input, Outcome, PauseReason, Phase, RequestKind},
};
use davy_judge::Kind;

/// An earlier release that serves again, while nobody asks for anything.
fn back_without_traffic() -> World {
    let mut world = on_trial();
    world.kind = Kind::Safe;
    world.run(Millis::seconds(60));
    only_release(&world, 2);
    (world.flowing, world.kind) = (false, Kind::NoTraffic);
    let back = world.request(1, RequestKind::Rollback);
    command(&mut world, back).expect("it may go back");
    world.run(Millis::seconds(20));
    assert!(matches!(world.state.rollout.as_ref().expect("it bakes").phase, Phase::Baking { .. }));
    world
}

/// A time that passes is not told where nothing comes of it; blindness is about every weight, and no traffic about its own.
#[test]
fn a_step_that_lacks_what_it_needs_names_no_time() {
    let mut world = on_trial();
    world.kind = Kind::Safe;
    let mut steps = 0;
    while steps < 20 && outcome(&world).is_none() {
        let rollout = world.state.rollout.as_ref().expect("on trial");
        if matches!(rollout.phase, Phase::Baking { .. }) {
            break;
        }
        if let Phase::Holding { generation, .. } = rollout.phase {
            steps += 1;
            let next = |kind, weight| rollout.next(Some((world.now, &verdict(kind, generation, weight)))).at;
            let here = rollout.weight();
            assert!(next(Kind::Safe, here).is_some(), "at {here}");
            for (kind, weight) in [(Kind::NoTraffic, here), (Kind::Blind, here), (Kind::Blind, Weight::NONE)] {
                assert_eq!(next(kind, weight), None, "{kind:?} of {weight}, at {here}");
            }
            assert!(next(Kind::NoTraffic, Weight::NONE).is_some(), "that was before, at {here}");
        }
        world.run(Millis::seconds(1));
    }
    assert!(steps > 1, "the last one is among them");
}

#[test]
fn a_bake_that_nobody_asks_anything_in_ends_once_that_is_known() {
    for (idle, ends) in [(60, true), (59, false)] {
        let mut world = back_without_traffic();
        let next = world.state.rollout.as_ref().expect("it bakes").next(None);
        assert!(next.what.ends_with("or if nobody uses the service then"), "{}", next.what);
        world.idle = Millis::seconds(idle);
        world.run(next.at.expect("a time").since(world.now));
        assert!(world.instances.iter().any(|instance| instance.release == release(2).id), "until then it is kept");
        world.run(Millis::seconds(30));
        match ends {
            true => only_release(&world, 1),
            false => assert!(matches!(world.state.rollout.as_ref().expect("it bakes").phase, Phase::Baking { .. })),
        }
        // Whoever deploys something does not wait for it.
        if !ends {
            let request = world.request(3, RequestKind::Deploy);
            command(&mut world, request).expect("a person may");
            world.run(Millis::seconds(10));
            assert_eq!(world.state.rollout.as_ref().expect("the newer one").request.release, release(3));
        }
    }
}

#[test]
fn an_unused_release_is_kept_as_long_as_the_router_does_not_show_that_it_serves_the_new_one() {
    let mut world = back_without_traffic();
    world.idle = Millis::seconds(600);
    world.reachable = false;
    world.run(Millis::seconds(200));
    assert!(matches!(world.state.rollout.as_ref().expect("it bakes").phase, Phase::Baking { .. }));
    world.reachable = true;
    world.run(Millis::seconds(20));
    only_release(&world, 1);
}

#[test]
fn the_first_requests_in_a_bake_are_enough_and_are_written_down() {
    let mut world = back_without_traffic();
    world.flowing = true;
    world.run(Millis::seconds(1));
    let last = world.events.iter().rev().find(|(_, event)| matches!(event, Event::WeightObserved { .. }));
    let (_, Event::WeightObserved { observed, .. }) = last.expect("observed") else { unreachable!() };
    assert_eq!(*observed, Weight::ALL);
    // None comes any more, and another controller goes on with it.
    world.flowing = false;
    world.input(&Input::Restarted).expect("never refused");
    world.run(Millis::seconds(20));
    only_release(&world, 1);
}

#[test]
fn a_canary_that_does_not_come_back_after_an_interruption_is_shown_to_a_person_at_the_deadline() {
    let mut world = on_trial();
    world.fall_back(FallbackCause::Restart);
    world.healthy = false;
    for instance in world.instances.iter_mut().filter(|instance| instance.release == release(2).id) {
        instance.health = Health::Unhealthy { why: "503".to_owned() };
    }
    world.run(Millis::seconds(25));
    let rollout = world.state.rollout.as_ref().expect("it waits");
    assert!(matches!(rollout.phase, Phase::Recovering { .. }), "{:?}", rollout.phase);
    let why = &rollout.pause.as_ref().expect("a person is asked").why;
    assert!(
        matches!(why, PauseReason::Deadline { why } if why.contains("could not be served again: no instance")),
        "{why:?}"
    );
    world.run(Millis::seconds(80));
    assert_eq!(outcome(&world), Some(Outcome::RolledBack));
    only_release(&world, 1);
}

#[test]
fn a_canary_that_crashes_while_it_is_to_come_back_is_taken_back_at_once() {
    let mut world = on_trial();
    world.fall_back(FallbackCause::Restart);
    for instance in world.instances.iter_mut().filter(|instance| instance.release == release(2).id) {
        instance.restarts = 3;
        instance.health = Health::Ended { why: "exit status 1".to_owned() };
    }
    world.run(Millis::seconds(10));
    assert_eq!(outcome(&world), Some(Outcome::RolledBack));
    only_release(&world, 1);
}

#[test]
fn old_instances_that_do_not_end_are_shown_to_a_person() {
    let mut world = served();
    world.strategy = strategy(4);
    let request = world.request(2, RequestKind::Deploy);
    command(&mut world, request).expect("a second deployment");
    for _ in 0..400 {
        world.pass(Millis(500));
        let look = world.look();
        world.input(&look).expect("never refused");
        // The place says yes to every order and ends nothing.
        let old = release(1).id;
        world.settle_but(
            |effect| matches!(effect, Effect::Run { release, spare, .. } if *release == old && !spare.is_empty()),
        );
    }
    let asked =
        world.events.iter().any(|(_, event)| matches!(event, Event::Paused { why: PauseReason::Deadline { .. } }));
    assert!(asked, "a person is asked");
    assert!(world.state.rollout.as_ref().is_none_or(|rollout| rollout.ending.is_some()), "and it ends without one");
}
