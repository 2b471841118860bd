//! Latency of the canary against latency of stable: the process that rolls back what has become slower.
//!
//! Null: the canary's latency is at most `γ^m` times stable's or 5 ms more, as distributions. Then, for every boundary `T`, the canary
//! is above `max(γ^m T, T + 5 ms)` with at most the odds with which stable is above `T`, and the process of [`crate::relative`] runs on these
//! two counts in place of failures: 10 ratios, log-spaced from 1.1 to 50, over the same starts. `E_lat` is the plain average
//! over the thresholds; one that nobody exceeds keeps 1. An average of e-processes of the same blocks is one.
//!
//! The gateway's boundaries are `1 ms · 1.1^i`, `i` from 0 to 116, and stable is cut at every second of them. All answers
//! count, failures included. Counts are exact, so windows and gateways are merged by addition.
//!
//! An answer is counted when it ends. So at the begin of an epoch the slowest answers of either version are still to come, and a
//! canary that answers in 1.5 s what takes stable 10 s would look slower for 10 s. An epoch is therefore compared only after the
//! time within which stable has answered 99.9 % so far, at most 30 s; the first epoch, when nothing is known yet, after 5 s.
//!
//! Where clients stay with a version, slow clients are slow again and again, and nothing here counts clients: declare how many
//! requests are slow together (`cluster`).
//!
//! ```
//! use davy_judge::latency::{Latency, Scale};
//!
//! let mut latency = Latency::new(Scale::new(&[0.1, 0.5, 1.0], 0, 1.25)?);
//! for second in 0..60 {
//!     latency.add(second * 1_000, &[8, 1, 1, 0], &[90, 0, 0, 0]);
//! }
//! assert!(latency.finding().ln_e > 10.0);
//! assert_eq!(latency.finding().stable_above_ms, 100.0);
//! # Ok::<(), davy_judge::latency::InvalidScale>(())
//! ```

mod histogram;
mod proof;
mod scale;

pub(crate) use histogram::{Histograms, check};
pub(crate) use proof::SpeedProof;
pub use scale::{FLOOR_MS, IMPORTED_ODDS, InvalidScale, Scale};

use crate::counts::{Counts, Pair};
use crate::mixture::{Lanes, Starts};
use crate::relative::{Alternatives, spaced};
use crate::sum::ln_sum;

/// Alternatives `r`, log-spaced, both ends included.
const RATIOS: usize = 10;
const SMALLEST: f64 = 1.1;
const LARGEST: f64 = 50.0;

/// One boundary at which stable is cut.
#[derive(Clone, Debug)]
struct Threshold {
    /// Index of the boundary.
    at: usize,
    lanes: Lanes<RATIOS>,
}

/// What had been counted: both versions' histograms.
type Counted = Box<[Vec<u64>; 2]>;

/// What speaks most for a slower canary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// `ln E_lat` of all thresholds together.
    pub ln_e: f64,
    /// Begin of the largest component, in milliseconds since the rollout began.
    pub since_ms: u64,
    /// Its threshold for stable, in milliseconds.
    pub stable_above_ms: f64,
    /// Its threshold for the canary, in milliseconds.
    pub canary_above_ms: f64,
    /// Requests since then, and as failures those above the threshold.
    pub since: Pair,
}

/// The process over all blocks in which both versions had a share.
#[derive(Clone, Debug)]
pub struct Latency {
    scale: Scale,
    alternatives: Alternatives<RATIOS>,
    thresholds: Vec<Threshold>,
    starts: Starts<Counted>,
    counted: Counted,
}

impl Latency {
    /// Compares at the boundaries of `scale`.
    #[must_use]
    pub fn new(scale: Scale) -> Self {
        Self::tempered(scale, 1.0)
    }

    /// The same where `cluster` requests are slow together.
    pub(crate) fn tempered(scale: Scale, cluster: f64) -> Self {
        let alternatives = Alternatives::new(scale.odds(), spaced(SMALLEST, LARGEST), cluster);
        let thresholds = scale.thresholds().map(|at| Threshold { at, lanes: Lanes::begin() }).collect();
        let counted = Box::new([vec![0; scale.buckets()], vec![0; scale.buckets()]]);
        Self { alternatives, thresholds, starts: Starts::begin(0), counted, scale }
    }

    /// Takes one closed block that begins at `from_ms` of the rollout: answers per bucket, the last bucket for what is above
    /// every boundary. What lies beyond the scale's buckets is not looked at.
    pub fn add(&mut self, from_ms: u64, canary: &[u64], stable: &[u64]) {
        let opened = self.starts.reach(from_ms, || self.counted.clone());
        let within = |buckets: &[u64]| usize::min(buckets.len(), self.scale.buckets());
        let (canary, stable) = (&canary[..within(canary)], &stable[..within(stable)]);
        let total = |buckets: &[u64]| buckets.iter().fold(0.0, |sum, count| sum + *count as f64);
        let costs = self.alternatives.costs(total(canary), total(stable));
        // From above: what is beyond a lower threshold is beyond a higher one and what lies between.
        let (mut x_c, mut x_b) = (0.0, 0.0);
        let (mut above_c, mut above_b) = (canary.len(), stable.len());
        let down_to = |buckets: &[u64], from: &mut usize, at: usize, sum: &mut f64| {
            while *from > at + 1 {
                *from -= 1;
                *sum += buckets[*from] as f64;
            }
        };
        for threshold in self.thresholds.iter_mut().rev() {
            threshold.lanes.open(opened.clone());
            down_to(canary, &mut above_c, self.scale.cut(threshold.at), &mut x_c);
            down_to(stable, &mut above_b, threshold.at, &mut x_b);
            if let Some(costs) = costs.as_ref().filter(|_| x_c + x_b > 0.0) {
                threshold.lanes.add(&self.alternatives.ln_e(x_c, x_c + x_b, costs));
            }
        }
        for (counted, block) in self.counted.iter_mut().zip([canary, stable]) {
            for (sum, count) in counted.iter_mut().zip(block) {
                *sum = sum.saturating_add(*count);
            }
        }
    }

    /// `ln E_lat`.
    #[must_use]
    pub fn ln_e(&self) -> f64 {
        let even = libm::log((RATIOS * self.thresholds.len()) as f64);
        let terms = self.thresholds.iter().flat_map(|threshold| threshold.lanes.terms()).map(|term| term - even);
        ln_sum(terms.chain(std::iter::once(self.starts.ln_rest())))
    }

    /// `ln E_lat`, and what speaks most.
    #[must_use]
    pub fn finding(&self) -> Finding {
        let mut largest = (f64::NEG_INFINITY, 0, 0);
        for threshold in &self.thresholds {
            let (term, since) = threshold.lanes.largest();
            if term > largest.0 {
                largest = (term, since, threshold.at);
            }
        }
        let (_, since, at) = largest;
        let mark = self.starts.mark(since);
        let counts = |version: usize, at: usize| {
            let now = count(&self.counted[version], at);
            mark.map_or(now, |(_, before)| now.since(count(&before[version], at)))
        };
        let cut = self.scale.cut(at);
        Finding {
            ln_e: self.ln_e(),
            since_ms: mark.map_or(0, |(since_ms, _)| *since_ms),
            stable_above_ms: self.scale.boundary_ms(at),
            canary_above_ms: self.scale.boundary_ms(cut),
            since: Pair { canary: counts(0, cut), stable: counts(1, at) },
        }
    }

    /// Where latencies are cut.
    #[must_use]
    pub fn scale(&self) -> &Scale {
        &self.scale
    }
}

/// The begin of an epoch is left out no longer than this.
const LONGEST_MS: u64 = 30_000;

/// The begin of an epoch that is left out while stable has answered fewer requests than tell their slowest thousandth.
const UNKNOWN_MS: u64 = 5_000;
const KNOWN: u64 = 1_000;

/// How long the first answers of an epoch are left out, by what stable has answered before.
pub(crate) fn settling_ms(past: &Histograms, scale: &Scale) -> u64 {
    if past.stable.total() < KNOWN {
        return UNKNOWN_MS;
    }
    let slowest = past.stable.rarely_above(1_000).map_or(f64::MAX, |at| scale.boundary_ms(at));
    // The cast saturates: what lies above every boundary is beyond the longest, too.
    u64::min(libm::ceil(slowest) as u64, LONGEST_MS)
}

/// Requests, and as failures those above boundary `at`.
fn count(buckets: &[u64], at: usize) -> Counts {
    let sum = |counts: &[u64]| counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
    Counts::answered(sum(buckets), sum(buckets.get(at + 1..).unwrap_or_default()))
}
