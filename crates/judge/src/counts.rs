//! What the judge is given: integer counts of both versions in a stretch of time.

use serde::{Deserialize, Serialize};

/// The weight of a canary that carries everything, in basis points.
pub const WHOLE: u16 = 10_000;

/// A count above this in one window is nonsense: no service answers so much, and sums below it cannot overflow.
pub const ABSURD: u64 = 1_000_000_000_000_000;

/// Counts of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Counts {
    /// Requests that ended: answered, failed, or given up by the client (the last are not failures).
    pub n: u64,
    /// Of these, failures. Never above `n`.
    pub x: u64,
    /// Requests routed to this version, counted when they were admitted; those still in flight are among them. A source
    /// that counts only answers gives `n` here.
    pub admitted: u64,
    /// Of the failures, those of clients that had failed before in this rollout, where clients stay with a version: one broken
    /// client is one failure to the rollback evidence, however often it tries. Never above `x`.
    #[serde(default)]
    pub repeated: u64,
}

impl Counts {
    /// Counts of a source that knows only answers.
    #[must_use]
    pub const fn answered(n: u64, x: u64) -> Self {
        Self { n, x, admitted: n, repeated: 0 }
    }

    /// Failures per request that ended, or nothing without a request.
    #[must_use]
    pub fn rate(self) -> Option<f64> {
        (self.n > 0).then(|| self.x as f64 / self.n as f64)
    }

    /// Failures, each client's first only.
    pub(crate) const fn first_failures(self) -> u64 {
        self.x.saturating_sub(self.repeated)
    }

    /// The sum of both, integer by integer.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            n: self.n.saturating_add(other.n),
            x: self.x.saturating_add(other.x),
            admitted: self.admitted.saturating_add(other.admitted),
            repeated: self.repeated.saturating_add(other.repeated),
        }
    }

    /// What came after `earlier`, a former state of the same running count.
    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self {
            n: self.n.saturating_sub(earlier.n),
            x: self.x.saturating_sub(earlier.x),
            admitted: self.admitted.saturating_sub(earlier.admitted),
            repeated: self.repeated.saturating_sub(earlier.repeated),
        }
    }
}

/// Counts of both versions over the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Pair {
    /// The version on trial.
    pub canary: Counts,
    /// The version that serves.
    pub stable: Counts,
}

impl Pair {
    /// The sum of both, version by version.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { canary: self.canary.plus(other.canary), stable: self.stable.plus(other.stable) }
    }

    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self { canary: self.canary.since(earlier.canary), stable: self.stable.since(earlier.stable) }
    }
}

/// One sealed window: counts of both versions, of requests that were **routed** under one epoch of the weight.
///
/// Windows of several gateways with equal epoch, weight and time are summed before they come here. Within an epoch
/// they come in order of time and do not overlap; epochs only grow. What breaks that order is not counted (see
/// [`crate::Judge::observe`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Generation of the routing; grows whenever the weight changes.
    pub epoch: u64,
    /// The canary's configured share of traffic, in basis points, 0 to 10,000.
    pub weight: u16,
    /// Begin, in milliseconds since the rollout began.
    pub from_ms: u64,
    /// End, exclusive, in milliseconds since the rollout began.
    pub to_ms: u64,
    /// The version on trial.
    pub canary: Counts,
    /// The version that serves.
    pub stable: Counts,
}

/// Why a window cannot be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nonsense {
    /// More failures than requests.
    MoreFailuresThanRequests,
    /// A count above [`ABSURD`].
    AbsurdCount,
    /// A window that ends before or as it begins.
    NoDuration,
    /// A weight above 100 %.
    WeightAboveWhole,
    /// A histogram with buckets out of order or beyond the last, or with more answers than requests.
    Histogram,
    /// More slow requests than requests.
    MoreSlowThanRequests,
}

impl Window {
    /// Refuses what cannot be true.
    ///
    /// # Errors
    ///
    /// The first [`Nonsense`] found.
    pub fn check(&self) -> Result<(), Nonsense> {
        let both = [self.canary, self.stable];
        if self.weight > WHOLE {
            Err(Nonsense::WeightAboveWhole)
        } else if self.to_ms <= self.from_ms {
            Err(Nonsense::NoDuration)
        } else if both.iter().any(|counts| counts.n > ABSURD || counts.admitted > ABSURD) {
            Err(Nonsense::AbsurdCount)
        } else if both.iter().any(|counts| counts.x > counts.n || counts.repeated > counts.x) {
            Err(Nonsense::MoreFailuresThanRequests)
        } else {
            Ok(())
        }
    }

    pub(crate) const fn pair(&self) -> Pair {
        Pair { canary: self.canary, stable: self.stable }
    }
}
