//! What the judge does about its own assumptions: requests that fail together inside one version, a host that is broken
//! whatever runs on it, a split that is not the one configured.
//!
//! None of it is part of the evidence: it labels verdicts, and holds promotion back. So neither α nor β is touched.

mod audit;
mod leave_out;
mod sample_ratio;

use serde::{Deserialize, Serialize};

use crate::blocks::{Block, compares};
use crate::counts::Pair;
use crate::details::Details;
use crate::evidence::Evidence;
use crate::policy::Policy;

use audit::Audit;
use leave_out::LeaveOut;
pub use sample_ratio::SampleRatio;
use sample_ratio::Split;

/// How well it is known that requests fail one by one, as the figures of a verdict assume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Calibration {
    /// Stable's instances are compared with one another, and nothing has spoken against it.
    Audited,
    /// It cannot be checked: fewer than four instances of stable, or counts that do not tell instances apart.
    #[default]
    Unaudited,
    /// Stable differs from itself from instance to instance more than chance allows, or more clients failed than are told apart.
    /// Chances of error are then larger than promised, and no step is left without a person.
    Uncalibrated,
}

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct Honesty {
    audit: Audit,
    split: Option<Split>,
    leave_out: LeaveOut,
    /// Whether a client's first failure is no longer told from the next.
    pub(crate) clients_forgotten: bool,
}

impl Honesty {
    pub(crate) fn begin(policy: &Policy) -> Self {
        Self {
            audit: Audit::begin(policy.cluster),
            // Clients that stay are drawn once: their requests are no draws of their own.
            split: (!policy.sticky).then(Split::default),
            leave_out: LeaveOut::begin(policy),
            clients_forgotten: false,
        }
    }

    /// A new epoch or weight: what is open is dropped.
    pub(crate) fn enter(&mut self, weight: u16) {
        self.audit.enter(weight);
        self.leave_out.drop_open();
    }

    /// Takes what one window of the open block tells of its instances and clients.
    pub(crate) fn see(&mut self, details: &Details<'_>, to_ms: u64) {
        self.clients_forgotten |= details.clients_forgotten;
        for instance in details.instances {
            // What cannot be true of an instance is left out; the window's own counts were checked.
            if instance.counts.x > instance.counts.n || instance.counts.repeated > instance.counts.x {
                continue;
            }
            if instance.canary {
                self.leave_out.see(instance, to_ms);
            } else {
                self.audit.see(instance);
            }
        }
    }

    /// The open block has closed.
    pub(crate) fn close(&mut self, block: &Block) {
        self.audit.close(block);
        if compares(block.weight) {
            self.leave_out.close(block);
            if let Some(split) = &mut self.split {
                split.add(block);
            }
        }
    }

    pub(crate) fn calibration(&self) -> Calibration {
        if self.clients_forgotten { Calibration::Uncalibrated } else { self.audit.calibration() }
    }

    pub(crate) fn sample_ratio(&self) -> Option<SampleRatio> {
        self.split.as_ref().map(|split| split.reading)
    }

    /// The one instance of the canary without which nothing would speak against the rest.
    pub(crate) fn single(&self, evidence: &Evidence, now: Pair) -> Option<u64> {
        self.leave_out.single(evidence, now.canary)
    }
}
