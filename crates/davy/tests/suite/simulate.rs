//! `davy simulate` over assumed traffic; over recorded traffic it is tried where there is a rollout.

use crate::host::{Host, text};
use serde_json::Value;

fn told(host: &Host, words: &[&str]) -> Vec<Value> {
    let words: Vec<&str> = ["simulate", "--json"].into_iter().chain(words.iter().copied()).collect();
    let output = host.davy(&words);
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn policies_are_told_beside_each_other_without_any_file() {
    let host = Host::new();
    let words = [
        "--rate",
        "100",
        "--baseline",
        "0.1%",
        "--canary",
        "5%",
        "--runs",
        "60",
        "--seed",
        "7",
        "--steps",
        "10%,25%,50%",
        "--hold",
        "30s",
        "--deadline",
        "10m",
        "--alpha",
        "0.01",
        "--beta",
        "0.05",
        "--policy",
        "davy",
        "--policy",
        "check:60s,1%",
        "--policy",
        "interval:60s,99%,5",
        "--policy",
        "failure-limit:5m,95%,3",
        "--policy",
        "rank:50",
    ];
    let first = told(&host, &words);
    let names: Vec<&str> = first.iter().filter_map(|line| line["policy"].as_str()).collect();
    assert_eq!(names, ["davy", "check:60s,1%", "interval:60s,99%,5", "failure-limit:5m,95%,3", "rank:50"]);
    for line in &first {
        let mut keys: Vec<&str> = line.as_object().expect("an object").keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["harm", "policy", "promoted", "rolled_back", "runs", "seconds", "type", "undecided"]);
        assert_eq!((&line["type"], &line["runs"]), (&"summary".into(), &60.into()));
        let sum: u64 = ["rolled_back", "promoted", "undecided"].iter().filter_map(|key| line[*key].as_u64()).sum();
        assert_eq!(sum, 60, "{line}");
        assert!(line["harm"]["p50"].as_u64() <= line["harm"]["p90"].as_u64(), "{line}");
        assert!(line["seconds"]["p50"].as_f64() <= line["seconds"]["p95"].as_f64(), "{line}");
    }
    assert_eq!(first[0]["rolled_back"], 60);
    assert!(first[0]["harm"]["p50"].as_u64() <= Some(5), "{}", first[0]);
    assert!(first[1]["harm"]["p50"].as_u64() >= Some(20), "{}", first[1]);
    assert_eq!(told(&host, &words), first, "the same seed says the same");
    let table = host.davy(&["simulate", "--runs", "20", "--canary", "50%", "--policy", "davy", "--policy", "oracle"]);
    let table = text(&table);
    assert!(
        table.contains("rolled back") && table.contains("100.00% (83.16–100.00)") && table.contains("oracle"),
        "{table}"
    );
}

#[test]
fn a_file_s_strategy_is_what_is_simulated() {
    let host = Host::new();
    host.write("v1", "rollout: { rolling: { hold: 5s } }\n");
    let good = told(&host, &["--runs", "20", "--rate", "200", "--canary", "0.1%"]);
    assert_eq!(good[0]["promoted"], 20, "{good:?}");
    let bad = told(&host, &["--runs", "20", "--rate", "200", "--canary", "20%"]);
    assert_eq!(bad[0]["rolled_back"], 20, "{bad:?}");
    // A flag has the last word.
    let canary =
        told(&host, &["--runs", "20", "--rate", "200", "--canary", "20%", "--steps", "1%,10%", "--hold", "1s"]);
    assert!(canary[0]["harm"]["p50"].as_u64() < bad[0]["harm"]["p50"].as_u64(), "{canary:?} {bad:?}");
}

#[test]
fn what_cannot_be_simulated_is_refused_with_a_reason() {
    let host = Host::new();
    for (words, says) in [
        (["--canary", "20"], "no percentage"),
        (["--baseline", "101%"], "no percentage"),
        (["--rate", "0"], "requests a second"),
        (["--runs", "0"], "from 1"),
        (["--steps", "50%,10%"], "above the one before"),
        (["--hold", "2h"], "longer than the deadline"),
        (["--alpha", "1"], "alpha is 1"),
        (["--beta", "1"], "beta is 1"),
        (["--policy", "luck"], "no policy"),
        (["--rollout", "r"], "no journal"),
        (["--file", "nowhere.yaml"], "cannot read"),
    ] {
        let output = host.davy(&["simulate", words[0], words[1], "--data", "nowhere"]);
        assert!(output.status.code() == Some(2) && text(&output).contains(says), "{words:?}: {}", text(&output));
    }
}
