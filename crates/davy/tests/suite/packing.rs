//! Rollouts that are packed once they are over: by the server's own housekeeping, and nobody who asks sees a difference.

use crate::host::{Host, Load, last, text};

const REST: &str = "rollout:\n  canary: { steps: [50%, 100%], hold: 1s, deadline: 60s }\n  drain: 1s\n  bake: 1s\n";

#[test]
fn what_is_packed_is_told_as_before_and_goes_with_backups() {
    let mut host = Host::up();
    let mut ids = Vec::new();
    for version in ["v1", "v2", "v1"] {
        host.write(version, REST);
        assert!(host.davy(&["deploy"]).status.success());
        let load = Load::start(&host.gateway);
        let over = host.until("over", |status| status["state"] == "promoted" && status["outcome"] == "promoted");
        load.stop();
        ids.push(over["id"].as_str().expect("a rollout").to_owned());
    }
    let data = host.data();
    let data = data.to_str().expect("a plain path");
    let verify = |host: &Host, data: &str| last(&host.davy(&["audit", "verify", "--json", "--data", data]));
    let told = |host: &Host| -> Vec<String> {
        let id = ids[1].as_str();
        let asked: [&[&str]; 4] = [
            &["history"],
            &["rollout", "explain", id],
            &["rollout", "explain", id, "--json"],
            &["judge", "rollout", id, "--data", data],
        ];
        asked.iter().map(|words| text(&host.davy(words))).collect()
    };
    let (before, said) = (verify(&host, data), told(&host));
    assert!(before["packed"] == 0 && said.iter().all(|said| said.starts_with("exit Some(0)")), "{before} {said:?}");

    let wrong = host.davy(&["up", "--data", data, "--pack-after", "soon"]);
    assert!(wrong.status.code() == Some(2) && text(&wrong).contains("or `never`"), "{}", text(&wrong));
    host.kill();
    host.start_with(&["--pack-after", "1ms"]);
    host.until("packed", |_| verify(&host, data)["packed"].as_u64() > Some(0));
    let after = verify(&host, data);
    assert_eq!((&after["events"], &after["broken"]), (&before["events"], &serde_json::json!([])));
    for (now, before) in told(&host).iter().zip(&said) {
        assert!(now == before, "{now}\n\nbefore: {before}");
    }
    let doctor = text(&host.davy(&["doctor"]));
    assert!(doctor.contains(&format!("({} of them packed)", after["packed"])), "{doctor}");

    // What is needed to go back is there: how the rollout that is gone back to was to go.
    assert!(host.davy(&["rollback", "logo"]).status.success());
    host.until("back", |status| status["outcome"] == "promoted" && status["id"] != ids[2].as_str());

    let (file, restored) = (host.data().with_file_name("backup"), host.data().with_file_name("restored"));
    let (file, restored) = (file.to_str().expect("a plain path"), restored.to_str().expect("a plain path"));
    assert!(host.davy(&["backup", file]).status.success());
    assert!(host.davy(&["restore", file, "--data", restored]).status.success());
    let back = verify(&host, restored);
    assert!(back["packed"].as_u64() >= after["packed"].as_u64() && back["broken"] == serde_json::json!([]), "{back}");
    host.down();
}
