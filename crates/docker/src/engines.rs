//! The engines of one server: the one that `DOCKER_HOST` or the machine gives, and those that files name. A service is looked for
//! on all of them, so that it may move from one to another in one rollout.

use crate::{DockerPlatform, Options};
use davy_core::{Digest, Finding, Generation, Instance, Millis, ReleaseId, Run, ServiceKey, Site, Source, Workload};
use davy_place::disk;
use davy_ports::{Boxed, Error, LogLine, LogQuery, NoVault, Order, Platform, Prepared, Streamed, Vault};
use futures_util::{future, stream};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Beside the own engine's things: a folder for each engine that a file named.
const NAMED: &str = "engines";
/// In such a folder, the engine's address.
const ADDRESS: &str = "address";

/// Instances as containers of any of these engines.
pub struct Engines {
    data: PathBuf,
    vault: Arc<dyn Vault>,
    own: DockerPlatform,
    /// By their addresses; all that were ever used, as the disk remembers them.
    named: Mutex<BTreeMap<String, DockerPlatform>>,
}

impl Engines {
    /// Opens the own engine's place in a folder, and those that were named before. Nothing is reached yet.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(data: PathBuf) -> Result<Self, Error> {
        let own = DockerPlatform::open(Options::at(data.clone(), None))?;
        let failed = |error: &io::Error| disk::io_error("open the engines that were used", &data, error);
        let mut named = BTreeMap::new();
        for folder in Self::folders(&data).map_err(|error| failed(&error))?.split_off(1) {
            let address = match fs::read_to_string(folder.join(ADDRESS)) {
                // Its making was interrupted: nothing was ordered there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read.map_err(|error| failed(&error))?.trim().to_owned(),
            };
            let place = DockerPlatform::open(Options::at(folder, Some(address.clone())))?;
            named.insert(address, place);
        }
        Ok(Self { data, vault: Arc::new(NoVault), own, named: Mutex::new(named) })
    }

    /// Where each engine's things are in a folder, the own one's first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn folders(data: &Path) -> io::Result<Vec<PathBuf>> {
        let mut folders = vec![data.to_owned()];
        match fs::read_dir(data.join(NAMED)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            entries => {
                for entry in entries? {
                    folders.push(entry?.path());
                }
            }
        }
        Ok(folders)
    }

    /// Where the values of secrets are; without it, only what needs none can be started.
    #[must_use]
    pub fn with_vault(self, vault: Arc<dyn Vault>) -> Self {
        let named = self.named.into_inner().unwrap_or_else(PoisonError::into_inner);
        let named = named.into_iter().map(|(address, place)| (address, place.with_vault(vault.clone()))).collect();
        Self { own: self.own.with_vault(vault.clone()), named: Mutex::new(named), vault, data: self.data }
    }

    /// Every engine, the own one first.
    #[must_use]
    pub fn all(&self) -> Vec<DockerPlatform> {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::once(&self.own).chain(named.values()).cloned().collect()
    }

    /// The engine that a workload names, noted on disk before anything is asked of it.
    fn of(&self, workload: &Workload) -> Result<DockerPlatform, Error> {
        let Run::Container(container) = &workload.run else { return Ok(self.own.clone()) };
        let Some(address) = &container.engine else { return Ok(self.own.clone()) };
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = named.get(address) {
            return Ok(place.clone());
        }
        let data = self.data.join(NAMED).join(folder(address));
        let failed = |error: &io::Error| disk::io_error("open the place of an engine", &data, error);
        disk::make(&data).map_err(|error| failed(&error))?;
        disk::write(&data.join(ADDRESS), address.as_bytes()).map_err(|error| failed(&error))?;
        let place = DockerPlatform::open(Options::at(data, Some(address.clone())))?;
        let place = place.with_vault(self.vault.clone());
        Ok(named.entry(address.clone()).or_insert(place).clone())
    }

    /// The same for a question: an engine that nothing was ever ordered of leaves no trace.
    fn asked(&self, workload: &Workload) -> Result<DockerPlatform, Error> {
        let Run::Container(container) = &workload.run else { return Ok(self.own.clone()) };
        let Some(address) = &container.engine else { return Ok(self.own.clone()) };
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner).get(address).cloned();
        let unknown = || {
            let tried = format!("look at the Docker engine at {address}");
            Error::later(tried, "nothing was deployed to it yet, so it is not reached before a deployment")
        };
        named.ok_or_else(unknown)
    }

    /// Stops every container of every engine, and removes them and their networks.
    ///
    /// # Errors
    /// The first of what could not be stopped; the others are stopped all the same.
    pub async fn stop_all(&self, grace: Millis) -> Result<(), Error> {
        let stop = |place: DockerPlatform| async move {
            if !place.is_used() {
                return Ok(());
            }
            match place.stop_all(grace).await {
                Err(error) if !place.is_needed() => {
                    tracing::warn!(%error, "no service has containers there any more; their network may be left");
                    Ok(())
                }
                stopped => stopped.map_err(|error| place.names(error)),
            }
        };
        future::join_all(self.all().into_iter().map(stop)).await.into_iter().collect()
    }
}

/// A name for the folder of an address, which may hold any character.
fn folder(address: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let sum = address.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        // FNV-1a: it keeps two addresses apart that read the same once they are plain.
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let readable: String = address.chars().map(plain).take(60).collect();
    format!("{readable}-{sum:016x}")
}

impl Platform for Engines {
    fn prepare<'a>(
        &'a self,
        key: &'a ServiceKey,
        source: &'a Source,
        workload: &'a Workload,
    ) -> Boxed<'a, Result<Prepared, Error>> {
        Box::pin(async move {
            let place = self.of(workload)?;
            place.prepare(key, source, workload).await.map_err(|error| place.names(error))
        })
    }

    fn ensure<'a>(&'a self, order: &'a Order) -> Boxed<'a, Result<(), Error>> {
        Box::pin(async move {
            let place = self.of(&order.release.workload)?;
            place.ensure(order).await.map_err(|error| place.names(error))
        })
    }

    fn fetching(&self, key: &ServiceKey) -> Option<String> {
        self.all().iter().find_map(|place| place.fetching(key))
    }

    fn observe<'a>(&'a self, key: &'a ServiceKey) -> Boxed<'a, Result<Vec<Instance>, Error>> {
        Box::pin(async move {
            let look =
                |place: DockerPlatform| async move { place.observe(key).await.map_err(|error| place.names(error)) };
            let seen = future::join_all(self.all().into_iter().map(look)).await;
            Ok(seen.into_iter().collect::<Result<Vec<_>, _>>()?.concat())
        })
    }

    fn remove<'a>(
        &'a self,
        key: &'a ServiceKey,
        release: &'a ReleaseId,
        generation: Generation,
        grace: Millis,
    ) -> Boxed<'a, Result<(), Error>> {
        Box::pin(async move {
            let remove = |place: DockerPlatform| async move {
                let removed = place.remove(key, release, generation, grace).await;
                removed.map_err(|error| place.names(error))
            };
            future::join_all(self.all().into_iter().map(remove)).await.into_iter().collect()
        })
    }

    fn prune<'a>(&'a self, key: &'a ServiceKey, needed: &'a [Digest]) -> Boxed<'a, Result<(), Error>> {
        Box::pin(async move {
            let prune = |place: DockerPlatform| async move {
                place.prune(key, needed).await.map_err(|error| place.names(error))
            };
            future::join_all(self.all().into_iter().map(prune)).await.into_iter().collect()
        })
    }

    fn found(&self) -> Boxed<'_, Vec<Site>> {
        Box::pin(async move {
            let look = |place: DockerPlatform| async move { place.site().await };
            future::join_all(self.all().into_iter().map(look)).await
        })
    }

    fn examine<'a>(&'a self, _: &'a Source, workload: &'a Workload) -> Boxed<'a, Vec<Finding>> {
        Box::pin(async move {
            match self.asked(workload) {
                Ok(place) => place.findings(workload).await,
                Err(error) => {
                    let says = error.to_string();
                    vec![Finding { what: "engine".to_owned(), well: None, says, hint: error.hint }]
                }
            }
        })
    }

    fn logs<'a>(&'a self, query: &'a LogQuery) -> Boxed<'a, Result<Streamed<'static, Result<LogLine, Error>>, Error>> {
        Box::pin(async move {
            let mut all = Vec::new();
            for place in self.all() {
                all.push(place.logs(query).await.map_err(|error| place.names(error))?);
            }
            Ok(Box::pin(stream::select_all(all)) as Streamed<'static, _>)
        })
    }
}
