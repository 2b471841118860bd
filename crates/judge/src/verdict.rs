//! What the judge says.

use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;

/// A decision and all it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Verdict {
    /// The decision.
    pub kind: Kind,
    /// The epoch of the last window that was counted; 0 before the first.
    pub epoch: u64,
    /// Its weight in basis points.
    pub weight: u16,
    /// The numbers.
    pub evidence: Evidence,
    /// The rule that was applied, in one plain sentence for a person.
    pub because: String,
}

/// The decision. Only [`Kind::Safe`] moves traffic forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The canary is worse than its limits: roll back. It stays so for ever.
    Harmful,
    /// This step's margin is proven, and nothing speaks against the canary right now.
    Safe,
    /// Neither is shown.
    Undecided,
    /// The canary has a share, and no request came to it for [`crate::NO_TRAFFIC_MS`].
    NoTraffic,
    /// A source failed, was silent or sent nonsense, and no good window has come since.
    Blind,
}

/// Why nothing can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blindness {
    /// A source of counts failed or answered with an error.
    Source,
    /// No window came in time.
    Silence,
    /// A window came that cannot be true.
    Nonsense,
}
