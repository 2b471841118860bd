//! Counting without locks: each request adds one to exactly one outcome, so that failures never exceed answers.

use crate::{
    access::{Note, Went},
    guard::{Seat, Watch},
    sticky::{Before, Client},
};
use davy_core::{BUCKETS, Cell, Failures, InstanceId, Millis, ReleaseId, Role, ServiceKey, bucket_of};
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
    /// Requests under way on the instance, whatever counts them.
    in_flight: Arc<AtomicU64>,
    routed: AtomicU64,
    /// Of the failures, those of clients that had failed before.
    repeated: AtomicU64,
    /// Those that took longer than this, in microseconds.
    slow: AtomicU64,
    slow_over: u64,
    /// Where a guard watches.
    watch: Option<Watch>,
    ends: [AtomicU64; 6],
    latency: [AtomicU32; BUCKETS],
}

impl Counter {
    pub(crate) fn new(release: ReleaseId, role: Role, instance: InstanceId, in_flight: Arc<AtomicU64>) -> Self {
        let ends = std::array::from_fn(|_| AtomicU64::new(0));
        let latency = std::array::from_fn(|_| AtomicU32::new(0));
        Self {
            release,
            role,
            instance,
            in_flight,
            routed: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            slow: AtomicU64::new(0),
            slow_over: u64::MAX,
            watch: None,
            ends,
            latency,
        }
    }

    /// Counts what takes longer than a limit, too.
    pub(crate) fn slow_over(self, limit: Option<Millis>) -> Self {
        Self { slow_over: limit.map_or(u64::MAX, |limit| limit.0.saturating_mul(1_000)), ..self }
    }

    /// A guard watches the requests drawn for it.
    pub(crate) fn watched(self, watch: Option<Watch>) -> Self {
        Self { watch, ..self }
    }

    /// Takes what was counted; none when nothing was.
    pub(crate) fn take(&self) -> Option<Cell> {
        let [answered, status, timeout, refused, reset, client_gone] =
            std::array::from_fn(|end| self.ends[end].swap(0, Relaxed));
        let routed = self.routed.swap(0, Relaxed);
        let failures = Failures { status, timeout, refused, reset };
        let answered = answered + failures.total();
        let repeated = take_up_to(&self.repeated, failures.total());
        let slow = take_up_to(&self.slow, answered);
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
        let role = self.role;
        Some(Cell { release, role, instance, routed, answered, failures, repeated, client_gone, slow, latency })
    }
}

/// Takes a count that is part of another; what is not among that one yet waits for it.
fn take_up_to(part: &AtomicU64, whole: u64) -> u64 {
    let counted = part.swap(0, Relaxed);
    let taken = counted.min(whole);
    if counted > taken {
        part.fetch_add(counted - taken, Relaxed);
    }
    taken
}

/// The upper edges of the latencies that are told as metrics, in microseconds.
pub(crate) const EDGES: [u64; 11] =
    [5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000];

/// All traffic of one release for as long as it is served: what is under way, and what is told as metrics.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// The service's name, as it is written.
    service: String,
    /// Requests under way.
    pub in_flight: AtomicU64,
    /// By the first digit of their status; 0: no answer.
    pub answers: [AtomicU64; 6],
    pub latency: [AtomicU64; EDGES.len() + 1],
    pub micros: AtomicU64,
    pub retries: AtomicU64,
}

impl Traffic {
    pub(crate) fn new(service: &ServiceKey) -> Self {
        Self {
            service: service.to_string(),
            in_flight: AtomicU64::new(0),
            answers: Default::default(),
            latency: Default::default(),
            micros: AtomicU64::new(0),
            retries: AtomicU64::new(0),
        }
    }
}

/// One request under way: counted as routed when made, and as what became of it when it ends. Dropped without an end,
/// the client had gone.
#[derive(Debug)]
pub(crate) struct Under {
    counter: Arc<Counter>,
    traffic: Arc<Traffic>,
    began: Instant,
    ended: bool,
    /// Set where a guard watches it.
    seat: Option<Seat>,
    /// Who asks, where clients stay with a release.
    client: Option<Box<Client>>,
    /// 0: there is no answer.
    pub status: u16,
    /// What the access log says of it.
    pub note: Option<Box<Note>>,
}

impl Under {
    pub(crate) fn new(counter: Arc<Counter>, traffic: Arc<Traffic>) -> Self {
        counter.routed.fetch_add(1, Relaxed);
        traffic.in_flight.fetch_add(1, Relaxed);
        counter.in_flight.fetch_add(1, Relaxed);
        Self { counter, traffic, began: Instant::now(), ended: false, seat: None, client: None, status: 0, note: None }
    }

    /// Says who asks.
    pub(crate) fn of(&mut self, client: Client) {
        self.client = Some(Box::new(client));
    }

    /// It was drawn for its release, and that one is asked: a guard watches it from now on, where there is one.
    pub(crate) fn drawn(&mut self) {
        let role = self.counter.role;
        self.seat = self.counter.watch.as_ref().map(|watch| watch.admit(role == Role::Canary));
    }

    /// The head of its answer came, and is no failure.
    pub(crate) fn answers(&mut self) {
        if let (Some(watch), Some(seat)) = (&self.counter.watch, &mut self.seat) {
            watch.answers(seat);
        }
    }

    /// What its release is to the judge.
    pub(crate) fn role(&self) -> Role {
        self.counter.role
    }

    /// When it was routed.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// It goes to another instance of its release, as the one before was never reached: its end is counted there.
    pub(crate) fn retry(&mut self, counter: Arc<Counter>) {
        self.traffic.retries.fetch_add(1, Relaxed);
        counter.in_flight.fetch_add(1, Relaxed);
        self.counter.in_flight.fetch_sub(1, Relaxed);
        self.counter = counter;
    }

    /// Says how it ended; only the first time counts.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.counter.ends[outcome as usize].fetch_add(1, Relaxed);
        let failed = !matches!(outcome, Outcome::Answered | Outcome::ClientGone);
        let before = self.client.as_ref().filter(|_| failed).map_or(Before::Never, |client| client.fails());
        if before == Before::Failed {
            self.counter.repeated.fetch_add(1, Relaxed);
        }
        if let (Some(watch), Some(seat)) = (&self.counter.watch, self.seat.take()) {
            watch.end(seat, failed && before == Before::Never);
        }
        if outcome != Outcome::ClientGone {
            let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
            // A request that timed out belongs above every boundary.
            let bucket = if outcome == Outcome::Timeout { BUCKETS - 1 } else { usize::from(bucket_of(micros)) };
            self.counter.latency[bucket].fetch_add(1, Relaxed);
            let limit = self.counter.slow_over;
            if micros > limit || (outcome == Outcome::Timeout && limit < u64::MAX) {
                self.counter.slow.fetch_add(1, Relaxed);
            }
            self.traffic.micros.fetch_add(micros, Relaxed);
            self.traffic.latency[EDGES.partition_point(|edge| *edge < micros)].fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        self.end(Outcome::ClientGone);
        self.traffic.in_flight.fetch_sub(1, Relaxed);
        self.counter.in_flight.fetch_sub(1, Relaxed);
        self.traffic.answers[usize::from(self.status / 100).min(5)].fetch_add(1, Relaxed);
        if let Some(note) = self.note.take() {
            let Counter { release, instance, .. } = &*self.counter;
            let went = Went { service: &self.traffic.service, release: release.as_str(), instance: instance.as_str() };
            note.write((self.status > 0).then_some(self.status), Some(&went));
        }
    }
}
