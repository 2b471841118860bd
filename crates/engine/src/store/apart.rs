//! The check of the whole journal beside a server that works: on a thread and connections of its own, so that nobody waits for them.

use super::{Store, Trust, explain::unavailable, place::Place, verify};
use davy_ports::{JournalError, Verified};
use std::time::Duration;
use tokio::sync::oneshot;

/// The longest check: as long as it lasts, SQLite's log cannot be moved into the file.
const LONGEST: Duration = Duration::from_secs(15 * 60);

impl Store {
    /// Recomputes everything, as [`Store::verify_with`] does, apart from all else; it ends when nobody waits for the answer.
    ///
    /// # Errors
    /// When the journal cannot be read, or the check takes longer than a quarter of an hour.
    pub async fn verify_apart(&self, trust: Trust) -> Result<Verified, JournalError> {
        const ENDED: &str = "could not verify the journal: the check was broken off";
        let (told, answer) = oneshot::channel();
        let place = self.place.clone();
        let begun = std::thread::Builder::new().name("verify".to_owned()).spawn(move || check(&place, &trust, told));
        begun.map_err(|error| unavailable(format!("could not verify the journal: {error}")))?;
        answer.await.unwrap_or_else(|_| Err(unavailable(ENDED.to_owned())))
    }
}

fn check(place: &Place, trust: &Trust, mut told: oneshot::Sender<Result<Verified, JournalError>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            told.send(Err(unavailable(format!("could not verify the journal: {error}")))).ok();
            return;
        }
    };
    let checked = runtime.block_on(async {
        let readers = place.readers();
        let checked = tokio::select! {
            checked = tokio::time::timeout(LONGEST, verify::verify(&readers, trust)) => Some(checked),
            () = told.closed() => None,
        };
        readers.close().await;
        checked
    });
    let checked = match checked {
        None => return,
        Some(Ok(checked)) => checked.map_err(|error| place.explain("verify the journal", &error)),
        Some(Err(_)) => Err(unavailable(format!(
            "could not verify the journal: it took longer than {} minutes; `davy audit verify --data` on the server's machine takes its time",
            LONGEST.as_secs() / 60
        ))),
    };
    told.send(checked).ok();
}
