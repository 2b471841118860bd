//! What is said before a rollout begins of the traffic that it needs.

use crate::host::{Host, Load, text};
use serde_json::Value;

const STEPS: &str = "canary: { steps: [1%, 100%], hold: 1s, deadline: 5m }\n  drain: 1s\n  bake: 1s\n";

#[test]
fn a_margin_that_todays_traffic_cannot_prove_is_refused_with_the_arithmetic() {
    let host = Host::up();
    host.write("v1", "");
    let first = host.davy(&["deploy", "--watch"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    let load = Load::start(&host.gateway);
    let margin = |margin: &str| format!("rollout:\n  analysis: {{ margin: {margin} }}\n  {STEPS}");
    // 1 % of a few hundred requests a second proves 0.01 % in hours, not in five minutes.
    host.write("v2", &margin("0.01%"));
    // Until the gateway has counted for some seconds, nothing is known of the traffic.
    host.until("measured", |_| {
        let dry = host.davy(&["deploy", "--dry-run", "--json"]);
        let line = dry.stdout.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let plan: Value = serde_json::from_slice(line).unwrap_or_default();
        plan["requests_per_second"].as_f64() > Some(20.0) && plan["too_slow"].is_string()
    });
    let refused = host.davy(&["deploy", "--json"]);
    let seen = text(&refused);
    assert!(seen.contains("A020"), "{seen}");
    assert_eq!(refused.status.code(), Some(2), "{seen}");
    assert!(seen.contains("would need") && seen.contains("canary requests without a failure"), "{seen}");
    assert!(seen.contains("a `margin` of") && seen.contains("or a `deadline` of"), "{seen}");
    let dry = host.davy(&["deploy", "--dry-run"]);
    assert_eq!(dry.status.code(), Some(2), "{}", text(&dry));
    assert!(text(&dry).contains("at today's"), "{}", text(&dry));
    // Davy's own margins are not refused: it begins, and says so.
    host.write("v2", "rollout:\n  canary: { steps: [0.1%, 100%], hold: 1s, deadline: 20s }\n  drain: 1s\n");
    let told = host.davy(&["deploy"]);
    assert!(told.status.success() && text(&told).contains("note: at "), "{}", text(&told));
    assert!(host.davy(&["rollout", "abort"]).status.success());
    load.stop();
    host.down();
}
