//! The gateway's process: listeners, worker threads, and the control side on the first thread.

use crate::{
    control::Shared,
    deadlines::Deadlines,
    disk::{self, Disk},
    headers, health,
    held::{self, Holder},
    proxy::Worker,
    table::Table,
    upstream::Pool,
};
use davy_ports::Error;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    fs::{self, DirBuilder, File},
    io,
    net::{SocketAddr, TcpListener},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::PathBuf,
    rc::Rc,
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// How long a client may take for a request's head, and a connection may be idle.
const HEAD: Duration = Duration::from_secs(60);
/// How long requests under way may take to finish once it is told to stop.
const FINISH: Duration = Duration::from_secs(3);
/// No request's head is longer.
const BUFFER: usize = 64 * 1024;

/// What a gateway's process needs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens for traffic. Port 0: the port of the last time, else a free one.
    pub listen: SocketAddr,
    /// Its control socket, in a folder of mode 0700.
    pub control: PathBuf,
    /// The folder of its last good snapshots.
    pub state: PathBuf,
    /// How many threads serve traffic.
    pub threads: usize,
}

impl Options {
    /// Reads `--listen ADDRESS --control SOCKET --state FOLDER [--threads NUMBER]`.
    ///
    /// # Errors
    /// Says which word is missing or cannot be read.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let (mut listen, mut control, mut state, mut threads) = (None, None, None, 1);
        let mut words = words.into_iter();
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
            let unreadable = |why: &dyn std::fmt::Display| format!("{name} {value}: {why}");
            match name.as_str() {
                "--listen" => listen = Some(value.parse().map_err(|why| unreadable(&why))?),
                "--control" => control = Some(PathBuf::from(value)),
                "--state" => state = Some(PathBuf::from(value)),
                "--threads" => threads = value.parse().map_err(|why| unreadable(&why))?,
                _ => return Err(format!("{name} is not known")),
            }
        }
        let missing = |name: &str| format!("{name} is missing");
        Ok(Self {
            listen: listen.ok_or_else(|| missing("--listen"))?,
            control: control.ok_or_else(|| missing("--control"))?,
            state: state.ok_or_else(|| missing("--state"))?,
            threads,
        })
    }
}

/// Serves until it is told to stop. Becomes the leader of a session of its own.
///
/// # Errors
/// When the folder is used by another gateway, the address is taken, or the folder cannot be written.
pub fn run(options: Options) -> Result<(), Error> {
    // Fails only for a process that leads a group already: then nobody's terminal ends it either.
    rustix::process::setsid().ok();
    raise_limit();
    let failed = |tried: &str| {
        let tried = tried.to_owned();
        move |error: io::Error| Error::never(tried, error)
    };
    let private = || DirBuilder::new().recursive(true).mode(0o700).create(&options.state);
    private().map_err(failed(&format!("create {}", options.state.display())))?;
    let lock = lock(&options)?;
    let listener = bind(&options)?;
    let listen = listener.local_addr().map_err(failed("ask for the address"))?;
    let remembered = disk::replace(&options.state.join("listen"), listen.to_string().as_bytes());
    remembered.map_err(failed(&format!("write to {}", options.state.display())))?;
    let table: Arc<RwLock<Arc<Table>>> = Arc::default();
    let boot = format!("{:x}-{:x}", std::process::id(), held::now().0);
    let disk = Disk::new(options.state.clone());
    let holder = Holder::open(disk.read().map_err(failed("read the snapshots"))?, boot, table.clone());
    let ending = watch::Sender::new(false);
    for number in 0..options.threads.max(1) {
        let (listener, table) = (listener.try_clone().map_err(failed("share the listener"))?, table.clone());
        let ending = ending.subscribe();
        let name = format!("worker-{number}");
        let worker = move || {
            if let Err(error) = work(listener, table, ending) {
                tracing::error!(%error, "a worker ended");
            }
        };
        std::thread::Builder::new().name(name).spawn(worker).map_err(failed("start a worker thread"))?;
    }
    // Each worker has its own now: the port is free once they have stopped.
    drop(listener);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed("start the runtime"))?;
    let served = runtime.block_on(control(&options, Shared::new(holder, disk, listen), &ending));
    // A disk that hangs does not keep the process.
    runtime.shutdown_background();
    drop(lock);
    served.map_err(failed("listen on the control socket"))
}

async fn control(options: &Options, shared: Shared, ending: &watch::Sender<bool>) -> io::Result<()> {
    // The lock is held: a socket that is there belonged to a gateway that is no more.
    fs::remove_file(&options.control).ok();
    let listener = tokio::net::UnixListener::bind(&options.control)?;
    fs::set_permissions(&options.control, fs::Permissions::from_mode(0o600))?;
    let ended = shared.ended.clone();
    tokio::spawn(shared.clone().count());
    tokio::spawn(health::watch(shared.clone()));
    tokio::spawn(shared.clone().listen(listener));
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        () = ended.notified() => {}
        _ = terminated.recv() => {}
    }
    fs::remove_file(&options.control).ok();
    ending.send_replace(true);
    let since = Instant::now();
    // An answer's last bytes are written after it is counted.
    let written = Duration::from_millis(20);
    tokio::time::sleep(written).await;
    while shared.under_way() > 0 && since.elapsed() < FINISH {
        tokio::time::sleep(written).await;
    }
    Ok(())
}

/// Every client has a connection here and one to an instance: the usual 1,024 files are soon used up.
fn raise_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the number of open files could not be raised: fewer clients are served");
    }
}

fn lock(options: &Options) -> Result<File, Error> {
    let path = options.state.join("lock");
    let tried = format!("lock {}", path.display());
    let file = File::create(&path).map_err(|error| Error::never(&tried, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(error) => Err(Error::never(tried, error).hint("another gateway uses this folder: `davy down` stops it")),
    }
}

fn bind(options: &Options) -> Result<TcpListener, Error> {
    let last = fs::read_to_string(options.state.join("listen")).ok().and_then(|text| text.parse::<SocketAddr>().ok());
    let before = last.filter(|last| options.listen.port() == 0 && last.ip() == options.listen.ip());
    if let Some(listener) = before.and_then(|address| listen(address).ok()) {
        return Ok(listener);
    }
    listen(options.listen).map_err(|error| {
        Error::never(format!("listen on {} for traffic", options.listen), error)
            .hint("end what listens there, or give another --gateway")
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Connections of the gateway before may still be closing on the same port.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn work(listener: TcpListener, table: Arc<RwLock<Arc<Table>>>, mut ending: watch::Receiver<bool>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let deadlines = Rc::new(Deadlines::new());
    let pool = Pool::new(deadlines.clone());
    let worker = Rc::new(Worker { table, pool, deadlines: deadlines.clone(), dice: fastrand::Rng::new().into() });
    local.block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::task::spawn_local(async move { deadlines.watch().await });
        let tidied = worker.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                tidied.pool.tidy();
            }
        });
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = ending.changed() => break,
            };
            let (socket, client) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            socket.set_nodelay(true).ok();
            let worker = worker.clone();
            tokio::task::spawn_local(async move {
                let client = headers::address(client.ip());
                let service = service_fn(move |request| {
                    let (worker, client) = (worker.clone(), client.clone());
                    async move { worker.answer(request, &client).await }
                });
                let serving = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD)
                    .max_buf_size(BUFFER)
                    .serve_connection(TokioIo::new(socket), service)
                    .with_upgrades();
                if let Err(error) = serving.await {
                    tracing::debug!(%error, "a client's connection ended");
                }
            });
        }
        drop(listener);
        // What is under way goes on until the process ends.
        std::future::pending().await
    })
}
