//! Many rollouts in a few figures.

use crate::world::{End, Outcome};

/// What came of many rollouts under one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// How many.
    pub runs: u64,
    /// Of these, rolled back.
    pub rolled_back: u64,
    /// Of these, promoted.
    pub promoted: u64,
    /// Of these, left to a person.
    pub undecided: u64,
    /// Failed requests of the canary until traffic is back: median and 90th percentile.
    pub harm: (u64, u64),
    /// Seconds until the end, to the millisecond: median and 95th percentile.
    pub seconds: (f64, f64),
}

impl Summary {
    /// Of these rollouts.
    #[must_use]
    pub fn of(outcomes: &[Outcome]) -> Self {
        let count = |end: End| outcomes.iter().filter(|outcome| outcome.end == end).count() as u64;
        let mut harm: Vec<u64> = outcomes.iter().map(|outcome| outcome.harm).collect();
        let mut seconds: Vec<f64> = outcomes.iter().map(|outcome| (outcome.seconds * 1e3).round() / 1e3).collect();
        harm.sort_unstable();
        seconds.sort_by(f64::total_cmp);
        Self {
            runs: outcomes.len() as u64,
            rolled_back: count(End::RolledBack),
            promoted: count(End::Promoted),
            undecided: count(End::Undecided),
            harm: (at(&harm, 0.5), at(&harm, 0.9)),
            seconds: (at(&seconds, 0.5), at(&seconds, 0.95)),
        }
    }
}

/// The smallest value that at least this share is no larger than.
fn at<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Clopper and Pearson's interval with 95 % for a chance that came true `x` times of `n`.
#[must_use]
pub fn interval(x: u64, n: u64) -> (f64, f64) {
    const SIDE: f64 = 0.025;
    let low = if x == 0 { 0.0 } else { bisect(|p| 1.0 - at_most(x - 1, n, p) < SIDE) };
    let high = if x >= n { 1.0 } else { bisect(|p| at_most(x, n, p) > SIDE) };
    (low, high)
}

/// Where a condition that holds near 0 ends.
fn bisect(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// `P(X ≤ x)` of `n` trials with chance `p`, each term by its logarithm.
fn at_most(x: u64, n: u64, p: f64) -> f64 {
    let mut ln_term = n as f64 * (-p).ln_1p();
    let odds = (p / (1.0 - p)).ln();
    let mut sum = ln_term.exp();
    for k in 0..x {
        ln_term += ((n - k) as f64 / (k + 1) as f64).ln() + odds;
        sum += ln_term.exp();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::{at, interval};

    #[test]
    fn intervals_against_known_ones() {
        let (low, high) = interval(0, 10_000);
        assert_eq!(low, 0.0);
        assert!((high - (1.0 - 0.025_f64.powf(1e-4))).abs() < 1e-9);
        let (low, high) = interval(5, 10);
        assert!((low - 0.187_086).abs() < 1e-5 && (high - 0.812_914).abs() < 1e-5, "{low} {high}");
        assert_eq!(interval(10, 10).1, 1.0);
        assert_eq!(interval(0, 0).1, 1.0);
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        assert_eq!(at(&[1, 2, 3, 4], 0.5), 2);
        assert_eq!(at(&[1, 2, 3, 4], 0.9), 4);
        assert_eq!(at::<u64>(&[], 0.5), 0);
    }
}
