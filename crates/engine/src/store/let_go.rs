//! Evidence that is let go when its time is over: never without a deed that says what it was, signed as a checkpoint is, and
//! never where it does not hold. Whoever can only write the database can let nothing go unnoticed.

use super::{
    chain::{Hash, Hasher},
    checkpoint::{Signer, Trust, is_signed},
    deeds,
    evidence::{self, BatchesDigest},
    journal::Writer,
    place::Place,
    read,
    sql::{Connection, Pool, Snapshot, sql},
    verify::{Claim, Proof},
    write::{Failure, Turn},
};
use crate::deed::{Deed, DeedRecord};
use davy_core::{
    Actor, RolloutId, Timestamp,
    rollout::{Batches, Event},
};
use davy_ports::{Broken, JournalError, Record};
use std::{collections::BTreeMap, sync::Arc};

const LET_GO: &[u8] = b"davy journal 1, let go";
const READ: &str = "read evidence";
const REMOVE: &str = "let evidence go";
/// So many batches are read, or removed in one turn: others write in between.
const SOME: u64 = 1_000;

/// What is signed: which evidence it was.
fn statement(rollout: &RolloutId, Batches { first, last, digest }: &Batches) -> Hash {
    let mut hasher = Hasher::new(LET_GO);
    hasher.bytes(rollout.as_str().as_bytes());
    hasher.number(*first);
    hasher.number(*last);
    hasher.bytes(digest.as_bytes());
    hasher.finish()
}

/// The rollouts of which there is evidence, those that had it first before others, and whether a deed has let it go already.
pub(super) async fn held(pool: &Pool, place: &Place) -> Result<Vec<(RolloutId, bool)>, JournalError> {
    let failed = |error: sqlx::Error| place.explain(READ, &error);
    let rows = sql("SELECT o.rollout, o.deed FROM observed o \
         WHERE EXISTS (SELECT 1 FROM evidence e WHERE e.rollout = o.id) ORDER BY o.id")
    .fetch_all(pool)
    .await
    .map_err(failed)?;
    let held = |row: &super::sql::Row| {
        let gone: Option<i64> = row.try_get(1)?;
        Ok((RolloutId::new(row.try_get::<String>(0)?), gone.is_some()))
    };
    rows.iter().map(held).collect::<Result<_, _>>().map_err(failed)
}

/// The deed that let the evidence of a rollout go, if one did.
pub(super) async fn gone(pool: &Pool, rollout: &RolloutId) -> Result<Option<JournalError>, sqlx::Error> {
    let row = sql("SELECT deed FROM observed WHERE rollout = $1 AND deed IS NOT NULL")
        .bind(rollout.as_str())
        .fetch_optional(pool)
        .await?;
    row.map(|row| Ok(error(rollout, row.try_get(0)?))).transpose()
}

/// As who asks for it is told.
pub(super) fn error(rollout: &RolloutId, deed: i64) -> JournalError {
    JournalError::LetGo { rollout: rollout.clone(), deed: deed.cast_unsigned() }
}

/// Records that the evidence of a rollout is let go, once all of it was seen to hold; none when that is recorded already, or there
/// is none.
pub(super) async fn record(
    (writer, pool, place): (Writer, Pool, Place),
    signer: Arc<Signer>,
    rollout: RolloutId,
    at: Timestamp,
    by: Actor,
) -> Result<Option<DeedRecord>, JournalError> {
    if gone(&pool, &rollout).await.map_err(|error| place.explain(READ, &error))?.is_some() {
        return Ok(None);
    }
    let Some(batches) = whole(&pool, &place, &rollout).await? else { return Ok(None) };
    let (key, signature) = signer.sign(&statement(&rollout, &batches));
    let last = batches.last;
    let deed = Deed::EvidenceLetGo { rollout: rollout.clone(), batches, key, signature };
    let mut turn = Turn::begin(writer, place, REMOVE).await?;
    let result = record_in(&mut turn.connection, &rollout, last, at, &by, deed).await;
    turn.end(result).await
}

async fn record_in(
    connection: &mut Connection,
    rollout: &RolloutId,
    last: u64,
    at: Timestamp,
    by: &Actor,
    deed: Deed,
) -> Result<Option<DeedRecord>, Failure> {
    let row = sql("SELECT o.id, o.deed, (SELECT max(e.number) FROM evidence e WHERE e.rollout = o.id) \
         FROM observed o WHERE o.rollout = $1")
    .bind(rollout.as_str())
    .fetch_one(&mut *connection)
    .await?;
    let id: i64 = row.try_get(0)?;
    if row.try_get::<Option<i64>>(1)?.is_some() {
        return Ok(None);
    }
    if row.try_get::<Option<i64>>(2)?.map(i64::cast_unsigned) != Some(last) {
        let why = format!("more evidence of rollout {rollout} came while it was to be let go; it is kept");
        return Err(Failure::Answer(JournalError::Unavailable { why }));
    }
    let records = deeds::record_in(connection, at, by, vec![deed]).await?;
    let Some(record) = records.into_iter().next() else { return Ok(None) };
    sql("UPDATE observed SET deed = $2 WHERE id = $1")
        .bind(id)
        .bind(record.number.cast_signed())
        .execute(&mut *connection)
        .await?;
    Ok(Some(record))
}

/// Removes what a deed has let go, some at a time; one that was broken off goes on.
pub(super) async fn remove(writer: Writer, place: Place, rollout: RolloutId) -> Result<(), JournalError> {
    loop {
        let mut turn = Turn::begin(writer.clone(), place.clone(), REMOVE).await?;
        let result = remove_in(&mut turn.connection, &rollout).await;
        if turn.end(result).await? == 0 {
            return Ok(());
        }
    }
}

async fn remove_in(connection: &mut Connection, rollout: &RolloutId) -> Result<u64, Failure> {
    let first = sql("SELECT o.id, min(e.number) FROM observed o JOIN evidence e ON e.rollout = o.id \
         WHERE o.rollout = $1 AND o.deed IS NOT NULL GROUP BY o.id")
    .bind(rollout.as_str())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(first) = first else { return Ok(0) };
    let removed = sql("DELETE FROM evidence WHERE rollout = $1 AND number < $2")
        .bind(first.try_get::<i64>(0)?)
        .bind(first.try_get::<i64>(1)?.saturating_add_unsigned(SOME))
        .execute(connection)
        .await?;
    Ok(removed)
}

/// All evidence of a rollout, if every batch of it and every verdict that rests on it holds: what does not is kept, for it
/// says what was done to it.
async fn whole(pool: &Pool, place: &Place, rollout: &RolloutId) -> Result<Option<Batches>, JournalError> {
    let failed = |error: sqlx::Error| place.explain(READ, &error);
    let records = read::rollout(pool, place, rollout).await?;
    let ends = |record: &Record| match &record.entry.event {
        Event::RolloutFinished { rollout: over, .. } | Event::RolloutDropped { rollout: over, .. } => over == rollout,
        _ => false,
    };
    if !records.iter().any(ends) {
        let why = format!("rollout {rollout} has not ended: its evidence is kept");
        return Err(JournalError::Unavailable { why });
    }
    let claims = records.into_iter().filter_map(|record| match record.entry.event {
        Event::VerdictReached { batches: Some(batches), .. } => {
            Some(Claim { stream: record.stream.to_string(), position: record.position, batches })
        }
        _ => None,
    });
    let (mut proof, mut broken) = (Proof::new(rollout.as_str(), claims.collect(), None), Vec::new());
    let (mut digest, mut last) = (BatchesDigest::new(), 0);
    loop {
        let rows = sql("SELECT e.number, e.batch, e.digest FROM evidence e JOIN observed o ON o.id = e.rollout \
             WHERE o.rollout = $1 AND e.number > $2 ORDER BY e.number LIMIT $3")
        .bind(rollout.as_str())
        .bind(i64::try_from(last).unwrap_or(i64::MAX))
        .bind(SOME.cast_signed())
        .fetch_all(pool)
        .await
        .map_err(failed)?;
        for row in &rows {
            last = row.try_get::<i64>(0).map_err(failed)?.cast_unsigned();
            let text: &str = row.try_get(1).map_err(failed)?;
            proof.batch(last, text, row.try_get(2).map_err(failed)?, &mut broken);
            digest.add_digest(rollout.as_str(), last, &evidence::digest(rollout.as_str(), last, text));
        }
        if (rows.len() as u64) < SOME {
            break;
        }
    }
    if last == 0 {
        return Ok(None);
    }
    proof.end(&mut broken);
    match broken.first() {
        None => Ok(digest.batches()),
        Some(Broken { position, why, .. }) => Err(JournalError::Damaged {
            why: format!(
                "evidence of rollout {rollout} does not hold and is not let go: {why} (at {position}); see what `davy audit verify` finds"
            ),
        }),
    }
}

/// What the deeds say of evidence that is no longer there.
#[derive(Default)]
pub(super) struct Gone(BTreeMap<String, (u64, Batches)>);

impl Gone {
    /// Takes a deed if it is about evidence, or says why it cannot be believed.
    pub(super) fn take(&mut self, number: u64, deed: &str, trust: &Trust) -> Result<(), String> {
        let Ok(Deed::EvidenceLetGo { rollout, batches, key, signature }) = serde_json::from_str(deed) else {
            return Ok(());
        };
        if !is_signed(&key, &statement(&rollout, &batches), &signature) {
            return Err(format!(
                "the signature under letting evidence of rollout {rollout} go does not hold: it was forged"
            ));
        }
        if trust.keys.as_ref().is_some_and(|keys| !keys.contains(&key)) {
            return Err(format!(
                "it lets evidence of rollout {rollout} go under {key}, which is no key of this server"
            ));
        }
        let known = self.0.entry(rollout.as_str().to_owned()).or_insert((number, batches)).0;
        if known != number {
            return Err(format!("the evidence of rollout {rollout} was let go before, by deed {known}"));
        }
        Ok(())
    }

    /// Of how many rollouts.
    pub(super) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// What there was of a rollout's evidence before it was let go.
    pub(super) fn of(&self, rollout: &str) -> Option<&Batches> {
        self.0.get(rollout).map(|(_, batches)| batches)
    }

    /// Compares it with the marks by which readers know it.
    pub(super) async fn compare(&self, snapshot: &mut Snapshot, broken: &mut Vec<Broken>) -> Result<(), sqlx::Error> {
        let mut unmarked = self.0.clone();
        let rows = sql("SELECT rollout, deed FROM observed WHERE deed IS NOT NULL").fetch_all(snapshot).await?;
        for row in &rows {
            let (rollout, deed): (&str, u64) = (row.try_get(0)?, row.try_get::<i64>(1)?.cast_unsigned());
            if unmarked.remove(rollout).is_none_or(|(number, _)| number != deed) {
                let why = format!("it is marked as let go by deed {deed}, and no such deed of this server does that");
                broken.push(Broken { stream: format!("evidence of rollout {rollout}"), position: 0, why });
            }
        }
        for (rollout, (number, _)) in unmarked {
            let why = format!("deed {number} let it go, and it is not marked as that");
            broken.push(Broken { stream: format!("evidence of rollout {rollout}"), position: 0, why });
        }
        Ok(())
    }
}
