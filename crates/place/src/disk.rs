//! Files and folders for the owner only, written whole, and errors that name the path.

use davy_ports::Error;
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// A folder for the owner only, with those above it.
///
/// # Errors
/// As the system says.
pub fn make(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes a file whole or not at all, for the owner only.
///
/// # Errors
/// As the system says; then the file is as it was.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use io::Write;
    let temporary = path.with_extension("new");
    let written = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// What a failed call on a path means to a person.
#[must_use]
pub fn io_error(tried: &str, path: &Path, error: &io::Error) -> Error {
    let happened = format!("{}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::later(tried, happened).hint("the disk is full: free space on it")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::never(tried, happened).hint(format!("let the user that runs davy read and write {}", path.display()))
        }
        io::ErrorKind::NotFound => Error::never(tried, happened).hint(format!("{} does not exist", path.display())),
        _ => Error::later(tried, happened),
    }
}
