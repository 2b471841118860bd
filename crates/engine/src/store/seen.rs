//! A database that comes back older than it was: a server in whose memory there is more refuses to write to it, for what
//! it decided rests on what is gone. A file of SQLite has one server only, which holds its lock.

use super::{
    chain::hex,
    given::{Numbered, given},
    place::Place,
    sql::{Connection, sql},
};
use davy_ports::JournalError;

/// An event: its number and its hash.
pub(super) struct Mark {
    pub(super) sequence: u64,
    pub(super) hash: String,
}

/// The last event, at the beginning of a turn; refuses when the one seen before is gone or is another one. `kept` says
/// that the connection is the one of the turn before: then a number that did not fall says enough.
pub(super) async fn look(
    place: &Place,
    connection: &mut Connection,
    seen: Option<&Mark>,
    kept: bool,
    tried: &str,
) -> Result<Option<Mark>, JournalError> {
    if matches!(place, Place::File(_)) {
        return Ok(None);
    }
    let failed = |error: sqlx::Error| place.explain(tried, &error);
    let last = given(connection, Numbered::Events).await.map_err(failed)?;
    if let Some(Mark { sequence, hash }) = seen {
        let there =
            *sequence <= last && (kept || at(connection, *sequence).await.map_err(failed)?.as_ref() == Some(hash));
        if !there {
            let (place, seen) = (place.to_string(), *sequence);
            return Err(JournalError::Older { place, seen, ends_at: last });
        }
        if *sequence == last {
            return Ok(Some(Mark { sequence: last, hash: hash.clone() }));
        }
    }
    let hash = at(connection, last).await.map_err(failed)?;
    Ok(hash.map(|hash| Mark { sequence: last, hash }))
}

async fn at(connection: &mut Connection, sequence: u64) -> Result<Option<String>, sqlx::Error> {
    let row = sql("SELECT hash FROM event WHERE sequence = $1").bind(sequence.cast_signed()).fetch_optional(connection);
    row.await?.map(|row| Ok(hex(row.try_get(0)?))).transpose()
}
