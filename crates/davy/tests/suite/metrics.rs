//! A service's own counters, scraped by a real Prometheus server, decide over its rollouts.

use crate::{
    host::{Host, Load, last, text},
    prometheus::Server,
};
use serde_json::Value;
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Writes down what is to be scraped, for as long as it lives.
struct Discovery {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Discovery {
    fn of(host: &Host) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, file) = (Arc::clone(&stop), host.folder.path().join("targets.json"));
        let mut command = host.command(&["service", "show", "logo", "--json"]);
        let thread = std::thread::spawn(move || {
            let mut told = String::new();
            while !ended.load(Ordering::SeqCst) {
                let output = command.output().expect("davy runs");
                let service: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
                let all = service["instances"].as_array().cloned().unwrap_or_default();
                let targets: Vec<Value> = all.into_iter().map(|instance| instance["address"].clone()).collect();
                let text = serde_json::json!([{ "targets": targets }]).to_string();
                if text != told {
                    let new = file.with_extension("new");
                    fs::write(&new, &text).and_then(|()| fs::rename(&new, &file)).expect("a file");
                    told = text;
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// The first version serves, and both are scraped.
fn serving(prometheus: impl FnOnce(&Host) -> Server) -> (Host, Server, Discovery, String) {
    let host = Host::up();
    host.write("v1", "");
    let first = host.davy(&["deploy", "--watch"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    let discovery = Discovery::of(&host);
    let server = prometheus(&host);
    let rest = format!(
        "environments: {{ production: {{ metrics: {{ prometheus: \"{}\", interval: 1s }} }} }}\n\
         rollout:\n  canary: {{ steps: [50%, 100%], hold: 3s, deadline: 60s }}\n  drain: 1s\n  bake: 1s\n  analysis:\n    \
         latency: {{ not-slower-than: off }}\n    metrics:\n      - name: spoiled-logos\n        \
         prometheus: 'logo_spoiled_total{{release=\"$release\"}}'\n        of: 'logo_requests_total{{release=\"$release\"}}'\n",
        server.url
    );
    (host, server, discovery, rest)
}

fn following(host: &Host) -> Server {
    Server::following(&host.folder.path().join("targets.json"))
}

#[test]
fn a_version_that_only_its_own_counters_know_to_be_bad_is_taken_back_and_told() {
    let (host, _server, _discovery, rest) = serving(following);
    let load = Load::start(&host.gateway);
    host.write("v2 --spoiled 30%", &rest);
    let output = host.davy(&["deploy", "--watch", "--json"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let outcome = last(&output);
    assert_eq!(outcome["outcome"], "rolled-back");
    let explained = text(&host.davy(&["rollout", "explain"]));
    assert!(explained.contains("spoiled-logos"), "{explained}");
    let data = host.data();
    let replayed = host.davy(&["judge", "rollout", "--json", "--data", data.to_str().expect("a plain path")]);
    assert!(replayed.status.success(), "{}", text(&replayed));
    assert!(host.davy(&["audit", "verify"]).status.success());
    let (_, failed) = load.stop();
    assert_eq!(failed, 0, "no request failed: only what was in it was wrong");
    host.down();
}

#[test]
fn a_good_version_is_promoted_by_requests_and_metrics() {
    let (host, _server, _discovery, rest) = serving(following);
    let load = Load::start(&host.gateway);
    host.write("v2", &rest);
    let output = host.davy(&["deploy", "--watch", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    load.stop();
    host.down();
}

#[test]
fn while_the_metrics_server_is_away_the_rollout_is_blind_and_goes_nowhere() {
    let (host, mut server, _discovery, rest) = serving(following);
    let server_url = server.url.clone();
    let none = host.post("/api/services/production/logo/metrics/check", "").1;
    assert_eq!(
        (&none["source"], &none["metrics"]),
        (&Value::Null, &Value::Array(Vec::new())),
        "the first version names none"
    );
    let load = Load::start(&host.gateway);
    host.write("v2", &rest.replace("hold: 3s", "hold: 20s"));
    assert!(host.davy(&["deploy"]).status.success());
    host.until("measured", |status| status["metrics"][0]["canary"]["of"].as_u64() > Some(0));
    let checked = || {
        let (status, checked) = host.post("/api/services/production/logo/metrics/check", "");
        assert_eq!(
            (status, &checked["type"], &checked["source"]),
            (200, &"metrics-checked".into(), &server_url.clone().into())
        );
        checked
    };
    let well = checked();
    assert!(well["trouble"].is_null() && well["interval_ms"] == 1_000, "{well:#}");
    let metric = &well["metrics"][0];
    assert_eq!((&metric["name"], &metric["ok"]), (&"spoiled-logos".into(), &true.into()), "{well:#}");
    let counters = metric["counters"].as_array().expect("counters");
    let each: Vec<_> = counters.iter().map(|one| (one["role"].as_str(), one["of"].as_str())).collect();
    let of = |role| [(Some(role), Some("tries")), (Some(role), Some("failures"))];
    assert_eq!(each, [of("canary"), of("stable")].concat(), "{well:#}");
    for one in counters {
        let (query, release) = (one["query"].as_str().expect("a query"), one["release"].as_str().expect("a release"));
        assert!(query.contains(release) && one["value"].is_u64() && one["age_ms"].is_u64(), "{one:#}");
        assert!(one["series"].as_u64() > Some(0), "{one:#}");
    }
    server.kill();
    let away = checked();
    assert!(away["trouble"].as_str().is_some_and(|why| why.contains("metrics' server")), "{away:#}");
    assert!(away["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{away:#}");
    assert_eq!(
        (&away["metrics"][0]["ok"], &away["metrics"][0]["counters"]),
        (&false.into(), &Value::Array(Vec::new()))
    );
    let blind = host.until("blind", |status| status["verdict"] == "blind");
    assert_eq!((&blind["state"], blind["step"].as_u64()), (&"holding".into(), Some(0)));
    assert!(blind["metrics"][0]["blind"].as_str().is_some_and(|why| why.contains("metrics' server")), "{blind:#}");
    // Its hold is long over, and its requests have proven it: without the metric it stays.
    host.until("proven by its requests", |status| {
        assert_eq!(status["step"].as_u64(), Some(0), "{status:#}");
        status["judged"]["evidence"]["promotion"]["proven"] == true
    });
    let since = host.status()["now"].as_u64();
    host.until("beyond its hold", |status| {
        assert_eq!(status["step"].as_u64(), Some(0), "{status:#}");
        status["now"].as_u64() > since.map(|since| since + 22_000)
    });
    assert!(host.davy(&["rollout", "abort"]).status.success());
    load.stop();
    host.down();
}
