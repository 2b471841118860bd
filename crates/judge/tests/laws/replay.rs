//! The same windows and marks give the same verdict, bit for bit, however often one looks.

use davy_judge::{Blindness, Budget, Counts, Details, Judge, Latencies, Pair, Policy, Verdict, Window};

use crate::world::Random;

fn windows(seed: u64) -> Vec<Window> {
    let mut random = Random(seed);
    let weights = [100, 500, 2_500, 500, 5_000, 9_000, 10_000];
    (0..700)
        .map(|tick: u64| {
            let step = tick as usize / 100;
            let n_c = random.binomial(200, f64::from(weights[step]) / 10_000.0);
            Window {
                epoch: step as u64,
                weight: weights[step],
                from_ms: tick * 200,
                to_ms: (tick + 1) * 200,
                canary: Counts::answered(n_c, random.binomial(n_c, 0.004)),
                stable: Counts::answered(200 - n_c, random.binomial(200 - n_c, 0.004)),
            }
        })
        .collect()
}

/// Everything that floats could hide: the JSON of shortest digits tells every bit.
fn text(verdict: &Verdict) -> String {
    serde_json::to_string(verdict).expect("JSON")
}

#[test]
fn replay_gives_every_bit_again() {
    for seed in 0..20 {
        let play = |looks: bool| {
            let mut judge = Judge::new(Policy::default()).expect("a valid policy");
            for (position, window) in windows(seed).iter().enumerate() {
                judge.observe(window);
                if position % 97 == 5 {
                    judge.blind(Blindness::Silence);
                }
                if looks {
                    for _ in 0..3 {
                        std::hint::black_box(judge.verdict());
                    }
                }
            }
            text(&judge.verdict())
        };
        assert_eq!(play(false), play(false), "seed {seed}");
        assert_eq!(play(false), play(true), "seed {seed}: a look changed something");
    }
}

/// The same with everything that a policy may ask for.
#[test]
fn replay_gives_every_bit_again_with_everything_on() {
    let policy = Policy {
        not_slower_than: Some(1.25),
        max_slow: Some(0.05),
        max_error_rate: Some(0.05),
        metrics: 2,
        budget: Some(Budget::Excess(30.0)),
        cluster: 1.5,
        ..Policy::default()
    };
    for seed in 0..3 {
        let play = |looks: bool| {
            let mut random = Random(seed);
            let mut judge = Judge::new(policy).expect("a valid policy");
            for (position, window) in (0..).zip(windows(seed)) {
                let mut draw = |n: u64| {
                    let mut buckets = [0; 118];
                    for _ in 0..n {
                        buckets[random.binomial(90, 0.5) as usize] += 1;
                    }
                    (0..).zip(buckets).filter(|(_, count)| *count > 0).collect::<Vec<(u8, u64)>>()
                };
                let (canary, stable) = (draw(window.canary.n), draw(window.stable.n));
                let slow = |n: u64| Counts::answered(n, n / 40);
                let slow = Pair { canary: slow(window.canary.n), stable: slow(window.stable.n) };
                let latency = Some(Latencies { canary: &canary, stable: &stable });
                judge.observe_with(&window, &Details { latency, slow: Some(slow), ..Details::default() });
                if position % 3 == 2 {
                    let metric = Window { from_ms: window.from_ms - 400, ..window };
                    judge.observe_metric((position % 2) as u8, &metric);
                }
                if looks {
                    std::hint::black_box(judge.verdict());
                }
            }
            text(&judge.verdict())
        };
        assert_eq!(play(false), play(false), "seed {seed}");
        assert_eq!(play(false), play(true), "seed {seed}: a look changed something");
    }
}
