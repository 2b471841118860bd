//! Clients that stay with a release: a signed cookie names the client, and its draw follows from that name.
//!
//! The draw is a keyed hash of the rollout and the client. So a client that is on the canary at one weight stays there at every
//! higher one, nobody can choose a name to get there, and another rollout tries it on other clients.

use crate::peer::Peer;
use davy_core::{RolloutId, ServiceKey};
use hmac::{Hmac, KeyInit, Mac};
use hyper::header::HeaderValue;
use sha2::Sha256;
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// The cookie's name.
const COOKIE: &str = "davy-client";
/// How long a client keeps its name: longer than a rollout, in seconds.
const AGE: u32 = 30 * 24 * 3600;
/// So many failed clients are remembered; what comes after them is taken for a repetition, and said to be.
pub(crate) const FAILED: usize = 65_536;

/// Signs cookies of this gateway.
#[derive(Clone)]
pub(crate) struct Key(Hmac<Sha256>);

impl Key {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let keyed = Hmac::new_from_slice(secret);
        Self(keyed.unwrap_or_else(|_| unreachable!("a key of any length will do")))
    }

    fn over(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Key(…)")
    }
}

/// The clients of one rollout.
#[derive(Clone, Debug)]
pub(crate) struct Sticky {
    key: Key,
    service: String,
    rollout: String,
    path: String,
    failed: Arc<Failed>,
}

/// The clients that had a failure in one rollout.
#[derive(Debug, Default)]
pub(crate) struct Failed {
    names: Mutex<HashSet<u64>>,
    /// Whether there were more than are remembered.
    forgotten: AtomicBool,
}

impl Failed {
    /// Those that another process has seen.
    pub(crate) fn of(names: Vec<u64>, forgotten: bool) -> Self {
        Self { names: Mutex::new(names.into_iter().collect()), forgotten: AtomicBool::new(forgotten) }
    }

    /// Whether there were more than are remembered.
    pub(crate) fn forgotten(&self) -> bool {
        self.forgotten.load(Relaxed)
    }

    /// Their names.
    pub(crate) fn names(&self) -> Vec<u64> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

/// What is known of a client that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// It had not failed.
    Never,
    /// It had.
    Failed,
    /// More clients failed than are remembered.
    Unknown,
}

/// A client that stays.
#[derive(Debug)]
pub(crate) struct Client {
    name: u64,
    /// Below 10,000.
    pub draw: u16,
    failed: Arc<Failed>,
}

impl Client {
    /// Notes a failure; what is known of those before it.
    pub(crate) fn fails(&self) -> Before {
        let mut failed = self.failed.names.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.contains(&self.name) {
            return Before::Failed;
        }
        if failed.len() >= FAILED {
            self.failed.forgotten.store(true, Relaxed);
            return Before::Unknown;
        }
        failed.insert(self.name);
        Before::Never
    }
}

impl Sticky {
    pub(crate) fn new(key: Key, service: &ServiceKey, rollout: &RolloutId, path: &str, failed: Arc<Failed>) -> Self {
        Self { key, service: service.to_string(), rollout: rollout.to_string(), path: path.to_owned(), failed }
    }

    /// The client that a cookie names, if it is ours and nobody changed it.
    pub(crate) fn read(&self, name: &str, value: &str) -> Option<Client> {
        if name != COOKIE {
            return None;
        }
        let (name, mac) = value.split_once('.')?;
        let name = u64::from_str_radix(name, 16).ok()?;
        let mac = u128::from_str_radix(mac, 16).ok()?;
        self.signed(name).verify_truncated_left(&mac.to_be_bytes()).ok()?;
        Some(self.client(name))
    }

    /// A client that is new here, and its cookie; one that came by TLS sends it by TLS only.
    pub(crate) fn admit(&self, name: u64, peer: &Peer) -> (Client, Option<HeaderValue>) {
        let mac = self.signed(name).finalize().into_bytes();
        let mac: String = mac.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let path = &self.path;
        let secure = if peer.is_secure { "; Secure" } else { "" };
        let cookie = format!("{COOKIE}={name:016x}.{mac}; Path={path}; Max-Age={AGE}; HttpOnly; SameSite=Lax{secure}");
        (self.client(name), HeaderValue::from_str(&cookie).ok())
    }

    fn signed(&self, name: u64) -> Hmac<Sha256> {
        self.key.over(&[b"client", self.service.as_bytes(), &name.to_be_bytes()])
    }

    fn client(&self, name: u64) -> Client {
        let drawn = self.key.over(&[b"draw", self.service.as_bytes(), self.rollout.as_bytes(), &name.to_be_bytes()]);
        let bytes = drawn.finalize().into_bytes();
        let number = bytes.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let draw = u16::try_from(number % 10_000).unwrap_or_default();
        Client { name, draw, failed: self.failed.clone() }
    }
}
