//! What runs: sources, workloads, releases and their instances.

use crate::{Digest, InstanceId, Millis, ReleaseId, ServiceKey, Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

/// What somebody asks to deploy, before it is made immutable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The folder of the file: relative paths in a command are taken from here. Absolute.
    pub folder: PathBuf,
}

/// How a version of a service runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// The words to execute, no shell; only `$PORT` and keys of `env` are substituted.
    pub command: Vec<String>,
    /// Files and folders besides those that the command names, relative to the source's folder.
    pub files: Vec<String>,
    /// The environment; `PORT` is added to it.
    pub env: BTreeMap<String, String>,
    /// How many instances.
    pub replicas: u32,
    /// When an instance counts as able to serve.
    pub health: HealthCheck,
    /// Which requests are the service's.
    pub route: Route,
}

/// Where a release can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Processes on this machine.
    Local,
}

/// An HTTP request that a healthy instance answers with 200 to 399.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The path asked for; `None` when accepting a connection is all that is known.
    pub path: Option<String>,
    /// How long a new instance may take to become healthy.
    pub grace: Millis,
    /// The time between two checks.
    pub interval: Millis,
}

/// Which requests belong to a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The `Host` without a port, lower case; every host when absent.
    pub host: Option<String>,
    /// A prefix of whole path segments, beginning with `/`.
    pub path: String,
}

/// Immutable: a workload, the digest of what it runs and the digest of its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its name; the same service, artifact and configuration give the same.
    pub id: ReleaseId,
    /// The artifact.
    pub digest: Digest,
    /// How it runs.
    pub workload: Workload,
}

impl Release {
    /// Names a workload whose artifact is known.
    #[must_use]
    pub fn new(key: &ServiceKey, digest: Digest, workload: Workload) -> Self {
        use sha2::Digest as _;
        let configuration = serde_json::to_vec(&workload).unwrap_or_default();
        let mut hash = sha2::Sha256::new();
        for part in [key.service.as_str().as_bytes(), digest.as_str().as_bytes(), &configuration] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let hex: String = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Self { id: ReleaseId::new(hex), digest, workload }
    }
}

/// One running copy of a release, as its platform sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its name.
    pub id: InstanceId,
    /// What it runs.
    pub release: ReleaseId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it can serve.
    pub health: Health,
    /// How often it was started again after it ended by itself.
    pub restarts: u32,
    /// When its process began.
    pub since: Timestamp,
}

/// Whether an instance can serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Running, not yet healthy for the first time.
    Starting {
        /// What the last check said.
        why: String,
    },
    /// It answers its health check.
    Healthy,
    /// It was healthy and is no more.
    Unhealthy {
        /// What the last check said.
        why: String,
    },
    /// Its process ended or could not be started; it may be started again.
    Ended {
        /// The exit status or the error, with the last lines of its output.
        why: String,
    },
}

impl Health {
    /// Whether it can serve.
    #[must_use]
    pub const fn is_healthy(&self) -> bool {
        matches!(self, Self::Healthy)
    }
}
