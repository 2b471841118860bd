//! The server put together: journal, places, gateway, engine, API.

use crate::{
    api::Api,
    database::{self, Database},
    exit::{Exit, Failure},
    home::{Held, Home, OwnTls, Running},
    packing::{Looked, Packing},
    places::Places,
    retention::Retention,
};
use anyhow::Context;
use davy_core::Timestamp;
use davy_engine::{
    Access, Engine, Ledger, Ports, Vault, now,
    store::{Signer, Store},
};
use davy_gateway::{Client, Features, Keeper, KeeperOptions};
use davy_notify::Notifier;
use davy_ports::Telemetry;
use davy_server::Stop;
use davy_signals::Prometheus;
use std::{
    collections::BTreeSet,
    fs::File,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::net::TcpListener;

/// How long an instance may take to end when everything is stopped.
pub(crate) const GRACE: davy_core::Millis = davy_core::Millis::seconds(5);

/// What a server has as long as its process runs, whether it works or waits for another one to end.
pub(crate) struct Base {
    pub home: Home,
    pub api: Api,
    pub database: Database,
    retention: Retention,
    packing: Packing,
    pub url: String,
    /// How it is reached from this machine by TLS.
    pub tls: Option<OwnTls>,
    token: String,
    listener: std::net::TcpListener,
    /// Whether the folder was made just now, and nothing has run in it yet.
    fresh: AtomicBool,
    _lock: File,
}

impl Base {
    /// Takes the folder and the API's address.
    pub(crate) async fn take(
        home: Home,
        api: Api,
        database: &database::Asked,
        retention: Retention,
        packing: Packing,
    ) -> Result<Self, Failure> {
        let fresh = !home.data.exists();
        let data = home.data.clone();
        let taken = Self::hold(home, api, database, (retention, packing), fresh).await;
        if taken.is_err() && fresh {
            // Nothing of a server that never ran is worth keeping.
            std::fs::remove_dir_all(data).ok();
        }
        taken
    }

    async fn hold(
        home: Home,
        api: Api,
        database: &database::Asked,
        (retention, packing): (Retention, Packing),
        fresh: bool,
    ) -> Result<Self, Failure> {
        home.create()?;
        let database = Database::settle(&home, database)?;
        let lock = home.lock(if database.is_shared() { Held::Together } else { Held::Alone })?;
        let token = home.token()?;
        let listen = api.listen();
        let listener = TcpListener::bind(listen).await.and_then(TcpListener::into_std).map_err(|error| {
            let message = format!("cannot listen on {listen} for the API: {error}");
            Failure::new(Exit::Internal, "D031", message).hint("end what listens there, or give another --listen")
        })?;
        let (url, tls) = api.url(listener.local_addr().context("ask for the API's address")?);
        let fresh = AtomicBool::new(fresh);
        Ok(Self { home, api, database, retention, packing, url, tls, token, listener, fresh, _lock: lock })
    }

    /// From now on the folder has something in it that is worth keeping, whatever fails.
    pub(crate) fn keep(&self) {
        self.fresh.store(false, Ordering::Relaxed);
    }

    /// Nothing of a server that never ran is worth keeping.
    fn clear(&self) {
        if self.fresh.load(Ordering::Relaxed) {
            std::fs::remove_dir_all(&self.home.data).ok();
        }
    }

    /// The API's address, to be served: what waits in its queue is nobody's until it is taken.
    pub(crate) fn listener(&self) -> Result<TcpListener, Failure> {
        Ok(self.listener.try_clone().and_then(TcpListener::from_std).context("listen for the API")?)
    }

    /// Where browsers find the page.
    pub(crate) fn page(&self) -> String {
        self.api.link(&self.url).unwrap_or_else(|| self.url.clone())
    }

    /// Opens the journal, and keeps in the folder where it is.
    pub(crate) async fn open(&self) -> Result<Store, Failure> {
        let opened = self.database.open().await;
        if opened.is_err() {
            self.clear();
        }
        let journal = opened?;
        self.database.remember(&self.home)?;
        journal.remember(&self.home.seen()).await.map_err(|error| self.database.failed(&error))?;
        Ok(journal)
    }
}

/// A server that is ready to serve.
pub(crate) struct Server {
    pub engine: Arc<Engine>,
    base: Arc<Base>,
    pub gateway: SocketAddr,
    access: Arc<Access>,
    vault: Arc<Vault>,
    notifier: Arc<Notifier>,
    pub gateway_tls: Option<SocketAddr>,
    keeper: Arc<Keeper>,
    platform: Arc<Places>,
    watching: tokio::task::JoinHandle<()>,
    keeping: Keeping,
    keeping_house: tokio::task::JoinHandle<()>,
    /// How it went when somebody asked to stop the instances.
    stopped: OnceLock<Result<(), davy_ports::Error>>,
}

/// Between two checkpoints, and two looks for secrets that no release needs.
const HOUSEKEEPING: Duration = Duration::from_secs(300);
/// A value that was replaced so lately may belong to a release that is just being made.
const LATELY: davy_core::Millis = davy_core::Millis::seconds(600);

/// What is done from time to time.
#[derive(Clone)]
struct Keeping {
    journal: Store,
    vault: Arc<Vault>,
    signer: Arc<Signer>,
    ledger: Arc<Ledger>,
    retention: Retention,
    packing: Packing,
}

impl Keeping {
    async fn house(&self, engine: &Engine) {
        let mut tick = tokio::time::interval(HOUSEKEEPING);
        let (mut kept, mut looked) = (BTreeSet::new(), Looked::new());
        loop {
            tick.tick().await;
            let before = Timestamp(now().0.saturating_sub(LATELY.0));
            let shredded = match engine.pins().await {
                Ok(needed) => self.vault.shred(&needed, before, &Engine::actor()).await.map_err(|e| e.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = shredded {
                tracing::warn!(error, "secrets that no release needs are still there");
            }
            if let Err(error) = self.retention.look(engine, &self.ledger, &self.signer, &mut kept).await {
                tracing::warn!(%error, "what evidence there is could not be read; it is tried again");
            }
            if let Err(error) = self.packing.look(engine, &self.journal, &mut looked).await {
                tracing::warn!(%error, "events could not be packed; it is tried again");
            }
            self.checkpoint().await;
        }
    }

    async fn checkpoint(&self) {
        if let Err(error) = self.journal.checkpoint(&self.signer, now()).await {
            tracing::warn!(%error, "the journal's checkpoint could not be signed; it is tried again");
        }
    }
}

/// Where instances run.
pub(crate) fn places(home: &Home) -> Result<Places, Failure> {
    let exe = std::env::current_exe().context("find the davy executable")?;
    Ok(Places::open(home, &exe)?)
}

impl Server {
    /// Starts everything but the API. `telemetry` stands in for the gateway's counts.
    pub(crate) async fn start(
        base: Arc<Base>,
        journal: Store,
        gateway: SocketAddr,
        features: Option<Features>,
        telemetry: Option<Arc<dyn Telemetry>>,
    ) -> Result<Self, Failure> {
        let started = Self::assemble(base.clone(), journal, gateway, features, telemetry).await;
        match started {
            Ok(_) => base.keep(),
            Err(_) => base.clear(),
        }
        started
    }

    async fn assemble(
        base: Arc<Base>,
        journal: Store,
        gateway: SocketAddr,
        features: Option<Features>,
        telemetry: Option<Arc<dyn Telemetry>>,
    ) -> Result<Self, Failure> {
        let Base { home, api, database, url, token, retention, packing, .. } = &*base;
        home.tell(&Running { process: std::process::id(), keeps: *retention })?;
        let ledger = Ledger::open(journal.clone()).await.map_err(|error| database.unread(&error))?;
        let ledger = Arc::new(ledger);
        let vault = Arc::new(Vault::open(ledger.clone(), home.secret_key())?);
        if let Some(error) = vault.trouble().await {
            tracing::error!(%error, hint = error.hint, "what needs a secret cannot be started");
        }
        let given: Arc<dyn davy_ports::Vault> = vault.clone();
        let signer = Arc::new(Signer::open(&home.checkpoint_key(), &home.checkpoint_public())?);
        let keeping = Keeping {
            journal: journal.clone(),
            vault: vault.clone(),
            signer,
            ledger: ledger.clone(),
            retention: *retention,
            packing: *packing,
        };
        let told = journal.clone();
        let platform = Arc::new(places(home)?.with_vault(&given));
        let exe = std::env::current_exe().context("find the davy executable")?;
        let keeper = Keeper::start(KeeperOptions {
            exe,
            listen: gateway,
            control: home.control(),
            state: home.gateway_state(),
            log: home.data.join("gateway.log"),
            features,
        })
        .await?;
        let keeper = Arc::new(keeper);
        let client = Arc::new(Client::new(home.control()));
        let ports = Ports {
            journal: Arc::new(journal),
            platform: platform.clone(),
            router: client.clone(),
            telemetry: telemetry.unwrap_or(client),
            signals: Arc::new(Prometheus::new(given.clone())),
            reports: home.reports(),
        };
        let engine =
            Engine::start(ports).await.map_err(|error| Failure::new(Exit::Internal, "D033", error.to_string()))?;
        let watched = keeper.clone();
        let watching = tokio::spawn(async move { watched.watch().await });
        let engine = Arc::new(engine);
        let notify = davy_notify::Options {
            private: api.notifies_private(),
            link: api.link(url),
            ..davy_notify::Options::default()
        };
        let notifier = Notifier::start(Arc::new(told), ledger.clone(), given.clone(), engine.written(), notify);
        let (kept, of) = (keeping.clone(), engine.clone());
        let keeping_house = tokio::spawn(async move { kept.house(&of).await });
        Ok(Self {
            keeping,
            keeping_house,
            engine,
            gateway: keeper.address(),
            access: Arc::new(Access::new(ledger, token)),
            vault,
            notifier: Arc::new(notifier),
            gateway_tls: keeper.tls(),
            keeper,
            platform,
            watching,
            stopped: OnceLock::new(),
            base,
        })
    }

    /// Serves the API until it is told to stop or `until` completes.
    pub(crate) async fn serve(&self, until: impl Future<Output = ()> + Send) -> Result<Option<Stop>, Failure> {
        let journal = (self.keeping.journal.clone(), self.keeping.signer.clone());
        let options = davy_server::Options {
            access: self.access.clone(),
            notifier: self.notifier.clone(),
            journal,
            listener: self.base.listener()?,
            tls: self.base.api.acceptor()?,
            known_as: self.base.api.known_as(),
            reached: davy_server::Reached { url: self.base.page(), proxied: self.base.api.is_proxied() },
            identity: self.base.api.identity(&self.base.page()),
            vault: self.vault.clone(),
        };
        let (engine, platform) = (self.engine.clone(), self.platform.clone());
        let stop = |asked: Stop| async move {
            engine.stop();
            if asked.keep_traffic { Ok(()) } else { platform.stop_all(GRACE).await }
        };
        let served = davy_server::serve(self.engine.clone(), options, until, stop).await.context("serve the API")?;
        let (asked, stopped) = served.unzip();
        if let Some(stopped) = stopped {
            self.stopped.set(stopped).ok();
        }
        Ok(asked)
    }

    /// Ends the server; and, unless traffic is kept, the gateway and every instance.
    pub(crate) async fn stop(self, keep_traffic: bool) -> Result<(), Failure> {
        self.engine.stop();
        self.notifier.stop();
        self.watching.abort();
        self.keeping_house.abort();
        self.keeping.checkpoint().await;
        if keep_traffic {
            return Ok(());
        }
        let instances = match self.stopped.into_inner() {
            Some(stopped) => stopped,
            None => self.platform.stop_all(GRACE).await,
        };
        let gateway = self.keeper.end().await;
        instances?;
        gateway?;
        Ok(())
    }

    /// Where the page is, and a code to sign in with.
    pub(crate) fn page(&self) -> Result<(String, String), Failure> {
        let (code, _) = self.access.code(self.access.own_grant())?;
        Ok((self.base.page(), code))
    }

    /// Whether somebody has the page open.
    pub(crate) fn is_looked_at(&self) -> bool {
        !self.access.sessions().is_empty()
    }

    /// Leaves it to others to start the gateway again when it dies.
    pub(crate) fn leave_gateway(&self) {
        self.watching.abort();
    }
}

/// Tells what Davy does, as events with fields, on stderr.
pub(crate) fn log() {
    let level = match std::env::var("DAVY_LOG").as_deref() {
        Ok("debug") => tracing::Level::DEBUG,
        Ok("info") => tracing::Level::INFO,
        Ok("error") => tracing::Level::ERROR,
        _ => tracing::Level::WARN,
    };
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(false).try_init().ok();
}

#[cfg(test)]
mod tests {
    use super::{Api, Base, Home, Packing, Retention};
    use std::{fs, net::SocketAddr, path::Path};

    /// A server on a new folder whose journal cannot be opened; whether the folder is left.
    fn left(folder: &Path, has_run: bool) -> bool {
        let home = Home { data: folder.join(if has_run { "ran" } else { "never" }) };
        let data = home.data.clone();
        let retention = Retention::parse("forever").expect("a word of its");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let api = Api::at(SocketAddr::from(([127, 0, 0, 1], 0)));
            let base =
                Base::take(home, api, &Default::default(), retention, Packing::NEVER).await.expect("a free folder");
            if has_run {
                base.keep();
            }
            fs::create_dir(base.home.journal()).expect("in the journal's way");
            assert!(base.open().await.is_err());
        });
        data.exists()
    }

    #[test]
    fn only_the_folder_of_a_server_that_never_ran_goes_with_its_failure() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(!left(folder.path(), false));
        assert!(left(folder.path(), true), "what runs in it is not lost when the journal cannot be opened again");
    }
}
