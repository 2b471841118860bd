//! Images that take long to come, and which of them are kept.

use crate::{
    engine::Engine,
    host::{Host, Load, last, text},
    registry::{Registry, Trickle},
};
use std::fs;

fn host(engine: &Engine) -> Host {
    let mut host = Host::new();
    host.environment.push(("DOCKER_HOST".to_owned(), engine.host()));
    host.start();
    host
}

fn write(host: &Host, image: &str) {
    let file = format!(
        "service: web\nimage: {image}\nport: 8080\nstop-signal: SIGKILL\nhealth: {{ path: /, grace: 5s, interval: 200ms }}\n\
         rollout:\n  canary: {{ steps: [50%, 100%], hold: 1s, deadline: 60s }}\n  drain: 1s\n  bake: 1s\n"
    );
    fs::write(host.folder.path().join("davy.yaml"), file).expect("a file");
}

fn body(host: &Host) -> String {
    crate::engine::get(host.gateway.parse().expect("an address"))
}

/// The name of the release that a rollout brought.
fn over(host: &Host) -> String {
    host.until("over", |status| status["state"] == "promoted")["release"].as_str().expect("a name").to_owned()
}

#[test]
fn an_image_that_comes_slowly_is_waited_for_in_a_deploy_and_in_a_rollback() {
    let (engine, registry) = (Engine::start(), Registry::public());
    let slow = Trickle::to(&registry);
    let name = |tag: &str| format!("{}/shop/web:{tag}", slow.address);
    registry.publish(&engine, &format!("{}/shop/web:1", registry.address), "one", 4_000_000, &[]);
    registry.publish(&engine, &format!("{}/shop/web:2", registry.address), "two", 0, &[]);
    let host = host(&engine);
    // Longer than a client waits for an answer.
    slow.at(95_000);
    write(&host, &name("1"));
    let first = host.davy(&["deploy", "--json"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    let told = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(
        told.contains(&format!("pulling {}: ", name("1"))) && told.contains(" of 4.") && told.contains(" MB"),
        "{told}"
    );
    let out = last(&first);
    assert!(out["type"] == "taken" && out["rollout"].is_string(), "{out}");
    assert_eq!(String::from_utf8_lossy(&first.stdout).lines().count(), 1, "{}", text(&first));
    over(&host);
    slow.freely();
    let load = Load::on_any(&host.gateway);
    let digest = engine.said(&["images", "--digests", "--format", "{{.Repository}}@{{.Digest}}"]);
    write(&host, &name("2"));
    assert_eq!(host.davy(&["deploy", "--watch"]).status.code(), Some(0));
    over(&host);
    // Somebody cleans the engine up; then a rollback takes longer than the order, and far longer than the grace.
    engine.said(&["rmi", "--force", &digest]);
    slow.at(170_000);
    let layers = slow.layers();
    let back = host.davy(&["rollback", "web"]);
    assert_eq!(back.status.code(), Some(0), "{}", text(&back));
    let pulling =
        |status: &serde_json::Value| status["next"]["what"].as_str().is_some_and(|what| what.contains("pulling"));
    host.until("pulling", pulling);
    assert_eq!(body(&host), "two");
    over(&host);
    assert_eq!(body(&host), "one");
    let (sent, failed) = load.stop();
    assert!(sent > 300 && failed == 0, "{failed} of {sent}");
    assert_eq!(slow.layers(), layers + 1, "the pull was joined by each order");
    host.down();
    assert!(engine.containers().is_empty());
}

#[test]
fn what_never_served_takes_no_place_from_what_a_rollback_needs() {
    let (engine, mut registry) = (Engine::start(), Registry::public());
    let name = |tag: &str| format!("{}/shop/web:{tag}", registry.address);
    for tag in ["1", "2"] {
        registry.publish(&engine, &name(tag), tag, 0, &[]);
    }
    for tag in 0..10 {
        registry.publish(&engine, &name(&format!("bad-{tag}")), "bad", 0, &[r#"CMD ["/no-such-program"]"#]);
    }
    let host = host(&engine);
    let mut load = None;
    for tag in ["1", "2"] {
        write(&host, &name(tag));
        let promoted = host.davy(&["deploy", "--watch"]);
        assert_eq!(promoted.status.code(), Some(0), "{}", text(&promoted));
        over(&host);
        load.get_or_insert_with(|| Load::on_any(&host.gateway));
    }
    for tag in 0..10 {
        write(&host, &name(&format!("bad-{tag}")));
        let refused = host.davy(&["deploy", "--watch"]);
        assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
    }
    let there = || engine.said(&["images", "--digests", "--format", "{{.Digest}}"]).lines().count();
    host.until("cleared away", |_| there() == 2);
    registry.end();
    let back = host.davy(&["rollback", "web"]);
    assert_eq!(back.status.code(), Some(0), "{}", text(&back));
    over(&host);
    assert_eq!(body(&host), "1");
    let (sent, failed) = load.expect("traffic").stop();
    assert!(sent > 300 && failed == 0, "{failed} of {sent}");
    host.down();
}
