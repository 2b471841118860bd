//! Writing, one transaction at a time.

use super::{
    chain::{self, Fields, Hash, hex},
    evidence,
    explain::unavailable,
    given::{Numbered, give, given},
    journal::{Slot, Writer},
    let_go,
    place::{Begun, PATIENCE, Place},
    read,
    seen::{self, Mark},
    sql::{Connection, sql},
};
use davy_core::{RolloutId, ServiceKey};
use davy_ports::{Entry, JournalError, Record};
use std::time::Duration;
use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, sleep, timeout_at},
};

/// An event with the text that is stored of it.
pub(super) struct NewEvent {
    entry: Entry,
    text: String,
}

impl NewEvent {
    /// Refuses what could not be read again: a number that JSON does not know would make the stream unreadable for ever.
    pub(super) fn of(entry: &Entry) -> Result<Self, JournalError> {
        let refused = |what: String| JournalError::Damaged { why: format!("nothing was appended: {what}") };
        let text = serde_json::to_string(&entry.event)
            .map_err(|error| refused(format!("the event cannot be written: {error}")))?;
        match read::event(&text) {
            Ok(event) if event == entry.event => Ok(Self { entry: entry.clone(), text }),
            Ok(_) => Err(refused(format!("the event would be read as another one: {text}"))),
            Err(error) => Err(refused(format!("the event could not be read again ({error}): {text}"))),
        }
    }
}

/// A batch with the text that is stored of it.
pub(super) struct NewBatch {
    pub(super) rollout: RolloutId,
    pub(super) number: u64,
    pub(super) bytes: String,
}

/// Why a transaction did not come to its end.
pub(super) enum Failure {
    /// The journal's own answer; the connection is fine.
    Answer(JournalError),
    /// The database failed; the connection is given up.
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// A turn at the writing connection, inside a transaction. A turn that is dropped gives the connection up, and the
/// database undoes what was not committed.
pub(super) struct Turn {
    slot: OwnedMutexGuard<Slot>,
    pub(super) connection: Connection,
    place: Place,
    tried: &'static str,
    /// The last event there is, as far as this turn knows.
    pub(super) last: Option<Mark>,
}

impl Turn {
    /// Waits for other writers, of this process and of others, no longer than the patience in all.
    pub(super) async fn begin(writer: Writer, place: Place, tried: &'static str) -> Result<Self, JournalError> {
        let deadline = Instant::now() + PATIENCE;
        let Ok(mut slot) = timeout_at(deadline, writer.lock_owned()).await else {
            return Err(unavailable(format!("could not {tried}: earlier writes to {place} are not done yet")));
        };
        let failed = |error: sqlx::Error| place.explain(tried, &error);
        let mut known = slot.connection.take();
        loop {
            let kept = known.is_some();
            let mut connection = match known.take() {
                Some(connection) => connection,
                None => place.writing().await.map_err(failed)?,
            };
            match place.begin(&mut connection, slot.token).await {
                Begun::Yes => {
                    let last = seen::look(&place, &mut connection, slot.seen.as_ref(), kept, tried).await?;
                    return Ok(Self { slot, connection, place, tried, last });
                }
                Begun::Busy(error) => {
                    if Instant::now() >= deadline {
                        slot.connection = Some(connection);
                        return Err(failed(error));
                    }
                    known = Some(connection);
                    // The database has waited by itself, except when it saw no use in it.
                    sleep(Duration::from_millis(5)).await;
                }
                // The connection goes, and its transaction with it.
                Begun::Fenced => return Err(JournalError::Fenced),
                // One that was kept may have died since; a new one is asked once.
                Begun::Failed(error) => match &connection {
                    Connection::Postgres(_) if kept && Instant::now() < deadline => {}
                    _ => return Err(failed(error)),
                },
            }
        }
    }

    /// Commits what was done, or undoes it.
    pub(super) async fn end<T>(mut self, result: Result<T, Failure>) -> Result<T, JournalError> {
        let close = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let result = match result {
            Err(Failure::Database(error)) => return Err(self.place.explain(self.tried, &error)),
            Err(Failure::Answer(answer)) => Err(answer),
            Ok(value) => Ok(value),
        };
        if let Err(error) = self.connection.run(close).await {
            let explained = self.place.explain(self.tried, &error);
            return match result {
                Ok(_) if self.place.leaves_open(&error) => Err(JournalError::Unknown { why: explained.to_string() }),
                Ok(_) => Err(explained),
                Err(answer) => Err(answer),
            };
        }
        if result.is_ok() {
            self.slot.saw(self.last);
        }
        self.slot.connection = Some(self.connection);
        result
    }
}

/// Appends events if the stream stands at `expected`.
pub(super) async fn append_in(
    connection: &mut Connection,
    stream: &ServiceKey,
    expected: u64,
    events: &[NewEvent],
) -> Result<Vec<Record>, Failure> {
    let known = sql("SELECT id, events, head FROM stream WHERE environment = $1 AND service = $2")
        .bind(stream.environment.as_str())
        .bind(stream.service.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    let stands_at = match &known {
        Some(row) => row.try_get::<i64>(1)?.cast_unsigned(),
        None => 0,
    };
    if stands_at != expected {
        return Err(Failure::Answer(JournalError::Conflict { expected, stands_at }));
    }
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let (id, mut head) = match &known {
        Some(row) => (row.try_get::<i64>(0)?, row.try_get::<Vec<u8>>(2)?),
        None => {
            let seed = chain::seed(stream.environment.as_str(), stream.service.as_str());
            let row =
                sql("INSERT INTO stream (environment, service, events, head) VALUES ($1, $2, 0, $3) RETURNING id")
                    .bind(stream.environment.as_str())
                    .bind(stream.service.as_str())
                    .bind(seed.as_slice())
                    .fetch_one(&mut *connection)
                    .await?;
            (row.try_get(0)?, seed.to_vec())
        }
    };
    let mut sequence = given(connection, Numbered::Events).await?;
    let mut position = stands_at;
    let mut records = Vec::with_capacity(events.len());
    for NewEvent { entry, text } in events {
        sequence += 1;
        position += 1;
        let previous: Hash = head.as_slice().try_into().map_err(|_| {
            Failure::Answer(JournalError::Damaged { why: format!("the head of {stream} is not a hash") })
        })?;
        let rollout = entry.rollout.as_ref().map(RolloutId::as_str);
        let fields = Fields { sequence, position, at: entry.at.0, by: entry.by.as_str(), rollout, event: text };
        let hash = chain::link(&previous, &fields);
        sql("INSERT INTO event (sequence, stream, position, at, by, rollout, event, hash) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(sequence.cast_signed())
        .bind(id)
        .bind(position.cast_signed())
        .bind(entry.at.0.cast_signed())
        .bind(entry.by.as_str())
        .bind(rollout)
        .bind(text.as_str())
        .bind(hash.as_slice())
        .execute(&mut *connection)
        .await?;
        head = hash.to_vec();
        records.push(Record { sequence, stream: stream.clone(), position, entry: entry.clone(), hash: hex(&hash) });
    }
    give(connection, Numbered::Events, sequence).await?;
    sql("UPDATE stream SET events = $2, head = $3 WHERE id = $1")
        .bind(id)
        .bind(position.cast_signed())
        .bind(head)
        .execute(&mut *connection)
        .await?;
    Ok(records)
}

/// Stores a batch unless it is there.
pub(super) async fn store_in(connection: &mut Connection, batch: &NewBatch) -> Result<(), Failure> {
    let NewBatch { rollout, number, bytes } = batch;
    let digest = evidence::digest(rollout.as_str(), *number, bytes);
    sql("INSERT INTO observed (rollout) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(rollout.as_str())
        .execute(&mut *connection)
        .await?;
    let added = sql("INSERT INTO evidence (rollout, number, batch, digest) \
         SELECT id, $2, $3, $4 FROM observed WHERE rollout = $1 AND deed IS NULL ON CONFLICT DO NOTHING")
    .bind(rollout.as_str())
    .bind(number.cast_signed())
    .bind(bytes.as_str())
    .bind(digest.as_slice())
    .execute(&mut *connection)
    .await?;
    if added == 1 {
        return Ok(());
    }
    let stored =
        sql("SELECT e.digest, o.deed FROM observed o LEFT JOIN evidence e ON e.rollout = o.id AND e.number = $2 \
         WHERE o.rollout = $1")
        .bind(rollout.as_str())
        .bind(number.cast_signed())
        .fetch_one(&mut *connection)
        .await?;
    if let Some(deed) = stored.try_get::<Option<i64>>(1)? {
        return Err(Failure::Answer(let_go::error(rollout, deed)));
    }
    if stored.try_get::<Vec<u8>>(0)? == digest {
        return Ok(());
    }
    Err(Failure::Answer(JournalError::Damaged {
        why: format!("batch {number} of rollout {rollout} was stored before with other counts; the stored one is kept"),
    }))
}
