//! Rollouts as they go, told from outside.

use crate::world::{World, by, release};
use davy_core::{
    FallbackCause, Health, Millis, Mode, Weight,
    rollout::{Cause, CauseKind, Command, Effect, Event, Input, Outcome, Phase, Refusal, RequestKind, Split},
};
use davy_judge::Kind;

pub(crate) fn served() -> World {
    let mut world = World::new();
    let request = world.request(1, RequestKind::Deploy);
    world.input(&Input::Command(request)).expect("a first deployment");
    world.settle();
    world.run(Millis::seconds(3));
    assert_eq!(world.state.stable, Some(release(1)), "the first deployment serves");
    assert!(world.state.rollout.is_none());
    world
}

/// A canary of release 2 that holds its first step.
pub(crate) fn on_trial() -> World {
    let mut world = served();
    let request = world.request(2, RequestKind::Deploy);
    world.input(&Input::Command(request)).expect("a second deployment");
    world.settle();
    world.run(Millis::seconds(2));
    assert!(matches!(world.state.rollout.as_ref().expect("on trial").phase, Phase::Holding { .. }));
    world
}

pub(crate) fn command(world: &mut World, command: Command) -> Result<Vec<Event>, Refusal> {
    let events = world.input(&Input::Command(command));
    world.settle();
    events
}

pub(crate) fn outcome(world: &World) -> Option<Outcome> {
    world.state.rollout.is_none().then(|| world.state.last.as_ref().map(|last| last.outcome)).flatten()
}

pub(crate) fn only_release(world: &World, number: u32) {
    let id = release(number).id;
    assert_eq!(world.state.stable.as_ref().map(|release| release.id.clone()), Some(id.clone()));
    assert!(world.instances.iter().all(|instance| instance.release == id), "nothing else is left running");
    let serving = world.serving.as_ref().expect("it is served");
    assert_eq!(serving.mode, Mode::Split);
    assert!(serving.snapshot.serve.iter().all(|target| target.release == id && target.weight == Weight::ALL));
}

#[test]
fn the_first_deployment_serves_without_a_trial_and_says_so() {
    let world = served();
    only_release(&world, 1);
    assert!(!world.events.iter().any(|(_, event)| matches!(event, Event::VerdictReached { .. })));
    assert!(world.state.last.as_ref().expect("it ended").why.contains("nothing to compare"));
}

#[test]
fn a_first_deployment_that_never_becomes_healthy_leaves_nothing() {
    let mut world = World::new();
    world.healthy = false;
    let request = world.request(1, RequestKind::Deploy);
    command(&mut world, request).expect("a first deployment");
    world.run(Millis::seconds(20));
    assert_eq!(outcome(&world), Some(Outcome::RolledBack));
    assert!(world.instances.is_empty());
    assert!(world.state.stable.is_none());
}

#[test]
fn the_time_that_an_order_takes_is_not_the_instances_own() {
    for healthy in [true, false] {
        let mut world = served();
        world.healthy = healthy;
        let request = world.request(2, RequestKind::Deploy);
        world.input(&Input::Command(request)).expect("a second deployment");
        let look = world.look();
        world.input(&look).expect("never refused");
        // Its image comes for ten times the grace.
        let asked = std::mem::take(&mut world.asked);
        let (order, others): (Vec<_>, Vec<_>) = asked
            .into_iter()
            .partition(|effect| matches!(effect, Effect::Run { release: of, .. } if *of == release(2).id));
        assert!(order.len() == 1 && others.is_empty(), "{others:?}");
        for _ in 0..100 {
            world.pass(Millis::seconds(1));
            let look = world.look();
            world.input(&look).expect("never refused");
        }
        let rollout = world.state.rollout.as_ref().expect("it waits");
        assert!(rollout.is_forward() && matches!(rollout.phase, Phase::Starting { .. }), "{:?}", rollout.phase);
        let done = world.carry_out(&order[0]);
        world.input(&done).expect("never refused");
        // From now on the grace is theirs, the whole of it and no more.
        world.run(Millis::seconds(8));
        match healthy {
            true => assert!(matches!(world.state.rollout.expect("on trial").phase, Phase::Holding { .. })),
            false => {
                assert!(world.state.rollout.as_ref().expect("it starts").is_forward());
                world.run(Millis::seconds(20));
                assert_eq!(outcome(&world), Some(Outcome::RolledBack));
            }
        }
    }
}

#[test]
fn a_good_canary_passes_every_step_and_bakes() {
    let mut world = on_trial();
    world.run(Millis::seconds(10));
    assert_eq!(world.state.rollout.as_ref().expect("still there").step, 0, "time alone promotes nothing");
    world.kind = Kind::Safe;
    world.run(Millis::seconds(14));
    let rollout = world.state.rollout.as_ref().expect("it bakes");
    assert!(rollout.promoted && matches!(rollout.phase, Phase::Baking { .. }));
    assert!(world.instances.iter().any(|instance| instance.release == release(1).id), "the old one is kept");
    world.run(Millis::seconds(14));
    assert_eq!(outcome(&world), Some(Outcome::Promoted));
    only_release(&world, 2);
}

#[test]
fn harm_ends_it_at_once() {
    let mut world = on_trial();
    world.kind = Kind::Harmful;
    world.run(Millis(500));
    assert!(matches!(world.serving.as_ref().expect("served").mode, Mode::Fallback { .. }));
    world.kind = Kind::Undecided;
    world.run(Millis::seconds(10));
    assert_eq!(outcome(&world), Some(Outcome::RolledBack));
    only_release(&world, 1);
}

#[test]
fn a_deadline_asks_a_person_and_a_person_decides() {
    for promotes in [true, false] {
        let mut world = on_trial();
        world.run(Millis::seconds(25));
        assert!(world.state.rollout.as_ref().expect("it waits").pause.is_some());
        world.kind = Kind::Safe;
        world.run(Millis::seconds(10));
        assert_eq!(world.state.rollout.as_ref().expect("it waits").step, 0, "a paused rollout does not advance");
        let act = if promotes { Command::Promote { by: by() } } else { Command::Abort { by: by() } };
        command(&mut world, act).expect("a person may");
        world.run(Millis::seconds(30));
        assert_eq!(outcome(&world), Some(if promotes { Outcome::Promoted } else { Outcome::Aborted }));
        only_release(&world, if promotes { 2 } else { 1 });
    }
}

#[test]
fn a_pause_that_nobody_answers_is_rolled_back() {
    let mut world = on_trial();
    command(&mut world, Command::Pause { by: by() }).expect("a person may");
    world.run(Millis::seconds(80));
    assert_eq!(outcome(&world), Some(Outcome::RolledBack));
    only_release(&world, 1);
}

#[test]
fn a_canary_that_the_guard_cut_off_is_over_and_its_numbers_are_computed_again() {
    for changed in [false, true] {
        let mut world = on_trial();
        world.fall_back(FallbackCause::Guard);
        if changed {
            world.serving.as_mut().and_then(|serving| serving.cut.as_mut()).expect("cut").finding.ln_e += 1.0;
        }
        // Whatever the judge says by now, the story has one cause.
        world.kind = Kind::Harmful;
        world.run(Millis::seconds(30));
        assert_eq!(outcome(&world), Some(Outcome::RolledBack));
        only_release(&world, 1);
        let causes: Vec<_> = world
            .events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::Reverted { cause: Some(cause), .. } | Event::RevertRequested { cause, .. } => Some(cause),
                _ => None,
            })
            .collect();
        let [Cause::Guard { why, recomputed, .. }] = causes[..] else { panic!("one cause: {causes:?}") };
        assert_eq!(*recomputed, !changed);
        assert!(why.contains("cut the canary off after 9 failed requests"), "{why}");
        assert_eq!(why.contains("traffic is back to be safe"), changed, "{why}");
        let last = world.state.last.as_ref().expect("it is over");
        assert_eq!((&last.why, last.cause), (why, Some(CauseKind::Guard)));
    }
}

#[test]
fn a_guard_that_is_heard_of_only_in_the_bake_takes_it_back() {
    let mut world = on_trial();
    world.kind = Kind::Safe;
    while !world.state.rollout.as_ref().is_some_and(|rollout| rollout.promoted) {
        world.pass(Millis(500));
        let look = world.look();
        world.input(&look).expect("looks are never refused");
        if world.asked.iter().any(|effect| matches!(effect, Effect::Route { split: Split::Bake, .. })) {
            world.fall_back(FallbackCause::Guard);
        }
        world.settle();
    }
    world.run(Millis::seconds(30));
    assert_eq!(outcome(&world), Some(Outcome::RolledBack));
    only_release(&world, 1);
}

#[test]
fn a_lapse_begins_the_step_anew() {
    for cause in [FallbackCause::Lapse, FallbackCause::Restart] {
        let mut world = on_trial();
        let before = world.state.routed;
        world.fall_back(cause);
        world.run(Millis::seconds(2));
        let rollout = world.state.rollout.as_ref().expect("it goes on");
        assert_eq!(rollout.step, 0);
        assert!(world.state.routed > before, "the weight was asked for again");
        assert!(matches!(rollout.phase, Phase::Holding { since, .. } if world.now.since(since) < Millis::seconds(3)));
        assert_eq!(world.serving.as_ref().expect("served").mode, Mode::Split);
    }
}

#[test]
fn after_a_restart_of_everything_the_weight_waits_for_stable_too() {
    let mut world = on_trial();
    world.fall_back(FallbackCause::Restart);
    let stable = release(1).id;
    for instance in world.instances.iter_mut().filter(|instance| instance.release == stable) {
        instance.health = Health::Starting { why: "just begun".to_owned() };
    }
    world.healthy = false;
    let before = world.state.routed;
    world.run(Millis::seconds(4));
    assert_eq!(world.state.routed, before, "stable cannot serve its share yet");
    world.healthy = true;
    world.run(Millis::seconds(2));
    assert!(world.state.routed > before);
    assert!(world.state.rollout.is_some(), "the rollout goes on");
}

#[test]
fn a_restart_in_the_middle_of_an_effect_decides_on_what_is_seen() {
    let mut world = served();
    let request = world.request(2, RequestKind::Deploy);
    world.input(&Input::Command(request)).expect("a second deployment");
    // The order was given and nobody knows whether it arrived.
    world.asked.clear();
    world.input(&Input::Restarted).expect("never refused");
    assert!(world.events.iter().any(|(_, event)| matches!(event, Event::EffectLost { .. })));
    assert!(world.state.pending.is_empty());
    world.kind = Kind::Safe;
    world.run(Millis::seconds(60));
    assert_eq!(outcome(&world), Some(Outcome::Promoted));
    only_release(&world, 2);
}

#[test]
fn a_newer_rollout_takes_the_place_of_the_one_under_way() {
    let mut world = on_trial();
    let request = world.request(3, RequestKind::Deploy);
    command(&mut world, request).expect("a third deployment");
    world.run(Millis::seconds(10));
    assert_eq!(world.state.rollout.as_ref().expect("the newer one").request.release, release(3));
    world.kind = Kind::Safe;
    world.run(Millis::seconds(60));
    only_release(&world, 3);
}

#[test]
fn a_newer_rollout_ends_a_bake() {
    let mut world = on_trial();
    world.kind = Kind::Safe;
    world.run(Millis::seconds(14));
    assert!(matches!(world.state.rollout.as_ref().expect("it bakes").phase, Phase::Baking { .. }));
    let request = world.request(3, RequestKind::Deploy);
    command(&mut world, request).expect("a third deployment");
    world.run(Millis::seconds(60));
    only_release(&world, 3);
}

#[test]
fn a_rollback_during_the_bake_is_at_once() {
    let mut world = on_trial();
    world.kind = Kind::Safe;
    world.run(Millis::seconds(14));
    let back = world.request(1, RequestKind::Rollback);
    command(&mut world, back).expect("it may go back");
    assert!(matches!(world.serving.as_ref().expect("served").mode, Mode::Fallback { .. }));
    world.run(Millis::seconds(10));
    assert_eq!(outcome(&world), Some(Outcome::RolledBack));
    only_release(&world, 1);
}

#[test]
fn a_rollback_after_the_bake_needs_no_proof() {
    let mut world = on_trial();
    world.kind = Kind::Safe;
    world.run(Millis::seconds(60));
    only_release(&world, 2);
    world.kind = Kind::Undecided;
    let back = world.request(1, RequestKind::Rollback);
    command(&mut world, back).expect("it may go back");
    world.run(Millis::seconds(40));
    assert_eq!(outcome(&world), Some(Outcome::Promoted));
    only_release(&world, 1);
}

#[test]
fn a_canary_that_keeps_dying_is_rolled_back() {
    let mut world = on_trial();
    for instance in world.instances.iter_mut().filter(|instance| instance.release == release(2).id) {
        instance.restarts = 3;
        instance.health = Health::Ended { why: "exit status 1".to_owned() };
    }
    world.run(Millis::seconds(10));
    assert_eq!(outcome(&world), Some(Outcome::RolledBack));
    only_release(&world, 1);
}

#[test]
fn a_router_that_refuses_thrice_is_shown_to_a_person() {
    let mut world = served();
    let request = world.request(2, RequestKind::Deploy);
    command(&mut world, request).expect("a second deployment");
    for _ in 0..40 {
        world.pass(Millis(500));
        let look = world.look();
        world.input(&look).expect("never refused");
        while !world.asked.is_empty() {
            let effect = world.asked.remove(0);
            let trial = matches!(&effect, Effect::Route { split: Split::Trial { .. }, .. });
            let answer = match trial {
                true => Input::Refused { generation: effect.generation(), why: "no".to_owned() },
                false => world.carry_out(&effect),
            };
            world.input(&answer).expect("never refused");
        }
    }
    assert!(world.state.rollout.as_ref().expect("it waits").pause.is_some());
    command(&mut world, Command::Abort { by: by() }).expect("a person may");
    world.run(Millis::seconds(10));
    only_release(&world, 1);
}

#[test]
fn an_abort_ends_also_where_the_router_never_got_the_weight() {
    let mut world = served();
    let request = world.request(2, RequestKind::Deploy);
    command(&mut world, request).expect("a second deployment");
    world.pass(Millis(500));
    let look = world.look();
    world.input(&look).expect("never refused");
    // The first weight was asked for, and the router has heard of none: it has no fallback to go back to.
    world.settle_but(|effect| matches!(effect, Effect::Route { .. }));
    command(&mut world, Command::Abort { by: by() }).expect("a person may");
    world.run(Millis::seconds(30));
    assert_eq!(outcome(&world), Some(Outcome::Aborted));
    only_release(&world, 1);
}

#[test]
fn a_promotion_by_a_person_waits_for_the_canary_to_be_healthy() {
    let mut world = on_trial();
    let new = release(2).id;
    for instance in world.instances.iter_mut().filter(|instance| instance.release == new) {
        instance.health = Health::Unhealthy { why: "503".to_owned() };
    }
    let before = world.state.routed;
    command(&mut world, Command::Promote { by: by() }).expect("a person may");
    let look = world.look();
    world.input(&look).expect("never refused");
    assert_eq!(world.state.routed, before, "all traffic is not asked for with nobody to take it");
    for instance in &mut world.instances {
        instance.health = Health::Healthy;
    }
    world.kind = Kind::Safe;
    world.run(Millis::seconds(40));
    assert_eq!(outcome(&world), Some(Outcome::Promoted));
    only_release(&world, 2);
}

#[test]
fn traffic_put_back_unasked_ends_it() {
    let mut world = on_trial();
    world.fall_back(FallbackCause::Revert);
    world.input(&Input::RevertedUnasked { cause: Cause::Person { by: by() } }).expect("never refused");
    world.run(Millis::seconds(10));
    assert_eq!(outcome(&world), Some(Outcome::Aborted));
    only_release(&world, 1);
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut world = served();
    let before = world.state.clone();
    for refused in [
        Command::Pause { by: by() },
        Command::Resume { by: by() },
        Command::Promote { by: by() },
        Command::Abort { by: by() },
    ] {
        assert_eq!(command(&mut world, refused), Err(Refusal::NoRollout));
    }
    let same = world.request(1, RequestKind::Deploy);
    assert!(matches!(command(&mut world, same), Err(Refusal::AlreadyServing { .. })));
    assert_eq!(world.state, before);
}

#[test]
fn a_service_is_removed_once_its_requests_have_ended_and_can_come_back() {
    let mut world = served();
    let remove = world.request(9, RequestKind::Remove);
    command(&mut world, remove).expect("it may go");
    let again = world.request(9, RequestKind::Remove);
    assert!(matches!(command(&mut world, again), Err(Refusal::AlreadyUnderWay { .. })));
    let abort = command(&mut world, Command::Abort { by: by() });
    assert!(matches!(abort, Err(Refusal::Ending { .. })), "{abort:?}");
    world.run(Millis::seconds(60));
    assert_eq!((outcome(&world), &world.state.stable), (Some(Outcome::Removed), &None));
    assert!(world.instances.is_empty() && world.state.split == Some(Split::Nothing));
    let gone = world.request(9, RequestKind::Remove);
    assert_eq!(command(&mut world, gone), Err(Refusal::NothingServes));
    let back = world.request(1, RequestKind::Rollback);
    command(&mut world, back).expect("it may come back");
    world.run(Millis::seconds(10));
    only_release(&world, 1);
}

#[test]
fn a_trial_keeps_its_service_from_being_removed_and_a_bake_does_not() {
    let mut world = on_trial();
    let remove = world.request(9, RequestKind::Remove);
    assert!(matches!(command(&mut world, remove), Err(Refusal::UnderWay { .. })));
    world.kind = Kind::Safe;
    world.run(Millis::seconds(14));
    assert!(matches!(world.state.rollout.as_ref().expect("it bakes").phase, Phase::Baking { .. }));
    let remove = world.request(9, RequestKind::Remove);
    command(&mut world, remove).expect("it may go");
    // A controller that is another one than before goes on with it.
    world.asked.clear();
    world.input(&Input::Restarted).expect("never refused");
    world.run(Millis::seconds(60));
    assert_eq!(outcome(&world), Some(Outcome::Removed));
    assert!(world.instances.is_empty() && world.state.stable.is_none());
}
