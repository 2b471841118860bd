//! How far people were told what happened.

use crate::{Boxed, JournalError};
use davy_core::ServiceKey;
use serde::{Deserialize, Serialize};

/// Keeps how far messages were sent: they are told from the journal, and this is all that is kept besides.
pub trait Outbox: Send + Sync {
    /// Every mark.
    fn marks(&self) -> Boxed<'_, Result<Vec<Mark>, JournalError>>;

    /// Keeps a mark durably, in place of the one of its lane. The mark without a lane forgets those that are not beyond it.
    fn mark<'a>(&'a self, mark: &'a Mark) -> Boxed<'a, Result<(), JournalError>>;

    /// Writes down for ever that a message was not told. Said twice, it stands there twice.
    fn give_up<'a>(&'a self, untold: &'a Untold) -> Boxed<'a, Result<(), JournalError>>;
}

/// Up to which event of the journal there is nothing left to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// To whom; to everybody when absent.
    pub lane: Option<Lane>,
    /// The event's sequence number.
    pub sequence: u64,
}

/// One channel of one service: what is told there is told in order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// About which service.
    pub key: ServiceKey,
    /// The channel as the file names it; never a secret.
    pub channel: String,
}

/// A message that did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = UntoldMessage))]
pub struct Untold {
    /// About which service.
    pub key: ServiceKey,
    /// The channel as the file names it.
    pub channel: String,
    /// Which message.
    pub message: String,
    /// What happened at the last attempt.
    pub why: String,
}
