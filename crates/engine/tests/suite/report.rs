//! Reports of rollouts decided by the real state machine and judge, as they are written.

use crate::world::World;
use davy_core::{Actor, rollout::Command};

#[tokio::test]
async fn a_good_release() {
    let mut world = World::serving().await;
    world.deploy("r-good", "2.0", "mira").await;
    world.pass(60).await;
    insta::assert_snapshot!(world.report("r-good").await.unwrap());
}

#[tokio::test]
async fn a_bad_release() {
    let mut world = World::serving().await;
    world.fails = (1000, 20);
    world.deploy("r-bad", "2.1", "mira").await;
    world.pass(60).await;
    insta::assert_snapshot!(world.report("r-bad").await.unwrap());
}

#[tokio::test]
async fn one_that_the_guard_cut_off_is_one_story() {
    let mut world = World::serving().await;
    world.guarded = true;
    world.fails = (1000, 2);
    world.deploy("r-cut", "2.7", "mira").await;
    world.pass(60).await;
    let report = world.report("r-cut").await.unwrap();
    assert_eq!(report.matches("All traffic is back on stable").count(), 1, "{report}");
    assert!(!report.contains("is asked for: Harmful"), "{report}");
    insta::assert_snapshot!(report);
}

#[tokio::test]
async fn a_guard_whose_numbers_do_not_come_out_again_is_believed_and_told() {
    let mut world = World::serving().await;
    (world.guarded, world.doctored) = (true, true);
    world.fails = (1000, 2);
    world.deploy("r-cut", "2.8", "mira").await;
    world.pass(60).await;
    let report = world.report("r-cut").await.unwrap();
    assert!(report.starts_with("# Rolled back: "), "{report}");
    assert!(report.contains("computed again, these counts do not give this"), "{report}");
    assert!(report.contains("**Computed again from these counts, the evidence is another.**"), "{report}");
}

#[tokio::test]
async fn the_first_deployment() {
    let world = World::serving().await;
    insta::assert_snapshot!(world.report("r-first").await.unwrap());
}

#[tokio::test]
async fn a_quiet_service_is_held_and_then_a_person_ends_it() {
    let mut world = World::serving().await;
    world.rate = 20;
    world.deploy("r-quiet", "2.2", "mira").await;
    world.pass(5).await;
    world.lapse();
    world.pass(25).await;
    let held = world.report("r-quiet").await.unwrap();
    assert!(held.starts_with("# Held: logo in production\n\n**Held at 5 %.** The step's deadline passed"), "{held}");
    world.command(Command::Abort { by: Actor::new("jo|an") }, "jo|an").await.unwrap();
    world.pass(10).await;
    insta::assert_snapshot!(world.report("r-quiet").await.unwrap());
}

#[tokio::test]
async fn one_that_a_newer_one_replaces() {
    let mut world = World::serving().await;
    world.deploy("r-old", "2.3", "mira").await;
    world.pass(4).await;
    world.deploy("r-never", "2.4", "mira").await;
    let waiting = world.report("r-never").await.unwrap();
    assert!(waiting.starts_with("# Waiting: logo in production\n"), "{waiting}");
    world.deploy("r-new", "2.5", "jo").await;
    world.restart().await;
    world.pass(10).await;
    let replaced = world.report("r-old").await.unwrap();
    assert!(replaced.starts_with("# Superseded: logo in production\n\n**Superseded "), "{replaced}");
    assert!(replaced.contains("Rollout r-never took its place."), "{replaced}");
    insta::assert_snapshot!(world.report("r-never").await.unwrap());
    let new = world.report("r-new").await.unwrap();
    assert!(new.starts_with("# Under way: logo in production\n"), "{new}");
    assert_eq!(world.report("unheard-of").await, None);
}

#[tokio::test]
async fn without_counts_it_says_so_and_a_person_may_promote_it() {
    let mut world = World::serving().await;
    world.blind = true;
    world.deploy("r-blind", "2.6", "mira").await;
    world.pass(24).await;
    let report = world.report("r-blind").await.unwrap();
    assert!(report.starts_with("# Held: "), "{report}");
    assert!(report.contains("No requests were counted."), "{report}");
    world.blind = false;
    world.command(Command::Promote { by: Actor::new("jo") }, "jo").await.unwrap();
    world.pass(60).await;
    let report = world.report("r-blind").await.unwrap();
    assert!(report.contains("skipped by jo"), "{report}");
    assert!(report.contains("jo **promotes it without waiting for proof** of the remaining steps."), "{report}");
}
