//! Simulated rollouts at full size: how often a healthy canary is rolled back, and what a bad one costs.
//!
//! `benches/judge healthy --runs 10000 --seed 1`; the exit code is 1 where more healthy canaries are rolled back, or more at the margin pass,
//! than chance allows. With `--only latency` the settings alone whose
//! names have that word.

#![expect(clippy::print_stdout, reason = "a command prints its figures")]

#[path = "../tests/laws/world.rs"]
mod world;

use std::error::Error;

use davy_judge::{Budget, Policy};
use world::{End, World, median};

/// `P(X ≤ x)` for `X ~ Bin(n, p)`, by logarithms of the terms.
fn at_most(x: u64, n: u64, p: f64) -> f64 {
    let mut ln_term = n as f64 * (-p).ln_1p();
    let mut sum = ln_term.exp();
    for k in 0..x {
        ln_term += ((n - k) as f64 / (k + 1) as f64).ln() + (p / (1.0 - p)).ln();
        sum += ln_term.exp();
    }
    sum
}

/// Clopper and Pearson's upper bound with 95 % for `x` of `n`.
fn upper_bound(x: u64, n: u64) -> f64 {
    if x >= n {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_most(x, n, middle) > 0.05 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// What is promised of a setting, by its name: how it rarely ends, and the chance of that.
fn promised(name: &str) -> Option<(End, f64)> {
    let is = |part: &str| name.contains(part);
    match () {
        () if is("only a budget") => Some((End::RolledBack, 0.001)),
        () if is("healthy") => Some((End::RolledBack, 0.01)),
        () if is("worse by the margin") => Some((End::Promoted, 0.05)),
        () => None,
    }
}

/// One setting; whether its promise was kept, but for a chance of one in a thousand.
fn figures(name: &str, world: &World, runs: u64, seed: u64) -> bool {
    let outcomes: Vec<_> = (0..runs).map(|run| world.run(seed.wrapping_mul(1_000_003).wrapping_add(run))).collect();
    let count = |end: End| outcomes.iter().filter(|outcome| outcome.end == end).count() as u64;
    let back = count(End::RolledBack);
    let harm = median(outcomes.iter().map(|outcome| outcome.harm as f64).collect());
    let ended: Vec<&world::Outcome> = outcomes.iter().filter(|outcome| outcome.end == End::RolledBack).collect();
    let steps: Vec<String> = (0..world.steps.len())
        .map(|step| {
            let seconds: Vec<f64> = outcomes.iter().filter_map(|outcome| outcome.seconds.get(step).copied()).collect();
            let middle = if seconds.is_empty() { "–".to_owned() } else { format!("{:.1}", median(seconds)) };
            format!("{} %: {middle} s", f64::from(world.steps[step]) / 100.0)
        })
        .collect();
    let mut totals: Vec<f64> = outcomes
        .iter()
        .map(|outcome| if outcome.end == End::Promoted { outcome.seconds.iter().sum() } else { f64::INFINITY })
        .collect();
    totals.sort_by(f64::total_cmp);
    println!(
        "{name}: {runs} runs; promoted {}, rolled back {back} ({:.3} %, at most {:.3} %), out of time {}; median harm {harm}",
        count(End::Promoted),
        100.0 * back as f64 / runs as f64,
        100.0 * upper_bound(back, runs),
        count(End::OutOfTime),
    );
    println!(
        "    median per step {}; whole rollout: median {:.1} s, 90 % within {:.1} s",
        steps.join(", "),
        totals[totals.len() / 2],
        totals[totals.len() * 9 / 10]
    );
    if let Some(first) = ended.first() {
        let middle = median(ended.iter().map(|outcome| outcome.at_ms as f64 / 1_000.0).collect());
        println!("    rolled back after a median of {middle:.1} s, the first so: {}", first.because);
    }
    promised(name).is_none_or(|(end, chance)| {
        let found = count(end);
        let kept = found == 0 || 1.0 - at_most(found - 1, runs, chance) > 0.001;
        if !kept {
            println!("    MISSED: {found} of {runs}, promised {} %", 100.0 * chance);
        }
        kept
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut runs, mut seed, mut only) = (1_000, 1, String::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or("give a value after each option")?;
        match argument.as_str() {
            "--runs" => runs = u64::max(value.parse()?, 1),
            "--seed" => seed = value.parse()?,
            "--only" => only = value,
            other => return Err(format!("{other} is not known; use --runs, --seed and --only").into()),
        }
    }
    let mut missed = 0;
    let mut figures = |name: &str, world: &World, runs, seed| {
        if name.contains(&only) && !figures(name, world, runs, seed) {
            missed += 1;
        }
    };
    println!("seed {seed}");
    let reference = World::reference();
    let limited = Policy { max_error_rate: Some(0.002), ..Policy::default() };
    let demo = World {
        traffic: 1_000,
        steps: vec![100, 500, 2_500, 5_000, 10_000],
        hold_ms: 3_000,
        window_ms: 100,
        actuation_ms: 200,
        ..World::reference()
    };
    figures("healthy, 100/s, 10/25/50", &reference, runs, seed);
    figures(
        "healthy, 100/s, 10/25/50, stable 2 %",
        &World { stable: 0.02, canary: 0.02, ..reference.clone() },
        runs,
        seed,
    );
    figures("healthy, 100/s, limit 0.2 %", &World { policy: limited, ..reference.clone() }, runs, seed);
    figures("healthy, 1000/s, 1/5/25/50/100, hold 3 s", &demo, runs, seed);
    figures("healthy, no failures, as above", &World { stable: 0.0, canary: 0.0, ..demo.clone() }, runs, seed);
    let latency = Policy { not_slower_than: Some(1.1), ..Policy::default() };
    let full = Policy { max_slow: Some(0.01), metrics: 2, budget: Some(Budget::Excess(50.0)), ..latency };
    let with = |policy| World { policy, deadline_ms: 900_000, ..reference.clone() };
    figures("healthy, latency", &with(latency), runs, seed);
    figures("healthy, latency, its limit, two metrics, a budget of 50", &with(full), runs, seed);
    // Nothing but the budget rolls back here: what does must stay below α_h = 0.1 %.
    let budget = Policy { relative: false, budget: Some(Budget::Excess(50.0)), ..Policy::default() };
    for weight in [1_000, 5_000, 9_000] {
        let steps = vec![weight];
        let world = World {
            policy: budget,
            steps,
            hold_ms: 300_000,
            traffic: 1_000,
            stable: 0.005,
            canary: 0.005,
            ..with(budget)
        };
        figures(&format!("healthy, only a budget of 50, at {weight} basis points"), &world, runs, seed);
    }
    // What passes here is promoted falsely: it must stay below β = 5 %. Nothing but the proof holds it back.
    let margin = Policy { margin: Some(0.01), relative: false, ..Policy::default() };
    for stable in [0.001, 0.05] {
        let canary = stable + 0.01;
        let steps = vec![1_000];
        let world = World { stable, canary, policy: margin, steps, deadline_ms: 600_000, ..reference.clone() };
        figures(&format!("stable fails {stable}, worse by the margin"), &world, runs, seed);
    }
    let slower = World { late: 0.02, steps: vec![1_000], hold_ms: 600_000, ..with(latency) };
    figures("2 % take 800 ms more, 10 canary requests/s", &slower, runs.div_ceil(10), seed);
    for canary in [0.003, 0.01, 0.05, 0.5] {
        let few = runs.div_ceil(10);
        figures(&format!("fails {canary}, 100/s, 10/25/50"), &World { canary, ..reference.clone() }, few, seed);
        let steps = vec![100, 500, 1_000, 2_500, 5_000];
        figures(&format!("fails {canary}, 100/s, from 1 %"), &World { canary, steps, ..reference.clone() }, few, seed);
        figures(&format!("fails {canary}, 1000/s, demo"), &World { canary, ..demo.clone() }, few, seed);
    }
    if missed == 0 { Ok(()) } else { Err(format!("{missed} figures were missed").into()) }
}
