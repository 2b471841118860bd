//! What is deployed where, and taking it away.

use crate::host::{Host, Load, text};
use serde_json::Value;

const QUICK: &str = "rollout:\n  canary: { steps: [50%, 100%], hold: 1s, deadline: 60s }\n  drain: 2s\n  bake: 60s\n";

fn json(output: &std::process::Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", text(output));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn services_are_shown_removed_and_brought_back() {
    let mut host = Host::up();
    for (environment, version) in [("staging", "v1"), ("production", "v2")] {
        host.write(
            version,
            &format!("route: {{ host: {environment}.test }}\nenvironments: {{ {environment}: {{ platform: local }} }}\n{QUICK}"),
        );
        let deployed = host.davy(&["deploy", "--watch"]);
        assert_eq!(deployed.status.code(), Some(0), "{}", text(&deployed));
    }
    let listed = json(&host.davy(&["service", "list", "--json"]));
    let seen: Vec<_> = listed.iter().map(|one| (one["environment"].as_str(), one["state"].as_str())).collect();
    assert_eq!(seen, [(Some("production"), Some("serving")), (Some("staging"), Some("serving"))]);
    let several = host.davy(&["service", "show", "logo"]);
    assert_eq!(several.status.code(), Some(2), "which one must be said: {}", text(&several));
    let shown = &json(&host.davy(&["service", "show", "logo", "--env", "staging", "--json"]))[0];
    assert_eq!((&shown["host"], &shown["replicas"]), (&"staging.test".into(), &1.into()), "{shown:#}");
    assert_eq!(shown["instances"].as_array().map(Vec::len), Some(1));
    assert_eq!(shown["rollouts"][0]["state"], "promoted");
    let plain = text(&host.davy(&["service", "show", "logo", "--env", "production"]));
    for says in ["production/logo: serving", "route      production.test /", "1 of 1", "last rollouts"] {
        assert!(plain.contains(says), "{plain}");
    }
    let environments = json(&host.davy(&["env", "list", "--json"]));
    assert_eq!(environments.len(), 2, "{environments:?}");
    assert!(text(&host.davy(&["env", "show", "staging"])).contains("staging/logo"));
    for words in [&["env", "show", "moon"][..], &["env", "rm", "moon", "--yes"], &["service", "rm", "moon", "--yes"]] {
        let none = host.davy(words);
        assert_eq!(none.status.code(), Some(2), "{}", text(&none));
    }
    let unasked = host.davy(&["service", "rm", "logo", "--env", "staging"]);
    assert!(unasked.status.code() == Some(2) && text(&unasked).contains("--yes"), "{}", text(&unasked));
    let removed = json(&host.davy(&["env", "rm", "staging", "--yes", "--json"]));
    assert_eq!(removed[0]["type"], "removed");
    assert_eq!(json(&host.davy(&["service", "list", "--json"])).len(), 1);
    let all = json(&host.davy(&["service", "list", "--all", "--json"]));
    let gone = all.iter().find(|one| one["environment"] == "staging").expect("its history stays");
    assert!(gone["state"] == "removed" && gone["instances"].as_array().is_some_and(Vec::is_empty), "{gone:#}");
    let again = host.davy(&["service", "rm", "logo", "--env", "staging", "--yes"]);
    assert!(text(&again).contains("nothing serves"), "{}", text(&again));

    // Its route is free for another, also after everything was restarted.
    host.kill();
    host.start();
    host.write(
        "v3",
        &format!("route: {{ host: staging.test }}\nenvironments: {{ next: {{ platform: local }} }}\n{QUICK}"),
    );
    let taken = host.davy(&["deploy", "--watch"]);
    assert_eq!(taken.status.code(), Some(0), "{}", text(&taken));
    assert!(host.davy(&["env", "rm", "next", "--yes"]).status.success());
    let back = host.davy(&["rollback", "logo", "--env", "staging"]);
    assert!(back.status.success(), "{}", text(&back));
    host.until("back", |_| {
        let all = json(&host.davy(&["service", "list", "--json"]));
        all.iter().any(|one| one["environment"] == "staging" && one["state"] == "serving")
    });
    let verified = host.davy(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified));
    host.down();
}

#[test]
fn a_trial_is_ended_first_and_no_request_fails_before_the_route_is_gone() {
    let host = Host::up();
    host.write("v1", &QUICK.replace("hold: 1s", "hold: 60s").replace("deadline: 60s", "deadline: 10m"));
    assert_eq!(host.davy(&["deploy", "--watch"]).status.code(), Some(0));
    host.write("v2", &QUICK.replace("hold: 1s", "hold: 60s").replace("deadline: 60s", "deadline: 10m"));
    assert!(host.davy(&["deploy"]).status.success());
    host.until("on trial", |status| status["state"] == "holding");
    let load = Load::start(&host.gateway);
    let refused = host.davy(&["service", "rm", "logo", "--yes"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("davy rollout abort"), "{}", text(&refused));
    assert!(host.davy(&["rollout", "abort"]).status.success());
    host.until("over", |status| status["state"] == "aborted");
    let (sent, failed) = load.stop();
    assert!(sent > 10 && failed == 0, "{failed} of {sent}");
    assert!(host.davy(&["service", "rm", "logo", "--yes"]).status.success());
    assert_eq!(host.get().map(|(status, _)| status), Some(503));
    let explained = text(&host.davy(&["rollout", "explain"]));
    assert!(explained.contains("removed"), "{explained}");
    host.down();
}
