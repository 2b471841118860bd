//! The engine: found, spoken to, and what its refusals mean to a person.

use bollard::{Docker, errors::Error as Failure};
use davy_ports::Error;

/// Where it listens when nobody says otherwise.
const DEFAULT: &str = "unix:///var/run/docker.sock";

/// One Docker engine; connected to when it is first needed.
pub(crate) struct Engine {
    host: String,
    client: tokio::sync::Mutex<Option<Docker>>,
}

impl Engine {
    /// At `host`, else where `DOCKER_HOST` says, else at its usual socket.
    pub(crate) fn new(host: Option<String>) -> Self {
        let named = host.or_else(|| std::env::var("DOCKER_HOST").ok()).filter(|host| !host.is_empty());
        Self { host: named.unwrap_or_else(|| DEFAULT.to_owned()), client: tokio::sync::Mutex::new(None) }
    }

    /// The client, with the version of the API that both sides speak.
    pub(crate) async fn client(&self) -> Result<Docker, Error> {
        let mut held = self.client.lock().await;
        if let Some(client) = &*held {
            return Ok(client.clone());
        }
        let tried = format!("reach the Docker engine at {}", self.host);
        let reached = match Docker::connect_with_host(&self.host) {
            Ok(client) => client.negotiate_version().await,
            Err(error) => Err(error),
        };
        match reached {
            Ok(client) => Ok(held.insert(client).clone()),
            Err(error @ Failure::UnsupportedURISchemeError { .. }) => {
                Err(Error::never(tried, error).hint("this version speaks to an engine's socket: unix:///PATH"))
            }
            Err(error) => Err(failed(tried, &error)),
        }
    }
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
    let (happened, refused) = match error {
        Failure::DockerResponseServerError { status_code, message } => {
            (message.trim().to_owned(), matches!(status_code, 400 | 401 | 403 | 404))
        }
        Failure::DockerStreamError { error } => (error.trim().to_owned(), false),
        Failure::SocketNotFoundError(path) => (format!("there is no socket {path}"), false),
        other => (causes(other), false),
    };
    let full = happened.contains("no space left on device");
    let answered = matches!(error, Failure::DockerResponseServerError { .. } | Failure::DockerStreamError { .. });
    let error = if refused { Error::never(tried, happened) } else { Error::later(tried, happened) };
    match (full, answered) {
        (true, _) => error.hint("the disk is full: free space on it, `docker system df` shows what uses it"),
        (_, false) => error.hint("start the engine, or say where it listens: DOCKER_HOST=unix:///PATH davy up"),
        _ => error,
    }
}

/// An error with what caused it.
fn causes(error: &dyn std::error::Error) -> String {
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
