//! What a block costs where instances are told apart: nanoseconds for each on one core, windows of a tenth of a second.
//!
//! `cargo run --release -p davy-judge --example instances`

#![expect(clippy::print_stdout, reason = "a command prints its figures")]

use std::error::Error;
use std::time::Instant;

use davy_judge::{Counts, Details, Instance, Judge, Policy, Window};

const BLOCKS: u64 = 20_000;

/// Of both versions, hosts of each, a failure of stable in each block and one of the canary in every `every`-th.
fn block(hosts: u64, every: u64) -> Result<u128, Box<dyn Error>> {
    // So much is allowed that nothing is found harmful, which would be the end of the work.
    let mut judge = Judge::new(Policy { odds: 100.0, ..Policy::default() })?;
    let mut instances = Vec::with_capacity(2 * hosts as usize);
    let begun = Instant::now();
    for tenth in 0..10 * BLOCKS {
        let fails = |every: u64| u64::from(tenth % (10 * every) == 0);
        let (canary, stable) = (Counts::answered(10, fails(every)), Counts::answered(90, fails(1)));
        instances.clear();
        for host in 0..hosts {
            let turn = |counts: Counts| if (tenth / 10) % hosts == host { counts } else { Counts::default() };
            instances.push(Instance { id: host, canary: true, counts: turn(canary) });
            instances.push(Instance { id: hosts + host, canary: false, counts: turn(stable) });
        }
        let (from_ms, to_ms) = (tenth * 100, (tenth + 1) * 100);
        let window = Window { epoch: 1, weight: 1_000, from_ms, to_ms, canary, stable };
        judge.observe_with(&window, &Details { instances: &instances, ..Details::default() });
    }
    let nanoseconds = begun.elapsed().as_nanos() / u128::from(BLOCKS);
    std::hint::black_box(judge.verdict());
    Ok(nanoseconds)
}

fn main() -> Result<(), Box<dyn Error>> {
    // At 10 % the canary's share is one failure for nine of stable's; one for three keeps every bound at work.
    for every in [9, 3] {
        for hosts in [0, 3, 12] {
            println!(
                "{hosts} instances of each, 1 failure of the canary for {every}: {} ns a block",
                block(hosts, every)?
            );
        }
    }
    Ok(())
}
