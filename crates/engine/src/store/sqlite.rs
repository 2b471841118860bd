//! Opening the file: how it is created, which version wrote it, and how it is brought up to this one.

use super::{
    explain::{explain, unavailable},
    place::PATIENCE,
};
use davy_ports::JournalError;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

/// Each brings the file from its index to the next version, which is kept in `user_version`: no table of migrations
/// with a clock of its own, and a file can be told apart by its header alone.
const MIGRATIONS: [&str; 7] = [
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
];
const APPLICATION: i64 = 0x4461_7679;

/// One wait inside SQLite; the writer asks again until its patience ends, so that waiting for other writers of this
/// process counts, too.
const SLICE: Duration = Duration::from_millis(100);

/// What each connection keeps of the file, in KiB (negative: SQLite would count pages): each of them has its own, and what is
/// read twice is in the system's cache anyway.
const CACHE: &str = "-256";

/// The connection that writes.
pub(super) fn writing(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        // The log is on disk before an append returns: what was acknowledged outlives a power cut.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("cache_size", CACHE)
        // The sealed value of a secret leaves no bytes behind when its row goes.
        .pragma("secure_delete", "ON")
        .busy_timeout(SLICE)
        .disable_statement_logging()
}

/// A connection that reads. In WAL mode it waits for no writer.
pub(super) fn reading(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .read_only(true)
        .pragma("cache_size", CACHE)
        .busy_timeout(PATIENCE)
        .disable_statement_logging()
}

/// Creates the file if it is missing, readable by its owner only (SQLite gives its log the same mode).
pub(super) fn create(path: &Path) -> Result<(), JournalError> {
    let failed = |what: &str, error: &std::io::Error| {
        let path = path.display();
        unavailable(format!("could not {what} {path}: {error}; see that its folder exists and that this user owns it"))
    };
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            file.sync_all().and_then(|()| fs::File::open(folder)?.sync_all()).map_err(|error| failed("create", &error))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let mode = fs::metadata(path).map_err(|error| failed("look at", &error))?.permissions().mode();
            if mode & 0o077 == 0 {
                return Ok(());
            }
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|error| failed("make private", &error))
        }
        Err(error) => Err(failed("create", &error)),
    }
}

/// Whether a connection may change the file.
pub(super) enum Access {
    /// An older file is brought up to this version.
    Write,
    /// An older file is refused.
    Read,
}

/// Refuses a file of somebody else's or of a later version; brings an older one up to this version.
pub(super) async fn settle(connection: &mut SqliteConnection, path: &Path, access: Access) -> Result<(), JournalError> {
    let tried = "open the journal";
    let failed = |error: sqlx::Error| explain(tried, path, &error);
    let number = async |connection: &mut SqliteConnection, query: &'static str| -> Result<i64, sqlx::Error> {
        sqlx::query(query).fetch_one(connection).await?.try_get(0)
    };
    let application = number(connection, "PRAGMA application_id").await.map_err(failed)?;
    let version = number(connection, "PRAGMA user_version").await.map_err(failed)?;
    let tables = number(connection, "SELECT count(*) FROM sqlite_schema").await.map_err(failed)?;
    let known = MIGRATIONS.len();
    let shown = path.display();
    let version = match usize::try_from(version) {
        Ok(0) if application == 0 && tables == 0 => 0,
        Ok(version) if application == APPLICATION => version,
        _ => {
            let why = format!("could not {tried}: {shown} is not one of Davy's; give a folder of its own with --data");
            return Err(unavailable(why));
        }
    };
    if version > known {
        return Err(unavailable(format!(
            "could not {tried}: {shown} was written by a newer Davy (format {version}, this one knows up to {known}); run that version, or put a backup in its place"
        )));
    }
    match access {
        Access::Read if version < known => Err(unavailable(format!(
            "could not {tried}: {shown} is of format {version} and this version reads {known}; `davy up` brings it up to date"
        ))),
        Access::Read => Ok(()),
        Access::Write => {
            for (index, migration) in MIGRATIONS.iter().enumerate().skip(version) {
                migrate(connection, migration, index + 1).await.map_err(failed)?;
            }
            Ok(())
        }
    }
}

async fn migrate(connection: &mut SqliteConnection, migration: &'static str, to: usize) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(migration).execute(&mut *transaction).await?;
    // A pragma takes no parameters; `to` is a number of ours.
    sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA user_version = {to}"))).execute(&mut *transaction).await?;
    transaction.commit().await
}
