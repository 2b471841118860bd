//! What goes wrong around containers: each for real, told with what to do, stable untouched, nothing left behind.

use crate::{
    engine::Engine,
    host::{Host, Load, text},
};
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

const WAYS: &str = "  canary: { steps: [50%, 100%], hold: 1s, deadline: 60s }\n  drain: 1s\n  bake: 1s\n";

fn host(engine: &Engine) -> Host {
    let mut host = Host::new();
    host.environment.push(("DOCKER_HOST".to_owned(), engine.host()));
    host.start();
    host
}

fn write(host: &Host, rest: &str) {
    let file = format!(
        "service: web\nport: 8080\nstop-signal: SIGKILL\nhealth: {{ path: /, grace: 8s, interval: 200ms }}\n{rest}\nrollout:\n{WAYS}"
    );
    fs::write(host.folder.path().join("davy.yaml"), file).expect("a file");
}

/// What `/` answers now.
fn body(host: &Host) -> String {
    crate::engine::get(host.gateway.parse().expect("an address"))
}

fn deployed(host: &Host, rest: &str) {
    write(host, rest);
    let output = host.davy(&["deploy", "--watch"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

fn until(what: &str, within: u64, is: impl Fn() -> bool) {
    let since = Instant::now();
    while !is() {
        assert!(since.elapsed() < Duration::from_secs(within), "never {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn an_engine_restarted_in_mid_rollout_costs_no_rollout_and_where_it_keeps_containers_no_request() {
    // Its containers live on without it.
    let mut engine = Engine::with(vec!["--live-restore".to_owned()]);
    engine.image("web:1", "one", &[]);
    engine.image("web:2", "two", &[]);
    let host = host(&engine);
    deployed(&host, "image: web:1\n");
    let load = Load::on_any(&host.gateway);
    write(&host, "image: web:2\n");
    assert!(host.davy(&["deploy"]).status.success());
    host.until("on its way", |status| status["state"] == "holding");
    engine.restart();
    host.until("over", |status| status["state"] == "promoted");
    assert_eq!(body(&host), "two");
    let (sent, failed) = load.stop();
    assert!(sent > 100 && failed == 0, "{failed} of {sent}");
    assert_eq!(engine.containers().len(), 1, "{:?}", engine.containers());
    host.down();
    assert!(engine.containers().is_empty());
}

#[test]
fn an_engine_that_takes_its_containers_down_with_it_brings_them_back() {
    let mut engine = Engine::start();
    engine.image("web:1", "one", &[]);
    engine.image("web:2", "two", &[]);
    let host = host(&engine);
    deployed(&host, "image: web:1\n");
    write(&host, "image: web:2\n");
    assert!(host.davy(&["deploy"]).status.success());
    host.until("on its way", |status| status["state"] == "holding");
    engine.end();
    let doctor = text(&host.davy(&["doctor"]));
    assert!(doctor.contains("FAIL docker") && doctor.contains("start the engine"), "{doctor}");
    // An abort needs no engine.
    let aborted = host.davy(&["rollout", "abort"]);
    assert!(aborted.status.success(), "{}", text(&aborted));
    engine.restart();
    host.until("over", |status| status["state"] == "aborted");
    until("answered by stable", 30, || body(&host) == "one");
    until("without the canary", 30, || engine.containers().len() == 1);
    host.down();
    assert!(engine.containers().is_empty());
}

#[test]
fn a_volume_that_only_one_can_use_ends_the_canary_and_says_why() {
    let engine = Engine::start();
    let lock = r#"command: /bin/sh -c 'echo > /data/$COLOR; test -e /data/green || exec /bin/httpd -f -p 8080 -h /www; echo the volume is in use >&2; exit 1'"#;
    engine.image("web:1", "one", &[]);
    let host = host(&engine);
    let rest = |color: &str| format!("image: web:1\nvolumes: [\"data:/data\"]\nenv: {{ COLOR: {color} }}\n{lock}\n");
    deployed(&host, &rest("blue"));
    write(&host, &rest("green"));
    let refused = host.davy(&["deploy", "--watch"]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
    let explained = text(&host.davy(&["rollout", "explain"]));
    assert!(explained.contains("exit status 1") && explained.contains("the volume is in use"), "{explained}");
    assert_eq!(body(&host), "one");
    until("without the canary", 30, || engine.containers().len() == 1);
    host.down();
    assert!(engine.containers().is_empty());
    assert_eq!(engine.said(&["volume", "ls", "--format", "{{.Name}}"]), "data", "the volume is the user's, and stays");
}

#[test]
fn no_room_for_a_network_and_none_on_the_disk_are_told() {
    // Every address that networks may have is taken.
    let engine = Engine::with(vec!["--default-address-pool".to_owned(), "base=10.213.77.0/24,size=24".to_owned()]);
    engine.image("web:1", "one", &[]);
    engine.said(&["network", "create", "taken"]);
    let crowded = host(&engine);
    write(&crowded, "image: web:1\n");
    let refused = crowded.davy(&["deploy", "--watch"]);
    assert!(!refused.status.success(), "{}", text(&refused));
    let told = text(&refused) + &text(&crowded.davy(&["rollout", "explain"]));
    assert!(told.contains("address pool") && told.contains("docker network prune"), "{told}");
    crowded.down();
    assert!(engine.containers().is_empty());
    drop(engine);

    let engine = Engine::on_disk(40);
    engine.image("web:1", "one", &[]);
    let host = host(&engine);
    deployed(&host, "image: web:1\n");
    // Nothing more fits.
    let filling = engine.root().join("filling");
    let mut file = fs::File::create(&filling).expect("a file");
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    write(&host, "image: web:1\nenv: { COLOR: green }\n");
    let refused = host.davy(&["deploy", "--watch"]);
    assert!([Some(2), Some(3)].contains(&refused.status.code()), "{}", text(&refused));
    let told = text(&refused) + &text(&host.davy(&["rollout", "explain"]));
    assert!(told.contains("no space left on device") && told.contains("docker system df"), "{told}");
    assert_eq!(body(&host), "one");
    fs::remove_file(&filling).expect("it is there");
    until("without the canary", 60, || engine.containers().len() == 1);
    // With room again, the same goes through.
    let load = Load::on_any(&host.gateway);
    let again = host.davy(&["deploy", "--watch"]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again));
    assert_eq!(load.stop().1, 0);
    host.down();
    assert!(engine.containers().is_empty());
}

/// A registry that answers every request with `answer`, whatever it is asked; none at all is silence.
fn registry(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for mut socket in listener.incoming().flatten() {
            match read(&mut socket).and_then(|request| answer(&request)) {
                Some(answer) => drop(socket.write_all(answer.as_bytes())),
                None => silent.push(socket),
            }
        }
    });
    address
}

fn read(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = [0; 4096];
    let length = socket.read(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

#[test]
fn registries_that_lie_are_silent_or_lack_the_image_are_told() {
    let engine = Engine::start();
    engine.image("web:1", "one", &[]);
    let host = host(&engine);
    deployed(&host, "image: web:1\n");
    let manifest = r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{},"layers":[]}"#;
    let answer = |status: &str, body: &str| {
        // The digest that it names is not that of what it sends.
        let digest = format!("Docker-Content-Digest: sha256:{}", "0".repeat(64));
        let kind = "Content-Type: application/vnd.docker.distribution.manifest.v2+json";
        format!(
            "HTTP/1.1 {status}\r\n{kind}\r\n{digest}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let lies = registry(move |request| {
        let is_root = request.starts_with("GET /v2/ ");
        let body = if is_root || request.starts_with("HEAD") { "" } else { manifest };
        let whole = answer("200 OK", body);
        // A HEAD tells the length of what a GET would send.
        Some(if request.starts_with("HEAD") {
            whole.replace("Content-Length: 0", &format!("Content-Length: {}", manifest.len()))
        } else {
            whole
        })
    });
    let silent = registry(|_| None);
    let empty = registry(|request| {
        let status = if request.starts_with("GET /v2/ ") { "200 OK" } else { "404 Not Found" };
        let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        Some(format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ))
    });
    for (registry, says, hint) in [
        (lies, "digest", "another image than it named"),
        (silent, "did not answer within", "this machine reaches it"),
        (empty, "manifest unknown", "was pushed"),
    ] {
        write(&host, &format!("image: {registry}/shop/web:2\n"));
        let refused = host.davy(&["deploy"]);
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
        let told = text(&refused);
        assert!(told.contains(says) && told.contains(hint) && told.contains(&registry), "{says}, {hint}: {told}");
    }
    assert_eq!(body(&host), "one");
    assert_eq!(engine.containers().len(), 1);
    host.down();
}

#[test]
fn a_service_that_left_for_processes_needs_no_engine_any_more() {
    let mut engine = Engine::start();
    engine.image("web:1", "one", &[]);
    let host = host(&engine);
    let as_image = format!(
        "service: logo\nimage: web:1\nport: 8080\nstop-signal: SIGKILL\nhealth: {{ path: /, grace: 8s, interval: 200ms }}\nrollout:\n{WAYS}"
    );
    fs::write(host.folder.path().join("davy.yaml"), as_image).expect("a file");
    assert_eq!(host.davy(&["deploy", "--watch"]).status.code(), Some(0));
    let load = Load::on_any(&host.gateway);
    host.write("v1", &format!("rollout:\n{WAYS}"));
    let moved = host.davy(&["deploy", "--watch"]);
    assert_eq!(moved.status.code(), Some(0), "{}", text(&moved));
    host.until("over", |status| status["state"] == "promoted");
    assert!(engine.containers().is_empty());
    engine.end();
    // The engine is gone; the service goes on, also after the server's restart, and is rolled out again.
    host.write("v2", &format!("rollout:\n{WAYS}"));
    let second = host.davy(&["deploy", "--watch"]);
    assert_eq!(second.status.code(), Some(0), "{}", text(&second));
    let mut host = host;
    host.kill();
    host.start();
    host.write("v1", &format!("rollout:\n{WAYS}"));
    let third = host.davy(&["deploy", "--watch"]);
    assert_eq!(third.status.code(), Some(0), "{}", text(&third));
    let doctor = host.davy(&["doctor"]);
    assert!(doctor.status.success(), "{}", text(&doctor));
    let (sent, failed) = load.stop();
    assert!(sent > 300 && failed == 0, "{failed} of {sent}");
    host.down();
    engine.restart();
}

#[test]
fn down_stops_what_it_can_without_an_engine_and_says_what_it_could_not() {
    let mut engine = Engine::start();
    engine.image("web:1", "one", &[]);
    let mut host = host(&engine);
    deployed(&host, "image: web:1\n");
    engine.end();
    host.kill();
    let data = host.data();
    let words = ["down", "--data", data.to_str().expect("a plain path")];
    let down = host.davy(&words);
    assert!(down.status.code() == Some(1) && text(&down).contains("start the engine"), "{}", text(&down));
    until("without a gateway", 10, || host.processes().is_empty());
    engine.restart();
    let again = host.davy(&words);
    assert!(again.status.success() && engine.containers().is_empty(), "{}", text(&again));
}

#[test]
fn down_of_a_living_server_says_what_it_could_not_stop() {
    let mut engine = Engine::start();
    engine.image("web:1", "one", &[]);
    let mut host = host(&engine);
    deployed(&host, "image: web:1\n");
    engine.end();
    let data = host.data();
    let words = ["down", "--data", data.to_str().expect("a plain path")];
    let down = host.davy(&words);
    assert_eq!(down.status.code(), Some(1), "{}", text(&down));
    let told = text(&down);
    assert!(
        told.contains("may run on") && told.contains("start the engine") && told.contains("`davy down` again"),
        "{told}"
    );
    // The server and the gateway have ended all the same.
    host.ended();
    until("without a gateway", 10, || host.processes().is_empty());
    engine.restart();
    assert_eq!(engine.containers().len(), 1, "it came back with its engine");
    let again = host.davy(&words);
    assert!(again.status.success() && engine.containers().is_empty(), "{}", text(&again));
}

#[test]
fn a_service_leaves_a_dead_engine_for_processes() {
    let mut engine = Engine::start();
    engine.image("web:1", "one", &[]);
    let host = host(&engine);
    deployed(&host, "image: web:1\n");
    // What is there is known once it was looked at; then the engine dies with all that runs on it.
    until("seen", 20, || text(&host.davy(&["doctor"])).contains("1 services"));
    engine.end();
    let load = Load::start(&host.gateway);
    let logo = format!(
        "service: web\ncommand: '\"{}\" logo --port $PORT'\nhealth: {{ path: /healthz, grace: 8s, interval: 200ms }}\nrollout:\n{WAYS}",
        crate::host::DAVY
    );
    fs::write(host.folder.path().join("davy.yaml"), logo).expect("a file");
    let moved = host.davy(&["deploy"]);
    assert_eq!(moved.status.code(), Some(0), "{}", text(&moved));
    host.until("at its last step", |status| status["weight"]["observed"] == 10_000);
    // Stable's past is all failures: the last step is a person's.
    let promoted = host.davy(&["rollout", "promote"]);
    assert!(promoted.status.success(), "{}", text(&promoted));
    host.until("on its way out", |status| status["outcome"] == "promoted" || status["state"] == "baking");
    assert_eq!(host.get(), Some((200, "v1".to_owned())));
    load.stop();
    // What is left on the engine goes when it is back.
    engine.restart();
    until("without the old version", 60, || engine.containers().is_empty());
    host.until("over", |status| status["state"] == "promoted");
    host.down();
}
