//! How a controller reaches the world: through calls that fail, hang, come late, are answered by nobody or carried out twice.

use crate::{
    journal::Memory,
    site::{Site, WINDOW},
    story::RATE,
};
use davy_core::{
    Digest, Generation, Instance, Millis, ReleaseId, RolloutId, ServiceKey, Serving, Snapshot, Source, Timestamp,
    Window, Workload,
};
use davy_engine::{Ports, now};
use davy_ports::{
    Batch, Boxed, Cursor, Entry, Error, Journal, JournalError, LogLine, LogQuery, NoSignals, Order, Platform, Prepared,
    Record, Router, Streamed, Telemetry, Verified,
};
use futures_util::{TryStreamExt as _, stream};
use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

/// Everything that outlives a controller.
pub(crate) struct World {
    pub(crate) journal: Memory,
    inner: Mutex<Inner>,
    /// Of 1,000 calls so many do not go as they should.
    pub(crate) trouble: AtomicU32,
    pub(crate) faults: AtomicU32,
    /// Who has it keeps the journal from answering that something was written.
    pub(crate) answering: tokio::sync::Mutex<()>,
}

pub(crate) struct Inner {
    pub(crate) dice: fastrand::Rng,
    pub(crate) sites: HashMap<ServiceKey, Site>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            journal: Memory::default(),
            inner: Mutex::new(Inner { dice: fastrand::Rng::with_seed(seed), sites: HashMap::new() }),
            trouble: AtomicU32::new(0),
            faults: AtomicU32::new(0),
            answering: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is there of a service.
    pub(crate) fn site<T>(&self, key: &ServiceKey, look: impl FnOnce(&mut Site, &mut fastrand::Rng) -> T) -> T {
        let Inner { dice, sites } = &mut *self.inner();
        match sites.get_mut(key) {
            Some(site) => look(site, dice),
            None => look(sites.entry(key.clone()).or_insert_with(|| Site::new(key, RATE, now())), dice),
        }
    }

    fn draw(&self) -> Fault {
        let Inner { dice, .. } = &mut *self.inner();
        if dice.u32(0..1_000) >= self.trouble.load(Ordering::Relaxed) {
            return Fault::None;
        }
        self.faults.fetch_add(1, Ordering::Relaxed);
        let while_ms = Duration::from_millis(dice.u64(1..30_000));
        match dice.u32(0..7) {
            0 | 1 => Fault::Fails,
            2 => Fault::Hangs,
            3 => Fault::Unanswered,
            4 => Fault::Slow(while_ms),
            5 => Fault::Late(while_ms),
            _ => Fault::Twice,
        }
    }
}

/// What becomes of a call.
enum Fault {
    None,
    /// Nothing is done, and it is said.
    Fails,
    /// Nothing is done, and nothing is said.
    Hangs,
    /// It is done, and nothing is said, or something else.
    Unanswered,
    /// It takes its time, if somebody waits for so long.
    Slow(Duration),
    /// It is done after everybody gave up.
    Late(Duration),
    /// It is done, and done again.
    Twice,
}

/// One controller's way to the world, which ends with it.
pub(crate) struct Reach {
    world: Arc<World>,
    alive: AtomicBool,
}

impl Reach {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self { world: world.clone(), alive: AtomicBool::new(true) })
    }

    /// Nothing that this controller asks for is done any more, but for what is on its way already.
    pub(crate) fn die(&self) {
        self.alive.store(false, Ordering::Relaxed);
    }

    pub(crate) fn ports(self: &Arc<Self>, reports: &Path) -> Ports {
        Ports {
            journal: self.clone(),
            platform: self.clone(),
            router: self.clone(),
            telemetry: self.clone(),
            signals: Arc::new(NoSignals),
            reports: reports.to_owned(),
        }
    }

    async fn living(&self) {
        if !self.alive.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    /// A call of the world, as it goes.
    async fn call<T: Send + 'static, E: Send + 'static>(
        &self,
        fails: impl Fn(&'static str) -> E + Send,
        unanswered: impl Fn() -> Option<E> + Send,
        done: impl Fn(&World) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        self.living().await;
        match self.world.draw() {
            Fault::None => done(&self.world),
            Fault::Fails => Err(fails("it is not to be reached")),
            Fault::Hangs => std::future::pending().await,
            Fault::Unanswered => {
                done(&self.world).ok();
                match unanswered() {
                    Some(error) => Err(error),
                    None => std::future::pending().await,
                }
            }
            Fault::Slow(time) => {
                tokio::time::sleep(time).await;
                self.living().await;
                done(&self.world)
            }
            Fault::Late(time) => {
                let world = self.world.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    done(&world).ok();
                });
                std::future::pending().await
            }
            Fault::Twice => {
                let first = done(&self.world);
                done(&self.world).ok();
                first
            }
        }
    }

    /// A journal on a disk answers later, and other things happen meanwhile: where there is trouble, every second time.
    async fn tarry(&self) {
        if self.world.trouble.load(Ordering::Relaxed) == 0 {
            return;
        }
        let later = {
            let Inner { dice, .. } = &mut *self.world.inner();
            dice.bool().then(|| Duration::from_millis(dice.u64(1..20)))
        };
        if let Some(later) = later {
            tokio::time::sleep(later).await;
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        tried: &'static str,
        done: impl Fn(&World) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.call(|why| Error::later(tried, why), || None, done).await
    }

    async fn journal<T: Send + 'static>(
        &self,
        done: impl Fn(&World) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let unknown = || {
            let told = self.world.inner().dice.bool();
            told.then(|| JournalError::Unknown { why: "the connection was lost at the commit".to_owned() })
        };
        self.call(|why| JournalError::Unavailable { why: why.to_owned() }, unknown, done).await
    }
}

impl Journal for Reach {
    fn append<'a>(
        &'a self,
        stream: &'a ServiceKey,
        expected: u64,
        entries: &'a [Entry],
    ) -> Boxed<'a, Result<Vec<Record>, JournalError>> {
        let (stream, entries) = (stream.clone(), entries.to_vec());
        Box::pin(async move {
            let written = self.journal(move |world| world.journal.write(&stream, expected, &entries)).await;
            drop(self.world.answering.lock().await);
            self.tarry().await;
            written
        })
    }

    fn stream<'a>(&'a self, stream: &'a ServiceKey, after: u64) -> Boxed<'a, Result<Vec<Record>, JournalError>> {
        Box::pin(async move {
            self.journal(|_| Ok(())).await?;
            self.world.journal.stream(stream, after).await
        })
    }

    fn rollout<'a>(&'a self, rollout: &'a RolloutId) -> Boxed<'a, Result<Vec<Record>, JournalError>> {
        Box::pin(async move {
            self.journal(|_| Ok(())).await?;
            self.world.journal.rollout(rollout).await
        })
    }

    fn after(&self, sequence: u64, limit: usize) -> Boxed<'_, Result<Vec<Record>, JournalError>> {
        Box::pin(async move {
            self.journal(|_| Ok(())).await?;
            self.world.journal.after(sequence, limit).await
        })
    }

    fn since(&self, sequence: u64) -> Streamed<'_, Result<Record, JournalError>> {
        let begun = async move { self.journal(|_| Ok(())).await.map(|()| self.world.journal.since(sequence)) };
        Box::pin(stream::once(begun).try_flatten())
    }

    fn streams(&self) -> Boxed<'_, Result<Vec<ServiceKey>, JournalError>> {
        self.world.journal.streams()
    }

    fn store<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Result<(), JournalError>> {
        let batch = batch.clone();
        Box::pin(async move {
            let stored = self.journal(move |world| world.journal.keep(&batch)).await;
            self.tarry().await;
            stored
        })
    }

    fn evidence<'a>(&'a self, rollout: &'a RolloutId) -> Boxed<'a, Result<Vec<Batch>, JournalError>> {
        Box::pin(async move {
            self.journal(|_| Ok(())).await?;
            self.world.journal.evidence(rollout).await
        })
    }

    fn verify(&self) -> Boxed<'_, Result<Verified, JournalError>> {
        self.world.journal.verify()
    }
}

impl Platform for Reach {
    fn prepare<'a>(
        &'a self,
        _: &'a ServiceKey,
        source: &'a Source,
        _: &'a Workload,
    ) -> Boxed<'a, Result<Prepared, Error>> {
        Box::pin(async move { Ok(Digest::new(format!("sha256:{}", source.folder.display())).into()) })
    }

    fn ensure<'a>(&'a self, order: &'a Order) -> Boxed<'a, Result<(), Error>> {
        let order = order.clone();
        Box::pin(
            self.ask("order instances", move |world| {
                world.site(&order.key, |site, dice| site.ensure(&order, now(), dice))
            }),
        )
    }

    fn observe<'a>(&'a self, key: &'a ServiceKey) -> Boxed<'a, Result<Vec<Instance>, Error>> {
        let key = key.clone();
        Box::pin(self.ask("look at the instances", move |world| Ok(world.site(&key, |site, _| site.observe(now())))))
    }

    fn remove<'a>(
        &'a self,
        key: &'a ServiceKey,
        release: &'a ReleaseId,
        generation: Generation,
        _: Millis,
    ) -> Boxed<'a, Result<(), Error>> {
        let (key, release) = (key.clone(), release.clone());
        Box::pin(
            self.ask("remove instances", move |world| world.site(&key, |site, _| site.remove(&release, generation))),
        )
    }

    fn prune<'a>(&'a self, _: &'a ServiceKey, _: &'a [Digest]) -> Boxed<'a, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn logs<'a>(&'a self, _: &'a LogQuery) -> Boxed<'a, Result<Streamed<'static, Result<LogLine, Error>>, Error>> {
        Box::pin(async { Err(Error::never("read logs", "nothing writes any")) })
    }
}

impl Router for Reach {
    fn serve<'a>(&'a self, snapshot: &'a Snapshot) -> Boxed<'a, Result<Serving, Error>> {
        let snapshot = snapshot.clone();
        Box::pin(self.ask("serve", move |world| world.site(&snapshot.key, |site, _| site.serve(&snapshot, now()))))
    }

    fn renew<'a>(&'a self, key: &'a ServiceKey, generation: Generation) -> Boxed<'a, Result<Serving, Error>> {
        let key = key.clone();
        Box::pin(self.ask("renew", move |world| world.site(&key, |site, _| site.renew(generation, now()))))
    }

    fn revert<'a>(&'a self, key: &'a ServiceKey) -> Boxed<'a, Result<Serving, Error>> {
        let key = key.clone();
        Box::pin(self.ask("put traffic back", move |world| world.site(&key, |site, _| site.revert(now()))))
    }

    fn observe<'a>(&'a self, key: &'a ServiceKey) -> Boxed<'a, Result<Option<Serving>, Error>> {
        let key = key.clone();
        Box::pin(self.ask("look at the router", move |world| Ok(world.site(&key, |site, _| site.serving(now())))))
    }
}

/// Between two looks for a new window, when one is late.
const POLL: Duration = Duration::from_millis(500);

impl Telemetry for Reach {
    fn windows(&self, key: &ServiceKey, after: Option<Cursor>) -> Streamed<'static, Result<Window, Error>> {
        let begin = (self.world.clone(), key.clone(), after, None::<Timestamp>);
        Box::pin(stream::unfold(begin, |(world, key, after, told_to)| async move {
            // The next one is not there before its time.
            if let Some(told_to) = told_to {
                tokio::time::sleep(told_to.plus(WINDOW).since(now()).duration()).await;
            }
            loop {
                if let Some(window) = world.site(&key, |site, _| site.window(after.as_ref(), now())) {
                    let cursor = Cursor { boot: window.boot.clone(), sequence: window.sequence };
                    let told_to = Some(window.to);
                    return Some((Ok(window), (world, key, Some(cursor), told_to)));
                }
                tokio::time::sleep(POLL).await;
            }
        }))
    }
}
