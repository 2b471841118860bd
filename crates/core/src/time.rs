//! Time as a value: nothing here knows what time it is.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// Milliseconds since the Unix epoch, as given by whoever owns a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
