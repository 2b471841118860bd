//! An open-loop load for the demo: requests leave on time whether or not earlier ones have been answered.

use bytes::Bytes;
use davy_core::Timestamp;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http1::SendRequest, header};
use hyper_util::rt::TokioIo;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpStream, time::Instant};

/// What came of the requests so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub sent: AtomicU64,
    pub stable: AtomicU64,
    pub stable_failed: AtomicU64,
    pub canary: AtomicU64,
    pub canary_failed: AtomicU64,
    /// Neither version answered: Davy failed them.
    pub dropped: AtomicU64,
    /// When the last request that the canary answered was sent, milliseconds since the epoch.
    pub last_canary: AtomicU64,
}

/// A load that runs until it is stopped.
pub(crate) struct Load {
    pub tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

type Idle = Arc<Mutex<Vec<SendRequest<Empty<Bytes>>>>>;

impl Load {
    pub(crate) fn start(address: SocketAddr, rate: u32, canary: &'static str) -> Self {
        let (tally, stop) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
        let task = tokio::spawn(run(address, rate.max(1), canary, tally.clone(), stop.clone()));
        Self { tally, stop, task }
    }

    /// Sends no more and waits for the answers.
    pub(crate) async fn stop(self) -> Arc<Tally> {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.ok();
        self.tally
    }
}

async fn run(address: SocketAddr, rate: u32, canary: &'static str, tally: Arc<Tally>, stop: Arc<AtomicBool>) {
    let idle: Idle = Arc::default();
    let mut under_way = tokio::task::JoinSet::new();
    let gap = Duration::from_secs(1) / rate;
    let mut due = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        due += gap;
        tokio::time::sleep_until(due).await;
        while under_way.try_join_next().is_some() {}
        tally.sent.fetch_add(1, Ordering::Relaxed);
        under_way.spawn(one(address, idle.clone(), canary, tally.clone()));
    }
    while under_way.join_next().await.is_some() {}
}

async fn one(address: SocketAddr, idle: Idle, canary: &'static str, tally: Arc<Tally>) {
    let sent = davy_engine::now();
    let answered = tokio::time::timeout(Duration::from_secs(40), ask(address, &idle)).await;
    match answered {
        Ok(Ok((Some(version), failed))) => {
            let (all, bad) = match version == canary {
                true => (&tally.canary, &tally.canary_failed),
                false => (&tally.stable, &tally.stable_failed),
            };
            all.fetch_add(1, Ordering::Relaxed);
            bad.fetch_add(u64::from(failed), Ordering::Relaxed);
            if version == canary {
                let Timestamp(sent) = sent;
                tally.last_canary.fetch_max(sent, Ordering::Relaxed);
            }
        }
        Ok(Ok((None, _)) | Err(())) | Err(_) => {
            tally.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Which version answered, and whether with a failure; none when it was not a version that answered.
async fn ask(address: SocketAddr, idle: &Idle) -> Result<(Option<String>, bool), ()> {
    let pooled = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut sender = match pooled.filter(SendRequest::is_ready) {
        Some(sender) => sender,
        None => connect(address).await?,
    };
    let request = Request::get("/version").header(header::HOST, address.to_string()).body(Empty::new());
    let response = sender.send_request(request.map_err(|_| ())?).await.map_err(|_| ())?;
    let failed = response.status().is_server_error();
    let version = response.headers().get(davy_logo::VERSION_HEADER).and_then(|value| value.to_str().ok());
    let version = version.map(str::to_owned);
    response.into_body().collect().await.map_err(|_| ())?;
    if sender.ready().await.is_ok() {
        idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
    }
    Ok((version, failed))
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Empty<Bytes>>, ()> {
    let socket = TcpStream::connect(address).await.map_err(|_| ())?;
    socket.set_nodelay(true).map_err(|_| ())?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(|_| ())?;
    tokio::spawn(connection);
    Ok(sender)
}
