//! One thread that serves traffic: its listeners, its connections, its pools.

use crate::{
    access::Log,
    connection,
    deadlines::Deadlines,
    limits::{Full, Gate, Limits, Place},
    meters::Meters,
    pace::{self, Connections, Slow},
    peer::Peer,
    shared::Shared,
    table::Table,
    tls::Tls,
    upstream::Pool,
};
use std::{
    cell::{Cell, RefCell},
    io,
    net::TcpListener,
    pin::pin,
    rc::Rc,
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};
use tokio::{io::AsyncWriteExt, net::TcpStream, runtime::LocalOptions, sync::watch, task::spawn_local};
use tokio_rustls::TlsAcceptor;

/// What all workers share.
#[derive(Clone)]
pub(crate) struct Common {
    pub table: Arc<RwLock<Arc<Table>>>,
    pub meters: Arc<Meters>,
    pub gate: Arc<Gate>,
    pub tls: Option<Tls>,
    pub log: Option<Arc<Log>>,
    pub limits: Limits,
}

/// One worker thread's own things.
pub(crate) struct Worker {
    pub table: Arc<RwLock<Arc<Table>>>,
    pub pool: Pool,
    pub shared: Shared,
    pub deadlines: Rc<Deadlines>,
    pub dice: RefCell<fastrand::Rng>,
    pub connections: Connections,
    pub meters: Arc<Meters>,
    pub tls: Option<Tls>,
    pub log: Option<Arc<Log>>,
    pub limits: Limits,
    /// Whether each answer is the last of its connection.
    pub is_ending: Cell<bool>,
    /// Copies of requests under way.
    pub copies: Cell<u32>,
    gate: Arc<Gate>,
    refused: Cell<usize>,
    looks: Cell<u64>,
}

/// What a worker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Serve,
    /// Let nobody in; each connection ends with its next answer.
    Drain,
}

/// A listener of a worker, and whether its clients speak TLS.
pub(crate) struct Door {
    pub listener: TcpListener,
    pub is_secure: bool,
}

/// Serves until the process ends.
pub(crate) fn work(doors: Vec<Door>, common: Common, mut phase: watch::Receiver<Phase>) -> io::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(LocalOptions::default())?;
    let worker = Rc::new(Worker::new(common));
    let deadlines = worker.deadlines.clone();
    runtime.block_on(async move {
        spawn_local(async move { deadlines.watch().await });
        let lulling = worker.clone();
        spawn_local(async move { lulling.connections.lull().await });
        let looking = worker.clone();
        spawn_local(async move {
            loop {
                tokio::time::sleep(pace::LOOK).await;
                looking.look();
            }
        });
        let mut accepting = Vec::new();
        for door in doors {
            let listener = tokio::net::TcpListener::from_std(door.listener)?;
            let tls = worker.tls.as_ref().filter(|_| door.is_secure).map(|tls| tls.acceptor.clone());
            accepting.push(spawn_local(worker.clone().accept(listener, tls)));
        }
        loop {
            let now = *phase.borrow_and_update();
            if now == Phase::Drain {
                worker.is_ending.set(true);
                worker.connections.finish_http2();
                for accepting in accepting.drain(..) {
                    accepting.abort();
                    // It has let go of its listener when this is over.
                    accepting.await.ok();
                }
            }
            if phase.changed().await.is_err() {
                // What is under way goes on until the process ends.
                std::future::pending::<()>().await;
            }
        }
    })
}

impl Worker {
    pub(crate) fn new(common: Common) -> Self {
        let deadlines = Rc::new(Deadlines::new());
        let Common { table, meters, gate, tls, log, limits } = common;
        Self {
            table,
            pool: Pool::new(deadlines.clone()),
            shared: Shared::default(),
            deadlines,
            dice: fastrand::Rng::new().into(),
            connections: Connections::default(),
            meters,
            tls,
            log,
            limits,
            is_ending: Cell::new(false),
            copies: Cell::new(0),
            gate,
            refused: Cell::new(0),
            looks: Cell::new(0),
        }
    }

    async fn accept(self: Rc<Self>, listener: tokio::net::TcpListener, tls: Option<TlsAcceptor>) {
        let mut said = u64::MAX;
        loop {
            let (socket, client) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of files, it would be said a hundred times a second.
                    if self.looks.get() != said {
                        tracing::warn!(%error, "a connection could not be accepted");
                        said = self.looks.get();
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            let mut peer = Peer::new(client, tls.is_some());
            self.meters.connections.add();
            if tls.is_some() {
                self.meters.connections_tls.add();
            }
            match Place::of(&self.gate, peer.ip) {
                Ok(place) => peer.place = Some(Rc::new(place)),
                Err(full) => {
                    self.refuse(socket, full, peer.is_secure);
                    continue;
                }
            }
            let (worker, tls) = (self.clone(), tls.clone());
            spawn_local(connection::serve(worker, socket, peer, tls));
        }
    }

    /// Says why, where that costs little.
    fn refuse(self: &Rc<Self>, mut socket: TcpStream, full: Full, is_secure: bool) {
        let (meter, status, body) = match full {
            Full::All => (&self.meters.full, "503 Service Unavailable", "G503 too many connections"),
            Full::Client => (&self.meters.full_client, "429 Too Many Requests", "G429 too many connections of yours"),
        };
        meter.add();
        if is_secure || self.refused.get() >= 64 {
            return;
        }
        let length = body.len() + 1;
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\nretry-after: 5\r\n\
             content-length: {length}\r\n\r\n{body}\n"
        );
        let worker = self.clone();
        worker.refused.set(worker.refused.get() + 1);
        spawn_local(async move {
            let saying = async {
                socket.write_all(answer.as_bytes()).await?;
                socket.shutdown().await?;
                // Closed with something unread, the client would see a reset and no answer.
                let mut rest = [0; 1024];
                for _ in 0..16 {
                    if tokio::io::AsyncReadExt::read(&mut socket, &mut rest).await? == 0 {
                        break;
                    }
                }
                Ok::<_, io::Error>(())
            };
            worker.deadlines.until(Instant::now() + Duration::from_secs(1), pin!(saying)).await;
            worker.refused.set(worker.refused.get() - 1);
        });
    }

    fn look(&self) {
        if let Some(log) = &self.log {
            log.flush();
        }
        self.looks.set(self.looks.get() + 1);
        if self.looks.get().is_multiple_of(60 * pace::LOOKS) {
            self.shared.tidy();
        }
        if !self.looks.get().is_multiple_of(pace::LOOKS) {
            return;
        }
        self.pool.tidy();
        self.connections.look(&self.limits, |slow| match slow {
            Slow::Head => self.meters.slow_heads.add(),
            Slow::Reader => self.meters.slow_readers.add(),
        });
    }
}
