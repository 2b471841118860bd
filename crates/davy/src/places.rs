//! The registry of places: which of them runs what. A service is asked for in all of them, so that it may move from one to
//! another in one rollout.

use crate::home::Home;
use davy_core::{Digest, Finding, Generation, Instance, Millis, Place, ReleaseId, ServiceKey, Site, Source, Workload};
use davy_docker::Engines;
use davy_local::LocalPlatform;
use davy_ports::{Boxed, Error, LogLine, LogQuery, Order, Platform, Prepared, Streamed, Vault};
use futures_util::stream;
use std::{path::Path, sync::Arc};
use tokio::sync::RwLock;

/// Every place of this binary.
pub(crate) struct Places {
    local: LocalPlatform,
    docker: Engines,
    /// Whether everything was stopped. Held to read by each order, so that none is under way when it is set, or comes after.
    stopped: RwLock<bool>,
}

impl Places {
    /// Opens them in a server's data folder; nothing is started or reached yet.
    pub(crate) fn open(home: &Home, shim: &Path) -> Result<Self, Error> {
        let local = LocalPlatform::open(davy_local::Options { data: home.data.clone(), shim: shim.to_owned() })?;
        let docker = Engines::open(home.docker())?;
        Ok(Self { local, docker, stopped: RwLock::default() })
    }

    /// Lets instances have secrets.
    pub(crate) fn with_vault(self, vault: &Arc<dyn Vault>) -> Self {
        Self { local: self.local.with_vault(vault.clone()), docker: self.docker.with_vault(vault.clone()), ..self }
    }

    fn of(&self, place: Place) -> &dyn Platform {
        match place {
            Place::Local => &self.local,
            Place::Docker => &self.docker,
        }
    }

    fn all(&self) -> [&dyn Platform; 2] {
        [&self.local, &self.docker]
    }

    /// Stops every instance of every service, and takes no order any more.
    pub(crate) async fn stop_all(&self, grace: Millis) -> Result<(), Error> {
        *self.stopped.write().await = true;
        let local = self.local.stop_all(grace).await;
        self.docker.stop_all(grace).await?;
        local
    }
}

impl Platform for Places {
    fn prepare<'a>(
        &'a self,
        key: &'a ServiceKey,
        source: &'a Source,
        workload: &'a Workload,
    ) -> Boxed<'a, Result<Prepared, Error>> {
        self.of(workload.run.place()).prepare(key, source, workload)
    }

    fn ensure<'a>(&'a self, order: &'a Order) -> Boxed<'a, Result<(), Error>> {
        Box::pin(async move {
            let stopped = self.stopped.read().await;
            if *stopped {
                return Err(Error::later("start instances", "the server stops"));
            }
            self.of(order.release.workload.run.place()).ensure(order).await
        })
    }

    fn fetching(&self, key: &ServiceKey) -> Option<String> {
        self.all().into_iter().find_map(|place| place.fetching(key))
    }

    fn observe<'a>(&'a self, key: &'a ServiceKey) -> Boxed<'a, Result<Vec<Instance>, Error>> {
        Box::pin(async move {
            let mut instances = Vec::new();
            for place in self.all() {
                instances.extend(place.observe(key).await?);
            }
            Ok(instances)
        })
    }

    fn remove<'a>(
        &'a self,
        key: &'a ServiceKey,
        release: &'a ReleaseId,
        generation: Generation,
        grace: Millis,
    ) -> Boxed<'a, Result<(), Error>> {
        Box::pin(async move {
            for place in self.all() {
                place.remove(key, release, generation, grace).await?;
            }
            Ok(())
        })
    }

    fn prune<'a>(&'a self, key: &'a ServiceKey, needed: &'a [Digest]) -> Boxed<'a, Result<(), Error>> {
        Box::pin(async move {
            for place in self.all() {
                place.prune(key, needed).await?;
            }
            Ok(())
        })
    }

    fn found(&self) -> Boxed<'_, Vec<Site>> {
        Box::pin(async move {
            let mut sites = Vec::new();
            for place in [&self.docker as &dyn Platform, &self.local] {
                sites.extend(place.found().await);
            }
            sites
        })
    }

    fn examine<'a>(&'a self, source: &'a Source, workload: &'a Workload) -> Boxed<'a, Vec<Finding>> {
        self.of(workload.run.place()).examine(source, workload)
    }

    fn logs<'a>(&'a self, query: &'a LogQuery) -> Boxed<'a, Result<Streamed<'static, Result<LogLine, Error>>, Error>> {
        Box::pin(async move {
            let mut all = Vec::new();
            for place in self.all() {
                all.push(place.logs(query).await?);
            }
            Ok(Box::pin(stream::select_all(all)) as Streamed<'static, _>)
        })
    }
}
