//! How busy a service is, from the windows that the router still keeps.

use davy_core::{Role, ServiceKey, Timestamp};
use davy_ports::Telemetry;
use futures_util::StreamExt;
use std::time::Duration;

/// So much of the past is looked at.
const PAST: u64 = 60_000;
/// Less than this says nothing.
const LEAST: u64 = 3_000;
/// The longest wait for the next window: they come ten times a second.
const NEXT: Duration = Duration::from_millis(500);
/// The longest look.
const LOOK: Duration = Duration::from_secs(2);

/// A service's requests of the last minute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Requests routed to stable and canary.
    pub requests: u64,
    /// The time in which they were counted, in seconds; at most 60.
    pub seconds: f64,
}

impl Rate {
    /// Requests a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

/// Measures it; none while the router keeps less than a few seconds of it.
pub(crate) async fn measure(telemetry: &dyn Telemetry, key: &ServiceKey, now: Timestamp) -> Option<Rate> {
    let begin = Timestamp(now.0.saturating_sub(PAST));
    let mut windows = telemetry.windows(key, None);
    let (mut from, mut to, mut requests) = (now, begin, 0);
    let looking = async {
        while let Ok(Some(Ok(window))) = tokio::time::timeout(NEXT, windows.next()).await {
            if window.from < begin {
                continue;
            }
            (from, to) = (from.min(window.from), to.max(window.to));
            let counted = window.cells.iter().filter(|cell| matches!(cell.role, Role::Stable | Role::Canary));
            requests = counted.fold(requests, |sum: u64, cell| sum.saturating_add(cell.routed));
            if window.to >= now {
                return;
            }
        }
    };
    tokio::time::timeout(LOOK, looking).await.ok();
    let elapsed = to.since(from).0;
    (elapsed >= LEAST).then(|| Rate { requests, seconds: elapsed as f64 / 1_000.0 })
}
