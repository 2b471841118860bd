//! What lies where in the data folder.

use davy_core::{Digest, InstanceId, ServiceKey};
use davy_place::disk::{io_error, make};
use davy_ports::Error;
use std::path::{Path, PathBuf};

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
        for folder in [folders.releases(), folders.instances(), folders.run()] {
            make(&folder).map_err(|error| io_error(&tried, &folder, &error))?;
        }
        Ok(folders)
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn releases(&self) -> PathBuf {
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

    pub(crate) fn fences(&self) -> PathBuf {
        self.data.join("fences")
    }
}
