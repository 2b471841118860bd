//! Reading, beside the writer.

use super::{
    chain::{self, Fields, Hash, hex},
    evidence::{self, BatchesDigest},
    let_go, packed,
    place::Place,
    sql::{Pool, Row, sql},
};
use davy_core::{
    Actor, EnvironmentName, RolloutId, ServiceKey, ServiceName, Timestamp,
    rollout::{Batches, Event},
};
use davy_judge::Verdict;
use davy_ports::{Batch, Entry, JournalError, Record, Streamed};
use futures_util::{TryStreamExt as _, stream};
use serde::Deserialize;
use std::{borrow::Cow, collections::HashMap};

const READ_EVENTS: &str = "read the journal";
const READ_EVIDENCE: &str = "read evidence";

/// An event that is not packed, and the hash of the one before it in its stream. What is read is checked, so that
/// nothing is decided on what was changed behind the journal's back.
macro_rules! events {
    ($which:literal) => {
        concat!(
            "SELECT e.sequence, e.position, e.at, e.by, e.rollout, e.event, e.hash, s.environment, s.service, \
             COALESCE(p.hash, (SELECT r.hash FROM run r WHERE r.stream = e.stream AND r.until = e.position - 1)) \
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
    let records = rows.iter().map(|row| joined(row, place)).collect::<Result<_, _>>()?;
    // In this order: what is packed in between is found twice, not missed.
    Ok(merged(records, packed::stream(pool, place, key, after).await?))
}

/// What is not packed of a stream after a position, so many at most.
pub(super) async fn outline_of(
    pool: &Pool,
    place: &Place,
    key: &ServiceKey,
    after: u64,
    limit: i64,
) -> Result<Vec<Record>, JournalError> {
    let rows =
        sql(events!("WHERE s.environment = $1 AND s.service = $2 AND e.position > $3 ORDER BY e.position LIMIT $4"))
            .bind(key.environment.as_str())
            .bind(key.service.as_str())
            .bind(after.cast_signed())
            .bind(limit)
            .fetch_all(pool)
            .await
            .map_err(|error| place.explain(READ_EVENTS, &error))?;
    rows.iter().map(|row| joined(row, place)).collect()
}

/// Puts what is packed between what is not.
fn merged(mut records: Vec<Record>, packed: Vec<Record>) -> Vec<Record> {
    if !packed.is_empty() {
        records.extend(packed);
        records.sort_by_key(|record| record.sequence);
        records.dedup_by_key(|record| record.sequence);
    }
    records
}

/// Every event of a rollout.
pub(super) async fn rollout(pool: &Pool, place: &Place, rollout: &RolloutId) -> Result<Vec<Record>, JournalError> {
    let rows = sql(events!("WHERE e.rollout = $1 ORDER BY e.sequence"))
        .bind(rollout.as_str())
        .fetch_all(pool)
        .await
        .map_err(|error| place.explain(READ_EVENTS, &error))?;
    let records = rows.iter().map(|row| joined(row, place)).collect::<Result<_, _>>()?;
    Ok(merged(records, packed::rollout(pool, place, rollout).await?))
}

/// Events of all streams after a sequence number.
pub(super) async fn after(
    pool: &Pool,
    place: &Place,
    sequence: u64,
    limit: usize,
) -> Result<Vec<Record>, JournalError> {
    let records = outline(pool, place, sequence, limit).await?;
    let follows = |(record, number): (&Record, u64)| record.sequence == number;
    if records.iter().zip(sequence.saturating_add(1)..).all(follows) {
        return Ok(records);
    }
    // Numbers have no gaps: the page is these, wherever they are.
    let until = sequence.saturating_add(limit as u64);
    let packed = packed::between(pool, place, sequence, until).await?;
    if packed.is_empty() {
        return Ok(records);
    }
    let mut page = merged(records, packed);
    page.retain(|record| record.sequence <= until);
    Ok(page)
}

/// What is not packed of all streams after a sequence number.
pub(super) async fn outline(
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
    rows.iter().map(|row| joined(row, place)).collect()
}

/// So many events are read at once when all are.
const PAGE: i64 = 250;

/// A page as one value, with the hash of what is packed before an event: each field as a value of its own, handed from thread to
/// thread, would cost more than to read it.
const SQLITE_PAGE: &str = "SELECT json_group_array(json_array(sequence, position, at, by, rollout, event, \
     lower(hex(hash)), stream, (SELECT lower(hex(r.hash)) FROM run r WHERE r.stream = page.stream AND r.until = page.position - 1))) \
     FROM (SELECT * FROM event WHERE sequence > $1 ORDER BY sequence LIMIT $2) page";
const POSTGRES_PAGE: &str = "SELECT json_agg(json_build_array(sequence, position, at, by, rollout, event, \
     encode(hash, 'hex'), stream, (SELECT encode(r.hash, 'hex') FROM run r WHERE r.stream = page.stream AND r.until = page.position - 1)))::text \
     FROM (SELECT * FROM event WHERE sequence > $1 ORDER BY sequence LIMIT $2) page";

/// Every event of all streams after a sequence number that is not packed, a page at a time. The hash before each is carried along
/// its stream, or is that of what is packed before it; only for a stream's first one is it looked for.
pub(super) fn since(pool: &Pool, place: &Place, sequence: u64) -> Streamed<'static, Result<Record, JournalError>> {
    // No number is above what a database can hold.
    let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
    let reading = Reading { pool: pool.clone(), place: place.clone(), sequence, ends: HashMap::new() };
    let pages = stream::try_unfold(Some(reading), |reading| async move {
        let Some(mut reading) = reading else { return Ok(None) };
        let (page, more) = reading.page().await?;
        Ok::<_, JournalError>(Some((stream::iter(page), more.then_some(reading))))
    });
    Box::pin(pages.try_flatten())
}

/// How far it has been read.
struct Reading {
    pool: Pool,
    place: Place,
    sequence: i64,
    /// By the number that the store gave a stream.
    ends: HashMap<i64, End>,
}

/// The last event of a stream that was read.
struct End {
    stream: ServiceKey,
    position: i64,
    hash: Hash,
}

impl Reading {
    /// The next events up to the first that does not hold, and whether there may be more.
    async fn page(&mut self) -> Result<(Vec<Result<Record, JournalError>>, bool), JournalError> {
        let failed = |error: sqlx::Error| self.place.explain(READ_EVENTS, &error);
        let text = self.pool.either(SQLITE_PAGE, POSTGRES_PAGE);
        let row = sql(text).bind(self.sequence).bind(PAGE).fetch_one(&self.pool).await.map_err(failed)?;
        let listed = row.try_get::<Option<&str>>(0).map_err(failed)?.unwrap_or("[]");
        let mut listed: Vec<Listed<'_>> = serde_json::from_str(listed)
            .map_err(|error| JournalError::Damaged { why: format!("events cannot be listed: {error}") })?;
        listed.sort_by_key(|event| event.0);
        let more = listed.len() == usize::try_from(PAGE).unwrap_or_default();
        let mut page = Vec::with_capacity(listed.len());
        for event in listed {
            match self.next(event).await {
                Ok(record) => page.extend(record.map(Ok)),
                Err(error) => {
                    page.push(Err(error));
                    return Ok((page, false));
                }
            }
        }
        Ok((page, more))
    }

    /// The next record; none where the stream is not listed.
    async fn next(&mut self, event: Listed<'_>) -> Result<Option<Record>, JournalError> {
        let Listed(sequence, position, at, by, rollout, event, stored, id, packed) = event;
        let previous = position.wrapping_sub(1);
        self.sequence = sequence;
        let mut known = self.ends.remove(&id);
        if let (Some(end), Some(hash)) = (&mut known, packed.and_then(|packed| chain::unhex(&packed.0))) {
            (end.position, end.hash) = (previous, hash);
        }
        let follows = |end: &End| end.position == previous;
        let mut end = match known.filter(follows) {
            Some(end) => end,
            None => match self.end(id, previous).await? {
                Some(end) => end,
                None => return Ok(None),
            },
        };
        end.position = position;
        let fields = Fields {
            sequence: sequence.cast_unsigned(),
            position: position.cast_unsigned(),
            at: at.cast_unsigned(),
            by: &by.0,
            rollout: rollout.as_ref().map(|rollout| &*rollout.0),
            event: &event.0,
        };
        end.hash = chain::link(&end.hash, &fields);
        let stored = chain::unhex(&stored.0).unwrap_or_default();
        let record = checked(&end.stream, &fields, &end.hash, &stored)?;
        self.ends.insert(id, end);
        Ok(Some(record))
    }

    /// Where a stream stood at an event; none where it is not listed.
    async fn end(&self, id: i64, position: i64) -> Result<Option<End>, JournalError> {
        let failed = |error: sqlx::Error| self.place.explain(READ_EVENTS, &error);
        let found = sql("SELECT s.environment, s.service, \
             COALESCE(p.hash, (SELECT r.hash FROM run r WHERE r.stream = s.id AND r.until = $2)) FROM stream s \
             LEFT JOIN event p ON p.stream = s.id AND p.position = $2 WHERE s.id = $1")
        .bind(id)
        .bind(position)
        .fetch_optional(&self.pool)
        .await
        .map_err(failed)?;
        let Some(found) = found else { return Ok(None) };
        let stream = key(found.try_get(0).map_err(failed)?, found.try_get(1).map_err(failed)?)?;
        let next = position.wrapping_add(1).cast_unsigned();
        let hash = before(&stream, next, found.try_get(2).map_err(failed)?)?;
        Ok(Some(End { stream, position, hash }))
    }
}

/// What a page lists of an event: its number, position and time, who caused it, its rollout, itself, its hash, the number of its stream,
/// and the hash of what is packed before it.
#[derive(Deserialize)]
struct Listed<'a>(
    i64,
    i64,
    i64,
    #[serde(borrow)] Text<'a>,
    #[serde(borrow)] Option<Text<'a>>,
    #[serde(borrow)] Text<'a>,
    #[serde(borrow)] Text<'a>,
    i64,
    #[serde(borrow)] Option<Text<'a>>,
);

/// A text that is copied only where it was escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// An event that was read with its stream's name and the hash before it.
fn joined(row: &Row, place: &Place) -> Result<Record, JournalError> {
    let failed = |error: sqlx::Error| place.explain(READ_EVENTS, &error);
    let stream = key(row.try_get(7).map_err(failed)?, row.try_get(8).map_err(failed)?)?;
    let position = row.try_get::<i64>(1).map_err(failed)?.cast_unsigned();
    let mut hash = before(&stream, position, row.try_get(9).map_err(failed)?)?;
    record(row, &stream, &mut hash, place)
}

/// The hash before an event, from what is stored of the one before it.
fn before(stream: &ServiceKey, position: u64, stored: Option<&[u8]>) -> Result<Hash, JournalError> {
    match (position, stored) {
        (1, _) => Ok(chain::seed(stream.environment.as_str(), stream.service.as_str())),
        (_, Some(stored)) => {
            Hash::try_from(stored).map_err(|_| damaged(stream, position, "follows one whose hash is none"))
        }
        (_, None) => Err(damaged(stream, position, "follows one that is missing")),
    }
}

fn damaged(stream: &ServiceKey, position: u64, what: &str) -> JournalError {
    let why = format!(
        "event {position} of {stream} {what}; see what `davy audit verify` finds, and put a backup in its place"
    );
    JournalError::Damaged { why }
}

/// Reads an event that follows one with this hash, which becomes its own.
fn record(row: &Row, stream: &ServiceKey, hash: &mut Hash, place: &Place) -> Result<Record, JournalError> {
    let failed = |error: sqlx::Error| place.explain(READ_EVENTS, &error);
    let number = |index: usize| row.try_get::<i64>(index).map(i64::cast_unsigned).map_err(failed);
    let (sequence, position, at) = (number(0)?, number(1)?, number(2)?);
    let (by, rollout): (String, Option<String>) = (row.try_get(3).map_err(failed)?, row.try_get(4).map_err(failed)?);
    let text: &str = row.try_get(5).map_err(failed)?;
    let stored: &[u8] = row.try_get(6).map_err(failed)?;
    let fields = Fields { sequence, position, at, by: &by, rollout: rollout.as_deref(), event: text };
    *hash = chain::link(hash, &fields);
    checked(stream, &fields, hash, stored)
}

/// The record of an event whose hash is to be the one that is stored.
fn checked(stream: &ServiceKey, fields: &Fields<'_>, hash: &Hash, stored: &[u8]) -> Result<Record, JournalError> {
    if *hash != stored {
        return Err(damaged(stream, fields.position, "is not what was written: its hash differs"));
    }
    made(stream, fields, hash)
}

/// The record of an event that is known to be what was written: one that cannot be read was written by a later version.
pub(super) fn made(stream: &ServiceKey, fields: &Fields<'_>, hash: &[u8]) -> Result<Record, JournalError> {
    let Fields { sequence, position, at, by, rollout, event } = *fields;
    let event = self::event(event).map_err(|error| JournalError::Damaged {
        why: format!(
            "event {position} of {stream} is unknown to this version ({error}); run the version that wrote it"
        ),
    })?;
    let entry = Entry { at: Timestamp(at), by: Actor::new(by), rollout: rollout.map(RolloutId::new), event };
    Ok(Record { sequence, stream: stream.clone(), position, entry, hash: hex(hash) })
}

/// How most of what the journal holds begins.
const VERDICT: &str = r#"{"type":"verdict-reached","#;

/// Reads an event. By its tag alone it would first become a tree of values; verdicts, three quarters of all that is stored, are
/// told by how they begin.
pub(super) fn event(text: &str) -> serde_json::Result<Event> {
    #[derive(Deserialize)]
    struct Reached {
        verdict: Box<Verdict>,
        batches: Option<Batches>,
    }
    if !text.starts_with(VERDICT) {
        return serde_json::from_str(text);
    }
    let Reached { verdict, batches } = serde_json::from_str(text)?;
    Ok(Event::VerdictReached { verdict, batches })
}

pub(super) fn key(environment: String, service: String) -> Result<ServiceKey, JournalError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a verdict begins with only says how it is read, not what.
    #[test]
    fn a_verdict_is_read_as_its_tag_says() {
        let judge = davy_judge::Judge::new(davy_judge::Policy::default()).unwrap();
        for batches in [None, Some(Batches { first: 1, last: 3, digest: "d".to_owned() })] {
            let reached = Event::VerdictReached { verdict: Box::new(judge.verdict()), batches };
            let text = serde_json::to_string(&reached).unwrap();
            assert!(text.starts_with(VERDICT), "{text}");
            let later = text.replacen(VERDICT, &format!(r#"{VERDICT}"later":[1],"#), 1);
            let without = text.replace(r#","batches":null"#, "");

            for text in
                [text.clone(), later, without, "{\"type\":\"promoted\"}".to_owned(), text.replace("epoch", "epok")]
            {
                let tagged = serde_json::from_str::<Event>(&text).ok();
                assert_eq!(event(&text).ok(), tagged, "{text}");
            }
            assert_eq!(event(&text).ok(), Some(reached));
        }
    }
}
