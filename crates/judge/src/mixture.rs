//! Products begun at several times, so that a regression that begins late is found as a fresh one.
//!
//! Starts, in minutes after the process began, and their weights `ν`: 0 with 1/2; 1, 2, 4, 8, 15, 30, 45 with 3/56 each;
//! `90·2^i` with `(1/8)/((i+1)(i+2))`. They sum to 1. A start that is not reached contributes its `ν` times 1, which is
//! the value of an empty product, so the whole is an e-process whenever each product is one. Memory grows with the
//! logarithm of time.
//!
//! Where a block multiplies all starts by the same factor, their sum obeys `A ← e (A + ν of the starts that begin)`, and
//! [`Lanes`] keeps that sum alone. [`Mixture`] keeps each start apart, for factors that depend on the start.

use crate::counts::Pair;
use crate::sum::{Sum, ln_sum};

const MINUTE_MS: u64 = 60_000;
const EARLY: [u64; 8] = [0, 1, 2, 4, 8, 15, 30, 45];
const FIRST_LATE: u64 = 90;

/// When start `index` begins, in milliseconds after the process began; nothing once that leaves the range of times.
pub(crate) fn start_ms(index: usize) -> Option<u64> {
    if let Some(minutes) = EARLY.get(index) {
        return Some(minutes * MINUTE_MS);
    }
    let doublings = u32::try_from(index - EARLY.len()).ok()?;
    2_u64.checked_pow(doublings)?.checked_mul(FIRST_LATE * MINUTE_MS)
}

/// `ν` of start `index`.
pub(crate) fn nu(index: usize) -> f64 {
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
pub(crate) fn nu_from(index: usize) -> f64 {
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
        let mut value = Value { since_ms: self.begun_ms, ..Value::EMPTY };
        let terms = self.starts.iter().enumerate().flat_map(|(index, start)| {
            let ln_weight = libm::log(nu(index) / K as f64);
            start.sums.iter().map(move |sum| (ln_weight + sum.value(), start))
        });
        let mut largest = f64::NEG_INFINITY;
        for (term, start) in terms.clone() {
            if term > largest {
                largest = term;
                value.since_ms = start.since_ms;
                value.before = start.before;
            }
        }
        let rest = libm::log(nu_from(self.starts.len()));
        value.ln_e = ln_sum(terms.map(|(term, _)| term).chain(std::iter::once(rest)));
        value
    }
}

/// The starts reached so far, and for each when its first block began and what had been counted before.
#[derive(Clone, Debug)]
pub(crate) struct Starts<B> {
    begun_ms: u64,
    marks: Vec<(u64, B)>,
}

impl<B> Starts<B> {
    /// A process that begins at `begun_ms` of the rollout.
    pub(crate) const fn begin(begun_ms: u64) -> Self {
        Self { begun_ms, marks: Vec::new() }
    }

    /// Marks the starts that a block beginning at `from_ms` has reached, and gives their numbers.
    pub(crate) fn reach(&mut self, from_ms: u64, before: impl Fn() -> B) -> std::ops::Range<usize> {
        let known = self.marks.len();
        let elapsed = from_ms.saturating_sub(self.begun_ms);
        while start_ms(self.marks.len()).is_some_and(|start| start <= elapsed) {
            self.marks.push((from_ms, before()));
        }
        known..self.marks.len()
    }

    /// Begin of start `index`, and what had been counted before it; nothing before the first block.
    pub(crate) fn mark(&self, index: u8) -> Option<&(u64, B)> {
        self.marks.get(usize::from(index))
    }

    /// `ln` of what the starts not yet reached contribute.
    pub(crate) fn ln_rest(&self) -> f64 {
        // Before the first block the first start is in the lanes already.
        libm::log(nu_from(usize::max(self.marks.len(), 1)))
    }
}

/// `K` products, each summed over its starts.
#[derive(Clone, Debug)]
pub(crate) struct Lanes<const K: usize> {
    /// `ln` of the sum over the starts reached, each by its `ν`.
    sums: [Sum; K],
    /// How far that is above the largest of its terms, as a logarithm. The terms share every factor, so this and the next
    /// change only where a start begins.
    leads: [f64; K],
    /// The start of that term.
    since: [u8; K],
}

impl<const K: usize> Lanes<K> {
    /// With the first start reached.
    pub(crate) fn begin() -> Self {
        Self { sums: [Sum::of(libm::log(nu(0))); K], leads: [0.0; K], since: [0; K] }
    }

    /// Opens the starts of these numbers.
    pub(crate) fn open(&mut self, starts: std::ops::Range<usize>) {
        for index in starts.filter(|index| *index > 0) {
            let fresh = libm::log(nu(index));
            for k in 0..K {
                let sum = self.sums[k].value();
                let mut largest = sum - self.leads[k];
                let together = ln_sum([sum, fresh].into_iter());
                if fresh > largest {
                    largest = fresh;
                    // Times end before 60 starts are reached.
                    self.since[k] = index as u8;
                }
                self.sums[k] = Sum::of(together);
                self.leads[k] = together - largest;
            }
        }
    }

    /// Multiplies by a block.
    pub(crate) fn add(&mut self, ln_e: &[f64; K]) {
        for (sum, term) in self.sums.iter_mut().zip(ln_e) {
            sum.add(*term);
        }
    }

    /// The logarithms of the sums.
    pub(crate) fn terms(&self) -> impl Iterator<Item = f64> + Clone {
        self.sums.iter().map(Sum::value)
    }

    /// The largest single term of all, and its start.
    pub(crate) fn largest(&self) -> (f64, u8) {
        let mut largest = (f64::NEG_INFINITY, 0);
        for ((term, lead), since) in self.terms().zip(self.leads).zip(self.since) {
            if term - lead > largest.0 {
                largest = (term - lead, since);
            }
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::{Lanes, Mixture, Starts, nu, nu_from, start_ms};
    use crate::counts::Pair;
    use crate::sum::ln_sum;

    /// Hours of blocks, good and bad: the sum alone is the mixture that keeps every start, and knows the same start.
    #[test]
    fn lanes_equal_the_mixture_that_keeps_each_start() {
        for seed in 0..20_u64 {
            let mut bits = seed;
            let (mut mixture, mut starts, mut lanes) =
                (Mixture::<3>::begin(500), Starts::begin(500), Lanes::<3>::begin());
            for second in 0..30_000 {
                let from_ms = 500 + second * 1_000;
                mixture.reach(from_ms, Pair::default(), 0);
                lanes.open(starts.reach(from_ms, || ()));
                let terms = [1.0, 2.0, 5.0].map(|scale: f64| {
                    bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    scale * ((bits >> 40) as f64 / (1 << 24) as f64 - 0.5)
                });
                for start in mixture.starts_mut() {
                    for (sum, term) in start.sums.iter_mut().zip(terms) {
                        sum.add(term);
                    }
                }
                lanes.add(&terms);
                if second % 501 == 0 {
                    let even = libm::log(3.0);
                    let ln_e = ln_sum(lanes.terms().map(|term| term - even).chain(std::iter::once(starts.ln_rest())));
                    let value = mixture.value();
                    assert!((ln_e - value.ln_e).abs() < 1e-9, "seed {seed}, second {second}: {ln_e} {}", value.ln_e);
                    let since = starts.mark(lanes.largest().1).map(|mark| mark.0);
                    assert_eq!(since, Some(value.since_ms), "seed {seed}, second {second}");
                }
            }
        }
    }

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
