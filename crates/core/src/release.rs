//! What runs: sources, workloads, releases and their instances.

use crate::{Digest, InstanceId, Millis, ReleaseId, Secret, ServiceKey, Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc};

/// What somebody asks to deploy, before it is made immutable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The folder of the file: relative paths in a command are taken from here. Absolute.
    pub folder: PathBuf,
}

/// How a version of a service runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(try_from = "crate::earlier::AnyWorkload")]
pub struct Workload {
    /// What an instance is.
    pub run: Run,
    /// The environment; `PORT` is added to it.
    pub env: BTreeMap<String, String>,
    /// The secrets that an instance is given, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// How many instances.
    pub replicas: u32,
    /// When an instance counts as able to serve.
    pub health: HealthCheck,
    /// Which requests are the service's.
    pub route: Route,
}

/// What an instance is: it says which places can run it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Run {
    /// A process on this machine.
    Process(Process),
    /// A container.
    Container(Container),
}

/// A program and its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Process {
    /// The words to execute, no shell; only `$PORT` and keys of `env` are substituted.
    pub command: Vec<String>,
    /// Files and folders besides those that the command names, relative to the source's folder.
    pub files: Vec<String>,
}

/// An image, and what its containers are given and may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Container {
    /// The image as the file names it; the release's digest says which it was.
    pub image: String,
    /// Replaces the image's command unless it is empty; substituted as for a process.
    pub command: Vec<String>,
    /// Where it listens; the only port that the image exposes when absent.
    pub port: Option<u16>,
    /// Who it runs as, `user[:group]`; the image's when absent.
    pub user: Option<String>,
    /// `SOURCE:/TARGET[:ro]`; a source that is no absolute path is a named volume.
    pub volumes: Vec<String>,
    /// What asks it to end, such as `SIGTERM`; the image's when absent.
    pub stop_signal: Option<String>,
    /// Its share of processors in thousandths of one; unlimited when absent.
    pub cpu: Option<u32>,
    /// Its memory in bytes; unlimited when absent.
    pub memory: Option<u64>,
    /// The address of the engine that runs it; the server's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
}

/// Where a release can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Processes on this machine.
    Local,
    /// Containers of a Docker engine.
    Docker,
}

impl Place {
    /// As written in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Docker => "docker",
        }
    }
}

impl Run {
    /// Where it runs.
    #[must_use]
    pub const fn place(&self) -> Place {
        match self {
            Self::Process(_) => Place::Local,
            Self::Container(_) => Place::Docker,
        }
    }

    /// What runs, as a person reads it: the command's words, or the image before them.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Process(process) => process.command.clone(),
            Self::Container(container) => [&container.image].into_iter().chain(&container.command).cloned().collect(),
        }
    }
}

/// An HTTP request that a healthy instance answers with 200 to 399.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Route {
    /// The `Host` without a port, lower case; every host when absent.
    pub host: Option<String>,
    /// A prefix of whole path segments, beginning with `/`.
    pub path: String,
}

/// Immutable: a workload, the digest of what it runs and the digest of its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Release {
    /// Its name; the same service, artifact and configuration give the same.
    pub id: ReleaseId,
    /// The artifact.
    pub digest: Digest,
    /// How it runs.
    // Shared by all who know the release.
    #[cfg_attr(feature = "schema", schema(value_type = Workload))]
    #[serde(with = "shared")]
    pub workload: Arc<Workload>,
}

mod shared {
    use super::{Arc, Deserialize, Serialize};

    pub(super) fn serialize<S: serde::Serializer, T: Serialize>(
        shared: &Arc<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        T::serialize(shared, serializer)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
        deserializer: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
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
        Self { id: ReleaseId::new(hex), digest, workload: Arc::new(workload) }
    }

    /// How many instances it has when it is whole.
    #[must_use]
    pub fn replicas(&self) -> u32 {
        self.workload.replicas
    }
}

/// One running copy of a release, as its platform sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = InstanceSeen))]
pub struct Instance {
    /// Its name.
    pub id: InstanceId,
    /// What it runs.
    pub release: ReleaseId,
    /// Where it listens.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
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
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = InstanceHealth))]
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

    /// The same with `more` at the end of its reason; nothing is added to one that is healthy.
    #[must_use]
    pub fn adding(mut self, more: &str) -> Self {
        match &mut self {
            Self::Healthy => {}
            Self::Starting { why } | Self::Unhealthy { why } | Self::Ended { why } => why.push_str(more),
        }
        self
    }
}
