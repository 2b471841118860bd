//! The HTTP API: what the command line and the page use. JSON in and out, problems as RFC 9457 bodies, live events as
//! server-sent events whose id is the journal's sequence number.
//!
//! Nothing answers without a token that may ask for it, and nothing answers under a host name that is not this machine's own.

mod access;
mod guard;
mod problem;
mod routes;
mod secrets;
mod tokens;
pub mod wire;

use davy_engine::{
    Access, Engine, Vault,
    store::{Signer, Sqlite},
};
use guard::Guard;
use std::{io, net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, sync::mpsc};

/// What the API needs.
pub struct Options {
    /// Whose tokens are taken, as `Authorization: Bearer`.
    pub access: Arc<Access>,
    /// Where it listens.
    pub listener: TcpListener,
    /// The secrets.
    pub vault: Arc<Vault>,
    /// Where the journal is, and who signs its checkpoints.
    pub journal: (Sqlite, Arc<Signer>),
}

/// Somebody asked the server to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Whether gateway and instances go on.
    pub keep_traffic: bool,
}

#[derive(Clone)]
pub(crate) struct Shared {
    engine: Arc<Engine>,
    vault: Arc<Vault>,
    access: Arc<Access>,
    journal: (Sqlite, Arc<Signer>),
    stop: mpsc::UnboundedSender<Stop>,
    guard: Arc<Guard>,
}

/// Serves the API until somebody asks to stop or `until` completes.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    engine: Arc<Engine>,
    options: Options,
    until: impl Future<Output = ()> + Send,
) -> io::Result<Option<Stop>> {
    let address: SocketAddr = options.listener.local_addr()?;
    let (stop, mut stopped) = mpsc::unbounded_channel();
    let shared = Shared {
        engine,
        vault: options.vault,
        access: options.access,
        journal: options.journal,
        stop,
        guard: Arc::new(Guard::new(address)),
    };
    let app = routes::app(shared);
    let served = async move { axum::serve(options.listener, app).await };
    tokio::select! {
        served = served => served.map(|()| None),
        stop = stopped.recv() => {
            // The answer to whoever asked goes out first.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            Ok(stop)
        }
        () = until => Ok(None),
    }
}
