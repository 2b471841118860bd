//! The control socket: one request and one answer a connection, or a subscription to windows. Whoever stalls harms
//! only himself.

use crate::{
    disk::{Disk, Writing},
    frame::{self, Answer, Hello, Request},
    handover,
    held::{AT_ONCE, Holder},
    metrics::Sources,
    porter::Porter,
    sockets::Sockets,
    worker::Phase,
};
use davy_core::{HealthCheck, ServiceKey, Serving, Snapshot};
use davy_ports::Error;
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Notify, watch},
};

/// The time of a window.
pub(crate) const WINDOW: Duration = Duration::from_millis(100);
/// A controller that does not take a frame for so long is dropped.
pub(crate) const STALLED: Duration = Duration::from_secs(5);

/// What every task of the control side shares.
#[derive(Clone)]
pub(crate) struct Shared {
    holder: Arc<Mutex<Holder>>,
    disk: Arc<Disk>,
    hello: Arc<Hello>,
    sources: Sources,
    sockets: Arc<Mutex<Option<Sockets>>>,
    porter: Option<Arc<Porter>>,
    phase: watch::Sender<Phase>,
    ticks: watch::Sender<u64>,
    pub(crate) ended: Arc<Notify>,
    ending: Arc<Notify>,
}

impl Shared {
    pub(crate) fn new(
        holder: Holder,
        disk: Disk,
        hello: Hello,
        sources: Sources,
        sockets: Sockets,
        porter: Option<Porter>,
        phase: watch::Sender<Phase>,
    ) -> Self {
        Self {
            holder: Arc::new(Mutex::new(holder)),
            disk: Arc::new(disk),
            hello: Arc::new(hello),
            sources,
            sockets: Arc::new(Mutex::new(Some(sockets))),
            porter: porter.map(Arc::new),
            phase,
            ticks: watch::Sender::new(0),
            ended: Arc::default(),
            ending: Arc::default(),
        }
    }

    pub(crate) fn holder(&self) -> MutexGuard<'_, Holder> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it listens on; none once another process does.
    pub(crate) fn sockets(&self) -> MutexGuard<'_, Option<Sockets>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has them held in case that this process is killed.
    pub(crate) fn hold(&self) -> io::Result<()> {
        match (&self.porter, &*self.sockets()) {
            (Some(porter), Some(sockets)) => porter.hold(sockets),
            _ => Ok(()),
        }
    }

    /// Lets go of what it listens on, and of the folder; so does its porter. False if another process has both.
    pub(crate) async fn let_go(&self) -> bool {
        let Some(sockets) = self.sockets().take() else { return false };
        if let Some(porter) = &self.porter {
            porter.let_go().await;
        }
        drop(sockets);
        true
    }

    /// Tells the workers.
    pub(crate) fn phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Connections of clients that are open.
    pub(crate) fn connections(&self) -> usize {
        self.sources.gate.open()
    }

    /// Wakes those who lead a process that follows, when this one ends.
    pub(crate) fn ending(&self) -> Arc<Notify> {
        self.ending.clone()
    }

    /// Requests under way, of all services.
    pub(crate) fn under_way(&self) -> u64 {
        self.holder().under_way()
    }

    pub(crate) fn instances(&self) -> Vec<(SocketAddr, HealthCheck, Arc<AtomicBool>)> {
        self.holder().instances()
    }

    /// What it tells of itself, as text.
    pub(crate) fn metrics(&self) -> String {
        let kept = self.holder().kept();
        self.sources.tell(&self.hello.boot, &kept)
    }

    /// Closes windows for ever.
    pub(crate) async fn count(self) {
        let alarm = self.holder().alarm.clone();
        let mut tick = tokio::time::interval(WINDOW);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = alarm.notified() => {}
            }
            let unwritten = {
                let mut holder = self.holder();
                holder.tick();
                holder.unwritten()
            };
            self.ticks.send_modify(|ticks| *ticks += 1);
            unwritten.into_iter().for_each(|writing| self.write(writing));
        }
    }

    /// Answers controllers for ever.
    pub(crate) async fn listen(self, listener: UnixListener) {
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                tokio::time::sleep(WINDOW).await;
                continue;
            };
            let ours = socket.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw());
            if !ours {
                tracing::warn!("a process of another user was refused");
                continue;
            }
            let shared = self.clone();
            tokio::spawn(async move {
                if let Err(error) = shared.converse(socket).await {
                    tracing::debug!(%error, "a controller's connection ended");
                }
            });
        }
    }

    async fn converse(&self, mut socket: UnixStream) -> io::Result<()> {
        let request: Request = tokio::time::timeout(STALLED, frame::read(&mut socket)).await??;
        if matches!(request, Request::TakeOver) {
            return handover::give(self, socket).await;
        }
        if let Request::Windows { key, mut after } = request {
            let mut ticks = self.ticks.subscribe();
            loop {
                if self.holder().follows {
                    return Err(io::Error::other("another process has the counts"));
                }
                let windows = self.holder().windows(&key, after.as_ref());
                let more = windows.len() == AT_ONCE;
                if let Some(last) = windows.last() {
                    after = Some(davy_ports::Cursor { boot: last.boot.clone(), sequence: last.sequence });
                    send(&mut socket, &Answer::Windows(windows)).await?;
                }
                if more {
                    continue;
                }
                ticks.changed().await.map_err(io::Error::other)?;
            }
        }
        let last = matches!(request, Request::Shutdown);
        let answer = self.answer(request).await;
        send(&mut socket, &answer).await?;
        if last {
            self.ended.notify_one();
        }
        Ok(())
    }

    async fn answer(&self, request: Request) -> Answer {
        let serving = |serving: Result<Serving, Error>| match serving {
            Ok(serving) => Answer::Serving(Some(Box::new(serving))),
            Err(error) => Answer::Error(error),
        };
        match request {
            Request::Hello => {
                let unheld = self.porter.as_ref().is_some_and(|porter| porter.is_gone());
                Answer::Hello(Box::new(Hello { unheld, ..(*self.hello).clone() }))
            }
            Request::Serve(snapshot) => serving(self.serve(&snapshot).await),
            Request::Renew { key, generation } => serving(self.holder().renew(&key, generation)),
            Request::Revert { key } => serving(self.revert(&key)),
            Request::Observe { key } => Answer::Serving(self.holder().observe(&key).map(Box::new)),
            Request::Certificates => {
                Answer::Certificates(self.sources.certificates.as_ref().map(|known| known.all()).unwrap_or_default())
            }
            Request::Metrics => Answer::Text(self.metrics()),
            Request::Windows { .. } | Request::TakeOver | Request::Commit | Request::Shutdown => Answer::Done,
        }
    }

    /// On disk first, then served. Nobody else waits for the disk.
    async fn serve(&self, snapshot: &Snapshot) -> Result<Serving, Error> {
        let prepared = self.holder().prepare(snapshot)?;
        let Some(writing) = prepared else {
            let nothing = || Error::later("serve a snapshot", "it is gone meanwhile");
            return self.holder().observe(&snapshot.key).ok_or_else(nothing);
        };
        let disk = self.disk.clone();
        let stored = tokio::task::spawn_blocking(move || disk.write(&writing).map(|()| writing)).await;
        let failed = |error: io::Error| {
            Error::later("keep the snapshot on disk", error).hint("see that the gateway's disk is there and not full")
        };
        let writing = stored.map_err(io::Error::other).and_then(|written| written).map_err(failed)?;
        self.holder().serve(writing)
    }

    fn revert(&self, key: &ServiceKey) -> Result<Serving, Error> {
        let (serving, writing) = self.holder().revert(key)?;
        if let Some(writing) = writing {
            self.write(writing);
        }
        Ok(serving)
    }

    /// Traffic is back: the disk is told, and nobody waits for it.
    fn write(&self, writing: Writing) {
        let disk = self.disk.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = disk.write(&writing) {
                let key = &writing.stored.snapshot.key;
                tracing::error!(%key, %error, "traffic is back, but the disk does not know");
            }
        });
    }
}

async fn send(socket: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    tokio::time::timeout(STALLED, frame::write(socket, answer)).await?
}
