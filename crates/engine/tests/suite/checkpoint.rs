//! Signed checkpoints against somebody who can write the database, and one who can write everything.

use davy_core::{
    Actor, EnvironmentName, Generation, RolloutId, Scope, SecretName, ServiceKey, ServiceName, Timestamp,
    rollout::Event,
};
use davy_engine::{
    Deed, KeyFile,
    store::{Change, Head, Signer, Store, Trust},
};
use davy_ports::{Entry, Journal};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc};
use tempfile::TempDir;

struct House {
    folder: TempDir,
    journal: Store,
    signer: Arc<Signer>,
}

fn key(service: &str) -> ServiceKey {
    ServiceKey { service: ServiceName::new(service).unwrap(), environment: EnvironmentName::new("production").unwrap() }
}

impl House {
    async fn new() -> Self {
        Self::at(TempDir::new().unwrap()).await
    }

    async fn at(folder: TempDir) -> Self {
        let journal = Store::open(&folder.path().join("journal.db")).await.unwrap();
        let file = KeyFile::own(folder.path().join("checkpoint.key"));
        let signer = Arc::new(Signer::open(&file, &folder.path().join("checkpoint.pub")).unwrap());
        Self { folder, journal, signer }
    }

    async fn events(&self, service: &str, by: &str, count: u64) {
        let at = self.journal.stream(&key(service), 0).await.unwrap().len() as u64;
        let entry = |number| Entry {
            at: Timestamp(number * 1000),
            by: Actor::new(by),
            rollout: Some(RolloutId::new("r")),
            event: Event::WeightApplied { generation: Generation(number) },
        };
        let entries: Vec<Entry> = (at..at + count).map(entry).collect();
        self.journal.append(&key(service), at, &entries).await.unwrap();
    }

    async fn deed(&self, name: &str) {
        let deed = Deed::SecretRemoved { name: SecretName::new(name).unwrap(), scope: Scope::default() };
        let change = Change { deeds: vec![deed], ..Change::default() };
        self.journal.change(Timestamp(1), &Actor::new("lena"), change).await.unwrap();
    }

    async fn sign(&self) -> Option<Head> {
        self.journal.checkpoint(&self.signer, Timestamp(9)).await.unwrap()
    }

    /// Three checkpoints over two streams and some deeds; the heads of all.
    async fn lived(&self, by: &str) -> Vec<Head> {
        let mut heads = Vec::new();
        for round in 0..3 {
            self.events("logo", by, 4).await;
            if round != 1 {
                self.events("shop", by, 2).await;
                self.deed("A").await;
            }
            heads.push(self.sign().await.expect("something moved"));
        }
        heads
    }

    async fn tamper(&self, sql: &str) {
        let path = self.folder.path().join("journal.db");
        let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        let guards = "DROP TRIGGER event_is_never_changed; DROP TRIGGER event_is_never_removed; \
             DROP TRIGGER checkpoint_is_never_changed; DROP TRIGGER checkpoint_is_never_removed; \
             DROP TRIGGER deed_is_never_changed; DROP TRIGGER deed_is_never_removed; PRAGMA foreign_keys = OFF;";
        sqlx::raw_sql(AssertSqlSafe(format!("{guards} {sql}"))).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn found(&self, heads: &[Head]) -> Vec<String> {
        let mut trust = Trust::of(&self.public()).unwrap();
        trust.heads = heads.to_vec();
        let found = self.journal.verify_with(&trust).await.unwrap();
        found
            .broken
            .into_iter()
            .map(|broken| format!("{} {}: {}", broken.stream, broken.position, broken.why))
            .collect()
    }

    fn public(&self) -> PathBuf {
        self.folder.path().join("checkpoint.pub")
    }
}

#[tokio::test]
async fn what_was_not_touched_holds_and_heads_can_be_kept_elsewhere() {
    let house = House::new().await;
    assert!(house.sign().await.is_none(), "there is nothing to sign yet");
    assert!(house.journal.head().await.unwrap().is_none());
    let heads = house.lived("lena").await;
    assert!(house.sign().await.is_none(), "nothing moved");
    assert_eq!(house.found(&heads).await, Vec::<String>::new());
    let found = house.journal.verify_with(&Trust::default()).await.unwrap();
    assert_eq!((found.deeds, found.checkpoints, found.events), (2, 3, 16));
    assert_eq!(house.journal.head().await.unwrap().as_ref(), heads.last());
    for head in &heads {
        let line = head.to_string();
        assert_eq!(Head::parse(&format!(" {line}\n")).as_ref(), Some(head));
        assert!(!line.contains(' '), "one word for a shell");
        for bad in [&line[1..], &line[..line.len() - 2], &format!("{line}:0"), &line.replace("davy1", "davy2"), ""] {
            assert_eq!(Head::parse(bad), None, "{bad}");
        }
    }
    // A server that was started anew goes on where the last one stopped.
    let again = House::at(house.folder).await;
    assert!(again.sign().await.is_none(), "nothing moved");
    again.events("logo", "lena", 1).await;
    assert_eq!(again.sign().await.unwrap().number, 4);
    assert_eq!(again.found(&heads).await, Vec::<String>::new());
    let mode = fs::metadata(again.folder.path().join("checkpoint.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn every_change_in_the_database_is_found() {
    let cases = [
        ("UPDATE event SET by = 'mallory' WHERE stream = 1 AND position = 2", "was changed"),
        // With the stream's own end put right, only a checkpoint knows that there was more.
        (
            "DELETE FROM event WHERE stream = 1 AND position > 10; \
             UPDATE stream SET events = 10, head = (SELECT hash FROM event WHERE stream = 1 AND position = 10) WHERE id = 1; \
             UPDATE sqlite_sequence SET seq = (SELECT max(sequence) FROM event) WHERE name = 'event'",
            "checkpoint 3 saw 12 of them",
        ),
        ("DELETE FROM event WHERE stream = 2; DELETE FROM stream WHERE id = 2", "production/shop"),
        ("UPDATE deed SET by = 'mallory' WHERE number = 1", "the deed or the one before it was changed"),
        (
            "DELETE FROM deed WHERE number = 2; UPDATE sqlite_sequence SET seq = 1 WHERE name = 'deed'",
            "checkpoint 3 saw 2",
        ),
        ("DELETE FROM checkpoint WHERE number = 2", "checkpoint 2 is missing"),
        ("DELETE FROM checkpoint WHERE number = 1", "checkpoint 1 is missing"),
        ("UPDATE checkpoint SET signature = zeroblob(64) WHERE number = 3", "signature does not hold"),
        (
            "UPDATE checkpoint SET signature = (SELECT signature FROM checkpoint WHERE number = 1) WHERE number = 3",
            "signature does not hold",
        ),
        (
            "UPDATE checkpoint SET statement = replace(statement, '\"at\":9', '\"at\":8') WHERE number = 2",
            "signature does not hold",
        ),
        ("UPDATE checkpoint SET statement = 'x' WHERE number = 2", "cannot be read"),
    ];
    for (sql, says) in cases {
        let house = House::new().await;
        house.lived("lena").await;
        house.tamper(sql).await;
        let found = house.found(&[]).await;
        assert!(found.iter().any(|found| found.contains(says)), "{sql}: {found:#?}");
    }
}

#[tokio::test]
async fn what_was_written_anew_is_found_by_its_key_or_by_a_saved_head() {
    let house = House::new().await;
    let heads = house.lived("lena").await;
    // Somebody who can write the database, and has no key, writes all of it anew.
    let forged = House::new().await;
    forged.lived("mallory").await;
    let own = fs::read_to_string(house.public()).unwrap();
    fs::write(forged.public(), &own).unwrap();
    let found = forged.found(&[]).await;
    assert!(found.iter().any(|found| found.contains("no key of this server")), "{found:#?}");
    // Somebody who has the key, too: only what was kept elsewhere tells.
    let folder = TempDir::new().unwrap();
    fs::copy(house.folder.path().join("checkpoint.key"), folder.path().join("checkpoint.key")).unwrap();
    let forged = House::at(folder).await;
    let theirs = forged.lived("mallory").await;
    assert_eq!(forged.found(&[]).await, Vec::<String>::new());
    for head in &heads {
        let found = forged.found(std::slice::from_ref(head)).await;
        assert!(found.len() == 1 && found[0].contains("history was written anew"), "{found:#?}");
    }
    // Checkpoints taken from the end, with what they saw.
    let house = House::new().await;
    house.events("logo", "lena", 1).await;
    let first = house.sign().await.unwrap();
    house.deed("A").await;
    let second = house.sign().await.unwrap();
    house.tamper("DELETE FROM checkpoint WHERE number = 2; DELETE FROM deed; UPDATE sqlite_sequence SET seq = 0 WHERE name = 'deed'").await;
    assert_eq!(house.found(&[first]).await, Vec::<String>::new(), "nothing inside tells");
    let found = house.found(std::slice::from_ref(&second)).await;
    assert!(found.len() == 1 && found[0].contains("checkpoint 2 is missing"), "{found:#?}");
    // A head that was changed itself is told as that.
    let changed = Head { number: 1, ..second };
    let forged_signature = Head { hash: theirs[0].hash.clone(), ..changed.clone() };
    for head in [Head { signature: "00".repeat(64), ..changed }, forged_signature] {
        let found = house.found(&[head]).await;
        assert!(found.iter().any(|found| found.contains("its own signature does not hold")), "{found:#?}");
    }
    // The key's list is gone: nothing says whose signatures these are.
    fs::remove_file(house.public()).unwrap();
    assert!(house.found(&[]).await.iter().any(|found| found.contains("no key of this server")));
}
