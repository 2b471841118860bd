//! Time as a value: nothing here knows what time it is.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// Milliseconds since the Unix epoch, as given by whoever owns a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Timestamp {
    /// The time from `earlier` to here; nothing when the clock stood still or went back.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// This much later.
    #[must_use]
    pub const fn plus(self, length: Millis) -> Self {
        Self(self.0.saturating_add(length.0))
    }
}

impl Millis {
    /// So many whole seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// The same as the standard library's type.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// A time that goes on steadily whatever the wall clock does: it follows the time that really passes, and comes nearer to the
/// wall clock by at most a tenth of that. So a wall clock that is set back or ahead, by a second or by a year, neither
/// stops anything that waits nor ends it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steady {
    micros: u64,
}

/// By which part of the time that passes it comes nearer to the wall clock.
const NEARER: u64 = 10;

impl Steady {
    /// Begins at a time.
    #[must_use]
    pub const fn at(begin: Timestamp) -> Self {
        Self { micros: begin.0.saturating_mul(1_000) }
    }

    /// The time now.
    #[must_use]
    pub const fn now(self) -> Timestamp {
        Timestamp(self.micros / 1_000)
    }

    /// The same after so much time has passed, where the wall clock shows `wall`.
    #[must_use]
    pub fn after(self, passed: Duration, wall: Timestamp) -> Self {
        let passed = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        let free = self.micros.saturating_add(passed);
        let most = passed / NEARER;
        // The wall clock is told in whole milliseconds: anywhere within one is right.
        let (earliest, latest) = (wall.0.saturating_mul(1_000), wall.0.saturating_mul(1_000).saturating_add(999));
        let micros = if free < earliest {
            free.saturating_add(most.min(earliest - free))
        } else {
            free - most.min(free.saturating_sub(latest))
        };
        Self { micros }
    }
}

/// As in the file: `250ms`, `1.5s`, `30s`, `15m`, `24h`; `1m 30s` where one unit is not enough.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        match ms {
            0..1000 => write!(f, "{ms}ms"),
            1000..60_000 if !ms.is_multiple_of(1000) => write!(f, "{}.{}s", ms / 1000, ms % 1000 / 100),
            1000..60_000 => write!(f, "{}s", ms / 1000),
            60_000..3_600_000 => match ms / 1000 % 60 {
                0 => write!(f, "{}m", ms / 60_000),
                s => write!(f, "{}m {s}s", ms / 60_000),
            },
            _ => match ms / 60_000 % 60 {
                0 => write!(f, "{}h", ms / 3_600_000),
                m => write!(f, "{}h {m}m", ms / 3_600_000),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Steady, Timestamp};
    use std::time::Duration;

    /// Seconds that a steady clock shows after each real second of ten, where the wall clock is off by so many milliseconds.
    fn ten_seconds(off: i64) -> Vec<u64> {
        let mut clock = Steady::at(Timestamp(1_000_000_000));
        let shown = (1..=10_000_u64).filter_map(|ms| {
            let wall = Timestamp((1_000_000_000 + ms).saturating_add_signed(off));
            clock = clock.after(Duration::from_millis(1), wall);
            (ms % 1_000 == 0).then(|| clock.now().0 - 1_000_000_000)
        });
        shown.collect()
    }

    #[test]
    fn a_wall_clock_that_jumps_makes_it_only_a_little_slower_or_faster() {
        let exact: Vec<u64> = (1..=10).map(|second| 1_000 * second).collect();
        assert_eq!(ten_seconds(0), exact);
        assert_eq!(ten_seconds(-3_600_000), exact.iter().map(|ms| ms * 9 / 10).collect::<Vec<_>>());
        assert_eq!(ten_seconds(900_000), exact.iter().map(|ms| ms * 11 / 10).collect::<Vec<_>>());
        // A small difference is gone soon, and it stays with the wall clock.
        assert_eq!(ten_seconds(300)[2..], [3_300, 4_300, 5_300, 6_300, 7_300, 8_300, 9_300, 10_300]);
        assert_eq!(ten_seconds(-300)[3..], [3_700, 4_700, 5_700, 6_700, 7_700, 8_700, 9_700]);
    }

    #[test]
    fn it_never_goes_back() {
        let clock = Steady::at(Timestamp(5));
        let later = clock.after(Duration::ZERO, Timestamp(0));
        assert_eq!((later, later.after(Duration::MAX, Timestamp(u64::MAX)).now() >= later.now()), (clock, true));
    }
}
