//! What a source may know of a window besides its counts.

use crate::counts::{ABSURD, Counts, Nonsense, Pair, Window};
use crate::latency;

/// What is known of one [`crate::Window`] besides its counts. Everything is optional, and borrowed: a window costs no
/// allocation. What the policy does not ask for is not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Details<'a> {
    /// How long the requests took that ended in this window.
    pub latency: Option<Latencies<'a>>,
    /// Requests that ended (`n`) and of these those above the policy's latency limit (`x`), counted exactly; `repeated` are
    /// those of the slow that failed as well, so that a harm budget counts a request once.
    pub slow: Option<Pair>,
    /// The window's counts by instance, in any order. Their sums are the window's counts. At most 12 instances of the canary are
    /// followed one by one, those seen first, and one that had no request for a minute gives up its place; of stable 64, those
    /// whose numbers have the smallest hashes. They label verdicts and hold promotion back, and change no evidence.
    pub instances: &'a [Instance],
    /// The same requests by when they were admitted, where the source knows it: then no proof of a step takes what has not
    /// ended for good. See [`Cohort`].
    pub cohorts: &'a [Cohort],
    /// More clients failed than are remembered: from now on the first failure of a client is not told from the next.
    pub clients_forgotten: bool,
}

/// What a window tells of one version's requests that were admitted within one second or so.
///
/// Numbers rise with time within an epoch, and a window may tell of many: of requests that were admitted in it, and of others
/// that ended or were answered in it. Every count is what came since the last window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cohort {
    /// Which one, from 1.
    pub number: u64,
    /// Whether these are requests of the canary; else of stable.
    pub canary: bool,
    /// Requests admitted.
    pub admitted: u64,
    /// Requests whose answer began well, or that ended without one: each is counted once.
    pub heard: u64,
    /// Requests that ended as failures; after they were heard where an answer broke off.
    pub failed: u64,
    /// Requests that the client gave up.
    pub gone: u64,
    /// How long those took that ended otherwise, as in [`Latencies`].
    pub latency: Vec<(u8, u64)>,
}

impl Cohort {
    fn check(&self, buckets: usize) -> Result<(), Nonsense> {
        if [self.admitted, self.heard, self.failed, self.gone].into_iter().any(|count| count > ABSURD) {
            return Err(Nonsense::AbsurdCount);
        }
        if buckets == 0 { Ok(()) } else { latency::check(&self.latency, buckets, ABSURD) }
    }
}

/// Latencies of both versions, as sparse histograms: `(bucket, count)` by rising bucket. Bucket `i` holds what took longer than
/// boundary `i − 1` and at most boundary `i`, where boundary `i` is `1 ms · 1.1^i` for `i` from 0 to 116 (63 s); bucket 117
/// holds what took longer still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latencies<'a> {
    /// The version on trial.
    pub canary: &'a [(u8, u64)],
    /// The version that serves.
    pub stable: &'a [(u8, u64)],
}

/// The counts of one instance in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Which one: a number that stays the same for the whole rollout, such as a hash of its name.
    pub id: u64,
    /// Whether it runs the canary; else it runs stable.
    pub canary: bool,
    /// Its counts.
    pub counts: Counts,
}

impl Details<'_> {
    /// Refuses what cannot be true of `window`; `buckets` is how many a histogram has.
    pub(crate) fn check(&self, window: &Window, buckets: usize) -> Result<(), Nonsense> {
        if let Some(latency) = self.latency {
            latency::check(latency.canary, buckets, window.canary.n)?;
            latency::check(latency.stable, buckets, window.stable.n)?;
        }
        self.cohorts.iter().try_for_each(|cohort| cohort.check(buckets))?;
        if let Some(slow) = self.slow {
            let possible = |slow: Counts, all: Counts| {
                slow.x <= slow.n && slow.n <= all.n && slow.repeated <= slow.x && slow.repeated <= all.x
            };
            if !possible(slow.canary, window.canary) || !possible(slow.stable, window.stable) {
                return Err(Nonsense::MoreSlowThanRequests);
            }
        }
        Ok(())
    }
}
