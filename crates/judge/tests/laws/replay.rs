//! The same windows and marks give the same verdict, bit for bit, however often one looks.

use davy_judge::{Blindness, Counts, Judge, Policy, Verdict, Window};

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
