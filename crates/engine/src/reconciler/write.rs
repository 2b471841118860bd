//! What is carried to its end beside the reconciler: it is tried again until it is known to be written, so that nothing the
//! reconciler does meanwhile (judging, renewing a lease, putting traffic back) waits for a database.

use davy_core::{RolloutId, ServiceKey};
use davy_ports::{Batch, Entry, Journal, JournalError, Record};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The longest single attempt.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Between two attempts; with as much again by chance, so that those who were stopped by the same thing do not return together.
const PAUSE: Duration = Duration::from_millis(150);

/// Why something cannot be done, while it cannot.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    pub(super) fn why(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps why; whether it begins with this.
    fn begins(&self, why: &str) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.replace(why.to_owned()).is_none()
    }

    fn over(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// How an append ended.
#[derive(Debug)]
pub(super) enum Written {
    /// As it was asked.
    Ours(Vec<Record>),
    /// Not: somebody else's events stand there.
    Others(Vec<Record>),
    /// Not, and nothing will be: another server looks after the service.
    Fenced,
}

/// Appends. What failed, or was not answered in time, may have been written all the same: what is there decides, and an
/// append under the same position can never be written twice.
pub(super) async fn append(
    journal: Arc<dyn Journal>,
    key: ServiceKey,
    position: u64,
    entries: Vec<Entry>,
    trouble: Trouble,
) -> Written {
    loop {
        let why = match tokio::time::timeout(ATTEMPT, journal.append(&key, position, &entries)).await {
            Ok(Ok(records)) => {
                trouble.over();
                return Written::Ours(records);
            }
            Ok(Err(JournalError::Fenced)) => return Written::Fenced,
            answer => failure(answer),
        };
        if let Ok(Ok(found)) = tokio::time::timeout(ATTEMPT, journal.stream(&key, position)).await
            && !found.is_empty()
        {
            trouble.over();
            let ours = found.iter().map(|record| &record.entry).eq(&entries);
            return if ours { Written::Ours(found) } else { Written::Others(found) };
        }
        if trouble.begins(&why) {
            tracing::error!(service = %key, why, "nothing can be written; trying again, nothing advances");
        }
        pause().await;
    }
}

/// Stores a batch; whether it is: not where another server has taken over.
pub(super) async fn store(journal: Arc<dyn Journal>, batch: Batch, trouble: Trouble) -> bool {
    loop {
        let why = match tokio::time::timeout(ATTEMPT, journal.store(&batch)).await {
            Ok(Ok(())) => {
                trouble.over();
                return true;
            }
            Ok(Err(JournalError::Fenced)) => return false,
            answer => failure(answer),
        };
        if trouble.begins(&why) {
            let service = &batch.window.key;
            tracing::warn!(%service, why, "evidence could not be stored; it is kept and nothing advances");
        }
        pause().await;
    }
}

/// Reads what is stored of a rollout.
pub(super) async fn recall(journal: Arc<dyn Journal>, rollout: RolloutId, trouble: Trouble) -> Vec<Batch> {
    loop {
        let why = match tokio::time::timeout(ATTEMPT, journal.evidence(&rollout)).await {
            Ok(Ok(batches)) => {
                trouble.over();
                return batches;
            }
            answer => failure(answer),
        };
        if trouble.begins(&why) {
            tracing::warn!(%rollout, why, "its evidence could not be read; nothing advances");
        }
        pause().await;
    }
}

fn failure<T>(answer: Result<Result<T, JournalError>, tokio::time::error::Elapsed>) -> String {
    match answer {
        Ok(Err(error)) => error.to_string(),
        _ => "the journal did not answer in time".to_owned(),
    }
}

async fn pause() {
    tokio::time::sleep(PAUSE.mul_f64(1.0 + fastrand::f64())).await;
}
