//! Where a service stands: a fold over its events.

use super::{Cause, Effect, Outcome, PauseReason, Request, Split};
use crate::{Generation, Release, ReleaseId, RolloutId, Timestamp, Weight};
use serde::{Deserialize, Serialize};

/// One service in one environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The highest generation asked for.
    pub generation: Generation,
    /// The release that serves, once there is one.
    pub stable: Option<Release>,
    /// The rollout under way, its bake and its clearing away included.
    pub rollout: Option<Rollout>,
    /// The rollout that begins when that one has been put back.
    pub queued: Option<Request>,
    /// The rollout that ended last.
    pub last: Option<Ended>,
    /// Effects asked for and not answered.
    pub pending: Vec<Pending>,
    /// The split last asked for.
    pub split: Option<Split>,
    /// The generation under which that split was asked for.
    pub routed: Generation,
    /// When the last order for instances was given.
    pub ordered_at: Timestamp,
}

/// An effect without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// What was asked for.
    pub effect: Effect,
    /// When.
    pub since: Timestamp,
}

/// A rollout under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// What was asked for.
    pub request: Request,
    /// The release that served when it began; none for the first deployment of a service.
    pub from: Option<Release>,
    /// When it began.
    pub began: Timestamp,
    /// The highest generation asked for before it began: counts of this one and earlier are not its own.
    pub base: Generation,
    /// What it is doing.
    pub phase: Phase,
    /// The step, from 0.
    pub step: usize,
    /// When the step's clock (its deadline) began.
    pub step_since: Timestamp,
    /// The canary's weight asked for last.
    pub intended: Weight,
    /// The canary's share as it was observed last.
    pub observed: Option<Weight>,
    /// The kind of the last verdict, and the epoch it is about.
    pub verdict: Option<davy_judge::Verdict>,
    /// Whether it waits, and why.
    pub pause: Option<Pause>,
    /// Whether a person took the remaining steps on themselves.
    pub forced: bool,
    /// How often in a row the router refused.
    pub refusals: u32,
    /// Whether the new release serves for good.
    pub promoted: bool,
    /// Why it ends, once it does.
    pub ending: Option<(Outcome, Cause)>,
}

/// A rollout that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Why.
    pub why: PauseReason,
    /// Since when.
    pub since: Timestamp,
}

/// What a rollout is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum Phase {
    /// Its instances start.
    Starting {
        /// Since when.
        since: Timestamp,
    },
    /// A weight was asked for.
    Shifting {
        /// Under which generation.
        generation: Generation,
        /// Since when.
        since: Timestamp,
    },
    /// The weight is served and judged.
    Holding {
        /// Under which generation.
        generation: Generation,
        /// Since when.
        since: Timestamp,
        /// Whether requests were seen on the canary in this epoch.
        seen: bool,
    },
    /// A router fell back by itself: the weight is asked for again once the canary is healthy.
    Recovering {
        /// Since when.
        since: Timestamp,
    },
    /// Promoted; the old release is kept.
    Baking {
        /// Since when.
        since: Timestamp,
    },
    /// Traffic is being put back.
    Reverting {
        /// Since when.
        since: Timestamp,
    },
    /// Traffic is where it will stay; the split without the leaving release is being served.
    Settling {
        /// Which release leaves.
        leaving: ReleaseId,
        /// Since when.
        since: Timestamp,
    },
    /// The leaving release finishes its requests.
    Draining {
        /// Which release leaves.
        leaving: ReleaseId,
        /// Since when.
        since: Timestamp,
    },
    /// The leaving release is being removed.
    Removing {
        /// Which release leaves.
        leaving: ReleaseId,
        /// Since when.
        since: Timestamp,
    },
}

impl Phase {
    /// Its name, as in JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Starting { .. } => "starting",
            Self::Shifting { .. } => "shifting",
            Self::Holding { .. } => "holding",
            Self::Recovering { .. } => "recovering",
            Self::Baking { .. } => "baking",
            Self::Reverting { .. } => "reverting",
            Self::Settling { .. } => "settling",
            Self::Draining { .. } => "draining",
            Self::Removing { .. } => "removing",
        }
    }
}

/// A rollout that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Which.
    pub rollout: RolloutId,
    /// How.
    pub outcome: Outcome,
    /// Why, in a sentence.
    pub why: String,
    /// When.
    pub at: Timestamp,
}

/// What comes next, for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// What, in a sentence.
    pub what: String,
    /// When at the latest, if it comes by itself.
    pub at: Option<Timestamp>,
}

impl Rollout {
    /// Whether this is the first deployment of its service: nothing to compare with.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.from.is_none()
    }

    /// Whether it can still move forward.
    #[must_use]
    pub const fn is_forward(&self) -> bool {
        self.ending.is_none() && !self.promoted
    }

    /// The weights it goes through.
    #[must_use]
    pub fn steps(&self) -> &[Weight] {
        const AT_ONCE: &[Weight] = &[Weight::ALL];
        match self.request.kind {
            super::RequestKind::Rollback | super::RequestKind::Remove => AT_ONCE,
            super::RequestKind::Deploy if self.is_first() => AT_ONCE,
            super::RequestKind::Deploy => &self.request.policy.steps,
        }
    }

    /// The weight of the present step.
    #[must_use]
    pub fn weight(&self) -> Weight {
        self.steps().get(self.step).copied().unwrap_or(Weight::ALL)
    }

    /// Whether this is the last step.
    #[must_use]
    pub fn is_last_step(&self) -> bool {
        self.step + 1 >= self.steps().len()
    }

    /// The state's word for a person and for JSON.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match (&self.pause, &self.ending) {
            (Some(_), None) if !self.promoted => "paused",
            _ => self.phase.name(),
        }
    }

    /// What comes next and when.
    #[must_use]
    pub fn next(&self) -> Next {
        let policy = &self.request.policy;
        let says = |what: String, at| Next { what, at };
        if let (Some(pause), true) = (&self.pause, self.is_forward()) {
            return says(
                "paused: resume, promote or abort; rolled back if nobody does".to_owned(),
                Some(pause.since.plus(policy.pause_limit)),
            );
        }
        match &self.phase {
            Phase::Starting { since } => says(
                "the new release's instances become healthy".to_owned(),
                Some(since.plus(self.request.release.workload.health.grace)),
            ),
            Phase::Shifting { .. } => says(format!("the router serves {}", self.weight()), None),
            Phase::Recovering { .. } => says(format!("the router serves {} again", self.weight()), None),
            Phase::Holding { since, .. } => {
                let held = since.plus(policy.hold);
                match self.steps().get(self.step + 1) {
                    Some(next) => says(format!("{next} once the hold has passed and the margin is proven"), Some(held)),
                    None if self.is_first() => says("promoted: there is nothing to compare it with".to_owned(), None),
                    None => says("promoted after one whole hold, observed".to_owned(), Some(held)),
                }
            }
            Phase::Baking { since } => says("the old release is removed".to_owned(), Some(since.plus(policy.bake))),
            Phase::Reverting { .. } => says("all traffic goes back to stable".to_owned(), None),
            Phase::Settling { leaving, .. } => says(format!("release {leaving} takes no new requests"), None),
            Phase::Draining { leaving, since } => says(
                format!("release {leaving} is removed when its requests have ended"),
                Some(since.plus(policy.drain)),
            ),
            Phase::Removing { leaving, .. } => says(format!("release {leaving} is gone"), None),
        }
    }

    /// When the step's deadline is.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.step_since.plus(self.request.policy.deadline)
    }
}

impl State {
    /// A release by its name, among those that matter now.
    #[must_use]
    pub fn release(&self, id: &ReleaseId) -> Option<&Release> {
        let rollout = self.rollout.as_ref();
        [self.stable.as_ref(), rollout.map(|r| &r.request.release), rollout.and_then(|r| r.from.as_ref())]
            .into_iter()
            .flatten()
            .find(|release| release.id == *id)
    }

    /// The releases whose instances should run now: what serves, what may have to serve again, and what is on trial.
    #[must_use]
    pub fn wanted(&self) -> Vec<&Release> {
        let mut wanted: Vec<&Release> = self.stable.iter().collect();
        if let Some(rollout) = &self.rollout {
            let leaving = match &rollout.phase {
                Phase::Settling { leaving, .. } | Phase::Draining { leaving, .. } | Phase::Removing { leaving, .. } => {
                    Some(leaving)
                }
                _ => None,
            };
            wanted.extend(&rollout.from);
            wanted.extend(rollout.ending.is_none().then_some(&rollout.request.release));
            wanted.retain(|release| Some(&release.id) != leaving);
        }
        wanted.sort_by(|a, b| a.id.cmp(&b.id));
        wanted.dedup_by(|a, b| a.id == b.id);
        wanted
    }

    /// Whether the split asked for last runs under a lease.
    #[must_use]
    pub const fn leased(&self) -> bool {
        matches!(self.split, Some(Split::Trial { .. }))
    }

    /// The rollout under way.
    #[must_use]
    pub fn rollout_id(&self) -> Option<&RolloutId> {
        self.rollout.as_ref().map(|rollout| &rollout.request.rollout)
    }
}
