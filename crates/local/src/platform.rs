//! The port's calls, put together from the parts.

use crate::{
    artifact,
    folders::Folders,
    instances::{self, Answer, ask, blocking},
    logs,
    shim::protocol::{Phase, Spec, Status},
    sweep::marked,
};
use davy_core::{
    Digest, Finding, Generation, Health, Instance, InstanceId, Millis, Place, ReleaseId, ServiceKey, Site, Source,
    Workload,
};
use davy_place::{Fences, Probe, disk::io_error, give};
use davy_ports::{Boxed, Error, LogLine, LogQuery, NoVault, Order, Platform, Prepared, Streamed, Vault};
use futures_util::{StreamExt, future, stream};
use std::{
    collections::{HashMap, HashSet},
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

/// How many shims are spoken to at the same time.
const AT_ONCE: usize = 16;
/// How many releases of a service are kept for a rollback.
const KEPT: usize = 10;
/// The grace of an instance that is one too many.
const SPARE_GRACE: Millis = Millis::seconds(10);
/// A copy that was begun so long ago is nobody's any more.
const ABANDONED: Duration = Duration::from_secs(600);

/// Where things are kept and what is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder that everything is kept in, at most 80 bytes long. One server at a time.
    pub data: PathBuf,
    /// The program started as `PROGRAM shim DIR`, which is to call [`crate::shim::main`] with what follows `shim`.
    pub shim: PathBuf,
}

/// Instances as processes on this machine. Copies share what they know.
#[derive(Clone)]
pub struct LocalPlatform {
    folders: Folders,
    fences: Fences,
    shim: PathBuf,
    vault: Arc<dyn Vault>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    probes: Mutex<HashMap<InstanceId, Arc<Probe>>>,
    /// The last address of each instance, for when its shim is gone.
    ports: Mutex<HashMap<InstanceId, u16>>,
    /// Being started, not yet to be seen.
    starting: Mutex<HashSet<InstanceId>>,
    /// One order for a service at a time.
    orders: Mutex<HashMap<ServiceKey, Arc<tokio::sync::Mutex<()>>>>,
    /// Everything is being stopped: nothing is started any more.
    ends: AtomicBool,
}

/// Something of this place that still runs or lies about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Which instance.
    pub id: InstanceId,
    /// Of which service.
    pub key: ServiceKey,
    /// Of which release.
    pub release: ReleaseId,
    /// Its processes, the shim among them; none when only its folder is left.
    pub processes: Vec<u32>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LocalPlatform {
    /// Opens the place, with whatever an earlier server left running in it.
    ///
    /// # Errors
    /// When the folder cannot be made or used, or its path is too long for sockets.
    pub fn open(options: Options) -> Result<Self, Error> {
        let folders = Folders::open(&options.data)?;
        let fences = Fences::open(folders.fences())?;
        instances::remove_half_made(&folders, instances::HALF_MADE);
        let shim =
            std::path::absolute(&options.shim).map_err(|error| Error::never("find the shim's program", error))?;
        Ok(Self { folders, fences, shim, vault: Arc::new(NoVault), shared: Arc::default() })
    }

    /// Where the values of secrets are; without it, only what needs none can be started.
    #[must_use]
    pub fn with_vault(self, vault: Arc<dyn Vault>) -> Self {
        Self { vault, ..self }
    }

    /// Stops every instance of every service and leaves nothing of them behind, nor of what a killed server had begun. Starts
    /// nothing afterwards. Needs no server, and there must be no other one.
    ///
    /// # Errors
    /// The first of what could not be stopped; the others are stopped all the same.
    pub async fn stop_all(&self, grace: Millis) -> Result<(), Error> {
        self.shared.ends.store(true, Ordering::SeqCst);
        // An order under way starts at most the instance that it is at.
        let orders: Vec<_> = lock(&self.shared.orders).values().map(Arc::clone).collect();
        for turn in orders {
            drop(turn.lock().await);
        }
        let specs = self.list().await?;
        let stopped = self.stop(specs, grace).await;
        let folders = self.folders.clone();
        blocking(move || {
            instances::remove_half_made(&folders, Duration::ZERO);
            artifact::remove_unfinished(&folders);
        })
        .await;
        stopped
    }

    /// What runs or lies about.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub async fn leftovers(&self) -> Result<Vec<Leftover>, Error> {
        let specs = self.list().await?;
        Ok(blocking(move || {
            let found = specs.into_iter().map(|spec| Leftover {
                processes: marked(spec.id.as_str())
                    .into_iter()
                    .filter_map(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok())
                    .collect(),
                id: spec.id,
                key: spec.key,
                release: spec.release,
            });
            found.collect()
        })
        .await)
    }

    /// Removes the copies of all but the newest ten releases of a service; those that have instances stay.
    ///
    /// # Errors
    /// When a copy cannot be removed.
    pub async fn prune(&self, key: &ServiceKey, needed: &[Digest]) -> Result<(), Error> {
        let mut used: HashSet<PathBuf> =
            self.list().await?.iter().map(|spec| self.folders.release(&spec.key, &spec.digest)).collect();
        used.extend(needed.iter().map(|digest| self.folders.release(key, digest)));
        let folder = self.folders.releases_of(key);
        blocking(move || {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(io_error("prune releases", &folder, &error)),
            };
            let now = SystemTime::now();
            let mut found: Vec<(SystemTime, PathBuf)> = entries
                .flatten()
                .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
                .collect();
            found.sort_by(|a, b| b.cmp(a));
            let is_copy =
                |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().first() == Some(&b'.'));
            let (begun, kept): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, path)| is_copy(path));
            let abandoned =
                begun.into_iter().filter(|(at, _)| now.duration_since(*at).is_ok_and(|age| age > ABANDONED));
            let old = kept.into_iter().skip(KEPT).filter(|(_, path)| !used.contains(path));
            for (_, path) in abandoned.chain(old) {
                fs::remove_dir_all(&path).map_err(|error| io_error("prune releases", &path, &error))?;
            }
            Ok(())
        })
        .await
    }

    async fn list(&self) -> Result<Vec<Spec>, Error> {
        let folders = self.folders.clone();
        blocking(move || instances::list(&folders)).await
    }

    async fn fence(&self, key: &ServiceKey, generation: Generation, tried: String) -> Result<(), Error> {
        let (fences, key) = (self.fences.clone(), key.clone());
        blocking(move || fences.pass(&key, generation, &tried)).await
    }

    fn order_of(&self, key: &ServiceKey) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(lock(&self.shared.orders).entry(key.clone()).or_default())
    }

    async fn stop(&self, specs: Vec<Spec>, grace: Millis) -> Result<(), Error> {
        // All at once: one after the other, their graces would add up.
        let stopped = future::join_all(specs.into_iter().map(|spec| async move {
            let stopped = instances::stop(&self.folders, &spec, grace).await;
            lock(&self.shared.probes).remove(&spec.id);
            lock(&self.shared.ports).remove(&spec.id);
            stopped
        }));
        let stopped = stopped.await;
        stopped.into_iter().collect()
    }

    async fn take_order(&self, order: &Order) -> Result<(), Error> {
        let turn = self.order_of(&order.key);
        let _turn = turn.lock().await;
        self.fence(&order.key, order.generation, format!("run {} of {}", order.release.id, order.key)).await?;
        let mut running = Vec::new();
        for spec in self.list().await? {
            if spec.key != order.key || spec.release != order.release.id {
                continue;
            }
            match ask(&spec).await {
                Answer::Status(Status { phase: Phase::Stopping | Phase::Stopped, .. }) => {}
                Answer::Status(_) | Answer::Silent => running.push(spec),
                Answer::Gone => {
                    tracing::warn!(instance = %spec.id, "its shim is gone; it is replaced");
                    instances::erase(&self.folders, &spec).await;
                }
            }
        }
        let count = usize::try_from(order.count).unwrap_or(usize::MAX);
        for _ in running.len()..count {
            if self.shared.ends.load(Ordering::SeqCst) {
                return Err(Error::later(
                    format!("run {} of {}", order.release.id, order.key),
                    "everything is being stopped",
                ));
            }
            self.start(order).await?;
        }
        if running.len() > count {
            running.sort_by_key(|spec| order.spare.contains(&spec.id));
            let (this, spare) = (self.clone(), running.split_off(count));
            tokio::spawn(async move {
                if let Err(error) = this.stop(spare, SPARE_GRACE).await {
                    tracing::warn!(%error, "a spare instance could not be stopped");
                }
            });
        }
        Ok(())
    }

    async fn start(&self, order: &Order) -> Result<(), Error> {
        let secrets = &order.release.workload.secrets;
        let given = give(secrets, self.vault.open(secrets).await?);
        let (id, short) = instances::name(order);
        let _hidden = Hidden::new(&self.shared, id.clone());
        let (folders, asked, these) = (self.folders.clone(), order.clone(), given.clone());
        let spec = blocking(move || instances::create(&folders, &asked, id, &short, &these)).await?;
        instances::start(&self.folders, &self.shim, &spec, &given).await?;
        tracing::info!(instance = %spec.id, release = %spec.release, "an instance was started");
        Ok(())
    }

    async fn look(&self, spec: Spec) -> Instance {
        let port = |spec: &Spec| lock(&self.shared.ports).get(&spec.id).copied().unwrap_or_default();
        let (port, restarts, since, health) = match ask(&spec).await {
            Answer::Status(status) => {
                lock(&self.shared.ports).insert(spec.id.clone(), status.port);
                let health = match status.phase {
                    Phase::Running => {
                        let probe = Arc::clone(lock(&self.shared.probes).entry(spec.id.clone()).or_default());
                        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, status.port));
                        let health = probe.health((status.restarts, status.since), address, &spec.health).await;
                        // One that was started again may be seen only while it runs: what the one before said is the reason.
                        health.adding(&status.ended.map(|why| format!("; before, {why}")).unwrap_or_default())
                    }
                    Phase::Down { why } => Health::Ended { why },
                    Phase::Stopping | Phase::Stopped => Health::Unhealthy { why: "it is being stopped".to_owned() },
                };
                (status.port, status.restarts, status.since, health)
            }
            Answer::Silent => {
                let why = "its shim does not answer".to_owned();
                (port(&spec), 0, spec.created, Health::Unhealthy { why })
            }
            Answer::Gone => {
                let (folders, this) = (self.folders.clone(), spec.clone());
                let words = blocking(move || instances::last_words(&folders, &this)).await;
                let why = format!("its shim is gone, and its process with it; the next order replaces it{words}");
                (port(&spec), 0, spec.created, Health::Ended { why })
            }
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Instance { id: spec.id, release: spec.release, address, health, restarts, since }
    }
}

/// An instance that is being started is not observed: its shim is not gone, only not there yet.
struct Hidden<'a> {
    shared: &'a Shared,
    id: InstanceId,
}

impl<'a> Hidden<'a> {
    fn new(shared: &'a Shared, id: InstanceId) -> Self {
        lock(&shared.starting).insert(id.clone());
        Self { shared, id }
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        lock(&self.shared.starting).remove(&self.id);
    }
}

impl Platform for LocalPlatform {
    fn prepare<'a>(
        &'a self,
        key: &'a ServiceKey,
        source: &'a Source,
        workload: &'a Workload,
    ) -> Boxed<'a, Result<Prepared, Error>> {
        let (folders, key, source, workload) = (self.folders.clone(), key.clone(), source.clone(), workload.clone());
        Box::pin(blocking(move || artifact::prepare(&folders, &key, &source, &workload).map(Prepared::from)))
    }

    fn ensure<'a>(&'a self, order: &'a Order) -> Boxed<'a, Result<(), Error>> {
        Box::pin(self.take_order(order))
    }

    fn observe<'a>(&'a self, key: &'a ServiceKey) -> Boxed<'a, Result<Vec<Instance>, Error>> {
        Box::pin(async move {
            let mut specs = self.list().await?;
            let starting = lock(&self.shared.starting).clone();
            specs.retain(|spec| spec.key == *key && !starting.contains(&spec.id));
            Ok(stream::iter(specs).map(|spec| self.look(spec)).buffered(AT_ONCE).collect().await)
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
            let specs = {
                let turn = self.order_of(key);
                let _turn = turn.lock().await;
                self.fence(key, generation, format!("remove {release} of {key}")).await?;
                let mut specs = self.list().await?;
                specs.retain(|spec| spec.key == *key && spec.release == *release);
                specs
            };
            self.stop(specs, grace).await
        })
    }

    fn prune<'a>(&'a self, key: &'a ServiceKey, needed: &'a [Digest]) -> Boxed<'a, Result<(), Error>> {
        Box::pin(LocalPlatform::prune(self, key, needed))
    }

    fn found(&self) -> Boxed<'_, Vec<Site>> {
        let site = Site {
            place: Place::Local,
            called: "this machine".to_owned(),
            found: Vec::new(),
            trouble: "processes are not listed: a process does not say how it is to be started".to_owned(),
            hint: "write its command".to_owned(),
        };
        Box::pin(std::future::ready(vec![site]))
    }

    fn examine<'a>(&'a self, source: &'a Source, workload: &'a Workload) -> Boxed<'a, Vec<Finding>> {
        let (folders, source, workload) = (self.folders.clone(), source.clone(), workload.clone());
        Box::pin(async move {
            let looked = blocking(move || artifact::glance(&folders, &source, &workload)).await;
            let (well, says, hint) = match looked {
                Ok((program, 0)) => (true, format!("{program} would run where it is"), String::new()),
                Ok((program, 1)) => (true, format!("{program} would be copied, and the copy run"), String::new()),
                Ok((program, files)) => {
                    (true, format!("{program} would run, with copies of {files} files"), String::new())
                }
                Err(error) => (false, error.to_string(), error.hint),
            };
            vec![Finding { what: "command".to_owned(), well: Some(well), says, hint }]
        })
    }

    fn logs<'a>(&'a self, query: &'a LogQuery) -> Boxed<'a, Result<Streamed<'static, Result<LogLine, Error>>, Error>> {
        Box::pin(async move {
            let lines = logs::read(self.folders.clone(), query.clone());
            let lines = stream::unfold(lines, |mut lines| async move { lines.recv().await.map(|line| (line, lines)) });
            Ok(Box::pin(lines) as Streamed<'static, _>)
        })
    }
}
