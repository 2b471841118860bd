//! Strategies other than a plain canary, with real processes under traffic.

use crate::host::{Host, Load, last, text};
use serde_json::Value;

const TAIL: &str = "  drain: 2s\n  bake: 1s\n";

fn rollout(strategy: &str) -> String {
    format!("replicas: 2\nrollout:\n  {strategy}\n{TAIL}")
}

fn serving(strategy: &str) -> Host {
    let host = Host::up();
    host.write("v1", &rollout(strategy));
    let output = host.davy(&["deploy", "--watch"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    host
}

fn deploy(host: &Host, version: &str, strategy: &str) -> Value {
    host.write(version, &rollout(strategy));
    let output = host.davy(&["deploy", "--watch", "--json"]);
    let outcome = last(&output);
    assert_eq!(outcome["type"], "outcome", "{}", text(&output));
    outcome
}

fn over(host: &Host, state: &str) {
    host.until("over", |status| status["state"] == state);
    let left = || host.processes().into_iter().filter(|words| words.contains(" logo --port")).collect::<Vec<_>>();
    // What recreate brought back serves with its first instance; the others come.
    host.until("whole", |_| left().len() >= 2);
    assert_eq!(left().len(), 2, "only one release's instances are left: {:?}", left());
}

#[test]
fn blue_green_shows_the_new_version_switches_once_and_goes_back_for_harm() {
    let strategy = "blue-green: { preview: 2s, hold: 1s, deadline: 60s }";
    let host = serving(strategy);
    let load = Load::start(&host.gateway);
    host.write("v2", &rollout(strategy));
    assert!(host.davy(&["deploy"]).status.success());
    let shown = host.until("shown", |status| status["preview"].as_array().is_some_and(|all| all.len() == 2));
    assert_eq!(shown["weight"]["intended"], 0);
    let address = shown["preview"][0].as_str().expect("an address").trim_start_matches("http://").to_owned();
    assert_eq!(Host::ask(&address), Some((200, "v2".to_owned())), "it can be looked at");
    for _ in 0..20 {
        assert_eq!(host.get(), Some((200, "v1".to_owned())), "nobody else sees it yet");
    }
    host.until("promoted", |status| status["state"] == "promoted");
    over(&host, "promoted");
    let bad = deploy(&host, "v3 --error-rate 50%", strategy);
    assert_eq!(bad["outcome"], "rolled-back", "{bad}");
    over(&host, "rolled-back");
    for _ in 0..20 {
        assert_eq!(host.get(), Some((200, "v2".to_owned())));
    }
    let (sent, failed) = load.stop();
    assert!(sent > 500 && failed == 0, "{failed} of {sent}");
    assert!(host.davy(&["audit", "verify"]).status.success());
    host.down();
}

#[test]
fn a_rolling_update_fails_no_request_with_and_without_room() {
    for strategy in ["rolling: { hold: 1s, deadline: 60s }", "rolling: { max: 150%, hold: 1s, deadline: 60s }"] {
        let host = serving(strategy);
        let load = Load::start(&host.gateway);
        let outcome = deploy(&host, "v2", strategy);
        assert_eq!(outcome["outcome"], "promoted", "{outcome}");
        over(&host, "promoted");
        let bad = deploy(&host, "v3 --error-rate 50%", strategy);
        assert_eq!(bad["outcome"], "rolled-back", "{bad}");
        over(&host, "rolled-back");
        for _ in 0..20 {
            assert_eq!(host.get(), Some((200, "v2".to_owned())));
        }
        let (sent, failed) = load.stop();
        assert!(sent > 500 && failed == 0, "{strategy}: {failed} of {sent}");
        host.down();
    }
}

#[test]
fn recreate_says_that_it_interrupts_and_never_runs_two_versions() {
    let strategy = "recreate: { hold: 1s, deadline: 60s }";
    let host = serving(strategy);
    let load = Load::start(&host.gateway);
    host.write("v2", &rollout(strategy));
    let plan = host.davy(&["deploy", "--dry-run"]);
    assert!(text(&plan).contains("requests fail from when the old instances end"), "{}", text(&plan));
    let asked = host.davy(&["deploy"]);
    assert!(text(&asked).contains("requests fail"), "{}", text(&asked));
    let (mut interrupted, mut most) = (false, 0);
    host.until("promoted", |status| {
        interrupted |= host.get().is_some_and(|(status, _)| status == 503);
        let running = |version: &str| {
            host.processes().iter().filter(|words| words.contains(&format!("--version {version}"))).count()
        };
        most = most.max(running("v1").min(running("v2")));
        status["state"] == "promoted"
    });
    assert!(interrupted, "503 is what it says it answers");
    assert_eq!(most, 0, "the old version has ended before the new one begins");
    over(&host, "promoted");
    // One that never becomes healthy: the old one starts again.
    host.write("v3 --nonsense", &rollout(strategy));
    let output = host.davy(&["deploy", "--watch"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    over(&host, "rolled-back");
    assert_eq!(host.get(), Some((200, "v2".to_owned())));
    load.stop();
    host.down();
}

#[test]
fn a_canarys_steps_match_mirror_scale_and_keep_clients() {
    let steps = "[{ weight: 0%, mirror: 50%, match: { header: { X-Canary: always } } }, 50%, 100%]";
    let strategy = format!("canary: {{ steps: {steps}, scale: weight, sticky: true, hold: 2s, deadline: 60s }}");
    let host = serving(&strategy);
    let load = Load::start(&host.gateway);
    host.write("v2", &rollout(&strategy));
    assert!(host.davy(&["deploy"]).status.success());
    let tried = host.until("tried", |status| status["aside"]["requests"].as_u64() > Some(20));
    assert_eq!((&tried["weight"]["intended"], &tried["canary"]["requests"]), (&0.into(), &0.into()));
    let canaries = || host.processes().iter().filter(|words| words.contains("--version v2")).count();
    assert_eq!(canaries(), 1, "as many instances as the weight needs");
    let shown = text(&host.davy(&["rollout", "status"]));
    assert!(shown.contains("aside") && shown.contains("no evidence"), "{shown}");
    host.until("promoted", |status| status["state"] == "promoted");
    let (sent, failed) = load.stop();
    assert!(sent > 200 && failed == 0, "{failed} of {sent}");
    assert!(host.davy(&["audit", "verify"]).status.success());
    host.down();
}
