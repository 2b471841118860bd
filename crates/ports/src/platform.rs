//! Where instances run.

use crate::{Boxed, Error, Streamed};
use davy_core::{
    Digest, Finding, Generation, Instance, InstanceId, Millis, Release, ReleaseId, ServiceKey, Site, Source, Timestamp,
    Workload,
};
use serde::{Deserialize, Serialize};

/// Runs instances of releases.
pub trait Platform: Send + Sync {
    /// Makes what is to run immutable (for `local`: copies the files; for a registry: resolves the digest) and names
    /// it. Repeating it with the same content gives the same digest.
    fn prepare<'a>(
        &'a self,
        key: &'a ServiceKey,
        source: &'a Source,
        workload: &'a Workload,
    ) -> Boxed<'a, Result<Prepared, Error>>;

    /// Sees to it that `order.count` instances of the release run, keeping those that do. Returns once the order is
    /// taken, not once they are healthy. Refused when a higher generation was seen for the service.
    fn ensure<'a>(&'a self, order: &'a Order) -> Boxed<'a, Result<(), Error>>;

    /// What is being fetched for a service, in words (`pulling logo:2.0: 12 of 80 MB`), as long as it comes. It goes on when
    /// the call that asked for it was dropped, and the same call joins it again.
    fn fetching(&self, key: &ServiceKey) -> Option<String> {
        let _ = key;
        None
    }

    /// What is there for a service: every instance of every release, ended ones included until removed.
    fn observe<'a>(&'a self, key: &'a ServiceKey) -> Boxed<'a, Result<Vec<Instance>, Error>>;

    /// Stops every instance of the release (first asking, after `grace` by force) and leaves nothing behind. Returns
    /// once they are gone. Nothing there is success. Refused when a higher generation was seen for the service.
    fn remove<'a>(
        &'a self,
        key: &'a ServiceKey,
        release: &'a ReleaseId,
        generation: Generation,
        grace: Millis,
    ) -> Boxed<'a, Result<(), Error>>;

    /// Forgets artifacts of a service that neither run nor are among these, which may still be needed.
    fn prune<'a>(&'a self, key: &'a ServiceKey, needed: &'a [Digest]) -> Boxed<'a, Result<(), Error>>;

    /// What runs here and is not Davy's, engine by engine. One that cannot be asked says so in its part of the answer.
    fn found(&self) -> Boxed<'_, Vec<Site>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// Whether a workload could run here, as far as that can be said without changing or fetching anything.
    fn examine<'a>(&'a self, source: &'a Source, workload: &'a Workload) -> Boxed<'a, Vec<Finding>> {
        let _ = (source, workload);
        Box::pin(std::future::ready(Vec::new()))
    }

    /// The output of a service's instances.
    fn logs<'a>(&'a self, query: &'a LogQuery) -> Boxed<'a, Result<Streamed<'static, Result<LogLine, Error>>, Error>>;
}

/// What is to run, made immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its name for ever.
    pub digest: Digest,
    /// What the person who asked should know about it.
    pub notices: Vec<String>,
}

impl From<Digest> for Prepared {
    fn from(digest: Digest) -> Self {
        Self { digest, notices: Vec::new() }
    }
}

/// Instances to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// For which service.
    pub key: ServiceKey,
    /// What they run.
    pub release: Release,
    /// How many.
    pub count: u32,
    /// Those that end first when there are more.
    pub spare: Vec<InstanceId>,
    /// The fence.
    pub generation: Generation,
}

/// Which output to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// Of which service.
    pub key: ServiceKey,
    /// Of which release; every one when absent.
    pub release: Option<ReleaseId>,
    /// So many lines from the end of each instance's output first.
    pub tail: usize,
    /// Whether to go on with what comes.
    pub follow: bool,
}

/// One line that an instance wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LogLine {
    /// When it was read.
    pub at: Timestamp,
    /// What ran.
    pub release: ReleaseId,
    /// Which instance.
    pub instance: InstanceId,
    /// Where it was written.
    pub source: LogSource,
    /// The text, without the line's end; invalid UTF-8 replaced.
    pub line: String,
}

/// Which of an instance's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum LogSource {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
