//! What a trial asks for besides its weights: matches, clients that stay, copies.

use crate::house::{Connection, Gateway, Instance, PATIENCE, key, release, text, trial, until};
use bytes::Bytes;
use davy_core::{Match, Mirror, Role, RolloutId, Snapshot, Weight, Window};
use davy_ports::Router;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

async fn ask(gateway: &Gateway, headers: &[(&str, &str)], path: &str) -> Response<Incoming> {
    let mut request = Request::get(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header(header::HOST, "shop.test");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Connection::open(gateway.address).await.send(request.body(Full::default()).unwrap()).await
}

async fn version(gateway: &Gateway, headers: &[(&str, &str)]) -> String {
    text(ask(gateway, headers, "/").await).await.unwrap()
}

/// Routed requests by role.
fn routed(windows: &[Window]) -> BTreeMap<Role, u64> {
    let mut routed = BTreeMap::new();
    for cell in windows.iter().flat_map(|window| &window.cells) {
        *routed.entry(cell.role).or_default() += cell.routed;
    }
    routed
}

#[tokio::test]
async fn matched_requests_go_to_the_canary_and_are_no_evidence() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    let header = |value: Option<&str>| Match::Header { name: "x-canary".to_owned(), value: value.map(str::to_owned) };
    let cookie = Match::Cookie { name: "beta".to_owned(), value: None };
    let host = Match::Host("new.shop.test".to_owned());
    let matches = vec![header(Some("always")), cookie, host];
    gateway.client.serve(&Snapshot { matches, ..trial(1, 0, &stable, &canary) }).await.unwrap();
    for asked in [
        &[("x-canary", "always")][..],
        &[("X-Canary", "no"), ("x-canary", " always ")],
        &[("cookie", "a=1; beta=x; b=2")],
        &[("cookie", "a=1"), ("cookie", "beta=")],
        &[("host", "new.shop.test")],
        &[("host", "NEW.shop.test:8080")],
    ] {
        assert_eq!(version(&gateway, asked).await, "v2", "{asked:?}");
    }
    for asked in [
        &[][..],
        &[("x-canary", "Always")],
        &[("x-canary", "always2")],
        &[("cookie", "alphabeta=1; x=beta")],
        &[("host", "old.shop.test")],
    ] {
        assert_eq!(version(&gateway, asked).await, "v1", "{asked:?}");
    }
    let counted = |windows: &[Window]| routed(windows) == BTreeMap::from([(Role::Stable, 5), (Role::Matched, 6)]);
    gateway.windows(None, counted).await;
    // Traffic that was put back stays back, whoever asks.
    gateway.client.revert(&key("shop")).await.unwrap();
    assert_eq!(version(&gateway, &[("x-canary", "always")]).await, "v1");
    assert_eq!(version(&gateway, &[("host", "new.shop.test")]).await, "v1");
}

#[tokio::test]
async fn a_canarys_host_belongs_to_one_service() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    let with_host = |mut snapshot: Snapshot, service: &str, route: &str| {
        snapshot.key = key(service);
        snapshot.route.host = Some(route.to_owned());
        snapshot.matches = vec![Match::Host("new.shop.test".to_owned())];
        snapshot
    };
    gateway.client.serve(&with_host(trial(1, 0, &stable, &canary), "shop", "shop.test")).await.unwrap();
    let other = with_host(trial(1, 0, &stable, &canary), "other", "other.test");
    let error = gateway.client.serve(&other).await.unwrap_err();
    assert!(error.to_string().contains("already has the route new.shop.test"), "{error}");
}

fn sticky(generation: u64, weight: u16, stable: &Instance, canary: &Instance) -> Snapshot {
    Snapshot { sticky: true, rollout: Some(RolloutId::new("r1")), ..trial(generation, weight, stable, canary) }
}

fn cookie(response: &Response<Incoming>) -> Option<String> {
    let set = response.headers().get(header::SET_COOKIE)?.to_str().unwrap().to_owned();
    assert!(!set.contains("Secure"), "it came without TLS, and could not come back: {set}");
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax") && set.contains("Path=/"), "{set}");
    set.split(';').next().map(str::to_owned)
}

#[tokio::test]
async fn a_client_stays_with_its_release_while_the_share_rises() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    gateway.client.serve(&sticky(1, 3_000, &stable, &canary)).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..200 {
        let response = ask(&gateway, &[], "/").await;
        let cookie = cookie(&response).expect("a new client is given a name");
        clients.push((cookie, text(response).await.unwrap()));
    }
    let on_canary = |clients: &[(String, String)]| clients.iter().filter(|(_, version)| version == "v2").count();
    // 60 are expected; one run in 10,000 is outside of 3.9 deviations.
    assert!((35..=85).contains(&on_canary(&clients)), "{}", on_canary(&clients));
    for (generation, weight) in [(2, 3_000), (3, 6_000)] {
        gateway.client.serve(&sticky(generation, weight, &stable, &canary)).await.unwrap();
        for (cookie_known, before) in &mut clients {
            let response = ask(&gateway, &[("cookie", cookie_known)], "/").await;
            assert!(cookie(&response).is_none(), "a known client needs no other name");
            let now = text(response).await.unwrap();
            let moved = weight > 3_000 && before == "v1" && now == "v2";
            assert!(now == *before || moved, "{before} then {now} at {weight}");
            *before = now;
        }
    }
    assert!((85..=155).contains(&on_canary(&clients)), "{}", on_canary(&clients));
}

#[tokio::test]
async fn nobody_chooses_the_canary_by_a_cookie_of_his_own() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    gateway.client.serve(&sticky(1, 5_000, &stable, &canary)).await.unwrap();
    let own = cookie(&ask(&gateway, &[], "/").await).unwrap();
    let (name, mac) = own.strip_prefix("davy-client=").unwrap().split_once('.').unwrap();
    let other = format!("davy-client={:016x}.{mac}", u64::from_str_radix(name, 16).unwrap() ^ 1);
    for forged in [other.as_str(), "davy-client=0.0", "davy-client=", "davy-client=x.y", "davy-client=0000000000000001"]
    {
        let response = ask(&gateway, &[("cookie", forged)], "/").await;
        assert!(cookie(&response).is_some(), "{forged} is no name: another is given");
    }
}

#[tokio::test]
async fn a_clients_failures_count_once_as_evidence_and_each_as_failures() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    gateway.client.serve(&sticky(1, 5_000, &stable, &canary)).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(cookie(&ask(&gateway, &[], "/").await).unwrap());
    }
    for _ in 0..3 {
        for client in &clients {
            assert_eq!(
                ask(&gateway, &[("cookie", client)], "/error").await.status(),
                StatusCode::INTERNAL_SERVER_ERROR
            );
        }
    }
    let windows = gateway
        .windows(None, |windows| {
            let cells = windows.iter().flat_map(|window| &window.cells);
            cells.map(|cell| cell.failures.total()).sum::<u64>() == 6
        })
        .await;
    let cells = || windows.iter().flat_map(|window| &window.cells);
    assert_eq!(cells().map(|cell| cell.repeated).sum::<u64>(), 4);
    assert!(cells().all(|cell| cell.repeated <= cell.failures.total()));
}

#[tokio::test]
async fn a_fallback_without_instances_is_served_by_what_is_there() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    let mut snapshot = trial(1, 10_000, &stable, &canary);
    snapshot.serve[0].instances.clear();
    gateway.client.serve(&snapshot).await.unwrap();
    gateway.client.revert(&key("shop")).await.unwrap();
    assert_eq!(version(&gateway, &[]).await, "v2", "its instances have all left: better than nothing");
}

/// Seldom asked for its health: a machine that is busy with other tests does not make the canary miss a copy.
fn calm(mut snapshot: Snapshot) -> Snapshot {
    snapshot.health.interval = davy_core::Millis::seconds(300);
    snapshot
}

fn mirror(share: u16, unsafe_methods: bool) -> Option<Mirror> {
    Some(Mirror { share: Weight::new(share).unwrap(), unsafe_methods })
}

#[tokio::test]
async fn copies_go_to_the_canary_and_nobody_sees_their_answers() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    let snapshot = |generation, mirror| calm(Snapshot { mirror, ..trial(generation, 0, &stable, &canary) });
    gateway.client.serve(&snapshot(1, mirror(10_000, false))).await.unwrap();
    for path in ["/", "/error", "/flood", "/headers"] {
        let answer = text(ask(&gateway, &[("davy-mirrored", "forged")], path).await).await.unwrap();
        assert!(!answer.contains("davy-mirrored"), "only a copy is called one: {answer}");
    }
    until("all are copied", || async { canary.hits() == 4 }).await;
    let heads = canary.heads.lock().unwrap().clone();
    assert!(heads.iter().all(|head| head.contains("\"davy-mirrored\": \"yes\"")), "{heads:?}");
    assert!(stable.heads.lock().unwrap().iter().all(|head| !head.contains("davy-mirrored")));
    let failed = |windows: &[Window]| {
        let copies = windows.iter().flat_map(|window| &window.cells).filter(|cell| cell.role == Role::Mirrored);
        copies.fold((0, 0), |(all, failed), cell| (all + cell.answered, failed + cell.failures.total())) == (4, 1)
    };
    let windows = gateway.windows(None, failed).await;
    assert_eq!(routed(&windows), BTreeMap::from([(Role::Stable, 4), (Role::Mirrored, 4)]));
    let serving = gateway.client.observe(&key("shop")).await.unwrap().unwrap();
    assert_eq!(serving.in_flight(&release("v2")), 0);
}

#[tokio::test]
async fn what_may_change_something_is_copied_only_if_asked_for_and_whole() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    let snapshot = |generation, mirror| calm(Snapshot { mirror, ..trial(generation, 0, &stable, &canary) });
    let post = |length: usize| {
        let request = Request::builder().method(Method::POST).uri("/sink").header(header::HOST, "shop.test");
        request.body(Full::from(Bytes::from(vec![b'x'; length]))).unwrap()
    };
    gateway.client.serve(&snapshot(1, mirror(10_000, false))).await.unwrap();
    let mut connection = Connection::open(gateway.address).await;
    assert_eq!(text(connection.send(post(1_000)).await).await.unwrap(), "1000");
    assert_eq!(version(&gateway, &[]).await, "v1");
    until("the safe one is copied", || async { canary.hits() == 1 }).await;
    assert_eq!(canary.sunk.load(Relaxed), 0);
    gateway.client.serve(&snapshot(2, mirror(10_000, true))).await.unwrap();
    assert_eq!(text(connection.send(post(100_000)).await).await.unwrap(), "101000");
    until("the body is copied whole", || async { canary.sunk.load(Relaxed) == 100_000 }).await;
}

#[tokio::test]
async fn a_copy_that_hangs_holds_nobody_up() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    let snapshot = calm(Snapshot { mirror: mirror(10_000, true), ..trial(1, 0, &stable, &canary) });
    gateway.client.serve(&snapshot).await.unwrap();
    // The canary holds each; stable is let go at once.
    for _ in 0..3 {
        let asking = tokio::spawn({
            let address = gateway.address;
            async move { Connection::open(address).await.status("/hold").await }
        });
        until("stable has it", || async { stable.held.load(Relaxed) > 0 }).await;
        stable.held.store(0, Relaxed);
        stable.release.notify_one();
        assert_eq!(tokio::time::timeout(PATIENCE, asking).await.unwrap().unwrap(), StatusCode::OK);
    }
    let serving = gateway.client.observe(&key("shop")).await.unwrap().unwrap();
    assert_eq!(serving.in_flight(&release("v2")), 3, "they are still under way there");
}
