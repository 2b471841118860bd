//! A compensated sum: what a rollout of days adds up must not drift.

/// Neumaier's variant of Kahan's summation (Neumaier 1974): the error does not grow with the number of terms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sum {
    total: f64,
    lost: f64,
}

impl Sum {
    /// Adds one finite term.
    pub(crate) fn add(&mut self, term: f64) {
        let next = self.total + term;
        self.lost +=
            if self.total.abs() >= term.abs() { (self.total - next) + term } else { (term - next) + self.total };
        self.total = next;
    }

    /// The sum so far.
    pub(crate) fn value(&self) -> f64 {
        self.total + self.lost
    }
}

/// `ln Σ exp(ln_weight + ln_value)` without overflow, in the order given. The terms must not be empty.
pub(crate) fn ln_mix(terms: &[(f64, f64)]) -> f64 {
    let peak = terms.iter().map(|(weight, value)| weight + value).fold(f64::NEG_INFINITY, f64::max);
    let mut sum = Sum::default();
    for (weight, value) in terms {
        sum.add(libm::exp(weight + value - peak));
    }
    peak + libm::log(sum.value())
}

#[cfg(test)]
mod tests {
    use super::{Sum, ln_mix};

    #[test]
    fn small_terms_survive_large_ones() {
        let mut sum = Sum::default();
        for term in [1.0, 1e100, 1.0, -1e100] {
            sum.add(term);
        }
        assert_eq!(sum.value(), 2.0);
    }

    #[test]
    fn a_mixture_of_equals_is_itself() {
        let half = libm::log(0.5);
        assert!((ln_mix(&[(half, 1e12), (half, 1e12)]) - 1e12).abs() < 1e-3);
        assert!(ln_mix(&[(half, 0.0), (half, 0.0)]).abs() < 1e-15);
    }
}
