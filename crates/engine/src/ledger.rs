//! The deeds in memory, so that who may do what is known while the database is locked, and the one way to add to them. Which
//! evidence was let go is not among them: nothing is folded from that, and there is one for each rollout.

use crate::{
    clock::wall,
    deed::{Deed, DeedRecord},
    engine::Engine,
    store::{Change, Signer, Store},
};
use davy_core::{Actor, RolloutId};
use davy_ports::{Boxed, JournalError, Mark, Outbox, Untold};
use std::sync::{Arc, PoisonError, RwLock};

/// Everything that was done to this server.
pub struct Ledger {
    store: Store,
    records: RwLock<Vec<DeedRecord>>,
    sound: bool,
}

impl Ledger {
    /// Reads what was done before.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn open(store: Store) -> Result<Self, JournalError> {
        let (mut records, sound) = store.deeds().await?;
        records.retain(|record| !matches!(record.deed, Deed::EvidenceLetGo { .. }));
        if !sound {
            tracing::error!(
                "the chain of what was done to this server does not hold: no token but the server's own is taken; see `davy audit verify`"
            );
        }
        Ok(Self { store, records: RwLock::new(records), sound })
    }

    /// Whether the chain held when it was read.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.sound
    }

    /// The store that it is in.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Every deed but those that let evidence go, in order.
    #[must_use]
    pub fn records(&self) -> Vec<DeedRecord> {
        self.records.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Folds the deeds.
    pub fn fold<T>(&self, fold: impl FnOnce(&[DeedRecord]) -> T) -> T {
        fold(&self.records.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a change; what it records is known when this returns.
    ///
    /// # Errors
    /// As of every append; then nothing was changed.
    pub async fn write(&self, by: &Actor, change: Change) -> Result<(), JournalError> {
        let written = self.store.change(wall(), by, change).await?;
        self.records.write().unwrap_or_else(PoisonError::into_inner).extend(written);
        Ok(())
    }
}

impl Ledger {
    /// Lets the evidence of a rollout go that has ended: recorded first, removed then.
    ///
    /// # Errors
    /// When it does not hold, or the chain of deeds does not: then it is kept. As of every append.
    pub async fn let_go(&self, signer: &Arc<Signer>, rollout: &RolloutId) -> Result<(), JournalError> {
        if !self.sound {
            let why = "the chain of what was done to this server does not hold: no evidence is let go".to_owned();
            return Err(JournalError::Damaged { why });
        }
        self.store.let_go(signer, rollout, wall(), &Engine::actor()).await?;
        self.store.remove(rollout).await
    }
}

impl Outbox for Ledger {
    fn marks(&self) -> Boxed<'_, Result<Vec<Mark>, JournalError>> {
        Box::pin(self.store.marks())
    }

    fn mark<'a>(&'a self, mark: &'a Mark) -> Boxed<'a, Result<(), JournalError>> {
        Box::pin(self.store.mark(mark))
    }

    fn give_up<'a>(&'a self, untold: &'a Untold) -> Boxed<'a, Result<(), JournalError>> {
        Box::pin(async move {
            let deed = Deed::Untold { untold: untold.clone() };
            self.write(&Engine::actor(), Change { deeds: vec![deed], ..Change::default() }).await
        })
    }
}
