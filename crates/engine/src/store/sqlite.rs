//! The store itself: one connection that writes, a few that read, and the journal's calls handed to them.

use super::{
    checkpoint::{self, Head, Signer, Trust},
    connect::{self, Access, PATIENCE},
    deeds::{self, Change, Sealed},
    evidence,
    explain::{explain, unavailable},
    read, verify,
    write::{self, NewBatch, NewEvent},
};
use crate::deed::DeedRecord;
use davy_core::{Actor, Pin, RolloutId, SecretName, ServiceKey, Timestamp, rollout::Batches};
use davy_ports::{Batch, Boxed, Entry, Journal, JournalError, Record, Verified};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, SqlitePool, sqlite::SqlitePoolOptions};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::Mutex;

/// How many may read at once: live updates, a page and a check beside the reconcilers.
const READERS: u32 = 3;

/// A journal in one SQLite file.
///
/// Appends are durable when they return, take turns, and wait at most two seconds for their turn and for a lock held by
/// another process; reads wait for no writer. A call that is dropped before it returned may still be carried out.
#[derive(Clone)]
pub struct Sqlite {
    path: Arc<PathBuf>,
    writer: Option<Writer>,
    readers: SqlitePool,
}

/// The connection that writes; none after a failure, until the next turn opens another.
pub(super) type Writer = Arc<Mutex<Option<SqliteConnection>>>;

impl Sqlite {
    /// Opens a journal to append to, creating it if it is missing.
    ///
    /// # Errors
    /// The file cannot be made, opened or written, is not a sound journal, or was written by a later version.
    pub async fn open(path: &Path) -> Result<Self, JournalError> {
        connect::create(path)?;
        let mut connection =
            connect::writing(path).connect().await.map_err(|e| explain("open the journal", path, &e))?;
        connect::settle(&mut connection, path, Access::Write).await?;
        Ok(Self {
            path: Arc::new(path.to_owned()),
            writer: Some(Arc::new(Mutex::new(Some(connection)))),
            readers: readers(path),
        })
    }

    /// Opens a journal to read and verify it, whether a server uses it or not.
    ///
    /// # Errors
    /// The file does not exist or cannot be read, is not a sound journal, or is of another version.
    pub async fn open_read_only(path: &Path) -> Result<Self, JournalError> {
        if let Err(error) = std::fs::metadata(path) {
            let path = path.display();
            return Err(unavailable(format!("could not read {path}: {error}; give the server's folder with --data")));
        }
        let readers = readers(path);
        let mut connection = readers.acquire().await.map_err(|e| explain("open the journal", path, &e))?;
        connect::settle(&mut connection, path, Access::Read).await?;
        drop(connection);
        Ok(Self { path: Arc::new(path.to_owned()), writer: None, readers })
    }

    /// Closes every connection, so that what is in the log moves into the file. Appends that have begun end first.
    pub async fn close(&self) {
        self.readers.close().await;
        if let Some(writer) = &self.writer
            && let Some(connection) = writer.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(path = %self.path.display(), %error, "the journal could not be closed; its log is read at the next start");
        }
    }

    /// What a verdict on the stored batches `first..=last` of a rollout names; none when one of them is missing.
    ///
    /// # Errors
    /// As of every read.
    pub async fn batches(&self, rollout: &RolloutId, first: u64, last: u64) -> Result<Option<Batches>, JournalError> {
        read::batches(&self.readers, rollout, first, last).await.map_err(|e| explain("read evidence", &self.path, &e))
    }

    /// Records what was done to the server, with the values that it is about: all or nothing.
    ///
    /// # Errors
    /// As of every append.
    pub async fn change(&self, at: Timestamp, by: &Actor, change: Change) -> Result<Vec<DeedRecord>, JournalError> {
        Self::carried(deeds::change(self.writer()?, self.path.clone(), at, by.clone(), change)).await
    }

    /// Every deed, and whether their chain holds.
    ///
    /// # Errors
    /// As of every read.
    pub async fn deeds(&self) -> Result<(Vec<DeedRecord>, bool), JournalError> {
        deeds::deeds(&self.readers, &self.path).await
    }

    /// The sealed value of a secret, while it is kept.
    ///
    /// # Errors
    /// As of every read.
    pub async fn sealed(&self, name: &SecretName, pin: &Pin) -> Result<Option<Sealed>, JournalError> {
        deeds::sealed(&self.readers, &self.path, name, pin).await
    }

    /// Which keys sealed the values that are kept.
    ///
    /// # Errors
    /// As of every read.
    pub async fn keys(&self) -> Result<Vec<Vec<u8>>, JournalError> {
        deeds::keys(&self.readers, &self.path).await
    }

    /// Signs where every chain stands; none when nothing moved since the last time.
    ///
    /// # Errors
    /// As of every append.
    pub async fn checkpoint(&self, signer: &Arc<Signer>, at: Timestamp) -> Result<Option<Head>, JournalError> {
        Self::carried(checkpoint::sign(self.writer()?, self.path.clone(), signer.clone(), at)).await
    }

    /// Copies what is committed into a file, which must be there and empty; writers go on meanwhile.
    ///
    /// # Errors
    /// When it cannot be read or the file not be written.
    pub async fn copy(&self, into: &Path) -> Result<(), JournalError> {
        let name = into.to_str().ok_or_else(|| unavailable(format!("{} is no name in UTF-8", into.display())))?;
        let copied = sqlx::query("VACUUM INTO ?1").bind(name).execute(&self.readers).await;
        copied.map(drop).map_err(|error| explain("copy the journal", into, &error))
    }

    /// The last checkpoint, if there is one.
    ///
    /// # Errors
    /// As of every read.
    pub async fn head(&self) -> Result<Option<Head>, JournalError> {
        checkpoint::head(&self.readers, &self.path).await
    }

    /// Checks everything, with what is known from outside the database.
    ///
    /// # Errors
    /// As of every read.
    pub async fn verify_with(&self, trust: &Trust) -> Result<Verified, JournalError> {
        let verified = verify::verify(&self.readers, trust).await;
        verified.map_err(|error| explain("verify the journal", &self.path, &error))
    }

    fn writer(&self) -> Result<Writer, JournalError> {
        self.writer.clone().ok_or_else(|| {
            let path = self.path.display();
            unavailable(format!("could not write to {path}: it was opened for reading only; ask the server"))
        })
    }

    /// Carries a write to its end even if the caller stops waiting: a connection is never left inside a transaction.
    async fn carried<T: Send + 'static>(
        work: impl Future<Output = Result<T, JournalError>> + Send + 'static,
    ) -> Result<T, JournalError> {
        match tokio::spawn(work).await {
            Ok(result) => result,
            Err(error) => Err(unavailable(format!("a write to the journal was broken off: {error}"))),
        }
    }
}

fn readers(path: &Path) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .connect_lazy_with(connect::reading(path))
}

impl Journal for Sqlite {
    fn append<'a>(
        &'a self,
        stream: &'a ServiceKey,
        expected: u64,
        entries: &'a [Entry],
    ) -> Boxed<'a, Result<Vec<Record>, JournalError>> {
        Box::pin(async move {
            let events = entries.iter().map(NewEvent::of).collect::<Result<Vec<_>, _>>()?;
            let work = write::append(self.writer()?, self.path.clone(), stream.clone(), expected, events);
            Self::carried(work).await
        })
    }

    fn stream<'a>(&'a self, stream: &'a ServiceKey) -> Boxed<'a, Result<Vec<Record>, JournalError>> {
        Box::pin(async move { read::stream(&self.readers, &self.path, stream).await })
    }

    fn after(&self, sequence: u64, limit: usize) -> Boxed<'_, Result<Vec<Record>, JournalError>> {
        Box::pin(async move { read::after(&self.readers, &self.path, sequence, limit).await })
    }

    fn streams(&self) -> Boxed<'_, Result<Vec<ServiceKey>, JournalError>> {
        Box::pin(async move { read::streams(&self.readers, &self.path).await })
    }

    fn store<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Result<(), JournalError>> {
        Box::pin(async move {
            let bytes = evidence::write(batch)
                .map_err(|error| JournalError::Damaged { why: format!("a batch cannot be written: {error}") })?;
            let batch = NewBatch { rollout: batch.rollout.clone(), number: batch.number, bytes };
            Self::carried(write::store(self.writer()?, self.path.clone(), batch)).await
        })
    }

    fn evidence<'a>(&'a self, rollout: &'a RolloutId) -> Boxed<'a, Result<Vec<Batch>, JournalError>> {
        Box::pin(async move { read::evidence(&self.readers, &self.path, rollout).await })
    }

    fn verify(&self) -> Boxed<'_, Result<Verified, JournalError>> {
        Box::pin(async move {
            verify::verify(&self.readers, &Trust::default())
                .await
                .map_err(|error| explain("verify the journal", &self.path, &error))
        })
    }
}
