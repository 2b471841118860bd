//! Which services may have containers here. One that moved elsewhere has none any more: then an engine that cannot be reached
//! is none of its business.

use davy_core::{Generation, ServiceKey};
use davy_place::{Fences, disk};
use davy_ports::Error;
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The fences, and beside them a mark for each service that has left; on disk, and read there once.
#[derive(Clone, Debug)]
pub(crate) struct Engaged {
    fences: Fences,
    left: PathBuf,
    known: Arc<Mutex<HashMap<ServiceKey, bool>>>,
}

impl Engaged {
    pub(crate) fn open(data: &Path) -> Result<Self, Error> {
        let (fences, left) = (Fences::open(data.join("fences"))?, data.join("left"));
        disk::make(&left).map_err(|error| disk::io_error("open the place", &left, &error))?;
        Ok(Self { fences, left, known: Arc::default() })
    }

    fn mark(&self, key: &ServiceKey) -> PathBuf {
        self.left.join(format!("{}~{}", key.environment, key.service))
    }

    fn learn(&self, key: &ServiceKey, engaged: bool) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), engaged);
    }

    /// Whether there may be containers of this service.
    pub(crate) async fn is(&self, key: &ServiceKey) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied();
        if let Some(engaged) = known {
            return engaged;
        }
        let (this, of) = (self.clone(), key.clone());
        let engaged = blocking(move || Ok(this.fences.knows(&of) && !this.mark(&of).exists())).await.unwrap_or(true);
        self.learn(key, engaged);
        engaged
    }

    /// Whether there may be containers of any service.
    pub(crate) fn any(&self) -> bool {
        let names = |folder: &Path| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name()).collect::<std::collections::HashSet<_>>()
        };
        let left = names(&self.left);
        self.fences.any() && names(self.fences.folder()).iter().any(|name| !left.contains(name))
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

    /// The same for a service that is not here; one that never was leaves no trace.
    pub(crate) async fn pass_by(&self, key: &ServiceKey, generation: Generation, tried: &str) -> Result<(), Error> {
        let (fences, key, tried) = (self.fences.clone(), key.clone(), tried.to_owned());
        blocking(move || if fences.knows(&key) { fences.pass(&key, generation, &tried) } else { Ok(()) }).await
    }

    /// Containers of this service are about to be made.
    pub(crate) async fn begin(&self, key: &ServiceKey) -> Result<(), Error> {
        let mark = self.mark(key);
        blocking(move || match fs::remove_file(&mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(disk::io_error("note that the service is here", &mark, &error))
            }
            _ => Ok(()),
        })
        .await?;
        self.learn(key, true);
        Ok(())
    }

    /// None of this service is left.
    pub(crate) async fn end(&self, key: &ServiceKey) -> Result<(), Error> {
        let mark = self.mark(key);
        blocking(move || {
            disk::write(&mark, b"").map_err(|error| disk::io_error("note that the service left", &mark, &error))
        })
        .await?;
        self.learn(key, false);
        Ok(())
    }
}

/// Work on the disk, off the threads that drive everything else.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::later("read or write a file", error))?
}
