//! A z-test looked at each second, as if it were looked at once: what people do by hand on a dashboard.
//!
//! All requests so far, two proportions with a pooled variance, one side at 1 % (z above 2.326). Its chance of a false
//! rollback is many times that, since it is looked at many times. A step lasts its hold, at least a minute.

use super::{Rule, Ruling, Tally};
use crate::traffic::Second;

/// The 99th percentile of the normal distribution.
const LIMIT: f64 = 2.326;

/// All so far.
#[derive(Clone, Debug, Default)]
pub struct Peeking {
    all: Tally,
}

impl Rule for Peeking {
    fn second(&mut self, second: &Second) -> Ruling {
        self.all.add(second);
        let (n_c, n_b) = (self.all.canary as f64, self.all.stable as f64);
        let (x_c, x_b) = (self.all.canary_failed as f64, self.all.stable_failed as f64);
        if n_c == 0.0 || n_b == 0.0 || x_c + x_b == 0.0 {
            return Ruling::Forward;
        }
        let pooled = (x_c + x_b) / (n_c + n_b);
        let z = (x_c / n_c - x_b / n_b) / (pooled * (1.0 - pooled) * (1.0 / n_c + 1.0 / n_b)).sqrt();
        if z > LIMIT { Ruling::Back } else { Ruling::Forward }
    }

    fn patience_s(&self) -> u64 {
        60
    }
}
