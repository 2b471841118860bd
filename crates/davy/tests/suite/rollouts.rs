//! Rollouts under traffic: good ones, bad ones, people, crashes.

use crate::host::{Host, Load, gateway_of, last, text};
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

const QUICK: &str = "rollout:\n  canary: { steps: [50%, 100%], hold: 1s, deadline: 60s }\n  drain: 2s\n  bake: 2s\n";
const SLOW: &str = "rollout:\n  canary: { steps: [20%, 100%], hold: 50s, deadline: 60s }\n  drain: 2s\n  bake: 60s\n";

fn serving(rest: &str) -> Host {
    let host = Host::up();
    host.write("v1", rest);
    let output = host.davy(&["deploy", "--watch"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    host
}

/// What is stored gives the same verdicts again.
fn replays(host: &Host) {
    let data = host.data();
    let replayed = host.davy(&["judge", "rollout", "--json", "--data", data.to_str().expect("a plain path")]);
    assert!(replayed.status.success(), "{}", text(&replayed));
    let told = last(&replayed);
    assert!(told["told"].as_u64() > Some(0) && told["told"] == told["same"], "{told}");
}

/// What policies would have done to the last rollout.
fn in_hindsight(host: &Host, policies: &[&str]) -> Vec<serde_json::Value> {
    let data = host.data();
    let mut words = vec!["simulate", "--json", "--rollout", "last", "--data", data.to_str().expect("a plain path")];
    words.extend(policies.iter().flat_map(|policy| ["--policy", policy]));
    let output = host.davy(&words);
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn only(host: &Host, version: &str) {
    for _ in 0..20 {
        assert_eq!(host.get(), Some((200, version.to_owned())));
    }
}

#[test]
fn a_good_version_is_promoted_and_can_be_taken_back() {
    let host = serving(QUICK);
    let load = Load::start(&host.gateway);
    host.write("v2", QUICK);
    let output = host.davy(&["deploy", "--watch", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(last(&output)["outcome"], "promoted");
    only(&host, "v2");
    host.until("over", |status| status["state"] == "promoted");
    replays(&host);
    let told = in_hindsight(&host, &["davy", "check:1s,50%"]);
    assert!(told.iter().all(|told| told["rolled_back"] == 0), "{told:?}");
    assert_eq!((&told[0]["promoted"], &told[0]["harm"]["p50"]), (&1.into(), &0.into()), "{told:?}");
    let back = host.davy(&["rollback", "logo"]);
    assert!(back.status.success(), "{}", text(&back));
    host.until("back", |_| host.get() == Some((200, "v1".to_owned())));
    let (sent, failed) = load.stop();
    assert!(sent > 500 && failed == 0, "{failed} of {sent}");
    assert!(host.davy(&["audit", "verify"]).status.success());
    host.down();
}

#[test]
fn a_bad_version_is_cut_off_by_the_guard_taken_back_and_told_as_one_story() {
    let host = serving(QUICK);
    let load = Load::start(&host.gateway);
    host.write("v3 --error-rate 50%", QUICK);
    let output = host.davy(&["deploy", "--watch", "--json"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let outcome = last(&output);
    assert_eq!(outcome["outcome"], "rolled-back");
    only(&host, "v1");
    let (sent, failed) = load.stop();
    assert!(sent > 20 && failed == 0, "{failed} of {sent}");
    let told = "gateway's guard cut the canary off after";
    host.until("over", |status| {
        status["state"] == "rolled-back"
            && status["cause"] == "guard"
            && status["why"].as_str().is_some_and(|why| why.contains(told))
    });
    let id = outcome["rollout"].as_str().expect("its name");
    let report =
        fs::read_to_string(host.data().join("reports").join(id).join("deployment_report.md")).expect("a report");
    assert!(report.contains(told) && report.contains("## The guard"), "{report}");
    assert!(report.contains("Computed again from these counts, the evidence is the same, bit for bit."), "{report}");
    let explained = text(&host.davy(&["rollout", "explain"]));
    assert!(explained.contains(told), "{explained}");
    let events = host.davy(&["rollout", "explain", "--json"]);
    let events = String::from_utf8_lossy(&events.stdout).into_owned();
    let records = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let causes: Vec<serde_json::Value> =
        records.map(|record| record["event"]["cause"].clone()).filter(serde_json::Value::is_object).collect();
    assert_eq!(causes.len(), 1, "one story: {events}");
    assert_eq!((&causes[0]["cause"], &causes[0]["recomputed"]), (&"guard".into(), &true.into()), "{events}");
    replays(&host);
    let told = in_hindsight(&host, &["davy", "rank:50"]);
    assert_eq!((&told[0]["rolled_back"], &told[1]["undecided"]), (&1.into(), &1.into()), "{told:?}");
    assert!(told[0]["harm"]["p50"].as_u64() > Some(0), "{told:?}");
    assert!(host.davy(&["audit", "verify"]).status.success());
    host.down();
}

#[test]
fn versions_that_cannot_run_leave_stable_alone() {
    let host = serving(QUICK);
    let file = host.folder.path().join("davy.yaml");
    let command =
        |words: &str| format!("service: logo\ncommand: '{words}'\nhealth: {{ path: /healthz, grace: 2s }}\n{QUICK}");
    let cases = [
        ("./nope $PORT", 2, "No such file"),
        ("/bin/sh -c \"echo broken >&2; exit 3; $PORT\"", 3, "broken"),
        ("/bin/sh -c \"sleep 600; $PORT\"", 3, "not healthy within 2s"),
    ];
    for (words, code, says) in cases {
        fs::write(&file, command(words)).expect("a file");
        let output = host.davy(&["deploy", "--watch"]);
        assert_eq!(output.status.code(), Some(code), "{words}: {}", text(&output));
        assert!(text(&output).contains(says), "{words}: {}", text(&output));
        only(&host, "v1");
    }
    assert!(!host.processes().iter().any(|process| process.contains("sleep 600")), "nothing of them is left");
    host.down();
}

#[test]
fn people_may_pause_resume_promote_and_abort() {
    let host = serving(SLOW);
    let load = Load::start(&host.gateway);
    host.write("v2", SLOW);
    let mut watcher = host.command(&["deploy", "--watch", "--json"]);
    let watcher = watcher.stdout(Stdio::piped()).spawn().expect("davy runs");
    host.until("holding", |status| status["state"] == "holding" && !status["weight"]["observed"].is_null());
    assert!(host.davy(&["rollout", "pause"]).status.success());
    host.until("paused", |status| status["state"] == "paused");
    assert_eq!(host.davy(&["rollout", "pause"]).status.code(), Some(2), "twice is refused");
    let held = host.davy(&["rollout", "watch", "--exit-on-pause"]);
    assert_eq!(held.status.code(), Some(5), "{}", text(&held));
    assert!(host.davy(&["rollout", "resume"]).status.success());
    host.until("holding", |status| status["state"] == "holding");
    let aborted = host.davy(&["rollout", "abort"]);
    assert!(aborted.status.success(), "{}", text(&aborted));
    only(&host, "v1");
    let watched = watcher.wait_with_output().expect("it ends");
    assert_eq!(watched.status.code(), Some(4), "{}", text(&watched));
    assert_eq!(last(&watched)["outcome"], "aborted");
    host.until("over", |status| status["state"] == "aborted");
    let late = host.davy(&["rollout", "abort"]);
    assert_eq!(late.status.code(), Some(2), "{}", text(&late));
    assert!(text(&late).contains("is over"), "{}", text(&late));
    let (_, failed) = load.stop();
    assert_eq!(failed, 0);
    host.down();
}

#[test]
fn whoever_stops_watching_is_told_so_and_the_rollout_goes_on() {
    let host = serving(SLOW);
    host.write("v2", SLOW);
    let late = host.davy(&["deploy", "--watch", "--timeout", "1"]);
    assert_eq!(late.status.code(), Some(124), "{}", text(&late));
    assert!(text(&late).contains("goes on: `davy rollout watch"), "{}", text(&late));
    let mut watcher = host.command(&["rollout", "watch"]);
    watcher.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut watcher = watcher.spawn().expect("davy runs");
    let mut line = String::new();
    let told = BufReader::new(watcher.stdout.as_mut().expect("piped")).read_line(&mut line);
    assert!(told.expect("a line") > 0, "it watches");
    let interrupted = Command::new("kill").args(["-INT", &watcher.id().to_string()]).status();
    assert!(interrupted.expect("kill runs").success());
    let detached = watcher.wait_with_output().expect("it ends");
    assert_eq!(detached.status.code(), Some(130), "{}", text(&detached));
    assert!(text(&detached).contains("detached; rollout"), "{}", text(&detached));
    host.until("on its way", |status| status["outcome"].is_null() && status["state"] == "holding");
    host.down();
}

#[test]
fn a_killed_server_finds_its_rollout_and_fails_no_request() {
    let mut host = serving(SLOW);
    let load = Load::start(&host.gateway);
    host.write("v2", SLOW);
    assert!(host.davy(&["deploy"]).status.success());
    let before = host
        .until("holding", |status| status["state"] == "holding" && status["canary"]["requests"].as_u64() > Some(20));
    host.kill();
    host.start();
    let after = host.until("in hand", |status| status["state"] == "holding" && !status["weight"]["observed"].is_null());
    assert_eq!(after["id"], before["id"]);
    assert!(after["canary"]["requests"].as_u64() >= before["canary"]["requests"].as_u64(), "no evidence is lost");
    let (sent, failed) = load.stop();
    assert!(sent > 100 && failed == 0, "{failed} of {sent}");
    assert!(host.davy(&["rollout", "abort"]).status.success());
    host.until("over", |status| status["state"] == "aborted");
    let verified = host.davy(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified));
    host.down();
}

#[test]
fn a_gateway_that_is_told_something_else_takes_over_in_mid_rollout_and_nobody_notices() {
    let mut host = serving(SLOW);
    let load = Load::start(&host.gateway);
    host.write("v2", SLOW);
    assert!(host.davy(&["deploy"]).status.success());
    let before = host
        .until("holding", |status| status["state"] == "holding" && status["canary"]["requests"].as_u64() > Some(20));
    let (first, address) = (gateway_of(&host.data()), host.gateway.clone());
    host.kill();
    let log = host.folder.path().join("access.log");
    host.start_with(&["--access-log", log.to_str().expect("a plain path")]);
    assert_eq!(host.gateway, address);
    host.until("the one before has ended", |_| !std::path::Path::new(&format!("/proc/{first}/exe")).exists());
    assert_ne!(gateway_of(&host.data()), first);
    let after = host.until("more is counted", |status| {
        status["canary"]["requests"].as_u64() > before["canary"]["requests"].as_u64().map(|count| count + 20)
    });
    assert_eq!((&after["id"], &after["state"]), (&before["id"], &"holding".into()));
    assert!(fs::read_to_string(&log).expect("a log").contains("\"status\":200"));
    let told = text(&host.davy(&["rollout", "explain", "--json"]));
    assert!(!told.contains("router-restarted") && !told.contains("lapse"), "{told}");
    let (sent, failed) = load.stop();
    assert!(sent > 100 && failed == 0, "{failed} of {sent}");
    assert!(host.davy(&["rollout", "abort"]).status.success());
    host.down();
}

#[test]
fn a_killed_gateway_comes_back_with_stable_and_the_rollout_goes_on() {
    let host = serving(SLOW);
    let load = Load::start(&host.gateway);
    host.write("v2", SLOW);
    assert!(host.davy(&["deploy"]).status.success());
    host.until("holding", |status| status["state"] == "holding" && !status["weight"]["observed"].is_null());
    let first = gateway_of(&host.data());
    let killed = Command::new("kill").args(["-9", &first.to_string()]).status().expect("kill runs");
    assert!(killed.success());
    host.until("answering", |_| host.get().is_some_and(|(status, _)| status == 200));
    assert_ne!(gateway_of(&host.data()), first);
    host.until("told", |_| text(&host.davy(&["rollout", "explain", "--json"])).contains("router-restarted"));
    host.until("holding again", |status| status["state"] == "holding" && !status["weight"]["observed"].is_null());
    load.stop();
    host.down();
}
