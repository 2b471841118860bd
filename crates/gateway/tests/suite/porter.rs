//! A gateway is killed, and its clients wait a moment instead of being refused.

use crate::house::{Connection, Instance, PATIENCE, key, steady, until};
use davy_gateway::{Client, Features, Hello, Keeper, KeeperOptions};
use davy_ports::Router;
use hyper::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A porter with its gateway, in a folder that may be another one's, too.
struct Kept {
    porter: Child,
    client: Client,
}

impl Kept {
    async fn start(folder: &Path, words: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_davy-gateway"));
        command.args(["gateway", "--listen", "127.0.0.1:0", "--threads", "2", "--control"]).arg(folder.join("control"));
        command.arg("--state").arg(folder.join("state")).args(words).stdin(Stdio::null());
        let porter = command.spawn().unwrap();
        let client = Client::new(folder.join("control"));
        let id = porter.id();
        until("it answers", || async { client.hello().await.is_ok_and(|hello| hello.is_of(id)) }).await;
        Self { porter, client }
    }

    async fn hello(&self) -> Hello {
        self.client.hello().await.unwrap()
    }

    /// Kills the gateway, and waits until it is dead.
    async fn kill_gateway(&self) -> Hello {
        let hello = self.hello().await;
        assert_ne!(hello.pid, self.porter.id());
        kill(hello.pid, Signal::KILL);
        until("it is dead", || async { is_dead(hello.pid) }).await;
        hello
    }

    /// Waits until another gateway than this one answers.
    async fn another(&self, than: &Hello) -> Hello {
        until("another one answers", || async { self.client.hello().await.is_ok_and(|hello| hello.pid != than.pid) })
            .await;
        self.hello().await
    }

    async fn ended(&mut self) -> bool {
        let porter = Mutex::new(&mut self.porter);
        until("the porter has ended", || async { porter.lock().unwrap().try_wait().unwrap().is_some() }).await;
        self.porter.wait().unwrap().success()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // It ends its gateway, too.
        if self.porter.try_wait().is_ok_and(|status| status.is_none()) {
            kill(self.porter.id(), Signal::TERM);
            self.porter.wait().ok();
        }
    }
}

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// A process that its porter knows to have ended has let go of everything.
fn is_dead(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// Clients that make a connection for each request.
#[derive(Clone, Default)]
struct Load {
    answered: Arc<AtomicU64>,
    /// Kills begun, and those after which the gateway was seen to be dead.
    begun: Arc<AtomicU64>,
    done: Arc<AtomicU64>,
    /// Under way on a gateway while it was killed.
    lost: Arc<AtomicU64>,
    failed: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(address: SocketAddr) -> (Self, Vec<tokio::task::JoinHandle<()>>) {
        let load = Self::default();
        let clients = (0..8).map(|_| tokio::spawn(load.clone().run(address))).collect();
        (load, clients)
    }

    async fn run(self, address: SocketAddr) {
        while !self.stop.load(SeqCst) {
            let done = self.done.load(SeqCst);
            let why = match TcpStream::connect(address).await {
                Err(error) => error.to_string(),
                Ok(socket) => match asked(socket).await {
                    Ok(answer) if answer.starts_with("HTTP/1.1 200") => {
                        self.answered.fetch_add(1, SeqCst);
                        continue;
                    }
                    // It was taken by a gateway that was killed then.
                    Ok(answer) if answer.is_empty() && self.begun.load(SeqCst) > done => {
                        self.lost.fetch_add(1, SeqCst);
                        continue;
                    }
                    Err(_) if self.begun.load(SeqCst) > done => {
                        self.lost.fetch_add(1, SeqCst);
                        continue;
                    }
                    Ok(answer) => format!("answered {answer:?}"),
                    Err(error) => error.to_string(),
                },
            };
            self.failed.lock().unwrap().push(why);
        }
    }

    async fn more(&self) {
        let before = self.answered.load(SeqCst);
        until("there is load", || async { self.answered.load(SeqCst) > before + 200 }).await;
    }

    /// Ends it; nothing may have failed but what was lost with a gateway.
    async fn end(self, clients: Vec<tokio::task::JoinHandle<()>>) {
        self.stop.store(true, SeqCst);
        for client in clients {
            tokio::time::timeout(PATIENCE, client).await.unwrap().unwrap();
        }
        let failed = self.failed.lock().unwrap();
        assert!(failed.is_empty(), "{failed:?}");
        // Each client has one under way at most.
        assert!(self.lost.load(SeqCst) <= 8 * self.begun.load(SeqCst), "{} were lost", self.lost.load(SeqCst));
    }
}

async fn asked(mut socket: TcpStream) -> io::Result<String> {
    socket.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, socket.read_to_string(&mut answer)).await??;
    Ok(answer)
}

async fn is_refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[tokio::test]
async fn a_killed_gateway_refuses_no_new_connection() {
    let folder = TempDir::new().unwrap();
    let kept = Kept::start(folder.path(), &[]).await;
    let instance = Instance::start("v1").await;
    kept.client.serve(&steady(1, &[&instance])).await.unwrap();
    let (load, clients) = Load::start(kept.hello().await.listen);
    for _ in 0..5 {
        load.more().await;
        load.begun.fetch_add(1, SeqCst);
        let before = kept.kill_gateway().await;
        load.done.fetch_add(1, SeqCst);
        let after = kept.another(&before).await;
        assert_eq!(after.listen, before.listen);
        assert_ne!(after.boot, before.boot, "what it counted is lost with it, and that is seen");
    }
    load.more().await;
    load.end(clients).await;
    assert_eq!(kept.client.observe(&key("shop")).await.unwrap().unwrap().snapshot.generation.0, 1);
}

#[tokio::test]
async fn who_comes_in_between_waits_and_is_let_go_when_no_gateway_comes() {
    let folder = TempDir::new().unwrap();
    let mut kept = Kept::start(folder.path(), &[]).await;
    let address = kept.hello().await.listen;
    // None can start any more.
    let state = folder.path().join("state");
    std::fs::rename(&state, folder.path().join("aside")).unwrap();
    std::fs::write(&state, "in the way").unwrap();
    kept.kill_gateway().await;
    let waiting = TcpStream::connect(address).await.unwrap();
    let waited = asked(waiting).await;
    assert!(waited.is_err() || waited.is_ok_and(|answer| answer.is_empty()), "nobody could answer");
    until("nobody holds it", || is_refused(address)).await;
    assert!(!kept.ended().await);
}

#[tokio::test]
async fn a_gateway_that_ends_leaves_nothing_held() {
    for signal in [None, Some(Signal::TERM)] {
        let folder = TempDir::new().unwrap();
        let mut kept = Kept::start(folder.path(), &[]).await;
        let hello = kept.hello().await;
        match signal {
            None => kept.client.shutdown().await.unwrap(),
            Some(signal) => kill(kept.porter.id(), signal),
        }
        assert!(kept.ended().await, "{signal:?}");
        assert!(is_refused(hello.listen).await && is_dead(hello.pid));
        let lock = std::fs::File::open(folder.path().join("state/lock")).unwrap();
        lock.try_lock().unwrap();
    }
}

#[tokio::test]
async fn after_a_hand_over_the_next_porter_holds_and_the_one_before_does_not() {
    let folder = TempDir::new().unwrap();
    let certificates = folder.path().join("certificates");
    std::fs::create_dir(&certificates).unwrap();
    let made = rcgen::generate_simple_self_signed(["tls.test".to_owned()]).unwrap();
    std::fs::write(certificates.join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(certificates.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(certificates.join("tls.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    let words = ["--tls", "127.0.0.1:0", "--certificates", certificates.to_str().unwrap()];
    let mut first = Kept::start(folder.path(), &words).await;
    let instance = Instance::start("v1").await;
    first.client.serve(&steady(1, &[&instance])).await.unwrap();
    let before = first.hello().await;
    // Something is under way in the first, so that it and its porter stay.
    let address = before.listen;
    let under_way = tokio::spawn(async move { Connection::open(address).await.status("/hold").await });
    until("a request is held", || async { instance.held.load(SeqCst) == 1 }).await;
    let (load, clients) = Load::start(address);
    load.more().await;
    let mut second = Kept::start(folder.path(), &["--take-over"]).await;
    until("nobody listens for TLS, as the next one does not", || is_refused(before.tls.unwrap())).await;
    for _ in 0..2 {
        load.more().await;
        load.begun.fetch_add(1, SeqCst);
        let dead = second.kill_gateway().await;
        load.done.fetch_add(1, SeqCst);
        second.another(&dead).await;
    }
    load.more().await;
    load.end(clients).await;
    assert!(first.porter.try_wait().unwrap().is_none(), "it waits for what is under way");
    second.client.shutdown().await.unwrap();
    assert!(second.ended().await);
    assert!(is_refused(address).await, "the porter before holds nothing");
    instance.release.notify_one();
    assert_eq!(tokio::time::timeout(PATIENCE, under_way).await.unwrap().unwrap(), StatusCode::OK);
    assert!(first.ended().await);
}

#[tokio::test]
async fn one_that_is_killed_while_the_one_before_finishes_comes_back_all_the_same() {
    let folder = TempDir::new().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let first = Kept::start(folder.path(), &["--metrics", &free]).await;
    let instance = Instance::start("v1").await;
    first.client.serve(&steady(1, &[&instance])).await.unwrap();
    let address = first.hello().await.listen;
    let under_way = tokio::spawn(async move { Connection::open(address).await.status("/hold").await });
    until("a request is held", || async { instance.held.load(SeqCst) == 1 }).await;
    // The first has the address of the metrics until it ends.
    let second = Kept::start(folder.path(), &["--take-over", "--metrics", &free]).await;
    let dead = second.kill_gateway().await;
    assert_eq!(second.another(&dead).await.listen, address);
    instance.release.notify_one();
    assert_eq!(tokio::time::timeout(PATIENCE, under_way).await.unwrap().unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn a_killed_porter_costs_nothing_and_gets_a_successor() {
    let folder = TempDir::new().unwrap();
    let keeper = Keeper::start(KeeperOptions {
        exe: env!("CARGO_BIN_EXE_davy-gateway").into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        control: folder.path().join("control"),
        state: folder.path().join("state"),
        log: folder.path().join("log"),
        features: Some(Features::default()),
    });
    let keeper = Arc::new(keeper.await.unwrap());
    let client = Client::new(folder.path().join("control"));
    let instance = Instance::start("v1").await;
    client.serve(&steady(1, &[&instance])).await.unwrap();
    let first = client.hello().await.unwrap();
    assert!(!first.unheld);
    let (load, clients) = Load::start(first.listen);
    load.more().await;
    let porter = rustix::process::getpgid(Pid::from_raw(i32::try_from(first.pid).unwrap())).unwrap();
    kill_process(porter, Signal::KILL).unwrap();
    until("it is missed", || async { client.hello().await.is_ok_and(|hello| hello.unheld && hello.pid == first.pid) })
        .await;
    let watched = keeper.clone();
    let watching = tokio::spawn(async move { watched.watch().await });
    until("another one holds", || async { client.hello().await.is_ok_and(|hello| !hello.unheld) }).await;
    let second = client.hello().await.unwrap();
    assert_eq!((second.listen, &second.boot), (first.listen, &first.boot), "the run goes on");
    load.more().await;
    load.end(clients).await;
    watching.abort();
    keeper.end().await.unwrap();
    assert!(is_refused(first.listen).await);
}
