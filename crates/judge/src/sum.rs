//! A compensated sum: what a rollout of days adds up must not drift.

/// Neumaier's variant of Kahan's summation (Neumaier 1974): the error does not grow with the number of terms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sum {
    total: f64,
    lost: f64,
}

impl Sum {
    /// A sum that begins at a value.
    pub(crate) const fn of(total: f64) -> Self {
        Self { total, lost: 0.0 }
    }

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

/// Terms so far below the largest, as a logarithm, that no sum of them could be seen in its last digit.
const UNSEEN: f64 = -60.0;

/// `ln Σ exp(term)` without overflow, in the order given. The terms must not be empty.
pub(crate) fn ln_sum(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let peak = terms.clone().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = Sum::default();
    for below in terms.map(|term| term - peak) {
        if below > UNSEEN {
            sum.add(libm::exp(below));
        }
    }
    peak + libm::log(sum.value())
}

/// `ln Σ exp(ln_weight + ln_value)`, as [`ln_sum`].
pub(crate) fn ln_mix(terms: &[(f64, f64)]) -> f64 {
    ln_sum(terms.iter().map(|(weight, value)| weight + value))
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
    fn ten_million_terms_do_not_drift() {
        let (mut sum, term, times) = (Sum::default(), 0.1 - 1e-9 / 3.0, 10_000_000);
        for _ in 0..times {
            sum.add(term);
            sum.add(-1e6);
            sum.add(1e6);
        }
        assert!((sum.value() - term * f64::from(times)).abs() < 1e-9 * term * f64::from(times));
    }

    #[test]
    fn a_mixture_of_equals_is_itself() {
        let half = libm::log(0.5);
        assert!((ln_mix(&[(half, 1e12), (half, 1e12)]) - 1e12).abs() < 1e-3);
        assert!(ln_mix(&[(half, 0.0), (half, 0.0)]).abs() < 1e-15);
    }
}
