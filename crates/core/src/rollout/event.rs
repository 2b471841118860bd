//! What happened. The journal holds nothing else.

use crate::{Actor, Cut, Generation, Instance, InstanceId, Policy, Release, ReleaseId, RolloutId, Weight};
use serde::{Deserialize, Serialize};

/// What somebody asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = RolloutRequest))]
pub struct Request {
    /// The rollout's name.
    pub rollout: RolloutId,
    /// What is to serve.
    pub release: Release,
    /// How it gets there.
    pub policy: Policy,
    /// Who asked.
    pub by: Actor,
    /// Forward, or back to a release that served before.
    pub kind: RequestKind,
}

/// Why a rollout was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RequestKind {
    /// A new release, on trial.
    Deploy,
    /// An earlier release is to serve again: no trial, at once.
    Rollback,
    /// Nothing is to serve any more: what serves is drained and removed.
    Remove,
}

/// How requests are to be divided; the instances are looked up when it is carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Stable and canary, falling back to stable, under a lease.
    Trial {
        /// The canary's share.
        canary: Weight,
        /// Instances that get nothing more: they are about to end.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        without: Vec<InstanceId>,
    },
    /// The promoted release serves; the old one stays as the fallback. No lease.
    Bake,
    /// One release and no fallback.
    Only {
        /// Which.
        release: ReleaseId,
    },
    /// Nothing is left to serve: the route answers 503.
    Nothing,
}

/// Why traffic went back, or was put back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", tag = "cause")]
pub enum Cause {
    /// The judge found harm.
    Judge {
        /// The verdict's sentence.
        why: String,
    },
    /// A person asked.
    Person {
        /// Who.
        by: Actor,
    },
    /// A person asked for the release before it, after promotion.
    Rollback {
        /// Who.
        by: Actor,
    },
    /// A newer rollout took its place.
    Superseded {
        /// Which.
        by: RolloutId,
    },
    /// The canary could not be started, never became healthy or died.
    Canary {
        /// What was seen.
        why: String,
    },
    /// A step's deadline passed, and the policy says to go back.
    Deadline {
        /// Which step, and what was missing.
        why: String,
    },
    /// Nobody answered a pause in time.
    PauseLimit,
    /// The router's own guard found harm and had gone back at once.
    Guard {
        /// What it found, in a sentence.
        why: String,
        /// What it rests on.
        cut: Cut,
        /// Whether the counts gave the same numbers again. Traffic went back in any case.
        recomputed: bool,
    },
    /// The router had gone back by itself, or was told to while the journal could not be written.
    Router {
        /// What it said.
        why: String,
    },
}

/// What kind of cause it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CauseKind {
    /// The judge found harm.
    Judge,
    /// A person asked.
    Person,
    /// A person asked for the release before it, after promotion.
    Rollback,
    /// A newer rollout took its place.
    Superseded,
    /// The canary could not be started, never became healthy or died.
    Canary,
    /// A step's deadline passed.
    Deadline,
    /// Nobody answered a pause in time.
    PauseLimit,
    /// The router's guard had gone back at once.
    Guard,
    /// The router had gone back by itself.
    Router,
}

/// Why a rollout waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum PauseReason {
    /// A person asked.
    Person {
        /// Who.
        by: Actor,
    },
    /// The step's deadline passed without proof.
    Deadline {
        /// What was missing, in a sentence.
        why: String,
    },
    /// The router refused what it was asked.
    Router {
        /// What it said.
        why: String,
    },
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The new release serves.
    Promoted,
    /// Traffic was put back for harm, for a canary that failed, or at a limit.
    RolledBack,
    /// A person ended it.
    Aborted,
    /// A newer rollout ended it.
    Superseded,
    /// The service is gone, as asked.
    Removed,
}

/// The stored evidence that a verdict rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Batches {
    /// The first batch, from 1.
    pub first: u64,
    /// The last batch, inclusive.
    pub last: u64,
    /// SHA-256 over the stored batches, hexadecimal.
    pub digest: String,
}

/// One thing that happened to a service in an environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Event {
    /// A rollout begins.
    RolloutRequested {
        /// What was asked.
        // Most other events are far smaller.
        request: Box<Request>,
    },
    /// A rollout waits for the one under way to be put back.
    RolloutQueued {
        /// What was asked.
        request: Box<Request>,
    },
    /// A rollout that waited is replaced by a newer one before it began.
    RolloutDropped {
        /// Which.
        rollout: RolloutId,
        /// The newer one.
        by: RolloutId,
    },
    /// Effect asked for: run so many instances.
    InstancesRequested {
        /// Fences the effect.
        generation: Generation,
        /// What they run.
        release: ReleaseId,
        /// How many.
        count: u32,
        /// Those that end first when there are more.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        spare: Vec<InstanceId>,
    },
    /// The platform took the order.
    InstancesOrdered {
        /// Which order.
        generation: Generation,
    },
    /// The platform could not take the order.
    InstancesRefused {
        /// Which order.
        generation: Generation,
        /// What it said.
        why: String,
    },
    /// As many as wanted are healthy.
    InstancesReady {
        /// What they run.
        release: ReleaseId,
        /// Which.
        instances: Vec<Instance>,
    },
    /// Effect asked for: divide the traffic.
    WeightRequested {
        /// Fences the effect, and is the epoch of its counts.
        generation: Generation,
        /// The step, from 0; none outside a trial.
        step: Option<usize>,
        /// How.
        split: Split,
    },
    /// The router serves it.
    WeightApplied {
        /// Which.
        generation: Generation,
    },
    /// The router refused it.
    WeightRefused {
        /// Which.
        generation: Generation,
        /// What it said.
        why: String,
    },
    /// The first requests of this epoch were seen on the canary.
    WeightObserved {
        /// Which epoch.
        generation: Generation,
        /// The canary's share of what was routed so far.
        observed: Weight,
    },
    /// An effect was asked for and nobody knows whether it was done: what is observed decides.
    EffectLost {
        /// Which.
        generation: Generation,
        /// What was asked for, in words.
        effect: String,
        /// What happened.
        why: String,
    },
    /// The judge's verdict changed.
    VerdictReached {
        /// The verdict with its evidence.
        verdict: Box<davy_judge::Verdict>,
        /// What it rests on; none when nothing was stored yet.
        batches: Option<Batches>,
    },
    /// The step's hold has passed, and what it is to show was shown.
    StepPassed {
        /// Which, from 0.
        step: usize,
    },
    /// Where the judge chooses among the steps: it chose this one.
    StepChosen {
        /// Which, from 0.
        step: usize,
        /// Why, in a sentence.
        why: String,
    },
    /// The router heard from nobody for a lease and served the fallback.
    LeaseLapsed {
        /// The generation it held.
        generation: Generation,
    },
    /// The router is another process than before and serves the fallback.
    RouterRestarted {
        /// The generation it held.
        generation: Generation,
    },
    /// The rollout waits.
    Paused {
        /// Why.
        why: PauseReason,
    },
    /// The rollout goes on; the step's deadline starts anew.
    Resumed {
        /// Who asked.
        by: Actor,
    },
    /// A person takes the remaining steps on themselves.
    PromoteRequested {
        /// Who.
        by: Actor,
    },
    /// Effect asked for: all traffic to the fallback, now.
    RevertRequested {
        /// Fences the effect.
        generation: Generation,
        /// Why.
        cause: Cause,
    },
    /// All traffic goes to the fallback.
    Reverted {
        /// The generation the router held.
        generation: Generation,
        /// Why, when it was not asked for by the event before.
        cause: Option<Cause>,
    },
    /// One whole hold at the last weight, observed. The bake begins.
    Promoted,
    /// The bake is over.
    BakeEnded,
    /// A release takes no new requests; those in flight may end.
    Draining {
        /// Which.
        release: ReleaseId,
    },
    /// Effect asked for: stop and remove the instances of a release.
    RemovalRequested {
        /// Fences the effect.
        generation: Generation,
        /// Which.
        release: ReleaseId,
    },
    /// They are gone.
    Removed {
        /// Which.
        release: ReleaseId,
    },
    /// The rollout is over and nothing of it is left to do.
    RolloutFinished {
        /// Which.
        rollout: RolloutId,
        /// How.
        outcome: Outcome,
        /// Why, in a sentence.
        why: String,
        /// What kind of cause that is; none where it was promoted, and where an older version wrote it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<CauseKind>,
    },
}
