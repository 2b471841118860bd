//! The HTTP API: what the command line and the page use. JSON in and out, problems as RFC 9457 bodies, live events as
//! server-sent events whose id is the journal's sequence number.
//!
//! Nothing answers without a token or a session that may ask for it, and nothing answers under a host name that is not the server's own.

mod access;
mod address;
mod audit;
mod deploy;
mod events;
mod forecast;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod guard;
mod limits;
mod listed;
mod listen;
mod metrics;
mod notify;
mod once;
mod openapi;
mod patience;
mod problem;
mod rollouts;
mod routes;
mod secrets;
mod services;
mod session;
pub mod setup;
mod shown;
mod site;
mod stale;
mod take;
mod tokens;
mod waiting;
pub mod wire;

pub use access::addresses;
pub use openapi::openapi;
pub use waiting::{Forward, wait};

use davy_engine::{
    Access, Engine, Vault,
    store::{Signer, Store},
};
use davy_identity::Identity;
use davy_notify::Notifier;
use davy_ports::Error;
use guard::Guard;
use once::Once;
use session::door::Door;
use shown::Shown;
use std::{io, net::SocketAddr, sync::Arc};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};
use tokio_rustls::TlsAcceptor;

/// What the API needs.
pub struct Options {
    /// Whose tokens are taken, as `Authorization: Bearer`.
    pub access: Arc<Access>,
    /// Where it listens.
    pub listener: TcpListener,
    /// Shakes hands with whoever comes there; none where requests come in the clear.
    pub tls: Option<TlsAcceptor>,
    /// Whether the server is known by a host name besides this machine's own.
    pub known_as: KnownAs,
    /// How browsers reach the page.
    pub reached: Reached,
    /// Who vouches for people, if anybody does.
    pub identity: Option<Identity>,
    /// The secrets.
    pub vault: Arc<Vault>,
    /// Who tells people what happened.
    pub notifier: Arc<Notifier>,
    /// Where the journal is, and who signs its checkpoints.
    pub journal: (Store, Arc<Signer>),
}

/// How browsers reach the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Its address there, without a slash at its end.
    pub url: String,
    /// Whether a proxy passes requests on, and says from where they come.
    pub proxied: bool,
}

/// Whether a host name is the server's.
pub type KnownAs = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Somebody asked the server to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Whether gateway and instances go on.
    pub keep_traffic: bool,
}

/// Who asked, and is told how it went.
type Stopped = oneshot::Sender<Result<(), Error>>;

#[derive(Clone)]
pub(crate) struct Shared {
    engine: Arc<Engine>,
    vault: Arc<Vault>,
    access: Arc<Access>,
    notifier: Arc<Notifier>,
    journal: (Store, Arc<Signer>),
    stop: mpsc::UnboundedSender<(Stop, Stopped)>,
    guard: Arc<Guard>,
    shown: Shown,
    once: Once,
    door: Arc<Door>,
}

/// Serves the API until `until` completes, or somebody asks to stop: then `stop` does it, and whoever asked is told how it went,
/// which is given, too.
///
/// # Errors
/// When the listener fails.
pub async fn serve<S: Future<Output = Result<(), Error>> + Send>(
    engine: Arc<Engine>,
    options: Options,
    until: impl Future<Output = ()> + Send,
    stop: impl FnOnce(Stop) -> S + Send,
) -> io::Result<Option<(Stop, Result<(), Error>)>> {
    let address: SocketAddr = options.listener.local_addr()?;
    let (asking, mut asked) = mpsc::unbounded_channel();
    let door = Door::new(options.reached, options.identity, options.access.mark());
    let shared = Shared {
        engine,
        vault: options.vault,
        access: options.access,
        notifier: options.notifier,
        journal: options.journal,
        stop: asking,
        guard: Arc::new(Guard::new(address, options.known_as)),
        shown: Shown::default(),
        once: Once::default(),
        door: Arc::new(door),
    };
    let app = routes::app(shared);
    let mut serving = std::pin::pin!(listen::serve(options.listener, options.tls, app));
    let (what, told) = tokio::select! {
        () = &mut serving => return Ok(None),
        asked = asked.recv() => match asked {
            Some(asked) => asked,
            None => return Ok(None),
        },
        () = until => return Ok(None),
    };
    let stopped = tokio::select! {
        () = &mut serving => return Ok(None),
        stopped = stop(what) => stopped,
    };
    told.send(stopped.clone()).ok();
    // The answer to whoever asked goes out first.
    let leaving = std::time::Duration::from_millis(50);
    tokio::time::timeout(leaving, serving).await.ok();
    Ok(Some((what, stopped)))
}
