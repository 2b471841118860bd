//! Where a service stands: a fold over its events.

use super::{Cause, CauseKind, Effect, Outcome, Passes, PauseReason, Request, RequestKind, Split, Step, proof};
use crate::{Generation, Millis, Release, ReleaseId, RolloutId, Timestamp, Weight};
use davy_judge::{Kind, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// When it was asked for.
    pub routed_at: Timestamp,
    /// When instances of a release were ordered last, for those that matter now.
    pub ordered: BTreeMap<ReleaseId, Timestamp>,
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
    /// What its strategy means for its replicas; never empty.
    pub plan: Vec<Step>,
    /// The step, from 0.
    pub step: usize,
    /// When the step's clock (its deadline) began.
    pub step_since: Timestamp,
    /// The canary's weight asked for last.
    pub intended: Weight,
    /// The canary's share as it was observed last.
    pub observed: Option<Weight>,
    /// The kind of the last verdict, and the weight it is about, in basis points.
    pub verdict: Option<(Kind, u16)>,
    /// Whether it waits, and why.
    pub pause: Option<Pause>,
    /// Whether a person took the remaining steps on themselves.
    pub forced: bool,
    /// How often in a row the router refused.
    pub refusals: u32,
    /// Whether instances of the old release were told to end, and the platform has taken no order for that release since: they
    /// may end at any time.
    pub fewer: bool,
    /// Whether the new release serves for good.
    pub promoted: bool,
    /// Whether the leaving release is known to be gone.
    pub cleared: bool,
    /// Why it ends, once it does.
    pub ending: Option<(Outcome, Cause)>,
}

/// A rollout that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
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
    /// What kind of cause that is, if it is known and was not promoted.
    pub cause: Option<CauseKind>,
    /// When.
    pub at: Timestamp,
}

/// What comes next, for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
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
    pub fn steps(&self) -> Vec<Weight> {
        self.plan.iter().map(|step| step.weight).collect()
    }

    /// The present step.
    #[must_use]
    pub fn current(&self) -> &Step {
        &self.plan[self.step.min(self.plan.len() - 1)]
    }

    /// The weight of the present step.
    #[must_use]
    pub fn weight(&self) -> Weight {
        self.current().weight
    }

    /// Whether this is the last step.
    #[must_use]
    pub fn is_last_step(&self) -> bool {
        self.step + 1 >= self.plan.len()
    }

    /// Whether the old release's instances end before the new one's begin, so that requests fail in between.
    #[must_use]
    pub fn interrupts(&self) -> bool {
        !self.is_first() && super::interrupts(&self.plan)
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
    pub fn next(&self, seen: Option<(Timestamp, &Verdict)>) -> Next {
        let policy = &self.request.policy;
        let says = |what: String, at| Next { what, at };
        if let (Some(pause), true) = (&self.pause, self.is_forward()) {
            return says(
                "it waits for you: resume, promote or abort; rolled back if nobody does".to_owned(),
                Some(pause.since.plus(policy.pause_limit)),
            );
        }
        match &self.phase {
            Phase::Starting { since } => says(
                match self.current() {
                    Step { stable: 0, .. } if self.interrupts() => {
                        "the old instances end, then the new ones become healthy: requests fail meanwhile".to_owned()
                    }
                    step => format!("{} of the new release's instances become healthy", step.canary),
                },
                Some(since.plus(self.request.release.workload.health.grace)),
            ),
            Phase::Shifting { .. } => says(format!("the router serves {}", self.weight()), None),
            Phase::Recovering { .. } => says(format!("the router serves {} again", self.weight()), None),
            Phase::Holding { since, .. } => {
                let held = since.plus(self.current().hold);
                // A verdict is about one weight; blindness is about all.
                let about =
                    |verdict: &Verdict| verdict.weight == self.weight().basis_points() || verdict.kind == Kind::Blind;
                let seen = seen.filter(|(_, verdict)| about(verdict));
                let missing = seen.and_then(|(_, verdict)| proof::missing(verdict.kind));
                let then = |what: String, missing| match missing {
                    Some(missing) => says(format!("{what}, {missing}"), None),
                    None => says(what, Some(held)),
                };
                match self.plan.get(self.step + 1) {
                    Some(next) if self.current().passes == Passes::Proven => {
                        let chosen = self.is_automatic() && self.step + 2 < self.plan.len();
                        proof::next(seen, (!chosen).then_some(next.weight), held)
                    }
                    Some(next) => {
                        let (shown, missing) = match self.current().passes {
                            Passes::Proven => ("the margin is proven", missing),
                            Passes::Observed => ("requests were seen to succeed", missing),
                            Passes::Measured => ("the old release's past is measured", missing),
                            Passes::Tried => ("the new release is still healthy", None),
                        };
                        then(format!("{} once the hold has passed and {shown}", next.weight), missing)
                    }
                    None if self.is_first() => says("promoted: there is nothing to compare it with".to_owned(), None),
                    None => {
                        // What served before needs no evidence.
                        let missing = missing.filter(|_| self.request.kind != RequestKind::Rollback);
                        then("promoted after one whole hold, observed".to_owned(), missing)
                    }
                }
            }
            Phase::Baking { since } if self.observed == Some(Weight::ALL) => {
                says("the old release is removed".to_owned(), Some(since.plus(policy.bake)))
            }
            Phase::Baking { since } => says(
                "the old release is removed once a request was seen on the new one, or if nobody uses the service then"
                    .to_owned(),
                Some(since.plus(self.unused())),
            ),
            Phase::Reverting { .. } => says("all traffic goes back to stable".to_owned(), None),
            Phase::Settling { leaving, .. } => says(format!("release {leaving} takes no new requests"), None),
            Phase::Draining { leaving, since } => says(
                format!("release {leaving} is removed when its requests have ended"),
                Some(since.plus(policy.drain)),
            ),
            Phase::Removing { leaving, .. } => says(format!("release {leaving} is gone"), None),
        }
    }

    /// How long the old release is kept where no request shows that the new one carries all traffic: as long as a pause.
    #[must_use]
    pub(super) fn unused(&self) -> Millis {
        self.request.policy.bake.max(self.request.policy.pause_limit)
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

    /// How many instances of which releases should run now: what serves, what may have to serve again, what is on trial.
    #[must_use]
    pub fn wanted(&self) -> Vec<(&Release, u32)> {
        let whole = |release| (release, Release::replicas(release));
        let Some(rollout) = &self.rollout else { return self.stable.iter().map(whole).collect() };
        let (new, old) = (&rollout.request.release, rollout.from.as_ref());
        let leaving = match &rollout.phase {
            Phase::Settling { leaving, .. } | Phase::Draining { leaving, .. } | Phase::Removing { leaving, .. } => {
                Some(leaving)
            }
            _ => None,
        };
        let old = old.filter(|release| Some(&release.id) != leaving);
        if rollout.ending.is_some() {
            return old.map(whole).into_iter().collect();
        }
        let step = rollout.current();
        let old = old.map(|release| (release, step.stable));
        [(new, step.canary)].into_iter().chain(old).collect()
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
