//! `deployment_report.md`: what happened in one rollout, for a person in a hurry. Drawn from the journal alone.

use davy_core::RolloutId;
use davy_ports::{Batch, Record};

/// The report of a rollout from its stream's records; none when they do not know it.
#[must_use]
pub fn report(_records: &[Record], _rollout: &RolloutId, _batches: &[Batch]) -> Option<String> {
    None
}
