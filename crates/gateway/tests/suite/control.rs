//! Snapshots: fenced, reverted, lapsed, taken up from disk; and the socket itself.

use crate::house::{Gateway, Instance, PATIENCE, key, release, steady, sum, trial, until};
use davy_core::{FallbackCause, Generation, Millis, Mode, Weight};
use davy_ports::{Retry, Router, Telemetry};
use futures_util::StreamExt;
use std::{fs, os::unix::fs::PermissionsExt, process::Stdio, sync::atomic::Ordering::Relaxed};
use tokio::{io::AsyncReadExt, net::UnixStream};

fn cause(mode: &Mode) -> Option<FallbackCause> {
    match mode {
        Mode::Split => None,
        Mode::Fallback { cause, .. } => Some(*cause),
    }
}

#[tokio::test]
async fn a_lower_generation_is_refused_and_the_same_again_changes_nothing() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    let snapshot = trial(5, 5_000, &stable, &canary);
    gateway.client.serve(&snapshot).await.unwrap();
    assert_eq!(gateway.client.serve(&snapshot).await.unwrap().mode, Mode::Split);
    let lower = trial(4, 5_000, &stable, &canary);
    assert_eq!(gateway.client.serve(&lower).await.unwrap_err().retry, Retry::Never);
    let other = trial(5, 6_000, &stable, &canary);
    assert_eq!(gateway.client.serve(&other).await.unwrap_err().retry, Retry::Never);
    let mut invalid = trial(6, 5_000, &stable, &canary);
    invalid.serve.pop();
    assert!(gateway.client.serve(&invalid).await.unwrap_err().happened.contains("10000"));
    assert!(gateway.client.renew(&snapshot.key, Generation(4)).await.is_err());
    let serving = gateway.client.observe(&snapshot.key).await.unwrap().unwrap();
    assert_eq!((serving.snapshot, serving.mode), (snapshot, Mode::Split));
}

#[tokio::test]
async fn after_a_revert_only_stable_is_asked_until_a_higher_generation() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    let snapshot = trial(1, 9_900, &stable, &canary);
    gateway.client.serve(&snapshot).await.unwrap();
    until("the canary is asked", || async { gateway.get("/").await.1 == "v2" }).await;
    let serving = gateway.client.revert(&snapshot.key).await.unwrap();
    assert_eq!(cause(&serving.mode), Some(FallbackCause::Revert));
    assert_eq!(gateway.client.revert(&snapshot.key).await.unwrap().mode, serving.mode);
    let before = canary.hits();
    for _ in 0..50 {
        assert_eq!(gateway.get("/").await.1, "v1");
    }
    // Neither a renewal nor the same snapshot again restores it, nor does a restart.
    assert_eq!(gateway.client.renew(&snapshot.key, Generation(1)).await.unwrap().mode, serving.mode);
    assert_eq!(gateway.client.serve(&snapshot).await.unwrap().mode, serving.mode);
    assert_eq!(canary.hits(), before);
    let windows = gateway
        .windows(None, |windows| {
            let fallen = windows.iter().filter(|window| window.weight == Weight::NONE).cloned().collect::<Vec<_>>();
            sum(&fallen, "v1").answered == 50
        })
        .await;
    assert!(windows.iter().all(|window| window.generation == Generation(1)));
    let gateway = gateway.crash().await;
    let serving = gateway.client.observe(&snapshot.key).await.unwrap().unwrap();
    assert_eq!(cause(&serving.mode), Some(FallbackCause::Revert));
    assert_eq!(gateway.get("/").await.1, "v1");
    gateway.client.serve(&trial(2, 9_900, &stable, &canary)).await.unwrap();
    until("the canary is asked again", || async { gateway.get("/").await.1 == "v2" }).await;
}

#[tokio::test]
async fn a_revert_without_a_fallback_is_refused() {
    let gateway = Gateway::start().await;
    let instance = Instance::start("v1").await;
    gateway.client.serve(&steady(1, &[&instance])).await.unwrap();
    assert_eq!(gateway.client.revert(&key("shop")).await.unwrap_err().retry, Retry::Never);
    assert_eq!(gateway.client.revert(&key("nobody")).await.unwrap_err().retry, Retry::Never);
}

#[tokio::test]
async fn a_revert_works_when_the_disk_does_not() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    let snapshot = trial(1, 9_900, &stable, &canary);
    gateway.client.serve(&snapshot).await.unwrap();
    fs::remove_dir_all(gateway.state()).unwrap();
    let error = gateway.client.serve(&trial(2, 9_900, &stable, &canary)).await.unwrap_err();
    assert_eq!(error.retry, Retry::Later);
    assert!(!error.hint.is_empty());
    let serving = gateway.client.observe(&snapshot.key).await.unwrap().unwrap();
    assert_eq!(serving.snapshot.generation, Generation(1));
    let serving = gateway.client.revert(&snapshot.key).await.unwrap();
    assert_eq!(cause(&serving.mode), Some(FallbackCause::Revert));
    assert_eq!(gateway.get("/").await.1, "v1");
}

#[tokio::test]
async fn a_lease_that_nobody_renews_lapses_to_stable() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    let mut snapshot = trial(1, 9_900, &stable, &canary);
    snapshot.lease = Some(Millis(1500));
    gateway.client.serve(&snapshot).await.unwrap();
    until("the lease lapses", || async {
        let serving = gateway.client.observe(&snapshot.key).await.unwrap().unwrap();
        cause(&serving.mode) == Some(FallbackCause::Lapse)
    })
    .await;
    let serving = gateway.client.renew(&snapshot.key, Generation(1)).await.unwrap();
    assert_eq!(cause(&serving.mode), Some(FallbackCause::Lapse));
    for _ in 0..20 {
        assert_eq!(gateway.get("/").await.1, "v1");
    }
}

#[tokio::test]
async fn a_trial_is_not_resumed_from_disk_but_the_steady_state_is() {
    let gateway = Gateway::start().await;
    let (stable, canary) = (Instance::start("v1").await, Instance::start("v2").await);
    let snapshot = trial(1, 9_900, &stable, &canary);
    gateway.client.serve(&snapshot).await.unwrap();
    let first = gateway.client.hello().await.unwrap();
    let gateway = gateway.crash().await;
    let again = gateway.client.hello().await.unwrap();
    assert_eq!(again.listen, first.listen, "the port is the same");
    assert_ne!(again.boot, first.boot);
    let serving = gateway.client.observe(&snapshot.key).await.unwrap().unwrap();
    assert_eq!(cause(&serving.mode), Some(FallbackCause::Restart));
    assert_eq!(serving.boot, again.boot);
    for _ in 0..20 {
        assert_eq!(gateway.get("/").await.1, "v1");
    }
    assert_eq!(canary.hits(), 0);
    gateway.client.serve(&steady(2, &[&canary])).await.unwrap();
    let gateway = gateway.crash().await;
    let serving = gateway.client.observe(&snapshot.key).await.unwrap().unwrap();
    assert_eq!((serving.mode, serving.snapshot.generation), (Mode::Split, Generation(2)));
    assert_eq!(gateway.get("/").await.1, "v2");
}

#[tokio::test]
async fn folders_are_private_and_two_gateways_do_not_share_one() {
    let gateway = Gateway::start().await;
    assert_eq!(fs::metadata(gateway.state()).unwrap().permissions().mode() & 0o777, 0o700);
    let control = gateway.folder.path().join("control");
    assert_eq!(fs::metadata(control).unwrap().permissions().mode() & 0o777, 0o600);
    let second = Gateway::spawn(&gateway.folder, "127.0.0.1:0", Stdio::piped());
    let output = second.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("another gateway"), "{said}");
    let elsewhere = tempfile::TempDir::new().unwrap();
    let third = Gateway::spawn(&elsewhere, &gateway.address.to_string(), Stdio::piped());
    let output = third.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains(&gateway.address.to_string()) && said.contains("hint"), "{said}");
    assert!(gateway.client.hello().await.is_ok());
}

#[tokio::test]
async fn whoever_stalls_the_socket_harms_nobody() {
    let gateway = Gateway::start().await;
    let instance = Instance::start("v1").await;
    gateway.client.serve(&steady(1, &[&instance])).await.unwrap();
    let control = gateway.folder.path().join("control");
    let mut stalled = Vec::new();
    for _ in 0..50 {
        stalled.push(UnixStream::connect(&control).await.unwrap());
    }
    // One that says something else than frames is let go.
    let mut other = UnixStream::connect(&control).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut other, &[0xff; 64]).await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, other.read_to_end(&mut rest)).await.unwrap().ok();
    assert!(gateway.client.observe(&key("shop")).await.unwrap().is_some());
    assert_eq!(gateway.get("/").await.1, "v1");
    drop(stalled);
}

#[tokio::test]
async fn counts_say_at_once_that_the_gateway_is_gone_and_go_on_when_it_is_back() {
    let gateway = Gateway::start().await;
    let instance = Instance::start("v1").await;
    gateway.client.serve(&steady(1, &[&instance])).await.unwrap();
    let mut windows = gateway.client.windows(&key("shop"), None);
    let first = tokio::time::timeout(PATIENCE, windows.next()).await.unwrap().unwrap().unwrap();
    let gateway = gateway.crash().await;
    let since = std::time::Instant::now();
    let (mut failed, mut again) = (false, None);
    while again.is_none() {
        assert!(since.elapsed() < PATIENCE);
        match windows.next().await.unwrap() {
            Err(error) => {
                assert_eq!(error.retry, Retry::Later);
                failed = true;
            }
            Ok(window) if window.boot != first.boot => again = Some(window),
            Ok(_) => {}
        }
    }
    assert!(failed);
    assert_eq!(again.unwrap().sequence, 1);
    assert_eq!(gateway.get("/").await.1, "v1");
    assert!(instance.hits.load(Relaxed) >= 1);
    assert_eq!(sum(&[], "v1").routed, 0);
    assert_eq!(release("v1").as_str(), "v1");
}

#[tokio::test]
async fn it_ends_when_told_and_lets_what_is_under_way_finish() {
    let mut gateway = Gateway::start().await;
    let instance = Instance::start("v1").await;
    gateway.client.serve(&steady(1, &[&instance])).await.unwrap();
    let address = gateway.address;
    let waiting = tokio::spawn(async move { crate::house::Connection::open(address).await.status("/hold").await });
    until("a request is held", || async { instance.held.load(Relaxed) == 1 }).await;
    gateway.client.shutdown().await.unwrap();
    until("nobody is let in", || async { tokio::net::TcpStream::connect(address).await.is_err() }).await;
    instance.release.notify_one();
    assert_eq!(waiting.await.unwrap(), hyper::StatusCode::OK);
    assert!(gateway.child.wait().unwrap().success());
}

#[tokio::test]
async fn it_ends_by_a_signal_as_when_told() {
    let mut gateway = Gateway::start().await;
    let pid = rustix::process::Pid::from_child(&gateway.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(gateway.child.wait().unwrap().success());
}
