//! The engine: found, spoken to, and what its refusals mean to a person.

use crate::dial::{Dial, Unreachable};
use bollard::{API_DEFAULT_VERSION, Docker, errors::Error as Failure};
use davy_ports::Error;
use std::net::IpAddr;

/// Where it listens when nobody says otherwise.
const DEFAULT: &str = "unix:///var/run/docker.sock";
/// Seconds that the engine may take for an answer.
const ANSWER: u64 = 120;

/// One Docker engine; connected to when it is first needed.
pub(crate) struct Engine {
    host: String,
    client: tokio::sync::Mutex<Option<Docker>>,
    /// Where the engine's machine is reached, once that is known.
    machine: tokio::sync::OnceCell<Option<IpAddr>>,
}

impl Engine {
    /// At `host`, else where `DOCKER_HOST` says, else at its usual socket.
    pub(crate) fn new(host: Option<String>) -> Self {
        let named = host.or_else(|| std::env::var("DOCKER_HOST").ok()).filter(|host| !host.is_empty());
        let host = named.unwrap_or_else(|| DEFAULT.to_owned());
        Self { host, client: tokio::sync::Mutex::default(), machine: tokio::sync::OnceCell::new() }
    }

    /// Its address.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The client, with the version of the API that both sides speak.
    pub(crate) async fn client(&self) -> Result<Docker, Error> {
        let mut held = self.client.lock().await;
        if let Some(client) = &*held {
            return Ok(client.clone());
        }
        let tried = format!("reach the Docker engine at {}", self.host);
        let connected = match Dial::of(&self.host).map_err(|why| self.refused(&tried, &why))? {
            // What reads the address is not to find a name in it: the way is known.
            Some(dial) => {
                let way = move |request| dial.clone().request(request);
                Docker::connect_with_custom_transport(way, Some("http://docker"), ANSWER, API_DEFAULT_VERSION)
            }
            None => Docker::connect_with_host(&self.host),
        };
        let reached = match connected {
            Ok(client) => client.negotiate_version().await,
            Err(error) => Err(error),
        };
        match reached {
            Ok(client) => Ok(held.insert(client).clone()),
            Err(error @ Failure::UnsupportedURISchemeError { .. }) => {
                Err(Error::never(tried, error).hint("write unix:///PATH, ssh://USER@HOST or tcp://HOST:2376"))
            }
            Err(error) => Err(failed(tried, &error)),
        }
    }

    /// Where the engine's machine is reached, when it is another one: the containers' own addresses are reached there only.
    pub(crate) async fn machine(&self) -> Result<Option<IpAddr>, Error> {
        let tried = format!("find the machine of the Docker engine at {}", self.host);
        let find = || async {
            match Dial::of(&self.host).map_err(|why| self.refused(&tried, &why))? {
                Some(dial) => dial.machine().await.map(Some).map_err(|why| later(&tried, &why)),
                None => Ok(None),
            }
        };
        self.machine.get_or_try_init(find).await.copied()
    }

    fn refused(&self, tried: &str, why: &Unreachable) -> Error {
        Error::never(tried, &why.happened).hint(&why.hint)
    }
}

fn later(tried: &str, why: &Unreachable) -> Error {
    Error::later(tried, &why.happened).hint(&why.hint)
}

/// The status of the engine's refusal, if it was one.
pub(crate) const fn status(error: &Failure) -> Option<u16> {
    match error {
        Failure::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether what was asked for is not there.
pub(crate) fn is_absent(error: &Failure) -> bool {
    status(error) == Some(404)
}

/// What a failed call means.
pub(crate) fn failed(tried: impl Into<String>, error: &Failure) -> Error {
    if let Failure::IOError { err } = error
        && let Some(why) = err.get_ref().and_then(|inner| inner.downcast_ref::<Unreachable>())
    {
        return later(&tried.into(), why);
    }
    let (happened, refused) = match error {
        Failure::DockerResponseServerError { status_code, message } => {
            (message.trim().to_owned(), matches!(status_code, 400 | 401 | 403 | 404))
        }
        Failure::DockerStreamError { error } => (error.trim().to_owned(), false),
        Failure::SocketNotFoundError(path) => (format!("there is no socket {path}"), false),
        Failure::HyperLegacyError { err } => (format!("the engine cannot be reached: {}", causes(err)), false),
        other => (causes(other), false),
    };
    let full = happened.contains("no space left on device");
    let plain = happened.contains("HTTP request to an HTTPS server");
    let crowded = happened.contains("address pool");
    let answered = matches!(error, Failure::DockerResponseServerError { .. } | Failure::DockerStreamError { .. });
    let error = if refused { Error::never(tried, happened) } else { Error::later(tried, happened) };
    match (full, answered) {
        _ if plain => error.hint("it speaks TLS there: set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH for `davy up`"),
        _ if crowded => error.hint(
            "the engine has no addresses left for a network: `docker network prune` removes those that are not used",
        ),
        (true, _) => error.hint("the disk is full: free space on it, `docker system df` shows what uses it"),
        (_, false) => error.hint(
            "start the engine, or say where it listens: `engine` in the file, or DOCKER_HOST=unix:///PATH davy up",
        ),
        _ => error,
    }
}

/// An error with what caused it.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = cause.source();
    }
    text
}
