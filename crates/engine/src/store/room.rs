//! How much room the journal takes.

use super::{
    evidence,
    place::Place,
    sql::{Pool, sql},
};
use davy_core::Timestamp;
use davy_ports::JournalError;

/// How large a journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What it takes of its disk, in bytes.
    pub bytes: u64,
    /// Of these, what the next that is written will use first.
    pub unused: u64,
    /// When the oldest evidence that is kept was counted; none where there is none.
    pub oldest: Option<Timestamp>,
}

pub(super) async fn room(pool: &Pool, place: &Place) -> Result<Room, JournalError> {
    let failed = |error: sqlx::Error| place.explain("read how large the journal is", &error);
    let number = async |text: &'static str| -> Result<u64, JournalError> {
        let row = sql(text).fetch_one(pool).await.map_err(failed)?;
        Ok(row.try_get::<i64>(0).map_err(failed)?.cast_unsigned())
    };
    let (bytes, unused) = match place {
        Place::File(path) => {
            let log = path.with_extension("db-wal");
            let length = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |file| file.len());
            let pages = number("PRAGMA freelist_count").await?;
            (length(path) + length(&log), pages * number("PRAGMA page_size").await?)
        }
        Place::Server(_) => {
            let tables = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'davy' AND c.relkind = 'r'";
            (number(tables).await?, 0)
        }
    };
    let oldest = sql("SELECT o.rollout, e.number, e.batch FROM evidence e JOIN observed o ON o.id = e.rollout \
         WHERE o.deed IS NULL ORDER BY e.id LIMIT 1")
    .fetch_optional(pool)
    .await
    .map_err(failed)?;
    let oldest = match &oldest {
        None => None,
        Some(row) => {
            let number = row.try_get::<i64>(1).map_err(failed)?.cast_unsigned();
            let (rollout, text): (&str, &str) = (row.try_get(0).map_err(failed)?, row.try_get(2).map_err(failed)?);
            evidence::read(rollout, number, text).ok().map(|batch| batch.window.from)
        }
    };
    Ok(Room { bytes, unused, oldest })
}
