//! How long evidence is kept, and how it goes when its time is over: the report is written first, while it is there.

use crate::exit::{Exit, Failure};
use davy_core::{Millis, RolloutId, Timestamp};
use davy_engine::{Engine, Ledger, now, store::Signer};
use davy_ports::JournalError;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, sync::Arc};

/// The word for ever.
const FOREVER: &str = "forever";
/// Of so many rollouts at once: the rest waits for the next look.
const SOME: usize = 100;

/// How long the evidence of a rollout is kept after its end; for ever when there is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Retention(Option<Millis>);

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: u64 = 24 * 3_600_000;
        match self.0 {
            None => f.write_str(FOREVER),
            Some(Millis(time)) if time >= DAY && time.is_multiple_of(DAY) => write!(f, "{} days", time / DAY),
            Some(time) => time.fmt(f),
        }
    }
}

impl Retention {
    /// For ever.
    pub(crate) const FOREVER: Self = Self(None);

    /// What `--keep-evidence` says.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if text == FOREVER {
            return Ok(Self::FOREVER);
        }
        let time = davy_config::duration(text).map_err(|hint| {
            let message = format!("--keep-evidence is `{text}`, which is no duration");
            Failure::new(Exit::Usage, "D042", message).hint(format!("{hint}; or `{FOREVER}`"))
        })?;
        Ok(Self(Some(time)))
    }

    /// Lets go what has been kept as long as it was to be. One that cannot be let go does not keep the others.
    pub(crate) async fn look(
        self,
        engine: &Engine,
        ledger: &Ledger,
        signer: &Arc<Signer>,
        told: &mut BTreeSet<RolloutId>,
    ) -> Result<(), JournalError> {
        let before = self.0.map(|time| Timestamp(now().0.saturating_sub(time.0)));
        let over = before.map(|before| engine.ended_before(before)).unwrap_or_default();
        let over: BTreeSet<RolloutId> = over.into_values().flatten().collect();
        let held = ledger.store().held().await?.into_iter();
        let due = held.filter(|(rollout, gone)| !told.contains(rollout) && (*gone || over.contains(rollout)));
        for (rollout, _) in due.take(SOME).collect::<Vec<_>>() {
            if let Err(why) = let_go(engine, ledger, signer, &rollout).await {
                tracing::error!(%rollout, why, "its evidence is kept although its time is over");
                told.insert(rollout);
            }
        }
        Ok(())
    }
}

async fn let_go(engine: &Engine, ledger: &Ledger, signer: &Arc<Signer>, rollout: &RolloutId) -> Result<(), String> {
    engine.report(rollout).await.map_err(|error| error.to_string())?;
    ledger.let_go(signer, rollout).await.map_err(|error| error.to_string())?;
    // Once more: now it says that the evidence is gone.
    engine.report(rollout).await.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::Retention;

    #[test]
    fn it_is_a_time_or_for_ever() {
        for (text, shown) in [("90d", "90 days"), ("12h", "12h"), ("1ms", "1ms"), ("forever", "forever")] {
            assert_eq!(Retention::parse(text).map(|time| time.to_string()).ok().as_deref(), Some(shown));
        }
        for wrong in ["", "90", "never", "-1d"] {
            assert!(Retention::parse(wrong).is_err_and(|failure| failure.code == "D042"), "{wrong}");
        }
    }
}
