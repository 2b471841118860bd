//! Counting without locks: each request adds one to exactly one outcome, so that failures never exceed answers.

use crate::{
    access::{self, Note},
    guard::{Seat, Watch},
    sticky::{Before, Client},
};
use davy_core::{BUCKETS, Cell, Cohort, Failures, InstanceId, Millis, ReleaseId, Role, ServiceKey, bucket_of};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
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
    /// Release and instance as the access log has them.
    logged: String,
    /// Requests under way on the instance, whatever counts them.
    in_flight: Arc<AtomicU64>,
    /// The cohort of those that are admitted now in the upper half, and how many of it were in the lower: one step counts a request
    /// and tells which cohort it is of.
    routed: AtomicU64,
    /// Of this cohort, those whose answer began well or that ended without.
    heard: AtomicU64,
    /// Of earlier cohorts, what came since. Locked only by requests that last longer than a cohort takes.
    late: Mutex<BTreeMap<u32, Ends>>,
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

/// How requests of one cohort ended.
#[derive(Clone, Debug, Default)]
struct Ends {
    heard: u64,
    ends: [u64; 6],
    latency: BTreeMap<u8, u64>,
}

impl Ends {
    fn add(&mut self, other: &Self) {
        self.heard += other.heard;
        self.ends.iter_mut().zip(other.ends).for_each(|(sum, count)| *sum += count);
        for (bucket, count) in &other.latency {
            *self.latency.entry(*bucket).or_default() += count;
        }
    }

    fn failures(&self) -> Failures {
        let [_, status, timeout, refused, reset, _] = self.ends;
        Failures { status, timeout, refused, reset }
    }

    fn gone(&self) -> u64 {
        self.ends[Outcome::ClientGone as usize]
    }
}

/// What windows tell by cohort: of which number, and whether the canary's.
pub(crate) type Cohorts = BTreeMap<(u32, bool), Cohort>;

impl Counter {
    pub(crate) fn new(release: ReleaseId, role: Role, instance: InstanceId, in_flight: Arc<AtomicU64>) -> Self {
        let ends = std::array::from_fn(|_| AtomicU64::new(0));
        let latency = std::array::from_fn(|_| AtomicU32::new(0));
        let logged = access::member("release", release.as_str()) + &access::member("instance", instance.as_str());
        Self {
            release,
            role,
            instance,
            logged,
            in_flight,
            routed: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            late: Mutex::default(),
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

    /// Begins in a cohort; 0: in none.
    pub(crate) fn in_cohort(self, number: u32) -> Self {
        self.routed.store(u64::from(number) << 32, Relaxed);
        self
    }

    /// Takes what was counted; none when nothing was. Requests are of cohort `next` from now on. What the cohorts have come to is
    /// added to what is told of them.
    pub(crate) fn take(&self, next: u32, told: &mut Cohorts) -> Option<Cell> {
        let routed = self.routed.swap(u64::from(next) << 32, Relaxed);
        let (cohort, routed) = ((routed >> 32) as u32, routed & u64::from(u32::MAX));
        let latency = self.latency.iter().zip(0_u8..).filter_map(|(count, bucket)| match count.swap(0, Relaxed) {
            0 => None,
            count => Some((bucket, u64::from(count))),
        });
        let mut all = Ends {
            heard: self.heard.swap(0, Relaxed),
            ends: std::array::from_fn(|end| self.ends[end].swap(0, Relaxed)),
            latency: latency.collect(),
        };
        let late = std::mem::take(&mut *self.late.lock().unwrap_or_else(PoisonError::into_inner));
        self.tell(cohort, routed, &all, told);
        for (cohort, ends) in &late {
            self.tell(*cohort, 0, ends, told);
            all.add(ends);
        }
        let (failures, client_gone) = (all.failures(), all.gone());
        let answered = all.ends[Outcome::Answered as usize] + failures.total();
        let repeated = take_up_to(&self.repeated, failures.total());
        let slow = take_up_to(&self.slow, answered);
        if routed + answered + client_gone == 0 {
            return None;
        }
        let (release, instance) = (self.release.clone(), self.instance.clone());
        let (role, latency) = (self.role, all.latency.into_iter().collect());
        Some(Cell { release, role, instance, routed, answered, failures, repeated, client_gone, slow, latency })
    }

    fn tell(&self, number: u32, routed: u64, ends: &Ends, told: &mut Cohorts) {
        let canary = self.role == Role::Canary;
        let is_none = routed + ends.heard + ends.ends.iter().sum::<u64>() == 0;
        if number == 0 || is_none || !(canary || self.role == Role::Stable) {
            return;
        }
        let new = || Cohort { number: u64::from(number), canary, ..Cohort::default() };
        let cohort = told.entry((number, canary)).or_insert_with(new);
        cohort.routed += routed;
        cohort.heard += ends.heard;
        cohort.failed += ends.failures().total();
        cohort.gone += ends.gone();
        let mut latency: BTreeMap<u8, u64> = cohort.latency.drain(..).collect();
        for (bucket, count) in &ends.latency {
            *latency.entry(*bucket).or_default() += count;
        }
        cohort.latency = latency.into_iter().collect();
    }

    /// Counts what becomes of a request: with its cohort while that is the present one, else apart.
    fn count(&self, cohort: u32, now: impl FnOnce(&Self), late: impl FnOnce(&mut Ends)) {
        if (self.routed.load(Relaxed) >> 32) as u32 == cohort {
            now(self);
        } else {
            let mut all = self.late.lock().unwrap_or_else(PoisonError::into_inner);
            late(all.entry(cohort).or_default());
        }
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
    /// The service as the access log has it.
    logged: String,
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
            logged: access::member("service", &service.to_string()),
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
    /// When it was admitted; 0: nobody asks.
    cohort: u32,
    heard: bool,
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
    pub(crate) fn new(counter: Arc<Counter>, traffic: Arc<Traffic>, began: Instant) -> Self {
        let cohort = (counter.routed.fetch_add(1, Relaxed) >> 32) as u32;
        traffic.in_flight.fetch_add(1, Relaxed);
        counter.in_flight.fetch_add(1, Relaxed);
        let (heard, ended, seat, client, status, note) = (false, false, None, None, 0, None);
        Self { counter, traffic, began, cohort, heard, ended, seat, client, status, note }
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
        if !self.heard {
            self.heard = true;
            let now = |counter: &Counter| _ = counter.heard.fetch_add(1, Relaxed);
            self.counter.count(self.cohort, now, |late| late.heard += 1);
        }
    }

    /// What its release is to the judge.
    pub(crate) fn role(&self) -> Role {
        self.counter.role
    }

    /// When its head had come.
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
        let heard = u64::from(!std::mem::replace(&mut self.heard, true));
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let bucket = match outcome {
            Outcome::ClientGone => None,
            // A request that timed out belongs above every boundary.
            Outcome::Timeout => u8::try_from(BUCKETS - 1).ok(),
            _ => Some(bucket_of(micros)),
        };
        let now = |counter: &Counter| {
            counter.heard.fetch_add(heard, Relaxed);
            counter.ends[outcome as usize].fetch_add(1, Relaxed);
            if let Some(bucket) = bucket {
                counter.latency[usize::from(bucket)].fetch_add(1, Relaxed);
            }
        };
        self.counter.count(self.cohort, now, |late| {
            late.heard += heard;
            late.ends[outcome as usize] += 1;
            if let Some(bucket) = bucket {
                *late.latency.entry(bucket).or_default() += 1;
            }
        });
        let failed = !matches!(outcome, Outcome::Answered | Outcome::ClientGone);
        let before = self.client.as_ref().filter(|_| failed).map_or(Before::Never, |client| client.fails());
        // Who cannot be told from those that failed before is taken for one of them.
        if before != Before::Never {
            self.counter.repeated.fetch_add(1, Relaxed);
        }
        if let (Some(watch), Some(seat)) = (&self.counter.watch, self.seat.take()) {
            watch.end(seat, failed && before == Before::Never);
        }
        if outcome != Outcome::ClientGone {
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
            note.write((self.status > 0).then_some(self.status), &[&self.traffic.logged, &self.counter.logged]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        peer::Peer,
        sticky::{FAILED, Failed, Key, Sticky},
    };
    use davy_core::{EnvironmentName, RolloutId, ServiceName};

    fn service() -> ServiceKey {
        let service = ServiceName::new("shop").unwrap();
        ServiceKey { service, environment: EnvironmentName::new("production").unwrap() }
    }

    fn under(counter: &Arc<Counter>) -> Under {
        Under::new(counter.clone(), Arc::new(Traffic::new(&service())), Instant::now())
    }

    fn counter() -> Arc<Counter> {
        let counter = Counter::new(ReleaseId::new("v2"), Role::Canary, InstanceId::new("i"), Arc::default());
        Arc::new(counter.in_cohort(7))
    }

    /// One broken client among more than are remembered: none of its failures is a first one, and that is said.
    #[test]
    fn clients_beyond_those_remembered_repeat_themselves() {
        let failed = Arc::new(Failed::of((0..FAILED as u64).collect(), false));
        let sticky = Sticky::new(Key::new(&[1; 32]), &service(), &RolloutId::new("r"), "/", failed.clone());
        let (counter, peer) = (counter(), Peer::new(([127, 0, 0, 1], 1).into(), false));
        let fail = |name| {
            let mut under = under(&counter);
            under.of(sticky.admit(name, &peer).0);
            under.end(Outcome::Status);
        };
        fail(3);
        assert!(!failed.forgotten());
        (0..5).for_each(|_| fail(u64::MAX));
        let cell = counter.take(8, &mut Cohorts::new()).unwrap();
        assert_eq!((cell.failures.total(), cell.repeated), (6, 6));
        assert!(failed.forgotten());
    }

    /// What ends later is told with those it came with, once, and in the counts of when it ended.
    #[test]
    fn a_request_stays_with_its_cohort() {
        let counter = counter();
        let (mut first, mut streams, mut gone) = (under(&counter), under(&counter), under(&counter));
        streams.answers();
        let mut told = Cohorts::new();
        counter.take(8, &mut told);
        let cohort = told.get(&(7, true)).unwrap();
        assert_eq!((cohort.routed, cohort.heard, cohort.failed), (3, 1, 0));
        under(&counter).end(Outcome::Answered);
        first.end(Outcome::Timeout);
        streams.end(Outcome::Reset);
        gone.end(Outcome::ClientGone);
        let mut told = Cohorts::new();
        let cell = counter.take(9, &mut told).unwrap();
        assert_eq!((cell.routed, cell.answered, cell.failures.total(), cell.client_gone), (1, 3, 2, 1));
        assert_eq!(cell.latency.iter().map(|(_, count)| count).sum::<u64>(), 3);
        let of = |number| {
            let cohort = &told[&(number, true)];
            (cohort.routed, cohort.heard, cohort.failed, cohort.gone, cohort.latency.len())
        };
        assert_eq!((of(7), of(8)), ((0, 2, 2, 1, 2), (1, 1, 0, 0, 1)));
        assert!(counter.take(0, &mut Cohorts::new()).is_none());
        under(&counter).end(Outcome::Answered);
        let mut told = Cohorts::new();
        assert!(counter.take(0, &mut told).is_some() && told.is_empty(), "0 is no cohort");
    }
}
