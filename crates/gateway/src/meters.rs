//! What the gateway counts about itself.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Meter(AtomicU64);

impl Meter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_many(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// All of them, shared by the worker threads; none is touched by a request that goes well.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub connections: Meter,
    pub connections_tls: Meter,
    pub handshakes_failed: Meter,
    /// Requests and connections that broke the protocol.
    pub malformed: Meter,
    pub redirects: Meter,
    pub retries: Meter,
    pub full: Meter,
    pub full_client: Meter,
    pub slow_heads: Meter,
    pub slow_bodies: Meter,
    pub slow_readers: Meter,
    pub long_bodies: Meter,
    /// Requests that no service has.
    pub unrouted: Meter,
    pub log_dropped: Meter,
    pub certificates_refused: Meter,
}
