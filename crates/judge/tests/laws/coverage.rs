//! How often a bound is wrong at any look, and how close bounds come.

use davy_judge::{Bounds, Counts, Judge, Policy, Window};

use crate::world::Random;

/// Two versions that differ by the same for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lasting {
    pub(crate) traffic: u64,
    pub(crate) stable: f64,
    pub(crate) canary: f64,
    pub(crate) seconds: u64,
}

/// Differences that lie on a rung, where a bound has it hardest, and some between.
pub(crate) const WORLDS: [Lasting; 6] = [
    Lasting { traffic: 100, stable: 0.001, canary: 0.001, seconds: 120 },
    Lasting { traffic: 100, stable: 0.001, canary: 0.011, seconds: 120 },
    Lasting { traffic: 1_000, stable: 0.02, canary: 0.025, seconds: 120 },
    Lasting { traffic: 300, stable: 0.3, canary: 0.1, seconds: 120 },
    Lasting { traffic: 30, stable: 0.1, canary: 0.25, seconds: 240 },
    Lasting { traffic: 1_000, stable: 0.01, canary: 0.0, seconds: 120 },
];

/// How often each bound was wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wrong {
    pub(crate) high: u64,
    pub(crate) low: u64,
    pub(crate) odds: u64,
    pub(crate) any: u64,
}

impl Lasting {
    /// A rollout at 5, 10, 25 and 50 %, a quarter of the time each. Bounds latch, so the last ones hold every mistake.
    pub(crate) fn bounds(&self, seed: u64) -> Bounds {
        let mut random = Random(seed);
        // So small an α never ends a rollout before its time.
        let policy = Policy { alpha: 1e-300, ..Policy::default() };
        let mut judge = Judge::new(policy).expect("a valid policy");
        for second in 0..self.seconds {
            let step = second * 4 / self.seconds;
            let weight = [500, 1_000, 2_500, 5_000][step as usize];
            let n_c = random.binomial(self.traffic, f64::from(weight) / 10_000.0);
            let n_b = self.traffic - n_c;
            judge.observe(&Window {
                epoch: step,
                weight,
                from_ms: second * 1_000,
                to_ms: (second + 1) * 1_000,
                canary: Counts::answered(n_c, random.binomial(n_c, self.canary)),
                stable: Counts::answered(n_b, random.binomial(n_b, self.stable)),
            });
        }
        judge.verdict().evidence.bounds
    }

    /// Rollouts from `seed` on.
    pub(crate) fn wrong(&self, runs: u64, seed: u64) -> Wrong {
        // Roundings of a difference must not make a rung of what lies on it.
        let difference = self.canary - self.stable;
        let odds = self.canary / (1.0 - self.canary) / (self.stable / (1.0 - self.stable));
        let mut wrong = Wrong::default();
        for run in 0..runs {
            let bounds = self.bounds(seed + run);
            let high = bounds.difference.high <= difference + 1e-12;
            let low = bounds.difference.low >= difference - 1e-12;
            let odds = bounds.odds_ratio_low > 0.0 && bounds.odds_ratio_low >= odds * (1.0 - 1e-12);
            wrong.high += u64::from(high);
            wrong.low += u64::from(low);
            wrong.odds += u64::from(odds);
            wrong.any += u64::from(high || low || odds);
        }
        wrong
    }
}
