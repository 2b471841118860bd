//! What judging costs: how much of one core 10,000 rollouts take in real time, and 1,000 that compare latency besides.
//!
//! `benches/judge cost --seconds 20`
//!
//! The exit code is 1 where 10,000 rollouts take more than a second of work in each second, where one keeps more than it may, or where a
//! window allocates.
//!
//! Every rollout takes ten windows a second, which close one block, and is asked for its verdict once a second. The last line is the
//! figure: seconds of work per second of traffic.

#![expect(clippy::print_stdout, reason = "a command prints its figures")]

#[path = "../tests/laws/world.rs"]
#[expect(dead_code, reason = "only its random numbers are used")]
mod world;

use std::alloc::System;
use std::error::Error;
use std::time::Instant;

use davy_judge::{Budget, Counts, Details, Judge, Kind, Latencies, Pair, Policy, Window};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use world::Random;

/// Counts what is allocated.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Windows before the first second that is measured: by then six starts are reached, and every buffer has its size.
const WARM_SECONDS: u64 = 1_000;

/// Seconds after the copies are made: by then what each keeps of the last minute has been written once.
const TOUCH_SECONDS: u64 = 130;

/// Bytes of this process in memory, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kilobytes| 1_024 * kilobytes)
}

/// Seconds that this thread has worked, where the system tells; else seconds that have passed.
fn worked(begun: Instant) -> f64 {
    let told = std::fs::read_to_string("/proc/self/schedstat").ok();
    let nanoseconds = told.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| begun.elapsed().as_secs_f64(), |nanoseconds| nanoseconds / 1e9)
}

/// A second's worth of windows, the same for every rollout.
struct Traffic {
    windows: Vec<Tenth>,
    metrics: u8,
}

struct Tenth {
    pair: Pair,
    canary: Vec<(u8, u64)>,
    stable: Vec<(u8, u64)>,
}

impl Traffic {
    fn new(random: &mut Random, metrics: u8) -> Self {
        let windows = (0..10).map(|tenth| {
            let failures = u64::from(tenth == 3);
            let pair = Pair { canary: Counts::answered(10, 0), stable: Counts::answered(90, failures) };
            let mut canary: Vec<(u8, u64)> = Vec::new();
            for bucket in 30..=70 {
                let more = random.binomial(3, 0.1).min(10 - canary.iter().map(|(_, count)| count).sum::<u64>());
                if more > 0 {
                    canary.push((bucket, more));
                }
            }
            let stable = canary.iter().map(|(bucket, count)| (*bucket, 9 * count)).collect();
            Tenth { pair, canary, stable }
        });
        Self { windows: windows.collect(), metrics }
    }

    fn feed(&self, judge: &mut Judge, second: u64) {
        for (tenth, window) in (0..).zip(&self.windows) {
            let from_ms = second * 1_000 + tenth * 100;
            let Pair { canary, stable } = window.pair;
            let latency = Some(Latencies { canary: &window.canary, stable: &window.stable });
            let slow = Some(Pair { canary: Counts::answered(10, 0), stable: Counts::answered(90, 0) });
            judge.observe_with(
                &Window { epoch: 1, weight: 1_000, from_ms, to_ms: from_ms + 100, canary, stable },
                &Details { latency, slow, ..Details::default() },
            );
            if second % 10 == 9 && tenth == 9 {
                // A metric that the policy does not know would be nonsense.
                for index in 0..self.metrics {
                    judge.observe_metric(
                        index,
                        &Window {
                            epoch: 1,
                            weight: 1_000,
                            from_ms: from_ms + 100 - 10_000,
                            to_ms: from_ms + 100,
                            canary: Counts::answered(1_000, 0),
                            stable: Counts::answered(9_000, 9),
                        },
                    );
                }
            }
        }
    }
}

/// Seconds of work per second of traffic of `rollouts` under a policy, without and with a verdict each second.
fn measure(name: &str, policy: Policy, rollouts: usize, seconds: u64, most: u64) -> Result<(f64, f64), Box<dyn Error>> {
    let traffic = Traffic::new(&mut Random(1), policy.metrics);
    let before = resident();
    // One is warmed and copied: what it holds is what every rollout holds after as long.
    let mut first = Judge::new(policy)?;
    for second in 0..WARM_SECONDS {
        traffic.feed(&mut first, second);
    }
    assert_ne!(first.verdict().kind, Kind::Harmful, "a rollout that is over costs nothing");
    let mut judges = vec![first; rollouts];
    for second in 0..TOUCH_SECONDS {
        for judge in &mut judges {
            traffic.feed(judge, WARM_SECONDS + second);
        }
    }
    let warm = resident();
    let begun = Instant::now();
    let from = worked(begun);
    let allocations = Region::new(ALLOCATOR);
    for second in 0..seconds {
        for judge in &mut judges {
            traffic.feed(judge, WARM_SECONDS + TOUCH_SECONDS + second);
        }
    }
    let allocated = allocations.change();
    let work = (worked(begun) - from) / seconds as f64;
    let after = resident();
    let from = worked(begun);
    for judge in &judges {
        std::hint::black_box(judge.verdict());
    }
    let verdicts = worked(begun) - from;
    print!("{name}: {rollouts} rollouts take {work:.3} s of each second, and a verdict of each {verdicts:.3} s");
    let windows = 10 * seconds * rollouts as u64;
    let times = allocated.allocations + allocated.reallocations;
    print!("; {times} allocations in {windows} windows");
    if times > 0 {
        return Err(format!("{name}: windows allocate, {times} times in {windows}").into());
    }
    if let (Some(before), Some(warm), Some(after)) = (before, warm, after) {
        let each = warm.saturating_sub(before) / rollouts as u64;
        let grown = after.saturating_sub(warm) / rollouts as u64;
        println!("; {each} bytes each, {grown} more after {seconds} s");
        if each > most || grown > 64 {
            return Err(format!("{name}: more than {most} bytes a rollout, or it grows").into());
        }
    } else {
        println!();
    }
    Ok((work, verdicts))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => 20,
        (Some("--seconds"), Some(seconds)) => u64::max(seconds.parse()?, 1),
        _ => return Err("use --seconds and a number".into()),
    };
    let plain = measure("errors", Policy::default(), 10_000, seconds, 64 << 10)?;
    let latency = Policy { not_slower_than: Some(1.1), ..Policy::default() };
    let compared = measure("errors and latency", latency, 1_000, seconds, 256 << 10)?;
    let full = Policy {
        max_slow: Some(0.01),
        max_error_rate: Some(0.01),
        metrics: 4,
        budget: Some(Budget::Excess(50.0)),
        ..latency
    };
    measure("everything", full, 1_000, seconds, 256 << 10)?;
    let all = plain.0 + plain.1 + compared.0 + compared.1;
    println!("of one core: {:.3} without verdicts, {all:.3} with", plain.0 + compared.0);
    // Both together are to fit on one core, each asked for its verdict once a second.
    if all > 1.0 { Err(format!("{all:.3} s of work in each second, not at most 1").into()) } else { Ok(()) }
}
