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

/// Where the journal is, and by which time it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// In memory, in virtual time.
    Nowhere,
    /// In a file of SQLite, in real time: a disk does not know of another.
    InAFile,
}

/// Deploys a service each, then a canary of each at the same time, and waits until all are promoted.
pub(crate) fn at_once(counts: &[u32], kept: Kept) -> ExitCode {
    let mut costs = Vec::new();
    // They go when all is measured: a file system looks for new inodes past those that were given up just before.
    let folders: Vec<_> = counts.iter().map(|_| tempfile::tempdir().expect("a folder")).collect();
    for (count, folder) in counts.iter().zip(&folders) {
        let paused = kept == Kept::Nowhere;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(paused).build();
        let (cpu, took_s, done) = runtime.expect("a runtime").block_on(run(*count, folder.path(), kept));
        let each = 1_000.0 * cpu / f64::from(*count);
        let seconds = if paused { "virtual seconds" } else { "s" };
        println!(
            "{count} rollouts at once: {done} promoted after {took_s:.0} {seconds}; {cpu:.1} s of processor time, {each:.2} ms each; {:.0} MB at most",
            peak_mb()
        );
        if done != *count {
            println!("MISSED {} of {count} were not promoted", count - done);
            return ExitCode::FAILURE;
        }
        costs.push(each);
    }
    let (first, last) = (costs.first().copied().unwrap_or(1.0), costs.last().copied().unwrap_or(1.0));
    let fits = kept == Kept::Nowhere || peak_mb() <= MEMORY_MB;
    if kept == Kept::InAFile {
        println!("memory_mb={:.0} (at most {MEMORY_MB})", peak_mb());
    }
    println!("cost_ratio={:.2} (at most {FLAT})", last / first);
    if last / first <= FLAT && fits { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(count: u32, folder: &std::path::Path, kept: Kept) -> (f64, f64, u32) {
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
    (cost.0, cost.1, done)
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
