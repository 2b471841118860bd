//! The gateway's own guard: a canary that fails is cut off by who carries its requests, and stays so.

use crate::house::{Gateway, Instance, key, release, steady, sum, trial, until};
use davy_core::{FallbackCause, Millis, Mode, RolloutId, Serving, Snapshot, Weight};
use davy_judge::guard::Order;
use davy_ports::{Retry, Router};
use http_body_util::Full;
use hyper::{Request, StatusCode, header};
use std::sync::atomic::Ordering::Relaxed;

fn order() -> Order {
    Order { alpha: 0.003, odds: 1.0, relative: true, limits: Vec::new(), past: false, cluster: 1.0 }
}

/// Seldom asked for its health: what is tested is what requests show.
fn guarded(generation: u64, weight: u16, stable: &Instance, canary: &Instance) -> Snapshot {
    let mut snapshot = trial(generation, weight, stable, canary);
    snapshot.health.interval = Millis::seconds(20);
    Snapshot { rollout: Some(RolloutId::new("r1")), guard: Some(order()), ..snapshot }
}

async fn serving(gateway: &Gateway) -> Serving {
    gateway.client.observe(&key("shop")).await.unwrap().unwrap()
}

fn is_cut(serving: &Serving) -> bool {
    matches!(serving.mode, Mode::Fallback { cause: FallbackCause::Guard, .. })
}

/// Asks until the guard has cut the canary off; how many requests failed.
async fn ask_until_cut(gateway: &Gateway, most: u64) -> u64 {
    let mut failed = 0;
    while !is_cut(&serving(gateway).await) {
        failed += u64::from(gateway.get("/").await.0 == StatusCode::INTERNAL_SERVER_ERROR);
        assert!(failed <= most, "{failed} requests failed");
    }
    failed
}

#[tokio::test]
async fn a_canary_that_fails_is_cut_off_within_a_handful_and_stays_so() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    gateway.client.serve(&guarded(1, 5_000, &stable, &canary)).await.unwrap();
    for _ in 0..50 {
        assert_eq!(gateway.get("/").await.0, StatusCode::OK);
    }
    let before = canary.hits();
    canary.fails.store(true, Relaxed);
    let failed = ask_until_cut(&gateway, 20).await;
    assert_eq!(failed, canary.hits() - before);
    for _ in 0..50 {
        assert_eq!(gateway.get("/").await, (StatusCode::OK, "v1".to_owned()));
    }
    // It says what it rests on, and anybody can compute it again.
    let cut = serving(&gateway).await.cut.unwrap();
    assert_eq!((cut.rollout.as_str(), &cut.release), ("r1", &release("v2")));
    assert!(cut.finding.holds(), "{cut:?}");
    assert_eq!((cut.finding.run, cut.finding.order.clone()), (1, order()));
    assert_eq!(cut.finding.counts().0.failed, failed);
    let windows = gateway
        .windows(None, |windows| {
            let fallen: Vec<_> = windows.iter().filter(|window| window.weight == Weight::NONE).cloned().collect();
            sum(&fallen, "v1").answered >= 50
        })
        .await;
    assert_eq!(sum(&windows, "v2").failures.status, failed);
    assert!(windows.iter().all(|window| window.from < window.to), "{windows:?}");
    // No later order of the rollout, revert or renewal gives it anything; another rollout may.
    assert!(is_cut(&gateway.client.revert(&key("shop")).await.unwrap()));
    for weight in [1, 5_000, 10_000] {
        let error = gateway.client.serve(&guarded(2, weight, &stable, &canary)).await.unwrap_err();
        assert!(error.retry == Retry::Never && error.to_string().contains("cut release v2 off"), "{error}");
    }
    let alone = Snapshot { rollout: Some(RolloutId::new("r1")), ..steady(2, &[&stable]) };
    assert_eq!(gateway.client.serve(&alone).await.unwrap().mode, Mode::Split);
    assert!(gateway.client.serve(&guarded(3, 5_000, &stable, &canary)).await.is_err());
    canary.fails.store(false, Relaxed);
    let anew = Snapshot { rollout: Some(RolloutId::new("r2")), ..guarded(3, 5_000, &stable, &canary) };
    let serving = gateway.client.serve(&anew).await.unwrap();
    assert_eq!((serving.mode, serving.cut), (Mode::Split, None));
    until("the canary is asked again", || async { gateway.get("/").await.1 == "v2" }).await;
}

#[tokio::test]
async fn what_was_cut_off_stays_so_over_a_crash_and_a_hand_over() {
    let mut gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    canary.fails.store(true, Relaxed);
    gateway.client.serve(&guarded(1, 5_000, &stable, &canary)).await.unwrap();
    ask_until_cut(&gateway, 20).await;
    let cut = serving(&gateway).await.cut.unwrap();
    let stored = gateway.state().join("production_shop.json");
    until("the disk knows", || async { std::fs::read_to_string(&stored).unwrap().contains("\"cut\":{") }).await;
    let mut before = gateway.upgrade(&[]).await;
    assert!(is_cut(&serving(&gateway).await));
    let gateway = gateway.crash().await;
    let now = serving(&gateway).await;
    assert!(is_cut(&now));
    assert_eq!(now.cut, Some(cut));
    assert!(gateway.client.serve(&guarded(2, 5_000, &stable, &canary)).await.is_err());
    assert_eq!(gateway.get("/").await, (StatusCode::OK, "v1".to_owned()));
    before.kill().ok();
    before.wait().unwrap();
}

/// A guard that begins anew has a smaller part of α, so that all of them together keep it.
#[tokio::test]
async fn each_process_of_a_rollout_is_a_run_of_its_own() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    gateway.client.serve(&guarded(1, 5_000, &stable, &canary)).await.unwrap();
    let mut gateway = gateway.crash().await;
    assert!(matches!(serving(&gateway).await.mode, Mode::Fallback { cause: FallbackCause::Restart, .. }));
    gateway.client.serve(&guarded(2, 5_000, &stable, &canary)).await.unwrap();
    let mut before = gateway.upgrade(&[]).await;
    assert_eq!(serving(&gateway).await.mode, Mode::Split);
    canary.fails.store(true, Relaxed);
    ask_until_cut(&gateway, 24).await;
    let finding = serving(&gateway).await.cut.unwrap().finding;
    assert!(finding.run == 3 && finding.holds(), "{finding:?}");
    before.kill().ok();
    before.wait().unwrap();
}

#[tokio::test]
async fn failures_of_both_cut_nothing_off() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    // So seldom by chance that it is never seen; what the limit says would be enough after a few requests.
    let limited = Order { alpha: 1e-9, limits: vec![0.01], ..order() };
    let snapshot = Snapshot { guard: Some(limited), ..guarded(1, 5_000, &stable, &canary) };
    gateway.client.serve(&snapshot).await.unwrap();
    // Stable's first: before it has failed, nothing says that both do.
    stable.fails.store(true, Relaxed);
    while gateway.get("/").await.0 == StatusCode::OK {}
    canary.fails.store(true, Relaxed);
    for _ in 0..200 {
        assert_eq!(gateway.get("/").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(serving(&gateway).await.mode, Mode::Split);
}

#[tokio::test]
async fn at_full_weight_only_a_limit_cuts_off() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    canary.fails.store(true, Relaxed);
    gateway.client.serve(&guarded(1, 10_000, &stable, &canary)).await.unwrap();
    for _ in 0..50 {
        assert_eq!(gateway.get("/").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(serving(&gateway).await.mode, Mode::Split);
    let limited = Order { limits: vec![0.01], ..order() };
    let (rollout, guard) = (Some(RolloutId::new("r2")), Some(limited));
    gateway.client.serve(&Snapshot { rollout, guard, ..guarded(2, 10_000, &stable, &canary) }).await.unwrap();
    let failed = ask_until_cut(&gateway, 8).await;
    assert!(failed >= 2, "{failed}");
}

/// Blue-green: stable alone, then the canary alone.
#[tokio::test]
async fn what_stable_has_shown_is_a_limit_after_the_switch() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    let guard = Some(Order { past: true, ..order() });
    let at = |generation, weight| Snapshot { guard: guard.clone(), ..guarded(generation, weight, &stable, &canary) };
    gateway.client.serve(&at(1, 0)).await.unwrap();
    for _ in 0..300 {
        assert_eq!(gateway.get("/").await, (StatusCode::OK, "v1".to_owned()));
    }
    gateway.client.serve(&at(2, 10_000)).await.unwrap();
    for _ in 0..20 {
        assert_eq!(gateway.get("/").await, (StatusCode::OK, "v2".to_owned()));
    }
    canary.fails.store(true, Relaxed);
    ask_until_cut(&gateway, 20).await;
    assert_eq!(gateway.get("/").await, (StatusCode::OK, "v1".to_owned()));
    let finding = serving(&gateway).await.cut.unwrap().finding;
    assert!(finding.holds() && finding.past.is_some_and(|past| past.routed == 300 && past.failed == 0), "{finding:?}");
    assert!(finding.because().contains("where stable's past allows 4.5"), "{}", finding.because());
}

#[tokio::test]
async fn one_client_that_stays_and_fails_always_is_one_failure() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    gateway.client.serve(&Snapshot { sticky: true, ..guarded(1, 9_900, &stable, &canary) }).await.unwrap();
    let ask = async |cookie: Option<&str>| {
        let request = Request::get("/").header(header::HOST, "shop.test");
        let request = cookie.into_iter().fold(request, |request, cookie| request.header(header::COOKIE, cookie));
        crate::house::Connection::open(gateway.address).await.send(request.body(Full::default()).unwrap()).await
    };
    let first = ask(None).await;
    let set = first.headers().get(header::SET_COOKIE).unwrap().to_str().unwrap().to_owned();
    let cookie = set.split(';').next().unwrap();
    canary.fails.store(true, Relaxed);
    stable.fails.store(true, Relaxed);
    for _ in 0..60 {
        assert_eq!(ask(Some(cookie)).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(serving(&gateway).await.mode, Mode::Split);
}

#[tokio::test]
async fn an_order_that_cannot_be_kept_is_refused() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    for (order, says) in [
        (Order { alpha: 2.0, ..order() }, "alpha is 2"),
        (Order { alpha: 0.0, ..order() }, "alpha is 0"),
        (Order { odds: 0.5, ..order() }, "odds are 0.5"),
        (Order { limits: vec![1.5], ..order() }, "limit is 1.5"),
        (Order { relative: false, ..order() }, "nothing to hold"),
    ] {
        let snapshot = Snapshot { guard: Some(order), ..guarded(1, 5_000, &stable, &canary) };
        let error = gateway.client.serve(&snapshot).await.unwrap_err();
        assert!(error.retry == Retry::Never && error.to_string().contains(says), "{error}");
    }
    let nowhere = Snapshot { guard: Some(order()), ..steady(1, &[&stable]) };
    assert!(gateway.client.serve(&nowhere).await.unwrap_err().to_string().contains("a guard needs a fallback"));
    // What is no number does not even arrive as one.
    let nan = Snapshot { guard: Some(Order { alpha: f64::NAN, ..order() }), ..guarded(1, 5_000, &stable, &canary) };
    assert!(nan.check().unwrap_err().to_string().contains("alpha is NaN"));
    assert!(gateway.client.serve(&nan).await.is_err());
    assert!(gateway.client.observe(&key("shop")).await.unwrap().is_none());
}

#[tokio::test]
async fn answers_above_the_limit_of_latency_are_counted_exactly() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    let (slow_over, timeout) = (Some(Millis(400)), Millis(700));
    gateway.client.serve(&Snapshot { slow_over, timeout, ..trial(1, 0, &stable, &canary) }).await.unwrap();
    for _ in 0..5 {
        gateway.get("/").await;
    }
    let holding = async {
        until("a request is held", || async { stable.held.load(Relaxed) == 1 }).await;
        tokio::time::sleep(std::time::Duration::from_millis(450)).await;
        stable.release.notify_one();
    };
    let (answer, ()) = tokio::join!(gateway.get("/hold"), holding);
    assert_eq!(answer.0, StatusCode::OK);
    assert_eq!(gateway.get("/never").await.0, StatusCode::GATEWAY_TIMEOUT);
    let windows = gateway.windows(None, |windows| sum(windows, "v1").answered == 7).await;
    let cells = || windows.iter().flat_map(|window| &window.cells);
    assert_eq!(cells().map(|cell| cell.slow).sum::<u64>(), 2, "the held one and the one that timed out");
    assert!(cells().all(|cell| cell.slow <= cell.answered));
}
