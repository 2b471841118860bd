//! Deeds and sealed values: written together, so that neither is there without the other.

use super::{
    chain::{self, Hash, hex},
    given::{Numbered, give},
    journal::Writer,
    place::Place,
    sql::{Connection, Pool, sql},
    write::{Failure, Turn},
};
use crate::deed::{Deed, DeedRecord};
use davy_core::{Actor, EnvironmentName, Pin, SecretName, ServiceName, Timestamp};
use davy_ports::JournalError;

const READ: &str = "read what was done to the server";

/// The value of a secret as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its name.
    pub name: SecretName,
    /// Which of its values.
    pub pin: Pin,
    /// Which key sealed it.
    pub key: Vec<u8>,
    /// Nonce and ciphertext.
    pub bytes: Vec<u8>,
}

/// What is written in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What was done.
    pub deeds: Vec<Deed>,
    /// Values to keep.
    pub seal: Vec<Sealed>,
    /// Values to forget.
    pub shred: Vec<(SecretName, Pin)>,
}

pub(super) async fn change(
    writer: Writer,
    place: Place,
    at: Timestamp,
    by: Actor,
    change: Change,
) -> Result<Vec<DeedRecord>, JournalError> {
    let mut turn = Turn::begin(writer, place, "record what was done").await?;
    let result = change_in(&mut turn.connection, at, &by, change).await;
    turn.end(result).await
}

async fn change_in(
    connection: &mut Connection,
    at: Timestamp,
    by: &Actor,
    change: Change,
) -> Result<Vec<DeedRecord>, Failure> {
    let records = record_in(connection, at, by, change.deeds).await?;
    for Sealed { name, pin, key, bytes } in change.seal {
        let (environment, service) = names(&pin);
        sql("INSERT INTO sealed (environment, service, name, version, key, box) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(environment)
            .bind(service)
            .bind(name.as_str())
            .bind(pin.version.cast_signed())
            .bind(key)
            .bind(bytes)
            .execute(&mut *connection)
            .await?;
    }
    for (name, pin) in change.shred {
        let (environment, service) = names(&pin);
        sql("DELETE FROM sealed WHERE environment = $1 AND service = $2 AND name = $3 AND version = $4")
            .bind(environment)
            .bind(service)
            .bind(name.as_str())
            .bind(pin.version.cast_signed())
            .execute(&mut *connection)
            .await?;
    }
    Ok(records)
}

/// Adds deeds to their chain.
pub(super) async fn record_in(
    connection: &mut Connection,
    at: Timestamp,
    by: &Actor,
    deeds: Vec<Deed>,
) -> Result<Vec<DeedRecord>, Failure> {
    let last =
        sql("SELECT number, hash FROM deed ORDER BY number DESC LIMIT 1").fetch_optional(&mut *connection).await?;
    let (mut number, mut head) = match last {
        Some(row) => (row.try_get::<i64>(0)?.cast_unsigned(), row.try_get::<Vec<u8>>(1)?),
        None => (0, chain::deeds().to_vec()),
    };
    let mut records = Vec::with_capacity(deeds.len());
    for deed in deeds {
        number += 1;
        let damaged = |why: String| Failure::Answer(JournalError::Damaged { why });
        let text = serde_json::to_string(&deed).map_err(|error| damaged(format!("it cannot be written: {error}")))?;
        let previous: Hash =
            head.as_slice().try_into().map_err(|_| damaged("the last deed's hash is none".to_owned()))?;
        let hash = chain::deed(&previous, number, at.0, by.as_str(), &text);
        sql("INSERT INTO deed (number, at, by, deed, hash) VALUES ($1, $2, $3, $4, $5)")
            .bind(number.cast_signed())
            .bind(at.0.cast_signed())
            .bind(by.as_str())
            .bind(text)
            .bind(hash.as_slice())
            .execute(&mut *connection)
            .await?;
        head = hash.to_vec();
        records.push(DeedRecord { number, at, by: by.clone(), deed, hash: hex(&hash) });
    }
    give(connection, Numbered::Deeds, number).await?;
    Ok(records)
}

/// As a scope is written: an empty name stands for all.
fn names(pin: &Pin) -> (&str, &str) {
    let environment = pin.scope.environment.as_ref().map_or("", EnvironmentName::as_str);
    (environment, pin.scope.service.as_ref().map_or("", ServiceName::as_str))
}

/// Every deed, and whether the chain holds.
pub(super) async fn deeds(pool: &Pool, place: &Place) -> Result<(Vec<DeedRecord>, bool), JournalError> {
    let failed = |error: sqlx::Error| place.explain(READ, &error);
    let rows =
        sql("SELECT number, at, by, deed, hash FROM deed ORDER BY number").fetch_all(pool).await.map_err(failed)?;
    let (mut records, mut previous, mut sound) = (Vec::with_capacity(rows.len()), chain::deeds(), true);
    for row in &rows {
        let number = row.try_get::<i64>(0).map_err(failed)?.cast_unsigned();
        let at = row.try_get::<i64>(1).map_err(failed)?.cast_unsigned();
        let by: &str = row.try_get(2).map_err(failed)?;
        let text: &str = row.try_get(3).map_err(failed)?;
        let stored: &[u8] = row.try_get(4).map_err(failed)?;
        let hash = chain::deed(&previous, number, at, by, text);
        sound &= hash == stored && number == records.len() as u64 + 1;
        previous = hash;
        let deed = serde_json::from_str(text).map_err(|error| JournalError::Damaged {
            why: format!("deed {number} cannot be read ({error}); see what `davy audit verify` finds"),
        })?;
        records.push(DeedRecord { number, at: Timestamp(at), by: Actor::new(by), deed, hash: hex(stored) });
    }
    Ok((records, sound))
}

/// Every sealed value: what it is, and which key sealed it.
pub(super) async fn sealed(
    pool: &Pool,
    place: &Place,
    name: &SecretName,
    pin: &Pin,
) -> Result<Option<Sealed>, JournalError> {
    let failed = |error: sqlx::Error| place.explain("read a secret", &error);
    let (environment, service) = names(pin);
    let row = sql("SELECT key, box FROM sealed WHERE environment = $1 AND service = $2 AND name = $3 AND version = $4")
        .bind(environment)
        .bind(service)
        .bind(name.as_str())
        .bind(pin.version.cast_signed())
        .fetch_optional(pool)
        .await
        .map_err(failed)?;
    row.map(|row| {
        let (key, bytes) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
        Ok(Sealed { name: name.clone(), pin: pin.clone(), key, bytes })
    })
    .transpose()
}

/// The keys that sealed what is stored.
pub(super) async fn keys(pool: &Pool, place: &Place) -> Result<Vec<Vec<u8>>, JournalError> {
    let failed = |error: sqlx::Error| place.explain("read the secrets", &error);
    let rows = sql("SELECT DISTINCT key FROM sealed").fetch_all(pool).await.map_err(failed)?;
    rows.iter().map(|row| row.try_get(0).map_err(failed)).collect()
}
