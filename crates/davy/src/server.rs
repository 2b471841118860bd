//! The server put together: journal, places, gateway, engine, API.

use crate::{
    exit::{Exit, Failure},
    home::Home,
    places::Places,
};
use anyhow::Context;
use davy_engine::{Engine, Ports, store::Sqlite};
use davy_gateway::{Client, Features, Keeper, KeeperOptions};
use davy_ports::Telemetry;
use davy_server::Stop;
use std::{fs::File, net::SocketAddr, path::PathBuf, sync::Arc};
use tokio::net::TcpListener;

/// How long an instance may take to end when everything is stopped.
pub(crate) const GRACE: davy_core::Millis = davy_core::Millis::seconds(5);

/// A server that is ready to serve.
pub(crate) struct Server {
    pub engine: Arc<Engine>,
    pub url: String,
    pub gateway: SocketAddr,
    pub gateway_tls: Option<SocketAddr>,
    pub token: String,
    listener: Option<TcpListener>,
    keeper: Arc<Keeper>,
    platform: Arc<Places>,
    home: Home,
    watching: tokio::task::JoinHandle<()>,
    _lock: File,
}

/// Where instances run.
pub(crate) fn places(home: &Home) -> Result<Places, Failure> {
    let exe = std::env::current_exe().context("find the davy executable")?;
    Ok(Places::open(home, &exe)?)
}

impl Server {
    /// Starts everything but the API. `telemetry` stands in for the gateway's counts.
    pub(crate) async fn start(
        home: Home,
        listen: SocketAddr,
        gateway: SocketAddr,
        features: Features,
        telemetry: Option<Arc<dyn Telemetry>>,
    ) -> Result<Self, Failure> {
        if !listen.ip().is_loopback() {
            let message = format!("the API would listen on {listen}, which is not a loopback address, without TLS");
            return Err(Failure::new(Exit::Usage, "D030", message).hint("use 127.0.0.1 and reach it through SSH"));
        }
        let fresh = !home.data.exists();
        let data = home.data.clone();
        let started = Self::assemble(home, listen, gateway, features, telemetry).await;
        if started.is_err() && fresh {
            // Nothing of a server that never ran is worth keeping.
            std::fs::remove_dir_all(data).ok();
        }
        started
    }

    async fn assemble(
        home: Home,
        listen: SocketAddr,
        gateway: SocketAddr,
        features: Features,
        telemetry: Option<Arc<dyn Telemetry>>,
    ) -> Result<Self, Failure> {
        home.create()?;
        let lock = home.lock()?;
        let token = home.token()?;
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            let message = format!("cannot listen on {listen} for the API: {error}");
            Failure::new(Exit::Internal, "D031", message).hint("end what listens there, or give another --listen")
        })?;
        let url = format!("http://{}", listener.local_addr().context("ask for the API's address")?);
        let journal = Sqlite::open(&home.journal()).await.map_err(|error| {
            let message = format!("cannot open the journal {}: {error}", home.journal().display());
            Failure::new(Exit::Internal, "D032", message)
        })?;
        let platform = Arc::new(places(&home)?);
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
            reports: home.reports(),
        };
        let engine =
            Engine::start(ports).await.map_err(|error| Failure::new(Exit::Internal, "D033", error.to_string()))?;
        let watched = keeper.clone();
        let watching = tokio::spawn(async move { watched.watch().await });
        Ok(Self {
            engine: Arc::new(engine),
            url,
            gateway: keeper.address(),
            gateway_tls: keeper.tls(),
            token,
            listener: Some(listener),
            keeper,
            platform,
            home,
            watching,
            _lock: lock,
        })
    }

    /// Serves the API until it is told to stop or `until` completes.
    pub(crate) async fn serve(&mut self, until: impl Future<Output = ()> + Send) -> Result<Option<Stop>, Failure> {
        let listener = self.listener.take().context("the API is served once")?;
        let options = davy_server::Options { token: self.token.clone(), listener };
        Ok(davy_server::serve(self.engine.clone(), options, until).await.context("serve the API")?)
    }

    /// Ends the server; and, unless traffic is kept, the gateway and every instance.
    pub(crate) async fn stop(self, keep_traffic: bool) -> Result<(), Failure> {
        self.engine.stop();
        self.watching.abort();
        if keep_traffic {
            return Ok(());
        }
        let instances = self.platform.stop_all(GRACE).await;
        let gateway = Client::new(self.home.control()).shutdown().await;
        self.keeper.ended().await;
        instances?;
        gateway?;
        Ok(())
    }

    /// Where everything of it is kept.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.data.clone()
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
