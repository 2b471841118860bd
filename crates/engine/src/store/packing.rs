//! Packing the events of rollouts that ended long ago. A rollout is packed in one transaction, so there is no moment at which an
//! event is neither a row nor packed; one that was broken off is packed the next time.

use super::{
    chain::{self, Fields, Hash},
    journal::Writer,
    pack::{self, Packed},
    place::Place,
    read,
    sql::{Connection, Pool, sql},
    write::{Failure, Turn},
};
use crate::outline::{self, Outline};
use davy_core::{RolloutId, ServiceKey};
use davy_ports::{JournalError, Record};
use std::{collections::BTreeSet, sync::Arc};

const PACK: &str = "pack events";
/// So many events are read at once.
const PAGE: i64 = 1_000;

/// Packs the events of those of these rollouts of a service that it can do without; how many.
pub(super) async fn pack(
    (writer, pool, place): (Writer, Pool, Place),
    stream: ServiceKey,
    over: Arc<BTreeSet<RolloutId>>,
) -> Result<u64, JournalError> {
    let mut count = 0;
    for rollout in packable(&pool, &place, &stream, &over).await? {
        let mut turn = Turn::begin(writer.clone(), place.clone(), PACK).await?;
        let result = pack_in(&mut turn.connection, &stream, &rollout).await;
        count += u64::from(turn.end(result).await?);
    }
    Ok(count)
}

/// The rollouts without whose events the service stands where it stands: that is tried before it is believed.
async fn packable(
    pool: &Pool,
    place: &Place,
    stream: &ServiceKey,
    over: &BTreeSet<RolloutId>,
) -> Result<BTreeSet<RolloutId>, JournalError> {
    let mut whole = Outline::default();
    follow(pool, place, stream, u64::MAX, |record| whole.add(record)).await?;
    let able = whole.packable(over);
    if able.is_empty() {
        return Ok(able);
    }
    let mut left = Outline::default();
    let goes = |record: &Record| {
        let event = &record.entry.event;
        !outline::stays(event) && record.entry.rollout.as_ref().is_some_and(|rollout| able.contains(rollout))
    };
    follow(pool, place, stream, whole.position(), |record| {
        if !goes(record) {
            left.add(record);
        }
    })
    .await?;
    if left.says(&whole) {
        return Ok(able);
    }
    let why = format!(
        "nothing of {stream} was packed: without it, it would not be known where the service stands; this is a fault of Davy's, please tell"
    );
    Err(JournalError::Damaged { why })
}

/// Reads a stream's outline up to a position.
async fn follow(
    pool: &Pool,
    place: &Place,
    stream: &ServiceKey,
    until: u64,
    mut with: impl FnMut(&Record),
) -> Result<(), JournalError> {
    let mut after = 0;
    loop {
        let page = read::outline_of(pool, place, stream, after, PAGE).await?;
        page.iter().take_while(|record| record.position <= until).for_each(&mut with);
        match page.last() {
            Some(last) if last.position < until => after = last.position,
            _ => return Ok(()),
        }
    }
}

/// What is kept of an event before it is packed.
struct Kept {
    event: Packed,
    hash: Vec<u8>,
}

/// Packs one; whether there was anything to pack.
async fn pack_in(connection: &mut Connection, key: &ServiceKey, rollout: &RolloutId) -> Result<bool, Failure> {
    let damaged = |why: String| {
        let why = format!("the events of rollout {rollout} are not packed: {why}; see what `davy audit verify` finds");
        Failure::Answer(JournalError::Damaged { why })
    };
    let known = sql("SELECT first FROM pack WHERE rollout = $1").bind(rollout.as_str());
    if known.fetch_optional(&mut *connection).await?.is_some() {
        return Ok(false);
    }
    let rows = sql("SELECT e.stream, e.sequence, e.position, e.at, e.by, e.event, e.hash FROM event e \
         JOIN stream s ON s.id = e.stream WHERE e.rollout = $1 AND s.environment = $2 AND s.service = $3 ORDER BY e.position")
    .bind(rollout.as_str())
    .bind(key.environment.as_str())
    .bind(key.service.as_str())
    .fetch_all(&mut *connection)
    .await?;
    let (mut stream, mut kept) = (0, Vec::new());
    for row in &rows {
        let number = |index: usize| row.try_get::<i64>(index).map(i64::cast_unsigned);
        let text: &str = row.try_get(5)?;
        let event = read::event(text).map_err(|error| damaged(error.to_string()))?;
        if outline::stays(&event) {
            continue;
        }
        stream = row.try_get::<i64>(0)?;
        let (sequence, position, at, by) = (number(1)?, number(2)?, number(3)?, row.try_get(4)?);
        kept.push(Kept { event: Packed { sequence, position, at, by, event: text.to_owned() }, hash: row.try_get(6)? });
    }
    let events: Vec<Packed> = kept.iter().map(|kept| kept.event.clone()).collect();
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(false) };
    let bytes = pack::pack(&events).ok_or_else(|| damaged("they could not be read again".to_owned()))?;
    sql("INSERT INTO pack (first, last, stream, until, rollout, bytes) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(first.sequence.cast_signed())
        .bind(last.sequence.cast_signed())
        .bind(stream)
        .bind(last.position.cast_signed())
        .bind(rollout.as_str())
        .bind(bytes)
        .execute(&mut *connection)
        .await?;
    for run in kept.chunk_by(|one, next| one.event.position + 1 == next.event.position) {
        let mut hash = before(connection, key, stream, run[0].event.position)
            .await?
            .ok_or_else(|| damaged(format!("event {} follows one that is missing", run[0].event.position)))?;
        for Kept { event: Packed { sequence, position, at, by, event }, hash: stored } in run {
            let (sequence, position, rollout) = (*sequence, *position, Some(rollout.as_str()));
            hash = chain::link(&hash, &Fields { sequence, position, at: *at, by, rollout, event });
            if hash.as_slice() != stored {
                return Err(damaged(format!("event {position} is not what was written")));
            }
        }
        let (since, until) = (run[0].event.position, run[run.len() - 1].event.position);
        let sequence = run[run.len() - 1].event.sequence;
        sql("INSERT INTO run (stream, until, since, sequence, hash) VALUES ($1, $2, $3, $4, $5)")
            .bind(stream)
            .bind(until.cast_signed())
            .bind(since.cast_signed())
            .bind(sequence.cast_signed())
            .bind(hash.as_slice())
            .execute(&mut *connection)
            .await?;
        let gone = sql("DELETE FROM event WHERE stream = $1 AND position BETWEEN $2 AND $3")
            .bind(stream)
            .bind(since.cast_signed())
            .bind(until.cast_signed())
            .execute(&mut *connection)
            .await?;
        if gone != run.len() as u64 {
            return Err(damaged(format!("{gone} events are from {since} to {until}, not {}", run.len())));
        }
    }
    Ok(true)
}

/// The hash of what stands before an event.
async fn before(
    connection: &mut Connection,
    key: &ServiceKey,
    stream: i64,
    position: u64,
) -> Result<Option<Hash>, Failure> {
    if position == 1 {
        return Ok(Some(chain::seed(key.environment.as_str(), key.service.as_str())));
    }
    let row = sql("SELECT hash FROM event WHERE stream = $1 AND position = $2 UNION ALL \
         SELECT hash FROM run WHERE stream = $1 AND until = $2")
    .bind(stream)
    .bind(position.cast_signed() - 1)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Hash::try_from(row.try_get::<&[u8]>(0)?).ok())
}
