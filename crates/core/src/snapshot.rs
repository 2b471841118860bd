//! What a router serves: one snapshot for each service, replaced whole.

use crate::{
    Generation, HealthCheck, InstanceId, Match, Millis, Mirror, ReleaseId, RolloutId, Route, ServiceKey, Timestamp,
    Weight,
};
use davy_judge::guard;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Where a service's requests go. Replaces the service's earlier snapshot if its generation is higher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Whose requests.
    pub key: ServiceKey,
    /// Rises with every snapshot of the service; also the weight epoch of the counts.
    pub generation: Generation,
    /// The rollout under way; `revert` names it.
    pub rollout: Option<RolloutId>,
    /// Which requests are the service's.
    pub route: Route,
    /// The releases; their weights add up to 100 %. Empty: the route answers 503.
    pub serve: Vec<Target>,
    /// Where everything goes on revert and on lapse: one of `serve`.
    pub fallback: Option<ReleaseId>,
    /// After so long without renewal the fallback is served; none outside a trial.
    pub lease: Option<Millis>,
    /// How the router itself checks the backends.
    pub health: HealthCheck,
    /// The longest wait for an upstream's response head.
    pub timeout: Millis,
    /// Requests that go to the canary whatever its weight, counted as [`Role::Matched`].
    #[serde(default)]
    pub matches: Vec<Match>,
    /// Copies of stable's requests for the canary, counted as [`Role::Mirrored`].
    #[serde(default)]
    pub mirror: Option<Mirror>,
    /// Whether a client stays with the release that it was given.
    #[serde(default)]
    pub sticky: bool,
    /// What the router itself holds the canary to, at each request. The first order of a rollout is the one that counts.
    #[serde(default)]
    pub guard: Option<guard::Order>,
    /// Answers that take longer are counted as [`crate::Cell::slow`].
    #[serde(default)]
    pub slow_over: Option<Millis>,
}

/// One release and its share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The release.
    pub release: ReleaseId,
    /// What it is to the judge.
    pub role: Role,
    /// Its share of new requests.
    pub weight: Weight,
    /// Its instances.
    pub instances: Vec<Backend>,
}

/// What a release is in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It served before.
    Stable,
    /// It is on trial.
    Canary,
    /// The canary, for a request that was sent to it by a match: no evidence.
    Matched,
    /// The canary, for a copy of a request that stable answers: no evidence.
    Mirrored,
}

/// An instance as a router needs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Backend {
    /// Its name.
    pub id: InstanceId,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What a router serves for one service now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Serving {
    /// The snapshot it holds.
    pub snapshot: Snapshot,
    /// Whether the split or the fallback is served.
    pub mode: Mode,
    /// Names this run of the router: another name means that it was restarted. A process that takes over from another with
    /// everything that one held goes on with its name.
    pub boot: String,
    /// Requests of the service that were answered in this run, where the router counts them.
    #[serde(default)]
    pub counted: Option<u64>,
    /// Requests under way, those of earlier snapshots included.
    pub in_flight: Vec<InFlight>,
    /// What its guard found, while a canary of this snapshot's rollout is cut off.
    #[serde(default)]
    pub cut: Option<Cut>,
}

/// A canary that a router's guard has cut off: it gets no request again in this rollout, whatever snapshot comes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Cut {
    /// In which rollout.
    pub rollout: RolloutId,
    /// Which release.
    pub release: ReleaseId,
    /// When, by the router's wall clock.
    pub at: Timestamp,
    /// The counts and what they amount to.
    pub finding: guard::Finding,
}

/// Requests under way on one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// What it runs.
    pub release: ReleaseId,
    /// Which instance.
    pub instance: InstanceId,
    /// How many, at least one.
    pub requests: u64,
}

impl Serving {
    /// Requests under way on a release.
    #[must_use]
    pub fn in_flight(&self, release: &ReleaseId) -> u64 {
        let ours = self.in_flight.iter().filter(|under| under.release == *release);
        ours.fold(0, |sum, under| sum.saturating_add(under.requests))
    }

    /// Whether an instance is served, or still has requests under way.
    #[must_use]
    pub fn uses(&self, instance: &InstanceId) -> bool {
        let mut backends = self.snapshot.serve.iter().flat_map(|target| &target.instances);
        backends.any(|backend| backend.id == *instance)
            || self.in_flight.iter().any(|under| under.instance == *instance)
    }
}

/// Whether a router serves the split it was given or its fallback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// As the snapshot says.
    Split,
    /// Everything to the fallback, until a snapshot of a higher generation.
    Fallback {
        /// Why.
        cause: FallbackCause,
        /// Since when, by the router's wall clock.
        at: Timestamp,
    },
}

/// Why a router serves its fallback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FallbackCause {
    /// It was told to.
    Revert,
    /// Nobody renewed the lease.
    Lapse,
    /// It started from its last snapshot on disk.
    Restart,
    /// Its own guard found the canary harmful.
    Guard,
}

/// A snapshot that cannot be served.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidSnapshot {
    /// The weights do not add up to 100 %.
    #[error("the weights add up to {0} basis points, not 10000")]
    Weights(u32),
    /// The fallback is not among the releases.
    #[error("the fallback {0} is not among the releases served")]
    Fallback(ReleaseId),
    /// A lease without a fallback would lapse to nothing.
    #[error("a lease needs a fallback")]
    Lease,
    /// The same release twice.
    #[error("release {0} is listed twice")]
    Twice(ReleaseId),
    /// A guard without a fallback would cut off to nothing.
    #[error("a guard needs a fallback")]
    Unguarded,
    /// A guard that cannot keep what it is asked for.
    #[error(transparent)]
    Guard(#[from] guard::InvalidOrder),
}

impl Snapshot {
    /// Checks what every router may rely on.
    ///
    /// # Errors
    /// Weights that do not add up, a fallback that is not served, a lease without a fallback, a release twice, a guard that cannot
    /// keep its promise.
    pub fn check(&self) -> Result<(), InvalidSnapshot> {
        let sum: u32 = self.serve.iter().map(|target| u32::from(target.weight.basis_points())).sum();
        if !self.serve.is_empty() && sum != 10_000 {
            return Err(InvalidSnapshot::Weights(sum));
        }
        for (index, target) in self.serve.iter().enumerate() {
            if self.serve[..index].iter().any(|earlier| earlier.release == target.release) {
                return Err(InvalidSnapshot::Twice(target.release.clone()));
            }
        }
        if let Some(guard) = &self.guard {
            guard.check()?;
        }
        match &self.fallback {
            Some(release) if !self.serve.iter().any(|target| target.release == *release) => {
                Err(InvalidSnapshot::Fallback(release.clone()))
            }
            None if self.lease.is_some() => Err(InvalidSnapshot::Lease),
            None if self.guard.is_some() => Err(InvalidSnapshot::Unguarded),
            _ => Ok(()),
        }
    }
}
