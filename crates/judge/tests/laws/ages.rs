//! A router with a guard, request by request: versions that fail at given rates, each after its own time.

use crate::world::Random;
use davy_judge::guard::{Book, Guard, Order, Row, Seat, Side, start_after};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

pub(crate) fn order() -> Order {
    Order { alpha: 0.003, odds: 1.0, relative: true, limits: Vec::new(), past: false, cluster: 1.0 }
}

#[allow(dead_code, reason = "the example needs no single rows")]
pub(crate) fn row(weight: u16, start: u8, canary: (u64, u64), stable: (u64, u64), waiting: u64) -> Row {
    let side = |(routed, failed)| Side { routed, failed };
    Row { epoch: 1, weight, start, canary: side(canary), stable: side(stable), waiting }
}

/// A service: requests a second, how often they fail, how long answers take.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) rate: f64,
    pub(crate) fails: (f64, f64),
    /// Seconds until a failure is known, of canary and stable.
    pub(crate) late: (f64, f64),
    /// Seconds until a good answer comes, of either.
    pub(crate) answer: f64,
    pub(crate) weights: [u16; 3],
    pub(crate) seconds: f64,
    pub(crate) limits: Vec<f64>,
    /// Whether what waits is weighed.
    pub(crate) waits: bool,
}

/// A request under way: when it ends, its number, and how.
type UnderWay = Reverse<(u64, u64, bool)>;

/// Failed canary requests until it was cut off, if it was.
pub(crate) fn run(service: &Service, alpha: f64, seed: u64) -> Option<u64> {
    let mut random = Random(seed);
    let guard = Guard::begin(Order { alpha, limits: service.limits.clone(), ..order() }, 1).expect("a valid order");
    let mut book = Book::default();
    let mut seats: HashMap<u64, Seat> = HashMap::new();
    let mut under_way: BinaryHeap<UnderWay> = BinaryHeap::new();
    let mut now = 0.0;
    for number in 0.. {
        now -= random.unit().ln() / service.rate;
        let micros = (now * 1e6) as u64;
        while let Some(Reverse((_, number, failed))) =
            under_way.peek().is_some_and(|Reverse((due, ..))| *due <= micros).then(|| under_way.pop()).flatten()
        {
            let Some(seat) = seats.remove(&number) else { continue };
            book.end(seat, failed);
            if failed
                && seat.is_canary()
                && let Some(finding) = guard.search(&guard.cuts(&book), None)
            {
                assert!(finding.holds(), "{finding:?}");
                return Some(book.rows().iter().map(|row| row.canary.failed).sum());
            }
        }
        if now > service.seconds {
            return None;
        }
        let weight = service.weights[(now / service.seconds * 2.999) as usize];
        let canary = random.unit() * 1e4 <= f64::from(weight);
        let mut seat = book.admit(1, weight, start_after((now * 1e3) as u64), canary);
        let (fails, late) = match canary {
            true => (service.fails.0, service.late.0),
            false => (service.fails.1, service.late.1),
        };
        let failed = random.unit() <= fails;
        if !service.waits {
            book.answers(&mut seat);
        }
        seats.insert(number, seat);
        under_way.push(Reverse((micros + (1e6 * if failed { late } else { service.answer }) as u64, number, failed)));
    }
    None
}

/// Requests a second, how often they fail, how late that is known, and the weights.
pub(crate) type Healthy = (f64, f64, (f64, f64), [u16; 3]);

pub(crate) const HEALTHY: [Healthy; 6] = [
    // Of much traffic, with a stable that fails after its good answers came.
    (400.0, 0.1, (0.02, 0.4), [1_000, 2_500, 5_000]),
    (100.0, 0.05, (0.0, 0.0), [100, 1_000, 5_000]),
    (100.0, 0.5, (0.0, 0.0), [2_500, 9_000, 1_000]),
    // The canary fails at once, stable after its whole timeout.
    (50.0, 0.2, (0.0, 30.0), [1_000, 2_500, 5_000]),
    (50.0, 0.2, (1.0, 10.0), [5_000, 100, 5_000]),
    // And the other way round.
    (50.0, 0.2, (5.0, 0.0), [500, 5_000, 9_900]),
];

/// Of so many seeds in every kind of world, how many healthy canaries are cut off at α = 5 %.
pub(crate) fn healthy(waits: bool, seeds: std::ops::Range<u64>) -> usize {
    let cut = HEALTHY.iter().flat_map(|(rate, fails, late, weights)| {
        let fails = (*fails, *fails);
        let (rate, late, weights, seconds) = (*rate, *late, *weights, 90.0);
        let service = Service { rate, fails, late, answer: 0.06, weights, seconds, limits: Vec::new(), waits };
        seeds.clone().filter_map(move |seed| run(&service, 0.05, seed))
    });
    cut.count()
}
