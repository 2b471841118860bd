//! The port's calls, put together from the parts.

use crate::{
    container::{self, HOME, Labels, Told},
    engaged::{Engaged, blocking},
    engine::{Engine, failed, is_absent, status},
    found,
    image::{self, Used},
    logs,
    looks::{Heard, Looks},
    pull::Pulls,
    secrets,
};
use bollard::{
    Docker,
    models::{ContainerInspectResponse, ContainerStateStatusEnum, Network, NetworkCreateRequest},
    query_parameters::{
        CreateContainerOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
        RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
    },
};
use davy_core::{
    Digest, Finding, Generation, Given as How, Health, Instance, InstanceId, Millis, Place, ReleaseId, Run, ServiceKey,
    Site, Source, Workload,
};
use davy_place::{Mask, Probe, disk, give};
use davy_ports::{Boxed, Error, LogLine, LogQuery, LogSource, NoVault, Order, Platform, Prepared, Streamed, Vault};
use futures_util::{StreamExt, future, stream};
use std::{
    collections::{HashMap, HashSet},
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How many containers of an engine are looked at at once, whatever services they are of: each is a connection.
pub(crate) const LOOKED_AT: usize = 8;
/// How many of a service's containers are asked for their health at once.
const AT_ONCE: usize = 16;
/// The grace of an instance that is one too many.
const SPARE_GRACE: Millis = Millis::seconds(10);
/// While all is well the engine is asked no more often.
const CALM: Duration = Duration::from_secs(1);
/// How long a container may take to be gone once the engine said that it removes it.
const GONE: Duration = Duration::from_secs(10);
/// Lines that wait for whoever follows the output.
const LINES: usize = 256;
/// More than a container's output has.
const ALL_LINES: usize = 1_000_000_000;
/// The longest wait for the next bytes of an image.
const STALL: Duration = Duration::from_secs(60);
/// The longest wait for what else runs on the engine: a person waits for it.
const FOUND: Duration = Duration::from_secs(8);
/// The lines of a container's output that explain why it ended.
const LAST_WORDS: usize = 5;

/// Where things are kept, and which engine it is.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder for fences and lists of images, and the name by which this place knows its own containers.
    pub data: PathBuf,
    /// Where the engine listens, such as `unix:///var/run/docker.sock`; `DOCKER_HOST` when absent.
    pub host: Option<String>,
    /// The longest wait for the next bytes of an image.
    pub stall: Duration,
}

impl Options {
    /// With the usual patience.
    #[must_use]
    pub const fn at(data: PathBuf, host: Option<String>) -> Self {
        Self { data, host, stall: STALL }
    }
}

/// Instances as containers of one engine. Copies share what they know.
#[derive(Clone)]
pub struct DockerPlatform {
    shared: Arc<Shared>,
    vault: Arc<dyn Vault>,
}

struct Shared {
    engine: Engine,
    /// Whether it was named, and is not just the machine's own.
    named: bool,
    engaged: Engaged,
    used: Used,
    pulls: Pulls,
    /// This data folder's name among all that use the engine.
    home: String,
    probes: Mutex<HashMap<InstanceId, Arc<Probe>>>,
    /// One order for a service at a time.
    orders: Mutex<HashMap<ServiceKey, Arc<tokio::sync::Mutex<()>>>>,
    /// What was there when the engine last answered.
    last: Mutex<HashMap<ServiceKey, Vec<Instance>>>,
    /// The last look at a service, while everything in it was well.
    calm: Mutex<HashMap<ServiceKey, (Instant, Vec<Instance>)>>,
    looks: Looks,
    /// A place for each container that may be looked at now.
    room: tokio::sync::Semaphore,
    network: tokio::sync::Mutex<()>,
}

/// One of this place's containers.
struct Found {
    id: String,
    labels: Labels,
}

/// What came of an order.
enum Taken<'a> {
    Done,
    /// Nothing was started: the image has to be there first.
    WithoutImage {
        /// Its name in the file.
        called: &'a str,
    },
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DockerPlatform {
    /// Opens the place. The engine is reached when it is first needed.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(options: Options) -> Result<Self, Error> {
        let Options { data, host, stall } = options;
        let engaged = Engaged::open(&data)?;
        let used = Used::open(data.join("images"))?;
        let home = home(&data)?;
        let shared = Shared {
            named: host.is_some(),
            engine: Engine::new(host),
            engaged,
            used,
            pulls: Pulls::new(stall),
            home,
            probes: Mutex::default(),
            orders: Mutex::default(),
            last: Mutex::default(),
            calm: Mutex::default(),
            looks: Looks::default(),
            room: tokio::sync::Semaphore::new(LOOKED_AT),
            network: tokio::sync::Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared), vault: Arc::new(NoVault) })
    }

    /// Where the values of secrets are; without it, only what needs none can be started.
    #[must_use]
    pub fn with_vault(self, vault: Arc<dyn Vault>) -> Self {
        Self { vault, ..self }
    }

    /// What hides the secrets of a service.
    async fn mask(&self, key: &ServiceKey) -> Mask {
        Mask::new(&self.vault.known(key).await)
    }

    /// Where the engine is.
    #[must_use]
    pub fn host(&self) -> &str {
        self.shared.engine.host()
    }

    /// An error that says which engine it is about, where there may be several.
    pub(crate) fn names(&self, error: Error) -> Error {
        let host = self.host();
        match error.tried.contains(host) || !self.shared.named {
            true => error,
            false => Error { tried: format!("{} on the engine at {host}", error.tried), ..error },
        }
    }

    /// Whether anything was ever ordered here: then there may be something to stop.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.shared.engaged.ever()
    }

    /// Whether there may be containers still: not once every service has left for another place.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.shared.engaged.any()
    }

    /// Asks the engine for its version.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn reach(&self) -> Result<String, Error> {
        let docker = self.shared.engine.client().await?;
        let version =
            docker.version().await.map_err(|error| failed("ask the Docker engine for its version", &error))?;
        Ok(version.version.unwrap_or_default())
    }

    async fn others(&self) -> Result<(Vec<davy_core::Found>, usize), Error> {
        let docker = self.shared.engine.client().await?;
        let engine = self.shared.named.then(|| self.host());
        found::containers(&docker, engine, self.shared.engine.machine().await?).await
    }

    /// What else runs on the engine.
    pub(crate) async fn site(&self) -> Site {
        let called = format!("the Docker engine at {}", self.host());
        let tried = "list the containers";
        let looked = tokio::time::timeout(FOUND, self.others()).await;
        let looked =
            looked.unwrap_or_else(|_| Err(Error::later(tried, format!("no answer within {} s", FOUND.as_secs()))));
        let (found, trouble, hint) = match looked {
            Ok((found, 0)) => (found, String::new(), String::new()),
            Ok((found, more)) => (found, format!("{more} more containers run there and are not shown"), String::new()),
            Err(error) => (Vec::new(), error.to_string(), error.hint),
        };
        Site { place: Place::Docker, called, found, trouble, hint }
    }

    /// What the engine and the image's registry say of a container before it is made.
    pub(crate) async fn findings(&self, workload: &Workload) -> Vec<Finding> {
        let finding =
            |what: &str, well, says: String, hint: String| Finding { what: what.to_owned(), well, says, hint };
        let Run::Container(container) = &workload.run else { return Vec::new() };
        let docker = match self.shared.engine.client().await {
            Ok(docker) => docker,
            Err(error) => return vec![finding("engine", Some(false), error.to_string(), error.hint)],
        };
        let engine = finding("engine", Some(true), format!("it answers at {}", self.host()), String::new());
        let (image, says) = match image::glance(&docker, &container.image).await {
            Ok(seen) => seen,
            Err(error) => return vec![engine, finding("image", Some(false), error.to_string(), error.hint)],
        };
        let mut findings = vec![engine, finding("image", Some(true), says, String::new())];
        let Some(image) = image else { return findings };
        findings.push(match container::port(container, &image) {
            Err(error) => finding("port", Some(false), error.to_string(), error.hint),
            Ok(port) => {
                let exposed = image.config.and_then(|config| config.exposed_ports).unwrap_or_default();
                let says = match exposed.iter().any(|one| *one == format!("{port}/tcp") || *one == port.to_string()) {
                    true => (Some(true), format!("the image exposes {port}")),
                    false if exposed.is_empty() => (None, format!("the image says nothing of ports; {port} is used")),
                    false => (None, format!("the image exposes {}, not {port}", exposed.join(", "))),
                };
                finding("port", says.0, says.1, String::new())
            }
        });
        findings
    }

    /// Stops every container of this place, and removes them and their network.
    ///
    /// # Errors
    /// The first of what could not be stopped; the others are stopped all the same.
    pub async fn stop_all(&self, grace: Millis) -> Result<(), Error> {
        let docker = self.shared.engine.client().await?;
        let found = self.list(&docker, vec![format!("{HOME}={}", self.shared.home)]).await?;
        self.stop(&docker, found, grace).await?;
        match docker.remove_network(&self.network()).await {
            Err(error) if !is_absent(&error) => Err(failed("remove the network", &error)),
            _ => Ok(()),
        }
    }

    fn network(&self) -> String {
        format!("davy-{}", self.shared.home)
    }

    fn order_of(&self, key: &ServiceKey) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(lock(&self.shared.orders).entry(key.clone()).or_default())
    }

    async fn list(&self, docker: &Docker, labels: Vec<String>) -> Result<Vec<Found>, Error> {
        let filters = HashMap::from([("label".to_owned(), labels)]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let listed = docker.list_containers(Some(options)).await;
        let listed = listed.map_err(|error| failed("list the containers", &error))?;
        let mut found: Vec<(i64, Found)> = listed
            .into_iter()
            .filter_map(|one| {
                let labels = Labels::read(&one.labels?)?;
                Some((one.created.unwrap_or_default(), Found { id: one.id?, labels }))
            })
            .collect();
        found.sort_by(|(at, one), (then, other)| (at, &one.id).cmp(&(then, &other.id)));
        Ok(found.into_iter().map(|(_, one)| one).collect())
    }

    /// None when it is gone meanwhile.
    async fn inspect(&self, docker: &Docker, found: &Found) -> Result<Option<ContainerInspectResponse>, Error> {
        match docker.inspect_container(&found.id, None).await {
            Ok(inspected) => Ok(Some(inspected)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(failed(format!("look at the container of {}", found.labels.instance), &error)),
        }
    }

    async fn take_order(&self, order: &Order) -> Result<(), Error> {
        while let Taken::WithoutImage { called } = self.try_order(order).await? {
            // Nothing else that is asked of the service waits for the pull.
            let docker = self.shared.engine.client().await?;
            image::present(&docker, &self.shared.pulls, &order.key, called, &order.release.digest).await?;
        }
        Ok(())
    }

    async fn try_order<'a>(&self, order: &'a Order) -> Result<Taken<'a>, Error> {
        let tried = format!("run {} of {}", order.release.id, order.key);
        let Run::Container(container) = &order.release.workload.run else {
            return Err(Error::never(tried, "it is no container").hint("`docker` runs an `image`"));
        };
        let turn = self.order_of(&order.key);
        let _turn = turn.lock().await;
        self.shared.engaged.pass(&order.key, order.generation, &tried).await?;
        self.shared.engaged.begin(&order.key, &order.release.id).await?;
        // What was seen before says nothing of what is ordered now.
        self.look_again(&order.key);
        lock(&self.shared.last).remove(&order.key);
        let docker = self.shared.engine.client().await?;
        let mut found = self.list(&docker, container::of_service(&self.shared.home, &order.key)).await?;
        found.retain(|one| one.labels.release == order.release.id);
        let mut running = Vec::new();
        for one in found {
            let inspected = self.inspect(&docker, &one).await?;
            let state = inspected.and_then(|inspected| inspected.state).unwrap_or_default();
            if !container::lives(state.status) {
                tracing::warn!(instance = %one.labels.instance, "its container ended; it is replaced");
                self.erase(&docker, &one, Millis(0)).await?;
                continue;
            }
            // Somebody stopped between making it and starting it. What has run is left alone.
            if state.status == Some(ContainerStateStatusEnum::CREATED) {
                if order.release.workload.secrets.iter().any(|secret| secret.given == How::File) {
                    // Nobody knows whether its files are in it.
                    self.erase(&docker, &one, Millis(0)).await?;
                    continue;
                }
                self.start(&docker, &one.id, &tried).await?;
            }
            running.push(one);
        }
        let count = usize::try_from(order.count).unwrap_or(usize::MAX);
        if running.len() < count {
            let Some(image) = image::here(&docker, &order.release.digest).await? else {
                return Ok(Taken::WithoutImage { called: &container.image });
            };
            let port = container::port(container, &image)?;
            let gateway = self.ensure_network(&docker).await?;
            let publish = self.shared.engine.machine().await?;
            let network = container::Network { name: self.network(), gateway, publish };
            let asked = &order.release.workload.secrets;
            let given = give(asked, self.vault.open(asked).await?);
            let mask = Mask::new(given.values());
            for _ in running.len()..count {
                let (instance, name) = name(order);
                let body =
                    container::body(order, container, &given, instance.clone(), port, &self.shared.home, &network);
                let options = CreateContainerOptionsBuilder::new().name(&name).build();
                let made = docker.create_container(Some(options), body).await;
                let made = made
                    .map_err(|error| failed(format!("create a container of {}", order.key), &error))
                    .map_err(|error| mask.error(error))?;
                if let Err(error) = secrets::upload(&docker, &made.id, container, &image, &given).await {
                    self.discard(&docker, &made.id).await;
                    return Err(error);
                }
                self.start(&docker, &made.id, &tried).await.map_err(|error| mask.error(error))?;
                tracing::info!(%instance, release = %order.release.id, "an instance was started");
            }
        }
        if running.len() > count {
            running.sort_by_key(|one| order.spare.contains(&one.labels.instance));
            let (this, spare) = (self.clone(), running.split_off(count));
            tokio::spawn(async move {
                if let Err(error) = this.stop(&docker, spare, SPARE_GRACE).await {
                    tracing::warn!(%error, "a spare instance could not be stopped");
                }
            });
        }
        Ok(Taken::Done)
    }

    /// Starts a container that was just made; one that cannot be started is removed, and its error told.
    async fn start(&self, docker: &Docker, id: &str, tried: &str) -> Result<(), Error> {
        match docker.start_container(id, None).await {
            Ok(()) => Ok(()),
            Err(error) if status(&error) == Some(304) => Ok(()),
            Err(error) => {
                self.discard(docker, id).await;
                let text = error.to_string();
                let error = failed(tried, &error);
                // The image or the file is wrong: another attempt changes nothing.
                let wrong = [
                    "executable file not found",
                    "no such file or directory",
                    "permission denied",
                    "exec format",
                    "unable to find user",
                ];
                if text.contains("cannot assign requested address") {
                    let hint = "the engine's machine does not have the address by which it is reached: name it by one that it has itself";
                    return Err(Error::never(error.tried, error.happened).hint(hint));
                }
                match wrong.iter().any(|what| text.contains(what)) {
                    true => Err(Error::never(error.tried, error.happened)
                        .hint("the image cannot be run so: see its command, `command`, `user` and `volumes`")),
                    false => Err(error),
                }
            }
        }
    }

    async fn discard(&self, docker: &Docker, id: &str) {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        docker.remove_container(id, Some(options)).await.ok();
    }

    /// Sees to it that the network is there; gives the host's own address on it.
    async fn ensure_network(&self, docker: &Docker) -> Result<Option<String>, Error> {
        // The engine makes two networks of one name when it is asked twice.
        let _one = self.shared.network.lock().await;
        let name = self.network();
        if let Some(gateway) = self.gateway(docker, &name).await? {
            return Ok(gateway);
        }
        let request = NetworkCreateRequest {
            name: name.clone(),
            driver: Some("bridge".to_owned()),
            labels: Some(HashMap::from([(HOME.to_owned(), self.shared.home.clone())])),
            ..Default::default()
        };
        match docker.create_network(request).await {
            Ok(_) => {}
            Err(error) if status(&error) == Some(409) => {}
            Err(error) => return Err(failed("create the network of the containers", &error)),
        }
        Ok(self.gateway(docker, &name).await?.flatten())
    }

    /// The host's address on a network, if there is such a network and it has one.
    async fn gateway(&self, docker: &Docker, name: &str) -> Result<Option<Option<String>>, Error> {
        let filters = HashMap::from([("name".to_owned(), vec![name.to_owned()])]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let there = docker.list_networks(Some(options)).await;
        let there = there.map_err(|error| failed("list the networks", &error))?;
        let found = there.into_iter().find(|network| network.name.as_deref() == Some(name));
        let address = |network: Network| network.ipam?.config?.into_iter().find_map(|config| config.gateway);
        Ok(found.map(address))
    }

    async fn stop(&self, docker: &Docker, found: Vec<Found>, grace: Millis) -> Result<(), Error> {
        // All at once: one after the other, their graces would add up.
        let stopped = found.iter().map(|one| self.erase(docker, one, grace));
        future::join_all(stopped).await.into_iter().collect()
    }

    /// Asks it to end, ends it by force after the grace, and waits until it is gone.
    async fn erase(&self, docker: &Docker, found: &Found, grace: Millis) -> Result<(), Error> {
        let tried = format!("stop {}", found.labels.instance);
        let seconds = i32::try_from(grace.0.div_ceil(1000)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        match docker.stop_container(&found.id, Some(options)).await {
            Ok(()) => {}
            Err(error) if matches!(status(&error), Some(304 | 404)) => {}
            Err(error) => return Err(failed(tried, &error)),
        }
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match docker.remove_container(&found.id, Some(options)).await {
            Ok(()) => {}
            // Gone, or being removed by an earlier call.
            Err(error) if matches!(status(&error), Some(404 | 409)) => {}
            Err(error) => return Err(failed(tried, &error)),
        }
        let since = Instant::now();
        while self.inspect(docker, found).await?.is_some() {
            if since.elapsed() > GONE {
                return Err(
                    Error::later(tried, "the engine still has it").hint("see `docker ps -a`; it is tried again")
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        lock(&self.shared.probes).remove(&found.labels.instance);
        Ok(())
    }

    async fn look(&self, docker: &Docker, found: Found) -> Result<Option<Instance>, Error> {
        let inspected = {
            let _room = self.shared.room.acquire().await;
            self.inspect(docker, &found).await?
        };
        let Some(inspected) = inspected else { return Ok(None) };
        let Labels { instance: id, release, port, health: check, .. } = &found.labels;
        let state = inspected.state.clone().unwrap_or_default();
        let restarts = inspected.restart_count.and_then(|count| u32::try_from(count).ok()).unwrap_or_default();
        let since = container::since(&state);
        let machine = self.shared.engine.machine().await?;
        let seen = container::address(&inspected, &self.network(), *port, machine);
        let health = match (container::health(&state, check), seen) {
            (Told::Known(health), _) => health,
            (Told::Ask, Some(address)) => {
                let probe = Arc::clone(lock(&self.shared.probes).entry(id.clone()).or_default());
                listening(probe.health((restarts, since), address, check).await)
            }
            (Told::Ask, None) => Health::Starting { why: "it has no address yet".to_owned() },
        };
        // One that was started again may be seen only while it runs.
        let words = match &health {
            Health::Ended { .. } => self.last_words(docker, &found).await,
            Health::Starting { .. } | Health::Unhealthy { .. } if restarts > 0 => self.last_words(docker, &found).await,
            _ => String::new(),
        };
        let health = self.hide(&found.labels.key, health.adding(&words)).await;
        let address = seen.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port)));
        Ok(Some(Instance { id: id.clone(), release: release.clone(), address, health, restarts, since }))
    }

    /// What an image's HEALTHCHECK or a container says of itself may hold its secrets.
    async fn hide(&self, key: &ServiceKey, health: Health) -> Health {
        if health.is_healthy() {
            return health;
        }
        let mask = self.mask(key).await;
        match health {
            Health::Healthy => Health::Healthy,
            Health::Starting { why } => Health::Starting { why: mask.text(&why) },
            Health::Unhealthy { why } => Health::Unhealthy { why: mask.text(&why) },
            Health::Ended { why } => Health::Ended { why: mask.text(&why) },
        }
    }

    /// The last lines that a container which ended wrote.
    async fn last_words(&self, docker: &Docker, found: &Found) -> String {
        let lines: Vec<Result<LogLine, Error>> =
            logs::of(docker, &found.id, &found.labels, LAST_WORDS, false, Arc::default())
                .take(LAST_WORDS)
                .collect()
                .await;
        let (all, errors): (Vec<_>, Vec<_>) =
            lines.into_iter().flatten().partition(|line| line.source == LogSource::Stdout);
        let worth = if errors.is_empty() { all } else { errors };
        worth.iter().map(|line| format!("\n{}", line.line)).collect()
    }

    /// The containers whose output is asked for.
    async fn asked_for(&self, docker: &Docker, query: &LogQuery) -> Result<Vec<Found>, Error> {
        let mut found = self.list(docker, container::of_service(&self.shared.home, &query.key)).await?;
        found.retain(|one| query.release.as_ref().is_none_or(|release| one.labels.release == *release));
        Ok(found)
    }

    /// Reads the output of these containers and of those that come, until nobody listens.
    async fn follow(
        self,
        docker: Docker,
        query: LogQuery,
        mut found: Vec<Found>,
        sender: tokio::sync::mpsc::Sender<Result<LogLine, Error>>,
    ) {
        let (mut known, mut tail) = (HashSet::new(), query.tail);
        while !sender.is_closed() {
            // One that came since may have been given a newer secret.
            let mask = Arc::new(self.mask(&query.key).await);
            for one in found.into_iter().filter(|one| known.insert(one.id.clone())) {
                let (sender, lines) =
                    (sender.clone(), logs::of(&docker, &one.id, &one.labels, tail, true, mask.clone()));
                tokio::spawn(async move {
                    let mut lines = std::pin::pin!(lines);
                    loop {
                        let line = tokio::select! {
                            line = lines.next() => line,
                            () = sender.closed() => None,
                        };
                        let Some(line) = line else { return };
                        if sender.send(line).await.is_err() {
                            return;
                        }
                    }
                });
            }
            // All that a new one wrote is new.
            tail = ALL_LINES;
            tokio::time::sleep(CALM).await;
            found = self.asked_for(&docker, &query).await.unwrap_or_default();
        }
    }

    /// What is there; while the engine cannot be reached, what was there, and that nobody knows how it is.
    async fn observe_now(&self, key: &ServiceKey) -> Result<Vec<Instance>, Error> {
        if !self.shared.engaged.is(key).await {
            return Ok(Vec::new());
        }
        if let Some((at, calm)) = lock(&self.shared.calm).get(key)
            && at.elapsed() < CALM
        {
            return Ok(calm.clone());
        }
        let (this, of) = (self.clone(), key.clone());
        match self.shared.looks.hear(key, async move { this.observe_there(&of).await }).await {
            Heard::Answer(Ok(instances)) => {
                lock(&self.shared.last).insert(key.clone(), instances.clone());
                let mut calm = lock(&self.shared.calm);
                match instances.iter().all(|instance| instance.health.is_healthy()) {
                    true => calm.insert(key.clone(), (Instant::now(), instances.clone())),
                    false => calm.remove(key),
                };
                Ok(instances)
            }
            Heard::Answer(Err(error)) => {
                let last = lock(&self.shared.last).get(key).cloned();
                let unknown = |instance: Instance| Instance {
                    health: Health::Unhealthy { why: format!("not known: {error}") },
                    ..instance
                };
                let last = last.map(|last| last.into_iter().map(unknown).collect());
                last.ok_or(error)
            }
            Heard::Before(seen) => seen,
            Heard::Nothing(error) => Err(error),
        }
    }

    /// What was seen of a service says no more what is there.
    fn look_again(&self, key: &ServiceKey) {
        lock(&self.shared.calm).remove(key);
        self.shared.looks.forget(key);
    }

    async fn observe_there(&self, key: &ServiceKey) -> Result<Vec<Instance>, Error> {
        let docker = self.shared.engine.client().await?;
        let found = self.list(&docker, container::of_service(&self.shared.home, key)).await?;
        let looked: Vec<Result<Option<Instance>, Error>> =
            stream::iter(found).map(|one| self.look(&docker, one)).buffered(AT_ONCE).collect().await;
        looked.into_iter().filter_map(Result::transpose).collect()
    }
}

/// The usual mistake, where it shows: a service that listens where only its own container reaches it.
fn listening(health: Health) -> Health {
    match health {
        Health::Starting { why } if why.contains("refused") => Health::Starting {
            why: format!("{why}; does it listen on 0.0.0.0 and on this port? 127.0.0.1 is the container alone"),
        },
        other => other,
    }
}

/// The folder's own name, made once: two servers on one engine leave each other's containers alone.
fn home(data: &std::path::Path) -> Result<String, Error> {
    let path = data.join("home");
    let failed = |error: &std::io::Error| disk::io_error("name the place", &path, error);
    match fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(&error)),
    }
    let name = random();
    disk::write(&path, name.as_bytes()).map_err(|error| failed(&error))?;
    Ok(name)
}

/// Names a new instance of an order, and its container.
fn name(order: &Order) -> (InstanceId, String) {
    let id = format!("{}-{}", order.key.service, random());
    let name = format!("davy-{}-{id}", order.key.environment);
    (InstanceId::new(id), name)
}

fn random() -> String {
    // The end of a version 7 identifier is random, its beginning is the time.
    uuid::Uuid::now_v7().as_bytes()[12..].iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Platform for DockerPlatform {
    fn prepare<'a>(
        &'a self,
        key: &'a ServiceKey,
        _: &'a Source,
        workload: &'a Workload,
    ) -> Boxed<'a, Result<Prepared, Error>> {
        Box::pin(async move {
            let Run::Container(container) = &workload.run else {
                return Err(
                    Error::never(format!("prepare {key}"), "it is no container").hint("`docker` runs an `image`")
                );
            };
            let docker = self.shared.engine.client().await?;
            let known = image::resolve(&docker, &self.shared.pulls, key, &container.image).await?;
            container::port(container, &known.image)?;
            let (used, key, digest) = (self.shared.used.clone(), key.clone(), known.digest.clone());
            blocking(move || used.note(&key, &digest)).await?;
            Ok(Prepared { digest: known.digest, notices: known.notice.into_iter().collect() })
        })
    }

    fn ensure<'a>(&'a self, order: &'a Order) -> Boxed<'a, Result<(), Error>> {
        Box::pin(self.take_order(order))
    }

    fn fetching(&self, key: &ServiceKey) -> Option<String> {
        self.shared.pulls.of(key)
    }

    fn observe<'a>(&'a self, key: &'a ServiceKey) -> Boxed<'a, Result<Vec<Instance>, Error>> {
        Box::pin(self.observe_now(key))
    }

    fn remove<'a>(
        &'a self,
        key: &'a ServiceKey,
        release: &'a ReleaseId,
        generation: Generation,
        grace: Millis,
    ) -> Boxed<'a, Result<(), Error>> {
        Box::pin(async move {
            let tried = format!("remove {release} of {key}");
            if !self.shared.engaged.has(key, release).await {
                // Not the engine's business; an order that comes later than this one is still refused.
                return self.shared.engaged.pass_by(key, generation, &tried).await;
            }
            let docker = self.shared.engine.client().await?;
            let found = {
                let turn = self.order_of(key);
                let _turn = turn.lock().await;
                self.shared.engaged.pass(key, generation, &tried).await?;
                self.look_again(key);
                let mut found = self.list(&docker, container::of_service(&self.shared.home, key)).await?;
                found.retain(|one| one.labels.release == *release);
                found
            };
            let stopped = self.stop(&docker, found, grace).await;
            self.look_again(key);
            stopped?;
            let turn = self.order_of(key);
            let _turn = turn.lock().await;
            let there = self.list(&docker, container::of_service(&self.shared.home, key)).await?;
            let there = there.into_iter().map(|one| one.labels.release.as_str().to_owned()).collect();
            lock(&self.shared.last).remove(key);
            self.shared.engaged.settle(key, there).await
        })
    }

    fn prune<'a>(&'a self, key: &'a ServiceKey, needed: &'a [Digest]) -> Boxed<'a, Result<(), Error>> {
        Box::pin(async move {
            if !self.shared.engaged.ever() {
                return Ok(());
            }
            let docker = match self.shared.engine.client().await {
                Ok(docker) => docker,
                // Its images are removed when it is here again.
                Err(_) if !self.shared.engaged.is(key).await => return Ok(()),
                Err(error) => return Err(error),
            };
            let all = self.list(&docker, vec![format!("{HOME}={}", self.shared.home)]).await?;
            let running = all.into_iter().map(|one| one.labels.image);
            let needed = running.chain(needed.iter().map(Digest::to_string)).collect();
            image::prune(&docker, &self.shared.used, key, needed).await
        })
    }

    fn found(&self) -> Boxed<'_, Vec<Site>> {
        Box::pin(async move { vec![self.site().await] })
    }

    fn examine<'a>(&'a self, _: &'a Source, workload: &'a Workload) -> Boxed<'a, Vec<Finding>> {
        Box::pin(self.findings(workload))
    }

    fn logs<'a>(&'a self, query: &'a LogQuery) -> Boxed<'a, Result<Streamed<'static, Result<LogLine, Error>>, Error>> {
        Box::pin(async move {
            if !self.shared.engaged.is(&query.key).await {
                return Ok(Box::pin(stream::empty()) as Streamed<'static, _>);
            }
            let docker = self.shared.engine.client().await?;
            let found = self.asked_for(&docker, query).await?;
            if query.follow {
                let (sender, lines) = tokio::sync::mpsc::channel(LINES);
                tokio::spawn(self.clone().follow(docker, query.clone(), found, sender));
                let lines =
                    stream::unfold(lines, |mut lines| async move { lines.recv().await.map(|line| (line, lines)) });
                return Ok(Box::pin(lines) as Streamed<'static, _>);
            }
            let mask = Arc::new(self.mask(&query.key).await);
            let lines = found
                .iter()
                .map(|one| Box::pin(logs::of(&docker, &one.id, &one.labels, query.tail, false, mask.clone())));
            Ok(Box::pin(stream::select_all(lines)) as Streamed<'static, _>)
        })
    }
}
