//! How far a step is from its proof.

use serde::{Deserialize, Serialize};

use crate::counts::WHOLE;
use crate::promotion::{Product, Sample, ln_mean};

/// What a step still needs, if the canary fails no more and stable fails at its past rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Forecast {
    /// Canary requests.
    pub requests: u64,
    /// Seconds at the canary's traffic of the last minute, where there is any.
    pub seconds: Option<f64>,
}

/// The least number of canary requests that can prove a step of margin `margin` (a difference of failure rates) with
/// chance of error `beta`: `⌈ln(1/β)/(−ln(1 − δ1))⌉`. Time promotes nothing, and less traffic cannot.
#[must_use]
pub fn forecast_requests(margin: f64, beta: f64) -> u64 {
    // The cast saturates, and gives 0 for what is not a number.
    libm::ceil(-libm::log(beta) / -libm::log1p(-margin)) as u64
}

/// Beyond this many canary requests a forecast says nothing to a person.
const BEYOND: f64 = 1e15;

/// Canary requests without a failure until `product` reaches `ln_safe` at `weight`; nothing if that is out of reach.
pub(crate) fn requests(product: &Product, weight: u16, past: f64, ln_safe: f64) -> Option<u64> {
    requests_failing(0.0, product, weight, past, ln_safe)
}

/// As [`requests`], with `rate` failures of the canary per request.
pub(crate) fn requests_failing(rate: f64, product: &Product, weight: u16, past: f64, ln_safe: f64) -> Option<u64> {
    let share = f64::from(weight) / f64::from(WHOLE);
    let n_b = (1.0 - share) / share;
    let growth = product.growth(Sample { n_c: 1.0, x_c: rate, n_b, x_b: n_b * past }, past);
    let now = product.now();
    let reached = |requests: f64| ln_mean(std::array::from_fn(|k| now[k] + requests * growth[k])) >= ln_safe;
    let mut high = 1.0;
    while !reached(high) {
        high *= 2.0;
        if high > BEYOND {
            return None;
        }
    }
    let mut low = 0.0;
    while high - low > 1.0 {
        let middle = libm::floor(f64::midpoint(low, high));
        if reached(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high as u64)
}

#[cfg(test)]
mod tests {
    use super::{forecast_requests, requests};
    use crate::promotion::Product;

    #[test]
    fn the_least_is_what_a_person_is_told() {
        assert_eq!(forecast_requests(0.05, 0.05), 59);
        assert_eq!(forecast_requests(0.002, 0.05), 1_497);
        assert_eq!(forecast_requests(1.0, 0.05), 0);
    }

    #[test]
    fn a_fresh_step_needs_somewhat_more_than_the_least() {
        for (weight, least) in [(100, 59), (500, 149), (2_500, 748), (5_000, 1_497)] {
            let product = Product::begin(weight, None, 0.001);
            let needed = requests(&product, weight, 0.001, 3.0).expect("in reach");
            assert!(needed > least && needed < 3 * least, "{weight}: {needed} of {least}");
        }
    }
}
