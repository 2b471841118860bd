//! What is to be done at the edge.

use super::{Event, Split};
use crate::{Generation, InstanceId, ReleaseId};

/// Something to do, named and fenced by its generation. Doing it twice is doing it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Run so many instances of a release.
    Run {
        /// The fence.
        generation: Generation,
        /// What they run.
        release: ReleaseId,
        /// How many.
        count: u32,
        /// Those that end first when there are more.
        spare: Vec<InstanceId>,
    },
    /// Divide the traffic.
    Route {
        /// The fence.
        generation: Generation,
        /// How.
        split: Split,
    },
    /// All traffic to the fallback.
    Revert {
        /// The fence.
        generation: Generation,
    },
    /// Stop and remove the instances of a release.
    Remove {
        /// The fence.
        generation: Generation,
        /// Which.
        release: ReleaseId,
    },
}

impl Effect {
    /// What an event asks for.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            Event::InstancesRequested { generation, release, count, spare } => {
                let (release, spare) = (release.clone(), spare.clone());
                Some(Self::Run { generation: *generation, release, count: *count, spare })
            }
            Event::WeightRequested { generation, split, .. } => {
                Some(Self::Route { generation: *generation, split: split.clone() })
            }
            Event::RevertRequested { generation, .. } => Some(Self::Revert { generation: *generation }),
            Event::RemovalRequested { generation, release } => {
                Some(Self::Remove { generation: *generation, release: release.clone() })
            }
            _ => None,
        }
    }

    /// The fence.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        match self {
            Self::Run { generation, .. }
            | Self::Route { generation, .. }
            | Self::Revert { generation }
            | Self::Remove { generation, .. } => *generation,
        }
    }
}

impl Effect {
    /// What is to be done, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Run { release, count, .. } => format!("run {count} of release {release}"),
            Self::Route { split, .. } => match split {
                Split::Trial { canary, .. } => format!("serve the canary {canary}"),
                Split::Bake => "serve the promoted release and keep the old one".to_owned(),
                Split::Only { release } => format!("serve release {release} alone"),
                Split::Nothing => "serve nothing".to_owned(),
            },
            Self::Revert { .. } => "send all traffic to the fallback".to_owned(),
            Self::Remove { release, .. } => format!("remove release {release}"),
        }
    }
}
