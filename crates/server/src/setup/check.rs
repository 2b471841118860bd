//! Checks done live. Only what a place itself names is asked for its health, and this machine: nobody scans a network by this.

use super::{running, wire};
use crate::{Shared, problem::Problem};
use axum::http::StatusCode;
use davy_config::Deployment;
use davy_core::{Run, Source};
use davy_engine::Caller;
use davy_place::{Asked, request};
use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use wire::Check;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// So many are asked at once, whoever wants to know.
static ROOM: Semaphore = Semaphore::const_new(8);

/// What is asked for its health.
pub(super) enum Target {
    /// What answers there, and what it is.
    At(SocketAddr, String),
    /// It runs, and its port cannot be reached from here.
    Unreached(String),
    /// Nothing runs yet.
    Nothing,
}

/// What there is to ask: what was found, else what the person named, else what serves.
pub(super) async fn target(
    shared: &Shared,
    caller: &Caller,
    asked: &wire::Form,
    deployment: &Deployment,
) -> Result<Target, Problem> {
    if let Some(id) = &asked.found {
        let found = running(shared, caller, id).await?;
        let port = match &deployment.workload.run {
            Run::Container(container) => container.port.or_else(|| found.ports.first().map(|port| port.value)),
            Run::Process(_) => None,
        };
        let called = format!("the container `{}`", found.name);
        let Some(port) = port else { return Ok(Target::Unreached(format!("{called} has no port that is known"))) };
        return Ok(match found.reach.address(port) {
            Some(address) => Target::At(address, called),
            None => Target::Unreached(format!("port {port} of {called} cannot be reached from the server")),
        });
    }
    if let Some(address) = asked.address.as_deref().map(str::trim).filter(|address| !address.is_empty()) {
        let told = address.replacen("localhost:", "127.0.0.1:", 1).parse::<SocketAddr>().ok();
        let own = told.filter(|address| address.ip().is_loopback()).ok_or_else(|| {
            let why = "only this machine is asked, and what a platform names itself";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "A042", why).hint("such as 127.0.0.1:8080")
        })?;
        return Ok(Target::At(own, own.to_string()));
    }
    let live = shared.engine.service(&deployment.key);
    let instance = live.iter().flat_map(|live| live.instances.iter()).find(|instance| instance.health.is_healthy());
    Ok(instance.map_or(Target::Nothing, |one| Target::At(one.address, format!("the instance {}", one.id))))
}

/// Every check, one after the other.
pub(super) async fn all(shared: &Shared, folder: &Path, deployment: &Deployment, target: Target) -> Vec<Check> {
    let source = Source { folder: folder.to_owned() };
    let findings = shared.engine.examine(&source, &deployment.workload).await;
    let mut checks: Vec<Check> =
        findings.into_iter().map(|finding| check(&finding.what, finding.well, finding.says, &finding.hint)).collect();
    checks.push(health(deployment, target).await);
    checks.extend(secrets(shared, deployment).await);
    checks.push(route(shared, deployment));
    checks.push(traffic(shared, deployment).await);
    checks
}

fn check(what: &str, ok: Option<bool>, detail: impl Into<String>, hint: &str) -> Check {
    Check { check: what.to_owned(), ok, detail: detail.into(), hint: hint.to_owned() }
}

async fn health(deployment: &Deployment, target: Target) -> Check {
    let path = deployment.workload.health.path.as_deref();
    let (address, called) = match target {
        Target::At(address, called) => (address, called),
        Target::Unreached(why) => return check("health", None, why, "the new instances are asked once they run"),
        Target::Nothing => {
            let grace = deployment.workload.health.grace;
            let detail = format!("nothing runs that could be asked; a new instance has {grace} to become healthy");
            return check("health", None, detail, "");
        }
    };
    let _room = ROOM.acquire().await;
    let began = Instant::now();
    match path {
        None => match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {
                let detail = format!("{called} takes connections on {address}, and no path is asked");
                check("health", None, detail, "an open port says little: name the path that answers when it is well")
            }
            Ok(Err(error)) => unreached(format!("connect to {called} on {address}: {error}")),
            Err(_) => unreached(format!("connect to {called} on {address}: no answer within {} s", PATIENCE.as_secs())),
        },
        Some(path) => match timeout(PATIENCE, request(address, path)).await {
            Err(_) => {
                let detail = format!("GET {path} of {called} on {address}: no answer within {} s", PATIENCE.as_secs());
                check("health", Some(false), detail, "name a path that answers soon, without asking others")
            }
            Ok(Err(why)) => unreached(format!("{called}: {why}")),
            Ok(Ok(asked)) => answered(&asked, path, &format!("{called} on {address}"), began.elapsed()),
        },
    }
}

fn unreached(detail: String) -> Check {
    check(
        "health",
        Some(false),
        detail,
        "does it listen on this port, and on 0.0.0.0? 127.0.0.1 inside a container is the container alone",
    )
}

fn answered(asked: &Asked, path: &str, called: &str, took: Duration) -> Check {
    let Asked { status, location } = asked;
    let detail = format!("GET {path} of {called} answered {status} within {} ms", took.as_millis().max(1));
    match status.as_u16() {
        200..=299 => check("health", Some(true), detail, ""),
        300..=399 => {
            let to = location.as_deref().map(|to| format!(" to {to}")).unwrap_or_default();
            let hint = "a redirect counts as healthy, and nobody follows it: name the path that it leads to";
            check("health", None, format!("{detail}: a redirect{to}"), hint)
        }
        404 => check("health", Some(false), detail, "name a path that is there: it is to answer 200 when all is well"),
        _ => check("health", Some(false), detail, "an instance that answers so would never be healthy"),
    }
}

async fn secrets(shared: &Shared, deployment: &Deployment) -> Vec<Check> {
    let Deployment { key, workload, .. } = deployment;
    if workload.secrets.is_empty() {
        return Vec::new();
    }
    let mut asked = workload.secrets.clone();
    vec![match shared.vault.pin(key, &mut asked).await {
        Ok(()) => check("secrets", Some(true), format!("all {} are set", asked.len()), ""),
        Err(error) => check("secrets", Some(false), error.to_string(), &error.hint),
    }]
}

fn route(shared: &Shared, deployment: &Deployment) -> Check {
    let Deployment { key, workload, .. } = deployment;
    let shown = |host: &Option<String>, path: &str| match host {
        Some(host) => format!("{host}{path}"),
        None => format!("every host, {path}"),
    };
    let mine = shown(&workload.route.host, &workload.route.path);
    let live = shared.engine.live();
    let other = live.iter().filter(|live| live.key != *key).find(|live| {
        let stable = live.state.stable.as_ref();
        stable.is_some_and(|stable| stable.workload.route == workload.route)
    });
    match other {
        None => check("route", Some(true), format!("requests for {mine} are this service's"), ""),
        Some(other) => check(
            "route",
            Some(false),
            format!("requests for {mine} are those of {} already", other.key),
            "give one of them a host or a path of its own",
        ),
    }
}

async fn traffic(shared: &Shared, deployment: &Deployment) -> Check {
    match shared.engine.rate(&deployment.key).await {
        Some(rate) if rate.requests > 0 => {
            let detail = format!("{:.1} requests/s in the last {:.0} s", rate.per_second(), rate.seconds);
            check("traffic", Some(true), detail, "")
        }
        Some(rate) => {
            let detail = format!("no request in the last {:.0} s", rate.seconds);
            check("traffic", None, detail, "without traffic no version is proven: it waits for a person")
        }
        None => {
            let hint = "the first version serves at once; from the second on, traffic is needed";
            check("traffic", None, "the gateway has seen none of this service yet", hint)
        }
    }
}
