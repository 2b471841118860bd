//! People are told what happens: by real requests to real receivers, whatever these do, and a rollout waits for none of them.

use crate::{
    host::{Host, last, text},
    tls::{authority, issue},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const TOKEN: &str = "T0123/B4567/lamp-and-canary-hook";
const SIGNING: &str = "correct-horse-battery-signing";
const ROLLOUT: &str = "rollout:\n  canary: { steps: [50%, 100%], hold: 60s, deadline: 10m }\n  drain: 1s\n  bake: 1s\n";

/// A request as it came.
#[derive(Clone)]
struct Seen {
    head: String,
    body: Vec<u8>,
}

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn header(&self, name: &str) -> &str {
        let found = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }
}

/// A receiver that answers each request as it is told; `None` never.
struct Receiver {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Connections that were taken.
    taken: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Receiver {
    fn answering(answer: impl Fn(usize) -> Option<&'static str> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (seen, stop) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::new(AtomicBool::new(false)));
        let taken = Arc::new(AtomicUsize::new(0));
        let (all, ended, count, answer) = (seen.clone(), stop.clone(), taken.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for socket in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
                let Some(one) = read(&socket) else { continue };
                let number = {
                    let mut all = all.lock().expect("not poisoned");
                    all.push(one);
                    all.len() - 1
                };
                match answer(number) {
                    Some(status) => drop((&socket).write_all(
                        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes(),
                    )),
                    None => held.push(socket),
                }
            }
        });
        Self { url, seen, taken, stop }
    }

    fn all(&self) -> Vec<Seen> {
        self.seen.lock().expect("not poisoned").clone()
    }

    fn until(&self, what: &str, is: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let since = Instant::now();
        loop {
            let all = self.all();
            if is(&all) {
                return all;
            }
            assert!(since.elapsed() < Duration::from_secs(40), "never {what}: {} came", all.len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        TcpStream::connect(self.url.trim_start_matches("http://")).ok();
    }
}

fn read(socket: impl Read) -> Option<Seen> {
    let mut reader = BufReader::new(socket);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        (reader.read_line(&mut head).ok()? > 0).then_some(())?;
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { head, body })
}

/// As somebody else computes it.
fn openssl(seen: &Seen) -> String {
    let words = ["dgst", "-sha256", "-hmac", SIGNING];
    let mut openssl =
        Command::new("openssl").args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("openssl runs");
    let mut input = openssl.stdin.take().expect("piped");
    input.write_all(format!("{}.", seen.header("davy-timestamp")).as_bytes()).expect("written");
    input.write_all(&seen.body).expect("written");
    drop(input);
    let out = openssl.wait_with_output().expect("it ends").stdout;
    let text = String::from_utf8_lossy(&out).into_owned();
    format!("v1={}", text.trim().rsplit(' ').next().unwrap_or_default())
}

fn up() -> Host {
    let mut host = Host::new();
    host.environment.push(("DAVY_LOG".to_owned(), "debug".to_owned()));
    host.log = Some(host.folder.path().join("up.log"));
    host.start_with(&["--notify-private"]);
    host
}

fn set(host: &Host, name: &str, value: &str) {
    let set = host.davy_reads(&["secret", "set", name], value);
    assert!(set.status.success(), "{}", text(&set));
}

fn events(seen: &[Seen]) -> Vec<String> {
    seen.iter().map(|one| one.json()["event"].as_str().expect("an event").to_owned()).collect()
}

/// No file below the folder holds the text.
fn assert_nowhere(folder: &Path, what: &str) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        match entry.file_type().expect("a kind") {
            kind if kind.is_dir() => assert_nowhere(&entry.path(), what),
            kind if kind.is_file() => {
                let found = String::from_utf8_lossy(&fs::read(entry.path()).unwrap_or_default()).contains(what);
                assert!(!found, "`{what}` is in {}", entry.path().display());
            }
            _ => {}
        }
    }
}

#[test]
fn what_happens_is_told_signed_and_to_slack_and_no_secret_is_anywhere() {
    let host = up();
    let (hook, slack) = (Receiver::answering(|_| Some("204 No Content")), Receiver::answering(|_| Some("200 OK")));
    let rest = format!(
        "notify:\n  - {{ webhook: \"{}/davy\", secret: $SIGNING, on: [started, waiting, promoted, aborted] }}\n  \
         - slack: $SLACK_WEBHOOK\n{ROLLOUT}",
        hook.url
    );
    host.write("v1", &rest);
    let unset = host.davy(&["deploy"]);
    assert_eq!(unset.status.code(), Some(2), "{}", text(&unset));
    assert!(text(&unset).contains("SIGNING, SLACK_WEBHOOK are not set"), "{}", text(&unset));
    let dry = host.davy(&["deploy", "--dry-run"]);
    assert!(text(&dry).contains("are not set"), "{}", text(&dry));
    set(&host, "SIGNING", SIGNING);
    set(&host, "SLACK_WEBHOOK", &format!("{}/services/{TOKEN}\n", slack.url));

    let tested = host.davy(&["notify", "test"]);
    assert!(tested.status.success() && text(&tested).contains("ok   slack $SLACK_WEBHOOK"), "{}", text(&tested));
    assert_eq!(events(&hook.all()), ["test"]);
    assert_eq!(hook.all()[0].header("davy-signature"), openssl(&hook.all()[0]));

    let first = host.davy(&["deploy", "--watch"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    host.write("v2", &rest);
    assert!(host.davy(&["deploy"]).status.success());
    host.until("on trial", |status| status["state"] == "holding");
    assert!(host.davy(&["rollout", "pause"]).status.success());
    assert!(host.davy(&["rollout", "abort"]).status.success());
    host.until("over", |status| status["state"] == "aborted");
    let all = hook.until("all", |all| all.len() >= 6);
    assert_eq!(events(&all), ["test", "started", "promoted", "started", "waiting", "aborted"]);
    let mut ids: Vec<String> = all.iter().map(|one| one.header("idempotency-key").to_owned()).collect();
    for (one, id) in all.iter().zip(&ids) {
        assert_eq!(one.header("davy-signature"), openssl(one));
        let json = one.json();
        assert_eq!((&json["version"], &json["id"], &json["service"]), (&1.into(), &id.as_str().into(), &"logo".into()));
        assert!(one.head.starts_with("POST /davy HTTP/1.1"), "{}", one.head);
    }
    let aborted = all[5].json();
    assert_eq!((&aborted["why"], &aborted["by"]), (&"admin asked for it".into(), &"admin".into()));
    assert!(aborted["text"].as_str().is_some_and(|text| text.starts_with("logo in production: aborted.")), "{aborted}");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6, "each has an id of its own");
    let told = slack.until("all of Slack's", |all| all.len() >= 4);
    assert!(told[0].head.starts_with(&format!("POST /services/{TOKEN} HTTP/1.1")), "{}", told[0].head);
    let said: Vec<Value> = told.iter().map(|one| one.json()["text"].clone()).collect();
    let words = |text: &Value, words: &str| text.as_str().is_some_and(|text| text.contains(words));
    assert!(words(&said[1], "*logo* in production: *promoted*") && words(&said[2], "waiting for a person"), "{said:?}");
    assert!(words(&said[3], "*aborted*") && said.len() == 4, "{said:?}");

    // What is deployed is tested without its file: the new version was taken back, and the channels of what serves are asked.
    host.write("v3", ROLLOUT);
    let (status, tested) = host.post("/api/services/production/logo/notify/test", "");
    let channel =
        |at: usize| (tested[at]["type"].as_str(), tested[at]["ok"].as_bool(), tested[at]["trouble"].is_null());
    assert_eq!((status, tested.as_array().map(Vec::len)), (200, Some(2)), "{tested}");
    assert_eq!([channel(0), channel(1)], [(Some("tested"), Some(true), true); 2], "{tested}");
    assert!(!tested.to_string().contains(TOKEN) && tested[1]["channel"] == "slack $SLACK_WEBHOOK", "{tested}");
    assert_eq!((events(&hook.all()[6..]), slack.all().len()), (vec!["test".to_owned()], 5));
    let (status, unknown) = host.post("/api/services/production/other/notify/test", "");
    assert_eq!((status, unknown["code"].as_str()), (404, Some("A013")));

    let log = fs::read_to_string(host.folder.path().join("up.log")).expect("the log");
    assert!(log.contains("journal"), "it is the log: {log}");
    for value in [TOKEN, SIGNING] {
        // The log among all files.
        assert_nowhere(host.folder.path(), value);
        for words in [
            &["secret", "list"][..],
            &["rollout", "explain", "--json"],
            &["history", "--json"],
            &["notify", "list", "--json"],
            &["doctor", "--json"],
            &["audit", "log", "--json"],
            &["service", "show", "logo", "--json"],
        ] {
            assert!(!text(&host.davy(words)).contains(value), "{words:?}");
        }
    }
    assert!(host.davy(&["audit", "verify"]).status.success());
    host.down();
}

#[test]
fn a_receiver_that_never_answers_delays_no_rollout_and_no_abort() {
    let host = up();
    let hook = Receiver::answering(|_| None);
    let other = Receiver::answering(|_| Some("200 OK"));
    let on = "on: [started, waiting, promoted, aborted]";
    let rest = format!(
        "notify:\n  - {{ webhook: \"{}/davy\", {on} }}\n  - {{ webhook: \"{}/\", {on} }}\n{ROLLOUT}",
        hook.url, other.url
    );
    host.write("v1", &rest);
    let first = host.davy(&["deploy", "--watch", "--json"]);
    assert_eq!(last(&first)["outcome"], "promoted", "{}", text(&first));
    host.write("v2", &rest);
    assert!(host.davy(&["deploy"]).status.success());
    host.until("on trial", |status| status["state"] == "holding");
    let since = Instant::now();
    assert!(host.davy(&["rollout", "abort"]).status.success());
    host.until("back", |status| status["weight"]["observed"] == 0 || status["state"] == "aborted");
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    // One that hangs holds up nobody else either.
    other.until("the other was told", |all| all.len() >= 4);
    let untold = host.davy(&["notify", "list"]);
    assert!(text(&untold).contains(&hook.url) && !text(&untold).contains(&other.url), "{}", text(&untold));
    assert_eq!(hook.all().len(), hook.taken.load(Ordering::SeqCst));
    host.down();
}

#[test]
fn a_restart_in_the_middle_loses_nothing_and_keeps_the_order() {
    let mut host = up();
    let (sound, known) = (Arc::new(AtomicBool::new(false)), Receiver::answering(|_| Some("200 OK")));
    let well = sound.clone();
    let hook = Receiver::answering(move |_| {
        Some(if well.load(Ordering::SeqCst) { "200 OK" } else { "500 Internal Server Error" })
    });
    let on = "on: [started, promoted, aborted]";
    let rest = format!(
        "notify:\n  - {{ webhook: \"{}/\", {on} }}\n  - {{ webhook: \"{}/\", {on} }}\n{ROLLOUT}",
        hook.url, known.url
    );
    host.write("v1", &rest);
    assert!(host.davy(&["deploy", "--watch"]).status.success());
    known.until("told", |all| all.len() >= 2);
    hook.until("tried", |all| !all.is_empty());
    let doctor = host.davy(&["doctor"]);
    assert!(!doctor.status.success() && text(&doctor).contains("500 Internal Server Error"), "{}", text(&doctor));
    host.kill();
    let tried = hook.all().len();
    sound.store(true, Ordering::SeqCst);
    host.start_with(&["--notify-private"]);
    let all = hook.until("all", |all| all.len() >= tried + 2);
    assert!(all[..tried].iter().all(|one| one.json()["event"] == "started"), "in order: the first was tried again");
    assert_eq!(events(&all[tried..]), ["started", "promoted"]);
    assert_eq!(all[0].header("idempotency-key"), all[tried].header("idempotency-key"));
    let after = host.davy(&["notify", "list"]);
    assert!(text(&after).contains("everybody was told"), "{}", text(&after));
    host.write("v2", &rest);
    assert!(host.davy(&["deploy"]).status.success());
    known.until("told of the next", |all| all.len() >= 3);
    assert_eq!(events(&known.all()), ["started", "promoted", "started"], "nothing was told twice");
    host.until("on trial", |status| status["state"] == "holding");
    host.down();
}

#[test]
fn an_authority_that_the_machine_trusts_is_enough_and_another_is_not() {
    let mut host = Host::new();
    let folder = host.folder.path().to_owned();
    authority(&folder);
    issue(&folder, "hook", "/CN=hook", "DNS:localhost", "2");
    let chain = CertificateDer::pem_file_iter(folder.join("hook.pem")).expect("a chain");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(folder.join("hook.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(chain, key).expect("a pair");
    let config = Arc::new(config);
    // Of the two addresses of its name only the later one is listened at.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let serving = std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
            let connection = rustls::ServerConnection::new(config.clone()).expect("a connection");
            let mut stream = rustls::StreamOwned::new(connection, socket);
            if let Some(seen) = read(&mut stream) {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("answered");
                return seen;
            }
        }
        panic!("nobody came");
    });
    host.write("v1", &format!("notify:\n  - webhook: https://localhost:{port}/davy\n{ROLLOUT}"));
    host.start_with(&["--notify-private"]);
    let refused = host.davy(&["notify", "test"]);
    assert!(text(&refused).contains("FAIL webhook https://localhost"), "{}", text(&refused));
    assert!(text(&refused).contains("is not from an authority that this machine trusts"), "{}", text(&refused));
    host.kill();
    host.environment.push(("SSL_CERT_FILE".to_owned(), folder.join("ca.pem").display().to_string()));
    host.start_with(&["--notify-private"]);
    let tested = host.davy(&["notify", "test"]);
    assert!(tested.status.success(), "{}", text(&tested));
    assert_eq!(serving.join().expect("it was told").json()["event"], "test");
    host.down();
}

#[test]
fn addresses_inside_and_redirects_are_refused() {
    let mut host = Host::new();
    host.start();
    let secret = Receiver::answering(|_| Some("200 OK"));
    let elsewhere = Receiver::answering(|_| Some("302 Found\r\nLocation: http://127.0.0.1:1/"));
    let rest =
        format!("notify:\n  - slack: $INSIDE\n  - webhook: \"{}/\"\n  - webhook: $LOCAL\n{ROLLOUT}", elsewhere.url);
    set(&host, "INSIDE", &format!("{}/services/{TOKEN}", secret.url));
    set(&host, "LOCAL", &format!("http://localhost:{}/{TOKEN}", secret.url.rsplit(':').next().expect("a port")));
    host.write("v1", &rest);
    let refused = host.davy(&["notify", "test"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert_eq!(text(&refused).matches("leads to a private address").count(), 3, "{}", text(&refused));
    assert!(!text(&refused).contains(TOKEN), "{}", text(&refused));
    assert_eq!(
        (secret.taken.load(Ordering::SeqCst), elsewhere.taken.load(Ordering::SeqCst)),
        (0, 0),
        "nobody was asked"
    );
    host.kill();
    host.start_with(&["--notify-private"]);
    let tested = host.davy(&["notify", "test", "--json"]);
    let out = text(&tested);
    assert!(out.contains("302 Found, and nothing is followed elsewhere"), "{out}");
    assert_eq!((secret.all().len(), elsewhere.all().len()), (2, 1), "{out}");
    assert!(!out.contains(TOKEN), "{out}");
    host.down();
}
