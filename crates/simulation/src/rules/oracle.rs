//! A floor that nobody can reach: Wald's sequential test of the true rate against stable's, which knows both.
//!
//! It sees the canary's requests one by one, needs no stable to compare with, and puts traffic back at once when the
//! likelihood ratio of the canary's true rate to stable's reaches `1/α`. Steps pass by their hold alone. In the long run a
//! failure is worth `KL(p_c ‖ p_b)/p_c`, so the floor is about `ln(1/α) p_c / KL(p_c ‖ p_b)` failures ([`floor`]).

use super::{Rule, Ruling, Seen};
use crate::traffic::Second;

/// One rollout under the oracle.
#[derive(Clone, Debug)]
pub struct Oracle {
    ln_needed: f64,
    failure: f64,
    success: f64,
    ln_ratio: f64,
}

impl Oracle {
    /// It knows that stable fails `baseline` and the canary `canary`.
    #[must_use]
    pub fn new(alpha: f64, baseline: f64, canary: f64) -> Self {
        let (p, q) = (canary.clamp(1e-9, 1.0 - 1e-9), baseline.clamp(1e-9, 1.0 - 1e-9));
        Self { ln_needed: -alpha.ln(), failure: (p / q).ln(), success: ((1.0 - p) / (1.0 - q)).ln(), ln_ratio: 0.0 }
    }
}

impl Rule for Oracle {
    fn failed(&mut self, seen: &Seen) -> bool {
        // Where the canary is no worse there is nothing to find.
        if !seen.canary || self.failure <= 0.0 {
            return false;
        }
        self.ln_ratio += seen.successes as f64 * self.success + self.failure;
        self.ln_ratio >= self.ln_needed
    }

    fn second(&mut self, _second: &Second) -> Ruling {
        Ruling::Forward
    }

    fn patience_s(&self) -> u64 {
        60
    }
}

/// The oracle's mean harm by Wald's approximation, without overshoot; nothing where the canary is no worse.
#[must_use]
pub fn floor(alpha: f64, baseline: f64, canary: f64) -> Option<f64> {
    let (p, q) = (canary.clamp(1e-9, 1.0 - 1e-9), baseline.clamp(1e-9, 1.0 - 1e-9));
    let divergence = p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
    (p > q).then(|| -alpha.ln() * p / divergence)
}

#[cfg(test)]
mod tests {
    use super::floor;

    #[test]
    fn floors_as_published() {
        for (canary, told) in [(0.003, 10.65), (0.01, 3.27), (0.05, 1.56), (0.5, 0.8)] {
            let found = floor(0.01, 0.001, canary).expect("it is worse");
            assert!((found - told).abs() < 0.05, "{canary}: {found}");
        }
        assert_eq!(floor(0.01, 0.001, 0.001), None);
    }
}
