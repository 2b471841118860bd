//! Where latencies are cut.

use std::fmt;

/// The gateway's boundaries: `1 ms · 1.1^i`.
const GROWTH: f64 = 1.1;

/// How many there are: the last is 63 s.
const BOUNDARIES: usize = 117;

/// A canary that answers no more than this later than stable is not slower, whatever the ratio: between a place and another, or
/// beside a busier neighbour, everything quick differs by as much, and nobody is harmed.
pub const FLOOR_MS: f64 = 5.0;

/// More thresholds than this are thinned: each dilutes all others.
const THRESHOLDS: usize = 59;

/// The canary's odds against stable's that are allowed where both are cut at the same coarse boundary.
pub const IMPORTED_ODDS: f64 = 1.25;

/// Boundaries of a histogram, and how far apart both versions are cut.
///
/// Bucket `i` holds what took longer than boundary `i − 1` and at most boundary `i`; one bucket more holds what took longer
/// than the last. The canary is cut `shift` boundaries above stable, or more where that is nearer than a floor.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    boundaries_ms: Vec<f64>,
    /// For each boundary at which stable may be cut, the one at which the canary is.
    cuts: Vec<usize>,
    every: usize,
    odds: f64,
}

/// Why latencies cannot be cut so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InvalidScale {
    /// A boundary is not above the one before, not above 0, or not finite.
    Boundary(f64),
    /// There are none, or more than 255.
    Boundaries(usize),
    /// The shift leaves no boundary to cut at.
    Shift(usize),
    /// The odds are below 1 or not finite.
    Odds(f64),
}

impl fmt::Display for InvalidScale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boundary(value) => {
                write!(f, "a boundary is {value} s; give finite numbers above 0, each above the last")
            }
            Self::Boundaries(count) => write!(f, "there are {count} boundaries; give 1 to 255"),
            Self::Shift(shift) => write!(f, "the shift is {shift} buckets; give fewer than there are boundaries"),
            Self::Odds(value) => write!(f, "the odds are {value}; give 1 or more: below 1 nothing can be promised"),
        }
    }
}

impl std::error::Error for InvalidScale {}

impl Scale {
    /// The gateway's boundaries `1 ms · 1.1^i`, `i` from 0 to 116 (63 s); the canary is allowed `ratio` times stable's latency,
    /// rounded up to `1.1^m`, and at least [`FLOOR_MS`] more. `ratio` is 1 to 1000.
    pub(crate) fn gateway(ratio: f64) -> Self {
        // What is 1.1^m up to rounding is m.
        let shift = libm::ceil(libm::log(ratio) / libm::log(GROWTH) - 1e-9) as usize;
        let boundaries_ms = (0..BOUNDARIES).map(|i| libm::pow(GROWTH, i as f64)).collect();
        Self::cut_at(boundaries_ms, shift.min(BOUNDARIES - 1), FLOOR_MS, 2, 1.0)
    }

    /// Boundaries of one's own, in seconds, such as the `le` of an imported histogram without `+Inf`. The canary is cut
    /// `shift` boundaries above stable, and its odds of being above may be `odds` times stable's: 1 with a shift, else
    /// [`IMPORTED_ODDS`] is advised.
    ///
    /// # Errors
    ///
    /// What leaves nothing to compare.
    pub fn new(boundaries_s: &[f64], shift: usize, odds: f64) -> Result<Self, InvalidScale> {
        if boundaries_s.is_empty() || boundaries_s.len() > usize::from(u8::MAX) {
            return Err(InvalidScale::Boundaries(boundaries_s.len()));
        }
        let mut last = 0.0;
        for boundary in boundaries_s {
            if !(boundary.is_finite() && *boundary > last) {
                return Err(InvalidScale::Boundary(*boundary));
            }
            last = *boundary;
        }
        if shift >= boundaries_s.len() {
            return Err(InvalidScale::Shift(shift));
        }
        if !(1.0..=1e6).contains(&odds) {
            return Err(InvalidScale::Odds(odds));
        }
        let boundaries_ms = boundaries_s.iter().map(|boundary| 1_000.0 * boundary).collect();
        let every = boundaries_s.len().div_ceil(THRESHOLDS);
        Ok(Self::cut_at(boundaries_ms, shift, 0.0, every, odds))
    }

    fn cut_at(boundaries_ms: Vec<f64>, shift: usize, floor_ms: f64, every: usize, odds: f64) -> Self {
        let cut = |(at, boundary): (usize, &f64)| {
            let beyond = boundaries_ms.iter().position(|other| *other >= boundary + floor_ms)?;
            Some(usize::max(beyond, at + shift)).filter(|cut| *cut < boundaries_ms.len())
        };
        Self { cuts: boundaries_ms.iter().enumerate().map_while(cut).collect(), boundaries_ms, every, odds }
    }

    /// How many buckets a histogram has.
    #[must_use]
    pub fn buckets(&self) -> usize {
        self.boundaries_ms.len() + 1
    }

    /// Boundary `index` in milliseconds.
    #[must_use]
    pub fn boundary_ms(&self, index: usize) -> f64 {
        self.boundaries_ms.get(index).copied().unwrap_or(f64::MAX)
    }

    /// The boundary at which the canary is cut where stable is cut at `at`; never below that, and it rises with it.
    pub(crate) fn cut(&self, at: usize) -> usize {
        self.cuts.get(at).copied().unwrap_or(self.boundaries_ms.len())
    }

    /// The canary's odds of being above that are allowed.
    pub(crate) fn odds(&self) -> f64 {
        self.odds
    }

    /// The boundaries at which stable is cut.
    pub(crate) fn thresholds(&self) -> impl Iterator<Item = usize> {
        (0..self.cuts.len()).step_by(self.every)
    }

    /// The highest boundary at which stable could be cut.
    pub(crate) fn highest(&self) -> usize {
        self.cuts.len().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidScale, Scale};

    #[test]
    fn the_gateways_scale() {
        let shifts = [(1.0, 0), (1.05, 1), (1.1, 1), (1.1 * 1.1, 2), (1.25, 3), (2.0, 8), (1_000.0, 73)];
        for (ratio, shift) in shifts {
            assert_eq!(
                Scale::gateway(ratio).cut(60),
                (60 + shift.max(1)).min(117),
                "{ratio}, where the floor is below a boundary"
            );
        }
        let quick = Scale::gateway(1.1);
        assert!((0..40).all(|at| {
            let (stable, canary) = (quick.boundary_ms(at), quick.boundary_ms(quick.cut(at)));
            canary >= stable + 5.0 && canary <= 1.1 * (stable + 5.0)
        }));
        let scale = Scale::gateway(1.1);
        assert_eq!((scale.buckets(), scale.thresholds().count(), scale.highest()), (118, 58, 115));
        assert_eq!(scale.boundary_ms(0), 1.0);
        assert!((scale.boundary_ms(116) - 63_321.5).abs() < 1.0, "{}", scale.boundary_ms(116));
        // The last boundary has none beyond it by the floor.
        assert_eq!((Scale::gateway(1.0).thresholds().count(), Scale::gateway(1.0).highest()), (58, 115));
    }

    #[test]
    fn what_leaves_nothing_to_compare_is_refused() {
        let refuse = |boundaries: &[f64], shift, odds| Scale::new(boundaries, shift, odds).expect_err("refused");
        assert_eq!(refuse(&[], 0, 1.0), InvalidScale::Boundaries(0));
        assert_eq!(refuse(&[0.1, 0.1], 0, 1.0), InvalidScale::Boundary(0.1));
        assert_eq!(refuse(&[0.1, f64::INFINITY], 0, 1.0), InvalidScale::Boundary(f64::INFINITY));
        assert_eq!(refuse(&[0.1, 0.2], 2, 1.0), InvalidScale::Shift(2));
        assert_eq!(refuse(&[0.1, 0.2], 0, 0.5), InvalidScale::Odds(0.5));
        let many: Vec<f64> = (1..=200).map(f64::from).collect();
        assert!(Scale::new(&many, 0, 1.25).expect("valid").thresholds().count() <= 59);
    }
}
