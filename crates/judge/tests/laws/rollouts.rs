//! Small seeded rollouts; full sizes are in `examples/healthy.rs`.

use davy_judge::Policy;

use crate::world::{End, World, median};

/// α_c is 0.6 %: of 300 healthy rollouts more than 7 rolled back has a chance below one in a thousand.
#[test]
fn healthy_canaries_are_rarely_rolled_back() {
    let world = World { deadline_ms: 300_000, ..World::reference() };
    let back: Vec<u64> = (0..300).filter(|seed| world.run(*seed).end == End::RolledBack).collect();
    assert!(back.len() <= 7, "rolled back: seeds {back:?}");
}

/// Worse than stable by exactly the margin, one step, and no rollback that would help: β is 5 %, and more than 36 of 400
/// passing has a chance below one in a thousand.
#[test]
fn canaries_at_the_margin_rarely_pass() {
    let policy = Policy { margin: Some(0.01), relative: false, ..Policy::default() };
    for stable in [0.001, 0.05] {
        let canary = stable + 0.01;
        let world = World { stable, canary, policy, steps: vec![1_000], deadline_ms: 600_000, ..World::reference() };
        let passed: Vec<u64> = (0..400).filter(|seed| world.run(*seed).end == End::Promoted).collect();
        assert!(passed.len() <= 36, "stable fails {stable}; {} passed: seeds {passed:?}", passed.len());
    }
}

/// The same at the margin that each weight has by itself: of 100 more than 15 have a chance below one in ten thousand.
#[test]
fn canaries_at_the_margin_of_their_weight_rarely_pass() {
    let policy = Policy { relative: false, ..Policy::default() };
    for weight in [100, 5_000, 9_000] {
        for stable in [0.0, 0.05] {
            let canary = stable + davy_judge::margin(weight);
            let world = World {
                traffic: 1_000,
                stable,
                canary,
                policy,
                steps: vec![weight],
                deadline_ms: 60_000,
                ..World::reference()
            };
            let passed: Vec<u64> = (0..100).filter(|seed| world.run(*seed).end == End::Promoted).collect();
            assert!(passed.len() <= 15, "{weight}, stable fails {stable}; {} passed: seeds {passed:?}", passed.len());
        }
    }
}

#[test]
fn a_bad_canary_is_caught_within_few_failures() {
    let world = World { canary: 0.05, steps: vec![100, 500, 2_500, 5_000], ..World::reference() };
    let outcomes: Vec<_> = (0..200).map(|seed| world.run(seed)).collect();
    assert!(outcomes.iter().all(|outcome| outcome.end == End::RolledBack));
    let harm = median(outcomes.iter().map(|outcome| outcome.harm as f64).collect());
    assert!(harm <= 5.0, "median of failed requests: {harm}");
}

#[test]
fn a_healthy_canary_with_traffic_passes_quickly() {
    let world = World {
        traffic: 1_000,
        steps: vec![100, 500, 2_500, 5_000, 10_000],
        hold_ms: 3_000,
        window_ms: 100,
        actuation_ms: 200,
        deadline_ms: 300_000,
        ..World::reference()
    };
    let outcomes: Vec<_> = (0..60).map(|seed| world.run(seed)).collect();
    let promoted = outcomes.iter().filter(|outcome| outcome.end == End::Promoted).count();
    let total = median(
        outcomes
            .iter()
            .map(|outcome| match outcome.end {
                End::Promoted => outcome.seconds.iter().sum(),
                _ => f64::INFINITY,
            })
            .collect(),
    );
    assert!(promoted >= 54, "promoted within five minutes: {promoted} of 60");
    assert!(total <= 45.0, "median seconds of the whole rollout: {total}");
}
