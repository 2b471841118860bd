//! What runs on an engine and is not Davy's, as far as a service can be set up from it.

use crate::{
    container::HOME,
    engine::{failed, is_absent},
    platform::LOOKED_AT,
};
use bollard::{
    Docker,
    models::{ContainerConfig, ContainerInspectResponse, HealthConfig, HostConfig, ImageConfig, MountPoint},
    query_parameters::ListContainersOptionsBuilder,
};
use davy_core::{Check, Found, Millis, Reach, Said, Speaker};
use davy_ports::Error;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// More of them are not looked at: nobody chooses among so many.
const MOST: usize = 200;
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

/// The containers that run and were not started by any Davy, by their names, and how many more there are.
/// `machine` is where the engine's machine is reached, if it is another one.
pub(crate) async fn containers(
    docker: &Docker,
    engine: Option<&str>,
    machine: Option<IpAddr>,
) -> Result<(Vec<Found>, usize), Error> {
    let options = ListContainersOptionsBuilder::new().build();
    let listed = docker.list_containers(Some(options)).await;
    let listed = listed.map_err(|error| failed("list the containers", &error))?;
    let others = listed.into_iter().filter(|one| one.labels.as_ref().is_none_or(|labels| !labels.contains_key(HOME)));
    let mut ids: Vec<(String, String)> = others
        .filter_map(|one| Some((one.names.unwrap_or_default().into_iter().next().unwrap_or_default(), one.id?)))
        .collect();
    ids.sort();
    let more = ids.len().saturating_sub(MOST);
    ids.truncate(MOST);
    let looked = stream::iter(ids).map(|(_, id)| look(docker, id, engine, machine)).buffered(LOOKED_AT);
    let found: Vec<Option<Found>> = looked.try_collect().await?;
    Ok((found.into_iter().flatten().collect(), more))
}

/// None when it is gone meanwhile.
async fn look(
    docker: &Docker,
    id: String,
    engine: Option<&str>,
    machine: Option<IpAddr>,
) -> Result<Option<Found>, Error> {
    let inspected = match docker.inspect_container(&id, None).await {
        Ok(inspected) => inspected,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed("look at a container", &error)),
    };
    // By its id: the name may be another image's by now.
    let image = match docker.inspect_image(inspected.image.as_deref().unwrap_or_default()).await {
        Ok(image) => image.config.unwrap_or_default(),
        // It was removed by force. What it said is then the container's word.
        Err(error) if is_absent(&error) => ImageConfig::default(),
        Err(error) => return Err(failed("look at an image", &error)),
    };
    Ok(Some(Found { engine: engine.map(str::to_owned), ..of(id, inspected, &image, machine) }))
}

fn of(id: String, inspected: ContainerInspectResponse, image: &ImageConfig, machine: Option<IpAddr>) -> Found {
    let reach = reach(&inspected, machine);
    let config = inspected.config.unwrap_or_default();
    let host = inspected.host_config.unwrap_or_default();
    let labels = config.labels.clone().unwrap_or_default();
    let name = inspected.name.unwrap_or_default().trim_start_matches('/').to_owned();
    let (volumes, nameless) = volumes(inspected.mounts.unwrap_or_default());
    let own = |mine: &Option<String>, images: &Option<String>| {
        mine.clone().filter(|value| !value.is_empty() && Some(value) != images.as_ref())
    };
    Found {
        id,
        compose: labels.get(PROJECT).cloned().zip(labels.get(SERVICE).cloned()),
        image: config.image.clone().unwrap_or_default(),
        command: if config.cmd == image.cmd { Vec::new() } else { config.cmd.clone().unwrap_or_default() },
        user: own(&config.user, &image.user),
        stop_signal: own(&config.stop_signal, &image.stop_signal),
        ports: ports(&config, image),
        check: check(&config, image),
        env: environment(&config, image),
        cpu: cpu(&host),
        memory: host.memory.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0),
        engine: None,
        name,
        volumes,
        nameless,
        reach,
    }
}

/// Those that are TCP, the image's own first: what a container exposes besides is often of a debugger.
fn ports(config: &ContainerConfig, image: &ImageConfig) -> Vec<Said<u16>> {
    let images = image.exposed_ports.clone().unwrap_or_default();
    let mut ports: Vec<Said<u16>> = config
        .exposed_ports
        .iter()
        .flatten()
        .filter_map(|port| {
            let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
            let value = number.parse().ok().filter(|_| protocol == "tcp")?;
            let by = if images.contains(port) { Speaker::Image } else { Speaker::Container };
            Some(Said { value, by })
        })
        .collect();
    ports.sort_by_key(|port| (port.by == Speaker::Container, port.value));
    ports
}

fn check(config: &ContainerConfig, image: &ImageConfig) -> Option<Said<Check>> {
    let said = config.healthcheck.as_ref()?;
    let by = if config.healthcheck == image.healthcheck { Speaker::Image } else { Speaker::Container };
    let HealthConfig { test, interval, start_period, .. } = said;
    let test = test.clone().filter(|test| !test.is_empty() && test[0] != "NONE")?;
    let length = |nanos: &Option<i64>| {
        let nanos = nanos.and_then(|nanos| u64::try_from(nanos).ok()).filter(|nanos| *nanos > 0)?;
        Some(Millis(nanos / 1_000_000))
    };
    Some(Said { value: Check { test, interval: length(interval), start: length(start_period) }, by })
}

/// What the image does not say.
fn environment(config: &ContainerConfig, image: &ImageConfig) -> BTreeMap<String, String> {
    let images = image.env.clone().unwrap_or_default();
    let own = config.env.iter().flatten().filter(|variable| !images.contains(variable));
    own.filter_map(|variable| variable.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn cpu(host: &HostConfig) -> Option<u32> {
    let nanos = host.nano_cpus.filter(|nanos| *nanos > 0);
    let quota =
        host.cpu_quota.filter(|quota| *quota > 0).zip(host.cpu_period.filter(|period| *period > 0).or(Some(100_000)));
    let milli = nanos.map(|nanos| nanos / 1_000_000).or_else(|| quota.map(|(quota, period)| quota * 1_000 / period));
    milli.and_then(|milli| u32::try_from(milli).ok()).filter(|milli| *milli > 0)
}

/// As the file writes them, and where the nameless ones are mounted.
fn volumes(mounts: Vec<MountPoint>) -> (Vec<String>, Vec<String>) {
    let (mut named, mut nameless) = (Vec::new(), Vec::new());
    for mount in mounts {
        let Some(target) = mount.destination else { continue };
        let source = match mount.typ.as_deref() {
            Some("bind") => mount.source,
            Some("volume") => mount.name,
            _ => continue,
        };
        // The engine names those that nobody named by 32 random bytes.
        let random = |name: &str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        match source.filter(|source| !random(source)) {
            Some(source) => {
                let mode = if mount.rw == Some(false) { ":ro" } else { "" };
                named.push(format!("{source}:{target}{mode}"));
            }
            None => nameless.push(target),
        }
    }
    named.sort();
    nameless.sort();
    (named, nameless)
}

fn reach(inspected: &ContainerInspectResponse, machine: Option<IpAddr>) -> Reach {
    let settings = inspected.network_settings.as_ref();
    let mode = inspected.host_config.as_ref().and_then(|host| host.network_mode.as_deref());
    let ip = match (machine, mode) {
        (Some(_), Some("host")) => machine,
        // Its own address is reached on that machine only.
        (Some(_), _) => None,
        (None, Some("host")) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        (None, _) => {
            let networks = settings.and_then(|settings| settings.networks.as_ref());
            let addresses = networks.into_iter().flat_map(|networks| networks.values());
            let mut addresses: Vec<IpAddr> =
                addresses.filter_map(|network| network.ip_address.as_ref()?.parse().ok()).collect();
            addresses.sort_unstable();
            addresses.first().copied()
        }
    };
    let bindings = settings.and_then(|settings| settings.ports.as_ref());
    let published = bindings.into_iter().flatten().filter_map(|(port, bindings)| {
        let port = port.strip_suffix("/tcp")?.parse().ok()?;
        let binding = bindings.iter().flatten().find_map(|binding| {
            let at: IpAddr = binding.host_ip.as_deref().unwrap_or_default().parse().ok()?;
            let at = match machine {
                Some(machine) if at.is_unspecified() => machine,
                None if at.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
                _ => at,
            };
            Some(SocketAddr::new(at, binding.host_port.as_ref()?.parse().ok()?))
        })?;
        Some((port, binding))
    });
    Reach { ip, published: published.collect() }
}
