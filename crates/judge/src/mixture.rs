//! Products begun at several times, so that a regression that begins late is found as a fresh one.
//!
//! Starts, in minutes after the process began, and their weights `ν`: 0 with 1/2; 1, 2, 4, 8, 15, 30, 45 with 3/56 each;
//! `90·2^i` with `(1/8)/((i+1)(i+2))`. They sum to 1. A start that is not reached contributes its `ν` times 1, which is
//! the value of an empty product, so the whole is an e-process whenever each product is one. Memory grows with the
//! logarithm of time.

use crate::counts::Pair;
use crate::sum::{Sum, ln_mix};

const MINUTE_MS: u64 = 60_000;
const EARLY: [u64; 8] = [0, 1, 2, 4, 8, 15, 30, 45];
const FIRST_LATE: u64 = 90;

/// When start `index` begins, in milliseconds after the process began; nothing once that leaves the range of times.
fn start_ms(index: usize) -> Option<u64> {
    if let Some(minutes) = EARLY.get(index) {
        return Some(minutes * MINUTE_MS);
    }
    let doublings = u32::try_from(index - EARLY.len()).ok()?;
    2_u64.checked_pow(doublings)?.checked_mul(FIRST_LATE * MINUTE_MS)
}

/// `ν` of start `index`.
fn nu(index: usize) -> f64 {
    match index {
        0 => 0.5,
        1..=7 => 3.0 / 56.0,
        _ => {
            let i = (index - EARLY.len()) as f64;
            0.125 / ((i + 1.0) * (i + 2.0))
        }
    }
}

/// `Σ ν` of all starts from `index` on (the late ones telescope).
fn nu_from(index: usize) -> f64 {
    match index {
        0 => 1.0,
        1..=7 => 0.125 + (EARLY.len() - index) as f64 * (3.0 / 56.0),
        _ => 0.125 / ((index - EARLY.len()) as f64 + 1.0),
    }
}

/// The products of one start: `K` alternatives, equally weighted.
#[derive(Clone, Debug)]
pub(crate) struct Start<const K: usize> {
    /// Begin of its first block, in milliseconds since the rollout began.
    pub(crate) since_ms: u64,
    /// What had been counted in closed blocks before.
    pub(crate) before: Pair,
    /// Canary requests that may still be in flight from before this start (see [`crate::absolute`]).
    pub(crate) older: u64,
    /// `ln` of the product for each alternative.
    pub(crate) sums: [Sum; K],
}

/// The value of a mixture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Value {
    /// `ln E`.
    pub(crate) ln_e: f64,
    /// Begin of the start that holds the largest component, in milliseconds since the rollout began.
    pub(crate) since_ms: u64,
    /// What had been counted before that start.
    pub(crate) before: Pair,
}

impl Value {
    /// The value of a process that has not begun.
    pub(crate) const EMPTY: Self = Self {
        ln_e: 0.0,
        since_ms: 0,
        before: Pair {
            canary: crate::Counts { n: 0, x: 0, admitted: 0, repeated: 0 },
            stable: crate::Counts { n: 0, x: 0, admitted: 0, repeated: 0 },
        },
    };
}

/// All starts reached so far.
#[derive(Clone, Debug)]
pub(crate) struct Mixture<const K: usize> {
    begun_ms: u64,
    starts: Vec<Start<K>>,
}

impl<const K: usize> Mixture<K> {
    /// A process that begins at `begun_ms` of the rollout.
    pub(crate) fn begin(begun_ms: u64) -> Self {
        Self { begun_ms, starts: Vec::new() }
    }

    /// Opens the starts that a block beginning at `from_ms` has reached; `before` and `older` are as of that moment.
    pub(crate) fn reach(&mut self, from_ms: u64, before: Pair, older: u64) {
        let elapsed = from_ms.saturating_sub(self.begun_ms);
        while start_ms(self.starts.len()).is_some_and(|start| start <= elapsed) {
            self.starts.push(Start { since_ms: from_ms, before, older, sums: [Sum::default(); K] });
        }
    }

    /// The starts reached, oldest first.
    pub(crate) fn starts_mut(&mut self) -> impl Iterator<Item = &mut Start<K>> {
        self.starts.iter_mut()
    }

    /// `ln E` of the mixture, and where its largest component began.
    pub(crate) fn value(&self) -> Value {
        let mut terms = Vec::with_capacity(self.starts.len() * K + 1);
        let mut value = Value { since_ms: self.begun_ms, ..Value::EMPTY };
        let mut largest = f64::NEG_INFINITY;
        for (index, start) in self.starts.iter().enumerate() {
            let ln_weight = libm::log(nu(index) / K as f64);
            for sum in &start.sums {
                let ln_product = sum.value();
                terms.push((ln_weight, ln_product));
                if ln_weight + ln_product > largest {
                    largest = ln_weight + ln_product;
                    value.since_ms = start.since_ms;
                    value.before = start.before;
                }
            }
        }
        terms.push((libm::log(nu_from(self.starts.len())), 0.0));
        value.ln_e = ln_mix(&terms);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::{Mixture, nu, nu_from, start_ms};
    use crate::counts::Pair;

    #[test]
    fn weights_sum_to_one_however_many_starts_are_reached() {
        let mut reached = 0.0;
        for index in 0..60 {
            assert!((reached + nu_from(index) - 1.0).abs() < 1e-12, "before start {index}");
            reached += nu(index);
        }
    }

    #[test]
    fn starts_grow_and_end_with_the_range_of_times() {
        let starts: Vec<u64> = (0..100).map_while(start_ms).collect();
        assert!(starts.is_sorted());
        assert_eq!(starts[8], 90 * 60_000);
        assert_eq!(starts[9], 180 * 60_000);
        assert!(starts.len() < 60);
    }

    #[test]
    fn a_jump_in_time_opens_every_start_passed() {
        let mut mixture = Mixture::<2>::begin(500);
        mixture.reach(500, Pair::default(), 0);
        assert_eq!(mixture.starts_mut().count(), 1);
        mixture.reach(500 + 8 * 60_000, Pair::default(), 0);
        assert_eq!(mixture.starts_mut().count(), 5);
        mixture.reach(u64::MAX, Pair::default(), 0);
        assert!(mixture.value().ln_e.abs() < 1e-12);
    }
}
