//! Reading, beside the writer.

use super::{
    chain::{self, Fields, Hash, hex},
    evidence::{self, BatchesDigest},
    let_go,
    place::Place,
    sql::{Pool, Row, sql},
};
use davy_core::{
    Actor, EnvironmentName, RolloutId, ServiceKey, ServiceName, Timestamp,
    rollout::{Batches, Event},
};
use davy_ports::{Batch, Entry, JournalError, Record};

const READ_EVENTS: &str = "read the journal";
const READ_EVIDENCE: &str = "read evidence";

/// An event, and the hash of the one before it in its stream. What is read is checked, so that nothing is decided on what was
/// changed behind the journal's back.
macro_rules! events {
    ($which:literal) => {
        concat!(
            "SELECT e.sequence, s.environment, s.service, e.position, e.at, e.by, e.rollout, e.event, e.hash, p.hash \
             FROM event e JOIN stream s ON s.id = e.stream \
             LEFT JOIN event p ON p.stream = e.stream AND p.position = e.position - 1 ",
            $which
        )
    };
}

/// Every event of a stream after a position.
pub(super) async fn stream(
    pool: &Pool,
    place: &Place,
    key: &ServiceKey,
    after: u64,
) -> Result<Vec<Record>, JournalError> {
    // No position is above what a database can hold.
    let Ok(after) = i64::try_from(after) else { return Ok(Vec::new()) };
    let rows = sql(events!("WHERE s.environment = $1 AND s.service = $2 AND e.position > $3 ORDER BY e.position"))
        .bind(key.environment.as_str())
        .bind(key.service.as_str())
        .bind(after)
        .fetch_all(pool)
        .await
        .map_err(|error| place.explain(READ_EVENTS, &error))?;
    rows.iter().map(|row| record(row, place)).collect()
}

/// Every event of a rollout.
pub(super) async fn rollout(pool: &Pool, place: &Place, rollout: &RolloutId) -> Result<Vec<Record>, JournalError> {
    let rows = sql(events!("WHERE e.rollout = $1 ORDER BY e.sequence"))
        .bind(rollout.as_str())
        .fetch_all(pool)
        .await
        .map_err(|error| place.explain(READ_EVENTS, &error))?;
    rows.iter().map(|row| record(row, place)).collect()
}

/// Events of all streams after a sequence number.
pub(super) async fn after(
    pool: &Pool,
    place: &Place,
    sequence: u64,
    limit: usize,
) -> Result<Vec<Record>, JournalError> {
    // No number in the file is above what SQLite can hold.
    let (Ok(sequence), limit) = (i64::try_from(sequence), i64::try_from(limit).unwrap_or(i64::MAX)) else {
        return Ok(Vec::new());
    };
    let rows = sql(events!("WHERE e.sequence > $1 ORDER BY e.sequence LIMIT $2"))
        .bind(sequence)
        .bind(limit)
        .fetch_all(pool)
        .await
        .map_err(|error| place.explain(READ_EVENTS, &error))?;
    rows.iter().map(|row| record(row, place)).collect()
}

fn record(row: &Row, place: &Place) -> Result<Record, JournalError> {
    let failed = |error: sqlx::Error| place.explain(READ_EVENTS, &error);
    let number = |index: usize| row.try_get::<i64>(index).map(i64::cast_unsigned).map_err(failed);
    let (sequence, position, at) = (number(0)?, number(3)?, number(4)?);
    let (environment, service): (String, String) = (row.try_get(1).map_err(failed)?, row.try_get(2).map_err(failed)?);
    let seed = chain::seed(&environment, &service);
    let stream = key(environment, service)?;
    let damaged = |what: String| JournalError::Damaged {
        why: format!(
            "event {position} of {stream} {what}; see what `davy audit verify` finds, and put a backup in its place"
        ),
    };
    let (by, rollout): (String, Option<String>) = (row.try_get(5).map_err(failed)?, row.try_get(6).map_err(failed)?);
    let text: &str = row.try_get(7).map_err(failed)?;
    let hash: &[u8] = row.try_get(8).map_err(failed)?;
    let before = match (position, row.try_get::<Option<&[u8]>>(9).map_err(failed)?) {
        (1, _) => seed,
        (_, Some(before)) => {
            Hash::try_from(before).map_err(|_| damaged("follows one whose hash is none".to_owned()))?
        }
        (_, None) => return Err(damaged("follows one that is missing".to_owned())),
    };
    let fields = Fields { sequence, position, at, by: &by, rollout: rollout.as_deref(), event: text };
    if chain::link(&before, &fields) != hash {
        return Err(damaged("is not what was written: its hash differs".to_owned()));
    }
    // It is what was written: a later version wrote it.
    let event = serde_json::from_str::<Event>(text).map_err(|error| JournalError::Damaged {
        why: format!(
            "event {position} of {stream} is unknown to this version ({error}); run the version that wrote it"
        ),
    })?;
    let entry = Entry { at: Timestamp(at), by: Actor::new(by), rollout: rollout.map(RolloutId::new), event };
    Ok(Record { sequence, stream, position, entry, hash: hex(hash) })
}

fn key(environment: String, service: String) -> Result<ServiceKey, JournalError> {
    let damaged = |error: davy_core::InvalidName| JournalError::Damaged {
        why: format!("a stream has a name that none can have: {error}; see what `davy audit verify` finds"),
    };
    Ok(ServiceKey {
        service: ServiceName::new(service).map_err(damaged)?,
        environment: EnvironmentName::new(environment).map_err(damaged)?,
    })
}

/// The names of all streams.
pub(super) async fn streams(pool: &Pool, place: &Place) -> Result<Vec<ServiceKey>, JournalError> {
    let failed = |error: sqlx::Error| place.explain(READ_EVENTS, &error);
    let rows = sql("SELECT environment, service FROM stream ORDER BY environment, service")
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    rows.iter().map(|row| key(row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?)).collect()
}

/// Every stored batch of a rollout.
pub(super) async fn evidence(pool: &Pool, place: &Place, rollout: &RolloutId) -> Result<Vec<Batch>, JournalError> {
    let failed = |error: sqlx::Error| place.explain(READ_EVIDENCE, &error);
    if let Some(gone) = let_go::gone(pool, rollout).await.map_err(failed)? {
        return Err(gone);
    }
    let rows = sql("SELECT e.number, e.batch FROM evidence e JOIN observed o ON o.id = e.rollout \
         WHERE o.rollout = $1 ORDER BY e.number")
    .bind(rollout.as_str())
    .fetch_all(pool)
    .await
    .map_err(failed)?;
    rows.iter()
        .map(|row| {
            let number = row.try_get::<i64>(0).map_err(failed)?.cast_unsigned();
            evidence::read(rollout.as_str(), number, row.try_get(1).map_err(failed)?).map_err(|why| {
                let why = format!(
                    "batch {number} of rollout {rollout} cannot be read: {why}; see what `davy audit verify` finds"
                );
                JournalError::Damaged { why }
            })
        })
        .collect()
}

/// The digest over stored batches, from what is stored.
pub(super) async fn batches(
    pool: &Pool,
    rollout: &RolloutId,
    first: u64,
    last: u64,
) -> Result<Option<Batches>, sqlx::Error> {
    let rows = sql("SELECT e.number, e.digest FROM evidence e JOIN observed o ON o.id = e.rollout \
         WHERE o.rollout = $1 AND e.number BETWEEN $2 AND $3 ORDER BY e.number")
    .bind(rollout.as_str())
    .bind(first.cast_signed())
    .bind(last.cast_signed())
    .fetch_all(pool)
    .await?;
    let mut digest = BatchesDigest::new();
    for (next, row) in (first..).zip(&rows) {
        let number = row.try_get::<i64>(0)?.cast_unsigned();
        let stored: &[u8] = row.try_get(1)?;
        let Ok(stored) = Hash::try_from(stored) else { return Ok(None) };
        if number != next {
            return Ok(None);
        }
        digest.add_digest(rollout.as_str(), number, &stored);
    }
    Ok(digest.batches().filter(|batches| batches.last == last))
}
