//! The one place where the engine reads the time.

use davy_core::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock now.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
