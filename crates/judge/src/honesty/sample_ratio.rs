//! Whether the canary is given the share that is configured.
//!
//! Null: each request is routed to the canary with odds within a factor 1.05 of `w/(1 − w)`. Ten likelihood ratios, their
//! average: odds `1.1, 1.25, 1.5, 2, 4` times `w/(1 − w)` against 1.05 times, and the reciprocals. A ratio against the null's
//! edge expects at most 1 on its whole side, since a draw's expectation is linear in the chance of the draw.
//!
//! A split that is not the one configured is a bug between the two versions, and often one that sends each the requests
//! it likes: then nothing that is compared means what it seems to.

use serde::{Deserialize, Serialize};

use crate::blocks::Block;
use crate::counts::WHOLE;
use crate::sum::ln_mix;

/// How far the odds may be off.
const TOLERANCE: f64 = 1.05;

/// How far off the alternatives are.
const FACTORS: [f64; 5] = [1.1, 1.25, 1.5, 2.0, 4.0];

const ALTERNATIVES: usize = 2 * FACTORS.len();

/// `ln 1000`: a right split is called wrong in at most one of 1,000 rollouts.
const LN_ALARM: f64 = 6.907_755_278_982_137;

/// Routing decisions against the configured split, in closed blocks where both versions had a share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SampleRatio {
    /// Requests routed to the canary.
    pub given: u64,
    /// As many as the weights would have given it.
    pub due: f64,
    /// Requests routed to both.
    pub routed: u64,
    /// `ln E` against a split within a factor 1.05, in odds, of the one configured.
    pub ln_e: f64,
    /// Whether `ln_e` has ever reached `ln 1000`: no step is left without a person.
    pub wrong: bool,
}

/// The process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Split {
    pub(crate) reading: SampleRatio,
    products: [f64; ALTERNATIVES],
}

/// `ln e` of one block for each of the ten alternatives, at weight `share` in (0, 1).
fn ln_e(canary: u64, stable: u64, share: f64) -> [f64; ALTERNATIVES] {
    let odds = share / (1.0 - share);
    std::array::from_fn(|index| {
        let factor = FACTORS[index % FACTORS.len()];
        let (other, edge) =
            if index < FACTORS.len() { (odds * factor, odds * TOLERANCE) } else { (odds / factor, odds / TOLERANCE) };
        // With odds o a request is the canary's with chance o/(1 + o).
        let stays = libm::log1p(edge) - libm::log1p(other);
        canary as f64 * (libm::log(other / edge) + stays) + stable as f64 * stays
    })
}

impl Split {
    /// Takes one closed block in which both versions had a share.
    pub(crate) fn add(&mut self, block: &Block) {
        let (canary, stable) = (block.counts.canary.admitted, block.counts.stable.admitted);
        let share = f64::from(block.weight) / f64::from(WHOLE);
        let reading = &mut self.reading;
        reading.given = reading.given.saturating_add(canary);
        reading.routed = reading.routed.saturating_add(canary).saturating_add(stable);
        reading.due += share * (canary as f64 + stable as f64);
        for (product, term) in self.products.iter_mut().zip(ln_e(canary, stable, share)) {
            *product += term;
        }
        let even = -libm::log(ALTERNATIVES as f64);
        reading.ln_e = ln_mix(&self.products.map(|product| (even, product)));
        reading.wrong |= reading.ln_e >= LN_ALARM;
    }
}

#[cfg(test)]
mod tests {
    use super::ln_e;

    #[test]
    fn it_expects_at_most_one_within_the_tolerance() {
        let mut worst: f64 = 0.0;
        for share in [0.0001, 0.01, 0.1, 0.5, 0.9, 0.9999] {
            for n in [1_u64, 2, 7, 20] {
                for factor in [1.05, 1.0, 1.0 / 1.05, 1.02] {
                    let odds = factor * share / (1.0 - share);
                    let p: f64 = odds / (1.0 + odds);
                    let mut expected = [0.0; 10];
                    let mut weight = (1.0 - p).powi(n as i32);
                    for canary in 0..=n {
                        for (sum, ln_e) in expected.iter_mut().zip(ln_e(canary, n - canary, share)) {
                            *sum += weight * ln_e.exp();
                        }
                        weight *= (n - canary) as f64 / (canary + 1) as f64 * odds;
                    }
                    worst = expected.into_iter().fold(worst, f64::max);
                    assert!(
                        expected.iter().all(|e| *e <= 1.0 + 1e-9),
                        "share {share} n {n} factor {factor}: {expected:?}"
                    );
                }
            }
        }
        assert!(worst > 0.999, "it never comes near its bound: {worst}");
    }
}
