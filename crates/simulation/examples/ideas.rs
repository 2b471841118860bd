//! Ideas to lower harm at the same α, on the same rollouts: what was tried.
//!
//! `cargo run --release -p davy-simulation --example ideas -- RUNS [PART OF A NAME]...`

#![expect(clippy::print_stdout, reason = "a command prints its figures")]

mod variants;

use davy_simulation::{End, Summary, Traffic};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let runs: u64 = std::env::args().nth(1).map_or(Ok(400), |runs| runs.parse())?;
    let only: Vec<String> = std::env::args().skip(2).collect();
    let (from_ten, from_one) = ([1_000, 2_500, 5_000].as_slice(), [100, 500, 1_000, 2_500, 5_000].as_slice());
    for (rate, first, steps, hold_s, onset_s) in [
        (100.0, "10 %", from_ten, 0, 0),
        (1_000.0, "10 %", from_ten, 0, 0),
        (100.0, "1 %", from_one, 0, 0),
        (1_000.0, "1 %", from_one, 0, 0),
        (100.0, "10 %, bad after 25 min of 30 at each", from_ten, 1_800, 1_500),
    ] {
        println!("\n{rate} requests/s from {first}; {runs} rollouts each: median and mean harm");
        for variant in variants::variants(&variants::steps_only(steps, hold_s)?) {
            let name = variant.name;
            if !only.is_empty() && !only.iter().any(|part| name.contains(part.as_str())) {
                continue;
            }
            let mut row = format!("{name:<30}");
            for canary in [0.001, 0.003, 0.01, 0.05, 0.5] {
                let traffic = Traffic { rate, canary, onset_s, ..Traffic::default() };
                if canary == 0.001 && hold_s > 0 {
                    continue;
                }
                let outcomes = variant.outcomes(&traffic, runs);
                let summary = Summary::of(&outcomes);
                let back: Vec<_> = outcomes.iter().filter(|outcome| outcome.end == End::RolledBack).collect();
                let mean = back.iter().map(|outcome| outcome.harm as f64).sum::<f64>() / back.len().max(1) as f64;
                row += &match canary > 0.001 {
                    true => format!("{:>6} {mean:>6.1}", summary.harm.0),
                    false => {
                        let back = 100.0 * back.len() as f64 / runs as f64;
                        format!("{back:>6.2}% back, {:>4.0} s, p95 {:>4.0}", summary.seconds.0, summary.seconds.1)
                    }
                };
            }
            println!("{row}");
        }
    }
    Ok(())
}
