//! Secrets at rest: what is stored, what opens it, and what happens when a key or a row is not what it was.

use davy_core::{Actor, EnvironmentName, Given, Pin, Scope, Secret, SecretName, ServiceKey, ServiceName, Timestamp};
use davy_engine::{KeyFile, Ledger, Vault, store::Store};
use davy_ports::{Error, SecretValue, Vault as _};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;

const LATER: Timestamp = Timestamp(u64::MAX);

struct House {
    folder: TempDir,
    vault: Vault,
}

fn by() -> Actor {
    Actor::new("lena")
}

fn name(name: &str) -> SecretName {
    SecretName::new(name).unwrap()
}

fn scope(environment: &str, service: &str) -> Scope {
    Scope {
        service: (service != "*").then(|| ServiceName::new(service).unwrap()),
        environment: (environment != "*").then(|| EnvironmentName::new(environment).unwrap()),
    }
}

fn key(environment: &str, service: &str) -> ServiceKey {
    ServiceKey { service: ServiceName::new(service).unwrap(), environment: EnvironmentName::new(environment).unwrap() }
}

fn asked(names: &[&str]) -> Vec<Secret> {
    names.iter().map(|one| Secret { name: name(one), given: Given::Variable, pin: None }).collect()
}

fn value(text: &str) -> SecretValue {
    SecretValue::new(text.as_bytes().to_vec())
}

async fn open(folder: &Path) -> Result<Vault, Error> {
    let store = Store::open(&folder.join("journal.db")).await.unwrap();
    let ledger = Arc::new(Ledger::open(store).await.unwrap());
    Vault::open(ledger, KeyFile::own(folder.join("secrets.key")))
}

impl House {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        Self { vault: open(folder.path()).await.unwrap(), folder }
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("secrets.key")
    }

    /// As after a restart: nothing is known but what is stored.
    async fn again(&mut self) {
        self.vault = open(self.folder.path()).await.unwrap();
    }

    async fn set(&self, scope: &Scope, one: &str, text: &str) -> (u64, bool) {
        self.vault.set(&name(one), scope, value(text), &by()).await.unwrap()
    }

    async fn given(&self, key: &ServiceKey, names: &[&str]) -> Result<Vec<String>, Error> {
        let mut secrets = asked(names);
        self.vault.pin(key, &mut secrets).await?;
        let values = self.vault.open(&secrets).await?;
        Ok(values.iter().map(|value| String::from_utf8_lossy(value.bytes()).into_owned()).collect())
    }

    async fn tamper(&self, sql: &str) {
        let path = self.folder.path().join("journal.db");
        let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Every byte of the folder.
    fn stored(&self) -> Vec<u8> {
        fs::read_dir(self.folder.path()).unwrap().flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
    }
}

#[tokio::test]
async fn the_narrowest_scope_is_given_and_each_change_is_another_version() {
    let mut house = House::new().await;
    let here = key("production", "logo");
    for (number, (environment, service)) in
        [("*", "*"), ("production", "*"), ("*", "logo"), ("production", "logo")].into_iter().enumerate()
    {
        let text = format!("value {number}");
        assert_eq!(house.set(&scope(environment, service), "A", &text).await, (1, true));
        assert_eq!(house.given(&here, &["A"]).await.unwrap(), [text]);
    }
    assert_eq!(house.given(&key("staging", "logo"), &["A"]).await.unwrap(), ["value 2"]);
    assert_eq!(house.given(&key("staging", "shop"), &["A"]).await.unwrap(), ["value 0"]);
    let narrow = scope("production", "logo");
    assert_eq!(house.set(&narrow, "A", "value 3").await, (1, false), "the same value is no other version");
    let mut before = asked(&["A"]);
    house.vault.pin(&here, &mut before).await.unwrap();
    assert_eq!(house.set(&narrow, "A", "newer").await, (2, true));
    house.again().await;
    assert_eq!(house.given(&here, &["A"]).await.unwrap(), ["newer"]);
    assert_eq!(house.vault.open(&before).await.unwrap(), [value("value 3")], "a release keeps what it was made with");
    let shown = format!("{:?} {:?}", house.vault.list(), value("value 3"));
    assert!(!shown.contains("value"), "{shown}");
    let stored = house.stored();
    for text in ["value 0", "value 3", "newer"] {
        assert!(!stored.windows(text.len()).any(|bytes| bytes == text.as_bytes()), "`{text}` lies in the clear");
    }
}

#[tokio::test]
async fn what_is_missing_or_no_text_is_refused_with_what_to_do() {
    let house = House::new().await;
    house.set(&Scope::default(), "A", "value").await;
    let here = key("production", "logo");
    let error = house.given(&here, &["A", "B", "C"]).await.unwrap_err();
    assert!(error.happened.contains("B, C are not set"), "{error}");
    assert_eq!(error.hint, "davy secret set B --service logo --env production");
    for bad in [b"nul \0 in it".as_slice(), b"no text \xff"] {
        house.vault.set(&name("A"), &Scope::default(), SecretValue::new(bad.to_vec()), &by()).await.unwrap();
        let error = house.given(&here, &["A"]).await.unwrap_err();
        assert!(error.hint.contains("file: true"), "{error}: {}", error.hint);
        let mut file = asked(&["A"]);
        file[0].given = Given::File;
        house.vault.pin(&here, &mut file).await.unwrap();
        assert_eq!(house.vault.open(&file).await.unwrap()[0].bytes(), bad, "a file may hold anything");
    }
    for (text, says) in [("", "empty"), (&"x".repeat(64 * 1024 + 1), "65536 are allowed")] {
        let error = house.vault.set(&name("A"), &Scope::default(), value(text), &by()).await.unwrap_err();
        assert!(error.happened.contains(says), "{error}");
    }
    house.set(&Scope::default(), "A", &"x".repeat(64 * 1024)).await;
    assert!(SecretName::new("1A").is_err() && SecretName::new("A-B").is_err() && SecretName::new("").is_err());
}

#[tokio::test]
async fn a_value_moved_or_changed_in_the_database_does_not_open() {
    let moves = [
        "UPDATE sealed SET name = 'C' WHERE name = 'B'; UPDATE sealed SET name = 'B' WHERE name = 'A'",
        "UPDATE sealed SET box = (SELECT box FROM sealed WHERE name = 'A') WHERE name = 'B'",
        "UPDATE sealed SET version = 7 WHERE name = 'B' AND version = 1; \
         UPDATE sealed SET version = 1 WHERE name = 'B' AND version = 2",
        "UPDATE sealed SET box = CAST(substr(box, 1, length(box) - 1) || x'00' AS BLOB) WHERE name = 'B'",
        "UPDATE sealed SET box = x'00' WHERE name = 'B'",
    ];
    for sql in moves {
        let mut house = House::new().await;
        house.set(&Scope::default(), "A", "for a").await;
        house.set(&Scope::default(), "B", "for b").await;
        let mut first = asked(&["B"]);
        house.vault.pin(&key("production", "logo"), &mut first).await.unwrap();
        house.set(&Scope::default(), "B", "for b, newer").await;
        house.tamper(sql).await;
        house.again().await;
        let error = house.vault.open(&first).await.unwrap_err();
        assert!(error.happened.contains("does not decrypt"), "{sql}: {error}");
    }
    let mut house = House::new().await;
    house.set(&scope("staging", "*"), "A", "for staging").await;
    house.tamper("UPDATE sealed SET environment = 'production'").await;
    house.again().await;
    let pin = Some(Pin { scope: scope("production", "*"), version: 1 });
    let moved = Secret { name: name("A"), given: Given::Variable, pin };
    assert!(house.vault.open(&[moved]).await.unwrap_err().happened.contains("does not decrypt"));
}

#[tokio::test]
async fn a_key_that_others_read_that_is_wrong_or_that_is_lost_is_told() {
    let mut house = House::new().await;
    house.set(&Scope::default(), "A", "value").await;
    let right = fs::read_to_string(house.key_file()).unwrap();
    let mode = fs::metadata(house.key_file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::set_permissions(house.key_file(), fs::Permissions::from_mode(0o640)).unwrap();
    let error = open(house.folder.path()).await.err().unwrap();
    assert!(error.happened.contains("others can read it") && error.hint.contains("chmod 600"), "{error}");
    fs::set_permissions(house.key_file(), fs::Permissions::from_mode(0o600)).unwrap();
    for bad in ["", "zz", &"g".repeat(64), &right[..62]] {
        fs::write(house.key_file(), bad).unwrap();
        assert!(open(house.folder.path()).await.err().unwrap().happened.contains("64 hexadecimal"), "{bad}");
    }
    let here = key("production", "logo");
    fs::write(house.key_file(), "0f".repeat(32)).unwrap();
    house.again().await;
    for error in [
        house.vault.trouble().await.unwrap(),
        house.given(&here, &["A"]).await.unwrap_err(),
        house.vault.set(&name("B"), &Scope::default(), value("b"), &by()).await.unwrap_err(),
    ] {
        assert!(error.happened.contains("not the key that it was encrypted with"), "{error}");
    }
    fs::remove_file(house.key_file()).unwrap();
    house.again().await;
    let error = house.vault.set(&name("B"), &Scope::default(), value("b"), &by()).await.unwrap_err();
    assert!(error.happened.contains("missing") && error.hint.contains("davy secret rm"), "{error}");
    assert!(!house.key_file().exists(), "no other key is made while it may be found again");
    house.vault.remove(&name("A"), &Scope::default(), &by()).await.unwrap();
    assert_eq!(house.vault.list(), [], "what nobody can open is gone at once");
    assert_eq!(house.set(&Scope::default(), "A", "again").await, (2, true), "no version is used twice");
    assert_eq!(house.given(&here, &["A"]).await.unwrap(), ["again"]);
    let given = KeyFile::given(house.folder.path().join("elsewhere"));
    let ledger = Ledger::open(Store::open(&house.folder.path().join("journal.db")).await.unwrap()).await.unwrap();
    let error = Vault::open(Arc::new(ledger), given).err().unwrap();
    assert!(error.hint.contains("/dev/urandom"), "{error}");
}

#[tokio::test]
async fn values_are_kept_while_a_release_needs_them_and_shredded_then() {
    let house = House::new().await;
    let (all, here) = (Scope::default(), key("production", "logo"));
    for text in ["one", "two", "three"] {
        house.set(&all, "A", text).await;
    }
    let pin = |version| (name("A"), Pin { scope: Scope::default(), version });
    let needed = BTreeSet::from([pin(1)]);
    assert_eq!(house.vault.shred(&needed, Timestamp(0), &by()).await.unwrap(), 0, "not before its time");
    assert_eq!(house.vault.shred(&needed, LATER, &by()).await.unwrap(), 1);
    let open = |version| {
        let (name, pin) = pin(version);
        [Secret { name, given: Given::Variable, pin: Some(pin) }]
    };
    assert!(house.vault.open(&open(1)).await.is_ok() && house.vault.open(&open(3)).await.is_ok());
    let error = house.vault.open(&open(2)).await.unwrap_err();
    assert!(error.happened.contains("no longer kept"), "{error}");
    house.vault.remove(&name("A"), &all, &by()).await.unwrap();
    assert!(house.given(&here, &["A"]).await.is_err());
    assert!(house.vault.open(&open(3)).await.is_ok(), "what runs can be started again");
    assert!(house.vault.remove(&name("A"), &all, &by()).await.is_err());
    assert!(house.vault.remove(&name("B"), &all, &by()).await.unwrap_err().hint.contains("--service"));
    assert_eq!(house.vault.shred(&BTreeSet::new(), LATER, &by()).await.unwrap(), 2);
    assert_eq!(house.vault.list(), []);
    assert_eq!(house.set(&all, "A", "four").await, (4, true));
}
