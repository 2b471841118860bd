//! A database that comes back older than it was: a server in whose memory there is more refuses to write to it, for what
//! it decided rests on what is gone. The memory is a file of its data folder, so that it outlives the server. A file of
//! SQLite has one server only, which holds its lock.

use super::{
    chain::hex,
    explain::unavailable,
    given::{Numbered, given},
    journal::{Slot, Writer},
    packed,
    place::Place,
    sql::{Connection, sql},
    write::Turn,
};
use davy_ports::JournalError;
use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// An event: its number and its hash.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) sequence: u64,
    pub(super) hash: String,
}

/// The file that keeps a mark. It is written over in place and always as long, so that a killed server leaves one whole mark.
pub(super) struct Memory {
    path: PathBuf,
    file: File,
}

impl Memory {
    fn open(path: &Path) -> io::Result<(Self, Option<Mark>)> {
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mark = text.trim().split_once(' ').and_then(|(sequence, hash)| {
            let sequence = sequence.parse().ok()?;
            (hash.len() == 64).then(|| Mark { sequence, hash: hash.to_owned() })
        });
        if mark.is_none() && !text.is_empty() {
            tracing::warn!(path = %path.display(), "it holds no mark: whether the database is older than it was cannot be told");
        }
        Ok((Self { path: path.to_owned(), file }, mark))
    }

    fn keep(&self, Mark { sequence, hash }: &Mark) {
        if let Err(error) = self.file.write_all_at(format!("{sequence:020} {hash}\n").as_bytes(), 0) {
            tracing::warn!(path = %self.path.display(), %error, "what was last seen of the database could not be kept");
        }
    }
}

impl Slot {
    /// What a turn that went well saw last.
    pub(super) fn saw(&mut self, last: Option<Mark>) {
        if let (Some(memory), Some(mark)) = (&self.memory, &last)
            && self.seen != last
        {
            memory.keep(mark);
        }
        self.seen = last;
    }
}

/// Goes on from what a file says was seen, and keeps it there; refuses a database that is older.
pub(super) async fn remember(writer: Writer, place: Place, path: PathBuf) -> Result<(), JournalError> {
    if matches!(place, Place::File(_)) {
        return Ok(());
    }
    let (memory, seen) = Memory::open(&path).map_err(|error| {
        unavailable(format!("could not read what was last seen of {place} in {}: {error}", path.display()))
    })?;
    {
        let mut slot = writer.lock().await;
        (slot.memory, slot.seen) = (Some(memory), seen);
        // One that is new is asked for the hash, too.
        slot.connection = None;
    }
    Turn::begin(writer, place, "open the journal").await?.end(Ok(())).await
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
        let there = *sequence <= last
            && (kept || at(place, connection, *sequence).await.map_err(failed)?.as_ref() == Some(hash));
        if !there {
            let (place, seen) = (place.to_string(), *sequence);
            return Err(JournalError::Older { place, seen, ends_at: last });
        }
        if *sequence == last {
            return Ok(Some(Mark { sequence: last, hash: hash.clone() }));
        }
    }
    let hash = at(place, connection, last).await.map_err(failed)?;
    Ok(hash.map(|hash| Mark { sequence: last, hash }))
}

async fn at(place: &Place, connection: &mut Connection, sequence: u64) -> Result<Option<String>, sqlx::Error> {
    let row = sql("SELECT hash FROM event WHERE sequence = $1").bind(sequence.cast_signed());
    match row.fetch_optional(&mut *connection).await? {
        Some(row) => Ok(Some(hex(row.try_get(0)?))),
        // A server that comes back after long finds what it saw last packed.
        None => packed::hash_at(connection, place, sequence).await,
    }
}
