//! How many numbers were given to events and deeds, kept apart from them: so a missing end is seen, and no number is
//! given twice. SQLite counts by itself; in PostgreSQL the one row that writers lock says it.

use super::sql::{Connection, On, Snapshot, sql};

/// What is numbered.
#[derive(Clone, Copy)]
pub(super) enum Numbered {
    Events,
    Deeds,
}

impl Numbered {
    const fn sqlite(self) -> &'static str {
        match self {
            Self::Events => "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0)",
            Self::Deeds => "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'deed'), 0)",
        }
    }

    const fn postgres(self) -> &'static str {
        match self {
            Self::Events => "SELECT sequence FROM journal",
            Self::Deeds => "SELECT deeds FROM journal",
        }
    }
}

/// The last number that was given, as who writes sees it.
pub(super) async fn given(connection: &mut Connection, numbered: Numbered) -> Result<u64, sqlx::Error> {
    let text = match connection {
        Connection::Sqlite(_) => numbered.sqlite(),
        Connection::Postgres(_) => numbered.postgres(),
    };
    number(text, connection).await
}

/// The same, as a snapshot has it.
pub(super) async fn given_then(snapshot: &mut Snapshot, numbered: Numbered) -> Result<u64, sqlx::Error> {
    number(snapshot.either(numbered.sqlite(), numbered.postgres()), snapshot).await
}

async fn number<'c>(text: &'static str, on: impl Into<On<'c>>) -> Result<u64, sqlx::Error> {
    Ok(sql(text).fetch_one(on).await?.try_get::<i64>(0)?.cast_unsigned())
}

/// Says that numbers up to this one were given.
pub(super) async fn give(connection: &mut Connection, numbered: Numbered, last: u64) -> Result<(), sqlx::Error> {
    let text = match (&connection, numbered) {
        (Connection::Sqlite(_), _) => return Ok(()),
        (Connection::Postgres(_), Numbered::Events) => "UPDATE journal SET sequence = $1",
        (Connection::Postgres(_), Numbered::Deeds) => "UPDATE journal SET deeds = $1",
    };
    sql(text).bind(last.cast_signed()).execute(connection).await.map(drop)
}
