//! The one place where the engine reads the time.

use davy_core::{Millis, Timestamp};
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::time::Instant;

/// The time now: the wall clock's when the process first asked, and from there on the monotonic clock's. A wall clock that is
/// set forward or back ends no bake and no deadline.
#[must_use]
pub fn now() -> Timestamp {
    static BEGAN: OnceLock<(Timestamp, Instant)> = OnceLock::new();
    let (then, began) = BEGAN.get_or_init(|| (wall(), Instant::now()));
    let elapsed = Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    Timestamp(then.plus(elapsed).0.saturating_add_signed(AHEAD.load(Relaxed)))
}

/// By how many milliseconds this clock is ahead of the wall clock that it began with.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// Goes on from what the journal says has happened already, should that be later: the wall clock was set back while nobody ran.
pub(crate) fn not_before(at: Timestamp) {
    AHEAD.fetch_add(at.since(now()).0.cast_signed(), Relaxed);
}

/// Goes by another clock, which said `at` when it was heard: servers on one database share the database's, whatever their own say.
/// Before anything is decided.
pub fn go_by((at, heard): (Timestamp, Instant)) {
    let since = Millis(u64::try_from(heard.elapsed().as_millis()).unwrap_or(u64::MAX));
    AHEAD.fetch_add(at.plus(since).0.cast_signed().saturating_sub(now().0.cast_signed()), Relaxed);
}

/// The wall clock, which may jump: for what is told to others, such as when a token expires.
pub(crate) fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::{Instant, go_by, not_before, now};
    use davy_core::{Millis, Timestamp};
    use std::time::Duration;

    #[test]
    fn it_goes_on_from_what_has_happened_and_never_back() {
        let ahead = now().plus(Millis::seconds(3_600));
        not_before(ahead);
        let after = now();
        assert!(after >= ahead && after < ahead.plus(Millis::seconds(600)));
        not_before(Timestamp(1));
        assert!(now() >= after);
        go_by((Timestamp(5_000), Instant::now()));
        let other = now();
        assert!(other >= Timestamp(5_000) && other < Timestamp(605_000), "also one that is behind");
        let heard = Instant::now().checked_sub(Duration::from_secs(10)).expect("the machine runs for longer");
        go_by((Timestamp(5_000), heard));
        assert!(now() >= Timestamp(15_000), "what has passed since it was heard counts");
    }
}
