//! The proof that a step is not slower: the second that a step needs where latency is compared.
//!
//! "The canary above `γ^m T` against stable above `T`", by the product of [`crate::promotion`]. `T` is the first boundary
//! above stable's 99th percentile in the blocks before the first that counts, so it does not depend on what it judges.

use super::histogram::{Histogram, Histograms};
use super::scale::Scale;
use crate::admission::{Place, Proof, Settles, Side};
use crate::blocks;
use crate::counts::{Counts, Pair};
use crate::details::Cohort;
use crate::promotion::{Product, Sample, past_rate};

/// `T` is chosen once stable has answered so often: below that a 99th percentile is a guess, and a guess too high proves little.
/// Any `T` keeps the promise.
const ANSWERS: u64 = 1_000;

/// The margin is at least this: by choice of `T`, stable itself is above it with up to 1 %.
const MARGIN: f64 = 0.01;

/// The proof of one step.
#[derive(Clone, Debug)]
pub(crate) struct SpeedProof {
    proof: Proof,
    /// The boundary `T`, once chosen.
    at: Option<usize>,
    /// Requests in the step's blocks that tell no cohorts, and as failures those above the threshold.
    counts: Pair,
}

impl SpeedProof {
    /// Begins with the step whose proof of errors is `errors`.
    pub(crate) fn begin(errors: &Product, cluster: f64) -> Self {
        let margin = f64::max(errors.margin, MARGIN);
        let product = Product::begin(errors.weight, Some(margin), 0.0).tempered(cluster);
        Self { proof: Proof::begin(product, blocks::needed(cluster)), at: None, counts: Pair::default() }
    }

    pub(crate) fn product(&self) -> &Product {
        &self.proof.product
    }

    /// Requests in settled blocks of the step, and as failures those above the threshold.
    pub(crate) fn counts(&self) -> Pair {
        self.counts.plus(self.proof.settled)
    }

    /// Takes what a window tells by cohorts; `past` is what closed blocks have counted, `place` without a rate of it. Whoever is not
    /// back after the threshold's time is above it, however it ends.
    pub(crate) fn take(&mut self, place: Place, cohorts: &[Cohort], past: &Histograms, scale: &Scale) {
        let Some(at) = self.at else {
            self.proof.pass(place.epoch, cohorts);
            self.at = choose(&past.stable, scale);
            return;
        };
        let place = Place { past: past_rate(cut(&past.stable, at)), ..place };
        self.proof.take(place, cohorts, |cohort| side(cohort, at, scale), settles(at, scale));
    }

    /// The same of an epoch that is over.
    pub(crate) fn take_late(&mut self, at_ms: (u64, u64), ln_safe: f64, cohorts: &[Cohort], scale: &Scale) {
        if let Some(at) = self.at {
            self.proof.take_late(at_ms, ln_safe, cohorts, |cohort| side(cohort, at, scale), settles(at, scale));
        }
    }

    /// Takes one closed block; `past` is what the blocks before it have counted.
    pub(crate) fn add(&mut self, block: &Histograms, past: &Histograms, scale: &Scale, ln_safe: f64) {
        if self.at.is_none() {
            self.at = choose(&past.stable, scale);
        }
        let Some(at) = self.at else { return };
        let (canary, stable) = (cut(&block.canary, scale.cut(at)), cut(&block.stable, at));
        let sample = Sample { n_c: canary.n as f64, x_c: canary.x as f64, n_b: stable.n as f64, x_b: stable.x as f64 };
        self.proof.product.add_sample(sample, past_rate(cut(&past.stable, at)), ln_safe);
        self.counts = self.counts.plus(Pair { canary, stable });
    }

    /// The thresholds of stable and of the canary, once chosen, in milliseconds.
    pub(crate) fn thresholds_ms(&self, scale: &Scale) -> Option<(f64, f64)> {
        self.at.map(|at| (scale.boundary_ms(at), scale.boundary_ms(scale.cut(at))))
    }

    /// Stable's share above the threshold so far.
    pub(crate) fn past(&self, all: &Histograms) -> f64 {
        self.at.map_or(MARGIN, |at| past_rate(cut(&all.stable, at)))
    }
}

fn side(cohort: &Cohort, at: usize, scale: &Scale) -> Side {
    let at = if cohort.canary { scale.cut(at) } else { at };
    let (mut back, mut slow) = (0_u64, 0_u64);
    for (bucket, count) in &cohort.latency {
        back = back.saturating_add(*count);
        slow = slow.saturating_add(if usize::from(*bucket) > at { *count } else { 0 });
    }
    let known = back.saturating_add(cohort.gone);
    Side { admitted: cohort.admitted, known, failed: slow, left_out: cohort.gone }
}

fn settles(at: usize, scale: &Scale) -> Settles {
    // The cast saturates: beyond every boundary nothing is ever too late.
    Settles::After(libm::ceil(scale.boundary_ms(scale.cut(at))) as u64)
}

fn cut(histogram: &Histogram, at: usize) -> Counts {
    Counts::answered(histogram.total(), histogram.above(at))
}

/// The first boundary above the 99th percentile, or the highest that both versions can be cut at.
fn choose(stable: &Histogram, scale: &Scale) -> Option<usize> {
    let highest = scale.highest();
    (stable.total() >= ANSWERS).then(|| stable.rarely_above(100).map_or(highest, |at| at.min(highest)))
}

#[cfg(test)]
mod tests {
    use super::{Histograms, Scale, choose};

    #[test]
    fn the_threshold_lies_above_the_99th_percentile() {
        let scale = Scale::gateway(1.1);
        let chosen = |counts: &[(u8, u64)]| {
            let mut both = Histograms::empty(&scale);
            both.add_sparse(&[], counts);
            choose(&both.stable, &scale)
        };
        assert_eq!(chosen(&[(10, 999)]), None, "too few");
        assert_eq!(chosen(&[(10, 990), (50, 10)]), Some(10));
        assert_eq!(chosen(&[(10, 989), (50, 11)]), Some(50));
        assert_eq!(chosen(&[(117, 1_000)]), Some(115));
    }
}
