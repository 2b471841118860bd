//! How a record is hashed: each hash covers the one before it in its stream, so that nothing in the middle can be
//! changed, removed or moved unnoticed.
//!
//! `hash_n = SHA-256(hash_{n-1} ‖ fields)`, every field preceded by its length in bytes (8 bytes, big endian), numbers as
//! 8 bytes, big endian. `hash_0` is made from the stream's name. Only stored bytes are hashed, never what they mean: a
//! later version that reads an event differently still finds the same hash.

use sha2::{Digest as _, Sha256};

/// A SHA-256.
pub(super) type Hash = [u8; 32];

const STREAM: &[u8] = b"davy journal 1, stream";
const DEEDS: &[u8] = b"davy journal 1, deeds";
const DEED: &[u8] = b"davy journal 1, deed";
const EVENT: &[u8] = b"davy journal 1, event";

/// A hash over fields of which none can run into the next.
#[derive(Clone)]
pub(super) struct Hasher(Sha256);

impl Hasher {
    /// Begins with what is being hashed, so that one kind of thing is never taken for another.
    pub(super) fn new(domain: &[u8]) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.bytes(domain);
        hasher
    }

    /// Adds a field.
    pub(super) fn bytes(&mut self, field: &[u8]) {
        self.0.update((field.len() as u64).to_be_bytes());
        self.0.update(field);
    }

    /// Adds a number.
    pub(super) fn number(&mut self, field: u64) {
        self.bytes(&field.to_be_bytes());
    }

    /// The hash of what was added.
    pub(super) fn finish(self) -> Hash {
        self.0.finalize().into()
    }
}

/// What is hashed of one event, as it is stored.
pub(super) struct Fields<'a> {
    pub(super) sequence: u64,
    pub(super) position: u64,
    pub(super) at: u64,
    pub(super) by: &'a str,
    pub(super) rollout: Option<&'a str>,
    pub(super) event: &'a str,
}

/// What stands before the first event of a stream.
pub(super) fn seed(environment: &str, service: &str) -> Hash {
    let mut hasher = Hasher::new(STREAM);
    hasher.bytes(environment.as_bytes());
    hasher.bytes(service.as_bytes());
    hasher.finish()
}

/// The hash of an event that follows `previous`.
pub(super) fn link(previous: &Hash, fields: &Fields<'_>) -> Hash {
    let mut hasher = Hasher::new(EVENT);
    hasher.bytes(previous);
    hasher.number(fields.sequence);
    hasher.number(fields.position);
    hasher.number(fields.at);
    hasher.bytes(fields.by.as_bytes());
    match fields.rollout {
        None => hasher.number(0),
        Some(rollout) => {
            hasher.number(1);
            hasher.bytes(rollout.as_bytes());
        }
    }
    hasher.bytes(fields.event.as_bytes());
    hasher.finish()
}

/// What stands before the first deed.
pub(super) fn deeds() -> Hash {
    Hasher::new(DEEDS).finish()
}

/// The hash of a deed that follows `previous`.
pub(super) fn deed(previous: &Hash, number: u64, at: u64, by: &str, deed: &str) -> Hash {
    let mut hasher = Hasher::new(DEED);
    hasher.bytes(previous);
    hasher.number(number);
    hasher.number(at);
    hasher.bytes(by.as_bytes());
    hasher.bytes(deed.as_bytes());
    hasher.finish()
}

/// As people and other programs read it.
pub(super) fn hex(hash: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
    hash.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// What was written so.
pub(super) fn unhex(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    let pairs = text.as_bytes().chunks_exact(2);
    if text.len() != 2 * hash.len() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(pairs) {
        let digit = |half: u8| char::from(half).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(hash)
}
