//! What the platform and a shim say to each other: a file to begin with, then lines of JSON over a Unix socket. One
//! request and one answer for each connection.

use davy_core::{Digest, HealthCheck, InstanceId, Millis, ReleaseId, ServiceKey, Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

/// The file in an instance's folder that says what it is; a folder without one was never finished.
pub(crate) const SPEC: &str = "spec.json";
/// The folder in an instance's folder that its process begins in.
pub(crate) const WORK: &str = "work";

/// An instance, as written once before its shim starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) id: InstanceId,
    pub(crate) key: ServiceKey,
    pub(crate) release: ReleaseId,
    pub(crate) digest: Digest,
    /// The program and its arguments, before substitution.
    pub(crate) command: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) health: HealthCheck,
    pub(crate) socket: PathBuf,
    pub(crate) created: Timestamp,
    /// Where the files of its secrets are; none when it has none.
    #[serde(default)]
    pub(crate) secrets: Option<PathBuf>,
}

/// What is never written down: said to a shim once, through its standard input. None when that is empty.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Private {
    pub(crate) variables: BTreeMap<String, Vec<u8>>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(crate) enum Request {
    Status,
    /// Answered when nothing of the instance runs any more but the shim, which then ends.
    Stop {
        grace: Millis,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The shim's process, for people; nothing is done by it.
    pub(crate) shim: u32,
    pub(crate) port: u16,
    pub(crate) restarts: u32,
    /// When the present process, or the last one, began.
    pub(crate) since: Timestamp,
    /// Why the process before the present one ended, with its last lines.
    #[serde(default)]
    pub(crate) ended: Option<String>,
    pub(crate) phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    Running,
    /// Ended by itself, or could not be started; it will be started again.
    Down {
        why: String,
    },
    Stopping,
    Stopped,
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
