//! When the events of a rollout that is over are packed. They are read as before then, so this is about room and about how long a
//! server takes to start, and about nothing else.

use crate::exit::{Exit, Failure};
use davy_core::{Millis, ServiceKey, Timestamp};
use davy_engine::{Engine, now, store::Store};
use davy_ports::JournalError;
use std::{collections::BTreeMap, sync::Arc};

const NEVER: &str = "never";

/// How long after its end a rollout is packed; never when there is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packing(Option<Millis>);

/// How many rollouts of each service were over at the last look: where none is new, nothing is to be packed.
pub(crate) type Looked = BTreeMap<ServiceKey, usize>;

impl Packing {
    /// Not at all.
    pub(crate) const NEVER: Self = Self(None);

    /// What `--pack-after` says.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if text == NEVER {
            return Ok(Self::NEVER);
        }
        let time = davy_config::duration(text).map_err(|hint| {
            let message = format!("--pack-after is `{text}`, which is no duration");
            Failure::new(Exit::Usage, "D043", message).hint(format!("{hint}; or `{NEVER}`"))
        })?;
        Ok(Self(Some(time)))
    }

    /// Packs what has been over as long as it was to be. One service that cannot be packed does not keep the others.
    pub(crate) async fn look(self, engine: &Engine, journal: &Store, looked: &mut Looked) -> Result<(), JournalError> {
        let Some(time) = self.0 else { return Ok(()) };
        for (key, over) in engine.ended_before(Timestamp(now().0.saturating_sub(time.0))) {
            if looked.get(&key) == Some(&over.len()) {
                continue;
            }
            let count = over.len();
            match journal.pack(&key, &Arc::new(over)).await {
                Ok(packed) => tracing::info!(service = %key, packed, "rollouts that ended long ago are packed"),
                Err(JournalError::Damaged { why }) => {
                    tracing::error!(service = %key, why, "its events stay as they are");
                }
                Err(error) => return Err(error),
            }
            looked.insert(key, count);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Packing;
    use davy_core::Millis;

    #[test]
    fn it_is_a_time_or_never() {
        assert_eq!(Packing::parse("7d").ok(), Some(Packing(Some(Millis(7 * 24 * 3_600_000)))));
        assert_eq!(Packing::parse("never").ok(), Some(Packing::NEVER));
        for wrong in ["", "7", "forever", "-1d"] {
            assert!(Packing::parse(wrong).is_err_and(|failure| failure.code == "D043"), "{wrong}");
        }
    }
}
