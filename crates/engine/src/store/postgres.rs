//! A PostgreSQL server: how it is reached, how its tables are made and brought up to this version, and its errors in
//! the journal's words.

use super::{explain::unavailable, place::PATIENCE, sql::answer};
use davy_ports::JournalError;
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgDatabaseError, PgSeverity},
};
use std::{fmt, str::FromStr as _, time::Duration};

/// Each brings the tables from its index to the next format, which the row of `journal` says.
const MIGRATIONS: [&str; 6] = [
    include_str!("postgres_1.sql"),
    include_str!("postgres_2.sql"),
    include_str!("postgres_3.sql"),
    include_str!("postgres_4.sql"),
    include_str!("postgres_5.sql"),
    include_str!("postgres_6.sql"),
];

/// The longest wait for a connection.
pub(super) const REACH: Duration = Duration::from_secs(5);

/// What is asked of every session. A writer that vanishes in mid-transaction does not hold its lock for long; what was
/// acknowledged is on disk, whatever the server's or the user's defaults are.
const SESSION: &str = "SET search_path TO davy; SET lock_timeout = '2s'; SET statement_timeout = '10s'; \
     SET idle_in_transaction_session_timeout = '3s'; SET default_transaction_isolation = 'read committed'; \
     SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";
const READING: &str = "SET default_transaction_read_only = on; SET idle_in_transaction_session_timeout = 0";

/// One that makes or changes the tables does it alone.
const MAKING: &str = "SELECT pg_advisory_xact_lock(1147238009)";

/// Whether a connection may change anything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Write,
    Read,
}

/// A database of a server.
pub(super) struct Server {
    options: PgConnectOptions,
    shown: String,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown.fmt(f)
    }
}

impl Server {
    /// Reads `postgres://user@host:port/database`; what it leaves out comes from libpq's variables and `~/.pgpass`.
    pub(super) fn parse(url: &str) -> Result<Self, JournalError> {
        let wrong = |why: String| {
            unavailable(format!(
                "could not read the database's address: {why}; write it as postgres://user@host:5432/database"
            ))
        };
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(wrong("it does not begin with postgres://".to_owned()));
        }
        // The error may quote what it could not read; a password is in none of these.
        let options = PgConnectOptions::from_str(url).map_err(|_| wrong("it is not an address".to_owned()))?;
        let options = options.application_name("davy").disable_statement_logging();
        let at = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        let database = options.get_database().unwrap_or(options.get_username());
        let shown = format!("postgres://{}@{at}/{database}", options.get_username());
        Ok(Self { options, shown })
    }

    pub(super) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// A connection, ready for use.
    pub(super) async fn connect(&self, access: Access) -> Result<PgConnection, sqlx::Error> {
        let connecting = async {
            let mut connection = self.options.connect().await?;
            prepare(&mut connection, access).await?;
            Ok(connection)
        };
        match tokio::time::timeout(REACH, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// Refuses what is somebody else's or of a later version; makes what is missing, brings up what is older.
    pub(super) async fn settle(&self, connection: &mut PgConnection, access: Access) -> Result<(), JournalError> {
        let tried = "open the journal";
        let failed = |error: sqlx::Error| self.explain(tried, &error);
        let refused = |why: String| unavailable(format!("could not {tried}: {self} {why}"));
        let mut transaction = connection.begin().await.map_err(failed)?;
        if access == Access::Write {
            answer(sqlx::query(MAKING).execute(&mut *transaction)).await.map_err(failed)?;
        }
        let look = sqlx::query(
            "SELECT current_setting('server_version_num')::bigint, current_setting('server_encoding'), \
             to_regnamespace('davy') IS NOT NULL, to_regclass('davy.journal') IS NOT NULL, pg_is_in_recovery()",
        );
        let row = answer(look.fetch_one(&mut *transaction)).await.map_err(failed)?;
        let version: i64 = row.try_get(0).map_err(failed)?;
        let encoding: String = row.try_get(1).map_err(failed)?;
        let (schema, journal): (bool, bool) = (row.try_get(2).map_err(failed)?, row.try_get(3).map_err(failed)?);
        if version < 130_000 {
            return Err(refused(format!("is PostgreSQL {}; Davy needs 13 or later", version / 10_000)));
        }
        if encoding != "UTF8" {
            let create = "make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0";
            return Err(refused(format!("keeps text as {encoding}, not as UTF8; {create}")));
        }
        if access == Access::Write && row.try_get(4).map_err(failed)? {
            return Err(refused("is a standby that takes no writes; give the address of the primary".to_owned()));
        }
        if schema && !journal {
            let why = "has a schema named davy that is not Davy's; give a database of its own";
            return Err(refused(why.to_owned()));
        }
        let known = MIGRATIONS.len();
        let format = match journal {
            false => 0,
            true => {
                let format = sqlx::query("SELECT format FROM davy.journal").fetch_one(&mut *transaction);
                let format: i64 = answer(format).await.map_err(failed)?.try_get(0).map_err(failed)?;
                usize::try_from(format).unwrap_or(usize::MAX)
            }
        };
        if format > known {
            return Err(refused(format!(
                "was written by a newer Davy (format {format}, this one knows up to {known}); run that version, or restore a dump"
            )));
        }
        match access {
            Access::Read if format == 0 => {
                Err(refused("has no journal yet: `davy up --database` makes one".to_owned()))
            }
            Access::Read if format < known => Err(refused(format!(
                "is of format {format} and this version reads {known}; `davy up` brings it up to date"
            ))),
            Access::Read => Ok(()),
            Access::Write => {
                for migration in &MIGRATIONS[format..] {
                    answer(sqlx::raw_sql(*migration).execute(&mut *transaction)).await.map_err(failed)?;
                }
                let now = sqlx::query("UPDATE davy.journal SET format = $1 WHERE format <> $1");
                let now = now.bind(i64::try_from(known).unwrap_or_default());
                answer(now.execute(&mut *transaction)).await.map_err(failed)?;
                answer(transaction.commit()).await.map_err(failed)
            }
        }
    }

    /// What a failure means for who uses the journal.
    pub(super) fn explain(&self, tried: &str, error: &sqlx::Error) -> JournalError {
        let said = match error {
            sqlx::Error::Database(database) => database.message().to_owned(),
            sqlx::Error::PoolTimedOut => format!("no connection within {REACH:?}"),
            other => other.to_string(),
        };
        let (code, class) = match code(error) {
            Some(code) => (code, &code[..2]),
            None => ("", ""),
        };
        let so = |next: &str| unavailable(format!("could not {tried}: {self}: {said}; {next}"));
        let damaged = |what: &str| JournalError::Damaged {
            why: format!(
                "could not {tried}: {what} {self} ({said}); see what `davy audit verify` finds, then restore a dump"
            ),
        };
        match (code, class) {
            ("55P03", _) => so("another session holds the journal's lock: see pg_stat_activity"),
            (_, "28") => {
                so("see its user and pg_hba.conf; a password belongs in a file: PGPASSFILE, or --database-file")
            }
            ("3D000", _) => so("create the database first: createdb"),
            ("42501", _) => {
                so("its user must own the schema davy: GRANT CREATE ON DATABASE, or make the user its owner")
            }
            ("53100", _) => so("its disk is full: make room, nothing else is needed"),
            ("53300", _) => so("raise max_connections, or end what holds them"),
            ("25006", _) => so("it takes no writes: a standby, or set to read only; give the address of the primary"),
            ("57P01" | "57P02" | "57P03", _) => so("it stops or starts; it is tried again"),
            ("57014", _) => so("it took too long: see whether it is overloaded"),
            ("22021" | "22P05", _) => JournalError::Damaged {
                why: format!("nothing was written: a text has a character that PostgreSQL cannot keep ({said})"),
            },
            ("42P01" | "3F000", _) => damaged("tables are missing in"),
            (_, "23") => damaged("what contradicts itself is kept in"),
            ("XX001" | "XX002", _) => damaged("what cannot be read is kept in"),
            _ => match error {
                sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
                    damaged("a row does not hold what it should in")
                }
                sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_) => {
                    so("see that it runs and that this machine reaches it")
                }
                sqlx::Error::Tls(_) => so("see its certificate, or give sslmode and sslrootcert in the address"),
                _ => so("try again"),
            },
        }
    }
}

/// Makes a new session ready.
pub(super) async fn prepare(connection: &mut PgConnection, access: Access) -> Result<(), sqlx::Error> {
    answer(sqlx::raw_sql(SESSION).execute(&mut *connection)).await?;
    if access == Access::Read {
        answer(sqlx::raw_sql(READING).execute(connection)).await?;
    }
    Ok(())
}

/// Begins a transaction and takes the writers' lock, which is held until its end. Gives the token of the last lease: as it is
/// read with the lock, none is given out before this transaction ends.
pub(super) async fn begin(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    answer(sqlx::query("BEGIN").execute(&mut *connection)).await?;
    let locking = sqlx::query("SELECT token FROM journal FOR UPDATE").fetch_one(&mut *connection);
    match tokio::time::timeout(PATIENCE * 2, locking).await {
        Ok(Ok(locked)) => locked.try_get(0),
        Ok(Err(error)) => {
            // Ends it, so that the connection may be used again; one that is broken says so at its next use.
            answer(sqlx::query("ROLLBACK").execute(connection)).await.ok();
            Err(error)
        }
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

fn code(error: &sqlx::Error) -> Option<&str> {
    let sqlx::Error::Database(database) = error else { return None };
    database.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::code).filter(|code| code.len() == 5)
}

/// Another writer holds the lock: trying again can help.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    code(error) == Some("55P03")
}

/// Only an answer that ends the command and not the session says that a commit was not carried out.
pub(super) fn leaves_open(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(database) => database
            .try_downcast_ref::<PgDatabaseError>()
            .is_none_or(|error| !matches!(error.severity(), PgSeverity::Error)),
        _ => true,
    }
}
