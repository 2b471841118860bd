//! Tokens: each role at each address in each environment, from outside.

use crate::host::{Host, text};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

const REST: &str = "environments: { staging: { platform: local }, production: { platform: local } }\n\
    rollout:\n  canary: { steps: [50%, 100%], hold: 60s, deadline: 10m }\n  drain: 1s\n  bake: 60s\n";

/// A form that is about an environment, and whose program is nowhere.
const FORM: &str = r#"{"values":{"platform":"local","service":"logo","command":"./absent --port $PORT","folder":"/","environment":"ENV"},"rate":1000}"#;

/// Method, address, the least role, and whether it is of one environment (the last part of the table's address), of the
/// whole server, or of whatever the token reaches.
enum Of {
    Environment,
    Server,
    Anything,
}
use Of::{Anything, Environment, Server};

const ROLES: [&str; 4] = ["viewer", "deployer", "approver", "admin"];

/// Every address of the API. `ENV` and `ROLLOUT` stand for the environment and its rollout; bodies are such that nothing is
/// changed when they are taken.
fn addresses() -> Vec<(&'static str, &'static str, &'static str, usize, Of)> {
    vec![
        ("GET", "/api/health", "", 0, Anything),
        ("GET", "/api/openapi.json", "", 0, Anything),
        ("POST", "/api/deploy", "DEPLOY", 1, Environment),
        ("POST", "/api/deploy/check", "DEPLOY", 1, Environment),
        ("GET", "/api/rollouts", "", 0, Anything),
        ("GET", "/api/rollouts/ROLLOUT", "", 0, Environment),
        ("GET", "/api/rollouts/ROLLOUT/events", "", 0, Environment),
        ("GET", "/api/rollouts/ROLLOUT/timeline", "", 0, Environment),
        ("GET", "/api/rollouts/ROLLOUT/changes", "", 0, Environment),
        ("GET", "/api/rollouts/ROLLOUT/report", "", 0, Environment),
        ("POST", "/api/rollouts/ROLLOUT/report", "{}", 0, Environment),
        ("POST", "/api/rollouts/ROLLOUT/promote", "{}", 2, Environment),
        ("POST", "/api/rollouts/ROLLOUT/pause", "{}", 1, Environment),
        ("POST", "/api/rollouts/ROLLOUT/resume", "{}", 1, Environment),
        ("POST", "/api/rollouts/ROLLOUT/abort", "{}", 1, Environment),
        ("GET", "/api/services", "", 0, Anything),
        ("GET", "/api/services/ENV/logo/logs?tail=1", "", 0, Environment),
        ("GET", "/api/services/ENV/logo", "", 0, Environment),
        ("GET", "/api/services/ENV/logo/traffic", "", 0, Environment),
        ("POST", "/api/services/ENV/no-such/remove", "", 3, Environment),
        ("POST", "/api/services/ENV/logo/rollback", "{\"to\":\"none\"}", 1, Environment),
        ("POST", "/api/services/ENV/logo/notify/test", "{}", 1, Environment),
        ("POST", "/api/services/ENV/logo/metrics/check", "{}", 1, Environment),
        ("GET", "/api/secrets", "", 0, Anything),
        ("POST", "/api/secrets", "{\"name\":\"A\",\"environment\":\"ENV\",\"value\":\"\"}", 3, Environment),
        ("POST", "/api/secrets/remove", "{\"name\":\"A\",\"environment\":\"ENV\"}", 3, Environment),
        ("POST", "/api/secrets", "{\"name\":\"A\",\"value\":\"\"}", 3, Server),
        ("POST", "/api/secrets/remove", "{\"name\":\"A\"}", 3, Server),
        ("GET", "/api/notify", "", 0, Anything),
        ("POST", "/api/notify/test", "DEPLOY", 1, Environment),
        ("GET", "/api/tokens", "", 3, Server),
        ("POST", "/api/tokens", "{\"name\":\"!\",\"role\":\"viewer\"}", 3, Server),
        ("POST", "/api/tokens/none/revoke", "{}", 3, Server),
        ("GET", "/api/session", "", 0, Anything),
        // A token has none to end.
        ("DELETE", "/api/session", "", 0, Anything),
        ("POST", "/api/session/codes", "{\"name\":\"!\"}", 3, Server),
        ("GET", "/api/sessions", "", 3, Server),
        ("POST", "/api/sessions/none/end", "{}", 3, Server),
        ("GET", "/api/deeds", "", 3, Server),
        ("POST", "/api/checkpoint", "{}", 3, Server),
        ("POST", "/api/audit/verify", "{}", 3, Server),
        ("GET", "/api/set-up/found", "", 0, Server),
        ("POST", "/api/set-up/draft", "{\"from\":\"blank\",\"platform\":\"local\"}", 1, Anything),
        ("POST", "/api/set-up/review", FORM, 1, Environment),
        ("POST", "/api/set-up/check", FORM, 1, Environment),
        ("POST", "/api/set-up/forecast", FORM, 1, Environment),
        ("GET", "/api/events", "", 0, Anything),
        ("POST", "/api/shutdown", "no json", 3, Server),
    ]
}

#[test]
fn every_address_of_the_api_is_in_this_list() {
    let fits = |pattern: &str, path: &str| {
        let path = path.split('?').next().unwrap_or_default();
        let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
        let mut pairs = pattern.iter().zip(&path);
        pattern.len() == path.len() && pairs.all(|(wanted, given)| wanted.starts_with('{') || wanted == given)
    };
    let all = addresses();
    let is_here =
        |(method, pattern): &(&str, &str)| all.iter().any(|(known, path, ..)| known == method && fits(pattern, path));
    let is_open = |(method, path): &(&str, &str)| crate::api::OPEN.contains(&&*format!("{method} {path}"));
    let missing: Vec<_> = davy_server::addresses().filter(|address| !is_here(address) && !is_open(address)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The status of an answer, and what of its body came with it.
pub(crate) fn ask(url: &str, token: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let authority = url.trim_start_matches("http://");
    let mut socket = TcpStream::connect(authority).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {token}\r\n");
    let rest = format!("Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    socket.write_all((head + &rest).as_bytes()).expect("sent");
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    // Live events never end: the head is enough.
    let endless = path.starts_with("/api/events");
    while let Ok(length @ 1..) = socket.read(&mut piece) {
        answer.extend_from_slice(&piece[..length]);
        if endless && answer.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{method} {path}: {answer}")), answer)
}

pub(crate) fn create(host: &Host, words: &[&str]) -> String {
    let all: Vec<&str> = ["token", "create"].iter().chain(words).copied().collect();
    let output = host.davy(&all);
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn rollouts(host: &Host) -> Vec<Value> {
    let history = host.davy(&["history", "--json"]);
    String::from_utf8_lossy(&history.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn every_role_may_do_at_every_address_what_it_should_and_no_more() {
    let mut host = Host::new();
    let ready = host.start();
    let url = ready["url"].as_str().expect("its address").to_owned();
    for environment in ["staging", "production"] {
        // Each has a route of its own on the one gateway.
        host.write("v1", &format!("route: {{ host: {environment}.example.com }}\n{REST}"));
        let deployed = host.davy(&["deploy", "--watch", "--env", environment]);
        assert_eq!(deployed.status.code(), Some(0), "{}", text(&deployed));
    }
    let id = |environment: &str| {
        let all = rollouts(&host);
        let found = all.iter().find(|one| one["environment"] == environment).expect("a rollout");
        found["id"].as_str().expect("its id").to_owned()
    };
    let (staging, production) = (id("staging"), id("production"));
    // No service of this name can be: what may deploy is told that the file has another one.
    let file = fs::read_to_string(host.folder.path().join("davy.yaml"))
        .expect("the file")
        .replace("command: ", "command: ./absent ");
    for (number, role) in ROLES.iter().enumerate() {
        let everywhere = create(&host, &[&format!("{role}-all"), "--role", role]);
        let narrow = create(&host, &[&format!("{role}-staging"), "--role", role, "--env", "staging"]);
        for (method, path, body, needed, of) in addresses() {
            for (token, environment, rollout) in [
                (&everywhere, "staging", &staging),
                (&everywhere, "production", &production),
                (&narrow, "staging", &staging),
                (&narrow, "production", &production),
            ] {
                let reached = token == &everywhere || environment == "staging";
                let allowed = number >= needed
                    && match of {
                        Environment => reached,
                        Server => token == &everywhere,
                        Anything => true,
                    };
                let path = path.replace("ENV", environment).replace("ROLLOUT", rollout);
                let body = match body {
                    "DEPLOY" => {
                        let folder = host.folder.path().to_str().expect("a plain path");
                        serde_json::json!({ "file": file, "folder": folder, "environment": environment }).to_string()
                    }
                    body => body.replace("ENV", environment),
                };
                let (status, answer) = ask(&url, token, method, &path, &body);
                let what = format!("{role} for {environment}, reached: {reached}: {method} {path}: {answer}");
                match allowed {
                    true => assert!(![401, 403].contains(&status), "{what}"),
                    false => assert!(status == 403 && answer.contains("A017"), "{what}"),
                }
                if path == "/api/rollouts" || path == "/api/services" {
                    assert_eq!(answer.contains("\"production\""), token == &everywhere, "{what}");
                }
            }
        }
        let (status, _) = ask(&url, &everywhere, "GET", "/api/nothing", "");
        assert_eq!(status, 404);
        let (status, _) = ask(&url, &everywhere, "DELETE", "/api/services", "");
        assert_eq!(status, 405);
    }
    for token in ["", "davy_0f", "admin"] {
        for (method, path, _, _, _) in addresses() {
            assert_eq!(ask(&url, token, method, &path.replace("ENV", "staging"), "").0, 401, "{path}");
        }
    }
    host.down();
}

#[test]
fn a_token_acts_under_its_name_until_it_is_revoked_or_expires() {
    let mut host = Host::up();
    host.write("v1", "");
    let file = host.folder.path().join("ci.token");
    let given = host.davy(&["token", "create", "ci", "--role", "deployer", "--env", "prodution", "--json"]);
    assert!(text(&given).contains("nothing is deployed in the environment `prodution`"), "{}", text(&given));
    assert!(host.davy(&["token", "revoke", "ci"]).status.success());
    let token = create(&host, &["ci", "--role", "deployer", "--env", "production"]);
    assert!(token.starts_with("davy_") && token.len() == 69, "{token}");
    fs::write(&file, &token).expect("a file");
    let path = file.to_str().expect("a plain path").to_owned();
    let with = |host: &Host, words: &[&str]| {
        let all: Vec<&str> = words.iter().chain(&["--token-file", &path]).copied().collect();
        host.davy(&all)
    };
    let deployed = with(&host, &["deploy", "--watch"]);
    assert_eq!(deployed.status.code(), Some(0), "{}", text(&deployed));
    assert_eq!(host.status()["by"], "ci");
    for words in [&["rollout", "promote"][..], &["secret", "rm", "A"], &["token", "list"], &["down"]] {
        let denied = with(&host, words);
        if words == ["down"] {
            continue;
        }
        assert_eq!(denied.status.code(), Some(7), "{words:?}: {}", text(&denied));
        assert!(text(&denied).contains("`ci` is a deployer in production, and this needs"), "{}", text(&denied));
    }
    for (words, says) in [
        (&["token", "create", "ci", "--role", "viewer"][..], "there is a token of this name"),
        (&["token", "create", "admin", "--role", "viewer"], "the server itself acts under this name"),
        (&["token", "create", "A B", "--role", "viewer"], "is not a name"),
        (&["token", "create", "x", "--role", "root"], "possible values: viewer, deployer, approver, admin"),
        (&["token", "create", "x", "--role", "viewer", "--expires", "90"], "is no duration"),
        (&["token", "create", "x", "--role", "viewer", "--env", "No Place"], "is not a name"),
        (&["token", "revoke", "nobody"], "no token of this name"),
    ] {
        let refused = host.davy(words);
        assert_eq!(refused.status.code(), Some(2), "{words:?}: {}", text(&refused));
        assert!(text(&refused).contains(says), "{words:?}: {}", text(&refused));
    }
    let list = text(&host.davy(&["token", "list"]));
    assert!(list.contains("ci  deployer  production  active  until") && list.contains("by admin"), "{list}");
    assert!(!list.contains(&token[5..]), "it is shown once");
    // Tokens are known after a restart, and nowhere in the clear.
    host.kill();
    host.start();
    assert!(with(&host, &["history"]).status.success());
    for name in ["journal.db", "journal.db-wal"] {
        let bytes = fs::read(host.data().join(name)).unwrap_or_default();
        assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()), "{name}");
    }
    assert!(host.davy(&["token", "revoke", "ci"]).status.success());
    let revoked = with(&host, &["history"]);
    assert_eq!(revoked.status.code(), Some(7), "{}", text(&revoked));
    assert!(text(&revoked).contains("the token `ci` was revoked"), "{}", text(&revoked));
    fs::write(&file, create(&host, &["short", "--role", "viewer", "--expires", "1s"])).expect("a file");
    let since = Instant::now();
    loop {
        let asked = with(&host, &["history"]);
        if asked.status.code() == Some(7) {
            assert!(text(&asked).contains("the token `short` has expired"), "{}", text(&asked));
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "it never expired");
    }
    let log = text(&host.davy(&["audit", "log"]));
    for says in ["admin  created the token `ci`: deployer in production", "admin  revoked the token `ci`"] {
        assert!(log.contains(says), "{log}");
    }
    host.down();
}

#[test]
fn a_token_that_is_revoked_ends_what_it_follows_and_one_that_holds_aborts_while_nothing_can_be_written() {
    let host = Host::up();
    let slow = "rollout: { canary: { steps: [50%, 100%], hold: 60s, deadline: 10m } }\n";
    host.write("v1", slow);
    assert_eq!(host.davy(&["deploy", "--watch"]).status.code(), Some(0));
    let file = host.folder.path().join("ci.token");
    fs::write(&file, create(&host, &["ci", "--role", "deployer", "--env", "production"])).expect("a file");
    let path = file.to_str().expect("a plain path");
    let mut following = host.command(&["logs", "logo", "-f", "--token-file", path]);
    let mut following = following.stdout(std::process::Stdio::null()).spawn().expect("davy runs");
    host.write("v1", &format!("env: {{ NEXT: \"1\" }}\n{slow}"));
    assert!(host.davy(&["deploy"]).status.success());
    host.until("on trial", |status| status["state"] == "holding");
    assert!(following.try_wait().expect("asked").is_none(), "it follows");

    // Somebody else holds the database: a token is known all the same, and traffic goes back at once.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let database = host.data().join("journal.db");
    let holder = runtime.block_on(async {
        use sqlx::ConnectOptions;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&database);
        let mut holder = options.connect().await.expect("opened");
        sqlx::query("BEGIN IMMEDIATE").execute(&mut holder).await.expect("held");
        holder
    });
    let aborted = host.davy(&["rollout", "abort", "--token-file", path]);
    assert_eq!(aborted.status.code(), Some(0), "{}", text(&aborted));
    host.until("back", |status| status["router"].as_str().is_some_and(|router| router.contains("stable alone")));
    host.until("nothing can be written meanwhile", |status| !status["stuck"].is_null());
    runtime.block_on(async { sqlx::Connection::close(holder).await }).expect("let go");
    let over = host.until("over", |status| status["state"] == "aborted");
    assert!(over["why"].as_str().is_some_and(|why| why.contains("ci asked")), "{over:#}");

    assert!(host.davy(&["token", "revoke", "ci"]).status.success());
    let since = Instant::now();
    while following.try_wait().expect("asked").is_none() {
        assert!(since.elapsed() < Duration::from_secs(60), "it still follows");
        std::thread::sleep(Duration::from_millis(20));
    }
    host.down();
}
