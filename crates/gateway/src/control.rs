//! The control socket: one request and one answer a connection, or a subscription to windows. Whoever stalls harms
//! only himself.

use crate::{
    frame::{self, Answer, Hello, Request},
    held::Holder,
};
use davy_core::HealthCheck;
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
const WINDOW: Duration = Duration::from_millis(100);
/// A controller that does not take a frame for so long is dropped.
const STALLED: Duration = Duration::from_secs(5);

/// What every task of the control side shares.
#[derive(Clone)]
pub(crate) struct Shared {
    holder: Arc<Mutex<Holder>>,
    hello: Arc<Hello>,
    ticks: watch::Sender<u64>,
    pub(crate) ended: Arc<Notify>,
}

impl Shared {
    pub(crate) fn new(holder: Holder, listen: SocketAddr) -> Self {
        let hello = Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot: holder.boot().to_owned(),
            listen,
            pid: std::process::id(),
        };
        let (holder, hello) = (Arc::new(Mutex::new(holder)), Arc::new(hello));
        Self { holder, hello, ticks: watch::Sender::new(0), ended: Arc::default() }
    }

    fn holder(&self) -> MutexGuard<'_, Holder> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn instances(&self) -> Vec<(SocketAddr, HealthCheck, Arc<AtomicBool>)> {
        self.holder().instances()
    }

    /// Closes windows for ever.
    pub(crate) async fn count(self) {
        let mut tick = tokio::time::interval(WINDOW);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.holder().tick();
            self.ticks.send_modify(|ticks| *ticks += 1);
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
        if let Request::Windows { key, mut after } = request {
            let mut ticks = self.ticks.subscribe();
            loop {
                let windows = self.holder().windows(&key, after.as_ref());
                if let Some(last) = windows.last() {
                    after = Some(davy_ports::Cursor { boot: last.boot.clone(), sequence: last.sequence });
                    send(&mut socket, &Answer::Windows(windows)).await?;
                }
                ticks.changed().await.map_err(io::Error::other)?;
            }
        }
        let last = matches!(request, Request::Shutdown);
        let answer = self.answer(request);
        send(&mut socket, &answer).await?;
        if last {
            self.ended.notify_one();
        }
        Ok(())
    }

    fn answer(&self, request: Request) -> Answer {
        let serving = |serving: Result<davy_core::Serving, Error>| match serving {
            Ok(serving) => Answer::Serving(Some(Box::new(serving))),
            Err(error) => Answer::Error(error),
        };
        match request {
            Request::Hello => Answer::Hello((*self.hello).clone()),
            Request::Serve(snapshot) => serving(self.holder().serve(snapshot)),
            Request::Renew { key, generation } => serving(self.holder().renew(&key, generation)),
            Request::Revert { key } => serving(self.holder().revert(&key)),
            Request::Observe { key } => Answer::Serving(self.holder().observe(&key).map(Box::new)),
            Request::Windows { .. } | Request::Shutdown => Answer::Done,
        }
    }
}

async fn send(socket: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    tokio::time::timeout(STALLED, frame::write(socket, answer)).await?
}
