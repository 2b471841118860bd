//! Evidence that is let go: it goes by a signed deed alone, whoever takes it otherwise is found out, and what does not hold stays.

use crate::{server::Server, world::World};
use davy_core::{
    Actor, RolloutId, Timestamp,
    rollout::{Batches, Event, Outcome},
};
use davy_engine::{
    Deed, KeyFile, Ledger,
    report::{Evidence, report},
    store::{Change, Signer, Store, Trust},
};
use davy_ports::{Entry, Journal, JournalError, Verified};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
use std::{path::Path, sync::Arc};
use tempfile::TempDir;

const AT: Timestamp = Timestamp(1_803_000_000_000);

fn rollout(name: &str) -> RolloutId {
    RolloutId::new(name)
}

fn signer(folder: &Path) -> Arc<Signer> {
    Arc::new(Signer::open(&KeyFile::own(folder.join("checkpoint.key")), &folder.join("checkpoint.pub")).unwrap())
}

async fn recorded(journal: &Store, signer: &Arc<Signer>, name: &str) -> Result<Option<u64>, JournalError> {
    let record = journal.let_go(signer, &rollout(name), AT, &Actor::new("davy")).await?;
    Ok(record.map(|record| record.number))
}

async fn verified(journal: &Store, folder: &Path) -> Verified {
    journal.verify_with(&Trust::of(&folder.join("checkpoint.pub")).unwrap()).await.unwrap()
}

/// A service that serves, one release that was rolled back, and one on trial.
async fn lived(journal: Store) -> World {
    let mut world = World::serving_on(journal).await;
    world.fails = (1000, 20);
    world.deploy("r-bad", "2.0", "mira").await;
    world.pass(30).await;
    world.fails = (1000, 1000);
    world.deploy("r-open", "2.1", "mira").await;
    world.pass(3).await;
    world
}

async fn goes_and_is_told(journal: Store) {
    let folder = TempDir::new().unwrap();
    let signer = signer(folder.path());
    let mut world = Box::pin(lived(journal.clone())).await;
    let head = journal.checkpoint(&signer, AT).await.unwrap().unwrap();
    let all = verified(&journal, folder.path()).await;
    let names =
        |held: Vec<(RolloutId, bool)>| held.into_iter().map(|(id, gone)| (id.to_string(), gone)).collect::<Vec<_>>();
    let held = names(journal.held().await.unwrap());
    assert_eq!(held, [("r-first".into(), false), ("r-bad".into(), false), ("r-open".into(), false)]);

    let refused = recorded(&journal, &signer, "r-open").await.unwrap_err().to_string();
    assert!(refused.contains("has not ended"), "{refused}");
    assert_eq!(recorded(&journal, &signer, "unheard-of").await.ok(), None, "it is not even a rollout");

    let number = recorded(&journal, &signer, "r-bad").await.unwrap().expect("it has ended");
    let gone = JournalError::LetGo { rollout: rollout("r-bad"), deed: number };
    assert_eq!(journal.evidence(&rollout("r-bad")).await, Err(gone.clone()), "from now on, though its rows are there");
    let begun = verified(&journal, folder.path()).await;
    assert_eq!(
        (begun.broken.as_slice(), begun.batches, begun.let_go),
        (&[][..], all.batches, 1),
        "and a crash now hurts nothing"
    );
    assert_eq!(names(journal.held().await.unwrap())[1], ("r-bad".into(), true));
    assert_eq!(recorded(&journal, &signer, "r-bad").await, Ok(None), "once");
    journal.remove(&rollout("r-bad")).await.unwrap();
    journal.remove(&rollout("r-first")).await.expect("what no deed let go is not touched");

    let batches = match &journal.deeds().await.unwrap().0.last().unwrap().deed {
        Deed::EvidenceLetGo { batches, .. } => batches.clone(),
        other => panic!("{other:?}"),
    };
    let mut trust = Trust::of(&folder.path().join("checkpoint.pub")).unwrap();
    trust.heads = vec![head];
    let left = journal.verify_with(&trust).await.unwrap();
    assert_eq!((left.broken.as_slice(), left.batches, left.let_go), (&[][..], all.batches - batches.last, 1));
    assert_eq!(left.events, all.events, "no event goes");
    assert_eq!(names(journal.held().await.unwrap()), [("r-first".into(), false), ("r-open".into(), false)]);

    // The chain goes on over it, and nothing comes after it.
    world.pass(2).await;
    journal.checkpoint(&signer, AT).await.unwrap().expect("there is a new deed");
    assert_eq!(verified(&journal, folder.path()).await.broken, []);
    let mut late = journal.evidence(&rollout("r-open")).await.unwrap().remove(0);
    late.rollout = rollout("r-bad");
    assert_eq!(journal.store(&late).await, Err(gone.clone()));

    let mut past = davy_engine::Past::default();
    past.read(&journal).await.unwrap();
    let records = journal.rollout(&rollout("r-bad")).await.unwrap();
    let why = gone.to_string();
    let told = report(&past, &records, &rollout("r-bad"), Evidence::LetGo(&why)).unwrap();
    assert!(told.starts_with("# Rolled back: ") && told.contains("The counts are not there any more: "), "{told}");
    assert!(!told.contains("No requests were counted") && told.contains("| let go | let go |"), "{told}");
}

#[tokio::test]
async fn it_goes_by_a_deed_and_is_told_as_that() {
    let folder = TempDir::new().unwrap();
    Box::pin(goes_and_is_told(Store::open(&folder.path().join("journal.db")).await.unwrap())).await;
}

#[tokio::test]
async fn it_goes_by_a_deed_in_postgresql_too() {
    let server = Server::start();
    let url = server.database();
    Box::pin(goes_and_is_told(Store::connect(&url).await.unwrap())).await;
    for emptied in ["DELETE FROM davy.evidence", "TRUNCATE davy.evidence"] {
        let refused = server.psql("d0", emptied).output().unwrap();
        assert!(!refused.status.success(), "{emptied} is refused");
    }
}

struct House {
    folder: TempDir,
    journal: Store,
    signer: Arc<Signer>,
}

impl House {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let journal = Store::open(&folder.path().join("journal.db")).await.unwrap();
        let signer = signer(folder.path());
        Box::pin(lived(journal.clone())).await;
        Self { folder, journal, signer }
    }

    async fn raw(&self, sql: &str) -> Result<(), sqlx::Error> {
        let path = self.folder.path().join("journal.db");
        let mut connection = SqliteConnectOptions::new().filename(path).foreign_keys(false).connect().await.unwrap();
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await;
        connection.close().await.unwrap();
        done.map(drop)
    }

    async fn tamper(&self, sql: &str) {
        let guards = "DROP TRIGGER evidence_is_let_go_by_a_deed; DROP TRIGGER evidence_is_never_changed; \
             DROP TRIGGER deed_is_never_removed; DROP TRIGGER deed_is_never_changed;";
        self.raw(&format!("{guards} {sql}")).await.unwrap();
    }

    async fn found(&self) -> Vec<String> {
        let broken = verified(&self.journal, self.folder.path()).await.broken;
        broken.into_iter().map(|broken| format!("{} {}: {}", broken.stream, broken.position, broken.why)).collect()
    }
}

/// The rows of one rollout's evidence.
const FIRST: &str = "rollout = (SELECT id FROM observed WHERE rollout = 'r-first')";
const BAD: &str = "rollout = (SELECT id FROM observed WHERE rollout = 'r-bad')";

#[tokio::test]
async fn whoever_takes_it_without_a_deed_is_found_out() {
    let house = House::new().await;
    let refused = house.raw(&format!("DELETE FROM evidence WHERE {BAD}")).await.unwrap_err().to_string();
    assert!(refused.contains("let go by a deed"), "{refused}");
    let cases = [
        // The evidence of another rollout than the deed says.
        (
            format!("DELETE FROM evidence WHERE {FIRST}; UPDATE observed SET deed = 1 WHERE rollout = 'r-first'"),
            "no such deed",
        ),
        (
            "DELETE FROM evidence WHERE rollout = (SELECT id FROM observed WHERE rollout = 'r-open')".to_owned(),
            "r-open with digest",
        ),
        // What readers are told, and what the deeds say.
        ("UPDATE observed SET deed = NULL".to_owned(), "is not marked as that"),
        ("DELETE FROM observed WHERE rollout = 'r-bad'".to_owned(), "is not marked as that"),
        // The deed, changed or gone.
        ("UPDATE deed SET deed = replace(deed, '\"last\":', '\"last\":1')".to_owned(), "it was forged"),
        ("UPDATE deed SET deed = replace(deed, 'r-bad', 'r-first')".to_owned(), "it was forged"),
        (
            "DELETE FROM deed; UPDATE sqlite_sequence SET seq = 0 WHERE name = 'deed'".to_owned(),
            "but what is stored is missing",
        ),
        // What is left while it is being removed.
        (
            format!("UPDATE evidence SET batch = replace(batch, '1', '2') WHERE {BAD} AND number = 2"),
            "the batch was changed",
        ),
        (format!("UPDATE evidence SET number = 900 WHERE {BAD} AND number = 2"), "batch 900 came after all of it"),
    ];
    for (change, says) in &cases {
        let house = House::new().await;
        recorded(&house.journal, &house.signer, "r-bad").await.unwrap().unwrap();
        if !change.contains(BAD) {
            house.journal.remove(&rollout("r-bad")).await.unwrap();
        }
        assert_eq!(house.found().await, Vec::<String>::new());
        house.tamper(change).await;
        let found = house.found().await;
        assert!(found.iter().any(|found| found.contains(says)), "{change}: {found:#?}");
    }
}

#[tokio::test]
async fn a_deed_that_the_server_did_not_sign_lets_nothing_go() {
    let house = House::new().await;
    let batches = Batches { first: 1, last: 20, digest: "ab".repeat(32) };
    let genuine = Arc::new(
        Signer::open(&KeyFile::own(house.folder.path().join("other.key")), &house.folder.path().join("other.pub"))
            .unwrap(),
    );
    // Signed with a key, but not with this server's.
    recorded(&house.journal, &genuine, "r-bad").await.unwrap().unwrap();
    house.journal.remove(&rollout("r-bad")).await.unwrap();
    let found = house.found().await;
    assert!(found.iter().any(|found| found.contains("no key of this server")), "{found:#?}");
    assert!(found.iter().any(|found| found.contains("but what is stored is missing")), "and it is missing: {found:#?}");
    // Written by somebody who has none.
    let (key, signature) =
        (std::fs::read_to_string(house.folder.path().join("checkpoint.pub")).unwrap(), "00".repeat(64));
    let key = key.trim().to_owned();
    let deed = Deed::EvidenceLetGo { rollout: rollout("r-first"), batches, key, signature };
    let change = Change { deeds: vec![deed], ..Change::default() };
    house.journal.change(AT, &Actor::new("davy"), change).await.unwrap();
    house
        .tamper(&format!("UPDATE observed SET deed = 2 WHERE rollout = 'r-first'; DELETE FROM evidence WHERE {FIRST}"))
        .await;
    let found = house.found().await;
    assert!(found.iter().any(|found| found.contains("r-first go does not hold: it was forged")), "{found:#?}");
    assert!(found.iter().any(|found| found.contains("no such deed of this server")), "{found:#?}");
}

#[tokio::test]
async fn what_does_not_hold_is_kept() {
    for change in [
        format!("UPDATE evidence SET batch = replace(batch, '1', '2') WHERE {BAD} AND number = 2"),
        format!("DELETE FROM evidence WHERE {BAD} AND number = 2"),
        format!("DELETE FROM evidence WHERE {BAD} AND number > 1"),
        "UPDATE event SET by = 'mallory' WHERE rollout = 'r-bad'".to_owned(),
    ] {
        let house = House::new().await;
        house.tamper(&format!("DROP TRIGGER event_is_never_changed; {change}")).await;
        let before = house.found().await;
        let refused = recorded(&house.journal, &house.signer, "r-bad").await;
        assert!(matches!(refused, Err(JournalError::Damaged { .. })), "{change}: {refused:?}");
        house.journal.remove(&rollout("r-bad")).await.unwrap();
        assert!(!before.is_empty());
        assert_eq!(house.found().await, before, "it is as it was");
    }
    // Nor where the deeds themselves do not hold.
    let house = House::new().await;
    let deed = Deed::TokenRevoked { name: "ci".to_owned() };
    let change = Change { deeds: vec![deed], ..Change::default() };
    house.journal.change(AT, &Actor::new("lena"), change).await.unwrap();
    house.tamper("UPDATE deed SET by = 'mallory'").await;
    let ledger = Ledger::open(house.journal.clone()).await.unwrap();
    let refused = ledger.let_go(&house.signer, &rollout("r-bad")).await.unwrap_err().to_string();
    assert!(refused.contains("no evidence is let go"), "{refused}");
}

#[tokio::test]
async fn a_long_rollout_goes_some_at_a_time() {
    let folder = TempDir::new().unwrap();
    let journal = Store::open(&folder.path().join("journal.db")).await.unwrap();
    let signer = signer(folder.path());
    let world = Box::pin(lived(journal.clone())).await;
    let batch = journal.evidence(&rollout("r-open")).await.unwrap().remove(0);
    for number in 1..=2_100 {
        let batch = davy_ports::Batch { rollout: rollout("r-long"), number, ..batch.clone() };
        journal.store(&batch).await.unwrap();
    }
    let (outcome, why) = (Outcome::Promoted, "it was proven".to_owned());
    let ended = Event::RolloutFinished { rollout: rollout("r-long"), outcome, why, cause: None };
    let entry = Entry { at: AT, by: Actor::new("davy"), rollout: Some(rollout("r-long")), event: ended };
    let other = davy_core::ServiceKey { service: davy_core::ServiceName::new("shop").unwrap(), ..world.key.clone() };
    journal.append(&other, 0, &[entry]).await.unwrap();
    recorded(&journal, &signer, "r-long").await.unwrap().unwrap();
    journal.remove(&rollout("r-long")).await.unwrap();
    let left = verified(&journal, folder.path()).await;
    assert_eq!((left.broken.as_slice(), left.let_go), (&[][..], 1));
    assert!(!journal.held().await.unwrap().iter().any(|(held, _)| *held == rollout("r-long")));
    let room = journal.room().await.unwrap();
    assert!(room.unused > 0 && room.bytes > room.unused, "{room:?}");
    assert!(room.oldest.is_some_and(|oldest| oldest < AT));
}
