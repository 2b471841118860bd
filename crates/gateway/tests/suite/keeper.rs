//! A gateway is started or adopted, and started again when it is gone.

use crate::house::{Instance, key, steady, until};
use davy_gateway::{Client, Features, Keeper, KeeperOptions};
use davy_ports::Router;
use std::{net::SocketAddr, path::Path, sync::Arc};
use tempfile::TempDir;

fn options(folder: &Path, listen: &str) -> KeeperOptions {
    KeeperOptions {
        exe: env!("CARGO_BIN_EXE_davy-gateway").into(),
        listen: listen.parse().unwrap(),
        control: folder.join("control"),
        state: folder.join("state"),
        log: folder.join("log"),
        features: Some(Features::default()),
    }
}

async fn asked(address: SocketAddr) -> Option<String> {
    let request = "GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";
    let mut socket = tokio::net::TcpStream::connect(address).await.ok()?;
    tokio::io::AsyncWriteExt::write_all(&mut socket, request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut socket, &mut answer).await.ok()?;
    Some(answer)
}

#[tokio::test]
async fn it_is_started_adopted_and_started_again_on_the_same_port() {
    let folder = TempDir::new().unwrap();
    let instance = Instance::start("v1").await;
    let keeper = Keeper::start(options(folder.path(), "127.0.0.1:0")).await.unwrap();
    let client = Client::new(folder.path().join("control"));
    client.serve(&steady(1, &[&instance])).await.unwrap();
    let first = client.hello().await.unwrap();
    assert_eq!(first.listen, keeper.address());

    // The next server adopts it.
    drop(keeper);
    let keeper = Arc::new(Keeper::start(options(folder.path(), "127.0.0.1:0")).await.unwrap());
    assert_eq!(client.hello().await.unwrap(), first);
    let watched = keeper.clone();
    let watching = tokio::spawn(async move { watched.watch().await });

    for _ in 0..2 {
        let before = client.hello().await.unwrap();
        kill(before.pid);
        until("another one answers", || async {
            client.hello().await.is_ok_and(|hello| hello.boot != before.boot && hello.listen == first.listen)
        })
        .await;
        until("it serves what it had", || async {
            asked(first.listen).await.is_some_and(|answer| answer.ends_with("v1"))
        })
        .await;
        assert_eq!(client.observe(&key("shop")).await.unwrap().unwrap().snapshot.generation.0, 1);
    }
    watching.abort();
    keeper.end().await.unwrap();
}

#[tokio::test]
async fn one_that_is_told_something_else_takes_over() {
    let folder = TempDir::new().unwrap();
    let instance = Instance::start("v1").await;
    let _before = Keeper::start(options(folder.path(), "127.0.0.1:0")).await.unwrap();
    let client = Client::new(folder.path().join("control"));
    client.serve(&steady(1, &[&instance])).await.unwrap();
    let first = client.hello().await.unwrap();
    let mut told = options(folder.path(), "127.0.0.1:0");
    told.features = Some(Features { access_log: Some(folder.path().join("access.log")), ..Features::default() });
    let again = Keeper::start(told.clone()).await.unwrap();
    let second = client.hello().await.unwrap();
    assert_ne!(second.pid, first.pid);
    assert_eq!((second.listen, &second.boot), (first.listen, &first.boot), "the run goes on");
    assert_eq!(second.features, told.features);
    assert!(asked(first.listen).await.is_some_and(|answer| answer.ends_with("v1")));
    until("the first one has ended", || async { !Path::new(&format!("/proc/{}/exe", first.pid)).exists() }).await;
    // The same again changes nothing.
    drop(again);
    let again = Keeper::start(told).await.unwrap();
    assert_eq!(client.hello().await.unwrap(), second);
    // Another executable takes over, too.
    let exe = folder.path().join("other");
    std::fs::copy(env!("CARGO_BIN_EXE_davy-gateway"), &exe).unwrap();
    drop(again);
    let again = Keeper::start(KeeperOptions { exe, ..options(folder.path(), "127.0.0.1:0") }).await.unwrap();
    assert_ne!(client.hello().await.unwrap().pid, second.pid);
    again.end().await.unwrap();
}

#[tokio::test]
async fn one_that_listens_elsewhere_is_not_adopted() {
    let folder = TempDir::new().unwrap();
    let keeper = Keeper::start(options(folder.path(), "127.0.0.1:0")).await.unwrap();
    let error = Keeper::start(options(folder.path(), "127.0.0.2:0")).await.unwrap_err();
    assert!(error.happened.contains(&keeper.address().to_string()) && !error.hint.is_empty(), "{error:?}");
    keeper.end().await.unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_and_nothing_is_left() {
    let folder = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let error = Keeper::start(options(folder.path(), &listen)).await.unwrap_err();
    assert!(error.to_string().contains(&listen), "{error:?}");
    assert!(Client::new(folder.path().join("control")).hello().await.is_err());
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
