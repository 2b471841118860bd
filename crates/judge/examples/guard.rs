//! What a guard costs, and how often it cuts off a healthy canary, at full size.
//!
//! `benches/judge guard --runs 10000 --seed 1`; the exit code is 1 where more healthy canaries are cut off than chance allows, or a
//! catastrophe costs more than ten failures.

#![expect(clippy::print_stdout, reason = "a command prints its figures")]

#[path = "../tests/laws/ages.rs"]
mod ages;
#[path = "../tests/laws/world.rs"]
#[expect(dead_code, reason = "a guard needs no more of it than dice")]
mod world;

use ages::{HEALTHY, Service, healthy, order, run};
use davy_judge::guard::{Book, Guard, Order, Row, Side};
use std::{error::Error, hint::black_box, time::Instant};
use world::median;

/// α of one run of the guard that healthy canaries are cut off by here.
const PROMISED: f64 = 0.044;

/// Nanoseconds for weighing so many weights and starts once.
fn cost(weights: u16, starts: u8) -> Result<f64, Box<dyn Error>> {
    let guard = Guard::begin(Order { limits: vec![0.01], ..order() }, 1)?;
    let side = |routed, failed| Side { routed, failed };
    let rows: Vec<Row> = (0..weights)
        .flat_map(|weight| {
            (0..starts).map(move |start| {
                let (canary, stable) = (side(1_000, 1), side(9_000, 9));
                Row { epoch: u64::from(weight), weight: 100 * (weight + 1), start, canary, stable, waiting: 3 }
            })
        })
        .collect();
    let times = 20_000;
    let since = Instant::now();
    for _ in 0..times {
        black_box(guard.weigh(black_box(&rows), None));
    }
    Ok(since.elapsed().as_nanos() as f64 / f64::from(times))
}

/// Nanoseconds for counting a request, and for choosing and copying the cuts of a full book.
fn counting() -> Result<(f64, f64), Box<dyn Error>> {
    let guard = Guard::begin(order(), 1)?;
    let mut book = Book::default();
    let times = 1_000_000_u32;
    let since = Instant::now();
    for number in 0..times {
        let mut seat = book.admit(1, 1_000, 0, number % 10 == 0);
        book.answers(&mut seat);
        book.end(seat, number % 1_000 == 0);
    }
    let each = since.elapsed().as_nanos() as f64 / f64::from(times);
    let since = Instant::now();
    for _ in 0..10_000 {
        black_box(guard.cuts(black_box(&book)));
    }
    Ok((each, since.elapsed().as_nanos() as f64 / 10_000.0))
}

fn main() -> Result<(), Box<dyn Error>> {
    for (weights, starts) in [(1, 1), (3, 4), (5, 8), (10, 12)] {
        println!(
            "a failure of the canary, {weights} weights, {starts} starts: {:.1} µs",
            cost(weights, starts)? / 1_000.0
        );
    }
    let (each, cuts) = counting()?;
    println!("a request: {each:.0} ns; to choose the cuts: {:.1} µs", cuts / 1_000.0);
    let mut words = std::env::args().skip(1);
    let (mut runs, mut seed) = (10_000_u64, 1_u64);
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        match name.as_str() {
            "--runs" => runs = value.parse()?,
            "--seed" => seed = value.parse()?,
            _ => return Err("give --runs N and --seed N".into()),
        }
    }
    let mut missed = Vec::new();
    for (fails, answer) in [(1.0, 0.001), (0.5, 0.001), (0.05, 0.001), (1.0, 0.06), (0.5, 0.06), (0.05, 0.06)] {
        let bad = Service {
            rate: 1_000.0,
            fails: (fails, 0.001),
            late: (0.001, answer),
            answer,
            weights: [1_000; 3],
            seconds: 60.0,
            limits: Vec::new(),
            waits: true,
        };
        let cut: Vec<f64> =
            (seed..seed + 200).filter_map(|seed| run(&bad, 0.003, seed)).map(|cut| cut as f64).collect();
        let failures = median(cut);
        if fails == 1.0 && answer < 0.01 && failures > 10.0 {
            missed.push(format!("a catastrophe is cut off after {failures} failures"));
        }
        println!(
            "a canary at 10 % of 1,000 requests/s that fails {} % at once, stable answers in {} ms: cut off after {} failures \
             (median of 200)",
            100.0 * fails,
            1_000.0 * answer,
            failures
        );
    }
    let each = runs.div_ceil(HEALTHY.len() as u64);
    let (cut, naive) = (healthy(true, seed..seed + each), healthy(false, seed..seed + each));
    let of = each * HEALTHY.len() as u64;
    println!(
        "healthy canaries, α = 4.4 % for the run, seed {seed}: {cut} of {of} cut off; failures taken as they come: {naive}"
    );
    let most = PROMISED * of as f64 + 4.0 * (PROMISED * (1.0 - PROMISED) * of as f64).sqrt();
    if cut as f64 > most {
        missed.push(format!("{cut} of {of} healthy canaries cut off"));
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("MISSED {}", missed.join("; ")).into()) }
}
