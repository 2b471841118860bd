//! Containers: what the engine is asked to make, and what it says of them in the port's words.

use crate::secrets;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as Status,
    HealthStatusEnum, HostConfig, ImageInspect, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};
use davy_core::{
    Container, EnvironmentName, Health, HealthCheck, InstanceId, ReleaseId, ServiceKey, ServiceName, Timestamp,
};
use davy_place::{Given, known, myself, substitute};
use davy_ports::{Error, Order};
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

/// Whose container it is: the data folder's own name.
pub(crate) const HOME: &str = "davy.home";
const SERVICE: &str = "davy.service";
const ENVIRONMENT: &str = "davy.environment";
const RELEASE: &str = "davy.release";
const INSTANCE: &str = "davy.instance";
const IMAGE: &str = "davy.image";
const PORT: &str = "davy.port";
const HEALTH: &str = "davy.health";

/// What a container's labels say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Labels {
    pub key: ServiceKey,
    pub release: ReleaseId,
    pub instance: InstanceId,
    /// The digest that it was made from.
    pub image: String,
    pub port: u16,
    pub health: HealthCheck,
}

impl Labels {
    /// None when somebody else's label is on it.
    pub(crate) fn read(labels: &HashMap<String, String>) -> Option<Self> {
        let get = |name: &str| labels.get(name).map(String::as_str);
        Some(Self {
            key: ServiceKey {
                service: ServiceName::new(get(SERVICE)?).ok()?,
                environment: EnvironmentName::new(get(ENVIRONMENT)?).ok()?,
            },
            release: ReleaseId::new(get(RELEASE)?),
            instance: InstanceId::new(get(INSTANCE)?),
            image: get(IMAGE)?.to_owned(),
            port: get(PORT)?.parse().ok()?,
            health: serde_json::from_str(get(HEALTH)?).ok()?,
        })
    }

    fn write(&self, home: &str) -> HashMap<String, String> {
        let health = serde_json::to_string(&self.health).unwrap_or_default();
        let all = [
            (HOME, home.to_owned()),
            (SERVICE, self.key.service.to_string()),
            (ENVIRONMENT, self.key.environment.to_string()),
            (RELEASE, self.release.to_string()),
            (INSTANCE, self.instance.to_string()),
            (IMAGE, self.image.clone()),
            (PORT, self.port.to_string()),
            (HEALTH, health),
        ];
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The labels that a service's containers are found by.
pub(crate) fn of_service(home: &str, key: &ServiceKey) -> Vec<String> {
    vec![format!("{HOME}={home}"), format!("{SERVICE}={}", key.service), format!("{ENVIRONMENT}={}", key.environment)]
}

/// Where a container listens: as the file says, else the only port that its image exposes.
pub(crate) fn port(container: &Container, image: &ImageInspect) -> Result<u16, Error> {
    if let Some(port) = container.port {
        return Ok(port);
    }
    let exposed = image.config.as_ref().and_then(|config| config.exposed_ports.clone()).unwrap_or_default();
    let mut ports: Vec<u16> = exposed
        .iter()
        .filter_map(|port| match port.split_once('/') {
            Some((number, "tcp")) => number.parse().ok(),
            Some(_) => None,
            None => port.parse().ok(),
        })
        .collect();
    ports.sort_unstable();
    match ports.as_slice() {
        [only] => Ok(*only),
        several => {
            let what = match several.is_empty() {
                true => "exposes no port".to_owned(),
                false => format!("exposes several ports: {several:?}"),
            };
            Err(Error::never(format!("find the port of {}", container.image), format!("the image {what}"))
                .hint("say in `port` where the container listens"))
        }
    }
}

/// What containers are on.
pub(crate) struct Network {
    pub name: String,
    /// The host's address on it.
    pub gateway: Option<String>,
    /// Where the port is published, when the engine is on another machine.
    pub publish: Option<IpAddr>,
}

/// What a container calls its host, as on a developer's machine.
const HOST: &str = "host.docker.internal";

/// What to make for an order.
pub(crate) fn body(
    order: &Order,
    container: &Container,
    given: &Given,
    instance: InstanceId,
    port: u16,
    home: &str,
    network: &Network,
) -> ContainerCreateBody {
    let workload = &order.release.workload;
    let values = known(&workload.env, Some(port));
    let command: Vec<String> = container.command.iter().map(|word| substitute(word, &values)).collect();
    let own = myself(&order.key, &order.release.id, &instance);
    let labels = Labels {
        key: order.key.clone(),
        release: order.release.id.clone(),
        instance,
        image: order.release.digest.to_string(),
        port,
        health: workload.health.clone(),
    };
    let published = format!("{port}/tcp");
    let memory = container.memory.and_then(|bytes| i64::try_from(bytes).ok());
    ContainerCreateBody {
        image: Some(order.release.digest.to_string()),
        cmd: (!command.is_empty()).then_some(command),
        env: Some(
            values
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .chain(secrets::variables(given))
                .filter(|variable| !own.iter().any(|(name, _)| variable.split('=').next() == Some(*name)))
                .chain(own.iter().map(|(name, value)| format!("{name}={value}")))
                .collect(),
        ),
        user: container.user.clone(),
        stop_signal: container.stop_signal.clone(),
        labels: Some(labels.write(home)),
        exposed_ports: network.publish.is_some().then(|| vec![published.clone()]),
        host_config: Some(HostConfig {
            network_mode: Some(network.name.clone()),
            // Any free port of that machine, on the address by which it is reached and on no other.
            port_bindings: network.publish.map(|machine| {
                let binding = PortBinding { host_ip: Some(machine.to_string()), host_port: Some(String::new()) };
                HashMap::from([(published.clone(), Some(vec![binding]))])
            }),
            extra_hosts: network.gateway.as_ref().map(|address| vec![format!("{HOST}:{address}")]),
            binds: (!container.volumes.is_empty()).then(|| container.volumes.clone()),
            memory,
            // No swap beyond it: a limit that is not one would only make a leak slow.
            memory_swap: memory,
            nano_cpus: container.cpu.map(|milli| i64::from(milli) * 1_000_000),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                maximum_retry_count: None,
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// What the engine knows of a container's health, or that it is to be asked itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Known(Health),
    Ask,
}

/// Where it listens now; its address may be another one after each start.
pub(crate) fn address(
    inspected: &ContainerInspectResponse,
    network: &str,
    port: u16,
    machine: Option<IpAddr>,
) -> Option<SocketAddr> {
    let settings = inspected.network_settings.as_ref()?;
    if let Some(machine) = machine {
        let bindings = settings.ports.as_ref()?.get(&format!("{port}/tcp"))?.as_ref()?;
        let port = bindings.iter().find_map(|binding| binding.host_port.as_ref()?.parse().ok())?;
        return Some(SocketAddr::new(machine, port));
    }
    let networks = settings.networks.as_ref()?;
    let address: IpAddr = networks.get(network)?.ip_address.as_ref()?.parse().ok()?;
    Some(SocketAddr::new(address, port))
}

/// When its process began.
pub(crate) fn since(state: &ContainerState) -> Timestamp {
    let began = state.started_at.as_ref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    Timestamp(began.map_or(0, |at| u64::try_from(at.as_millisecond()).unwrap_or_default()))
}

/// The health as the engine tells it. `HEALTHCHECK` of the image is heeded where the file names no path.
pub(crate) fn health(state: &ContainerState, check: &HealthCheck) -> Told {
    match state.status {
        Some(Status::RUNNING) => {
            let own = state.health.as_ref().filter(|_| check.path.is_none());
            let said = own.and_then(|health| health.log.as_ref()?.last()?.output.clone()).unwrap_or_default();
            let why = |what: &str| format!("its HEALTHCHECK {what}{}", words(&said));
            match own.and_then(|health| health.status) {
                Some(HealthStatusEnum::STARTING) => Told::Known(Health::Starting { why: why("has not passed yet") }),
                Some(HealthStatusEnum::HEALTHY) => Told::Known(Health::Healthy),
                Some(HealthStatusEnum::UNHEALTHY) => Told::Known(Health::Unhealthy { why: why("fails") }),
                _ => Told::Ask,
            }
        }
        Some(Status::CREATED) => Told::Known(Health::Starting { why: "it is being started".to_owned() }),
        Some(Status::PAUSED) => Told::Known(Health::Unhealthy { why: "it is paused".to_owned() }),
        Some(Status::REMOVING | Status::STOPPING) => {
            Told::Known(Health::Unhealthy { why: "it is being stopped".to_owned() })
        }
        _ => Told::Known(Health::Ended { why: ended(state) }),
    }
}

/// Whether it runs or will run again by itself.
pub(crate) fn lives(status: Option<Status>) -> bool {
    matches!(status, Some(Status::RUNNING | Status::RESTARTING | Status::CREATED | Status::PAUSED))
}

fn ended(state: &ContainerState) -> String {
    let code = state.exit_code.unwrap_or_default();
    let error = state.error.as_deref().map(str::trim).unwrap_or_default();
    match (state.oom_killed, error) {
        (Some(true), _) => format!("it ran out of its memory (exit status {code})"),
        (_, "") => format!("it ended with exit status {code}"),
        (_, error) => error.to_owned(),
    }
}

fn words(said: &str) -> String {
    let said = said.trim();
    let short: String = said.chars().take(200).collect();
    if said.is_empty() { String::new() } else { format!(": {short}") }
}
