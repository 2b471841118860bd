//! One process takes over from another, and nobody notices but the clock.

use crate::house::{Connection, Gateway, Instance, PATIENCE, key, raw, release, steady, sum, trial, until};
use bytes::Bytes;
use davy_core::{FallbackCause, Generation, Millis, Mode, Window};
use davy_ports::{Router, Telemetry};
use futures_util::StreamExt;
use http_body_util::{BodyExt, Empty, Full};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    net::SocketAddr,
    process::Child,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Clients of each kind that go on until they are stopped. None may see a failure.
#[derive(Clone, Default)]
struct Load {
    asked: Arc<AtomicU64>,
    failed: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(address: SocketAddr) -> (Self, Vec<tokio::task::JoinHandle<()>>) {
        let load = Self::default();
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(tokio::spawn(load.clone().kept(address)));
            clients.push(tokio::spawn(load.clone().anew(address)));
            clients.push(tokio::spawn(load.clone().http2(address)));
        }
        (load, clients)
    }

    fn note(&self, what: &str, done: Result<StatusCode, String>) {
        self.asked.fetch_add(1, Relaxed);
        match done {
            Ok(StatusCode::OK) => {}
            other => self.failed.lock().unwrap().push(format!("{what}: {other:?}")),
        }
    }

    /// On a connection that is kept until the gateway says that it closes it.
    async fn kept(self, address: SocketAddr) {
        let mut connection = None;
        while !self.stop.load(Relaxed) {
            let mut sender = match connection.take() {
                Some(sender) => sender,
                None => {
                    let socket = TcpStream::connect(address).await.unwrap();
                    let (sender, driving) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
                    tokio::spawn(driving);
                    sender
                }
            };
            let request = Request::get("/").header(header::HOST, "shop.test").body(Full::<Bytes>::default()).unwrap();
            let done = match sender.send_request(request).await {
                Ok(response) => {
                    let closes = response.headers().get(header::CONNECTION).is_some_and(|value| value == "close");
                    let status = response.status();
                    let read = response.into_body().collect().await;
                    if !closes {
                        connection = Some(sender);
                    }
                    read.map(|_| status).map_err(|error| error.to_string())
                }
                Err(error) => Err(error.to_string()),
            };
            self.note("kept", done);
            if let Some(sender) = &mut connection {
                sender.ready().await.ok();
            }
        }
    }

    /// On a new connection each.
    async fn anew(self, address: SocketAddr) {
        while !self.stop.load(Relaxed) {
            let answer = raw(address, b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n").await;
            let done = if answer.starts_with("HTTP/1.1 200") { Ok(StatusCode::OK) } else { Err(answer) };
            self.note("anew", done);
        }
    }

    /// On one of HTTP/2 until it is told to go away.
    async fn http2(self, address: SocketAddr) {
        while !self.stop.load(Relaxed) {
            let socket = TcpStream::connect(address).await.unwrap();
            let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await;
            let (mut sender, driving) = shaken.unwrap();
            tokio::spawn(driving);
            while !self.stop.load(Relaxed) && sender.ready().await.is_ok() {
                let request = Request::get("http://shop.test/").body(Empty::<Bytes>::new()).unwrap();
                match sender.try_send_request(request).await {
                    Ok(response) => {
                        let status = response.status();
                        let read = response.into_body().collect().await;
                        self.note("http2", read.map(|_| status).map_err(|error| error.to_string()));
                    }
                    // It was told to go away before it was sent.
                    Err(error) if error.message().is_some() => break,
                    Err(error) => self.note("http2", Err(error.into_error().to_string())),
                }
            }
        }
    }
}

async fn ends(child: &mut Child) {
    let child = Mutex::new(child);
    until("the one before has ended", || async { child.lock().unwrap().try_wait().unwrap().is_some() }).await;
}

/// Every window from the first, collected as an engine does.
fn collect(gateway: &Gateway) -> Arc<Mutex<Vec<Window>>> {
    let all: Arc<Mutex<Vec<Window>>> = Arc::default();
    let (into, mut windows) = (all.clone(), gateway.client.windows(&key("shop"), None));
    tokio::spawn(async move {
        while let Some(window) = windows.next().await {
            into.lock().unwrap().extend(window);
        }
    });
    all
}

#[tokio::test]
async fn under_load_and_in_a_trial_not_one_request_fails_and_none_is_uncounted() {
    let mut gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    let snapshot = trial(1, 5_000, &stable, &canary);
    gateway.client.serve(&snapshot).await.unwrap();
    let windows = collect(&gateway);
    let first = gateway.client.hello().await.unwrap();
    let (load, clients) = Load::start(gateway.address);
    let mut before = Vec::new();
    for round in 0..3 {
        let asked = load.asked.load(Relaxed);
        until("there is load", || async { load.asked.load(Relaxed) > asked + 500 }).await;
        before.push(gateway.upgrade(&[]).await);
        let serving = gateway.client.observe(&snapshot.key).await.unwrap().unwrap();
        assert_eq!((&serving.mode, &serving.boot), (&Mode::Split, &first.boot), "round {round}: the run goes on");
        // A controller goes on as if nothing had been.
        gateway.client.renew(&snapshot.key, Generation(1)).await.unwrap();
    }
    let asked = load.asked.load(Relaxed);
    until("there is load", || async { load.asked.load(Relaxed) > asked + 500 }).await;
    load.stop.store(true, Relaxed);
    for client in clients {
        tokio::time::timeout(PATIENCE, client).await.unwrap().unwrap();
    }
    assert_eq!(*load.failed.lock().unwrap(), Vec::<String>::new());
    assert_eq!(gateway.client.hello().await.unwrap().listen, first.listen);
    for before in &mut before {
        ends(before).await;
    }
    // Every request is counted once, whichever process answered it, and no window is missing.
    let total = load.asked.load(Relaxed);
    until("all are counted", || async {
        let windows = windows.lock().unwrap();
        sum(&windows, "v1").answered + sum(&windows, "v2").answered == total
    })
    .await;
    let windows = windows.lock().unwrap();
    let counted = [sum(&windows, "v1"), sum(&windows, "v2")];
    assert_eq!((counted[0].routed + counted[1].routed, stable.hits() + canary.hits()), (total, total));
    assert!(counted.iter().all(|sum| sum.failures.total() == 0 && sum.client_gone == 0), "{counted:?}");
    let sequences: Vec<u64> = windows.iter().map(|window| window.sequence).collect();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
    assert!(windows.iter().all(|window| window.boot == first.boot));
    let share = counted[1].routed * 100 / total;
    assert!((40..=60).contains(&share), "{share} % of {total}");
}

#[tokio::test]
async fn a_revert_reaches_the_connections_of_the_process_before() {
    let mut gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    let snapshot = trial(1, 9_990, &stable, &canary);
    gateway.client.serve(&snapshot).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..20 {
        let mut connection = Connection::open(gateway.address).await;
        connection.status("/").await;
        open.push(connection);
    }
    let mut before = gateway.upgrade(&[]).await;
    let serving = gateway.client.revert(&snapshot.key).await.unwrap();
    assert!(matches!(serving.mode, Mode::Fallback { cause: FallbackCause::Revert, .. }));
    // The other process is told at once, though nobody waits for it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let hits = canary.hits();
    for mut connection in open {
        assert_eq!(connection.status("/").await, StatusCode::OK);
    }
    assert_eq!(canary.hits(), hits);
    ends(&mut before).await;
    let windows = gateway.windows(None, |windows| sum(windows, "v1").answered >= 20).await;
    assert_eq!(sum(&windows, "v1").answered + sum(&windows, "v2").answered, 40);
}

#[tokio::test]
async fn what_is_under_way_is_told_and_finished_and_a_lease_goes_on() {
    let mut gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    let mut snapshot = trial(1, 1, &stable, &canary);
    snapshot.lease = Some(Millis(4000));
    gateway.client.serve(&snapshot).await.unwrap();
    let address = gateway.address;
    let held = tokio::spawn(async move { Connection::open(address).await.status("/hold").await });
    until("a request is held", || async { stable.held.load(Relaxed) == 1 }).await;
    let mut before = gateway.upgrade(&[]).await;
    let serving = || async { gateway.client.observe(&snapshot.key).await.unwrap().unwrap() };
    until("it is told to be under way", || async { serving().await.in_flight(&release("v1")) == 1 }).await;
    assert_eq!(serving().await.mode, Mode::Split);
    // Nobody renews it: it lapses as it would have.
    until("the lease lapses", || async {
        matches!(serving().await.mode, Mode::Fallback { cause: FallbackCause::Lapse, .. })
    })
    .await;
    assert!(before.try_wait().unwrap().is_none(), "it waits for its request");
    stable.release.notify_one();
    assert_eq!(tokio::time::timeout(PATIENCE, held).await.unwrap().unwrap(), StatusCode::OK);
    ends(&mut before).await;
    until("nothing is under way", || async { serving().await.in_flight(&release("v1")) == 0 }).await;
    let windows = gateway.windows(None, |windows| sum(windows, "v1").answered == 1).await;
    assert!(windows.iter().all(|window| window.generation == Generation(1)));
}

#[tokio::test]
async fn one_that_cannot_start_takes_nothing_over() {
    let gateway = Gateway::start().await;
    let instance = Instance::start("v1").await;
    gateway.client.serve(&steady(1, &[&instance])).await.unwrap();
    let first = gateway.client.hello().await.unwrap();
    let words = ["--take-over", "--tls", "127.0.0.1:0", "--certificates", "/nowhere"].map(str::to_owned);
    let other = Gateway::spawn_with(&gateway.folder, "127.0.0.1:0", &words, std::process::Stdio::piped());
    let output = other.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("/nowhere"), "{said}");
    assert_eq!(gateway.client.hello().await.unwrap(), first);
    assert_eq!(gateway.get("/").await.1, "v1");
    gateway.client.serve(&steady(2, &[&instance])).await.unwrap();
}

#[tokio::test]
async fn what_a_process_that_dies_while_it_finishes_had_not_told_is_seen_to_be_lost() {
    let mut gateway = Gateway::start().await;
    let instance = Instance::start("v1").await;
    gateway.client.serve(&steady(1, &[&instance])).await.unwrap();
    let address = gateway.address;
    let held = tokio::spawn(async move {
        let request = Request::get("/hold").header(header::HOST, "a").body(Full::<Bytes>::default()).unwrap();
        let socket = TcpStream::connect(address).await.unwrap();
        let (mut sender, driving) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
        tokio::spawn(driving);
        sender.send_request(request).await.is_err()
    });
    until("a request is held", || async { instance.held.load(Relaxed) == 1 }).await;
    let mut before = gateway.upgrade(&[]).await;
    let in_flight = || async { gateway.client.observe(&key("shop")).await.unwrap().unwrap().in_flight(&release("v1")) };
    until("it is told to be under way", || async { in_flight().await == 1 }).await;
    before.kill().unwrap();
    before.wait().unwrap();
    assert!(tokio::time::timeout(PATIENCE, held).await.unwrap().unwrap());
    until("nothing is told to be under way", || async { in_flight().await == 0 }).await;
    let windows =
        gateway.windows(None, |windows| windows.windows(2).any(|pair| pair[1].sequence > pair[0].sequence + 1)).await;
    assert!(windows.iter().all(|window| window.boot == windows[0].boot));
    assert_eq!(gateway.get("/").await.1, "v1");
}

#[tokio::test]
async fn told_to_end_both_end() {
    let mut gateway = Gateway::start().await;
    let instance = Instance::start("v1").await;
    gateway.client.serve(&steady(1, &[&instance])).await.unwrap();
    let mut kept = Connection::open(gateway.address).await;
    kept.status("/").await;
    let mut before = gateway.upgrade(&[]).await;
    assert!(before.try_wait().unwrap().is_none(), "it has a connection");
    gateway.client.shutdown().await.unwrap();
    ends(&mut before).await;
    ends(&mut gateway.child).await;
    assert!(TcpStream::connect(gateway.address).await.is_err());
}

#[tokio::test]
async fn one_that_is_gone_once_it_has_taken_over_leaves_no_process_for_ever() {
    let mut gateway = Gateway::start().await;
    let instance = Instance::start("v1").await;
    gateway.client.serve(&steady(1, &[&instance])).await.unwrap();
    let mut socket = tokio::net::UnixStream::connect(gateway.folder.path().join("control")).await.unwrap();
    let frame = |body: &str| {
        let json = format!(r#"{{"version":1,"body":"{body}"}}"#);
        [&u32::try_from(json.len()).unwrap().to_be_bytes()[..], json.as_bytes()].concat()
    };
    socket.write_all(&frame("take-over")).await.unwrap();
    // The byte that the sockets come with; nobody takes them.
    assert_eq!(socket.read_u8().await.unwrap(), b's');
    socket.write_all(&frame("commit")).await.unwrap();
    drop(socket);
    ends(&mut gateway.child).await;
    assert!(TcpStream::connect(gateway.address).await.is_err());
}
