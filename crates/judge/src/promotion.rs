//! The proof that a step is safe.
//!
//! Null: `p_c ≥ p_b + δ1`. Alternative, from stable's past only: `p_b*` near its rate, `p_c* = p_b* + f δ1` for `f` in
//! 0, ¼, ½. A block multiplies by the likelihood ratio of the alternative against that point of the null,
//! `(θ_b + δ1, θ_b)`, which is nearest to it in relative entropy.
//!
//! `E[e] ≤ 1` under the whole null: the expectation of one request's factor is
//! `1 + (p − θ)(p* − θ)/(θ(1 − θ))`, so the product is at most `exp` of the sum of these terms over the block; that sum is
//! minus the derivative of the relative entropy at its minimum, towards a point of a convex set, hence not above 0.
//! Only the averages of `p` over the block matter, so rates may change within it.
//! Source: Turner, Ly, Grünwald, *Generic E-variables for exact sequential k-sample tests that allow for optional stopping*.

use crate::blocks::Block;
use crate::counts::{Counts, WHOLE};
use crate::sum::{Sum, ln_mix};

/// Where the alternatives lie between stable's rate and the margin.
pub(crate) const FRACTIONS: [f64; 3] = [0.0, 0.25, 0.5];

/// Bisections for the nearest point of the null: enough to reach neighbouring floats from anywhere in (0, 1).
const BISECTIONS: usize = 100;

/// Closer than this to 0 or 1 the nearest point is not told apart from certainty; such a block counts 1.
const CERTAIN: f64 = 1e-13;

/// The margin of a step without one of its own, as a difference of failure rates: `clamp(0.001/w, 0.002, 0.05)` with `w`
/// the weight as a fraction, `weight_bp` in basis points. 5 % at 1 %, 1 % at 10 %, 0.2 % at 50 %.
#[must_use]
pub fn margin(weight_bp: u16) -> f64 {
    if weight_bp == 0 {
        return 0.05;
    }
    (0.001 * f64::from(WHOLE) / f64::from(weight_bp)).clamp(0.002, 0.05)
}

/// `p̂_b = (x + ½)/(n + 1000)` of stable over all past blocks of the rollout.
#[must_use]
pub fn past_rate(stable: Counts) -> f64 {
    (stable.x as f64 + 0.5) / (stable.n as f64 + 1_000.0)
}

/// The counts of a block as the likelihood takes them. Fractions are allowed: a forecast has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Requests of the canary.
    pub n_c: f64,
    /// Of these, failures.
    pub x_c: f64,
    /// Requests of stable.
    pub n_b: f64,
    /// Of these, failures.
    pub x_b: f64,
}

/// `ln e` of one block against the margin `margin`, for the alternative at `fraction` of it above stable's rate, where
/// `past` is [`past_rate`]. 0 where the block cannot tell.
#[must_use]
pub fn ln_e(sample: Sample, past: f64, margin: f64, fraction: f64) -> f64 {
    let Sample { n_c, x_c, n_b, x_b } = sample;
    let p_b = past.clamp(1e-6, 1.0 - 1e-3);
    let p_c = f64::min(p_b + fraction * margin, 1.0 - 1e-6);
    if n_c <= 0.0 || n_b <= 0.0 || p_c >= p_b + margin {
        return 0.0;
    }
    let theta_b = nearest(n_c, n_b, p_c, p_b, margin);
    let theta_c = theta_b + margin;
    if theta_b < f64::MIN_POSITIVE || 1.0 - theta_c < CERTAIN {
        return 0.0;
    }
    likelihood_ratio(n_c, x_c, p_c, theta_c) + likelihood_ratio(n_b, x_b, p_b, theta_b)
}

/// `θ_b` of the point `(θ_b + δ1, θ_b)` nearest to `(p_c, p_b)`: the root of the derivative of
/// `n_c KL(p_c ‖ θ_b + δ1) + n_b KL(p_b ‖ θ_b)`, which rises from −∞ to ∞ on `(0, 1 − δ1)`.
fn nearest(n_c: f64, n_b: f64, p_c: f64, p_b: f64, margin: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0 - margin);
    for _ in 0..BISECTIONS {
        let theta = f64::midpoint(low, high);
        let shifted = theta + margin;
        // Both terms times both denominators: no division by what may round to 0.
        let slope = n_c * (shifted - p_c) * (theta * (1.0 - theta)) + n_b * (theta - p_b) * (shifted * (1.0 - shifted));
        if slope < 0.0 {
            low = theta;
        } else {
            high = theta;
        }
    }
    f64::midpoint(low, high)
}

/// `ln Bin(x; n, p) − ln Bin(x; n, θ)`; the binomial coefficients cancel.
fn likelihood_ratio(n: f64, x: f64, p: f64, theta: f64) -> f64 {
    x * libm::log(p / theta) + (n - x) * (libm::log1p(-p) - libm::log1p(-theta))
}

/// The product of one step. It begins on the first entry to a weight above every earlier one; going back, pausing and
/// extending continue it.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    /// The weight whose entry began it, in basis points.
    pub(crate) weight: u16,
    /// `δ1`, frozen when the step began.
    pub(crate) margin: f64,
    /// Whether it has ever reached `1/β`.
    pub(crate) proven: bool,
    pub(crate) sums: [Sum; FRACTIONS.len()],
}

impl Product {
    /// Begins the step at `weight` basis points. A margin that the user gave is kept as it is; else [`margin`] holds, at
    /// least half of stable's rate so far: nobody can prove less in useful time.
    pub(crate) fn begin(weight: u16, own: Option<f64>, past: f64) -> Self {
        let margin = own.unwrap_or_else(|| f64::max(margin(weight), 0.5 * past));
        Self { weight, margin, proven: false, sums: Default::default() }
    }

    /// Takes one closed block; `past` is stable's rate in the blocks before it.
    pub(crate) fn add(&mut self, block: &Block, past: f64, ln_safe: f64) {
        let Block { counts, .. } = block;
        let sample = Sample {
            n_c: counts.canary.n as f64,
            x_c: counts.canary.x as f64,
            n_b: counts.stable.n as f64,
            x_b: counts.stable.x as f64,
        };
        for (sum, fraction) in self.sums.iter_mut().zip(FRACTIONS) {
            sum.add(ln_e(sample, past, self.margin, fraction));
        }
        self.proven |= self.ln_e() >= ln_safe;
    }

    /// `ln E_prom`, the mean of the three products.
    pub(crate) fn ln_e(&self) -> f64 {
        ln_mean(self.sums.map(|sum| sum.value()))
    }
}

/// `ln` of the mean of `exp` of the three products' logarithms.
pub(crate) fn ln_mean(logarithms: [f64; FRACTIONS.len()]) -> f64 {
    let even = -libm::log(FRACTIONS.len() as f64);
    ln_mix(&logarithms.map(|logarithm| (even, logarithm)))
}

#[cfg(test)]
mod tests {
    use super::{Product, margin};

    #[test]
    fn margins_as_they_are_told_to_people() {
        let told =
            [(1, 0.05), (100, 0.05), (500, 0.02), (1_000, 0.01), (2_500, 0.004), (5_000, 0.002), (10_000, 0.002)];
        for (weight, expected) in told {
            assert!((margin(weight) - expected).abs() < 1e-15, "{weight}");
        }
    }

    #[test]
    fn a_bad_stable_widens_only_the_margin_nobody_gave() {
        assert_eq!(Product::begin(5_000, None, 0.1).margin, 0.05);
        assert_eq!(Product::begin(5_000, Some(0.003), 0.1).margin, 0.003);
    }
}
