//! The same bits on every machine: a long story with everything on, told by the bits of its evidence.

use std::fmt::Write;

use davy_judge::{Budget, Counts, Details, Judge, Latencies, Pair, Policy, Window};

use crate::world::Random;

const WEIGHTS: [u16; 9] = [1, 100, 1_000, 500, 2_500, 5_000, 9_000, 9_999, 10_000];

/// One of 300 fails: by whole numbers alone, since a logarithm of the platform's could differ.
fn counts(random: &mut Random, n: u64) -> Counts {
    Counts::answered(n, (0..n).filter(|_| random.bits().is_multiple_of(300)).count() as u64)
}

#[test]
fn a_long_story_gives_the_bits_that_it_gave() {
    let policy = Policy {
        not_slower_than: Some(1.1),
        max_slow: Some(0.2),
        max_error_rate: Some(0.2),
        metrics: 2,
        budget: Some(Budget::Excess(1e9)),
        cluster: 2.0,
        ramp: Some(10.0),
        alpha: 1e-300,
        ..Policy::default()
    };
    let mut random = Random(42);
    let mut judge = Judge::new(policy).expect("a valid policy");
    let mut told = String::new();
    for second in 0..9_000_u64 {
        let weight = WEIGHTS[(second / 1_000) as usize];
        let n = 500 + random.bits() % 100;
        let canary = counts(&mut random, n * u64::from(weight) / 10_000);
        let stable = counts(&mut random, n - canary.n);
        let mut times = |n: u64| -> Vec<(u8, u64)> {
            let shares = [(40, n / 2), (50, n / 4), (61 + (random.bits() % 3) as u8, n / 8)];
            shares.into_iter().filter(|(_, count)| *count > 0).collect()
        };
        let (quick, slow) = (times(canary.n), times(stable.n));
        let over = |n: u64| Counts::answered(n, n / 20);
        let window = Window {
            epoch: 1 + second / 1_000,
            weight,
            from_ms: second * 1_000,
            to_ms: second * 1_000 + 1_000,
            canary,
            stable,
        };
        let details = Details {
            latency: Some(Latencies { canary: &quick, stable: &slow }),
            slow: Some(Pair { canary: over(canary.n), stable: over(stable.n) }),
            ..Details::default()
        };
        judge.observe_with(&window, &details);
        judge.observe_metric((second % 2) as u8, &window);
        if second % 250 == 249 {
            let evidence = judge.verdict().evidence;
            let promotion = evidence.promotion.map_or(0.0, |promotion| promotion.ln_e);
            let harm = evidence.harm.map_or(0.0, |harm| harm.spent);
            write!(
                told,
                "{second} {:016x} {:016x} {:016x}",
                evidence.ln_e.to_bits(),
                promotion.to_bits(),
                harm.to_bits()
            )
            .expect("written");
            for metric in evidence.metrics {
                write!(told, " {:016x}", metric.ln_e.to_bits()).expect("written");
            }
            told.push('\n');
        }
    }
    let golden =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/laws/golden.txt")).expect("the bits");
    // Line by line, so that the first that differs is seen.
    for (number, (told, golden)) in told.lines().zip(golden.lines()).enumerate() {
        assert_eq!(told, golden, "line {}", number + 1);
    }
    assert_eq!(told.lines().count(), golden.lines().count(), "{told}");
}

/// Ten million windows, or the ten thousand blocks that they make.
#[test]
fn ten_million_windows_are_as_good_as_ten_thousand() {
    let judge = || Judge::new(Policy::default()).expect("a valid policy");
    let (mut fine, mut coarse) = (judge(), judge());
    for second in 0..10_000_u64 {
        let at = |from_ms, to_ms, canary, stable| Window { epoch: 1, weight: 1_000, from_ms, to_ms, canary, stable };
        let failed = |ms: u64| u64::from((second * 1_000 + ms) % 9_973 == 7);
        let ms = second * 1_000;
        let (mut canary, mut stable) = (Counts::default(), Counts::default());
        for tick in 0..1_000 {
            let pair = (
                Counts::answered(1, failed(tick * 3) * u64::from(second.is_multiple_of(10))),
                Counts::answered(9, failed(tick)),
            );
            (canary, stable) = (canary.plus(pair.0), stable.plus(pair.1));
            fine.observe(&at(ms + tick, ms + tick + 1, pair.0, pair.1));
        }
        coarse.observe(&at(ms, ms + 1_000, canary, stable));
    }
    let (fine, coarse) = (fine.verdict(), coarse.verdict());
    assert_eq!(fine, coarse);
    assert_eq!(fine.evidence.ln_e.to_bits(), coarse.evidence.ln_e.to_bits());
    assert!(fine.evidence.rollout.canary.x > 20 && fine.evidence.ln_e.is_finite());
}
