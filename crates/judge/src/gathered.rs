//! What the unfinished block knows besides its counts.

use crate::blocks::compares;
use crate::counts::{Pair, Window};
use crate::details::Details;
use crate::evidence::Measure;
use crate::latency::{Histograms, Scale};

/// Slow requests and latencies of the windows gathered so far. Its memory is kept from block to block.
#[derive(Clone, Debug)]
pub(crate) struct Gathered {
    /// Requests that ended and, as failures, those above the latency limit.
    pub(crate) slow: Pair,
    pub(crate) latencies: Option<Histograms>,
    /// Whether the source tells when requests were admitted.
    pub(crate) by_admission: bool,
    wants_slow: bool,
}

impl Gathered {
    pub(crate) fn begin(wants_slow: bool, scale: Option<&Scale>) -> Self {
        Self { slow: Pair::default(), latencies: scale.map(Histograms::empty), by_admission: false, wants_slow }
    }

    /// What of the details the policy asks for; the rest is not looked at.
    pub(crate) fn asked<'a>(&self, details: &Details<'a>) -> Details<'a> {
        let latency = details.latency.filter(|_| self.latencies.is_some());
        Details { latency, slow: details.slow.filter(|_| self.wants_slow), ..*details }
    }

    /// Adds what is known of a window.
    pub(crate) fn add(&mut self, details: &Details<'_>) {
        self.by_admission |= !details.cohorts.is_empty();
        if let Some(slow) = details.slow {
            self.slow = self.slow.plus(slow);
        }
        if let (Some(sum), Some(latency)) = (&mut self.latencies, details.latency) {
            sum.add_sparse(latency.canary, latency.stable);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.slow = Pair::default();
        self.by_admission = false;
        if let Some(latencies) = &mut self.latencies {
            latencies.clear();
        }
    }

    /// What the policy asks for and a window with requests does not tell: missing data is never healthy.
    pub(crate) fn missing(&self, window: &Window, details: &Details<'_>) -> Option<Measure> {
        if window.canary.n == 0 && window.stable.n == 0 {
            None
        } else if self.latencies.is_some() && details.latency.is_none() && compares(window.weight) {
            Some(Measure::Latency)
        } else if self.wants_slow && details.slow.is_none() && window.weight > 0 {
            Some(Measure::SlowLimit)
        } else {
            None
        }
    }
}
