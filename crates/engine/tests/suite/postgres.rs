//! The PostgreSQL journal, on a real server: what it keeps when the server, the connection or a session goes.

use crate::server::Server;
use davy_core::{
    Actor, EnvironmentName, Generation, RolloutId, Scope, SecretName, ServiceKey, ServiceName, Timestamp,
    rollout::Event,
};
use davy_engine::{
    Deed, KeyFile,
    store::{Bid, Bidder, Change, Lease, Signer, Store, Trust},
};
use davy_ports::{Entry, Journal, JournalError, conformance};
use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};

fn key(service: &str) -> ServiceKey {
    ServiceKey { service: ServiceName::new(service).unwrap(), environment: EnvironmentName::new("production").unwrap() }
}

fn applied(number: u64) -> Entry {
    let event = Event::WeightApplied { generation: Generation(number) };
    Entry { at: Timestamp(1000), by: Actor::new("davy"), rollout: Some(RolloutId::new("r")), event }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_laws_of_a_journal() {
    let server = Server::start();
    conformance::journal(async || Store::connect(&server.database()).await.unwrap()).await;
}

#[tokio::test]
async fn deeds_and_checkpoints_are_kept_and_every_change_behind_its_back_is_found() {
    let (server, folder) = (Server::start(), TempDir::new().unwrap());
    let public = folder.path().join("checkpoint.pub");
    let signer = Signer::open(&KeyFile::own(folder.path().join("checkpoint.key")), &public).unwrap();
    let url = server.database();
    let journal = Store::connect(&url).await.unwrap();
    for (service, position) in [("logo", 0), ("shop", 0), ("logo", 1), ("logo", 2)] {
        journal.append(&key(service), position, &[applied(position + 1)]).await.unwrap();
    }
    let deed = || Deed::SecretRemoved { name: SecretName::new("A").unwrap(), scope: Scope::default() };
    let change = Change { deeds: vec![deed(), deed()], ..Change::default() };
    journal.change(Timestamp(1), &Actor::new("lena"), change).await.unwrap();
    let signer = Arc::new(signer);
    let head = journal.checkpoint(&signer, Timestamp(9)).await.unwrap().expect("all of it is new");
    assert_eq!(journal.checkpoint(&signer, Timestamp(9)).await.unwrap(), None);
    assert_eq!(journal.head().await.unwrap(), Some(head.clone()));
    let trust = Trust { heads: vec![head], ..Trust::of(&public).unwrap() };
    let reader = Store::connect_read_only(&url).await.unwrap();
    let found = reader.verify_with(&trust).await.unwrap();
    assert_eq!((found.events, found.deeds, found.checkpoints, found.broken), (4, 2, 1, vec![]));
    let refused = reader.append(&key("logo"), 3, &[applied(4)]).await;
    assert!(matches!(&refused, Err(JournalError::Unavailable { why }) if why.contains("reading only")), "{refused:?}");
    let changes = [
        ("UPDATE event SET by = 'eve' WHERE sequence = 3", "production/logo"),
        ("DELETE FROM event WHERE sequence = 4", "production/logo"),
        ("DELETE FROM event WHERE sequence = 4; UPDATE stream SET events = 2 WHERE id = 1", "the file"),
        ("UPDATE deed SET by = 'eve' WHERE number = 1", "deeds"),
        ("DELETE FROM deed WHERE number = 2", "deeds"),
        ("UPDATE checkpoint SET statement = statement || ' '", "checkpoints"),
        ("TRUNCATE checkpoint", "saved head"),
    ];
    for (index, (change, place)) in changes.iter().enumerate() {
        // A copy of its own for each.
        let copy = format!("copy{index}");
        server.sql("postgres", &format!("CREATE DATABASE {copy} STRATEGY file_copy"));
        Store::connect(&server.url(&copy)).await.unwrap().close().await;
        let guarded = ["event", "deed", "checkpoint"].map(|table| format!("DROP TRIGGER never_changed ON {table};"));
        let tables = ["journal", "stream", "event", "deed", "checkpoint"];
        server.copy("d0", &copy, &tables);
        let guarded = format!("{} DROP TRIGGER only_packed ON event;", guarded.concat());
        server.sql(&copy, &format!("SET search_path TO davy; {guarded} {change}"));
        let changed = Store::connect_read_only(&server.url(&copy)).await.unwrap();
        let broken = changed.verify_with(&trust).await.unwrap().broken;
        assert!(broken.iter().any(|broken| broken.stream == *place), "{change}: {broken:#?}");
    }
}

#[tokio::test]
async fn a_server_that_comes_back_is_used_again_and_nothing_acknowledged_is_lost() {
    let mut server = Server::start();
    let journal = Store::connect(&server.database()).await.unwrap();
    let mut appended = journal.append(&key("logo"), 0, &[applied(1)]).await.unwrap();
    server.crash();
    let refused = journal.append(&key("logo"), 1, &[applied(2)]).await;
    let Err(JournalError::Unavailable { why }) = refused else { panic!("{refused:?}") };
    assert!(why.contains("postgres://davy@") && why.contains("/d0"), "{why}");
    assert!(journal.stream(&key("logo"), 0).await.is_err());
    server.again();
    appended.extend(journal.append(&key("logo"), 1, &[applied(2)]).await.expect("it needs no restart"));
    assert_eq!(journal.stream(&key("logo"), 0).await.unwrap(), appended);
    assert_eq!(journal.verify().await.unwrap().broken, []);
}

/// Stands between the journal and the server: cuts a connection at its commit.
struct Relay {
    folder: TempDir,
    cut: Arc<AtomicU8>,
}

const NEVER: u8 = 0;
/// The server has it, and its answer is lost.
const BEHIND: u8 = 1;
/// The server never sees it.
const BEFORE: u8 = 2;

impl Relay {
    fn start(server: PathBuf) -> Self {
        let (folder, cut) = (TempDir::new().unwrap(), Arc::new(AtomicU8::new(NEVER)));
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let how = cut.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&server).await.unwrap();
                tokio::spawn(pass(client, server, how.clone()));
            }
        });
        Self { folder, cut }
    }

    fn url(&self, name: &str) -> String {
        format!("postgres://davy@localhost/{name}?host={}", self.folder.path().display())
    }
}

async fn pass(mut client: UnixStream, mut server: UnixStream, cut: Arc<AtomicU8>) {
    let (mut asked, mut answered) = ([0; 16384], [0; 16384]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(read @ 1..) = read else { return };
                let how = match asked[..read].windows(7).any(|window| window == b"COMMIT\0") {
                    true => cut.swap(NEVER, Ordering::SeqCst),
                    false => NEVER,
                };
                if how == BEFORE { return }
                server.write_all(&asked[..read]).await.unwrap();
                if how == BEHIND {
                    // Its answer has come, so it is done; nobody hears of it.
                    assert!(server.read(&mut answered).await.unwrap() > 0);
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(read @ 1..) = read else { return };
                if client.write_all(&answered[..read]).await.is_err() { return }
            }
        }
    }
}

#[tokio::test]
async fn a_connection_lost_at_the_commit_leaves_the_outcome_open_until_it_is_read() {
    let server = Server::start();
    let direct = Store::connect(&server.database()).await.unwrap();
    let relay = Relay::start(server.socket());
    let journal = Store::connect(&relay.url("d0")).await.unwrap();
    for (how, there) in [(BEHIND, 1), (BEFORE, 0)] {
        let stands_at = journal.stream(&key("logo"), 0).await.unwrap().len() as u64;
        relay.cut.store(how, Ordering::SeqCst);
        let lost = journal.append(&key("logo"), stands_at, &[applied(7)]).await;
        assert!(matches!(&lost, Err(JournalError::Unknown { .. })), "neither yes nor no: {lost:?}");
        let again = journal.append(&key("logo"), stands_at, &[applied(7)]).await;
        match there {
            1 => assert_eq!(again, Err(JournalError::Conflict { expected: stands_at, stands_at: stands_at + 1 })),
            _ => assert_eq!(again.expect("nothing stands in its way").len(), 1),
        }
        assert_eq!(direct.stream(&key("logo"), 0).await.unwrap().len() as u64, stands_at + 1, "once, not twice");
        assert_eq!(direct.verify().await.unwrap().broken, []);
    }
}

#[tokio::test]
async fn a_writer_that_holds_the_lock_delays_writers_and_no_reader() {
    let server = Server::start();
    let url = server.database();
    let journal = Store::connect(&url).await.unwrap();
    journal.append(&key("logo"), 0, &[applied(1)]).await.unwrap();
    let hold = "BEGIN; SELECT one FROM davy.journal FOR UPDATE; SELECT pg_sleep(600)";
    let mut holder = server.psql("d0", hold).spawn().unwrap();
    let held = || server.sql("d0", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1";
    while !held() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = tokio::time::timeout(Duration::from_secs(60), journal.append(&key("logo"), 1, &[applied(2)])).await;
    let Ok(Err(JournalError::Unavailable { why })) = refused else { panic!("{refused:?}") };
    assert!(why.contains("pg_stat_activity"), "{why}");
    assert_eq!(journal.stream(&key("logo"), 0).await.unwrap().len(), 1, "reads go on");
    holder.kill().unwrap();
    holder.wait().unwrap();
    server.sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    journal.append(&key("logo"), 1, &[applied(2)]).await.expect("nothing of the refused one was appended");
}

#[tokio::test]
async fn what_is_not_its_own_is_refused_and_a_password_is_never_told() {
    let server = Server::start();
    let url = server.database();
    let why = Store::connect_read_only(&url).await.err().unwrap().to_string();
    assert!(why.contains("no journal yet"), "{why}");
    server.sql("d0", "CREATE SCHEMA davy");
    let why = Store::connect(&url).await.err().unwrap().to_string();
    assert!(why.contains("not Davy's"), "{why}");
    server.sql("d0", "DROP SCHEMA davy");
    Store::connect(&url).await.unwrap().close().await;
    server.sql("d0", "UPDATE davy.journal SET format = 9");
    let why = Store::connect(&url).await.err().unwrap().to_string();
    assert!(why.contains("newer Davy (format 9"), "{why}");
    let why = Store::connect(&server.url("none")).await.err().unwrap().to_string();
    assert!(why.contains("createdb"), "{why}");
    for wrong in ["postgres://davy:hunter2@127.0.0.1:1/d", "postgres://davy:hunter2@[::/d", "mysql://davy:hunter2@h/d"]
    {
        let why = Store::connect(wrong).await.err().unwrap().to_string();
        assert!(!why.contains("hunter2"), "{why}");
    }
}

#[tokio::test]
async fn a_database_that_comes_back_older_is_not_written_to() {
    let server = Server::start();
    let url = server.database();
    let journal = Store::connect(&url).await.unwrap();
    journal.append(&key("logo"), 0, &[applied(1)]).await.unwrap();
    // The backup: the database as it is now, under another name.
    let other = Store::connect(&server.database()).await.unwrap();
    let tables = ["journal", "stream", "event"];
    server.copy("d0", "d1", &tables);
    journal.append(&key("logo"), 1, &[applied(2), applied(3)]).await.unwrap();
    server.copy("d1", "d0", &tables);
    let refused = journal.append(&key("logo"), 1, &[applied(9)]).await;
    assert!(matches!(refused, Err(JournalError::Older { seen: 3, ends_at: 1, .. })), "{refused:?}");
    // Another server, which knows nothing of what is gone, goes on; the first one still sees that it is another history.
    for position in 1..4 {
        Store::connect(&url).await.unwrap().append(&key("logo"), position, &[applied(9)]).await.unwrap();
    }
    let refused = journal.append(&key("logo"), 4, &[applied(9)]).await;
    assert!(matches!(refused, Err(JournalError::Older { seen: 3, ends_at: 4, .. })), "{refused:?}");
    assert_eq!(journal.stream(&key("logo"), 0).await.unwrap().len(), 4, "it can be read");
    other.append(&key("logo"), 1, &[applied(2)]).await.expect("the backup is a journal");
}

fn bidder(name: &str) -> Bidder {
    Bidder { reach: name.to_owned(), folder: "f".to_owned(), starts: true, ended: None }
}

async fn won(journal: &Store, bidder: &Bidder) -> Lease {
    match journal.bid(bidder).await.unwrap() {
        Bid::Won(lease) => lease,
        _ => panic!("{} cannot have it", bidder.reach),
    }
}

async fn waits(journal: &Store, bidder: &Bidder) -> String {
    match journal.bid(bidder).await.unwrap() {
        Bid::Waits(reach) => reach,
        _ => panic!("{} does not wait", bidder.reach),
    }
}

#[tokio::test]
async fn one_server_works_and_one_that_was_taken_for_dead_writes_nothing() {
    let server = Server::start();
    let url = server.database();
    let (one, two) = (Store::connect(&url).await.unwrap(), Store::connect(&url).await.unwrap());
    let mut first = won(&one, &bidder("one")).await;
    one.append(&key("logo"), 0, &[applied(1)]).await.unwrap();
    assert_eq!(waits(&two, &bidder("two")).await, "one");
    assert!(first.renew().await.unwrap());
    assert_eq!(waits(&two, &bidder("two")).await, "one");
    // It is silent: by the database's clock, in three seconds.
    let began = std::time::Instant::now();
    let mut second = loop {
        match two.bid(&bidder("two")).await.unwrap() {
            Bid::Won(lease) => break lease,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    assert!(began.elapsed() < Duration::from_secs(30));
    assert!(second.token() > first.token());
    // Wherever it would write, it is refused, at the position that would fit, too.
    assert_eq!(one.append(&key("logo"), 1, &[applied(2)]).await, Err(JournalError::Fenced));
    assert_eq!(one.append(&key("logo"), 1, &[applied(2)]).await, Err(JournalError::Fenced));
    let deed = Deed::SecretRemoved { name: SecretName::new("A").unwrap(), scope: Scope::default() };
    let change = Change { deeds: vec![deed], ..Change::default() };
    let changed = one.change(Timestamp(1), &Actor::new("lena"), change).await;
    assert!(matches!(changed, Err(JournalError::Fenced)), "{changed:?}");
    assert!(!first.renew().await.unwrap(), "it is told that it lost the lease");
    two.append(&key("logo"), 1, &[applied(2)]).await.unwrap();
    assert!(second.renew().await.unwrap());
    // One that is known to have ended is not waited for, but only that one.
    let ended = |token| Bidder { ended: Some(token), ..bidder("three") };
    let three = Store::connect(&url).await.unwrap();
    assert_eq!(waits(&three, &ended(first.token())).await, "two");
    let third = won(&three, &ended(second.token())).await;
    assert_eq!(two.append(&key("logo"), 2, &[applied(3)]).await, Err(JournalError::Fenced));
    three.append(&key("logo"), 2, &[applied(3)]).await.unwrap();
    // Given up, it is free at once.
    third.release(false).await.unwrap();
    let four = Store::connect(&url).await.unwrap();
    let fourth = won(&four, &bidder("four")).await;
    // All are told to stop: those that wait do, one that has just been started begins again.
    fourth.release(true).await.unwrap();
    let waiting = Bidder { starts: false, ..bidder("five") };
    let five = Store::connect(&url).await.unwrap();
    assert!(matches!(five.bid(&waiting).await.unwrap(), Bid::Stopped));
    let elsewhere = Bidder { folder: "g".to_owned(), ..bidder("six") };
    assert!(matches!(five.bid(&elsewhere).await.unwrap(), Bid::Elsewhere(folder) if folder == "f"));
    won(&five, &bidder("five")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_ask_at_once_one_has_the_lease() {
    let server = Server::start();
    let url = server.database();
    let mut stores = Vec::new();
    for _ in 0..8 {
        stores.push(Store::connect(&url).await.unwrap());
    }
    let asked = stores.iter().enumerate().map(|(number, store)| {
        let store = store.clone();
        tokio::spawn(async move { matches!(store.bid(&bidder(&number.to_string())).await.unwrap(), Bid::Won(_)) })
    });
    let mut winners = 0;
    for asked in asked.collect::<Vec<_>>() {
        winners += u32::from(asked.await.unwrap());
    }
    assert_eq!(winners, 1);
}

#[tokio::test]
async fn a_server_that_was_started_again_knows_that_its_database_is_older() {
    let (server, folder) = (Server::start(), TempDir::new().unwrap());
    let (url, seen) = (server.database(), folder.path().join("seen"));
    let tables = ["journal", "stream", "event"];
    let journal = Store::connect(&url).await.unwrap();
    journal.remember(&seen).await.expect("nothing was seen yet");
    journal.append(&key("logo"), 0, &[applied(1)]).await.unwrap();
    Store::connect(&server.database()).await.unwrap().close().await;
    server.copy("d0", "d1", &tables);
    journal.append(&key("logo"), 1, &[applied(2), applied(3)]).await.unwrap();
    journal.close().await;
    let again = async || {
        let journal = Store::connect(&url).await.unwrap();
        journal.remember(&seen).await.map(|()| journal)
    };
    again().await.expect("it is as it was left").close().await;

    server.copy("d1", "d0", &tables);
    let refused = again().await.err();
    assert!(matches!(refused, Some(JournalError::Older { seen: 3, ends_at: 1, .. })), "{refused:?}");
    // One that has gone on elsewhere is another history, however long it is.
    let elsewhere = Store::connect(&url).await.unwrap();
    elsewhere.append(&key("logo"), 1, &[applied(8), applied(9)]).await.unwrap();
    let refused = again().await.err();
    assert!(matches!(refused, Some(JournalError::Older { seen: 3, ends_at: 3, .. })), "{refused:?}");
    assert!(refused.unwrap().to_string().contains("delete the file `seen`"));

    fs::remove_file(&seen).unwrap();
    let journal = again().await.expect("somebody says that it is meant");
    journal.append(&key("logo"), 3, &[applied(4)]).await.unwrap();
    let kept = fs::read_to_string(&seen).unwrap();
    assert!(kept.starts_with("00000000000000000004 "), "{kept}");
    // What cannot be read forbids nothing.
    fs::write(&seen, "torn").unwrap();
    again().await.expect("it says nothing");
}
