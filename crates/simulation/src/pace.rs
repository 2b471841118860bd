//! How long requests take: lognormal, in the judge's buckets.

use fastrand::Rng;

/// Boundaries are `1 ms · 1.1^i`, i from 0 to 116; the last bucket is above all of them.
const BUCKETS: usize = 118;
const GROWTH: f64 = 1.1;

/// Quantiles that are told apart, as a power of two.
const QUANTILES: usize = 4_096;

/// A lognormal distribution, and how the canary differs from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Half of the requests are quicker than this.
    pub median_ms: f64,
    /// The standard deviation of the logarithm: 0.7 puts the 99th percentile at five times the median.
    pub spread: f64,
    /// How many times longer the canary takes.
    pub canary: f64,
}

impl Default for Pace {
    /// 50 ms, the 99th percentile at 250 ms, both versions alike.
    fn default() -> Self {
        Self { median_ms: 50.0, spread: 0.7, canary: 1.0 }
    }
}

impl Pace {
    /// How long a request of stable takes on the average beyond an age: all of it at 0.
    #[must_use]
    pub fn beyond_ms(&self, age_ms: f64) -> f64 {
        let whole = self.median_ms * (0.5 * self.spread * self.spread).exp();
        if age_ms <= 0.0 {
            return whole;
        }
        let z = (age_ms / self.median_ms).ln() / self.spread;
        (whole * normal(self.spread - z) - age_ms * normal(-z)).max(0.0)
    }
}

/// Sparse histograms of one second: bucket and count, by rising bucket.
pub type Histogram = Vec<(u8, u64)>;

/// The buckets of both versions' quantiles.
#[derive(Clone, Debug)]
pub(crate) struct Paces {
    canary: Vec<u8>,
    stable: Vec<u8>,
}

impl Paces {
    pub(crate) fn of(pace: &Pace) -> Self {
        let buckets = |median_ms: f64| {
            let mut buckets = Vec::with_capacity(QUANTILES);
            for bucket in 0..BUCKETS {
                let z = (bucket as f64 * GROWTH.ln() - median_ms.ln()) / pace.spread;
                let until = if bucket + 1 < BUCKETS { normal(z) } else { 1.0 };
                buckets.resize(((until * QUANTILES as f64).round() as usize).max(buckets.len()), bucket as u8);
            }
            buckets
        };
        Self { canary: buckets(pace.median_ms * pace.canary), stable: buckets(pace.median_ms) }
    }

    /// Draws so many requests of each version.
    pub(crate) fn draw(&self, dice: &mut Rng, canary: u64, stable: u64) -> (Histogram, Histogram) {
        (draw(&self.canary, dice, canary), draw(&self.stable, dice, stable))
    }
}

fn draw(buckets: &[u8], dice: &mut Rng, n: u64) -> Histogram {
    let mut counts = [0_u64; BUCKETS];
    for _ in 0..n {
        counts[usize::from(buckets[dice.u64(..) as usize % QUANTILES])] += 1;
    }
    counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(bucket, count)| (bucket as u8, *count)).collect()
}

/// The normal distribution up to `z` (Zelen and Severo 1964; error below 1e-7).
#[must_use]
pub fn normal(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let tail = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt()
        * t
        * (0.319_381_530 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    if z < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::{Pace, Paces, normal};
    use fastrand::Rng;

    #[test]
    fn the_normal_distribution_against_a_table() {
        for (share, z) in [(0.5, 0.0), (0.975, 1.959_964), (0.99, 2.326_348), (0.001, -3.090_232)] {
            assert!((normal(z) - share).abs() < 1e-6, "{share}");
        }
    }

    #[test]
    fn what_lies_beyond_an_age_is_the_sum_of_all_who_wait_so_long() {
        let pace = Pace::default();
        for age in [0.0_f64, 50.0, 100.0, 400.0] {
            let waits = |ms: f64| 1.0 - normal((ms / pace.median_ms).ln() / pace.spread);
            let sum: f64 = (0..40_000).map(|step| 0.25 * waits(age + 0.125 + 0.25 * f64::from(step))).sum();
            assert!((pace.beyond_ms(age) - sum).abs() < 0.02, "{age}: {} {sum}", pace.beyond_ms(age));
        }
    }

    #[test]
    fn half_are_quicker_than_the_median_and_a_slow_canary_is_slower() {
        let paces = Paces::of(&Pace { canary: 2.0, ..Pace::default() });
        let (canary, stable) = paces.draw(&mut Rng::with_seed(5), 10_000, 10_000);
        let quicker = |counts: &[(u8, u64)], ms: f64| {
            let within = counts.iter().filter(|(bucket, _)| 1.1_f64.powi(i32::from(*bucket)) <= ms);
            within.map(|(_, count)| count).sum::<u64>()
        };
        assert!(quicker(&stable, 50.0).abs_diff(4_900) < 300, "{}", quicker(&stable, 50.0));
        assert!(quicker(&canary, 50.0) < 2_000, "{}", quicker(&canary, 50.0));
    }
}
