//! The gateway's process: listeners, worker threads, and the control side on the first thread.

use crate::{
    access::Log,
    certificates::Certificates,
    control::Shared,
    disk::Disk,
    health,
    held::{self, Holder},
    limits::Gate,
    listen::{self, Listening},
    meters::Meters,
    metrics::{self, Sources},
    options::Options,
    sticky::Key,
    table::Table,
    tls::Tls,
    worker::{self, Common, Phase},
};
use davy_ports::Error;
use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// How long requests under way may take to finish once it is told to stop.
const FINISH: Duration = Duration::from_secs(3);

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
    let plain = Listening::open(&options.state.join("listen"), options.listen)?;
    let features = &options.features;
    let secure = features.tls.map(|asked| Listening::open(&options.state.join("listen-tls"), asked)).transpose()?;
    let meters = Arc::new(Meters::default());
    let certificates = match (&secure, &features.certificates) {
        (Some(_), Some(folder)) if !folder.is_dir() => {
            let what = format!("{} is no folder", folder.display());
            return Err(Error::never("read the certificates", what).hint("put NAME.crt beside NAME.key in it"));
        }
        (Some(_), Some(folder)) => Some(Arc::new(Certificates::open(vec![folder.clone()], meters.clone()))),
        _ => None,
    };
    let tls = match (&secure, &certificates) {
        (Some(secure), Some(certificates)) => {
            Some(Tls::new(certificates.clone(), secure.address.port(), features.redirect)?)
        }
        _ => None,
    };
    let table: Arc<RwLock<Arc<Table>>> = Arc::default();
    let boot = format!("{:x}-{:x}", std::process::id(), held::now().0);
    let disk = Disk::new(options.state.clone());
    let key = Key::new(&disk.secret().map_err(failed("make the key of cookies"))?);
    let holder = Holder::open(disk.read().map_err(failed("read the snapshots"))?, boot, key, table.clone());
    let phase = watch::Sender::new(Phase::Serve);
    let log = match &features.access_log {
        Some(path) => {
            let log = Log::open(path, meters.clone());
            Some(Arc::new(log.map_err(failed(&format!("write the access log {}", path.display())))?))
        }
        None => None,
    };
    let limits = features.limits;
    let gate = Arc::new(Gate::new(limits));
    let sources = Sources { meters: meters.clone(), gate: gate.clone(), certificates: certificates.clone() };
    let common = Common { table, meters, gate, tls, log: log.clone(), limits };
    for number in 0..options.threads.max(1) {
        let mut doors = vec![plain.door(false)?];
        if let Some(secure) = &secure {
            doors.push(secure.door(true)?);
        }
        let (common, phase) = (common.clone(), phase.subscribe());
        let worker = move || {
            if let Err(error) = worker::work(doors, common, phase) {
                tracing::error!(%error, "a worker ended");
            }
        };
        let thread = std::thread::Builder::new().name(format!("worker-{number}"));
        thread.spawn(worker).map_err(failed("start a worker thread"))?;
    }
    let shared = Shared::new(holder, disk, plain.address, secure.as_ref().map(|secure| secure.address), sources);
    // Each worker has its own listeners now: the ports are free once they have stopped.
    drop((plain, secure));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed("start the runtime"))?;
    let served = runtime.block_on(control(&options, shared, certificates, log, &phase));
    // A disk that hangs does not keep the process.
    runtime.shutdown_background();
    drop(lock);
    served.map_err(failed("listen on the control socket"))
}

async fn control(
    options: &Options,
    shared: Shared,
    certificates: Option<Arc<Certificates>>,
    log: Option<Arc<Log>>,
    phase: &watch::Sender<Phase>,
) -> io::Result<()> {
    // The lock is held: a socket that is there belonged to a gateway that is no more.
    fs::remove_file(&options.control).ok();
    let listener = tokio::net::UnixListener::bind(&options.control)?;
    fs::set_permissions(&options.control, fs::Permissions::from_mode(0o600))?;
    let ended = shared.ended.clone();
    tokio::spawn(shared.clone().count());
    tokio::spawn(health::watch(shared.clone()));
    if let Some(certificates) = certificates {
        tokio::spawn(look(certificates));
    }
    tokio::spawn(shared.clone().listen(listener));
    if let Some(address) = options.features.metrics {
        let listener = listen::listen(address).and_then(tokio::net::TcpListener::from_std)?;
        tokio::spawn(metrics::serve(listener, shared.clone()));
    }
    let mut hung_up = signal(SignalKind::hangup())?;
    if let Some(log) = log {
        tokio::spawn(async move {
            while hung_up.recv().await.is_some() {
                log.reopen();
            }
        });
    }
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        () = ended.notified() => {}
        _ = terminated.recv() => {}
    }
    fs::remove_file(&options.control).ok();
    phase.send_replace(Phase::Drain);
    let since = Instant::now();
    // An answer's last bytes are written after it is counted.
    let written = Duration::from_millis(20);
    tokio::time::sleep(written).await;
    while shared.under_way() > 0 && since.elapsed() < FINISH {
        tokio::time::sleep(written).await;
    }
    Ok(())
}

/// Takes up certificates that changed, for ever. A folder that hangs holds nobody else up.
async fn look(certificates: Arc<Certificates>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let certificates = certificates.clone();
        tokio::task::spawn_blocking(move || certificates.look()).await.ok();
    }
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
