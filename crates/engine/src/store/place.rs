//! Where a journal is kept and how it is reached: the one place that knows both databases.

use super::{
    explain, postgres,
    sql::{Connection, Pool, sql},
    sqlite,
};
use davy_ports::JournalError;
use sqlx::{ConnectOptions as _, Connection as _, postgres::PgPoolOptions, sqlite::SqlitePoolOptions};
use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

/// How many may read at once: live updates, a page and a check beside the reconcilers.
const READERS: u32 = 3;

/// The longest wait for a turn or a lock.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// A file of SQLite, or a database of a PostgreSQL server.
#[derive(Clone)]
pub(super) enum Place {
    File(Arc<PathBuf>),
    Server(Arc<postgres::Server>),
}

/// What became of an attempt to begin.
pub(super) enum Begun {
    Yes,
    /// Somebody else writes: trying again can help.
    Busy(sqlx::Error),
    /// Another server has taken the lease since.
    Fenced,
    /// The connection is of no use; nothing was written.
    Failed(sqlx::Error),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(server) => server.fmt(f),
        }
    }
}

impl Place {
    /// A connection that writes.
    pub(super) async fn writing(&self) -> Result<Connection, sqlx::Error> {
        match self {
            Self::File(path) => sqlite::writing(path).connect().await.map(Connection::Sqlite),
            Self::Server(server) => server.connect(postgres::Access::Write).await.map(Connection::Postgres),
        }
    }

    /// Connections that read, opened as they are needed.
    pub(super) fn readers(&self) -> Pool {
        match self {
            Self::File(path) => Pool::Sqlite(
                SqlitePoolOptions::new()
                    .max_connections(READERS)
                    .acquire_timeout(PATIENCE)
                    .test_before_acquire(false)
                    .connect_lazy_with(sqlite::reading(path)),
            ),
            Self::Server(server) => Pool::Postgres(
                PgPoolOptions::new()
                    .max_connections(READERS)
                    .acquire_timeout(postgres::REACH)
                    .after_connect(|connection, _| {
                        Box::pin(async move { postgres::prepare(connection, postgres::Access::Read).await })
                    })
                    .connect_lazy_with(server.options()),
            ),
        }
    }

    /// Begins to write, alone; with the token of a lease only if it is the last one that was taken.
    pub(super) async fn begin(&self, connection: &mut Connection, token: Option<i64>) -> Begun {
        let begun = match connection {
            Connection::Sqlite(_) => sql("BEGIN IMMEDIATE").execute(&mut *connection).await.map(|_| None),
            Connection::Postgres(connection) => postgres::begin(connection).await.map(Some),
        };
        match begun {
            Ok(last) if token.is_some_and(|token| last.is_some_and(|last| last > token)) => Begun::Fenced,
            Ok(_) => Begun::Yes,
            Err(error) if self.is_busy(&error) => Begun::Busy(error),
            Err(error) => Begun::Failed(error),
        }
    }

    fn is_busy(&self, error: &sqlx::Error) -> bool {
        match self {
            Self::File(_) => explain::is_busy(error),
            Self::Server(_) => postgres::is_busy(error),
        }
    }

    /// Whether a commit that failed like this may have been carried out all the same.
    pub(super) fn leaves_open(&self, error: &sqlx::Error) -> bool {
        match self {
            Self::File(_) => false,
            Self::Server(_) => postgres::leaves_open(error),
        }
    }

    /// What a failure means for who uses the journal.
    pub(super) fn explain(&self, tried: &str, error: &sqlx::Error) -> JournalError {
        match self {
            Self::File(path) => explain::explain(tried, path, error),
            Self::Server(server) => server.explain(tried, error),
        }
    }
}

/// Closes a connection that wrote, so that what is in SQLite's log moves into the file.
pub(super) async fn close(connection: Connection) -> Result<(), sqlx::Error> {
    match connection {
        Connection::Sqlite(connection) => connection.close().await,
        Connection::Postgres(connection) => connection.close().await,
    }
}
