//! The bounds that people see: right at every look, and close in time. `examples/coverage.rs` has the full sizes.

use davy_judge::{Bounds, Counts, Judge, Policy, Window};

use crate::coverage::{Lasting, WORLDS};

const SEED: u64 = 7;

/// Each may be wrong in 2.5 % of rollouts: of 400 more than 22 have a chance below one in two thousand.
#[test]
fn each_bound_is_wrong_as_rarely_as_it_says() {
    for world in WORLDS {
        let wrong = world.wrong(400, SEED);
        let worst = wrong.high.max(wrong.low).max(wrong.odds);
        assert!(worst <= 22, "seed {SEED}, {world:?}: {wrong:?} of 400");
    }
}

#[test]
fn bounds_close_in_on_the_truth() {
    for seed in 0..10 {
        let healthy = Lasting { traffic: 1_000, stable: 0.001, canary: 0.001, seconds: 240 }.bounds(seed);
        let Bounds { difference, odds_ratio_low } = healthy;
        assert!(difference.low >= -0.002 && difference.high <= 0.002, "seed {seed}: {healthy:?}");
        assert_eq!(odds_ratio_low, 0.0, "seed {seed}");
        let bad = Lasting { traffic: 1_000, stable: 0.001, canary: 0.04, seconds: 240 }.bounds(seed);
        let Bounds { difference, odds_ratio_low } = bad;
        assert!(difference.low >= 0.02 && difference.high <= 0.1, "seed {seed}: {bad:?}");
        assert!((10.0..=30.0).contains(&odds_ratio_low), "seed {seed}: {bad:?}");
        assert!(difference.estimate.is_some_and(|estimate| (estimate - 0.039).abs() < 0.005), "seed {seed}: {bad:?}");
    }
}

#[test]
fn nothing_counted_bounds_nothing() {
    let judge = Judge::new(Policy::default()).expect("a valid policy");
    let bounds = judge.verdict().evidence.bounds;
    assert_eq!((bounds.difference.estimate, bounds.difference.low, bounds.difference.high), (None, -1.0, 1.0));
    assert_eq!(bounds.odds_ratio_low, 0.0);
}

/// What was shown once stays shown, and two bounds that have passed one another say that the difference changed.
#[test]
fn bounds_latch() {
    let mut judge = Judge::new(Policy { alpha: 1e-300, ..Policy::default() }).expect("a valid policy");
    let mut last = Bounds::default();
    for second in 0..1_200 {
        let x = if second < 600 { 0 } else { 100 };
        judge.observe(&Window {
            epoch: 1,
            weight: 5_000,
            from_ms: second * 1_000,
            to_ms: (second + 1) * 1_000,
            canary: Counts::answered(500, x),
            stable: Counts::answered(500, 0),
        });
        let bounds = judge.verdict().evidence.bounds;
        assert!(bounds.difference.high <= last.difference.high || second == 0, "second {second}");
        assert!(bounds.difference.low >= last.difference.low, "second {second}");
        assert!(bounds.odds_ratio_low >= last.odds_ratio_low, "second {second}");
        last = bounds;
    }
    assert!(last.difference.low > last.difference.high, "{last:?}");
}
