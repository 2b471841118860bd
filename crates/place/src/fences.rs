//! The highest generation seen for each service, on disk: an order of an earlier one is refused.

use crate::disk::{io_error, make, write};
use davy_core::{Generation, ServiceKey};
use davy_ports::Error;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The fences of one place.
#[derive(Clone, Debug)]
pub struct Fences {
    folder: PathBuf,
}

impl Fences {
    /// Opens the folder that they are kept in, and makes it if it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(folder: PathBuf) -> Result<Self, Error> {
        make(&folder).map_err(|error| io_error("open the fences", &folder, &error))?;
        Ok(Self { folder })
    }

    /// Where they are kept: one file for each service.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether an order for the service was ever taken.
    #[must_use]
    pub fn knows(&self, key: &ServiceKey) -> bool {
        self.path(key).exists()
    }

    /// Whether any order was ever taken.
    #[must_use]
    pub fn any(&self) -> bool {
        fs::read_dir(&self.folder).is_ok_and(|mut entries| entries.next().is_some())
    }

    fn path(&self, key: &ServiceKey) -> PathBuf {
        // `~` is in no name, so that two services never share a file.
        self.folder.join(format!("{}~{}", key.environment, key.service))
    }

    /// Refuses a generation below the highest seen for the service, and keeps the highest on disk.
    ///
    /// # Errors
    /// When it is refused, or the disk does not do.
    pub fn pass(&self, key: &ServiceKey, generation: Generation, tried: &str) -> Result<(), Error> {
        let path = self.path(key);
        // Another server of the folder may be at the same: one that was taken for dead, say.
        let _turn = fs::File::open(&self.folder)
            .and_then(|folder| folder.lock().map(|()| folder))
            .map_err(|error| io_error(tried, &self.folder, &error))?;
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
