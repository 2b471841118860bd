//! How often the bounds that people see are wrong at any look of a rollout: at most 2.5 % each, as promised.
//!
//! `benches/judge coverage --runs 10000 --seed 1`; the exit code is 1 where a bound was wrong more often than chance allows.

#![expect(clippy::print_stdout, reason = "a command prints its figures")]

#[path = "../tests/laws/coverage.rs"]
mod coverage;
#[path = "../tests/laws/world.rs"]
#[expect(dead_code, reason = "its rollouts are not used here")]
mod world;

use std::error::Error;

use coverage::WORLDS;

/// The chance that each bound is ever wrong, at most.
const PROMISED: f64 = 0.025;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut runs, mut seed) = (1_000, 1_u64);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or("give a number after each option")?.parse()?;
        match argument.as_str() {
            "--runs" => runs = u64::max(value, 1),
            "--seed" => seed = value,
            other => return Err(format!("{other} is not known; use --runs and --seed").into()),
        }
    }
    println!("seed {seed}");
    // What more than 2.5 % wrong, in six worlds, would show beyond chance: four standard deviations.
    let most = runs as f64 * PROMISED + 4.0 * (runs as f64 * PROMISED * (1.0 - PROMISED)).sqrt();
    let mut missed = false;
    for world in WORLDS {
        let wrong = world.wrong(runs, seed.wrapping_mul(1_000_003));
        missed |= [wrong.high, wrong.low, wrong.odds].into_iter().any(|count| count as f64 > most);
        let percent = |count: u64| 100.0 * count as f64 / runs as f64;
        println!(
            "{}/s, stable fails {}, canary {}: {runs} runs; wrong: high {:.2} %, low {:.2} %, odds ratio {:.2} %, any {:.2} %",
            world.traffic,
            world.stable,
            world.canary,
            percent(wrong.high),
            percent(wrong.low),
            percent(wrong.odds),
            percent(wrong.any)
        );
    }
    if missed { Err("MISSED: a bound is wrong in more than 2.5 % of rollouts".into()) } else { Ok(()) }
}
