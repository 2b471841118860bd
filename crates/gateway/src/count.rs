//! Counting without locks: each request adds one to exactly one outcome, so that failures never exceed answers.

use crate::sticky::Client;
use davy_core::{BUCKETS, Cell, Failures, InstanceId, ReleaseId, Role, bucket_of};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    Status,
    Timeout,
    Refused,
    Reset,
    ClientGone,
}

/// The counts of one instance in one weight epoch since they were last taken.
#[derive(Debug)]
pub(crate) struct Counter {
    release: ReleaseId,
    role: Role,
    instance: InstanceId,
    routed: AtomicU64,
    /// Of the failures, those of clients that had failed before.
    repeated: AtomicU64,
    ends: [AtomicU64; 6],
    latency: [AtomicU32; BUCKETS],
}

impl Counter {
    pub(crate) fn new(release: ReleaseId, role: Role, instance: InstanceId) -> Self {
        let ends = std::array::from_fn(|_| AtomicU64::new(0));
        let latency = std::array::from_fn(|_| AtomicU32::new(0));
        Self { release, role, instance, routed: AtomicU64::new(0), repeated: AtomicU64::new(0), ends, latency }
    }

    /// Takes what was counted; none when nothing was.
    pub(crate) fn take(&self) -> Option<Cell> {
        let [answered, status, timeout, refused, reset, client_gone] =
            std::array::from_fn(|end| self.ends[end].swap(0, Relaxed));
        let routed = self.routed.swap(0, Relaxed);
        let failures = Failures { status, timeout, refused, reset };
        // One whose failure is not among these yet waits for it.
        let repeats = self.repeated.swap(0, Relaxed);
        let repeated = repeats.min(failures.total());
        if repeats > repeated {
            self.repeated.fetch_add(repeats - repeated, Relaxed);
        }
        let answered = answered + failures.total();
        if routed + answered + client_gone == 0 {
            return None;
        }
        let latency = self
            .latency
            .iter()
            .zip(0_u8..)
            .filter_map(|(count, bucket)| match count.swap(0, Relaxed) {
                0 => None,
                count => Some((bucket, u64::from(count))),
            })
            .collect();
        let (release, instance) = (self.release.clone(), self.instance.clone());
        Some(Cell { release, role: self.role, instance, routed, answered, failures, repeated, client_gone, latency })
    }
}

/// One request under way: counted as routed when made, and as what became of it when it ends. Dropped without an end,
/// the client had gone.
#[derive(Debug)]
pub(crate) struct Under {
    counter: Arc<Counter>,
    in_flight: Arc<AtomicU64>,
    began: Instant,
    ended: bool,
    /// Who asks, where clients stay with a release.
    client: Option<Box<Client>>,
}

impl Under {
    pub(crate) fn new(counter: Arc<Counter>, in_flight: Arc<AtomicU64>) -> Self {
        counter.routed.fetch_add(1, Relaxed);
        in_flight.fetch_add(1, Relaxed);
        Self { counter, in_flight, began: Instant::now(), ended: false, client: None }
    }

    /// Says who asks.
    pub(crate) fn of(&mut self, client: Client) {
        self.client = Some(Box::new(client));
    }

    /// When it was routed.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Says how it ended; only the first time counts.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.counter.ends[outcome as usize].fetch_add(1, Relaxed);
        let failed = !matches!(outcome, Outcome::Answered | Outcome::ClientGone);
        if failed && self.client.as_ref().is_some_and(|client| client.fails_again()) {
            self.counter.repeated.fetch_add(1, Relaxed);
        }
        if outcome != Outcome::ClientGone {
            let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
            // A request that timed out belongs above every boundary.
            let bucket = if outcome == Outcome::Timeout { BUCKETS - 1 } else { usize::from(bucket_of(micros)) };
            self.counter.latency[bucket].fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        self.end(Outcome::ClientGone);
        self.in_flight.fetch_sub(1, Relaxed);
    }
}
