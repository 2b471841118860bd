//! Evidence whose time is over, and what is told of it: by the server's own housekeeping, to its end.

use crate::host::{Host, Load, last, text};
use std::fs;

const REST: &str = "rollout:\n  canary: { steps: [50%, 100%], hold: 1s, deadline: 60s }\n  drain: 1s\n  bake: 1s\n";

#[test]
fn evidence_is_kept_for_its_time_and_what_was_let_go_is_told_as_that() {
    let mut host = Host::up();
    for version in ["v1", "v2"] {
        host.write(version, REST);
        assert!(host.davy(&["deploy"]).status.success());
        let load = Load::start(&host.gateway);
        host.until("over", |status| status["state"] == "promoted" && status["outcome"] == "promoted");
        load.stop();
    }
    let id = host.status()["id"].as_str().expect("a rollout").to_owned();
    let data = host.data();
    let data = data.to_str().expect("a plain path");
    let verify = |host: &Host| host.davy(&["audit", "verify", "--json", "--data", data]);
    let before = last(&verify(&host));
    assert!(before["batches"].as_u64() > Some(0) && before["let_go"] == 0, "{before}");
    assert!(host.davy(&["judge", "rollout", &id, "--data", data]).status.success());
    let explained = host.davy(&["rollout", "explain", &id]);
    assert!(text(&explained).contains("New release, on trial"), "{}", text(&explained));
    let doctor = text(&host.davy(&["doctor"]));
    for told in [
        "evidence 90 days after its rollout's end",
        "batches of evidence, the oldest of ",
        "memory    server ",
        " free",
    ] {
        assert!(doctor.contains(told), "{told}: {doctor}");
    }

    let wrong = host.davy(&["up", "--data", data, "--keep-evidence", "soon"]);
    assert!(wrong.status.code() == Some(2) && text(&wrong).contains("or `forever`"), "{}", text(&wrong));
    host.kill();
    host.start_with(&["--keep-evidence", "1ms"]);
    host.until("let go", |_| last(&verify(&host))["let_go"] == 2 && last(&verify(&host))["batches"] == 0);
    let after = verify(&host);
    assert_eq!(after.status.code(), Some(0), "{}", text(&after));
    assert_eq!(last(&after)["events"], before["events"], "no event goes");

    let explained = text(&host.davy(&["rollout", "explain", &id]));
    assert!(explained.contains("New release, on trial"), "what was told before stays: {explained}");
    assert!(explained.contains("This was written while it was there. The evidence of rollout"), "{explained}");
    let report = host.data().join("reports").join(&id).join("deployment_report.md");
    fs::remove_file(&report).expect("it was written");
    let explained = text(&host.davy(&["rollout", "explain", &id]));
    assert!(explained.contains("The counts are not there any more: The evidence of rollout"), "{explained}");
    for command in [["judge", "rollout", &id, "--data", data], ["simulate", "--rollout", &id, "--data", data]] {
        let refused = host.davy(&command);
        assert!(
            refused.status.code() == Some(2) && text(&refused).contains("was let go by deed"),
            "{}",
            text(&refused)
        );
    }
    let log = text(&host.davy(&["audit", "log"]));
    assert!(log.contains(&format!("let the evidence of rollout {id} go")), "{log}");
    let doctor = text(&host.davy(&["doctor"]));
    assert!(doctor.contains("that of 2 rollouts was let go") && doctor.contains("evidence 1ms after"), "{doctor}");
    // The releases are there: what is needed to go back is no evidence.
    assert!(host.davy(&["rollback", "logo"]).status.success());
    host.until("back", |status| status["outcome"] == "promoted" && status["id"] != id.as_str());
    host.down();
}
