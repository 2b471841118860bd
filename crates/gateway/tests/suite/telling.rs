//! What the gateway tells: the access log, the metrics; and that a refused connection is tried elsewhere.

use crate::house::{Connection, Gateway, Instance, PATIENCE, raw, steady, sum, target, until};
use davy_core::{Backend, InstanceId, Role};
use davy_ports::Router;
use hyper::StatusCode;
use serde_json::Value;
use std::{fs, path::Path};
use tempfile::TempDir;
use tokio::net::TcpListener;

async fn shop(words: &[&str], folder: TempDir) -> (Gateway, Instance) {
    let gateway = Gateway::start_in(folder, words).await;
    let instance = Instance::start("v1").await;
    gateway.client.serve(&steady(1, &[&instance])).await.unwrap();
    (gateway, instance)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn every_request_has_one_line_without_what_is_secret() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("access.log");
    let (gateway, instance) = shop(&["--access-log", &path.display().to_string()], folder).await;
    let ask = |line: &str| {
        format!("{line} HTTP/1.1\r\nhost: shop.test\r\nauthorization: s3cret\r\nconnection: close\r\n\r\n")
    };
    raw(gateway.address, ask("GET /a?token=s3cret").as_bytes()).await;
    raw(gateway.address, ask("POST /error").as_bytes()).await;
    raw(gateway.address, b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n").await;
    let mut snapshot = steady(2, &[&instance]);
    snapshot.serve[0].instances[0].address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    gateway.client.serve(&snapshot).await.unwrap();
    raw(gateway.address, ask("GET /gone").as_bytes()).await;
    until("all lines are there", || async { lines(&path).len() == 4 }).await;
    // Each worker writes its own lines: their order is that of their times.
    let mut lines = lines(&path);
    lines.sort_by_key(|line| line["time"].to_string());
    let of = |name: &str| lines.iter().map(|line| line[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("status"), [200, 500, 400, 502]);
    assert_eq!(of("path"), ["/a", "/error", "/", "/gone"]);
    assert_eq!(of("method"), ["GET", "POST", "GET", "GET"]);
    assert_eq!(of("bytes")[..2], [2, 2]);
    assert_eq!(of("gateway"), [Value::Null, Value::Null, "G400".into(), "G502".into()]);
    assert_eq!(of("release"), ["v1".into(), "v1".into(), Value::Null, "v1".into()]);
    assert_eq!(
        of("service"),
        ["production/shop".into(), "production/shop".into(), Value::Null, "production/shop".into()]
    );
    assert_eq!(lines[0]["client"], "127.0.0.1");
    assert_eq!(lines[0]["host"], "shop.test");
    assert_eq!(lines[0]["protocol"], "HTTP/1.1");
    assert_eq!(lines[0]["instance"], instance.address.to_string());
    assert!(lines[0]["time"].as_str().unwrap().ends_with('Z') && lines[0]["duration_us"].as_u64().unwrap() > 0);
    assert!(!fs::read_to_string(&path).unwrap().contains("s3cret"));
}

#[tokio::test]
async fn a_gateway_that_ends_has_written_its_last_lines() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("access.log");
    let (mut gateway, _instance) = shop(&["--access-log", &path.display().to_string()], folder).await;
    for _ in 0..50 {
        gateway.get("/").await;
    }
    gateway.client.shutdown().await.unwrap();
    assert!(gateway.child.wait().unwrap().success());
    assert_eq!(lines(&path).len(), 50);
}

#[tokio::test]
async fn the_log_goes_on_in_a_new_file_when_it_was_moved() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("access.log");
    let (gateway, _instance) = shop(&["--access-log", &path.display().to_string()], folder).await;
    gateway.get("/before").await;
    until("the first line is there", || async { lines(&path).len() == 1 }).await;
    let aside = path.with_extension("aside");
    fs::rename(&path, &aside).unwrap();
    let pid = rustix::process::Pid::from_child(&gateway.child);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    until("a new file is there", || async {
        gateway.get("/after").await;
        !lines(&path).is_empty()
    })
    .await;
    assert_eq!(lines(&aside)[0]["path"], "/before");
    assert_eq!(lines(&path)[0]["path"], "/after");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_stops_nobody() {
    let folder = TempDir::new().unwrap();
    let (gateway, _instance) = shop(&["--access-log", "/dev/full"], folder).await;
    let mut connection = Connection::open(gateway.address).await;
    for _ in 0..500 {
        assert_eq!(connection.status("/").await, StatusCode::OK);
    }
    until("what was dropped is told", || async {
        let told = gateway.client.metrics().await.unwrap();
        value(&told, "davy_gateway_access_log_dropped_total") > 0.0
    })
    .await;
}

/// The value of a series.
fn value(told: &str, series: &str) -> f64 {
    let line = told.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not told:\n{told}")).parse().unwrap()
}

#[tokio::test]
async fn metrics_tell_what_happened() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (gateway, _instance) = shop(&["--metrics", &free.to_string()], TempDir::new().unwrap()).await;
    for _ in 0..3 {
        gateway.get("/").await;
    }
    gateway.get("/error").await;
    raw(gateway.address, b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n").await;
    let of = "service=\"shop\",environment=\"production\"";
    until("all is told", || async {
        let told = gateway.client.metrics().await.unwrap();
        value(&told, &format!("davy_gateway_requests_total{{{of},release=\"v1\",class=\"5xx\"}}")) == 1.0
    })
    .await;
    let ask = b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let told = raw(free, ask).await;
    assert!(told.starts_with("HTTP/1.1 200") && told.contains("text/plain; version=0.0.4"), "{told}");
    for (series, expected) in [
        (format!("davy_gateway_requests_total{{{of},release=\"v1\",class=\"2xx\"}}"), 3.0),
        (format!("davy_gateway_requests_in_flight{{{of},release=\"v1\"}}"), 0.0),
        (format!("davy_gateway_request_seconds_bucket{{{of},release=\"v1\",le=\"+Inf\"}}"), 4.0),
        (format!("davy_gateway_request_seconds_count{{{of},release=\"v1\"}}"), 4.0),
        (format!("davy_gateway_mode{{{of},mode=\"split\"}}"), 1.0),
        (format!("davy_gateway_generation{{{of}}}"), 1.0),
        ("davy_gateway_malformed_total".to_owned(), 1.0),
        ("davy_gateway_connections_total{tls=\"no\"}".to_owned(), 5.0),
    ] {
        assert!((value(&told, &series) - expected).abs() < 1e-9, "{series} is not {expected}:\n{told}");
    }
    // Each name is described once, and each series is told once.
    let names: Vec<&str> = told.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let mut series: Vec<&str> =
        told.lines().filter(|line| line.starts_with("davy_")).map(|line| line.rsplit_once(' ').unwrap().0).collect();
    let count = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), count);
    let mut once = names.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), names.len());
    let other = raw(free, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(other.starts_with("HTTP/1.1 404"), "{other}");
}

#[tokio::test]
async fn a_request_that_nobody_took_goes_to_another_instance_of_the_same_release() {
    let gateway = Gateway::start().await;
    let (well, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut snapshot = steady(1, &[]);
    // Nothing is seen to be unhealthy in this time: only the request itself finds out.
    snapshot.health.interval = davy_core::Millis::seconds(60);
    let mut stable = target("v1", Role::Stable, 10_000, &[&well]);
    stable.instances.insert(0, Backend { id: InstanceId::new("gone"), address: gone });
    snapshot.serve = vec![stable, target("v2", Role::Canary, 0, &[&canary])];
    gateway.client.serve(&snapshot).await.unwrap();
    let mut connection = Connection::open(gateway.address).await;
    for _ in 0..10 {
        assert_eq!(connection.status("/").await, StatusCode::OK);
    }
    // Whatever the method: nothing of it was sent.
    let post = "POST /sink HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
    for _ in 0..2 {
        assert!(raw(gateway.address, post.as_bytes()).await.starts_with("HTTP/1.1 200"));
    }
    let windows = gateway.windows(None, |windows| sum(windows, "v1").answered == 12).await;
    let counted = sum(&windows, "v1");
    assert_eq!((counted.routed, counted.failures.total()), (12, 0), "each is counted once");
    assert_eq!((well.hits(), canary.hits()), (12, 0));
    let told = gateway.client.metrics().await.unwrap();
    assert!((value(&told, "davy_gateway_retries_total") - 6.0).abs() < 1e-9, "{told}");
    // Where there is no other, it is a failure.
    snapshot.generation = snapshot.generation.next();
    snapshot.serve[0].instances.pop();
    gateway.client.serve(&snapshot).await.unwrap();
    let status = tokio::time::timeout(PATIENCE, connection.status("/")).await.unwrap();
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    gateway.windows(None, |windows| sum(windows, "v1").failures.refused == 1).await;
    assert_eq!(canary.hits(), 0, "another release is not asked instead");
}
