//! What lies where in the data folder, the fence of each service, and errors that name the path.

use davy_core::{Digest, Generation, InstanceId, ServiceKey};
use davy_ports::Error;
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Unix socket paths end at 108 bytes; ours add 20 to the folder.
const LONGEST: usize = 80;

/// The folders of one place.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    data: PathBuf,
}

impl Folders {
    /// Makes what is missing, for the owner only.
    pub(crate) fn open(data: &Path) -> Result<Self, Error> {
        let tried = format!("open the data folder {}", data.display());
        let data = std::path::absolute(data).map_err(|error| io_error(&tried, data, &error))?;
        if data.as_os_str().len() > LONGEST {
            let happened = format!("its path has {} bytes, sockets in it allow {LONGEST}", data.as_os_str().len());
            return Err(Error::never(tried, happened).hint("choose a shorter path"));
        }
        let folders = Self { data };
        for folder in [folders.releases(), folders.instances(), folders.run(), folders.fences()] {
            make(&folder).map_err(|error| io_error(&tried, &folder, &error))?;
        }
        Ok(folders)
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    fn releases(&self) -> PathBuf {
        self.data.join("releases")
    }

    pub(crate) fn releases_of(&self, key: &ServiceKey) -> PathBuf {
        self.releases().join(key.service.as_str())
    }

    pub(crate) fn release(&self, key: &ServiceKey, digest: &Digest) -> PathBuf {
        let name = digest.as_str();
        self.releases_of(key).join(name.strip_prefix("sha256:").unwrap_or(name))
    }

    pub(crate) fn instances(&self) -> PathBuf {
        self.data.join("instances")
    }

    pub(crate) fn instance(&self, id: &InstanceId) -> PathBuf {
        self.instances().join(id.as_str())
    }

    fn run(&self) -> PathBuf {
        self.data.join("run")
    }

    /// Where an instance's shim listens: named after the short random end of its id.
    pub(crate) fn socket(&self, short: &str) -> PathBuf {
        self.run().join(format!("i-{short}.sock"))
    }

    fn fences(&self) -> PathBuf {
        self.data.join("fences")
    }

    /// Refuses a generation below the highest seen for the service, and keeps the highest on disk.
    pub(crate) fn fence(&self, key: &ServiceKey, generation: Generation, tried: &str) -> Result<(), Error> {
        // `~` is in no name, so that two services never share a file.
        let path = self.fences().join(format!("{}~{}", key.environment, key.service));
        let seen = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| {
                Error::never(tried, format!("{} holds no number", path.display()))
                    .hint("remove the file if no other server uses the folder")
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(io_error(tried, &path, &error)),
        };
        if generation.0 < seen {
            let happened = format!("generation {generation} of {key} is behind {seen}, which was seen already");
            return Err(
                Error::never(tried, happened).hint("another controller acts for this service; nothing was changed")
            );
        }
        if generation.0 > seen {
            write(&path, generation.0.to_string().as_bytes()).map_err(|error| io_error(tried, &path, &error))?;
        }
        Ok(())
    }
}

/// A folder for the owner only, with those above it.
pub(crate) fn make(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes a file whole or not at all, for the owner only.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
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
pub(crate) fn io_error(tried: &str, path: &Path, error: &io::Error) -> Error {
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
