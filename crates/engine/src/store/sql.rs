//! One text of SQL for both databases: a query and its values, run on whichever connection there is.
//!
//! Both number their parameters `$1`, `$2`, …; what only one of them understands is written beside the other's form.

use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use sqlx::{
    Decode, PgConnection, PgPool, Postgres, Row as _, Sqlite, SqliteConnection, SqlitePool, Transaction, Type,
    postgres::PgRow, sqlite::SqliteRow,
};
use std::{io, time::Duration};

/// The longest wait for one answer over a network. A file answers, or SQLite says why not.
const ANSWER: Duration = Duration::from_secs(10);

/// A connection that writes.
pub(super) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// Connections that read.
#[derive(Clone)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// What was committed at one moment, through all tables.
pub(super) enum Snapshot {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// Where a query runs.
pub(super) enum On<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
    SqlitePool(&'c SqlitePool),
    PostgresPool(&'c PgPool),
}

impl Connection {
    /// A command without values or answer, in one message: nothing is prepared first.
    pub(super) async fn run(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(connection) => sqlx::query(text).execute(connection).await.map(drop),
            Self::Postgres(connection) => answer(sqlx::raw_sql(text).execute(connection)).await.map(drop),
        }
    }
}

impl Pool {
    /// The text for the one or for the other.
    pub(super) const fn either(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self {
            Self::Sqlite(_) => sqlite,
            Self::Postgres(_) => postgres,
        }
    }

    /// Tables are read as they are, not through their indexes.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(pool) => Snapshot::Sqlite(pool.begin().await?),
            Self::Postgres(pool) => {
                let mut begun = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
                let plain = "SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; \
                             SET LOCAL enable_bitmapscan = off; SET LOCAL statement_timeout = 0";
                sqlx::raw_sql(plain).execute(&mut *begun).await?;
                Snapshot::Postgres(begun)
            }
        })
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Snapshot {
    /// The text for the one or for the other.
    pub(super) const fn either(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self {
            Self::Sqlite(_) => sqlite,
            Self::Postgres(_) => postgres,
        }
    }

    pub(super) async fn end(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(begun) => begun.rollback().await,
            Self::Postgres(begun) => begun.rollback().await,
        }
    }
}

impl<'c> From<&'c Pool> for On<'c> {
    fn from(pool: &'c Pool) -> Self {
        match pool {
            Pool::Sqlite(pool) => Self::SqlitePool(pool),
            Pool::Postgres(pool) => Self::PostgresPool(pool),
        }
    }
}

impl<'c> From<&'c mut Connection> for On<'c> {
    fn from(connection: &'c mut Connection) -> Self {
        match connection {
            Connection::Sqlite(connection) => Self::Sqlite(connection),
            Connection::Postgres(connection) => Self::Postgres(connection),
        }
    }
}

impl<'c> From<&'c mut Snapshot> for On<'c> {
    fn from(snapshot: &'c mut Snapshot) -> Self {
        match snapshot {
            Snapshot::Sqlite(begun) => Self::Sqlite(begun),
            Snapshot::Postgres(begun) => Self::Postgres(begun),
        }
    }
}

/// A query and its values.
pub(super) struct Sql {
    text: &'static str,
    values: Vec<Value>,
}

/// What is stored.
pub(super) enum Value {
    Number(i64),
    Text(String),
    Maybe(Option<String>),
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Maybe(text.map(str::to_owned))
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// A query of this text.
pub(super) fn sql(text: &'static str) -> Sql {
    Sql { text, values: Vec::new() }
}

macro_rules! bound {
    ($self:ident) => {
        $self.values.into_iter().fold(sqlx::query($self.text), |query, value| match value {
            Value::Number(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Maybe(text) => query.bind(text),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    };
}

impl Sql {
    /// Adds the next value.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it; how many rows it changed.
    pub(super) async fn execute<'c>(self, on: impl Into<On<'c>>) -> Result<u64, sqlx::Error> {
        Ok(match on.into() {
            On::Sqlite(on) => bound!(self).execute(on).await?.rows_affected(),
            On::SqlitePool(on) => bound!(self).execute(on).await?.rows_affected(),
            On::Postgres(on) => answer(bound!(self).execute(on)).await?.rows_affected(),
            On::PostgresPool(on) => answer(bound!(self).execute(on)).await?.rows_affected(),
        })
    }

    /// Every row.
    pub(super) async fn fetch_all<'c>(self, on: impl Into<On<'c>>) -> Result<Vec<Row>, sqlx::Error> {
        Ok(match on.into() {
            On::Sqlite(on) => bound!(self).fetch_all(on).await?.into_iter().map(Row::Sqlite).collect(),
            On::SqlitePool(on) => bound!(self).fetch_all(on).await?.into_iter().map(Row::Sqlite).collect(),
            On::Postgres(on) => answer(bound!(self).fetch_all(on)).await?.into_iter().map(Row::Postgres).collect(),
            On::PostgresPool(on) => answer(bound!(self).fetch_all(on)).await?.into_iter().map(Row::Postgres).collect(),
        })
    }

    /// The first row, if there is one.
    pub(super) async fn fetch_optional<'c>(self, on: impl Into<On<'c>>) -> Result<Option<Row>, sqlx::Error> {
        Ok(match on.into() {
            On::Sqlite(on) => bound!(self).fetch_optional(on).await?.map(Row::Sqlite),
            On::SqlitePool(on) => bound!(self).fetch_optional(on).await?.map(Row::Sqlite),
            On::Postgres(on) => answer(bound!(self).fetch_optional(on)).await?.map(Row::Postgres),
            On::PostgresPool(on) => answer(bound!(self).fetch_optional(on)).await?.map(Row::Postgres),
        })
    }

    /// The first row, which must be there.
    pub(super) async fn fetch_one<'c>(self, on: impl Into<On<'c>>) -> Result<Row, sqlx::Error> {
        self.fetch_optional(on).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// Row by row, however many there are.
    pub(super) fn fetch(self, snapshot: &mut Snapshot) -> BoxStream<'_, Result<Row, sqlx::Error>> {
        match snapshot {
            Snapshot::Sqlite(on) => bound!(self).fetch(&mut **on).map_ok(Row::Sqlite).boxed(),
            Snapshot::Postgres(on) => bound!(self).fetch(&mut **on).map_ok(Row::Postgres).boxed(),
        }
    }
}

/// What comes of it in time.
pub(super) async fn answer<T>(query: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(ANSWER, query).await {
        Ok(answered) => answered,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {ANSWER:?}")).into()),
    }
}

/// What a query gave.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// The value of a column.
    pub(super) fn try_get<'r, T>(&'r self, column: usize) -> Result<T, sqlx::Error>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }
}
