//! The append-only record of everything that happened, and the evidence beside it.

use crate::{Boxed, Streamed, Tries};
use davy_core::{Actor, Generation, RolloutId, ServiceKey, Timestamp, Weight, Window, rollout::Event};
use serde::{Deserialize, Serialize};

/// Keeps events for ever and evidence for long.
pub trait Journal: Send + Sync {
    /// Appends events durably, all or none, if the stream stands at `expected` events.
    fn append<'a>(
        &'a self,
        stream: &'a ServiceKey,
        expected: u64,
        entries: &'a [Entry],
    ) -> Boxed<'a, Result<Vec<Record>, JournalError>>;

    /// Every event of a stream after a position, in order; all of them after 0.
    fn stream<'a>(&'a self, stream: &'a ServiceKey, after: u64) -> Boxed<'a, Result<Vec<Record>, JournalError>>;

    /// Every event of a rollout, in order.
    fn rollout<'a>(&'a self, rollout: &'a RolloutId) -> Boxed<'a, Result<Vec<Record>, JournalError>>;

    /// At most `limit` events of all streams after a sequence number, in order.
    fn after(&self, sequence: u64, limit: usize) -> Boxed<'_, Result<Vec<Record>, JournalError>>;

    /// Every event of all streams after a sequence number that is not packed, in order, one after the other: enough to know where
    /// every service stands and which rollouts it had, and too much for a page. It ends with the first error.
    fn since(&self, sequence: u64) -> Streamed<'_, Result<Record, JournalError>>;

    /// The names of all streams.
    fn streams(&self) -> Boxed<'_, Result<Vec<ServiceKey>, JournalError>>;

    /// Stores a batch of evidence. The same batch again is success and changes nothing; another one under the same
    /// rollout and number is refused as damage, and the stored one is kept.
    fn store<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Result<(), JournalError>>;

    /// Every stored batch of a rollout, in order; what was let go is an error, not an empty list.
    fn evidence<'a>(&'a self, rollout: &'a RolloutId) -> Boxed<'a, Result<Vec<Batch>, JournalError>>;

    /// Recomputes every hash chain.
    fn verify(&self) -> Boxed<'_, Result<Verified, JournalError>>;
}

/// An event to append.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Entry {
    /// When it happened.
    pub at: Timestamp,
    /// Who caused it.
    pub by: Actor,
    /// The rollout it belongs to.
    pub rollout: Option<RolloutId>,
    /// What happened.
    pub event: Event,
}

/// An event of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Record {
    /// Its place among all events, from 1, rising; the id of live updates.
    pub sequence: u64,
    /// Its stream.
    pub stream: ServiceKey,
    /// Its place in its stream, from 1, without gaps.
    pub position: u64,
    /// What was appended.
    #[serde(flatten)]
    pub entry: Entry,
    /// SHA-256 over the hash before it in the stream and this record, hexadecimal.
    pub hash: String,
}

/// Windows of one weight epoch, merged over about a second: exactly what the judge consumes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Of which rollout.
    pub rollout: RolloutId,
    /// From 1, without gaps.
    pub number: u64,
    /// The weight epoch when routed.
    pub generation: Generation,
    /// The canary's weight in it.
    pub weight: Weight,
    /// When the rollout began to be observed: times of the judge count from here.
    pub origin: Timestamp,
    /// The windows, merged: sequence is that of the last one.
    pub window: Window,
    /// Whether what is in it may be evidence, or only be shown (routed in an epoch that had ended, or after a gap).
    pub evidence: bool,
    /// Set when the source failed or sent nonsense just before this batch.
    pub blind: Option<String>,
    /// What was read of the service's own metrics since the batch before.
    #[serde(default)]
    pub metrics: Vec<Measured>,
}

/// What was read of one metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Which one, from 0.
    pub metric: u8,
    /// What was counted, or why that is not known.
    pub seen: Result<Interval, String>,
}

/// What a metric counted while one weight was served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// The weight epoch.
    pub generation: Generation,
    /// The canary's weight in it.
    pub weight: Weight,
    /// From the reading before.
    pub from: Timestamp,
    /// To this one.
    pub to: Timestamp,
    /// The release on trial.
    pub canary: Tries,
    /// The release that served before.
    pub stable: Tries,
}

/// What a check of the chains found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// How many streams were read.
    pub streams: u64,
    /// How many events.
    pub events: u64,
    /// How many of them are packed.
    #[serde(default)]
    pub packed: u64,
    /// How many batches of evidence.
    pub batches: u64,
    /// Of how many rollouts the evidence was let go, by a deed that holds.
    #[serde(default)]
    pub let_go: u64,
    /// How many records of what was done to the server itself.
    #[serde(default)]
    pub deeds: u64,
    /// How many signed checkpoints.
    #[serde(default)]
    pub checkpoints: u64,
    /// What does not hold; empty when all is well.
    pub broken: Vec<Broken>,
}

/// A place where the chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// Which stream.
    pub stream: String,
    /// Which event of it.
    pub position: u64,
    /// What is wrong.
    pub why: String,
}

/// Why the journal did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The stream stands elsewhere: somebody else appended.
    #[error("the stream stands at {stands_at} events, not at {expected}")]
    Conflict {
        /// Where it was expected to stand.
        expected: u64,
        /// Where it stands.
        stands_at: u64,
    },
    /// Busy, full or unreachable: nothing was appended.
    #[error("the journal cannot be used: {why}")]
    Unavailable {
        /// What happened.
        why: String,
    },
    /// The connection was lost while it was being written: read what is there before deciding anything.
    #[error("whether it was written is not known: {why}")]
    Unknown {
        /// What happened.
        why: String,
    },
    /// What was seen in it before is no longer there: an older backup was put in its place.
    #[error(
        "{place} is older than it was: event {seen} was seen in it and is not there any more, it ends at event {ends_at}; nothing is written. If a dump was restored on purpose, end every server on it, delete the file `seen` in its data folder, and start it again"
    )]
    Older {
        /// Where it is kept.
        place: String,
        /// The last event that was seen.
        seen: u64,
        /// The last event that is there now.
        ends_at: u64,
    },
    /// Another server has taken over: nothing was written, and nothing will be.
    #[error("another server has taken over; this one writes nothing any more")]
    Fenced,
    /// The evidence that is asked for had been kept as long as it was to be.
    #[error(
        "the evidence of rollout {rollout} was let go by deed {deed}, when it had been kept as long as it was to be: `davy audit log` says when"
    )]
    LetGo {
        /// Of which rollout.
        rollout: RolloutId,
        /// The number of the deed.
        deed: u64,
    },
    /// What is stored cannot be read.
    #[error("the journal is damaged: {why}")]
    Damaged {
        /// What was found.
        why: String,
    },
}
