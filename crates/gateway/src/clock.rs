//! The one place where the gateway reads the time of day: that of windows, modes and cuts. It is steady, whatever is done to the wall
//! clock: a window is as long as it took.

use davy_core::{Steady, Timestamp};
use std::{
    sync::{LazyLock, Mutex, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

static CLOCK: LazyLock<Mutex<(Steady, Instant)>> = LazyLock::new(|| Mutex::new((Steady::at(wall()), Instant::now())));

/// The time now; never before a time that was told, but after [`set`].
pub(crate) fn now() -> Timestamp {
    step(|steady| steady)
}

/// Goes on from the time of the process before.
pub(crate) fn set(at: Timestamp) {
    step(|_| Steady::at(at));
}

fn step(change: impl FnOnce(Steady) -> Steady) -> Timestamp {
    let mut held = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let (steady, since) = *held;
    let now = Instant::now();
    let steady = change(steady.after(now.saturating_duration_since(since), wall()));
    *held = (steady, now);
    steady.now()
}

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
