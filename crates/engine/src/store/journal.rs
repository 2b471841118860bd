//! The store itself: one connection that writes, a few that read, and the journal's calls handed to them.

use super::{
    checkpoint::{self, Head, Signer, Trust},
    deeds::{self, Change, Sealed},
    evidence,
    explain::{explain, unavailable},
    group::{Group, Job},
    lease::{self, Bid, Bidder},
    let_go, packing,
    place::{self, Place},
    postgres::{self, Server},
    read,
    room::{self, Room},
    seen::{self, Mark, Memory},
    sql::{Connection, Pool, sql},
    sqlite::{self, Access},
    told, verify,
    write::{NewBatch, NewEvent},
};
use crate::deed::DeedRecord;
use davy_core::{Actor, Pin, RolloutId, SecretName, ServiceKey, Timestamp, rollout::Batches};
use davy_ports::{Batch, Boxed, Entry, Journal, JournalError, Mark as Told, Record, Streamed, Verified};
use sqlx::ConnectOptions as _;
use std::{collections::BTreeSet, path::Path, sync::Arc};
use tokio::sync::Mutex;

/// A journal in one SQLite file, or in a database of a PostgreSQL server.
///
/// Appends are durable when they return, take turns, and wait at most two seconds for their turn and for a lock held by
/// another process; reads wait for no writer. A call that is dropped before it returned may still be carried out.
#[derive(Clone)]
pub struct Store {
    pub(super) place: Place,
    writer: Option<Writer>,
    /// Through it goes what is written often.
    group: Option<Arc<Group>>,
    readers: Pool,
}

/// Whoever writes has it to himself.
pub(super) type Writer = Arc<Mutex<Slot>>;

/// What is kept between two turns.
pub(super) struct Slot {
    /// The connection that writes; none after a failure, until the next turn opens another.
    pub(super) connection: Option<Connection>,
    /// The last event that was seen at a turn.
    pub(super) seen: Option<Mark>,
    /// Of the lease under which it is written, if there is one.
    pub(super) token: Option<i64>,
    /// Where that is kept, so that it outlives the server.
    pub(super) memory: Option<Memory>,
}

impl Store {
    /// Opens a journal in a file to append to, creating it if it is missing.
    ///
    /// # Errors
    /// The file cannot be made, opened or written, is not a sound journal, or was written by a later version.
    pub async fn open(path: &Path) -> Result<Self, JournalError> {
        sqlite::create(path)?;
        let mut connection =
            sqlite::writing(path).connect().await.map_err(|e| explain("open the journal", path, &e))?;
        sqlite::settle(&mut connection, path, Access::Write).await?;
        Ok(Self::of(Place::File(Arc::new(path.to_owned())), Some(Connection::Sqlite(connection))))
    }

    /// Opens a journal in a file to read and verify it, whether a server uses it or not.
    ///
    /// # Errors
    /// The file does not exist or cannot be read, is not a sound journal, or is of another version.
    pub async fn open_read_only(path: &Path) -> Result<Self, JournalError> {
        if let Err(error) = std::fs::metadata(path) {
            let path = path.display();
            return Err(unavailable(format!("could not read {path}: {error}; give the server's folder with --data")));
        }
        let failed = |error: sqlx::Error| explain("open the journal", path, &error);
        let mut connection = sqlite::reading(path).connect().await.map_err(failed)?;
        sqlite::settle(&mut connection, path, Access::Read).await?;
        sqlx::Connection::close(connection).await.map_err(failed)?;
        Ok(Self::of(Place::File(Arc::new(path.to_owned())), None))
    }

    /// Opens a journal at `postgres://user@host:port/database` to append to, making its tables if they are missing.
    ///
    /// # Errors
    /// The server cannot be reached or refuses, or what is there is not Davy's or of a later version.
    pub async fn connect(url: &str) -> Result<Self, JournalError> {
        Self::reach(url, postgres::Access::Write).await
    }

    /// Opens a journal at such an address to read and verify it.
    ///
    /// # Errors
    /// The server cannot be reached or refuses, or there is no journal of this version.
    pub async fn connect_read_only(url: &str) -> Result<Self, JournalError> {
        Self::reach(url, postgres::Access::Read).await
    }

    async fn reach(url: &str, access: postgres::Access) -> Result<Self, JournalError> {
        let server = Server::parse(url)?;
        let connected = server.connect(access).await;
        let mut connection = connected.map_err(|error| server.explain("open the journal", &error))?;
        server.settle(&mut connection, access).await?;
        let kept = (access == postgres::Access::Write).then_some(Connection::Postgres(connection));
        Ok(Self::of(Place::Server(Arc::new(server)), kept))
    }

    fn of(place: Place, connection: Option<Connection>) -> Self {
        let readers = place.readers();
        let slot = |connection| Slot { connection: Some(connection), seen: None, token: None, memory: None };
        let writer = connection.map(|connection| Arc::new(Mutex::new(slot(connection))));
        let group = writer.clone().map(|writer| Group::new(writer, place.clone()));
        Self { place, writer, group, readers }
    }

    /// Keeps in a file of the data folder what was last seen of a server's database, and refuses one that is older than that.
    ///
    /// # Errors
    /// The database is older, or as of every append.
    pub async fn remember(&self, file: &Path) -> Result<(), JournalError> {
        Self::carried(seen::remember(self.writer()?, self.place.clone(), file.to_owned())).await
    }

    /// Where it is, without a password.
    #[must_use]
    pub fn shown(&self) -> String {
        self.place.to_string()
    }

    /// Closes every connection, so that what is in the log moves into the file. Appends that have begun end first.
    pub async fn close(&self) {
        self.readers.close().await;
        if let Some(writer) = &self.writer
            && let Some(connection) = writer.lock().await.connection.take()
            && let Err(error) = place::close(connection).await
        {
            tracing::warn!(place = %self.place, %error, "the journal could not be closed; its log is read at the next start");
        }
    }

    /// Asks to be the one server that works. From when it is, writes are refused once another one is.
    ///
    /// # Errors
    /// As of every append.
    pub async fn bid(&self, bidder: &Bidder) -> Result<Bid, JournalError> {
        let bidding = lease::bid(self.writer()?, self.readers.clone(), self.place.clone(), bidder.clone());
        Self::carried(bidding).await
    }

    /// What a verdict on the stored batches `first..=last` of a rollout names; none when one of them is missing.
    ///
    /// # Errors
    /// As of every read.
    pub async fn batches(&self, rollout: &RolloutId, first: u64, last: u64) -> Result<Option<Batches>, JournalError> {
        read::batches(&self.readers, rollout, first, last).await.map_err(|e| self.place.explain("read evidence", &e))
    }

    /// Records what was done to the server, with the values that it is about: all or nothing.
    ///
    /// # Errors
    /// As of every append.
    pub async fn change(&self, at: Timestamp, by: &Actor, change: Change) -> Result<Vec<DeedRecord>, JournalError> {
        Self::carried(deeds::change(self.writer()?, self.place.clone(), at, by.clone(), change)).await
    }

    /// Every deed, and whether their chain holds.
    ///
    /// # Errors
    /// As of every read.
    pub async fn deeds(&self) -> Result<(Vec<DeedRecord>, bool), JournalError> {
        deeds::deeds(&self.readers, &self.place).await
    }

    /// The sealed value of a secret, while it is kept.
    ///
    /// # Errors
    /// As of every read.
    pub async fn sealed(&self, name: &SecretName, pin: &Pin) -> Result<Option<Sealed>, JournalError> {
        deeds::sealed(&self.readers, &self.place, name, pin).await
    }

    /// Which keys sealed the values that are kept.
    ///
    /// # Errors
    /// As of every read.
    pub async fn keys(&self) -> Result<Vec<Vec<u8>>, JournalError> {
        deeds::keys(&self.readers, &self.place).await
    }

    /// Up to where people were told.
    ///
    /// # Errors
    /// As of every read.
    pub async fn marks(&self) -> Result<Vec<Told>, JournalError> {
        told::marks(&self.readers, &self.place).await
    }

    /// Keeps up to where somebody was told.
    ///
    /// # Errors
    /// As of every append.
    pub async fn mark(&self, mark: &Told) -> Result<(), JournalError> {
        Self::carried(told::mark(self.writer()?, self.place.clone(), mark.clone())).await
    }

    /// The rollouts of which there is evidence, and whether it was let go already and only has to be removed.
    ///
    /// # Errors
    /// As of every read.
    pub async fn held(&self) -> Result<Vec<(RolloutId, bool)>, JournalError> {
        let_go::held(&self.readers, &self.place).await
    }

    /// Records, signed, that the evidence of a rollout is let go; none when that is recorded, or there is none. From then on nobody
    /// is given it.
    ///
    /// # Errors
    /// When it does not hold: then it is kept. As of every append.
    pub async fn let_go(
        &self,
        signer: &Arc<Signer>,
        rollout: &RolloutId,
        at: Timestamp,
        by: &Actor,
    ) -> Result<Option<DeedRecord>, JournalError> {
        let on = (self.writer()?, self.readers.clone(), self.place.clone());
        Self::carried(let_go::record(on, signer.clone(), rollout.clone(), at, by.clone())).await
    }

    /// Removes what was let go; one that was broken off goes on.
    ///
    /// # Errors
    /// As of every append.
    pub async fn remove(&self, rollout: &RolloutId) -> Result<(), JournalError> {
        Self::carried(let_go::remove(self.writer()?, self.place.clone(), rollout.clone())).await
    }

    /// Packs the events of those of these rollouts of a service, which are over, on which nothing rests any more; how many. They are
    /// read as before, but by `since`.
    ///
    /// # Errors
    /// When one does not hold: then it is left as it is, and so are those after it. As of every append.
    pub async fn pack(&self, stream: &ServiceKey, over: &Arc<BTreeSet<RolloutId>>) -> Result<u64, JournalError> {
        let on = (self.writer()?, self.readers.clone(), self.place.clone());
        Self::carried(packing::pack(on, stream.clone(), over.clone())).await
    }

    /// How much room it takes.
    ///
    /// # Errors
    /// As of every read.
    pub async fn room(&self) -> Result<Room, JournalError> {
        room::room(&self.readers, &self.place).await
    }

    /// Signs where every chain stands; none when nothing moved since the last time.
    ///
    /// # Errors
    /// As of every append.
    pub async fn checkpoint(&self, signer: &Arc<Signer>, at: Timestamp) -> Result<Option<Head>, JournalError> {
        Self::carried(checkpoint::sign(self.writer()?, self.place.clone(), signer.clone(), at)).await
    }

    /// Copies what is committed into a file, which must be there and empty; writers go on meanwhile.
    ///
    /// # Errors
    /// When it cannot be read or the file not be written.
    pub async fn copy(&self, into: &Path) -> Result<(), JournalError> {
        let name = into.to_str().ok_or_else(|| unavailable(format!("{} is no name in UTF-8", into.display())))?;
        if matches!(self.place, Place::Server(_)) {
            return Err(unavailable(format!("could not copy {}: use pg_dump", self.place)));
        }
        let copied = sql("VACUUM INTO $1").bind(name).execute(&self.readers).await;
        copied.map(drop).map_err(|error| explain("copy the journal", into, &error))
    }

    /// The last checkpoint, if there is one.
    ///
    /// # Errors
    /// As of every read.
    pub async fn head(&self) -> Result<Option<Head>, JournalError> {
        checkpoint::head(&self.readers, &self.place).await
    }

    /// Checks everything, with what is known from outside the database.
    ///
    /// # Errors
    /// As of every read.
    pub async fn verify_with(&self, trust: &Trust) -> Result<Verified, JournalError> {
        let verified = verify::verify(&self.readers, trust).await;
        verified.map_err(|error| self.place.explain("verify the journal", &error))
    }

    fn writer(&self) -> Result<Writer, JournalError> {
        self.writer.clone().ok_or_else(|| self.read_only())
    }

    fn group(&self) -> Result<&Arc<Group>, JournalError> {
        self.group.as_ref().ok_or_else(|| self.read_only())
    }

    fn read_only(&self) -> JournalError {
        let place = &self.place;
        unavailable(format!("could not write to {place}: it was opened for reading only; ask the server"))
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

impl Journal for Store {
    fn append<'a>(
        &'a self,
        stream: &'a ServiceKey,
        expected: u64,
        entries: &'a [Entry],
    ) -> Boxed<'a, Result<Vec<Record>, JournalError>> {
        Box::pin(async move {
            let events = entries.iter().map(NewEvent::of).collect::<Result<Vec<_>, _>>()?;
            self.group()?.write(Job::Append { stream: stream.clone(), expected, events }).await
        })
    }

    fn stream<'a>(&'a self, stream: &'a ServiceKey, after: u64) -> Boxed<'a, Result<Vec<Record>, JournalError>> {
        Box::pin(async move { read::stream(&self.readers, &self.place, stream, after).await })
    }

    fn rollout<'a>(&'a self, rollout: &'a RolloutId) -> Boxed<'a, Result<Vec<Record>, JournalError>> {
        Box::pin(async move { read::rollout(&self.readers, &self.place, rollout).await })
    }

    fn after(&self, sequence: u64, limit: usize) -> Boxed<'_, Result<Vec<Record>, JournalError>> {
        Box::pin(async move { read::after(&self.readers, &self.place, sequence, limit).await })
    }

    fn since(&self, sequence: u64) -> Streamed<'_, Result<Record, JournalError>> {
        read::since(&self.readers, &self.place, sequence)
    }

    fn streams(&self) -> Boxed<'_, Result<Vec<ServiceKey>, JournalError>> {
        Box::pin(async move { read::streams(&self.readers, &self.place).await })
    }

    fn store<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Result<(), JournalError>> {
        Box::pin(async move {
            let bytes = evidence::write(batch)
                .map_err(|error| JournalError::Damaged { why: format!("a batch cannot be written: {error}") })?;
            let batch = NewBatch { rollout: batch.rollout.clone(), number: batch.number, bytes };
            self.group()?.write(Job::Store(batch)).await.map(drop)
        })
    }

    fn evidence<'a>(&'a self, rollout: &'a RolloutId) -> Boxed<'a, Result<Vec<Batch>, JournalError>> {
        Box::pin(async move { read::evidence(&self.readers, &self.place, rollout).await })
    }

    fn verify(&self) -> Boxed<'_, Result<Verified, JournalError>> {
        Box::pin(async move {
            verify::verify(&self.readers, &Trust::default())
                .await
                .map_err(|error| self.place.explain("verify the journal", &error))
        })
    }
}
