//! Journals as each format left them, opened by this version: what they say is read, checked and gone on with. Each was written
//! by the code of its time (`golden/`, as the database's own dump): a first release, one that was rolled back, one promoted, one
//! aborted and one on trial. `write` makes that of the present format.

use crate::{
    server::{self, Server},
    world::World,
};
use davy_core::{
    Actor, Cohort, Generation, Millis, Pin, RolloutId, Scope, SecretName, Timestamp,
    rollout::{Command, Event, Outcome},
};
use davy_engine::{
    Deed, KeyFile, Past, Role, Way,
    report::{Evidence, report},
    store::{Change, Head, Sealed, Signer, Store, Trust},
};
use davy_ports::{Entry, Interval, Journal, Lane, Mark, Measured, Tries};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, sqlite::SqliteConnectOptions};
use std::{
    path::{Path, PathBuf},
    str::FromStr as _,
    sync::Arc,
};
use tempfile::TempDir;

/// One of each format, the first first.
const SQLITE: [&str; 7] = [
    include_str!("golden/sqlite_1.sql"),
    include_str!("golden/sqlite_2.sql"),
    include_str!("golden/sqlite_3.sql"),
    include_str!("golden/sqlite_4.sql"),
    include_str!("golden/sqlite_5.sql"),
    include_str!("golden/sqlite_6.sql"),
    include_str!("golden/sqlite_7.sql"),
];
const POSTGRES: [&str; 6] = [
    include_str!("golden/postgres_1.sql"),
    include_str!("golden/postgres_2.sql"),
    include_str!("golden/postgres_3.sql"),
    include_str!("golden/postgres_4.sql"),
    include_str!("golden/postgres_5.sql"),
    include_str!("golden/postgres_6.sql"),
];

const ROLLOUTS: [(&str, Option<Outcome>, &str); 5] = [
    ("r-first", Some(Outcome::Promoted), "# Promoted: "),
    ("r-bad", Some(Outcome::RolledBack), "# Rolled back: "),
    ("r-good", Some(Outcome::Promoted), "# Promoted: "),
    ("r-ended", Some(Outcome::Aborted), "# Aborted: "),
    ("r-open", None, "# Under way: "),
];

/// What a dump tells of itself in its first lines, `-- name: value`.
fn told<'a>(dump: &'a str, name: &str) -> Option<&'a str> {
    dump.lines().take(12).find_map(|line| line.strip_prefix("-- ")?.strip_prefix(name)?.strip_prefix(": "))
}

fn number(dump: &str, name: &str) -> u64 {
    told(dump, name).unwrap().parse().unwrap()
}

fn rollout(name: &str) -> RolloutId {
    RolloutId::new(name)
}

/// That it says what it said, and that it goes on.
async fn holds(journal: &Store, dump: &str) {
    let kept = TempDir::new().unwrap();
    let own = Signer::open(&KeyFile::own(kept.path().join("key")), &kept.path().join("pub")).unwrap();
    let mut trust = Trust::of(&kept.path().join("pub")).unwrap();
    let head = told(dump, "head").map(|line| Head::parse(line).unwrap());
    trust.keys.as_mut().unwrap().extend(head.as_ref().map(|head| head.key.clone()));
    trust.heads.extend(head);
    let found = journal.verify_with(&trust).await.unwrap();
    assert_eq!(found.broken, []);
    let counts = [("events", found.events), ("batches", found.batches), ("deeds", found.deeds)];
    for (name, count) in counts.into_iter().chain([("checkpoints", found.checkpoints), ("let go", found.let_go)]) {
        assert_eq!(count, number(dump, name), "{name}");
    }
    // Before the formats that know it, nothing was.
    assert_eq!(found.packed, told(dump, "packed").map_or(0, |count| count.parse().unwrap()));

    let mut past = Past::default();
    past.read(journal).await.unwrap();
    let key = journal.streams().await.unwrap().remove(0);
    let known: Vec<_> = past.of(Some(&key)).collect();
    assert_eq!(known.len(), ROLLOUTS.len());
    for (summary, (name, outcome, begins)) in known.iter().zip(ROLLOUTS) {
        assert_eq!(summary.rollout.as_str(), name);
        assert_eq!(summary.ended.as_ref().map(|ended| ended.outcome), outcome, "{name}");
        assert_eq!(summary.from.is_some(), name != "r-first", "{name}");
        let records = journal.rollout(&rollout(name)).await.unwrap();
        let batches = journal.evidence(&rollout(name)).await;
        let why = batches.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let evidence = batches.as_ref().map_or(Evidence::LetGo(&why), |batches| Evidence::Kept(batches));
        let page = report(&past, &records, &rollout(name), evidence).unwrap();
        assert!(page.starts_with(begins), "{name}: {page}");
    }
    let (deeds, sound) = journal.deeds().await.unwrap();
    assert!(sound);
    if !deeds.is_empty() {
        let pin = Pin { scope: Scope::default(), version: 1 };
        let sealed = journal.sealed(&SecretName::new("API_KEY").unwrap(), &pin).await.unwrap().unwrap();
        assert_eq!((sealed.key, sealed.bytes), (vec![1, 2, 3, 4], vec![9; 40]));
    }
    assert_eq!(journal.marks().await.unwrap().len() as u64, number(dump, "marks"));

    let stands_at = journal.stream(&key, 0).await.unwrap().len() as u64;
    let event = Event::WeightApplied { generation: Generation(99) };
    let entry = Entry { at: Timestamp(1), by: Actor::new("davy"), rollout: Some(rollout("r-open")), event };
    journal.append(&key, stands_at, &[entry]).await.unwrap();
    let mut next = journal.evidence(&rollout("r-open")).await.unwrap().pop().unwrap();
    next.number += 1;
    journal.store(&next).await.unwrap();
    let own = Arc::new(own);
    let let_go = journal.let_go(&own, &rollout("r-good"), Timestamp(2), &Actor::new("davy")).await.unwrap();
    assert!(let_go.is_some(), "what older versions stored can be let go");
    journal.remove(&rollout("r-good")).await.unwrap();
    let over = Arc::new(["r-first", "r-bad", "r-good", "r-ended"].map(rollout).into());
    assert!(journal.pack(&key, &over).await.unwrap() > 0, "and packed");
    journal.checkpoint(&own, Timestamp(3)).await.unwrap().unwrap();
    let after = journal.verify_with(&trust).await.unwrap();
    assert_eq!((after.broken, after.events, after.let_go), (vec![], found.events + 1, found.let_go + 1));
    assert!(after.packed > found.packed);
}

async fn raw(path: &Path) -> sqlx::SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

#[tokio::test]
async fn a_file_of_every_format_is_brought_up_to_this_one() {
    for (index, dump) in SQLITE.iter().enumerate() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("journal.db");
        let mut connection = raw(&path).await;
        sqlx::raw_sql(AssertSqlSafe(*dump)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        if index + 1 < SQLITE.len() {
            let refused = Store::open_read_only(&path).await.err().unwrap().to_string();
            assert!(
                refused.contains(&format!("is of format {} and", index + 1)) && refused.contains("`davy up`"),
                "{refused}"
            );
        }
        let journal = Store::open(&path).await.unwrap();
        Box::pin(holds(&journal, dump)).await;
        journal.close().await;
        let mut connection = raw(&path).await;
        let now: i64 = sqlx::query("PRAGMA user_version").fetch_one(&mut connection).await.unwrap().get(0);
        assert_eq!(usize::try_from(now).unwrap(), SQLITE.len(), "there is one of each format: see `write`");
        // What a later version wrote is left alone.
        sqlx::raw_sql("PRAGMA user_version = 1000").execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        for refused in [Store::open(&path).await.err(), Store::open_read_only(&path).await.err()] {
            let refused = refused.unwrap().to_string();
            assert!(refused.contains("newer Davy (format 1000") && refused.contains("run that version"), "{refused}");
        }
    }
}

#[tokio::test]
async fn a_database_of_every_format_is_brought_up_to_this_one() {
    let server = Server::start();
    for (index, dump) in POSTGRES.iter().enumerate() {
        let url = server.database();
        let mut connection = sqlx::postgres::PgConnectOptions::from_str(&url).unwrap().connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(*dump)).execute(&mut connection).await.unwrap();
        if index + 1 < POSTGRES.len() {
            let refused = Store::connect_read_only(&url).await.err().unwrap().to_string();
            assert!(refused.contains(&format!("is of format {} and", index + 1)), "{refused}");
        }
        let journal = Store::connect(&url).await.unwrap();
        Box::pin(holds(&journal, dump)).await;
        journal.close().await;
        let now = sqlx::query("SELECT format FROM davy.journal").fetch_one(&mut connection).await.unwrap();
        assert_eq!(
            usize::try_from(now.get::<i64, _>(0)).unwrap(),
            POSTGRES.len(),
            "there is one of each format: see `write`"
        );
        connection.close().await.unwrap();
    }
}

/// All that a journal of this format can hold.
async fn lived(journal: Store, folder: &Path) -> String {
    let mut world = World::serving_on(journal.clone()).await;
    world.fails = (1000, 20);
    world.deploy("r-bad", "2.0", "mira").await;
    world.pass(20).await;
    world.fails = (1000, 1000);
    world.deploy("r-good", "2.1", "lena").await;
    world.pass(40).await;
    world.deploy("r-ended", "2.2", "mira").await;
    world.pass(2).await;
    world.command(Command::Abort { by: Actor::new("jo|an") }, "jo|an").await.unwrap();
    world.pass(8).await;
    world.deploy("r-open", "2.3", "mira").await;
    world.pass(3).await;

    let name = || SecretName::new("API_KEY").unwrap();
    let pin = Pin { scope: Scope::default(), version: 1 };
    let sealed = Sealed { name: name(), pin, key: vec![1, 2, 3, 4], bytes: vec![9; 40] };
    let set = Deed::SecretSet { name: name(), scope: Scope::default(), version: 1 };
    let (by, at) = (Actor::new("lena"), Timestamp(1_795_248_100_000));
    journal.change(at, &by, Change { deeds: vec![set], seal: vec![sealed], shred: Vec::new() }).await.unwrap();
    let signer = Arc::new(Signer::open(&KeyFile::own(folder.join("key")), &folder.join("pub")).unwrap());
    journal.checkpoint(&signer, at).await.unwrap();
    let (token, environments, hash) = ("ci".to_owned(), Vec::new(), "ab".repeat(32));
    let created = Deed::TokenCreated { name: token.clone(), role: Role::Deployer, environments, expires: None, hash };
    let removed = Deed::SecretRemoved { name: name(), scope: Scope::default() };
    let (session, expires) = ("cd".repeat(32), at.plus(Millis::seconds(60)));
    let signed_in = |way: Way| Deed::SignedIn {
        session: session.clone(),
        role: Role::Approver,
        environments: vec![world.key.environment.clone()],
        behind: matches!(way, Way::Code).then(|| "ab".repeat(32)),
        way,
        expires,
        ends: expires,
    };
    let (code, oidc) = (signed_in(Way::Code), signed_in(Way::Oidc("company".to_owned())));
    let (kept, out) =
        (Deed::SessionKept { session: session.clone(), expires }, Deed::SignedOut { session: session.clone() });
    let sessions = [code, oidc, signed_in(Way::Token), signed_in(Way::Github("github".to_owned())), kept, out];
    let deeds = vec![created, Deed::TokenRevoked { name: token }, removed, Deed::Restored { made: at }];
    let deeds = deeds.into_iter().chain(sessions).collect();
    journal.change(at, &by, Change { deeds, ..Change::default() }).await.unwrap();
    world.pass(2).await;

    let mut batch = journal.evidence(&rollout("r-bad")).await.unwrap().remove(3);
    (batch.rollout, batch.number) = (rollout("r-apart"), 1);
    let (canary, stable) = (Tries { of: 40, failed: 3 }, Tries { of: 900, failed: 1 });
    let (generation, weight, from, to) = (batch.generation, batch.weight, batch.window.from, batch.window.to);
    let seen = Ok(Interval { generation, weight, from, to, canary, stable });
    batch.metrics = vec![Measured { metric: 0, seen }, Measured { metric: 1, seen: Err("it is gone".to_owned()) }];
    journal.store(&batch).await.unwrap();
    batch.number = 2;
    let latency = vec![(0, 5), (117, 2)];
    batch.window.cohorts = vec![Cohort { number: 12, canary: true, routed: 10, heard: 9, failed: 2, gone: 1, latency }];
    batch.window.clients_forgotten = true;
    journal.store(&batch).await.unwrap();
    let lane = Lane { key: world.key.clone(), channel: "ops".to_owned() };
    journal.mark(&Mark { lane: None, sequence: 4 }).await.unwrap();
    journal.mark(&Mark { lane: Some(lane), sequence: 5 }).await.unwrap();
    journal.let_go(&signer, &rollout("r-bad"), at, &by).await.unwrap().unwrap();
    journal.remove(&rollout("r-bad")).await.unwrap();
    assert_eq!(journal.pack(&world.key, &Arc::new([rollout("r-bad")].into())).await.unwrap(), 1);

    let head = journal.checkpoint(&signer, at).await.unwrap().unwrap();
    let found = journal.verify_with(&Trust::default()).await.unwrap();
    let lines = [
        ("events", found.events.to_string()),
        ("batches", found.batches.to_string()),
        ("deeds", found.deeds.to_string()),
        ("checkpoints", found.checkpoints.to_string()),
        ("let go", found.let_go.to_string()),
        ("packed", found.packed.to_string()),
        ("marks", journal.marks().await.unwrap().len().to_string()),
        ("head", head.to_string()),
    ];
    journal.close().await;
    lines.map(|(name, value)| format!("-- {name}: {value}\n")).concat()
}

/// Makes the dumps of the present formats where there are none yet.
#[tokio::test]
#[ignore = "run once for a new format: cargo test -p davy-engine --test suite -- --ignored golden::write"]
async fn write() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/suite/golden");
    let folder = TempDir::new().unwrap();
    let file = golden.join(format!("sqlite_{}.sql", SQLITE.len()));
    if !std::fs::exists(&file).unwrap() || std::fs::metadata(&file).unwrap().len() == 0 {
        let path = folder.path().join("journal.db");
        let head = Box::pin(lived(Store::open(&path).await.unwrap(), folder.path())).await;
        let said = std::process::Command::new("sqlite3").arg(&path).arg(".dump").output().unwrap();
        let dump = String::from_utf8(said.stdout).unwrap();
        let pragmas = format!("PRAGMA application_id = 0x44617679;\nPRAGMA user_version = {};\n", SQLITE.len());
        std::fs::write(file, format!("{head}{pragmas}{dump}")).unwrap();
    }
    let file = golden.join(format!("postgres_{}.sql", POSTGRES.len()));
    if !std::fs::exists(&file).unwrap() || std::fs::metadata(&file).unwrap().len() == 0 {
        let server = Server::start();
        let head = Box::pin(lived(Store::connect(&server.database()).await.unwrap(), folder.path())).await;
        std::fs::write(file, format!("{head}{}", server::plain(&server.dump("d0")))).unwrap();
    }
}
