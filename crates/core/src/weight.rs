//! Shares of traffic.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A share of traffic in basis points, 0 to 10000. Shown to people as a percentage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(try_from = "u16", into = "u16")]
pub struct Weight(u16);

/// A weight above 10000 basis points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a weight is 0 to 10000 basis points, not {0}")]
pub struct InvalidWeight(pub u16);

impl Weight {
    /// No traffic.
    pub const NONE: Self = Self(0);
    /// All traffic.
    pub const ALL: Self = Self(10_000);

    /// A weight of so many basis points.
    ///
    /// # Errors
    /// Above 10000.
    pub const fn new(basis_points: u16) -> Result<Self, InvalidWeight> {
        if basis_points > 10_000 { Err(InvalidWeight(basis_points)) } else { Ok(Self(basis_points)) }
    }

    /// Basis points, 0 to 10000.
    #[must_use]
    pub const fn basis_points(self) -> u16 {
        self.0
    }

    /// What is left for the other version.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(10_000 - self.0)
    }

    /// The share of `part` in `whole` requests, rounded to the nearest basis point; none of nothing is none.
    #[must_use]
    pub fn share(part: u64, whole: u64) -> Self {
        if whole == 0 {
            return Self::NONE;
        }
        let part = u128::from(part.min(whole));
        let whole = u128::from(whole);
        Self(u16::try_from((part * 10_000 + whole / 2) / whole).unwrap_or(10_000))
    }
}

impl TryFrom<u16> for Weight {
    type Error = InvalidWeight;
    fn try_from(basis_points: u16) -> Result<Self, InvalidWeight> {
        Self::new(basis_points)
    }
}

impl From<Weight> for u16 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, hundredths) = (self.0 / 100, self.0 % 100);
        match hundredths {
            0 => write!(f, "{whole} %"),
            h if h % 10 == 0 => write!(f, "{whole}.{} %", h / 10),
            h => write!(f, "{whole}.{h:02} %"),
        }
    }
}
