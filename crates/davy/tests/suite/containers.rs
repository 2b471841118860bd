//! Containers that do not do as they should in a rollout under load: the message, stable untouched, nothing left behind.

use crate::{
    engine::Engine,
    host::{Host, Load, text},
};
use std::fs;

const CANARY: &str = "canary: { steps: [50%, 100%], hold: 1s, deadline: 60s }";

fn host(engine: &Engine) -> Host {
    let mut host = Host::new();
    host.environment.push(("DOCKER_HOST".to_owned(), engine.host()));
    host.start();
    host
}

fn write(host: &Host, rest: &str, strategy: &str) {
    let file = format!(
        "service: web\nport: 8080\nhealth: {{ path: /, grace: 8s, interval: 200ms }}\n{rest}\n\
         rollout:\n  {strategy}\n  drain: 1s\n  bake: 1s\n"
    );
    fs::write(host.folder.path().join("davy.yaml"), file).expect("a file");
}

fn deployed(host: &Host, rest: &str, strategy: &str) {
    write(host, rest, strategy);
    let output = host.davy(&["deploy", "--watch"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    host.until("over", |status| status["state"] == "promoted");
}

fn body(host: &Host) -> String {
    crate::engine::get(host.gateway.parse().expect("an address"))
}

/// A shell that serves, and ends, or does not, when it is asked.
fn shell(before: &str, asked: &str) -> String {
    format!("command: /bin/sh -c '{before} trap \"{asked}\" TERM; httpd -p 8080 -h /www; while :; do sleep 1; done'\n")
}

#[test]
fn one_that_never_becomes_healthy_is_taken_back() {
    let engine = Engine::start();
    engine.image("web:1", "one", &[]);
    // Nothing is at `/`.
    engine.image_of("web:2", &[("www/other.html", "two")], &[]);
    let host = host(&engine);
    deployed(&host, "image: web:1\nstop-signal: SIGKILL\n", CANARY);
    let (load, before) = (Load::on_any(&host.gateway), engine.containers());
    write(&host, "image: web:2\nstop-signal: SIGKILL\n", CANARY);
    let refused = host.davy(&["deploy", "--watch"]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
    let told = text(&host.davy(&["rollout", "explain"]));
    assert!(told.contains("was not healthy within 8s") && told.contains("404"), "{told}");
    host.until("over", |status| status["state"] == "rolled-back");
    assert_eq!((body(&host), engine.containers()), ("one".to_owned(), before));
    let (sent, failed) = load.stop();
    assert!(sent > 300 && failed == 0, "{failed} of {sent}");
    host.down();
    assert!(engine.containers().is_empty());
}

#[test]
fn one_that_ignores_its_stop_signal_is_ended_by_force_and_no_request_fails() {
    let engine = Engine::start();
    engine.image("web:1", "one", &[]);
    engine.image("web:2", "two", &[]);
    let host = host(&engine);
    let deaf = |image: &str| format!("image: {image}\n{}", shell("", ""));
    deployed(&host, &deaf("web:1"), CANARY);
    let load = Load::on_any(&host.gateway);
    deployed(&host, &deaf("web:2"), CANARY);
    assert_eq!((body(&host), engine.containers().len()), ("two".to_owned(), 1));
    // An abort ends such a canary, too.
    write(&host, &deaf("web:1"), CANARY);
    assert!(host.davy(&["deploy"]).status.success());
    host.until("on its way", |status| status["state"] == "holding");
    assert!(host.davy(&["rollout", "abort"]).status.success());
    host.until("over", |status| status["state"] == "aborted");
    assert_eq!((body(&host), engine.containers().len()), ("two".to_owned(), 1));
    let (sent, failed) = load.stop();
    assert!(sent > 300 && failed == 0, "{failed} of {sent}");
    host.down();
    assert!(engine.containers().is_empty());
}

#[test]
fn a_volume_for_one_at_a_time_is_handed_on_by_recreate() {
    let engine = Engine::start();
    engine.image("web:1", "one", &[]);
    let host = host(&engine);
    let recreate = "recreate: { hold: 1s, deadline: 60s }";
    // It refuses to run where another one holds the volume, and writes down that it ran.
    let holds = shell(
        "test -e /data/held && { echo the volume is held >&2; exit 1; }; echo $COLOR >> /data/held; echo $COLOR >> /data/log;",
        "/bin/busybox rm /data/held; exit 0",
    );
    let rest = |color: &str| format!("image: web:1\nvolumes: [\"data:/data\"]\nenv: {{ COLOR: {color} }}\n{holds}");
    deployed(&host, &rest("blue"), recreate);
    let load = Load::on_any(&host.gateway);
    deployed(&host, &rest("green"), recreate);
    let log = || {
        let name = engine.containers().remove(0);
        engine.said(&["exec", &name, "/bin/busybox", "cat", "/data/log"])
    };
    assert_eq!((log().as_str(), engine.containers().len()), ("blue\ngreen", 1), "one after the other");
    // One that cannot run ends, and the one before has the volume again.
    write(&host, &format!("{}user: \"nobody-there\"\n", rest("red")), recreate);
    let refused = host.davy(&["deploy", "--watch"]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
    let told = text(&host.davy(&["rollout", "explain"]));
    assert!(told.contains("nobody-there"), "{told}");
    host.until("over", |status| status["state"] == "rolled-back");
    assert_eq!((log().as_str(), body(&host).as_str()), ("blue\ngreen\ngreen", "one"));
    load.stop();
    host.down();
    assert!(engine.containers().is_empty());
    assert_eq!(engine.said(&["volume", "ls", "--format", "{{.Name}}"]), "data");
}
