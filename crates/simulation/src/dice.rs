//! Random draws, all from one seeded generator: the same seed gives the same rollout.

use fastrand::Rng;

/// Below this mean, jumping from success to success is quicker than drawing each request.
const FEW: f64 = 4.0;

/// Digits of a chance that are looked at before a draw is called undecided, and so a failure: `2^-53` of it is lost.
const DIGITS: u32 = 53;

/// How many of `n` succeed with chance `p`.
#[must_use]
pub fn binomial(dice: &mut Rng, n: u64, p: f64) -> u64 {
    if p <= 0.0 || n == 0 {
        return 0;
    }
    if p >= 1.0 {
        return n;
    }
    if p > 0.5 {
        return n - binomial(dice, n, 1.0 - p);
    }
    if n as f64 * p < FEW {
        return successes(dice, n, p).len() as u64;
    }
    let digits = (p * (1_u64 << DIGITS) as f64) as u64;
    let mut left = n;
    let mut sum = 0;
    while left > 0 {
        let lanes = left.min(64);
        sum += u64::from(below(dice, lanes as u32, digits).count_ones());
        left -= lanes;
    }
    sum
}

/// For up to 64 uniform draws at once, one a bit, whether they are below `digits / 2^53`: the digits of all draws are drawn
/// from the first on, until each draw differs from the chance in one.
fn below(dice: &mut Rng, lanes: u32, digits: u64) -> u64 {
    let mut open = u64::MAX >> (64 - lanes);
    let mut is_below = 0;
    for place in (0..DIGITS).rev() {
        if open == 0 {
            break;
        }
        let drawn = dice.u64(..);
        if digits >> place & 1 == 1 {
            is_below |= open & !drawn;
            open &= drawn;
        } else {
            open &= !drawn;
        }
    }
    is_below
}

/// Which of `n` succeed with chance `p`, in order, from 0: by jumping from success to success.
#[must_use]
pub fn successes(dice: &mut Rng, n: u64, p: f64) -> Vec<u64> {
    let mut found = Vec::new();
    if p <= 0.0 || n == 0 {
        return found;
    }
    if p >= 1.0 {
        found.extend(0..n);
        return found;
    }
    let per_failure = 1.0 / (-p).ln_1p();
    let mut at = 0.0;
    loop {
        at += ((1.0 - dice.f64()).ln() * per_failure).floor() + 1.0;
        if at > n as f64 {
            return found;
        }
        found.push(at as u64 - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::{binomial, successes};
    use fastrand::Rng;

    #[test]
    fn draws_have_the_mean_and_the_spread_that_they_should() {
        let mut dice = Rng::with_seed(7);
        for (n, p) in [(100, 0.001), (100, 0.1), (100, 0.5), (70, 0.9), (10, 1.0), (1_000, 0.25)] {
            let runs = 4_000;
            let drawn: Vec<f64> = (0..runs).map(|_| binomial(&mut dice, n, p) as f64).collect();
            let mean = drawn.iter().sum::<f64>() / f64::from(runs);
            let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(runs);
            let (expected, spread) = (n as f64 * p, n as f64 * p * (1.0 - p));
            let error = 4.0 * (spread / f64::from(runs)).sqrt();
            assert!((mean - expected).abs() <= error + 1e-9, "n {n}, p {p}: mean {mean}");
            assert!((variance - spread).abs() <= 0.15 * spread + 1e-9, "n {n}, p {p}: variance {variance} of {spread}");
        }
    }

    #[test]
    fn successes_are_spread_evenly_and_in_order() {
        let mut dice = Rng::with_seed(8);
        let (mut sum, mut count) = (0, 0);
        for _ in 0..2_000 {
            let found = successes(&mut dice, 1_000, 0.01);
            assert!(found.is_sorted_by(|a, b| a < b) && found.iter().all(|at| *at < 1_000));
            sum += found.iter().sum::<u64>();
            count += found.len();
        }
        let middle = sum as f64 / count as f64;
        assert!((middle - 499.5).abs() < 8.0, "{middle}");
    }
}
