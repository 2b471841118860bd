//! What one client may use of the gateway, so that none takes it from the others.

use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// No request's head is longer, in HTTP/1.1 and in HTTP/2.
pub(crate) const HEAD: usize = 64 * 1024;
/// How long a client may take to shake hands for TLS.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
/// Requests at once on one HTTP/2 connection.
pub(crate) const STREAMS: u32 = 128;
/// What a client may send of one body, and of all on a connection, before it is asked for: what an HTTP/2 connection can
/// make the gateway hold.
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;
/// See [`STREAM_WINDOW`].
pub(crate) const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What is held of one answer for a client that is slow to take it.
pub(crate) const SEND_BUFFER: usize = 64 * 1024;
/// Requests that a client may take back before they are looked at (rapid reset, CVE-2023-44487).
pub(crate) const RESETS: usize = 20;
/// Streams that a client may open beyond the limit or end by breaking the protocol. It may open many before it is told the
/// limit.
pub(crate) const ERRORS: usize = 512;
/// The slowest upload before its instance answers: so many bytes in half of the time that a client may be slow.
pub(crate) const UPLOAD: u64 = 1024;

/// The limits that a person may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Connections of clients at once.
    pub connections: usize,
    /// Connections at once of one address, of one /64 in IPv6.
    pub connections_per_client: usize,
    /// The longest body of a request, in bytes; none: the services decide.
    pub body: Option<u64>,
    /// How long a client may take for a request's head once it has begun, in seconds.
    pub head_timeout: u32,
    /// How long a connection may be idle, in seconds.
    pub idle_timeout: u32,
    /// How long a client may take nothing of an answer or send next to nothing of a body, in seconds.
    pub slow_timeout: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_client: 5_000,
            body: None,
            head_timeout: 15,
            // Longer than what is in front of a gateway usually keeps a connection.
            idle_timeout: 75,
            slow_timeout: 60,
        }
    }
}

impl Limits {
    /// In so long a client is looked at twice before it is slow.
    pub(crate) fn half_slow(&self) -> Duration {
        Duration::from_secs(u64::from(self.slow_timeout)) / 2
    }
}

/// Counts connections, and lets in as many as may be.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: Limits,
    all: AtomicUsize,
    clients: Mutex<HashMap<IpAddr, usize>>,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    All,
    Client,
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, all: AtomicUsize::new(0), clients: Mutex::default() }
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.all.load(Relaxed)
    }

    fn enter(&self, client: IpAddr) -> Result<(), Full> {
        if self.all.fetch_add(1, Relaxed) >= self.limits.connections {
            self.all.fetch_sub(1, Relaxed);
            return Err(Full::All);
        }
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let count = clients.entry(network(client)).or_insert(0);
        if *count >= self.limits.connections_per_client {
            self.all.fetch_sub(1, Relaxed);
            return Err(Full::Client);
        }
        *count += 1;
        Ok(())
    }

    fn leave(&self, client: IpAddr) {
        self.all.fetch_sub(1, Relaxed);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let network = network(client);
        if let Some(count) = clients.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&network);
            }
        }
    }
}

/// A connection's place, also once it is a tunnel; free when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Gate>, IpAddr);

impl Place {
    /// Lets a client in.
    pub(crate) fn of(gate: &Arc<Gate>, client: IpAddr) -> Result<Self, Full> {
        gate.enter(client)?;
        Ok(Self(gate.clone(), client))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

/// Whoever has an IPv6 address has all of its network.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}
