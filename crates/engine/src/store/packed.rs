//! Reading what is packed. It is checked as rows are: from the hash before it to the one that is kept of its end.

use super::{
    chain::{self, Fields, Hash},
    pack::{self, Packed},
    place::Place,
    read,
    sql::{Connection, Pool, Row, Sql, sql},
};
use davy_core::{RolloutId, ServiceKey};
use davy_ports::{JournalError, Record};

const READ: &str = "read packed events";

/// A pack with the name of its stream.
macro_rules! packs {
    ($which:literal) => {
        concat!(
            "SELECT k.stream, s.environment, s.service, k.rollout, k.bytes FROM pack k JOIN stream s ON s.id = k.stream ",
            $which
        )
    };
}

/// The ends of what is packed of a stream, each with the hash before its first event.
const RUNS: &str = "SELECT r.since, r.until, r.hash, p.hash, q.hash FROM run r \
     LEFT JOIN event p ON p.stream = r.stream AND p.position = r.since - 1 \
     LEFT JOIN run q ON q.stream = r.stream AND q.until = r.since - 1 \
     WHERE r.stream = $1 AND r.until BETWEEN $2 AND $3";

/// The packed events of a rollout.
pub(super) async fn rollout(pool: &Pool, place: &Place, rollout: &RolloutId) -> Result<Vec<Record>, JournalError> {
    let rows = sql(packs!("WHERE k.rollout = $1")).bind(rollout.as_str()).fetch_all(pool);
    opened(pool, place, rows.await).await
}

/// The packed events of a stream after a position.
pub(super) async fn stream(
    pool: &Pool,
    place: &Place,
    key: &ServiceKey,
    after: i64,
) -> Result<Vec<Record>, JournalError> {
    let rows = sql(packs!("WHERE s.environment = $1 AND s.service = $2 AND k.until > $3"))
        .bind(key.environment.as_str())
        .bind(key.service.as_str())
        .bind(after)
        .fetch_all(pool);
    let mut records = opened(pool, place, rows.await).await?;
    records.retain(|record| record.position > after.cast_unsigned());
    Ok(records)
}

/// The packed events after one sequence number and up to another.
pub(super) async fn between(pool: &Pool, place: &Place, after: u64, until: u64) -> Result<Vec<Record>, JournalError> {
    let rows = sql(packs!("WHERE k.last > $1 AND k.first <= $2"))
        .bind(i64::try_from(after).unwrap_or(i64::MAX))
        .bind(i64::try_from(until).unwrap_or(i64::MAX))
        .fetch_all(pool);
    let mut records = opened(pool, place, rows.await).await?;
    records.retain(|record| after < record.sequence && record.sequence <= until);
    Ok(records)
}

/// The hash of a packed event, if there is one of this number that can be read.
pub(super) async fn hash_at(
    connection: &mut Connection,
    place: &Place,
    sequence: u64,
) -> Result<Option<String>, sqlx::Error> {
    let rows = sql(packs!("WHERE k.last >= $1 AND k.first <= $1"))
        .bind(sequence.cast_signed())
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        let Ok(events) = pack::unpack(row.try_get(4)?) else { continue };
        let ends = ends(row, &events)?.fetch_all(&mut *connection).await?;
        let records = records(row, &events, &ends, place).unwrap_or_default();
        if let Some(record) = records.into_iter().find(|record| record.sequence == sequence) {
            return Ok(Some(record.hash));
        }
    }
    Ok(None)
}

async fn opened(pool: &Pool, place: &Place, rows: Result<Vec<Row>, sqlx::Error>) -> Result<Vec<Record>, JournalError> {
    let failed = |error: sqlx::Error| place.explain(READ, &error);
    let mut all = Vec::new();
    for row in &rows.map_err(failed)? {
        let (rollout, bytes): (&str, &[u8]) = (row.try_get(3).map_err(failed)?, row.try_get(4).map_err(failed)?);
        let events = pack::unpack(bytes).map_err(|why| damaged(rollout, &why))?;
        let ends = ends(row, &events).map_err(failed)?.fetch_all(pool).await.map_err(failed)?;
        all.extend(records(row, &events, &ends, place)?);
    }
    Ok(all)
}

fn damaged(rollout: &str, why: &str) -> JournalError {
    let why = format!("what was packed of rollout {rollout} cannot be read: {why}; see what `davy audit verify` finds");
    JournalError::Damaged { why }
}

/// Asks for the ends of what is in a pack.
fn ends(row: &Row, events: &[Packed]) -> Result<Sql, sqlx::Error> {
    let position = |event: Option<&Packed>| event.map_or(0, |event| event.position.cast_signed());
    Ok(sql(RUNS).bind(row.try_get::<i64>(0)?).bind(position(events.first())).bind(position(events.last())))
}

/// The records of a pack, if all of it holds.
fn records(row: &Row, events: &[Packed], ends: &[Row], place: &Place) -> Result<Vec<Record>, JournalError> {
    let failed = |error: sqlx::Error| place.explain(READ, &error);
    let stream = read::key(row.try_get(1).map_err(failed)?, row.try_get(2).map_err(failed)?)?;
    let rollout: &str = row.try_get(3).map_err(failed)?;
    let wrong = |why: String| damaged(rollout, &why);
    let mut records = Vec::with_capacity(events.len());
    for run in pack::runs(events) {
        let (since, until) = (run[0].position, run[run.len() - 1].position);
        let mut kept = None;
        for end in ends {
            if end.try_get::<i64>(1).map_err(failed)?.cast_unsigned() == until {
                kept = Some(end);
            }
        }
        let end = kept.ok_or_else(|| wrong(format!("the hash of its end, event {until}, is not there")))?;
        let before = match since {
            1 => Some(chain::seed(stream.environment.as_str(), stream.service.as_str())),
            _ => {
                let event: Option<&[u8]> = end.try_get(3).map_err(failed)?;
                let packed: Option<&[u8]> = end.try_get(4).map_err(failed)?;
                event.or(packed).and_then(|hash| Hash::try_from(hash).ok())
            }
        };
        let mut hash = before.ok_or_else(|| wrong(format!("event {since} follows one that is missing")))?;
        let mut linked = Vec::with_capacity(run.len());
        for Packed { sequence, position, at, by, event } in run {
            let (sequence, position, rollout) = (*sequence, *position, Some(rollout));
            let fields = Fields { sequence, position, at: *at, by, rollout, event };
            hash = chain::link(&hash, &fields);
            linked.push((fields, hash));
        }
        if hash != end.try_get::<&[u8]>(2).map_err(failed)? {
            return Err(wrong(format!("events {since} to {until} are not what was written: their hash differs")));
        }
        for (fields, hash) in &linked {
            records.push(read::made(&stream, fields, hash)?);
        }
    }
    Ok(records)
}
