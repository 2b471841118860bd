//! Which releases may have containers here. A service that runs elsewhere, or a release that was never ordered here, is none
//! of this engine's business: then it does not matter whether the engine can be reached.

use davy_core::{Generation, ReleaseId, ServiceKey};
use davy_place::{Fences, disk};
use davy_ports::Error;
use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The fences, and beside them a list for each service; on disk, and read there once.
#[derive(Clone, Debug)]
pub(crate) struct Engaged {
    fences: Fences,
    lists: PathBuf,
    known: Arc<Mutex<HashMap<ServiceKey, Releases>>>,
}

/// The releases of a service that may have containers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Releases {
    /// These, and no others.
    Only(BTreeSet<String>),
    /// Nobody noted them.
    Unknown,
}

impl Engaged {
    pub(crate) fn open(data: &Path) -> Result<Self, Error> {
        let (fences, lists) = (Fences::open(data.join("fences"))?, data.join("releases"));
        disk::make(&lists).map_err(|error| disk::io_error("open the place", &lists, &error))?;
        Ok(Self { fences, lists, known: Arc::default() })
    }

    fn list(&self, key: &ServiceKey) -> PathBuf {
        self.lists.join(format!("{}~{}", key.environment, key.service))
    }

    fn learn(&self, key: &ServiceKey, releases: Releases) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), releases);
    }

    async fn releases(&self, key: &ServiceKey) -> Releases {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        if let Some(known) = known {
            return known;
        }
        let (this, of) = (self.clone(), key.clone());
        let read = blocking(move || {
            Ok(match fs::read_to_string(this.list(&of)) {
                Ok(text) => Releases::Only(text.lines().map(str::to_owned).collect()),
                Err(error) if error.kind() == io::ErrorKind::NotFound && !this.fences.knows(&of) => {
                    Releases::Only(BTreeSet::new())
                }
                Err(_) => Releases::Unknown,
            })
        });
        let releases = read.await.unwrap_or(Releases::Unknown);
        self.learn(key, releases.clone());
        releases
    }

    async fn note(&self, key: &ServiceKey, releases: BTreeSet<String>) -> Result<(), Error> {
        let (path, text) = (self.list(key), releases.iter().map(|id| format!("{id}\n")).collect::<String>());
        blocking(move || {
            let written = disk::write(&path, text.as_bytes());
            written.map_err(|error| disk::io_error("note which releases are here", &path, &error))
        })
        .await?;
        self.learn(key, Releases::Only(releases));
        Ok(())
    }

    /// Whether there may be containers of this service.
    pub(crate) async fn is(&self, key: &ServiceKey) -> bool {
        self.releases(key).await != Releases::Only(BTreeSet::new())
    }

    /// Whether there may be containers of this release.
    pub(crate) async fn has(&self, key: &ServiceKey, release: &ReleaseId) -> bool {
        match self.releases(key).await {
            Releases::Only(releases) => releases.contains(release.as_str()),
            Releases::Unknown => true,
        }
    }

    /// Whether there may be containers of any service.
    pub(crate) fn any(&self) -> bool {
        let entries = fs::read_dir(self.fences.folder()).into_iter().flatten().flatten();
        let is_empty = |name| fs::metadata(self.lists.join(name)).is_ok_and(|list| list.len() == 0);
        entries.map(|entry| entry.file_name()).any(|name| !is_empty(name))
    }

    /// Whether anything was ever ordered.
    pub(crate) fn ever(&self) -> bool {
        self.fences.any()
    }

    /// Refuses an order that comes too late.
    pub(crate) async fn pass(&self, key: &ServiceKey, generation: Generation, tried: &str) -> Result<(), Error> {
        let (fences, key, tried) = (self.fences.clone(), key.clone(), tried.to_owned());
        blocking(move || fences.pass(&key, generation, &tried)).await
    }

    /// The same where there is nothing to do; a service that never was here leaves no trace.
    pub(crate) async fn pass_by(&self, key: &ServiceKey, generation: Generation, tried: &str) -> Result<(), Error> {
        let (fences, key, tried) = (self.fences.clone(), key.clone(), tried.to_owned());
        blocking(move || if fences.knows(&key) { fences.pass(&key, generation, &tried) } else { Ok(()) }).await
    }

    /// Containers of this release are about to be made.
    pub(crate) async fn begin(&self, key: &ServiceKey, release: &ReleaseId) -> Result<(), Error> {
        let Releases::Only(mut releases) = self.releases(key).await else { return Ok(()) };
        match releases.insert(release.as_str().to_owned()) {
            true => self.note(key, releases).await,
            false => Ok(()),
        }
    }

    /// These, and no others, have containers: the engine was asked.
    pub(crate) async fn settle(&self, key: &ServiceKey, there: BTreeSet<String>) -> Result<(), Error> {
        self.note(key, there).await
    }
}

/// Work on the disk, off the threads that drive everything else.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::later("read or write a file", error))?
}
