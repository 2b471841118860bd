//! From a backup back to what there was: under load, in the middle of a rollout, and with everything wrong.

use crate::host::{Host, Load, last, text};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

const REST: &str = "secrets: [DB_PASSWORD]\n\
    rollout:\n  canary: { steps: [50%, 100%], hold: 1s, deadline: 60s }\n  drain: 1s\n  bake: 1s\n";

fn path(path: &Path) -> String {
    path.to_str().expect("a plain path").to_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect()
}

#[test]
fn everything_is_gone_and_comes_back_from_a_backup() {
    let mut host = Host::up();
    assert!(host.davy_reads(&["secret", "set", "DB_PASSWORD"], "correct-horse").status.success());
    let token = host.davy(&["token", "create", "ci", "--role", "viewer"]);
    fs::write(host.folder.path().join("ci.token"), &token.stdout).expect("a file");
    for version in ["v1", "v2"] {
        host.write(version, REST);
        assert!(host.davy(&["deploy"]).status.success());
        let load = Load::start(&host.gateway);
        host.until("over", |status| status["state"] == "promoted" && status["outcome"] == "promoted");
        load.stop();
    }
    // In the middle of a third rollout, under load.
    let slow = REST.replace("hold: 1s", "hold: 60s").replace("deadline: 60s", "deadline: 10m");
    host.write("v1", &format!("env: {{ NEXT: \"1\" }}\n{slow}"));
    assert!(host.davy(&["deploy"]).status.success());
    host.until("on trial", |status| status["state"] == "holding");
    let load = Load::start(&host.gateway);
    let bare = host.davy(&["backup", "bare.davy", "--json"]);
    assert!(bare.status.success(), "{}", text(&bare));
    let full = host.davy(&["backup", "full.davy", "--with-keys", "--json"]);
    assert!(full.status.success() && last(&full)["keys"] == true, "{}", text(&full));
    let (sent, failed) = load.stop();
    assert!(sent > 0 && failed == 0, "{failed} of {sent}");
    // What is saved now, the backup cannot know.
    for action in ["pause", "resume"] {
        let done = host.davy(&["rollout", action]);
        assert!(done.status.success(), "{}\n{:#}", text(&done), host.status());
    }
    let (bare, full) = (host.folder.path().join("bare.davy"), host.folder.path().join("full.davy"));
    for file in [&bare, &full] {
        assert_eq!(fs::metadata(file).expect("a file").permissions().mode() & 0o777, 0o600);
    }
    let again = host.davy(&["backup", "full.davy"]);
    assert!(again.status.code() == Some(2) && text(&again).contains("is there already"), "{}", text(&again));
    let head = |host: &Host| String::from_utf8_lossy(&host.davy(&["audit", "head"]).stdout).trim().to_owned();
    let early = head(&host);
    let data = host.data();
    let running = host.davy(&["restore", "full.davy", "--data", &path(&data)]);
    assert!(running.status.code() == Some(2) && text(&running).contains("another server uses"), "{}", text(&running));
    // The key is in one of them and in no other.
    let key = fs::read_to_string(data.join("secrets.key")).expect("a key");
    let holds = |file: &Path| String::from_utf8_lossy(&fs::read(file).expect("a file")).contains(key.trim());
    assert!(holds(&full) && !holds(&bare));

    // Everything is lost.
    let before = host.status();
    host.kill();
    let down = host.davy(&["down", "--data", &path(&data)]);
    assert!(down.status.success(), "{}", text(&down));
    let filled = host.davy(&["restore", "full.davy", "--data", &path(&data)]);
    assert!(filled.status.code() == Some(2) && text(&filled).contains("is not empty"), "{}", text(&filled));
    fs::remove_dir_all(&data).expect("gone");
    let restored = host.davy(&["restore", "full.davy", "--data", &path(&data), "--json"]);
    assert!(restored.status.success() && last(&restored)["broken"] == 0, "{}", text(&restored));
    host.start();
    // The rollout goes on where it was, from what is seen: nothing runs, so both releases are started again.
    host.until("served again", |_| host.get().is_some_and(|(status, _)| status == 200));
    host.until("on trial again", |status| {
        status["state"] == "holding" && status["id"] == before["id"] && status["router"] == "serves the split"
    });
    let healthy = |host: &Host| {
        text(&host.davy(&["service", "show", "logo", "--json"])).matches("\"health\":\"healthy\"").count()
    };
    host.until("healthy", |_| healthy(&host) == 2);
    host.until("both serve", |_| {
        let seen: Vec<String> = (0..40).filter_map(|_| host.get().map(|(_, version)| version)).collect();
        seen.contains(&"v2".to_owned()) && seen.contains(&"v1".to_owned())
    });
    assert_eq!(healthy(&host), 2, "none is started twice");
    assert!(host.davy(&["rollout", "abort"]).status.success());
    host.until("over", |status| status["state"] == "aborted");
    assert_eq!(host.get(), Some((200, "v2".to_owned())));
    let back = host.davy(&["rollback", "logo"]);
    assert!(back.status.success(), "{}", text(&back));
    host.until("back", |_| host.get() == Some((200, "v1".to_owned())));
    let verified = host.davy(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified));
    fs::write(host.folder.path().join("heads"), format!("{early}\n")).expect("a file");
    for saved in [early.as_str(), "heads"] {
        let older = host.davy(&["audit", "verify", "--head", saved]);
        assert_eq!(older.status.code(), Some(1), "what was saved after the backup is gone: {}", text(&older));
        assert!(text(&older).contains("saved head"), "{}", text(&older));
    }
    let own = head(&host);
    let verified = host.davy(&["audit", "verify", "--head", &own]);
    assert!(verified.status.success() && text(&verified).contains("1 saved heads"), "{}", text(&verified));
    for wrong in ["davy1:1:0:0:0", "davy.yaml", "nowhere"] {
        let refused = host.davy(&["audit", "verify", "--head", wrong]);
        assert!(refused.status.code() == Some(2) && text(&refused).contains("neither a head"), "{}", text(&refused));
    }
    assert!(text(&host.davy(&["audit", "log"])).contains("restored the backup of"));
    assert!(host.davy(&["history", "--token-file", "ci.token"]).status.success(), "tokens are those of then");
    let unchanged = host.davy_reads(&["secret", "set", "DB_PASSWORD"], "correct-horse");
    assert!(text(&unchanged).contains("nothing was changed"), "{}", text(&unchanged));
    // Without the keys: it says what is missing, serves nothing wrong, and goes on once the key is there.
    let other = path(&host.folder.path().join("o"));
    let keyless = host.davy(&["restore", "bare.davy", "--data", &other]);
    assert!(
        keyless.status.success() && text(&keyless).contains("put secrets.key into the folder"),
        "{}",
        text(&keyless)
    );
    assert!(!Path::new(&other).join("secrets.key").exists());
    let verified = host.davy(&["audit", "verify", "--data", &other]);
    assert!(verified.status.success(), "the public key comes along: {}", text(&verified));
    host.down();
}

#[test]
fn what_is_no_sound_backup_is_refused_and_leaves_nothing() {
    let host = Host::up();
    host.write("v1", "");
    assert_eq!(host.davy(&["deploy", "--watch"]).status.code(), Some(0));
    assert!(host.davy(&["backup", "good.davy"]).status.success());
    let good = fs::read(host.folder.path().join("good.davy")).expect("a file");
    let other = host.folder.path().join("o");
    let before = files(host.folder.path()).len();
    let find = |what: &str| good.windows(what.len()).position(|window| window == what.as_bytes()).expect("it is there");
    let changed = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let newer = String::from_utf8_lossy(&good[..600]).replace("{\"format\":1,", "{\"format\":2,");
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "no backup of Davy's"),
        ("a text", b"something else".repeat(100), "no backup of Davy's"),
        ("cut in the list", good[..700].to_vec(), "no backup of Davy's"),
        ("cut in the middle", good[..good.len() / 2].to_vec(), "damaged"),
        ("without its end", good[..good.len() - 2048].to_vec(), "damaged"),
        ("a changed journal", changed(find("SQLite format 3") + 5000), "is not as it was"),
        ("a changed list", changed(find("\"made\":") + 9), "damaged"),
        ("a changed name", changed(find("data/journal.db") + 6), "damaged"),
        ("a newer one", [newer.as_bytes(), &good[600..]].concat(), "newer Davy"),
    ];
    for (what, bytes, says) in cases {
        let file = host.folder.path().join("bad.davy");
        fs::write(&file, bytes).expect("a file");
        let refused = host.davy(&["restore", "bad.davy", "--data", &path(&other)]);
        assert_eq!(refused.status.code(), Some(2), "{what}: {}", text(&refused));
        assert!(text(&refused).contains(says), "{what}: {}", text(&refused));
        fs::remove_file(file).expect("gone");
        assert_eq!(files(host.folder.path()).len(), before, "{what}: nothing is left");
    }
    let absent = host.davy(&["restore", "absent.davy", "--data", &path(&other)]);
    assert_eq!(absent.status.code(), Some(2), "{}", text(&absent));
    // A disk that is full: a limit on the size of files is met like one.
    let full = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" backup full.davy --data \"$1\"", crate::host::DAVY])
        .arg(host.data())
        .current_dir(host.folder.path())
        .output()
        .expect("sh runs");
    assert_eq!(full.status.code(), Some(1), "{}", text(&full));
    assert!(text(&full).contains("room"), "{}", text(&full));
    assert_eq!(files(host.folder.path()).len(), before, "nothing is left");
    // An empty folder is as good as none.
    fs::create_dir(&other).expect("a folder");
    let restored = host.davy(&["restore", "good.davy", "--data", &path(&other), "--json"]);
    assert!(restored.status.success(), "{}", text(&restored));
    let listed: Value = last(&restored);
    assert_eq!((&listed["type"], &listed["keys"]), (&"restored".into(), &false.into()));
    assert_eq!(fs::metadata(&other).expect("a folder").permissions().mode() & 0o777, 0o700);
    host.down();
}
