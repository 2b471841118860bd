//! The split is the one asked for, and the counts are what happened.

use crate::house::{Connection, Gateway, Instance, PATIENCE, Sum, release, steady, sum, target, trial, until};
use davy_core::{Cohort, Failures, Millis, Role, Weight, Window};
use davy_ports::{Cursor, Router};
use hyper::StatusCode;
use std::{collections::BTreeMap, net::SocketAddr, sync::atomic::Ordering::Relaxed, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

/// Whether so many of `n` are within what chance allows for share `p` (|z| ≤ 3.89: one run in 10,000 is outside).
fn plausible(count: u64, n: u64, p: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let (count, n) = (count as f64, n as f64);
    (count - n * p).abs() <= 3.89 * (n * p * (1.0 - p)).sqrt() + 1.0
}

#[tokio::test]
async fn requests_are_split_by_weight_and_counted_where_they_went() {
    let gateway = Gateway::start().await;
    let (mut seen, mut after) = (0, None);
    for (generation, weight) in [(1, 100), (2, 2_500), (3, 5_000)] {
        let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
        gateway.client.serve(&trial(generation, weight, &stable, &canary)).await.unwrap();
        let mut connection = Connection::open(gateway.address).await;
        let n = 3_000;
        for _ in 0..n {
            assert_eq!(connection.status("/").await, StatusCode::OK);
        }
        seen += n;
        let windows = gateway
            .windows(after.clone(), |windows| sum(windows, "v1").answered + sum(windows, "v2").answered == n)
            .await;
        let last = windows.last().unwrap();
        after = Some(Cursor { boot: last.boot.clone(), sequence: last.sequence });
        assert_eq!(stable.hits() + canary.hits(), n);
        assert_eq!(sum(&windows, "v1").answered, stable.hits());
        assert_eq!(sum(&windows, "v2").answered, canary.hits());
        assert_eq!(sum(&windows, "v2").latencies, canary.hits());
        assert_eq!(sum(&windows, "v2").failures, Failures::default());
        assert!(plausible(canary.hits(), n, f64::from(weight) / 10_000.0), "{} of {n} at {weight}", canary.hits());
        let counted = windows.iter().filter(|window| !window.cells.is_empty());
        assert!(counted.clone().all(|window| window.generation.0 == generation), "{windows:#?}");
        assert!(counted.clone().all(|window| window.weight == Weight::new(weight).unwrap()), "{windows:#?}");
        assert!(windows.iter().all(|window| window.unserved == 0));
    }
    assert_eq!(seen, 9_000);
}

#[tokio::test]
async fn failures_are_counted_by_kind() {
    let gateway = Gateway::start().await;
    let instance = Instance::start("v1").await;
    gateway.client.serve(&Snapshot::with_timeout(&instance)).await.unwrap();
    assert_eq!(gateway.get("/error").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(gateway.get("/never").await.0, StatusCode::GATEWAY_TIMEOUT);
    let head = b"GET /broken HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";
    let answer = crate::house::raw(gateway.address, head).await;
    assert!(answer.contains("begun") && !answer.ends_with("0\r\n\r\n"), "{answer}");
    let windows = gateway.windows(None, |windows| sum(windows, "v1").answered == 3).await;
    assert_eq!(sum(&windows, "v1").failures, Failures { status: 1, timeout: 1, refused: 0, reset: 1 });

    // Nobody listens: refused. Whoever closes before an answer: reset.
    let gone = listener_gone().await;
    let mut nobody = steady(2, &[]);
    nobody.serve[0].instances = vec![backend(gone)];
    gateway.client.serve(&nobody).await.unwrap();
    assert_eq!(gateway.get("/").await.0, StatusCode::BAD_GATEWAY);
    let windows = gateway.windows(None, |windows| sum(windows, "v1").failures.refused == 1).await;
    assert_eq!(sum(&windows, "v1").failures.reset, 1);
    let mute = mute().await;
    nobody.generation = nobody.generation.next();
    nobody.health.path = None;
    nobody.serve[0].instances = vec![backend(mute)];
    gateway.client.serve(&nobody).await.unwrap();
    assert_eq!(gateway.get("/").await.0, StatusCode::BAD_GATEWAY);
    gateway.windows(None, |windows| sum(windows, "v1").failures.reset == 2).await;
}

#[tokio::test]
async fn a_client_that_leaves_is_nobodys_failure() {
    let gateway = Gateway::start().await;
    let instance = Instance::start("v1").await;
    gateway.client.serve(&steady(1, &[&instance])).await.unwrap();
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.write_all(b"GET /hold HTTP/1.1\r\nhost: shop.test\r\n\r\n").await.unwrap();
    until("the request is under way", || async { instance.held.load(Relaxed) == 1 }).await;
    drop(socket);
    // In the middle of a body, too.
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.write_all(b"POST /sink HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 100\r\n\r\nbegun").await.unwrap();
    until("its body is read", || async { instance.sunk.load(Relaxed) == 5 }).await;
    drop(socket);
    let windows = gateway.windows(None, |windows| sum(windows, "v1").client_gone == 2).await;
    let sum = sum(&windows, "v1");
    assert_eq!((sum.routed, sum.answered, sum.failures.total()), (2, 0, 0));
}

#[tokio::test]
async fn requests_without_any_backend_are_the_gateways_own_failures() {
    let gateway = Gateway::start().await;
    let mut empty = steady(1, &[]);
    empty.serve.clear();
    gateway.client.serve(&empty).await.unwrap();
    assert_eq!(gateway.get("/").await.0, StatusCode::SERVICE_UNAVAILABLE);
    let unserved = |windows: &[Window]| windows.iter().map(|window| window.unserved).sum::<u64>() == 1;
    gateway.windows(None, unserved).await;
}

#[tokio::test]
async fn an_unhealthy_canary_gets_nothing_and_stable_is_counted() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    canary.healthy.store(false, Relaxed);
    gateway.client.serve(&trial(1, 9_900, &stable, &canary)).await.unwrap();
    until("the canary is seen to be unhealthy", || async {
        let before = canary.hits();
        for _ in 0..5 {
            assert_eq!(gateway.get("/").await.0, StatusCode::OK);
        }
        canary.hits() == before
    })
    .await;
    let total = stable.hits() + canary.hits();
    let windows =
        gateway.windows(None, |windows| sum(windows, "v1").answered + sum(windows, "v2").answered == total).await;
    assert_eq!(sum(&windows, "v1").answered, stable.hits());
    assert_eq!(sum(&windows, "v2").answered, canary.hits());
    canary.healthy.store(true, Relaxed);
    until("the canary is asked again", || async { gateway.get("/").await.1 == "v2" }).await;
}

#[tokio::test]
async fn one_unhealthy_instance_of_two_is_left_out_and_the_last_one_is_asked_all_the_same() {
    let gateway = Gateway::start().await;
    let (one, other) = (Instance::start("one").await, Instance::start("other").await);
    gateway.client.serve(&steady(1, &[&one, &other])).await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(gateway.get("/").await.1);
    }
    answers.sort();
    assert_eq!(answers, ["one", "one", "other", "other"]);
    one.healthy.store(false, Relaxed);
    until("one is left out", || async {
        let before = one.hits();
        for _ in 0..4 {
            gateway.get("/").await;
        }
        one.hits() == before
    })
    .await;
    other.healthy.store(false, Relaxed);
    until("both are asked as a last resort", || async { gateway.get("/").await.1 == "one" }).await;
    assert_eq!(gateway.get("/").await.0, StatusCode::OK);
}

#[tokio::test]
async fn one_that_is_back_before_its_health_was_seen_is_asked_when_no_other_can_be_reached() {
    let gateway = Gateway::start().await;
    let (back, other) = (Instance::start("back").await, Instance::start("other").await);
    back.healthy.store(false, Relaxed);
    gateway.client.serve(&steady(1, &[&back, &other])).await.unwrap();
    until("it is left out", || async {
        let before = back.hits();
        for _ in 0..4 {
            gateway.get("/").await;
        }
        back.hits() == before
    })
    .await;
    let mut after = steady(2, &[&back, &other]);
    // Nobody listens there.
    after.serve[0].instances[1].address = SocketAddr::from(([127, 0, 0, 1], 1));
    gateway.client.serve(&after).await.unwrap();
    for _ in 0..4 {
        assert_eq!(gateway.get("/").await, (StatusCode::OK, "back".to_owned()));
    }
}

#[tokio::test]
async fn requests_under_way_are_told_also_of_a_release_that_is_gone() {
    let gateway = Gateway::start().await;
    let (old, new) = (Instance::start("v1").await, Instance::start("v2").await);
    gateway.client.serve(&steady(1, &[&old])).await.unwrap();
    let address = gateway.address;
    let waiting = tokio::spawn(async move { Connection::open(address).await.status("/hold").await });
    until("a request is held", || async { old.held.load(Relaxed) == 1 }).await;
    let mut after = steady(2, &[]);
    after.serve = vec![target("v2", Role::Stable, 10_000, &[&new])];
    let serving = gateway.client.serve(&after).await.unwrap();
    assert_eq!(serving.in_flight(&release("v1")), 1);
    assert_eq!(gateway.get("/").await.1, "v2");
    old.release.notify_one();
    assert_eq!(tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap(), StatusCode::OK);
    until("nothing is under way", || async {
        let serving = gateway.client.observe(&after.key).await.unwrap().unwrap();
        serving.in_flight(&release("v1")) == 0
    })
    .await;
    // It is counted in the epoch in which it was routed.
    let windows = gateway.windows(None, |windows| sum(windows, "v1").answered == 1).await;
    let counted = windows.iter().find(|window| sum(std::slice::from_ref(window), "v1").answered == 1).unwrap();
    assert_eq!(counted.generation.0, 1);
}

#[tokio::test]
async fn windows_go_on_after_a_cursor_without_a_gap_or_a_repetition() {
    let gateway = Gateway::start().await;
    let instance = Instance::start("v1").await;
    gateway.client.serve(&steady(1, &[&instance])).await.unwrap();
    let mut sequences = Vec::new();
    let mut after = None;
    for round in 1..=4_usize {
        let windows = gateway.windows(after.clone(), |windows| windows.len() >= 3).await;
        sequences.extend(windows.iter().map(|window| window.sequence));
        let last = windows.last().unwrap();
        after = Some(Cursor { boot: last.boot.clone(), sequence: last.sequence });
        assert!(sequences.len() >= 3 * round);
        // Nobody listens for a while: what happened meanwhile is kept.
        assert_eq!(gateway.get("/").await.0, StatusCode::OK);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let expected: Vec<u64> = (1..=sequences.len() as u64).collect();
    assert_eq!(sequences, expected);
    let windows = gateway.windows(None, |windows| sum(windows, "v1").answered == 4).await;
    assert_eq!(windows[0].sequence, 1);
}

#[tokio::test]
async fn a_connection_that_the_instance_closed_fails_no_request() {
    let gateway = Gateway::start().await;
    let address = closing().await;
    let mut snapshot = steady(1, &[]);
    snapshot.health.path = None;
    snapshot.serve[0].instances = vec![backend(address)];
    gateway.client.serve(&snapshot).await.unwrap();
    let mut connection = Connection::open(gateway.address).await;
    for _ in 0..500 {
        assert_eq!(connection.status("/").await, StatusCode::OK);
    }
    let windows = gateway.windows(None, |windows| sum(windows, "v1").answered == 500).await;
    assert_eq!(sum(&windows, "v1").failures.total(), 0);
}

struct Snapshot;

impl Snapshot {
    fn with_timeout(instance: &Instance) -> davy_core::Snapshot {
        davy_core::Snapshot { timeout: Millis(300), ..steady(1, &[instance]) }
    }
}

fn backend(address: SocketAddr) -> davy_core::Backend {
    davy_core::Backend { id: davy_core::InstanceId::new(address.to_string()), address }
}

/// An address where nobody listens.
async fn listener_gone() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Reads and closes, and never says a word.
async fn mute() -> SocketAddr {
    use tokio::io::AsyncReadExt;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move { socket.read(&mut [0; 1024]).await.ok() });
        }
    });
    address
}

/// Answers one request on each connection, promises to keep it, and closes it.
async fn closing() -> SocketAddr {
    use tokio::io::AsyncReadExt;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = [0; 1024];
                let _some = socket.read(&mut head).await;
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.ok();
            });
        }
    });
    address
}

/// A request is told by when it was admitted, however long it takes and whatever else is told with it.
#[tokio::test]
async fn requests_are_told_by_when_they_were_admitted() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    gateway.client.serve(&trial(1, 5_000, &stable, &canary)).await.unwrap();
    let cohorts = |windows: &[Window]| {
        let mut sums: BTreeMap<u64, Cohort> = BTreeMap::new();
        for cohort in windows.iter().flat_map(|window| &window.cohorts) {
            let sum = sums.entry(cohort.number).or_default();
            sum.routed += cohort.routed;
            sum.heard += cohort.heard;
            sum.gone += cohort.gone;
            sum.latency.extend(&cohort.latency);
        }
        sums
    };
    let holding = async {
        let held = || async { stable.held.load(Relaxed) + canary.held.load(Relaxed) == 1 };
        until("a request is held", held).await;
        // Others pass it, in this second and in the next ones.
        let passing = async {
            loop {
                gateway.get("/").await;
            }
        };
        let windows = tokio::select! {
            windows = gateway.windows(None, |windows| cohorts(windows).len() == 3) => windows,
            () = passing => Vec::new(),
        };
        let waiting = |cohort: &Cohort| cohort.routed - cohort.heard;
        assert_eq!(cohorts(&windows).values().map(waiting).next(), Some(1), "{windows:#?}");
        [&stable, &canary].into_iter().for_each(|instance| instance.release.notify_one());
    };
    let (answer, ()) = tokio::join!(gateway.get("/hold"), holding);
    assert_eq!(answer.0, StatusCode::OK);
    let settled = |windows: &[Window]| cohorts(windows).values().all(|cohort| cohort.routed == cohort.heard);
    let [all, ended] = [|sum: Sum| sum.routed, |sum: Sum| sum.answered + sum.client_gone]
        .map(|of| move |windows: &[Window]| of(sum(windows, "v1")) + of(sum(windows, "v2")));
    let windows = gateway
        .windows(None, |windows| cohorts(windows).len() >= 3 && settled(windows) && ended(windows) == all(windows))
        .await;
    let told = cohorts(&windows);
    assert_eq!(told.values().map(|cohort| cohort.routed).sum::<u64>(), all(&windows));
    let count = |cohort: &Cohort| cohort.latency.iter().map(|(_, count)| count).sum::<u64>();
    assert!(told.values().all(|cohort| count(cohort) + cohort.gone == cohort.routed), "{told:?}");
    // It took longer than its second, and is told with that all the same.
    let (first, cohort) = told.first_key_value().unwrap();
    assert!(cohort.latency.iter().any(|(bucket, _)| *bucket > davy_core::bucket_of(900_000)), "{first}: {cohort:?}");
}

/// Where there is nothing to compare nobody asks.
#[tokio::test]
async fn a_release_alone_tells_no_cohorts() {
    let gateway = Gateway::start().await;
    let stable = Instance::start("v1").await;
    gateway.client.serve(&steady(1, &[&stable])).await.unwrap();
    gateway.get("/").await;
    let windows = gateway.windows(None, |windows| sum(windows, "v1").answered == 1).await;
    assert!(windows.iter().all(|window| window.cohorts.is_empty() && window.from < window.to));
    assert!(windows.windows(2).all(|two| two[0].to == two[1].from), "one follows the other");
}
