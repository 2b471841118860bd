//! The traits at the edge: what Davy asks of the world, and what the world answers.
//!
//! Futures are boxed and streams are those of `futures-core`: no runtime is chosen here. Every call may be repeated
//! (effects are idempotent and fenced by a generation) and every caller bounds it in time.

#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod journal;
mod outbox;
mod platform;
mod router;
mod signals;
mod telemetry;
mod vault;

pub use error::{Error, Retry};
pub use journal::{Batch, Broken, Entry, Interval, Journal, JournalError, Measured, Record, Verified};
pub use outbox::{Lane, Mark, Outbox, Untold};
pub use platform::{LogLine, LogQuery, LogSource, Order, Platform, Prepared};
pub use router::Router;
pub use signals::{Count, Looked, NoSignals, Of, Reading, Signals, Span, Tries, Watch};
pub use telemetry::{Cursor, Telemetry};
pub use vault::{NoVault, SecretValue, Vault};

use std::{future::Future, pin::Pin};

/// A future that can move between threads.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// A stream that can move between threads.
pub type Streamed<'a, T> = Pin<Box<dyn futures_core::Stream<Item = T> + Send + 'a>>;
