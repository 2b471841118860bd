//! A rank test once, over points of a minute each: canary analysis services that compare time series.
//!
//! Each point is the failure rate of one version in one minute; a minute in which one of them had no request gives none.
//! Once there are so many points, still at the first weight, Wilcoxon's rank sum test (Mann and Whitney's U; normal, with
//! correction for ties) asks whether the canary's points lie higher, one side at 1 %. If so, back; else the remaining steps
//! go by time, a minute or the hold each, and nothing is asked again.

use super::{Rule, Ruling, Tally};
use crate::traffic::Second;

const POINT_S: u64 = 60;
const LIMIT: f64 = 2.326;

/// The points so far.
#[derive(Clone, Debug)]
pub struct Rank {
    needed: usize,
    since: Tally,
    canary: Vec<f64>,
    stable: Vec<f64>,
}

impl Rank {
    /// A test over so many points.
    #[must_use]
    pub fn new(points: usize) -> Self {
        Self { needed: points.max(1), since: Tally::default(), canary: Vec::new(), stable: Vec::new() }
    }
}

impl Rule for Rank {
    fn second(&mut self, second: &Second) -> Ruling {
        if self.canary.len() == self.needed {
            return Ruling::Forward;
        }
        self.since.add(second);
        if !(second.from_s + 1).is_multiple_of(POINT_S) {
            return Ruling::Stay;
        }
        let Tally { canary, canary_failed, stable, stable_failed } = std::mem::take(&mut self.since);
        if canary > 0 && stable > 0 {
            self.canary.push(canary_failed as f64 / canary as f64);
            self.stable.push(stable_failed as f64 / stable as f64);
        }
        if self.canary.len() < self.needed {
            return Ruling::Stay;
        }
        if higher(&self.canary, &self.stable) > LIMIT { Ruling::Back } else { Ruling::Forward }
    }

    fn patience_s(&self) -> u64 {
        POINT_S
    }
}

/// The standardised rank sum of `a` among both; 0 where all are equal.
fn higher(a: &[f64], b: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> = a.iter().map(|x| (*x, true)).chain(b.iter().map(|x| (*x, false))).collect();
    all.sort_by(|x, y| x.0.total_cmp(&y.0));
    let (n_a, n_b, n) = (a.len() as f64, b.len() as f64, all.len() as f64);
    let (mut sum, mut ties, mut at) = (0.0, 0.0, 0);
    while at < all.len() {
        let equal = all[at..].iter().take_while(|other| other.0 == all[at].0).count();
        let rank = at as f64 + (equal as f64 + 1.0) / 2.0;
        sum += rank * all[at..at + equal].iter().filter(|point| point.1).count() as f64;
        ties += (equal as f64).powi(3) - equal as f64;
        at += equal;
    }
    let variance = n_a * n_b / 12.0 * (n + 1.0 - ties / (n * (n - 1.0)));
    if variance <= 0.0 { 0.0 } else { (sum - n_a * (n + 1.0) / 2.0) / variance.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::higher;

    #[test]
    fn ranks_against_a_table() {
        // Ranks 4, 5, 6 of 6: U = 9 of 9, variance 9·7/12.
        assert!((higher(&[4.0, 5.0, 6.0], &[1.0, 2.0, 3.0]) - 4.5 / 5.25_f64.sqrt()).abs() < 1e-12);
        assert_eq!(higher(&[1.0, 1.0], &[1.0, 1.0]), 0.0);
        assert!((higher(&[1.0, 2.0], &[2.0, 3.0]) + higher(&[2.0, 3.0], &[1.0, 2.0])).abs() < 1e-12);
    }
}
