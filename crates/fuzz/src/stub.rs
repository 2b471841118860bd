//! A place and a router for the API: everything asked of them is done at once, in memory.

use davy_core::{
    Cell, Digest, Failures, FallbackCause, Generation, Health, Instance, InstanceId, Millis, Mode, ReleaseId, Role,
    ServiceKey, Serving, Snapshot, Source, Timestamp, Weight, Window, Workload,
};
use davy_ports::{
    Boxed, Cursor, Error, JournalError, LogLine, LogQuery, Mark, Order, Outbox, Platform, Prepared, Router, Streamed,
    Telemetry, Untold,
};
use futures_util::{StreamExt, stream};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What runs and what is served.
#[derive(Default)]
pub(crate) struct Stub(Mutex<BTreeMap<ServiceKey, Site>>);

#[derive(Default)]
struct Site {
    instances: Vec<Instance>,
    made: u16,
    serving: Option<Serving>,
}

impl Stub {
    fn sites(&self) -> MutexGuard<'_, BTreeMap<ServiceKey, Site>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serving(&self, key: &ServiceKey, change: impl FnOnce(&mut Serving)) -> Result<Serving, Error> {
        let mut sites = self.sites();
        let held = sites.get_mut(key).and_then(|site| site.serving.as_mut());
        let held = held.ok_or_else(|| Error::never("look at the router", format!("nothing is held of {key}")))?;
        change(held);
        Ok(held.clone())
    }
}

fn ready<'a, T: Send + 'a>(answer: T) -> Boxed<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl Platform for Stub {
    fn prepare<'a>(
        &'a self,
        _: &'a ServiceKey,
        source: &'a Source,
        workload: &'a Workload,
    ) -> Boxed<'a, Result<Prepared, Error>> {
        let digest = Digest::new(format!("{}:{}", source.folder.display(), workload.run.words().join(" ")));
        ready(Ok(digest.into()))
    }

    fn ensure<'a>(&'a self, order: &'a Order) -> Boxed<'a, Result<(), Error>> {
        let mut sites = self.sites();
        let site = sites.entry(order.key.clone()).or_default();
        let there = |site: &Site| site.instances.iter().filter(|one| one.release == order.release.id).count();
        for spare in &order.spare {
            if there(site) > order.count as usize {
                site.instances.retain(|one| one.id != *spare);
            }
        }
        while there(site) < order.count as usize {
            site.made = site.made.wrapping_add(1);
            site.instances.push(Instance {
                id: InstanceId::new(format!("i{}", site.made)),
                release: order.release.id.clone(),
                address: ([127, 0, 0, 1], site.made).into(),
                health: Health::Healthy,
                restarts: 0,
                since: Timestamp(0),
            });
        }
        ready(Ok(()))
    }

    fn observe<'a>(&'a self, key: &'a ServiceKey) -> Boxed<'a, Result<Vec<Instance>, Error>> {
        ready(Ok(self.sites().get(key).map(|site| site.instances.clone()).unwrap_or_default()))
    }

    fn remove<'a>(
        &'a self,
        key: &'a ServiceKey,
        release: &'a ReleaseId,
        _: Generation,
        _: Millis,
    ) -> Boxed<'a, Result<(), Error>> {
        if let Some(site) = self.sites().get_mut(key) {
            site.instances.retain(|one| one.release != *release);
        }
        ready(Ok(()))
    }

    fn prune<'a>(&'a self, _: &'a ServiceKey, _: &'a [Digest]) -> Boxed<'a, Result<(), Error>> {
        ready(Ok(()))
    }

    fn logs<'a>(&'a self, _: &'a LogQuery) -> Boxed<'a, Result<Streamed<'static, Result<LogLine, Error>>, Error>> {
        ready(Ok(stream::empty().boxed()))
    }
}

impl Router for Stub {
    fn serve<'a>(&'a self, snapshot: &'a Snapshot) -> Boxed<'a, Result<Serving, Error>> {
        let sound = snapshot.check().map_err(|error| Error::never("serve a snapshot", error));
        let serving = Serving {
            snapshot: snapshot.clone(),
            mode: Mode::Split,
            boot: "stub".to_owned(),
            counted: None,
            in_flight: Vec::new(),
            cut: None,
        };
        if sound.is_ok() {
            self.sites().entry(snapshot.key.clone()).or_default().serving = Some(serving.clone());
        }
        ready(sound.map(|()| serving))
    }

    fn renew<'a>(&'a self, key: &'a ServiceKey, _: Generation) -> Boxed<'a, Result<Serving, Error>> {
        ready(self.serving(key, |_| {}))
    }

    fn revert<'a>(&'a self, key: &'a ServiceKey) -> Boxed<'a, Result<Serving, Error>> {
        let back = Mode::Fallback { cause: FallbackCause::Revert, at: davy_engine::now() };
        ready(self.serving(key, |held| held.mode = back))
    }

    fn observe<'a>(&'a self, key: &'a ServiceKey) -> Boxed<'a, Result<Option<Serving>, Error>> {
        ready(Ok(self.sites().get(key).and_then(|site| site.serving.clone())))
    }
}

impl Telemetry for Stub {
    /// One window of four seconds up to now, so that nobody waits to learn how busy a service is; then nothing.
    fn windows(&self, key: &ServiceKey, after: Option<Cursor>) -> Streamed<'static, Result<Window, Error>> {
        let now = davy_engine::now();
        let cell = Cell {
            release: ReleaseId::new("v0"),
            role: Role::Stable,
            instance: InstanceId::new("i1"),
            routed: 4_000,
            answered: 4_000,
            failures: Failures::default(),
            repeated: 0,
            client_gone: 0,
            slow: 0,
            latency: Vec::new(),
        };
        let window = Window {
            key: key.clone(),
            boot: "stub".to_owned(),
            sequence: after.map_or(0, |cursor| cursor.sequence).saturating_add(1),
            generation: Generation(0),
            weight: Weight::NONE,
            from: Timestamp(now.0.saturating_sub(4_000)),
            to: now,
            cells: vec![cell],
            unserved: 0,
            cohorts: Vec::new(),
            clients_forgotten: false,
        };
        stream::iter([Ok(window)]).chain(stream::pending()).boxed()
    }
}

/// Nobody is told anything: what reads the journal to tell it finds nothing that it was not told.
impl Outbox for Stub {
    fn marks(&self) -> Boxed<'_, Result<Vec<Mark>, JournalError>> {
        ready(Ok(vec![Mark { lane: None, sequence: u64::MAX }]))
    }

    fn mark<'a>(&'a self, _: &'a Mark) -> Boxed<'a, Result<(), JournalError>> {
        ready(Ok(()))
    }

    fn give_up<'a>(&'a self, _: &'a Untold) -> Boxed<'a, Result<(), JournalError>> {
        ready(Ok(()))
    }
}
