//! Secrets from the command line to the instance's environment, and nowhere else.

use crate::host::{Host, text};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

const FIRST: &str = "correct-horse-battery";
const SECOND: &str = "staple-and-so-on";
const REST: &str = "secrets: [DB_PASSWORD, { name: TLS_KEY, file: true }]\n\
    rollout:\n  canary: { steps: [50%, 100%], hold: 1s, deadline: 60s }\n  drain: 1s\n  bake: 1s\n";

/// The value of a variable in every process of the host that has it.
fn variables(host: &Host, name: &str) -> Vec<String> {
    let mark = host.folder.path().to_str().expect("a plain path").to_owned();
    let all = fs::read_dir("/proc").expect("proc").flatten().filter_map(|entry| {
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let own = environment.contains(&mark) || fs::read_link(entry.path().join("cwd")).ok()?.starts_with(&mark);
        let find = |variable: &str| variable.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        own.then(|| environment.split('\0').find_map(find))?
    });
    all.collect()
}

/// No file below the folder holds the text.
fn assert_nowhere(folder: &Path, what: &str) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        match entry.file_type().expect("a kind") {
            kind if kind.is_dir() => assert_nowhere(&path, what),
            kind if kind.is_file() => {
                let bytes = fs::read(&path).unwrap_or_default();
                let found = String::from_utf8_lossy(&bytes).contains(what);
                assert!(!found, "`{what}` is in {}", path.display());
            }
            _ => {}
        }
    }
}

fn release(host: &Host) -> String {
    host.status()["release"].as_str().expect("a release").to_owned()
}

#[test]
fn a_changed_secret_is_a_new_release_and_a_rollback_has_the_old_one() {
    let host = Host::up();
    host.write("v1", REST);
    let missing = host.davy(&["deploy", "--watch"]);
    assert_eq!(missing.status.code(), Some(2), "{}", text(&missing));
    assert!(text(&missing).contains("DB_PASSWORD, TLS_KEY are not set"), "{}", text(&missing));
    assert!(
        text(&missing).contains("davy secret set DB_PASSWORD --service logo --env production"),
        "{}",
        text(&missing)
    );

    // The same beforehand, and nothing is changed by it.
    let dry = host.davy(&["deploy", "--dry-run"]);
    assert_eq!(dry.status.code(), Some(2), "{}", text(&dry));
    assert!(text(&dry).contains("50 %: 1 instance of the new release"), "{}", text(&dry));
    assert!(text(&dry).contains("DB_PASSWORD, TLS_KEY are not set"), "{}", text(&dry));
    assert_eq!(host.status()["code"], "D090", "there is no rollout");
    let alone = host.command(&["deploy", "--dry-run", "--server", "http://127.0.0.1:1"]);
    let alone = { alone }.env("DAVY_TOKEN_FILE", host.data().join("token")).output().expect("davy runs");
    assert_eq!(alone.status.code(), Some(6), "what could not be looked at is not well: {}", text(&alone));

    let argument = host.davy(&["secret", "set", "DB_PASSWORD", "hunter2-in-the-open"]);
    assert_eq!(argument.status.code(), Some(2));
    assert!(!text(&argument).contains("hunter2"), "{}", text(&argument));
    let set = host.davy_reads(&["secret", "set", "DB_PASSWORD"], &format!("{FIRST}\n"));
    assert!(set.status.success(), "{}", text(&set));
    let key = host.folder.path().join("key.pem");
    fs::write(&key, "-----BEGIN-----\nlamp-and-canary-pem\n").expect("a file");
    let words = ["secret", "set", "TLS_KEY", "--service", "logo", "--env", "prodution", "--from-file", "key.pem"];
    let typo = host.davy(&words);
    assert!(typo.status.success() && text(&typo).contains("nothing is deployed in the environment `prodution`"));
    assert!(host.davy(&["secret", "rm", "TLS_KEY", "--service", "logo", "--env", "prodution"]).status.success());
    let set = host.davy(&["secret", "set", "TLS_KEY", "--service", "logo", "--from-file", "key.pem"]);
    assert!(set.status.success(), "{}", text(&set));
    fs::remove_file(key).expect("gone");
    let dry = host.davy(&["deploy", "--dry-run"]);
    assert_eq!(dry.status.code(), Some(0), "{}", text(&dry));
    assert!(text(&dry).contains("its secrets are set") && text(&dry).contains("nothing was changed"));
    for (name, value, says) in
        [("1A", "x", "cannot be the name"), ("A", "", "is empty"), ("A", &"x".repeat(70_000), "65536")]
    {
        let refused = host.davy_reads(&["secret", "set", name], value);
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
        assert!(text(&refused).contains(says), "{}", text(&refused));
    }

    let first = host.davy(&["deploy", "--watch"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    assert_eq!(variables(&host, "DB_PASSWORD"), [FIRST]);
    let file = variables(&host, "TLS_KEY_FILE").pop().expect("its file's variable");
    assert_eq!(fs::read_to_string(&file).expect("the file"), "-----BEGIN-----\nlamp-and-canary-pem\n");
    assert_eq!(fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o400);
    let before = release(&host);
    let same = host.davy_reads(&["secret", "set", "DB_PASSWORD"], FIRST);
    assert!(text(&same).contains("nothing was changed"), "{}", text(&same));
    let again = host.davy(&["deploy", "--watch"]);
    assert!(text(&again).contains("serves already"), "{}", text(&again));

    assert!(host.davy_reads(&["secret", "set", "DB_PASSWORD"], SECOND).status.success());
    assert_eq!(variables(&host, "DB_PASSWORD"), [FIRST], "what runs keeps what it has");
    let second = host.davy(&["deploy"]);
    assert!(second.status.success(), "{}", text(&second));
    host.until("on trial", |status| status["release"] != before.as_str() && status["state"] == "holding");
    let mut both = variables(&host, "DB_PASSWORD");
    both.sort();
    assert_eq!(both, [FIRST, SECOND]);
    assert!(host.davy(&["rollout", "promote"]).status.success());
    for _ in 0..20 {
        host.get();
    }
    host.until("over", |status| status["state"] == "promoted");
    assert_eq!(variables(&host, "DB_PASSWORD"), [SECOND]);
    assert!(host.davy(&["rollback", "logo", "--to", &before]).status.success());
    host.until("back", |status| status["release"] == before.as_str() && status["state"] != "starting");
    assert!(variables(&host, "DB_PASSWORD").contains(&FIRST.to_owned()), "as it was made");

    let list = host.davy(&["secret", "list", "--json"]);
    let shown: Vec<Value> = text(&list).lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let password = shown.iter().find(|secret| secret["name"] == "DB_PASSWORD").expect("listed");
    assert_eq!((&password["version"], &password["by"], &password["set"]), (&2.into(), &"admin".into(), &true.into()));
    for value in [FIRST, SECOND, "lamp-and-canary-pem"] {
        assert_nowhere(&host.data(), value);
        for words in
            [&["secret", "list"][..], &["rollout", "explain", "--json"], &["history", "--json"], &["logs", "logo"]]
        {
            assert!(!text(&host.davy(words)).contains(value), "{words:?}");
        }
    }
    let verified = host.davy(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified));
    host.down();
    assert!(!Path::new(&file).exists(), "the file went with its instance");
}

#[test]
fn a_key_that_others_can_read_starts_no_server() {
    let mut host = Host::up();
    assert!(host.davy_reads(&["secret", "set", "A"], "value").status.success());
    let key = host.data().join("secrets.key");
    assert_eq!(fs::metadata(&key).expect("a key").permissions().mode() & 0o777, 0o600);
    host.kill();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("changed");
    let data = host.data();
    let up = |host: &Host| {
        let words = [
            "up",
            "--data",
            data.to_str().expect("a plain path"),
            "--listen",
            "127.0.0.1:0",
            "--gateway",
            "127.0.0.1:0",
        ];
        host.davy(&words)
    };
    let refused = up(&host);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(
        text(&refused).contains("others can read it") && text(&refused).contains("chmod 600"),
        "{}",
        text(&refused)
    );
    host.environment.push(("DAVY_SECRET_KEY_FILE".to_owned(), "/nowhere/key".to_owned()));
    let refused = up(&host);
    assert!(text(&refused).contains("/nowhere/key: it is not there"), "{}", text(&refused));
    host.environment.clear();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("changed");
    host.start();
    assert!(text(&host.davy(&["doctor"])).contains("secrets.key opens them"));
    host.down();
}

#[test]
fn a_lost_key_stops_nothing_that_runs_and_says_what_to_do() {
    let mut host = Host::up();
    assert!(host.davy_reads(&["secret", "set", "DB_PASSWORD"], FIRST).status.success());
    host.write("v1", &REST.replace(", { name: TLS_KEY, file: true }", ""));
    let deployed = host.davy(&["deploy", "--watch"]);
    assert_eq!(deployed.status.code(), Some(0), "{}", text(&deployed));
    host.kill();
    let key = host.data().join("secrets.key");
    let kept = fs::read(&key).expect("a key");
    fs::remove_file(&key).expect("lost");
    host.start();
    assert_eq!(host.get(), Some((200, "v1".to_owned())), "what runs goes on");
    host.write("v2", &REST.replace(", { name: TLS_KEY, file: true }", ""));
    for words in [&["deploy"][..], &["doctor"]] {
        let told = host.davy(words);
        assert!(!told.status.success() && text(&told).contains("secrets.key is missing"), "{}", text(&told));
        assert!(text(&told).contains("put the right key back"), "{}", text(&told));
    }
    let set = host.davy_reads(&["secret", "set", "OTHER"], "value");
    assert!(text(&set).contains("is missing") && !key.exists(), "no other key is made: {}", text(&set));
    // It is found again.
    host.kill();
    fs::write(&key, kept).expect("put back");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("private");
    host.start();
    assert!(host.davy(&["deploy"]).status.success());
    host.down();
}
