//! Counts of requests as a router reports them.

use crate::{Generation, InstanceId, ReleaseId, Role, ServiceKey, Timestamp, Weight};
use serde::{Deserialize, Serialize};

/// The counts of one service over a short time (100 ms from the gateway), of requests routed in one weight epoch.
/// Sent when nothing happened, too: silence and no traffic are different things.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Whose requests.
    pub key: ServiceKey,
    /// The run of the router that counted.
    pub boot: String,
    /// Rises by one with every window of the service in this run: a gap is a loss, a repetition is a repetition.
    pub sequence: u64,
    /// The weight epoch **when routed**.
    pub generation: Generation,
    /// The canary's configured weight in that epoch, as it was really served (0 while the fallback is served).
    pub weight: Weight,
    /// Begin, by the router's wall clock.
    pub from: Timestamp,
    /// End, by the router's wall clock.
    pub to: Timestamp,
    /// One for each instance that had any count.
    pub cells: Vec<Cell>,
    /// Requests that the router failed by itself: no backend to send them to.
    pub unserved: u64,
    /// The same requests by when they were admitted, of canary and stable while both have a share.
    #[serde(default)]
    pub cohorts: Vec<Cohort>,
    /// Whether more clients have failed than are remembered: what they repeat is not told from what they do first.
    #[serde(default)]
    pub clients_forgotten: bool,
}

/// The requests of one version that were admitted within about a second, and what a window saw become of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cohort {
    /// Rises with time.
    pub number: u64,
    /// Whether they are the canary's; else stable's.
    pub canary: bool,
    /// Requests admitted in this window.
    pub routed: u64,
    /// Requests whose answer began well in this window, or that ended without: each is counted once.
    pub heard: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests that the client broke off.
    pub gone: u64,
    /// Sparse histogram of those that were answered: (bucket, count).
    pub latency: Vec<(u8, u64)>,
}

/// The counts of one instance in one window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// What it runs.
    pub release: ReleaseId,
    /// What that is to the judge.
    pub role: Role,
    /// Which instance.
    pub instance: InstanceId,
    /// Requests sent to it in this window, counted at admission.
    pub routed: u64,
    /// Requests that ended in this window, failures included; those that the client broke off are not.
    pub answered: u64,
    /// Of these, failures by kind.
    pub failures: Failures,
    /// Of the failures, those of clients that had failed before, where clients stay with a release.
    #[serde(default)]
    pub repeated: u64,
    /// Requests that the client broke off: nobody's failure.
    pub client_gone: u64,
    /// Of the answered, those that took longer than the service's limit of latency; a timeout did. 0 without a limit.
    #[serde(default)]
    pub slow: u64,
    /// Sparse histogram of the answered: (bucket, count); see [`bucket_of`].
    pub latency: Vec<(u8, u64)>,
}

/// Failures by kind. An answer of 4xx is not a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// Answered 500 to 599.
    pub status: u64,
    /// No response head in time.
    pub timeout: u64,
    /// The connection was refused or could not be made.
    pub refused: u64,
    /// The connection broke before the answer was complete.
    pub reset: u64,
}

impl Failures {
    /// All kinds together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.status.saturating_add(self.timeout).saturating_add(self.refused).saturating_add(self.reset)
    }
}

/// A count above this in one window is nonsense, and sums of what is below cannot overflow.
pub const ABSURD: u64 = davy_judge::ABSURD;

/// More cells or cohorts than this in one window are nonsense.
const MOST: usize = 100_000;

impl Window {
    /// Whether its counts can be true, one by one and together.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        let histogram = |latency: &[(u8, u64)]| {
            latency.iter().all(|(bucket, count)| usize::from(*bucket) < BUCKETS && *count <= ABSURD)
        };
        let cell = |cell: &Cell| {
            let Cell { routed, answered, failures, repeated, client_gone, slow, latency, .. } = cell;
            let all = [routed, answered, client_gone].into_iter().all(|count| *count <= ABSURD);
            let failed = failures.total();
            all && failed <= *answered && *repeated <= failed && slow <= answered && histogram(latency)
        };
        let cohort = |cohort: &Cohort| {
            let counts = [cohort.routed, cohort.heard, cohort.failed, cohort.gone];
            counts.into_iter().all(|count| count <= ABSURD) && histogram(&cohort.latency)
        };
        // Each count is checked before they are added up: 2^64 is far above what so many of them come to.
        let total = |of: fn(&Cell) -> u64| self.cells.iter().fold(0_u64, |sum, cell| sum.saturating_add(of(cell)));
        self.cells.len().max(self.cohorts.len()) <= MOST
            && self.unserved <= ABSURD
            && self.cells.iter().all(cell)
            && self.cohorts.iter().all(cohort)
            && total(|cell| cell.routed).max(total(|cell| cell.answered)) <= ABSURD
    }
}

/// How many latency buckets there are, the overflow included. Boundaries are `1 ms · 1.1^i`, i = 0…116 (63 s):
/// bucket i holds latencies in `(B_{i-1}, B_i]`, bucket 117 everything above.
pub const BUCKETS: usize = 118;

const BOUNDARIES: [u64; BUCKETS - 1] = boundaries();

const fn boundaries() -> [u64; BUCKETS - 1] {
    let mut micros = [0; BUCKETS - 1];
    let mut exact = 1000.0_f64;
    let mut index = 0;
    while index < micros.len() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "63 s of microseconds fit")]
        {
            micros[index] = (exact + 0.5) as u64;
        }
        exact *= 1.1;
        index += 1;
    }
    micros
}

/// The bucket of a latency.
#[must_use]
pub fn bucket_of(micros: u64) -> u8 {
    u8::try_from(BOUNDARIES.partition_point(|boundary| *boundary < micros)).unwrap_or(u8::MAX)
}

/// The upper boundary of a bucket in microseconds; none for the overflow.
#[must_use]
pub fn bucket_upper_micros(bucket: u8) -> Option<u64> {
    BOUNDARIES.get(usize::from(bucket)).copied()
}
