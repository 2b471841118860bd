//! The one place where the engine reads the time.

use davy_core::{Millis, Timestamp};
use std::{
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::time::Instant;

/// The time now: the wall clock's when the process first asked, and from there on the monotonic clock's. A wall clock that is
/// set forward or back ends no bake and no deadline.
#[must_use]
pub fn now() -> Timestamp {
    static BEGAN: OnceLock<(Timestamp, Instant)> = OnceLock::new();
    let (then, began) = BEGAN.get_or_init(|| (wall(), Instant::now()));
    then.plus(Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)))
}

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
