//! `benches/world`: many stories, each from its seed, or many rollouts at once.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command prints its figures")]

mod journal;
mod laws;
mod many;
mod reach;
mod site;
mod story;

use many::Kept;
use std::{process::ExitCode, time::Instant};

const USAGE: &str = "usage: world stories [--seeds 1000] [--first 0] [--trouble 20]\n       world at-once [COUNT...]      (100 1000 10000)\n       world stored [COUNT...]       (100 1000)";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("stories") => {
            let number = |name: &str, other: u64| {
                let at = words.iter().position(|word| word == name);
                at.and_then(|at| words.get(at + 1)).map_or(Ok(other), |word| word.parse::<u64>())
            };
            match (number("--seeds", 1_000), number("--first", 0), number("--trouble", 20)) {
                (Ok(seeds), Ok(first), Ok(trouble)) => stories(first..first + seeds, trouble),
                _ => usage(),
            }
        }
        Some("at-once") => at_once(&words[1..], &[100, 1_000, 10_000], Kept::Nowhere),
        Some("stored") => at_once(&words[1..], &[100, 1_000], Kept::InAFile),
        _ => usage(),
    }
}

fn at_once(words: &[String], usual: &[u32], kept: Kept) -> ExitCode {
    let counts: Result<Vec<u32>, _> = words.iter().map(|word| word.parse()).collect();
    match counts {
        Ok(counts) if counts.is_empty() => many::at_once(usual, kept),
        Ok(counts) => many::at_once(&counts, kept),
        Err(_) => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Every tenth story is told twice: it has to be the same.
fn stories(seeds: std::ops::Range<u64>, trouble: u64) -> ExitCode {
    let (began, trouble) = (Instant::now(), u32::try_from(trouble).unwrap_or(1_000));
    let (mut rollouts, mut faults, mut crashes, mut broken, mut different) = (0, 0, 0, 0, 0);
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let end = story::told(seed, trouble);
        rollouts += end.rollouts;
        faults += end.faults;
        crashes += end.crashes;
        if !end.broken.is_empty() {
            broken += 1;
            println!("seed {seed}: {}", end.broken.join("; "));
        }
        if seed % 10 == 0 {
            let again = story::told(seed, trouble).told;
            let line = end.told.iter().zip(&again).position(|(one, other)| one != other);
            if let Some(line) =
                line.or_else(|| (again.len() != end.told.len()).then_some(again.len().min(end.told.len())))
            {
                different += 1;
                let (one, other) = (end.told.get(line), again.get(line));
                println!(
                    "seed {seed}: told another way the second time, from event {line} on: {one:?}, then {other:?}"
                );
            }
        }
    }
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    println!(
        "stories={count} rollouts={rollouts} faults={faults} crashes={crashes} broken={broken} different={different} rollouts_per_minute={:.0}",
        rollouts as f64 / minutes
    );
    if broken + different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
