//! A gateway's process, instances that do as the path says, and clients.

use bytes::Bytes;
use davy_core::{
    Backend, EnvironmentName, Failures, Generation, HealthCheck, InstanceId, Millis, ReleaseId, Role, Route,
    ServiceKey, ServiceName, Snapshot, Target, Weight, Window,
};
use davy_gateway::Client;
use davy_ports::{Cursor, Telemetry};
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Frame, Incoming},
    header,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How many megabytes `/flood` answers with.
pub(crate) const FLOOD: u64 = 256;

/// Waits until a condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let since = Instant::now();
    while !condition().await {
        assert!(since.elapsed() < PATIENCE, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A running gateway with its folder; both are gone when it is dropped.
pub(crate) struct Gateway {
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
    pub(crate) child: Child,
    words: Vec<String>,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap(), &[]).await
    }

    /// In a folder that may have something in it, told these words as well.
    pub(crate) async fn start_in(folder: TempDir, words: &[&str]) -> Self {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        Self::start_at(folder, "127.0.0.1:0", words).await
    }

    pub(crate) async fn start_at(folder: TempDir, listen: &str, words: Vec<String>) -> Self {
        let child = Self::spawn_with(&folder, listen, &words, Stdio::inherit());
        Self::greet(folder, child, words).await
    }

    pub(crate) fn spawn(folder: &TempDir, listen: &str, errors: Stdio) -> Child {
        Self::spawn_with(folder, listen, &[], errors)
    }

    pub(crate) fn spawn_with(folder: &TempDir, listen: &str, words: &[String], errors: Stdio) -> Child {
        Command::new(env!("CARGO_BIN_EXE_davy-gateway"))
            .args(["--listen", listen, "--threads", "2", "--control"])
            .arg(folder.path().join("control"))
            .arg("--state")
            .arg(folder.path().join("state"))
            .args(words)
            .stderr(errors)
            .spawn()
            .unwrap()
    }

    async fn greet(folder: TempDir, child: Child, words: Vec<String>) -> Self {
        let client = Client::new(folder.path().join("control"));
        until("the gateway answers", || async { client.hello().await.is_ok_and(|hello| hello.pid == child.id()) })
            .await;
        let address = client.hello().await.unwrap().listen;
        Self { client, address, folder, child, words }
    }

    /// Kills it as a crash would, and starts another on the same folder.
    pub(crate) async fn crash(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // A dropped gateway has nothing left to end: its folder goes on.
        let folder = std::mem::replace(&mut self.folder, TempDir::new().unwrap());
        let words = std::mem::take(&mut self.words);
        let child = Self::spawn_with(&folder, "127.0.0.1:0", &words, Stdio::inherit());
        Self::greet(folder, child, words).await
    }

    /// Starts another process that takes over; what is given back is the one before.
    pub(crate) async fn upgrade(&mut self, words: &[&str]) -> Child {
        let mut words: Vec<String> = words.iter().map(ToString::to_string).collect();
        words.push("--take-over".to_owned());
        let child = Self::spawn_with(&self.folder, "127.0.0.1:0", &words, Stdio::inherit());
        until("the other one answers", || async {
            self.client.hello().await.is_ok_and(|hello| hello.pid == child.id())
        })
        .await;
        std::mem::replace(&mut self.child, child)
    }

    /// The most memory that it has had resident, in kB.
    pub(crate) fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Every window after a cursor until a condition on all of them holds.
    pub(crate) async fn windows(&self, after: Option<Cursor>, enough: impl Fn(&[Window]) -> bool) -> Vec<Window> {
        let mut stream = self.client.windows(&key("shop"), after);
        let mut seen = Vec::new();
        let reading = async {
            while !enough(&seen) {
                if let Ok(window) = stream.next().await.unwrap() {
                    seen.push(window);
                }
            }
        };
        assert!(tokio::time::timeout(PATIENCE, reading).await.is_ok(), "waited too long for windows: {seen:#?}");
        seen
    }

    /// One answer to a request without a body, on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).header(header::HOST, "shop.test").body(Full::default()).unwrap();
        let response = Connection::open(self.address).await.send(request).await;
        let status = response.status();
        (status, text(response).await.unwrap())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A client's connection that is kept.
pub(crate) struct Connection(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.0.ready().await.unwrap();
        tokio::time::timeout(PATIENCE, self.0.send_request(request)).await.unwrap().unwrap()
    }

    /// The status of a request, its body read to the end.
    pub(crate) async fn status(&mut self, path: &str) -> StatusCode {
        let request = Request::get(path).header(header::HOST, "shop.test").body(Full::default()).unwrap();
        let response = self.send(request).await;
        let status = response.status();
        text(response).await.unwrap();
        status
    }
}

pub(crate) async fn text(response: Response<Incoming>) -> Result<String, hyper::Error> {
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a raw socket gets for these bytes, until the other side closes.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let reading = socket.read_to_end(&mut answer);
    // A reset after the answer is an end, too.
    tokio::time::timeout(PATIENCE, reading).await.expect("the gateway neither answers nor closes").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// An instance that does as the path says.
#[derive(Clone)]
pub(crate) struct Instance {
    pub(crate) address: SocketAddr,
    pub(crate) hits: Arc<AtomicU64>,
    pub(crate) healthy: Arc<AtomicBool>,
    /// Answers everything but its health with 500.
    pub(crate) fails: Arc<AtomicBool>,
    /// What `/hold` waits for.
    pub(crate) release: Arc<Notify>,
    pub(crate) held: Arc<AtomicU64>,
    /// The body's bytes that `/sink` has read.
    pub(crate) sunk: Arc<AtomicU64>,
    pub(crate) heads: Arc<Mutex<Vec<String>>>,
    name: &'static str,
}

impl Instance {
    pub(crate) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let instance = Self {
            address: listener.local_addr().unwrap(),
            hits: Arc::default(),
            healthy: Arc::new(AtomicBool::new(true)),
            fails: Arc::default(),
            release: Arc::default(),
            held: Arc::default(),
            sunk: Arc::default(),
            heads: Arc::default(),
            name,
        };
        let serving = instance.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let instance = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| instance.clone().answer(request));
                    let connection =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
                    connection.with_upgrades().await.ok();
                });
            }
        });
        instance
    }

    pub(crate) fn hits(&self) -> u64 {
        self.hits.load(Relaxed)
    }

    async fn answer(self, mut request: Request<Incoming>) -> Result<Response<BoxBody<Bytes, io::Error>>, Infallible> {
        let whole = |text: String| Response::new(Full::from(text).map_err(|never| match never {}).boxed());
        let path = request.uri().path().to_owned();
        if path == "/health" {
            let mut response = whole(String::new());
            if !self.healthy.load(Relaxed) {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            return Ok(response);
        }
        self.hits.fetch_add(1, Relaxed);
        self.heads.lock().unwrap().push(format!("{} {:?} {:?}", request.uri(), request.version(), request.headers()));
        let path = if self.fails.load(Relaxed) { "/error" } else { path.as_str() };
        Ok(match path {
            "/broken" => whole(String::new()).map(|_| {
                let begun = Ok(Frame::data(Bytes::from_static(b"begun")));
                let breaks = async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Err(io::Error::other("as the path says"))
                };
                let frames = futures_util::stream::once(async { begun }).chain(futures_util::stream::once(breaks));
                BodyExt::boxed(http_body_util::StreamBody::new(frames))
            }),
            "/error" => {
                let mut response = whole(self.name.to_owned());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
            "/never" => std::future::pending().await,
            "/hold" => {
                self.held.fetch_add(1, Relaxed);
                self.release.notified().await;
                whole(self.name.to_owned())
            }
            "/echo" => Response::new(request.into_body().map_err(io::Error::other).boxed()),
            "/sink" => {
                let mut body = request.into_body();
                while let Some(Ok(frame)) = body.frame().await {
                    self.sunk.fetch_add(frame.data_ref().map_or(0, |data| data.len() as u64), Relaxed);
                }
                whole(self.sunk.load(Relaxed).to_string())
            }
            "/flood" => {
                let chunk = Bytes::from(vec![b'x'; 1024 * 1024]);
                let frames = futures_util::stream::iter((0..FLOOD).map(move |_| Ok(Frame::data(chunk.clone()))));
                Response::new(BodyExt::boxed(http_body_util::StreamBody::new(frames)))
            }
            "/headers" => whole(format!("{:?}", request.headers())),
            "/socket" => {
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let mut socket = TokioIo::new(upgrade.await.unwrap());
                    let (mut from, mut to) = tokio::io::split(&mut socket);
                    tokio::io::copy(&mut from, &mut to).await.ok();
                });
                let mut response = whole(String::new());
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response.headers_mut().insert(header::UPGRADE, "echo".parse().unwrap());
                response.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
                response
            }
            _ => whole(self.name.to_owned()),
        })
    }
}

pub(crate) fn key(service: &str) -> ServiceKey {
    let service = ServiceName::new(service).unwrap();
    ServiceKey { service, environment: EnvironmentName::new("production").unwrap() }
}

pub(crate) fn release(name: &str) -> ReleaseId {
    ReleaseId::new(name)
}

pub(crate) fn target(name: &str, role: Role, weight: u16, instances: &[&Instance]) -> Target {
    let backend =
        |instance: &&Instance| Backend { id: InstanceId::new(instance.address.to_string()), address: instance.address };
    let instances = instances.iter().map(backend).collect();
    Target { release: release(name), role, weight: Weight::new(weight).unwrap(), instances }
}

/// A steady state: one release, no fallback, no lease.
pub(crate) fn steady(generation: u64, instances: &[&Instance]) -> Snapshot {
    Snapshot {
        key: key("shop"),
        generation: Generation(generation),
        rollout: None,
        route: Route { host: None, path: "/".to_owned() },
        serve: vec![target("v1", Role::Stable, 10_000, instances)],
        fallback: None,
        lease: None,
        health: HealthCheck { path: Some("/health".to_owned()), grace: Millis::seconds(10), interval: Millis(100) },
        timeout: Millis::seconds(20),
        matches: Vec::new(),
        mirror: None,
        sticky: false,
        guard: None,
        slow_over: None,
    }
}

/// A trial: the canary gets so many basis points, stable is the fallback.
pub(crate) fn trial(generation: u64, weight: u16, stable: &Instance, canary: &Instance) -> Snapshot {
    let rest = target("v1", Role::Stable, 10_000 - weight, &[stable]);
    let canary = target("v2", Role::Canary, weight, &[canary]);
    let fallback = Some(release("v1"));
    Snapshot { serve: vec![rest, canary], fallback, lease: Some(Millis::seconds(60)), ..steady(generation, &[]) }
}

/// The counts of a release in all windows together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) routed: u64,
    pub(crate) answered: u64,
    pub(crate) failures: Failures,
    pub client_gone: u64,
    pub(crate) latencies: u64,
}

pub(crate) fn sum(windows: &[Window], name: &str) -> Sum {
    let mut sum = Sum::default();
    let cells = windows.iter().flat_map(|window| &window.cells).filter(|cell| cell.release == release(name));
    for cell in cells {
        sum.routed += cell.routed;
        sum.answered += cell.answered;
        sum.failures.status += cell.failures.status;
        sum.failures.timeout += cell.failures.timeout;
        sum.failures.refused += cell.failures.refused;
        sum.failures.reset += cell.failures.reset;
        sum.client_gone += cell.client_gone;
        sum.latencies += cell.latency.iter().map(|(_, count)| count).sum::<u64>();
    }
    sum
}
