//! The gateway's process: listeners, worker threads, and the control side on the first thread.

use crate::{
    access::Log,
    acme::{self, Acme},
    certificates::Certificates,
    clock,
    control::Shared,
    disk::Disk,
    frame::Hello,
    handover::{self, Offer},
    health,
    held::Holder,
    keeper,
    limits::{Gate, Limits},
    listen::{self, Listening},
    meters::Meters,
    metrics::{self, Sources},
    options::Options,
    pace::LOOK,
    porter::Porter,
    sockets::Sockets,
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
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// How long requests under way may take to finish once it is told to stop.
const FINISH: Duration = Duration::from_secs(3);

/// Serves until it is told to stop. Becomes the leader of a session of its own, if no porter is.
///
/// # Errors
/// When the folder is used by another gateway, the address is taken, or the folder cannot be written.
pub fn run(options: Options) -> Result<(), Error> {
    if !options.held {
        // Fails only for a process that leads a group already: then nobody's terminal ends it either.
        rustix::process::setsid().ok();
    }
    let room = raise_limit();
    // The one that is compiled in, said before anybody asks.
    rustls::crypto::ring::default_provider().install_default().ok();
    let failed = |tried: &str| {
        let tried = tried.to_owned();
        move |error: io::Error| Error::never(tried, error)
    };
    let private = || DirBuilder::new().recursive(true).mode(0o700).create(&options.state);
    private().map_err(failed(&format!("create {}", options.state.display())))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed("start the runtime"))?;
    let mut offer = if options.take_over { runtime.block_on(handover::ask(&options.control))? } else { None };
    let (porter, kept) = if options.held {
        let (porter, kept) = runtime.block_on(Porter::meet()).map_err(failed("meet the porter"))?;
        (Some(porter), kept)
    } else {
        (None, None)
    };
    let handed = offer.as_ref().map(|offer| &offer.sockets).or(kept.as_ref());
    let lock = match handed {
        Some(handed) => handed.lock.try_clone().map_err(failed("share the lock"))?,
        None => lock(&options)?,
    };
    let remembered = |name: &str| options.state.join(name);
    let before = handed.map(|handed| &handed.plain);
    let plain = Listening::open(&remembered("listen"), options.listen, before)?;
    let features = &options.features;
    let before = handed.and_then(|handed| handed.secure.as_ref());
    let secure = features.tls.map(|asked| Listening::open(&remembered("listen-tls"), asked, before)).transpose()?;
    // Also after it was killed: the one before that one may still have an address.
    let is_next = handed.is_some();
    drop(kept);
    let meters = Arc::new(Meters::default());
    let certificates = match &secure {
        Some(_) => Some(Arc::new(open_certificates(&options, meters.clone())?)),
        None => None,
    };
    let tls = match (&secure, &certificates) {
        (Some(secure), Some(certificates)) => {
            Some(Tls::new(certificates.clone(), secure.address.port(), features.redirect)?)
        }
        _ => None,
    };
    let phase = watch::Sender::new(Phase::Serve);
    let log = match &features.access_log {
        Some(path) => {
            let log = Log::open(path, meters.clone());
            Some(Arc::new(log.map_err(failed(&format!("write the access log {}", path.display())))?))
        }
        None => None,
    };
    let limits = Limits { connections: features.limits.connections.min(room), ..features.limits };
    let gate = Arc::new(Gate::new(limits));
    let sources = Sources { meters: meters.clone(), gate: gate.clone(), certificates: certificates.clone() };
    let table: Arc<RwLock<Arc<Table>>> = Arc::default();
    let disk = Disk::new(options.state.clone());
    let key = Key::new(&disk.secret().map_err(failed("make the key of cookies"))?);
    let control = Control::bind(&options.control).map_err(failed("listen on the control socket"))?;
    let acme = match (&features.acme, &tls) {
        (Some(authority), Some(tls)) => {
            let folder = acme::folder(&options.state).map_err(failed("make the folder of certificates"))?;
            Some(Acme::new(authority.clone(), folder, tls.certificates.clone(), tls.challenges.clone()))
        }
        _ => None,
    };
    let doors = (0..options.threads.max(1)).map(|_| {
        let secure = secure.as_ref().map(|secure| secure.door(true));
        [Some(plain.door(false)), secure].into_iter().flatten().collect::<Result<Vec<_>, _>>()
    });
    let doors = doors.collect::<Result<Vec<_>, _>>()?;
    // All that can fail has been done: with the commit this is the gateway.
    let taken = match &mut offer {
        Some(offer) => runtime.block_on(offer.commit())?,
        None => None,
    };
    let holder = match taken {
        Some((handed, services)) => Holder::take_over(handed, services, key, table.clone()),
        None => {
            let boot = format!("{:x}-{:x}", std::process::id(), clock::now().0);
            Holder::open(disk.read().map_err(failed("read the snapshots"))?, boot, key, table.clone())
        }
    };
    let common = Common { table, meters, gate, tls, log: log.clone(), limits };
    for (number, doors) in doors.into_iter().enumerate() {
        let (common, phase) = (common.clone(), phase.subscribe());
        let worker = move || {
            if let Err(error) = worker::work(doors, common, phase) {
                tracing::error!(%error, "a worker ended");
            }
        };
        let thread = std::thread::Builder::new().name(format!("worker-{number}"));
        thread.spawn(worker).map_err(failed("start a worker thread"))?;
    }
    let hello = Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        build: keeper::build(Path::new("/proc/self/exe")),
        boot: holder.boot().to_owned(),
        listen: plain.address,
        tls: secure.as_ref().map(|secure| secure.address),
        features: Some(features.clone()),
        pid: std::process::id(),
        unheld: false,
    };
    let sockets = Sockets { plain: plain.listener, secure: secure.map(|secure| secure.listener), lock };
    let shared = Shared::new(holder, disk, hello, sources, sockets, porter, phase);
    let served =
        runtime.block_on(run_control(&options, control, shared, Watched { certificates, log, acme, offer, is_next }));
    // A disk that hangs does not keep the process.
    runtime.shutdown_background();
    served.map_err(failed("listen on the control socket"))
}

/// What the control side looks after beside the control socket.
struct Watched {
    certificates: Option<Arc<Certificates>>,
    log: Option<Arc<Log>>,
    acme: Option<Acme>,
    offer: Option<Offer>,
    is_next: bool,
}

/// A person's first, then those of an authority: these stay when nobody is asked any more.
fn open_certificates(options: &Options, meters: Arc<Meters>) -> Result<Certificates, Error> {
    let mut folders = Vec::new();
    if let Some(folder) = &options.features.certificates {
        if !folder.is_dir() {
            let what = format!("{} is no folder", folder.display());
            return Err(Error::never("read the certificates", what).hint("put NAME.crt beside NAME.key in it"));
        }
        folders.push(folder.clone());
    }
    let issued = acme::folder(&options.state);
    folders.push(issued.map_err(|error| Error::never("make the folder of certificates", error))?);
    Ok(Certificates::open(folders, meters))
}

/// The control socket, before anybody can find it.
struct Control {
    listener: std::os::unix::net::UnixListener,
    made: PathBuf,
}

impl Control {
    fn bind(path: &Path) -> io::Result<Self> {
        let mut made = path.as_os_str().to_owned();
        made.push(".n");
        let made = PathBuf::from(made);
        // The lock is held: a socket that is there belonged to a gateway that is no more.
        fs::remove_file(&made).ok();
        let listener = std::os::unix::net::UnixListener::bind(&made)?;
        fs::set_permissions(&made, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, made })
    }
}

async fn run_control(options: &Options, control: Control, shared: Shared, watched: Watched) -> io::Result<()> {
    let Watched { certificates, log, acme, offer, is_next } = watched;
    fs::rename(&control.made, &options.control)?;
    let listener = tokio::net::UnixListener::from_std(control.listener)?;
    let ended = shared.ended.clone();
    tokio::spawn(shared.clone().count());
    tokio::spawn(health::watch(shared.clone()));
    if let Some(certificates) = certificates {
        tokio::spawn(look(certificates));
    }
    if let Some(acme) = acme {
        tokio::spawn(acme.watch(shared.clone()));
    }
    let answering = tokio::spawn(shared.clone().listen(listener));
    if let Some(address) = options.features.metrics {
        match listen::listen(address).and_then(tokio::net::TcpListener::from_std) {
            Ok(listener) => drop(tokio::spawn(metrics::serve(listener, shared.clone()))),
            // The gateway before has it until it ends.
            Err(_) if is_next => drop(tokio::spawn(metrics::serve_later(address, shared.clone()))),
            Err(error) => return Err(error),
        }
    }
    // All that can fail has been done, and nobody has had an answer yet.
    shared.hold()?;
    if let Some(offer) = offer {
        tokio::spawn(offer.lead(shared.clone()));
    }
    let mut hung_up = signal(SignalKind::hangup())?;
    let written = log.clone();
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
    answering.abort();
    // When it follows, the control socket is another's, and nothing is under way any more.
    if !shared.holder().follows {
        end(options, &shared).await;
    }
    if let Some(log) = written {
        // Each worker hands on what it has ten times a second.
        tokio::time::sleep(2 * LOOK).await;
        log.finish();
    }
    Ok(())
}

/// Lets nobody in any more, and what is under way finish.
async fn end(options: &Options, shared: &Shared) {
    fs::remove_file(&options.control).ok();
    shared.let_go().await;
    shared.phase(Phase::Drain);
    shared.ending().notify_waiters();
    let since = Instant::now();
    // An answer's last bytes are written after it is counted.
    let written = Duration::from_millis(20);
    tokio::time::sleep(written).await;
    while shared.under_way() > 0 && since.elapsed() < FINISH {
        tokio::time::sleep(written).await;
    }
}

/// Takes up certificates that changed, for ever. A folder that hangs holds nobody else up.
async fn look(certificates: Arc<Certificates>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let certificates = certificates.clone();
        tokio::task::spawn_blocking(move || certificates.look()).await.ok();
    }
}

/// Every client has a connection here and, while it asks, one to an instance: the usual 1,024 files are soon used up. Gives
/// back how many clients there is room for.
fn raise_limit() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the number of open files could not be raised: fewer clients are served");
    }
    let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
    files.map_or(usize::MAX, |files| files / 4 * 3)
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
