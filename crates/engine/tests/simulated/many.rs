//! Many rollouts at once on one core: what each costs, and whether that stays the same however many there are.

use crate::{
    reach::{Reach, World},
    story::{deploy, key, steps},
};
use davy_engine::{Engine, now, store::Store};
use std::{process::ExitCode, sync::Arc, time::Duration};

/// So much more may one rollout cost among the most than among the fewest.
const FLAT: f64 = 1.5;

/// So much memory the most of them may take, with the journal in a file.
const MEMORY_MB: f64 = 300.0;

/// So often each count has its turn; what counts is the median.
const ROUNDS: u32 = 3;
/// Few are measured again and again in their turn, until so many were.
const ENOUGH: u32 = 2_000;

/// Where the journal is, and by which time it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// In memory, in virtual time.
    Nowhere,
    /// In a file of SQLite, in real time: a disk does not know of another.
    InAFile,
}

/// Deploys a service each, then a canary of each at the same time, and waits until all are promoted. All counts take their turns, again
/// and again: whatever else the machine does harms each of them.
pub(crate) fn at_once(counts: &[u32], kept: Kept) -> ExitCode {
    // They go when all is measured: a file system looks for new inodes past those that were given up just before.
    let mut folders = Vec::new();
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let mut costs = Vec::new();
        for count in counts {
            let paused = kept == Kept::Nowhere;
            let (mut each, mut took_s, times) =
                (Vec::new(), 0.0, if paused { (ENOUGH / count).clamp(1, 9) } else { 1 });
            for _ in 0..times {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(paused).build();
                let folder = tempfile::tempdir().expect("a folder");
                let run = runtime.expect("a runtime").block_on(run(*count, folder.path(), kept));
                folders.push(folder);
                if run.promoted != *count {
                    println!("MISSED {} of {count} were not promoted", count - run.promoted);
                    return ExitCode::FAILURE;
                }
                took_s = run.took_s;
                each.push(1_000.0 * run.cpu_s / f64::from(*count));
            }
            let (seconds, each) = (if paused { "virtual seconds" } else { "s" }, median(&mut each));
            println!(
                "{round}: {count} rollouts at once, {times} times: promoted after {took_s:.0} {seconds}, {each:.2} ms of processor time each; {:.0} MB at most",
                peak_mb()
            );
            costs.push(each);
        }
        ratios.push(costs.last().copied().unwrap_or(1.0) / costs.first().copied().unwrap_or(1.0));
    }
    let ratio = median(&mut ratios);
    let fits = kept == Kept::Nowhere || peak_mb() <= MEMORY_MB;
    if kept == Kept::InAFile {
        println!("memory_mb={:.0} (at most {MEMORY_MB})", peak_mb());
    }
    println!("cost_ratio={ratio:.2} (at most {FLAT})");
    if ratio <= FLAT && fits { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn median(of: &mut [f64]) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or_default()
}

struct Run {
    cpu_s: f64,
    took_s: f64,
    promoted: u32,
}

async fn run(count: u32, folder: &std::path::Path, kept: Kept) -> Run {
    let world = World::new(1);
    let reach = Reach::new(&world);
    let mut ports = reach.ports(folder);
    if kept == Kept::InAFile {
        ports.journal = Arc::new(Store::open(&folder.join("journal.db")).await.expect("a journal"));
    }
    let engine = Engine::start(ports).await.expect("an empty journal");
    let keys: Vec<_> = (0..count).map(|number| key(&format!("s{number}"))).collect();
    let mut done = 0;
    let mut cost = (0.0, 0.0);
    for (round, fails_one_in) in [(0, 0), (1, 1_000)] {
        let (cpu, began) = (processor_s(), now());
        let asked = (0..count).zip(&keys).map(|(number, key)| {
            let deploy = deploy(key, 2 * number + round, fails_one_in, steps());
            let engine = &engine;
            async move { engine.deploy(deploy).await.expect("nothing is under way") }
        });
        futures_util::future::join_all(asked).await;
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
    Run { cpu_s: cost.0, took_s: cost.1, promoted: done }
}

/// Processor time of this process, all its threads.
fn processor_s() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc").flatten();
    let ns = tasks.map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
    });
    ns.sum::<f64>() / 1e9
}

fn peak_mb() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}
