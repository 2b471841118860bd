//! What a decision is taken on: commands of people, answers to effects, and looks at the world.

use super::{Cause, Outcome, Request};
use crate::{Actor, Generation, Instance, Millis, RolloutId, Serving, Timestamp};
use std::sync::Arc;

/// One thing to decide on.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "commands are rare: a box would only be in the way")]
pub enum Input {
    /// Somebody asks for something.
    Command(Command),
    /// The effect of this generation was carried out.
    Done {
        /// Which.
        generation: Generation,
    },
    /// The effect of this generation was refused: nothing was changed.
    Refused {
        /// Which.
        generation: Generation,
        /// What the place said.
        why: String,
    },
    /// Nobody knows whether the effect of this generation was carried out.
    Lost {
        /// Which.
        generation: Generation,
        /// What happened.
        why: String,
    },
    /// The controller began anew: whatever was asked for and not answered is lost.
    Restarted,
    /// Traffic was put back without asking, as the one exception allows.
    RevertedUnasked {
        /// Why.
        cause: Cause,
    },
    /// The world as it is.
    Look(Box<Look>),
}

/// What a person may ask for.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "commands are rare: a box would only be in the way")]
pub enum Command {
    /// A rollout.
    Request(Request),
    /// Stay where it is.
    Pause {
        /// Who.
        by: Actor,
    },
    /// Go on.
    Resume {
        /// Who.
        by: Actor,
    },
    /// Skip what is unproven: to the last step.
    Promote {
        /// Who.
        by: Actor,
    },
    /// Put traffic back and end it.
    Abort {
        /// Who.
        by: Actor,
    },
}

/// Everything that was observed at one moment; shared with whoever shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Every instance of the service.
    pub instances: Sight<Arc<Vec<Instance>>>,
    /// What the router serves.
    pub router: Sight<Option<Arc<Serving>>>,
    /// The judge's verdict, while there is a trial.
    pub verdict: Option<Arc<davy_judge::Verdict>>,
    /// The stored evidence it rests on.
    pub batches: Option<super::Batches>,
    /// What was seen of the traffic of the present generation.
    pub traffic: Traffic,
}

impl Look {
    /// A verdict's words with names in them instead of numbers.
    pub(super) fn told(&self, analysis: &crate::Analysis, verdict: &davy_judge::Verdict) -> String {
        let instances = self.instances.seen().into_iter().flat_map(|instances| instances.iter());
        analysis.told(verdict, instances.map(|instance| &instance.id))
    }
}

/// Something looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight<T> {
    /// It was seen.
    Seen(T),
    /// It could not be looked at, which says nothing about it.
    Unseen {
        /// Why.
        why: String,
    },
}

impl<T> Sight<T> {
    /// What was seen.
    pub const fn seen(&self) -> Option<&T> {
        match self {
            Self::Seen(value) => Some(value),
            Self::Unseen { .. } => None,
        }
    }
}

/// Requests routed in one weight epoch, counted at admission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Which epoch.
    pub generation: Generation,
    /// To the release on trial.
    pub canary: u64,
    /// To the release that served before.
    pub stable: u64,
    /// Copies for the release on trial.
    pub mirrored: u64,
    /// Requests that a match sent to the release on trial.
    pub matched: u64,
    /// Requests of the whole service in the last minute, whatever the epoch; none where that is not known.
    pub last_minute: Option<u64>,
    /// How long no request of the whole service has come, as far as all of that time was counted; nothing where one came, or
    /// where that is not known.
    pub idle: Millis,
}

/// A command that does not fit the state. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The release serves already.
    #[error("release {release} serves already: there is nothing to do")]
    AlreadyServing {
        /// Which.
        release: crate::ReleaseId,
    },
    /// The release is on its way already.
    #[error("rollout {rollout} already brings this release")]
    AlreadyUnderWay {
        /// By which rollout.
        rollout: RolloutId,
    },
    /// There is nothing to remove.
    #[error("nothing serves: there is nothing to remove")]
    NothingServes,
    /// A rollout is on its way: it has to end first.
    #[error("rollout {rollout} is under way: `davy rollout abort` ends it first")]
    UnderWay {
        /// Which.
        rollout: RolloutId,
    },
    /// There is no rollout to act on.
    #[error("no rollout is under way")]
    NoRollout,
    /// It has been promoted.
    #[error("rollout {rollout} is promoted: `davy rollback` goes back to the release before it")]
    Promoted {
        /// Which.
        rollout: RolloutId,
    },
    /// Its traffic is going back already.
    #[error("rollout {rollout} is already being put back ({})", .outcome.as_str())]
    Ending {
        /// Which.
        rollout: RolloutId,
        /// How it will end.
        outcome: Outcome,
    },
    /// It waits already.
    #[error("rollout {rollout} is paused already")]
    PausedAlready {
        /// Which.
        rollout: RolloutId,
    },
    /// It does not wait.
    #[error("rollout {rollout} is not paused")]
    NotPaused {
        /// Which.
        rollout: RolloutId,
    },
    /// The canary has not started yet, or there is nothing to compare it with.
    #[error("rollout {rollout} has no step to skip now: {why}")]
    NothingToPromote {
        /// Which.
        rollout: RolloutId,
        /// Why.
        why: &'static str,
    },
}

impl Outcome {
    /// As written in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled-back",
            Self::Aborted => "aborted",
            Self::Superseded => "superseded",
            Self::Removed => "removed",
        }
    }
}

/// A decision's time is part of it.
impl Input {
    /// Pairs an input with its time.
    #[must_use]
    pub const fn at(self, at: Timestamp) -> (Timestamp, Self) {
        (at, self)
    }
}
