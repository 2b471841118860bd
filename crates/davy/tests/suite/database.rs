//! The journal in a PostgreSQL database: the whole of Davy on it, the database gone and back, and what is refused.

use crate::{
    host::{Host, text},
    postgres::Server,
};
use std::fs;

const SLOW: &str = "rollout: { canary: { steps: [50%, 100%], hold: 60s, deadline: 10m } }\n";

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

#[test]
fn a_service_whose_journal_cannot_be_read_is_set_aside_and_the_others_go_on() {
    let mut host = Host::up();
    host.write("v1", "rollout: { bake: 0s }\n");
    assert_eq!(host.davy(&["deploy", "--watch"]).status.code(), Some(0));
    let shop = fs::read_to_string(host.folder.path().join("davy.yaml"))
        .expect("a file")
        .replace("service: logo", "service: shop");
    let shop = shop.replace("rollout:", "route: { path: /shop }\nrollout:");
    fs::write(host.folder.path().join("shop.yaml"), &shop).expect("a file");
    let deployed = host.davy(&["deploy", "--watch", "--file", "shop.yaml"]);
    assert_eq!(deployed.status.code(), Some(0), "{}", text(&deployed));
    host.kill();

    // One digit of one event is another one, behind the journal's back.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        use sqlx::ConnectOptions;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(host.data().join("journal.db"));
        let mut database = options.connect().await.expect("opened");
        let triggers: Vec<(String,)> = sqlx::query_as("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
            .fetch_all(&mut database)
            .await
            .expect("read");
        for (name,) in triggers {
            sqlx::query(sqlx::AssertSqlSafe(format!("DROP TRIGGER {name}")))
                .execute(&mut database)
                .await
                .expect("dropped");
        }
        let changed = "UPDATE event SET at = at + 1 WHERE position = 3 \
             AND stream = (SELECT id FROM stream WHERE service = 'logo')";
        let changed = sqlx::query(changed).execute(&mut database).await.expect("changed");
        assert_eq!(changed.rows_affected(), 1);
        sqlx::Connection::close(database).await.expect("closed");
    });

    host.start();
    assert_eq!(host.get().expect("an answer").0, 200, "its traffic is left as it is");
    let services = text(&host.davy(&["service", "list"]));
    assert!(services.contains("set-aside") && services.contains("event 3 of production/logo"), "{services}");
    host.write("v2", "rollout: { bake: 0s }\n");
    let refused = host.davy(&["deploy"]);
    assert!(!refused.status.success() && text(&refused).contains("set aside"), "{}", text(&refused));
    fs::write(host.folder.path().join("shop.yaml"), shop.replace("--version v1", "--version v2")).expect("a file");
    let other = host.davy(&["deploy", "--file", "shop.yaml"]);
    assert!(other.status.success(), "{}", text(&other));
    let verified = host.davy(&["audit", "verify", "--data", host.data().to_str().expect("a plain path")]);
    assert_eq!(verified.status.code(), Some(1), "{}", text(&verified));
    host.down();
}
