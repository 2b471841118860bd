//! Many rollouts at once on one core: what each costs, and whether that stays the same however many there are.

use crate::{
    reach::{Reach, World},
    story::{deploy, key, steps},
};
use davy_engine::{Engine, now};
use std::{process::ExitCode, time::Duration};

/// So much more may one rollout cost among the most than among the fewest.
const FLAT: f64 = 1.5;

/// Deploys a service each, then a canary of each at the same time, and waits until all are promoted.
pub(crate) fn at_once(counts: &[u32]) -> ExitCode {
    let mut costs = Vec::new();
    for count in counts {
        let reports = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let (cpu, virtual_s, done) = runtime.expect("a runtime").block_on(run(*count, reports.path()));
        let each = 1_000.0 * cpu / f64::from(*count);
        println!(
            "{count} rollouts at once: {done} promoted after {virtual_s:.0} virtual seconds; {cpu:.1} s of processor time, {each:.2} ms each; {:.0} MB at most",
            peak_mb()
        );
        if done != *count {
            println!("MISSED {} of {count} were not promoted", count - done);
            return ExitCode::FAILURE;
        }
        costs.push(each);
    }
    let (first, last) = (costs.first().copied().unwrap_or(1.0), costs.last().copied().unwrap_or(1.0));
    println!("cost_ratio={:.2} (at most {FLAT})", last / first);
    if last / first <= FLAT { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(count: u32, reports: &std::path::Path) -> (f64, f64, u32) {
    let world = World::new(1);
    let reach = Reach::new(&world);
    let engine = Engine::start(reach.ports(reports)).await.expect("an empty journal");
    let keys: Vec<_> = (0..count).map(|number| key(&format!("s{number}"))).collect();
    let mut done = 0;
    let mut cost = (0.0, 0.0);
    for (round, fails_one_in) in [(0, 0), (1, 1_000)] {
        let (cpu, began) = (processor_s(), now());
        for (number, key) in (0..count).zip(&keys) {
            engine.deploy(deploy(key, 2 * number + round, fails_one_in, steps())).await.expect("nothing is under way");
        }
        let end = tokio::time::Instant::now() + Duration::from_secs(900);
        while tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let over = |key| engine.service(key).is_some_and(|live| live.state.rollout.is_none());
            if keys.iter().all(over) {
                break;
            }
        }
        cost = (processor_s() - cpu, now().since(began).0 as f64 / 1_000.0);
        let promoted = engine.history(None).into_iter().filter(|summary| summary.promoted.is_some()).count();
        done = u32::try_from(promoted).unwrap_or(u32::MAX) - round * count;
    }
    engine.stop();
    (cost.0, cost.1, done)
}

/// Processor time of this process.
fn processor_s() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let ns: f64 = text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
    ns / 1e9
}

fn peak_mb() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}
