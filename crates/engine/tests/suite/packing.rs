//! Events that are packed: whatever is asked is answered as before, whatever is changed is found out, and whoever is killed in the middle
//! of it leaves what was.

use crate::{server::Server, world::World};
use davy_core::{Actor, RolloutId, ServiceKey, Timestamp, rollout::Command as Ask};
use davy_engine::{
    KeyFile, Past,
    store::{Signer, Store, Trust},
};
use davy_ports::{Journal, JournalError, Record, Verified};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

/// Everything that can be asked of a journal's events.
#[derive(Debug, PartialEq)]
struct Answers {
    streams: Vec<(ServiceKey, Vec<Record>)>,
    pages: Vec<Vec<Record>>,
    rollouts: Vec<Vec<Record>>,
    later: Vec<Vec<Record>>,
    past: Past,
    verified: Verified,
}

async fn all_pages(journal: &Store, limit: usize) -> Vec<Record> {
    let (mut all, mut last) = (Vec::new(), 0);
    loop {
        let page = journal.after(last, limit).await.unwrap();
        assert!(page.len() <= limit);
        let Some(record) = page.last() else { return all };
        last = record.sequence;
        all.extend(page);
    }
}

async fn past(journal: &Store) -> Past {
    let mut past = Past::default();
    past.read(journal).await.unwrap();
    past
}

async fn answers(journal: &Store) -> Answers {
    let past = past(journal).await;
    let mut streams = Vec::new();
    let mut later = Vec::new();
    for key in journal.streams().await.unwrap() {
        let all = journal.stream(&key, 0).await.unwrap();
        for after in [1, all.len() as u64 / 3, all.len() as u64 - 1, all.len() as u64, u64::MAX] {
            later.push(journal.stream(&key, after).await.unwrap());
        }
        streams.push((key, all));
    }
    let (mut rollouts, mut pages) = (Vec::new(), Vec::new());
    for summary in past.of(None) {
        rollouts.push(journal.rollout(&summary.rollout).await.unwrap());
    }
    for limit in [5, 64, usize::MAX] {
        pages.push(all_pages(journal, limit).await);
    }
    let mut verified = journal.verify().await.unwrap();
    assert_eq!(verified.broken, []);
    verified.packed = 0;
    Answers { streams, pages, rollouts, later, past, verified }
}

/// The rollouts of a service that are over.
fn over(past: &Past, key: &ServiceKey) -> BTreeSet<RolloutId> {
    let over = past.of(Some(key)).filter(|summary| summary.ended.is_some());
    over.map(|summary| summary.rollout.clone()).collect()
}

async fn pack_all(journal: &Store, key: &ServiceKey) -> u64 {
    let over = Arc::new(over(&past(journal).await, key));
    journal.pack(key, &over).await.unwrap()
}

/// Rollouts of all kinds, some of them packed in between; what is asked then is answered as before.
#[expect(clippy::print_stderr, reason = "what fails is done again with its seed")]
async fn random(journal: Store, seed: u64) {
    eprintln!("DAVY_SEED={seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut world = World::serving_on(journal.clone()).await;
    let key = world.key.clone();
    let by = || Actor::new("mira");
    let mut packed = 0;
    for number in 0..10 {
        world.fails = [(1000, 1000), (1000, 20), (0, 0)][dice.usize(..3)];
        world.guarded = dice.bool();
        // A release that failed before is tried again, sometimes.
        let before = RolloutId::new(format!("r-{}", number - 5));
        let failed = past(&journal).await.of(None).any(|one| one.rollout == before && one.promoted.is_none());
        let version = if failed && dice.bool() { number - 5 } else { number };
        world.deploy(&format!("r-{number}"), &format!("2.{version}"), "mira").await;
        world.pass(dice.u64(1..50)).await;
        match dice.u8(..6) {
            0 => drop(world.command(Ask::Abort { by: by() }, "mira").await),
            1 => drop(world.command(Ask::Pause { by: by() }, "mira").await),
            2 => drop(world.command(Ask::Promote { by: by() }, "mira").await),
            3 => world.restart().await,
            _ => {}
        }
        world.pass(dice.u64(1..60)).await;
        if dice.bool() {
            let before = answers(&journal).await;
            let (all, mut over) = (dice.bool(), over(&before.past, &key));
            over.retain(|_| all || dice.bool());
            packed += journal.pack(&key, &Arc::new(over.clone())).await.unwrap();
            let after = answers(&journal).await;
            assert_eq!(after, before, "seed {seed}, after rollout {number}, of {over:?}");
        }
    }
    world.pass(400).await;
    let before = answers(&journal).await;
    packed += pack_all(&journal, &key).await;
    assert_eq!(answers(&journal).await, before, "seed {seed}");
    assert_eq!(pack_all(&journal, &key).await, 0, "seed {seed}: once");
    let ended = over(&before.past, &key).len() as u64;
    assert!(packed + 4 >= ended.max(6), "seed {seed}: {packed} of {ended} were packed");
    let found = journal.verify().await.unwrap();
    assert!(found.packed * 2 > found.events, "seed {seed}: {} of {} events", found.packed, found.events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_is_answered_as_before() {
    let folder = TempDir::new().unwrap();
    let seed = std::env::var("DAVY_SEED").ok().map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    for seed in [1, seed] {
        let path = folder.path().join(format!("{seed}.db"));
        Box::pin(random(Store::open(&path).await.unwrap(), seed)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_in_postgresql_too() {
    let server = Server::start();
    let seed = fastrand::u64(..);
    let url = server.database();
    Box::pin(random(Store::connect(&url).await.unwrap(), seed)).await;
    for lost in ["DELETE FROM davy.event", "TRUNCATE davy.event", "DELETE FROM davy.pack", "TRUNCATE davy.run"] {
        assert!(!server.psql("d0", lost).output().unwrap().status.success(), "{lost} is refused");
    }
    // A server that comes back after long finds what it saw last packed.
    let folder = TempDir::new().unwrap();
    let seen = folder.path().join("seen");
    let first = server.sql("d0", "SELECT min(first) FROM davy.pack").parse::<u64>().unwrap();
    let journal = Store::connect(&url).await.unwrap();
    let hash = journal.after(first - 1, 1).await.unwrap().remove(0).hash;
    std::fs::write(&seen, format!("{first:020} {hash}\n")).unwrap();
    journal.remember(&seen).await.expect("it is not older: the event is packed");
    std::fs::write(&seen, format!("{first:020} {}\n", "00".repeat(32))).unwrap();
    let again = Store::connect(&url).await.unwrap();
    assert!(matches!(again.remember(&seen).await, Err(JournalError::Older { .. })), "another event is not that one");
}

/// A service that serves, three releases of which two were rolled back, and one on trial.
async fn lived(path: &Path) -> (Store, ServiceKey) {
    let journal = Store::open(path).await.unwrap();
    let mut world = Box::pin(World::serving_on(journal.clone())).await;
    for (rollout, version, fails) in
        [("r-bad", "2.0", 20), ("r-good", "2.1", 1000), ("r-worse", "2.2", 10), ("r-last", "2.3", 1000)]
    {
        world.fails = (1000, fails);
        world.deploy(rollout, version, "mira").await;
        world.pass(60).await;
    }
    world.deploy("r-open", "2.4", "mira").await;
    world.pass(3).await;
    (journal, world.key.clone())
}

async fn raw(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).foreign_keys(false).busy_timeout(Duration::ZERO);
    options.connect().await.unwrap()
}

async fn run(path: &Path, sql: &str) -> Result<(), sqlx::Error> {
    let mut connection = raw(path).await;
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await;
    connection.close().await.unwrap();
    done.map(drop)
}

#[tokio::test]
async fn what_is_open_or_still_says_where_the_service_stands_stays_as_it_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.db");
    let (journal, key) = Box::pin(lived(&path)).await;
    let before = answers(&journal).await;
    let ids = ["r-first", "r-bad", "r-good", "r-worse", "r-last", "r-open", "unheard-of"].map(RolloutId::new);
    let other = ServiceKey { environment: davy_core::EnvironmentName::new("staging").unwrap(), ..key.clone() };
    assert_eq!(journal.pack(&other, &Arc::new(ids.clone().into())).await, Ok(0), "of another service");
    assert_eq!(journal.pack(&key, &Arc::new(BTreeSet::new())).await, Ok(0), "nothing is over yet");
    assert_eq!(pack_all(&journal, &key).await, 4, "all but the one that serves and the one on trial");
    let mut connection = raw(&path).await;
    let rows = sqlx::query("SELECT rollout FROM pack ORDER BY first").fetch_all(&mut connection).await.unwrap();
    let packed: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(packed, ["r-first", "r-bad", "r-good", "r-worse"]);
    let bytes = sqlx::query("SELECT sum(length(bytes)) FROM pack").fetch_one(&mut connection).await.unwrap();
    let text: usize =
        before.rollouts[..4].iter().flatten().map(|record| serde_json::to_string(record).unwrap().len()).sum();
    assert!(usize::try_from(bytes.get::<i64, _>(0)).unwrap() * 4 < text, "and they take less room");
    assert_eq!(answers(&journal).await, before);
}

/// What is kept elsewhere, and keys of its own.
async fn trusted(journal: &Store, folder: &Path) -> Trust {
    let signer = Signer::open(&KeyFile::own(folder.join("key")), &folder.join("pub")).unwrap();
    let head = journal.checkpoint(&Arc::new(signer), Timestamp(1)).await.unwrap().unwrap();
    Trust { heads: vec![head], ..Trust::of(&folder.join("pub")).unwrap() }
}

/// Puts other bytes in the place of a pack's.
async fn instead(path: &Path, rollout: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut connection = raw(path).await;
    let row = sqlx::query("SELECT bytes FROM pack WHERE rollout = $1").bind(rollout).fetch_one(&mut connection).await;
    let before: Vec<u8> = row.unwrap().get(0);
    // Dropped, it would end when it likes, and keep the next one out meanwhile.
    connection.close().await.unwrap();
    let mut bytes = before.clone();
    change(&mut bytes);
    assert_ne!(bytes, before);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("UPDATE pack SET bytes = x'{hex}' WHERE rollout = '{rollout}'")
}

/// Packs again what is in a pack, with something else in it.
fn rewritten(from: &str, to: &str) -> impl FnOnce(&mut Vec<u8>) {
    move |bytes| {
        let text = miniz_oxide::inflate::decompress_to_vec_zlib(&bytes[1..]).unwrap();
        let changed = String::from_utf8(text).unwrap().replacen(from, to, 1);
        bytes.truncate(1);
        bytes.extend(miniz_oxide::deflate::compress_to_vec_zlib(changed.as_bytes(), 6));
    }
}

/// The rows of one rollout.
const BAD: &str = "rollout = 'r-bad'";

#[tokio::test]
async fn whatever_is_changed_is_found_out() {
    let template = TempDir::new().unwrap();
    let original = template.path().join("journal.db");
    let (journal, key) = Box::pin(lived(&original)).await;
    let trust = trusted(&journal, template.path()).await;
    pack_all(&journal, &key).await;
    assert_eq!(journal.verify_with(&trust).await.unwrap().broken, []);
    let good = past(&journal).await;
    journal.close().await;
    for refused in [
        "DELETE FROM event WHERE position > 9",
        "DELETE FROM pack",
        "UPDATE run SET until = 1",
        "UPDATE pack SET last = 1",
    ] {
        let why = run(&original, refused).await.unwrap_err().to_string();
        assert!(why.contains("only ever appended") || why.contains("is packed is never"), "{refused}: {why}");
    }

    let unkept = "the hash that was kept of it is not there";
    let cases = [
        // A pack: a byte, all of it, what it says.
        (instead(&original, "r-bad", |bytes| bytes[30] ^= 1).await, "cannot be read"),
        (instead(&original, "r-bad", |bytes| bytes[0] = 2).await, "packed by another version, or changed"),
        (format!("DELETE FROM pack WHERE {BAD}"), "were packed, and are not there"),
        (
            format!("UPDATE pack SET bytes = (SELECT bytes FROM pack WHERE rollout = 'r-worse') WHERE {BAD}"),
            "is packed twice",
        ),
        (instead(&original, "r-bad", rewritten("\"x\":", "\"x\":1")).await, "its hash is"),
        (instead(&original, "r-bad", rewritten("\"davy\"]", "\"jo\"]")).await, "its hash is"),
        (format!("UPDATE pack SET rollout = 'r-mine' WHERE {BAD}"), "what is packed was changed"),
        // The hashes that are kept of its ends.
        ("DELETE FROM run".to_owned(), unkept),
        ("DELETE FROM run WHERE until = (SELECT min(until) FROM run)".to_owned(), unkept),
        ("UPDATE run SET hash = zeroblob(32)".to_owned(), "what is packed was changed"),
        // What is left of it.
        (format!("DELETE FROM event WHERE {BAD}"), "is missing"),
        (format!("UPDATE event SET by = 'mallory' WHERE {BAD}"), "was changed"),
        // What was packed is put back, with something else in it.
        (
            "INSERT INTO event SELECT first, stream, until, 0, 'mallory', rollout, '{\"type\":\"promoted\"}', \
             zeroblob(32) FROM pack"
                .to_owned(),
            "out of order",
        ),
        // All of it goes, as far as one without the key can make it: the checkpoint was signed before.
        (
            "DELETE FROM event; DELETE FROM pack; DELETE FROM run; UPDATE stream SET events = 0; \
             UPDATE sqlite_sequence SET seq = 0 WHERE name = 'event'"
                .to_owned(),
            "no longer there",
        ),
    ];
    let guards = "DROP TRIGGER event_is_never_changed; DROP TRIGGER event_is_never_removed; DROP TRIGGER pack_is_never_changed; \
         DROP TRIGGER pack_is_never_removed; DROP TRIGGER run_is_never_changed; DROP TRIGGER run_is_never_removed;";
    for (change, says) in &cases {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("journal.db");
        std::fs::copy(&original, &path).unwrap();
        run(&path, &format!("{guards} {change}")).await.unwrap();
        let journal = Store::open(&path).await.unwrap();
        let found = journal.verify_with(&trust).await.unwrap().broken;
        assert!(found.iter().any(|broken| broken.why.contains(says)), "{change}: {found:#?}");
        if change.starts_with("UPDATE pack SET bytes") {
            let read = journal.rollout(&RolloutId::new("r-bad")).await;
            assert!(matches!(read, Err(JournalError::Damaged { .. })), "nobody is told what was changed: {read:?}");
            assert!(!journal.rollout(&RolloutId::new("r-worse")).await.unwrap().is_empty(), "others are read");
            assert_eq!(past(&journal).await, good, "and no service is set aside for what is long over");
        }
    }
}

#[tokio::test]
async fn what_does_not_hold_is_not_packed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.db");
    let (journal, key) = Box::pin(lived(&path)).await;
    let ids = Arc::new(over(&past(&journal).await, &key));
    let change = format!("UPDATE event SET by = 'mallory' WHERE {BAD} AND position = 12");
    run(&path, &format!("DROP TRIGGER event_is_never_changed; {change}")).await.unwrap();
    let before = journal.verify().await.unwrap();
    let refused = journal.pack(&key, &ids).await;
    assert!(matches!(refused, Err(JournalError::Damaged { .. })), "{refused:?}");
    assert!(!before.broken.is_empty());
    assert_eq!(journal.verify().await.unwrap(), before, "it is as it was");
}

/// Packs until it is killed.
#[tokio::test]
#[ignore = "a part of who_is_killed_in_the_middle_of_it_leaves_what_was"]
async fn packer() {
    let path: PathBuf = std::env::var_os("DAVY_TEST_JOURNAL").expect("another test starts it").into();
    let journal = Store::open(&path).await.unwrap();
    let key = journal.streams().await.unwrap().remove(0);
    // What waits for ever in the database fails here after a while, and is tried again: it is killed long before.
    while pack_all(&journal, &key).await < u64::MAX {}
}

#[tokio::test]
async fn who_is_killed_in_the_middle_of_it_leaves_what_was() {
    let template = TempDir::new().unwrap();
    let original = template.path().join("journal.db");
    let (journal, _) = Box::pin(lived(&original)).await;
    let before = answers(&journal).await;
    journal.close().await;
    let steps = [
        "BEFORE INSERT ON pack",
        "AFTER INSERT ON pack",
        "AFTER INSERT ON run",
        "BEFORE DELETE ON event WHEN OLD.rollout = 'r-good'",
        "AFTER DELETE ON event WHEN OLD.rollout = 'r-good' AND OLD.position % 7 = 0",
    ];
    for step in steps {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("journal.db");
        std::fs::copy(&original, &path).unwrap();
        // The database itself stops there.
        let stops = format!(
            "CREATE VIEW forever AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n; \
             CREATE TRIGGER stop {step} BEGIN SELECT count(*) FROM forever; END;"
        );
        run(&path, &stops).await.unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["packing::packer", "--exact", "--ignored"]).env("DAVY_TEST_JOURNAL", &path);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        // It is there once nobody else can write, for good.
        let mut busy = 0;
        while busy < 20 {
            assert_eq!(child.try_wait().unwrap(), None, "{step}");
            busy = if run(&path, "BEGIN IMMEDIATE; ROLLBACK").await.is_err() { busy + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        run(&path, "DROP TRIGGER stop; DROP VIEW forever").await.unwrap();
        let journal = Store::open(&path).await.unwrap();
        assert_eq!(answers(&journal).await, before, "{step}");
        let (left, key) = (journal.verify().await.unwrap().packed, journal.streams().await.unwrap().remove(0));
        assert!(pack_all(&journal, &key).await > 0, "{step}: it goes on");
        assert!(journal.verify().await.unwrap().packed > left, "{step}");
        assert_eq!(answers(&journal).await, before, "{step}");
    }
}
