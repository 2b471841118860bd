//! `benches/million`: a journal of a million events, and what it costs to begin with it, to add to it, to read and to check it, to
//! let evidence go, and to pack it; and what it costs then.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command prints its figures")]

#[path = "../suite/world.rs"]
#[expect(dead_code, reason = "the suite uses the rest")]
mod world;

use davy_core::{
    Actor, EnvironmentName, Generation, RolloutId, ServiceKey, ServiceName, Timestamp,
    rollout::{Event, Outcome},
};
use davy_engine::{
    KeyFile, Past,
    store::{Signer, Store, Trust},
};
use davy_ports::{Batch, Entry, Journal as _};
use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, ExitCode},
    sync::Arc,
    time::{Duration, Instant},
};
use world::World;

const USAGE: &str = "usage: million [--events 1000000] [--services 200]";
/// Rollouts of one service that are appended at once: filling takes minutes, not hours.
const AT_ONCE: usize = 10;
/// An hour of evidence.
const BATCHES: u64 = 3_600;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    if let [read, path] = words.as_slice()
        && read == "read"
    {
        runtime.block_on(read_past(Path::new(path)));
        return ExitCode::SUCCESS;
    }
    let number = |name: &str, other: u64| {
        let at = words.iter().position(|word| word == name);
        at.and_then(|at| words.get(at + 1)).map_or(Ok(other), |word| word.parse::<u64>())
    };
    match (number("--events", 1_000_000), number("--services", 200)) {
        (Ok(events), Ok(services)) if services > 0 => match runtime.block_on(whole(events, services)) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        },
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn key(service: u64) -> ServiceKey {
    let environment = EnvironmentName::new("production").expect("a name");
    ServiceKey { service: ServiceName::new(format!("service-{service}")).expect("a name"), environment }
}

/// What one rollout that was rolled back and one that was promoted wrote, as the machine and the judge decided them.
struct Template {
    first: Vec<String>,
    cycle: Vec<String>,
    /// Names that are new in each cycle.
    names: Vec<String>,
    batch: Batch,
}

impl Template {
    async fn of() -> Self {
        let mut world = World::serving().await;
        world.fails = (1000, 20);
        world.deploy("r-bad", "2.0", "mira").await;
        world.pass(30).await;
        world.fails = (1000, 1000);
        world.deploy("r-good", "2.1", "lena").await;
        world.pass(60).await;
        let records = world.journal.stream(&world.key, 0).await.expect("it is read");
        let mut names = vec!["r-bad".to_owned(), "r-good".to_owned()];
        let mut past = Past::default();
        past.read(&world.journal).await.expect("it is read");
        names.extend(past.of(None).skip(1).map(|summary| summary.release.id.to_string()));
        let (mut first, mut cycle) = (Vec::new(), Vec::new());
        for record in records {
            let mut entry = record.entry;
            if let Event::VerdictReached { batches, .. } = &mut entry.event {
                // The evidence that it names is not there.
                *batches = None;
            }
            let to =
                if entry.rollout.as_ref().is_some_and(|id| id.as_str() == "r-first") { &mut first } else { &mut cycle };
            to.push(serde_json::to_string(&entry).expect("it is written"));
        }
        let batch = world.journal.evidence(&RolloutId::new("r-good")).await.expect("it is read").swap_remove(3);
        Self { first, cycle, names, batch }
    }

    fn entries(&self, number: u64, at: u64) -> Vec<Entry> {
        let anew = |text: &String| {
            let text =
                self.names.iter().fold(text.clone(), |text, name| text.replace(name, &format!("{name}{number:08x}")));
            let mut entry: Entry = serde_json::from_str(&text).expect("it is read");
            entry.at = Timestamp(entry.at.0 + at);
            entry
        };
        self.cycle.iter().map(anew).collect()
    }
}

async fn fill(journal: &Store, events: u64, services: u64) {
    let template = Box::pin(Template::of()).await;
    let first: Vec<Entry> = template.first.iter().map(|text| serde_json::from_str(text).expect("it is read")).collect();
    let mut positions = vec![0_u64; usize::try_from(services).unwrap_or(1)];
    let (mut written, mut number) = (0, 0);
    while written < events {
        for (service, position) in (0..).zip(&mut positions) {
            let mut entries = if *position == 0 { first.clone() } else { Vec::new() };
            for _ in 0..AT_ONCE {
                number += 1;
                entries.extend(template.entries(number, number * 1_000));
            }
            *position += journal.append(&key(service), *position, &entries).await.expect("it is written").len() as u64;
            written += entries.len() as u64;
            if written >= events {
                break;
            }
        }
        eprint!("\r{written} events");
    }
    eprintln!();
    for number in 1..=BATCHES {
        let batch = Batch { rollout: RolloutId::new("r-hour"), number, ..template.batch.clone() };
        journal.store(&batch).await.expect("it is written");
    }
    let (outcome, why) = (Outcome::Promoted, "it was proven".to_owned());
    let ended = Event::RolloutFinished { rollout: RolloutId::new("r-hour"), outcome, why, cause: None };
    let at = Timestamp(template.batch.window.to.0);
    let entry = Entry { at, by: Actor::new("davy"), rollout: Some(RolloutId::new("r-hour")), event: ended };
    journal.append(&key(services), 0, &[entry]).await.expect("it is written");
}

/// In a process of its own: what a server does before it serves.
async fn read_past(path: &Path) {
    let journal = Store::open(path).await.expect("it opens");
    let mut past = Past::default();
    past.read(&journal).await.expect("it is read");
    println!("{} {} {}", worked(), held(), past.of(None).count());
}

/// How long a processor worked for this process, in seconds: the same on a machine that has other work.
fn worked() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which is in parentheses; in hundredths of a second.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// What this process holds that is in no file, in MiB.
fn held() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

/// Prints a figure and whether it is what it should be.
fn figure(name: &str, value: f64, unit: &str, most: f64) -> bool {
    let well = value <= most;
    println!("{} {name}: {value:.3} {unit} (at most {most} {unit})", if well { "ok  " } else { "MISS" });
    well
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

/// In a process of its own: how long reading the past takes a processor, what is held then, and how many rollouts there are.
fn past_of(path: &Path) -> [f64; 3] {
    let exe = std::env::current_exe().expect("this");
    let read = Command::new(exe).arg("read").arg(path).output().expect("it runs");
    let said = String::from_utf8_lossy(&read.stdout).into_owned();
    let said: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    said.try_into().unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&read.stderr)))
}

/// What of its file a journal needs, in MiB.
async fn size_of(journal: &Store) -> f64 {
    let room = journal.room().await.expect("it is read");
    #[expect(clippy::cast_precision_loss, reason = "shown")]
    let size = (room.bytes - room.unused) as f64 / f64::from(1 << 20);
    size
}

/// Packs all that is over, while somebody appends; how long it took, and the longest append meanwhile.
async fn packed(journal: &Store, services: u64, mut position: u64, entry: &Entry) -> (f64, Duration) {
    let mut past = Past::default();
    past.read(journal).await.expect("it is read");
    let ended = past.of(None).filter(|summary| summary.ended.is_some());
    let over: Arc<BTreeSet<RolloutId>> = Arc::new(ended.map(|summary| summary.rollout.clone()).collect());
    let began = Instant::now();
    let packing = {
        let journal = journal.clone();
        tokio::spawn(async move {
            for service in 0..services {
                journal.pack(&key(service), &over).await.expect("it is packed");
            }
        })
    };
    let mut longest = Duration::ZERO;
    while !packing.is_finished() {
        let began = Instant::now();
        journal.append(&key(services + 1), position, std::slice::from_ref(entry)).await.expect("it is written");
        longest = longest.max(began.elapsed());
        position += 1;
        // What is appended meanwhile is not to be most of what is left.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    packing.await.expect("it ends");
    (began.elapsed().as_secs_f64(), longest)
}

async fn whole(events: u64, services: u64) -> bool {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("journal.db");
    let journal = Store::open(&path).await.expect("it opens");
    let began = Instant::now();
    Box::pin(fill(&journal, events, services)).await;
    println!("filled in {:.0} s", began.elapsed().as_secs_f64());
    journal.close().await;

    let [seconds, memory, rollouts] = past_of(&path);

    let journal = Store::open(&path).await.expect("it opens");
    let before = worked();
    let found = journal.verify_with(&Trust::default()).await.expect("it is read");
    let verified = worked() - before;
    println!(
        "{} events of {rollouts} rollouts, {} batches, {} broken",
        found.events,
        found.batches,
        found.broken.len()
    );
    let mut well = found.broken.is_empty() && found.events >= events;

    let (mut appends, mut pages) = (Vec::new(), Vec::new());
    let event = Event::WeightApplied { generation: Generation(1) };
    let entry = Entry { at: Timestamp(1), by: Actor::new("davy"), rollout: None, event };
    for position in 0..100 {
        let began = Instant::now();
        journal.append(&key(services + 1), position, std::slice::from_ref(&entry)).await.expect("it is written");
        appends.push(began.elapsed());
        let began = Instant::now();
        let page = journal.after(events / 100 * position, 200).await.expect("it is read");
        pages.push(began.elapsed());
        well &= page.len() == 200;
    }
    let size = size_of(&journal).await;

    let signer = Signer::open(&KeyFile::own(folder.path().join("key")), &folder.path().join("pub")).expect("a key");
    let hour = RolloutId::new("r-hour");
    let began = Instant::now();
    let recorded = journal.let_go(&Arc::new(signer), &hour, Timestamp(2), &Actor::new("davy")).await.expect("it holds");
    well &= recorded.is_some();
    let removing = {
        let (journal, hour) = (journal.clone(), hour.clone());
        tokio::spawn(async move { journal.remove(&hour).await })
    };
    let (mut longest, mut position) = (Duration::ZERO, 100);
    while !removing.is_finished() {
        let began = Instant::now();
        journal.append(&key(services + 1), position, std::slice::from_ref(&entry)).await.expect("it is written");
        longest = longest.max(began.elapsed());
        position += 1;
    }
    removing.await.expect("it ends").expect("it is removed");
    let let_go = began.elapsed().as_secs_f64();

    let whole = size_of(&journal).await;
    let (packing, waited) = packed(&journal, services, position, &entry).await;
    let smaller = size_of(&journal).await;
    let before = worked();
    let found = journal.verify_with(&Trust::default()).await.expect("it is read");
    let verified_packed = worked() - before;
    println!("{} of {} events are packed, {} broken", found.packed, found.events, found.broken.len());
    well &= found.broken.is_empty() && found.packed * 2 > events;
    journal.close().await;
    let [seconds_packed, memory_packed, rollouts_packed] = past_of(&path);
    well &= rollouts_packed >= rollouts;

    let figures = [
        figure("the past is read, by a processor in", seconds, "s", 10.0),
        figure("memory that it takes", memory, "MiB", 150.0),
        figure("an append, median", median(appends), "ms", 50.0),
        figure("a page of 200 events, median", median(pages), "ms", 20.0),
        figure("everything verified, by a processor in", verified, "s", 40.0),
        figure("size on disk", size, "MiB", 2_000.0),
        figure("an hour's evidence let go", let_go, "s", 10.0),
        figure("the longest append meanwhile", longest.as_secs_f64() * 1000.0, "ms", 1_000.0),
        figure("everything that is over packed", packing, "s", 600.0),
        figure("the longest append meanwhile", waited.as_secs_f64() * 1000.0, "ms", 1_000.0),
        figure("then: size that is used", smaller, "MiB", 0.5 * whole),
        figure("then: the past is read, by a processor in", seconds_packed, "s", 0.5 * seconds),
        figure("then: memory that it takes", memory_packed, "MiB", 150.0),
        figure("then: everything verified, by a processor in", verified_packed, "s", 40.0),
    ];
    well && figures.iter().all(|well| *well)
}
