//! Exact counts of latencies, mergeable by addition.

use super::scale::Scale;
use crate::counts::Nonsense;

/// Counts per bucket of a [`Scale`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
}

impl Histogram {
    fn empty(scale: &Scale) -> Self {
        Self { buckets: vec![0; scale.buckets()] }
    }

    fn add_sparse(&mut self, counts: &[(u8, u64)]) {
        for (bucket, count) in counts {
            let sum = &mut self.buckets[usize::from(*bucket)];
            *sum = sum.saturating_add(*count);
        }
    }

    fn add(&mut self, other: &Self) {
        for (sum, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum = sum.saturating_add(*count);
        }
    }

    /// The counts, bucket by bucket.
    pub(crate) fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// All counts.
    pub(crate) fn total(&self) -> u64 {
        sum(&self.buckets)
    }

    /// The first boundary that at most one in `rare` took longer than; nothing where all boundaries are exceeded more often.
    pub(crate) fn rarely_above(&self, rare: u64) -> Option<usize> {
        let mut above = self.total();
        let most = above / rare;
        self.buckets.iter().position(|count| {
            above = above.saturating_sub(*count);
            above <= most
        })
    }

    /// Counts of what took longer than boundary `index`.
    pub(crate) fn above(&self, index: usize) -> u64 {
        sum(self.buckets.get(index + 1..).unwrap_or_default())
    }
}

fn sum(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
}

/// The histograms of both versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Histograms {
    pub(crate) canary: Histogram,
    pub(crate) stable: Histogram,
}

impl Histograms {
    pub(crate) fn empty(scale: &Scale) -> Self {
        Self { canary: Histogram::empty(scale), stable: Histogram::empty(scale) }
    }

    /// Adds what [`check`] let pass.
    pub(crate) fn add_sparse(&mut self, canary: &[(u8, u64)], stable: &[(u8, u64)]) {
        self.canary.add_sparse(canary);
        self.stable.add_sparse(stable);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.canary.add(&other.canary);
        self.stable.add(&other.stable);
    }

    pub(crate) fn clear(&mut self) {
        self.canary.buckets.fill(0);
        self.stable.buckets.fill(0);
    }
}

/// Refuses a sparse histogram that cannot be of `n` requests.
pub(crate) fn check(counts: &[(u8, u64)], buckets: usize, n: u64) -> Result<(), Nonsense> {
    let rising = counts.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let inside = counts.last().is_none_or(|(bucket, _)| usize::from(*bucket) < buckets);
    let total = counts.iter().try_fold(0_u64, |sum, (_, count)| sum.checked_add(*count));
    if rising && inside && total.is_some_and(|total| total <= n) { Ok(()) } else { Err(Nonsense::Histogram) }
}
