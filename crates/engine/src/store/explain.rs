//! SQLite's errors in the journal's words: what was tried, what happened, what to do next.

use davy_ports::JournalError;
use std::path::Path;

/// SQLite's primary result code; none when the error did not come from SQLite.
fn code(error: &sqlx::Error) -> Option<i32> {
    let sqlx::Error::Database(database) = error else { return None };
    database.code()?.parse::<i32>().ok().map(|extended| extended & 0xff)
}

/// Another process holds the lock: trying again can help.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(5 | 6))
}

/// What a failure means for who uses the journal.
pub(super) fn explain(tried: &str, path: &Path, error: &sqlx::Error) -> JournalError {
    let path = path.display();
    let said = match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        other => other.to_string(),
    };
    match code(error) {
        Some(5 | 6) => unavailable(format!(
            "could not {tried}: another process holds {path} locked; wait until it has finished, or end it"
        )),
        Some(13) => unavailable(format!(
            "could not {tried}: the disk that holds {path} is full ({said}); make room, nothing else is needed"
        )),
        Some(3 | 8 | 14 | 23) => unavailable(format!(
            "could not {tried}: {path} cannot be opened or written ({said}); see that its folder exists and that this user owns both"
        )),
        Some(10) => unavailable(format!(
            "could not {tried}: reading or writing {path} failed ({said}); see whether its disk is full, over a limit or failing"
        )),
        Some(11 | 26) => JournalError::Damaged {
            why: format!(
                "could not {tried}: {path} is not a sound SQLite file ({said}); stop Davy, keep the file with its -wal and -shm, and put a backup in its place"
            ),
        },
        Some(19 | 20) => JournalError::Damaged {
            why: format!(
                "could not {tried}: what {path} holds contradicts itself ({said}); see what `davy audit verify` finds, then put a backup in its place"
            ),
        },
        _ if matches!(
            error,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_)
        ) =>
        {
            JournalError::Damaged {
                why: format!(
                    "could not {tried}: a row of {path} does not hold what it should ({said}); see what `davy audit verify` finds"
                ),
            }
        }
        _ => unavailable(format!("could not {tried}: {said} ({path}); try again")),
    }
}

pub(super) fn unavailable(why: String) -> JournalError {
    JournalError::Unavailable { why }
}
