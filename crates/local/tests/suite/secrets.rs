//! Secrets: given to the process, and nowhere else to be found.

use crate::house::{House, ended_because, get};
use davy_core::{Given, Instance, Millis, Pin, Scope, Secret, SecretName, ServiceKey, Workload};
use davy_ports::{Boxed, Error, LogQuery, Platform, SecretValue, Vault};
use futures_util::StreamExt;
use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc};

/// Values by name.
struct Known(BTreeMap<&'static str, &'static str>);

impl Vault for Known {
    fn open<'a>(&'a self, secrets: &'a [Secret]) -> Boxed<'a, Result<Vec<SecretValue>, Error>> {
        Box::pin(async move {
            let value = |secret: &Secret| {
                let value = self.0.get(secret.name.as_str()).copied();
                value.map(|value| SecretValue::new(value.as_bytes().to_vec()))
            };
            let values = secrets.iter().map(value).collect::<Option<Vec<_>>>();
            values.ok_or_else(|| Error::never("open a secret", "it is not there"))
        })
    }

    fn known<'a>(&'a self, _: &'a ServiceKey) -> Boxed<'a, Vec<SecretValue>> {
        Box::pin(async { Vec::new() })
    }
}

const PASSWORD: &str = "correct horse battery";
const KEY: &str = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\n-----END KEY-----\n";

fn house() -> House {
    let mut house = House::new();
    let known = BTreeMap::from([("DB_PASSWORD", PASSWORD), ("TLS_KEY", KEY)]);
    house.platform = house.platform.clone().with_vault(Arc::new(Known(known)));
    house
}

fn secret(name: &str, given: Given) -> Secret {
    let pin = Some(Pin { scope: Scope::default(), version: 1 });
    Secret { name: SecretName::new(name).expect("a name"), given, pin }
}

fn with_secrets(mut workload: Workload) -> Workload {
    workload.secrets = vec![secret("DB_PASSWORD", Given::Variable), secret("TLS_KEY", Given::File)];
    workload
}

fn file(instance: &Instance) -> PathBuf {
    let env = get(instance, "/env");
    env.lines().find_map(|line| line.strip_prefix("TLS_KEY_FILE=")).expect("the file's variable").into()
}

/// Every file of the house, and every command line of this machine, without the secret in it.
fn assert_nowhere(house: &House) {
    let mut folders = vec![house.data()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            match entry.file_type().expect("a kind") {
                kind if kind.is_dir() => folders.push(path),
                kind if kind.is_file() => {
                    let bytes = fs::read(&path).unwrap_or_default();
                    let text = String::from_utf8_lossy(&bytes);
                    assert!(!text.contains(PASSWORD) && !text.contains("MIIEvQ"), "{}", path.display());
                }
                _ => {}
            }
        }
    }
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&words).contains(PASSWORD), "{}", entry.path().display());
    }
}

#[tokio::test]
async fn an_instance_has_its_secrets_also_after_a_crash_and_nothing_else_has() {
    let house = house();
    let (release, instance) = house.run(with_secrets(house.service())).await;
    for round in 0..2 {
        let instance = house.until("healthy", |i| i.restarts == round && i.health.is_healthy()).await;
        let env = get(&instance, "/env");
        assert!(env.contains(&format!("DB_PASSWORD={PASSWORD}\n")), "round {round}: {env}");
        assert!(!env.contains("TLS_KEY="), "a file is no variable: {env}");
        let file = file(&instance);
        assert_eq!(fs::read_to_string(&file).expect("the file"), KEY);
        let mode = |path: &std::path::Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().expect("a folder"))), (0o400, 0o700));
        assert_nowhere(&house);
        get(&instance, "/crash");
    }
    let file = file(&house.until("healthy", |i| i.restarts == 2 && i.health.is_healthy()).await);
    house.remove(&release, Millis::seconds(5)).await;
    assert!(!file.parent().expect("a folder").exists(), "its files go with it");
    house.assert_nothing_left();
    drop(instance);
}

#[tokio::test]
async fn what_a_killed_shim_leaves_goes_with_its_instance() {
    let house = house();
    let (release, instance) = house.run(with_secrets(house.service())).await;
    let file = file(&instance);
    house.kill(house.shim_of(&instance));
    house.until("gone", |i| ended_because(i).is_some()).await;
    house.ensure(&release, 1).await;
    house.until("another", |other| other.id != instance.id && other.health.is_healthy()).await;
    assert!(!file.exists());
}

#[tokio::test]
async fn output_and_last_words_show_no_secret() {
    let house = house();
    let (_, instance) = house.run(with_secrets(house.service())).await;
    for path in
        ["/correct%20horse%20battery", "/x/MIIEvQIBADANBgkqhkiG9w0BAQEF/y", "/Y29ycmVjdCBob3JzZSBiYXR0ZXJ5", "/last"]
    {
        get(&instance, path);
    }
    let query = LogQuery { key: house.key.clone(), release: None, tail: 100, follow: true };
    let mut lines = house.platform.logs(&query).await.expect("logs");
    let mut seen = Vec::new();
    while !seen.iter().any(|line: &String| line == "asked /last") {
        seen.push(lines.next().await.expect("more").expect("a line").line);
    }
    assert!(seen.contains(&"asked /***".to_owned()) && seen.contains(&"asked /x/***/y".to_owned()), "{seen:?}");
    assert!(seen.iter().filter(|line| line.starts_with("asked /***")).count() == 2, "{seen:?}");
    assert_nowhere(&house);

    let known = BTreeMap::from([("DB_PASSWORD", "open the moon"), ("TLS_KEY", KEY)]);
    let mut failing = House::new();
    failing.platform = failing.platform.clone().with_vault(Arc::new(Known(known)));
    let release = failing.release(with_secrets(failing.workload(&["./service", "fail"]))).await;
    failing.ensure(&release, 1).await;
    let ended = failing.until("ended", |i| ended_because(i).is_some_and(|why| why.contains("cannot"))).await;
    assert!(ended_because(&ended).expect("a reason").contains("cannot ***"), "{ended:?}");
}

#[tokio::test]
async fn a_secret_that_cannot_be_opened_starts_nothing() {
    let house = house();
    let mut workload = house.service();
    workload.secrets = vec![secret("OTHER", Given::Variable)];
    let release = house.release(workload).await;
    let error = house.platform.ensure(&house.order(&release, 1)).await.expect_err("refused");
    assert!(error.happened.contains("not there"), "{error}");
    house.assert_nothing_left();
}
