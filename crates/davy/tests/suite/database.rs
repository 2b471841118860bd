//! The journal in a PostgreSQL database: the whole of Davy on it, the database gone and back, and what is refused.

use crate::{host::Host, postgres::Server};
use std::fs;

const SLOW: &str = "rollout: { canary: { steps: [50%, 100%], hold: 60s, deadline: 10m } }\n";

fn text(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

#[test]
fn a_whole_rollout_is_kept_in_postgresql_and_an_abort_works_while_it_is_gone() {
    let mut postgres = Server::start();
    let url = postgres.database();
    let mut host = Host::new();
    host.start_with(&["--database", &url]);
    assert!(!host.data().join("journal.db").exists());
    host.write("v1", SLOW);
    let first = host.davy(&["deploy", "--watch"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    assert!(host.davy_reads(&["secret", "set", "KEY"], "value").status.success());

    host.write("v1", &format!("env: {{ NEXT: \"1\" }}\n{SLOW}"));
    assert!(host.davy(&["deploy"]).status.success());
    host.until("on trial", |status| status["state"] == "holding");
    postgres.crash();
    let aborted = host.davy(&["rollout", "abort"]);
    assert_eq!(aborted.status.code(), Some(0), "{}", text(&aborted));
    host.until("back", |status| status["router"].as_str().is_some_and(|router| router.contains("stable alone")));
    host.until("nothing can be written meanwhile", |status| !status["stuck"].is_null());
    postgres.again();
    host.until("over", |status| status["state"] == "aborted");

    // The folder says where its journal is: no command needs to be told again.
    let verified = host.davy(&["audit", "verify", "--data", host.data().to_str().expect("a plain path")]);
    assert_eq!(verified.status.code(), Some(0), "{}", text(&verified));
    assert!(text(&verified).contains("every chain holds"), "{}", text(&verified));
    host.kill();
    host.start();
    let history = host.davy(&["history"]);
    assert!(text(&history).contains("aborted"), "{}", text(&history));
    let doctor = text(&host.davy(&["doctor"]));
    assert!(doctor.contains("0 broken"), "{doctor}");
    let backup = host.davy(&["backup", "b.davy", "--data", host.data().to_str().expect("a plain path")]);
    assert_eq!(backup.status.code(), Some(2), "{}", text(&backup));
    assert!(text(&backup).contains("pg_dump"), "{}", text(&backup));
    host.down();
}

#[test]
fn what_is_no_place_for_a_journal_is_refused_with_what_to_do() {
    let postgres = Server::start();
    let url = postgres.database();
    let mut host = Host::new();
    let data = host.data();
    let data = data.to_str().expect("a plain path");
    let up = |words: &[&str]| {
        let common = ["up", "--data", data, "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"];
        host.davy(&[&common[..], words].concat())
    };
    let secret = "postgres://davy:hunter2@localhost/d";
    let refused = up(&["--database", secret]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("--database-file") && !text(&refused).contains("hunter2"), "{}", text(&refused));

    let file = host.folder.path().join("database");
    fs::write(&file, secret).expect("a file");
    let named = ["--database-file", file.to_str().expect("a plain path")];
    let refused = up(&named);
    assert!(text(&refused).contains("chmod 600"), "{}", text(&refused));
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
    let refused = up(&named);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(
        text(&refused).contains("cannot open the journal") && !text(&refused).contains("hunter2"),
        "{}",
        text(&refused)
    );

    let nowhere = url.replace("/d0?", "/nowhere?");
    let refused = up(&["--database", &nowhere]);
    assert!(text(&refused).contains("createdb"), "{}", text(&refused));

    // A folder that has a journal keeps it.
    host.start();
    host.kill();
    let up = |words: &[&str]| {
        let common = ["up", "--data", data, "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"];
        host.davy(&[&common[..], words].concat())
    };
    let refused = up(&["--database", &url]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("is kept in") && text(&refused).contains("--data"), "{}", text(&refused));
    host.start();
    host.down();
}
