//! How a new release takes over: the strategies, and what a step of a canary may ask for besides its weight.

use crate::{Millis, Weight};
use davy_judge::ramp::{self, rungs};
use serde::{Deserialize, Serialize};

/// How a new release takes over from the one that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// By rising weights, each of them proven.
    Canary(Canary),
    /// Whole beside the old one, switched at once, judged against the past.
    BlueGreen(BlueGreen),
    /// In waves of instances, each observed.
    Rolling(Rolling),
    /// The old instances end before the new ones begin: requests fail in between.
    Recreate,
}

/// The steps of a canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Canary {
    /// Rising weights; at least one below 100 %, the last is 100 %.
    pub steps: Vec<CanaryStep>,
    /// Whether a client stays with the release that it was given, by a signed cookie.
    pub sticky: bool,
    /// Whether the judge chooses among the steps: it begins where it may and leaves out what it need not pass through.
    #[serde(default)]
    pub auto: bool,
}

impl Canary {
    /// What stays with the old release until the last automatic step, where nothing else is said.
    pub const HOLDBACK: Weight = match Weight::new(ramp::HOLDBACK) {
        Ok(weight) => weight,
        Err(_) => Weight::NONE,
    };
    /// The hold of an automatic step, where nothing else is said: the shorter, the less a share can cost, so the more may come.
    pub const HOLD: Millis = Millis::seconds(10);

    /// The judge's ladder, with every replica there before the first request; `holdback` of requests stay with the old release
    /// until the last step.
    #[must_use]
    pub fn auto(holdback: Weight) -> Self {
        let weights = rungs(holdback.basis_points()).filter_map(|bp| Weight::new(bp).ok()).chain([Weight::ALL]);
        Self { steps: weights.map(CanaryStep::at).collect(), sticky: false, auto: true }
    }

    /// What stays with the old release until the last step.
    #[must_use]
    pub fn holdback(&self) -> Weight {
        self.steps
            .iter()
            .rev()
            .map(|step| step.weight)
            .find(|weight| *weight < Weight::ALL)
            .unwrap_or(Weight::NONE)
            .rest()
    }
}

/// One step of a canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CanaryStep {
    /// The canary's share of requests; 0 % for a step that only matches or mirrors.
    pub weight: Weight,
    /// How many of the new release's instances are healthy before the weight comes.
    pub scale: Scale,
    /// Requests that go to the canary whatever the weight. They are no evidence.
    pub matches: Vec<Match>,
    /// Copies of stable's requests for the canary. They are no evidence.
    pub mirror: Option<Mirror>,
}

/// How many instances of the new release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Every replica.
    All,
    /// So many.
    Instances(u32),
    /// A share of the replicas, rounded up, at least one.
    Share(Weight),
}

/// A request that belongs to the canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Match {
    /// One with this header; with any value when none is given.
    Header {
        /// Its name, lower case.
        name: String,
        /// Its whole value.
        value: Option<String>,
    },
    /// One with this cookie; with any value when none is given.
    Cookie {
        /// Its name.
        name: String,
        /// Its whole value.
        value: Option<String>,
    },
    /// One for this host, lower case, besides the service's own.
    Host(String),
}

/// Copies of requests, whose responses are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Mirror {
    /// The share of stable's requests that is copied.
    pub share: Weight,
    /// Whether requests that may change something (RFC 9110 §9.2.1: all but GET, HEAD, OPTIONS and TRACE) are copied.
    pub unsafe_methods: bool,
}

/// Both versions whole, one switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BlueGreen {
    /// The least time before the switch, in which stable's past is measured and people may look at the new release.
    pub preview: Millis,
    /// The host under which the new release is served before the switch.
    pub host: Option<String>,
}

/// Waves of instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Rolling {
    /// The share of the old release's replicas that is healthy at any time, in percent, 0 to 100.
    pub min_healthy: u32,
    /// How many instances of both may run at any time, in percent of the new release's replicas, above `min_healthy`.
    pub max: u32,
}

impl Default for Rolling {
    fn default() -> Self {
        Self { min_healthy: 100, max: 200 }
    }
}

impl Strategy {
    /// Whether the judge chooses among the steps.
    #[must_use]
    pub const fn is_automatic(&self) -> bool {
        matches!(self, Self::Canary(Canary { auto: true, .. }))
    }

    /// As written in the file.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Canary(_) => "canary",
            Self::BlueGreen(_) => "blue-green",
            Self::Rolling(_) => "rolling",
            Self::Recreate => "recreate",
        }
    }
}

impl CanaryStep {
    /// A weight, with every replica there before it comes.
    #[must_use]
    pub const fn at(weight: Weight) -> Self {
        Self { weight, scale: Scale::All, matches: Vec::new(), mirror: None }
    }
}

impl Scale {
    /// The number of instances where `replicas` is every one.
    #[must_use]
    pub fn of(self, replicas: u32) -> u32 {
        match self {
            Self::All => replicas,
            Self::Instances(count) => count.min(replicas),
            Self::Share(share) => {
                let parts = u64::from(replicas) * u64::from(share.basis_points());
                u32::try_from(parts.div_ceil(10_000)).unwrap_or(replicas).clamp(1, replicas.max(1))
            }
        }
    }
}
