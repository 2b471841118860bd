//! The reference table: harm and errors of Davy's judge beside other tools, and beside a floor that nobody can reach.
//!
//! `benches/judge [RUNS [RATE]...]`; the seed is fixed, so that the figures are the same on every machine.

#![expect(clippy::print_stdout, reason = "a command prints its figures")]

mod variants;

use davy_core::{Analysis, Canary, CanaryStep, Millis, Policy, Strategy, Weight};
use davy_simulation::{Comparison, Machine, Named, Summary, Traffic, rules::oracle::floor, summary::interval};
use std::error::Error;

const SEED: u64 = 1;
const BASELINE: f64 = 0.001;
const RATES: [f64; 3] = [100.0, 10.0, 1_000.0];
const CANARIES: [f64; 5] = [0.001, 0.003, 0.01, 0.05, 0.5];
/// judge.md's rows, for 0.3, 1, 5 and 50 %: from 10 % and from 1 %.
const TABLE: [(&str, &[u16], [f64; 4]); 2] = [
    ("10", &[1_000, 2_500, 5_000], [29.0, 7.0, 4.0, 10.0]),
    ("1", &[100, 500, 1_000, 2_500, 5_000], [24.0, 6.0, 3.0, 3.0]),
];
const OTHERS: [&str; 6] =
    ["check:60s,1%", "interval:60s,99%,5", "failure-limit:5m,95%,3", "rank:50", "z-test", "oracle"];

fn main() -> Result<(), Box<dyn Error>> {
    let runs: u64 = std::env::args().nth(1).map_or(Ok(1_000), |runs| runs.parse())?;
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let mut missed = Vec::new();
    let begun = std::time::Instant::now();
    let asked: Vec<f64> = std::env::args().skip(2).map(|rate| rate.parse()).collect::<Result<_, _>>()?;
    for rate in if asked.is_empty() { RATES.to_vec() } else { asked } {
        for (first, steps, wanted) in TABLE {
            println!(
                "\n{rate} requests/s, steps from {first} %; stable fails 0.1 %; {runs} rollouts each, seed {SEED}"
            );
            println!(
                "{:<24} {}",
                "policy",
                CANARIES.map(|canary| format!("{:>26}", format!("{} %", canary * 100.0))).join("")
            );
            let mut harms = Vec::new();
            for name in std::iter::once("davy").chain(OTHERS) {
                let policy: Named = name.parse()?;
                let mut row = format!("{name:<24} ");
                let mut harm = Vec::new();
                for canary in CANARIES {
                    let traffic = Traffic { rate, baseline: BASELINE, canary, ..Traffic::default() };
                    let comparison =
                        Comparison { traffic, davy: davy(steps)?, steps: steps.to_vec(), hold_s: 0, alpha: 0.01 };
                    // The others need hours of simulated time and no precision.
                    let runs = if policy == Named::Davy { runs } else { runs.div_ceil(10).max(100) };
                    let summary = comparison.summary(policy, runs, SEED, threads);
                    harm.push(summary.harm.0 as f64);
                    row += &format!("{:>26}", tell(&summary, canary));
                    if policy == Named::Davy {
                        missed.extend(errors(&summary, rate, first, canary));
                    }
                }
                println!("{row}");
                harms.push((name, harm));
            }
            // The best policy that was found is what the figures at other rates are held to.
            let best =
                variants::variants(&variants::steps_only(steps, 0)?).into_iter().find(|it| it.name == variants::BEST);
            let best = best.ok_or("the best variant has no name")?;
            let mut row = format!("{:<24} ", "the best found");
            for (at, canary) in CANARIES.into_iter().enumerate() {
                let traffic = Traffic { rate, baseline: BASELINE, canary, ..Traffic::default() };
                let summary = Summary::of(&best.outcomes(&traffic, runs.div_ceil(10).max(100)));
                row += &format!("{:>26}", tell(&summary, canary));
                let (harm, limit) = (harms[0].1[at], 1.5 * summary.harm.0 as f64);
                if rate != 100.0 && canary > BASELINE && harm > limit {
                    let percent = canary * 100.0;
                    missed.push(format!(
                        "{rate} requests/s from {first} %, {percent} %: harm {harm}, 1.5 times the best is {limit}"
                    ));
                }
            }
            println!("{row}");
            let floors = CANARIES
                .map(|canary| floor(0.01, BASELINE, canary).map_or_else(String::new, |harm| format!("{harm:.1}")));
            println!("{:<24} {}", "oracle, by Wald", floors.map(|harm| format!("{harm:>26}")).join(""));
            if rate == 100.0 {
                println!("{:<24} {:>26}{}", "judge.md", "", wanted.map(|harm| format!("{harm:>26}")).join(""));
                for (at, wanted) in wanted.iter().enumerate() {
                    let harm = harms[0].1[at + 1];
                    if harm > 1.3 * wanted {
                        missed.push(format!(
                            "from {first} %, {} %: harm {harm}, wanted at most {:.1}",
                            CANARIES[at + 1] * 100.0,
                            1.3 * wanted
                        ));
                    }
                }
            }
        }
    }
    println!("\n== figures, after {:.0} s", begun.elapsed().as_secs_f64());
    match missed.is_empty() {
        true => println!("every figure is within its limit"),
        false => missed.iter().for_each(|missed| println!("MISSED {missed}")),
    }
    if missed.is_empty() { Ok(()) } else { Err("figures were missed".into()) }
}

/// The machine with the judge's defaults, without a hold.
fn davy(steps: &[u16]) -> Result<Machine, Box<dyn Error>> {
    let steps = steps.iter().copied().chain([10_000]).map(|bp| Weight::new(bp).map(CanaryStep::at));
    let canary = Canary { steps: steps.collect::<Result<_, _>>()?, sticky: false, auto: false };
    // Latency is compared, too: it has its share of the evidence, and nothing to find.
    let analysis = Analysis { not_slower_than: Some(1.1), ..Analysis::default() };
    let policy = Policy { strategy: Strategy::Canary(canary), hold: Millis(0), analysis, ..Policy::default() };
    Ok(Machine::new(1, policy)?)
}

fn tell(summary: &Summary, canary: f64) -> String {
    let percent = |count: u64| 100.0 * count as f64 / summary.runs as f64;
    match canary > BASELINE {
        true => format!("{} ({:.3}% promoted)", summary.harm.0, percent(summary.promoted)),
        false => format!("{:.3}% rolled back", percent(summary.rolled_back)),
    }
}

/// What of α and β was not kept, as far as so many runs can tell.
fn errors(summary: &Summary, rate: f64, first: &str, canary: f64) -> Option<String> {
    let (what, count, most) = match canary > BASELINE {
        true => ("promoted though harmful", summary.promoted, 0.05),
        false => ("healthy rolled back", summary.rolled_back, 0.01),
    };
    let (low, _) = interval(count, summary.runs);
    (low > most)
        .then(|| format!("{rate} requests/s from {first} %, {} %: {what} {count} of {}", canary * 100.0, summary.runs))
}
