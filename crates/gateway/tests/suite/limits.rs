//! What one client may use, and what it is told when that is used up.

use crate::house::{Gateway, Instance, PATIENCE, raw, steady, sum, until};
use davy_ports::Router;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn shop(words: &[&str]) -> (Gateway, Instance) {
    let gateway = Gateway::start_in(TempDir::new().unwrap(), words).await;
    let instance = Instance::start("v1").await;
    gateway.client.serve(&steady(1, &[&instance])).await.unwrap();
    (gateway, instance)
}

/// Everything until the other side closes.
async fn rest(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.expect("it is not let go").ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn heads_have_a_length_and_a_number_of_fields() {
    let (gateway, instance) = shop(&[]).await;
    let ask = |fields: String| format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n");
    let answer = raw(gateway.address, ask(format!("x: {}\r\n", "y".repeat(60_000))).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = raw(gateway.address, ask(format!("x: {}\r\n", "y".repeat(70_000))).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let answer = raw(gateway.address, ask("x: y\r\n".repeat(90)).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = raw(gateway.address, ask("x: y\r\n".repeat(101)).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let target = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(70_000));
    let answer = raw(gateway.address, target.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 414") || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(instance.hits(), 2);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_whether_or_not_it_says_so() {
    let (gateway, instance) = shop(&["--body-limit", "1KiB"]).await;
    let long = "x".repeat(1025);
    let said = format!("POST /sink HTTP/1.1\r\nhost: a\r\ncontent-length: 1025\r\n\r\n{long}");
    let answer = raw(gateway.address, said.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("G413"), "{answer}");
    assert_eq!(instance.hits(), 0);
    let unsaid = format!(
        "POST /sink HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n401\r\n{long}\r\n0\r\n\r\n"
    );
    let answer = raw(gateway.address, unsaid.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("G413"), "{answer}");
    let fits =
        format!("POST /sink HTTP/1.1\r\nhost: a\r\ncontent-length: 1024\r\nconnection: close\r\n\r\n{}", &long[..1024]);
    assert!(raw(gateway.address, fits.as_bytes()).await.starts_with("HTTP/1.1 200"));
    // It is the client's fault, and no failure.
    let windows = gateway.windows(None, |windows| sum(windows, "v1").client_gone == 1).await;
    assert_eq!(sum(&windows, "v1").failures.total(), 0);
}

#[tokio::test]
async fn connections_are_counted_for_each_client_and_together() {
    for (words, status) in
        [(["--connections-per-client", "3"], "HTTP/1.1 429"), (["--connections", "3"], "HTTP/1.1 503")]
    {
        let (gateway, _instance) = shop(&words).await;
        let ask = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let mut open = Vec::new();
        for _ in 0..3 {
            let mut socket = TcpStream::connect(gateway.address).await.unwrap();
            socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            // Once it is answered, it is counted.
            let read = tokio::time::timeout(PATIENCE, socket.read(&mut [0; 1024])).await.unwrap().unwrap();
            assert!(read > 0);
            open.push(socket);
        }
        let answer = raw(gateway.address, ask).await;
        assert!(answer.starts_with(status) && answer.contains("retry-after: 5"), "{answer}");
        drop(open);
        until("there is room again", || async { raw(gateway.address, ask).await.starts_with("HTTP/1.1 200") }).await;
    }
}

#[tokio::test]
async fn a_tunnel_is_a_connection_too() {
    let (gateway, _instance) = shop(&["--connections-per-client", "2"]).await;
    let mut tunnels = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(gateway.address).await.unwrap();
        let ask = b"GET /socket HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n";
        socket.write_all(ask).await.unwrap();
        let mut room = [0; 1024];
        let read = tokio::time::timeout(PATIENCE, socket.read(&mut room)).await.unwrap().unwrap();
        assert!(room[..read].starts_with(b"HTTP/1.1 101"));
        tunnels.push(socket);
    }
    let ask = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert!(raw(gateway.address, ask).await.starts_with("HTTP/1.1 429"));
    drop(tunnels);
    until("there is room again", || async { raw(gateway.address, ask).await.starts_with("HTTP/1.1 200") }).await;
}

#[tokio::test]
async fn who_is_slow_with_a_head_is_told_and_let_go() {
    let (gateway, instance) = shop(&["--head-timeout", "2s"]).await;
    let mut silent = TcpStream::connect(gateway.address).await.unwrap();
    let mut drips = TcpStream::connect(gateway.address).await.unwrap();
    // On a connection that was used already, too.
    let mut second = TcpStream::connect(gateway.address).await.unwrap();
    second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HT").await.unwrap();
    let since = Instant::now();
    let mut told = String::new();
    for byte in b"GET / HTTP/1.1\r\nhost: a\r\n".iter().chain(std::iter::repeat(&b'x')) {
        if drips.write_all(&[*byte]).await.is_err() {
            break;
        }
        let mut room = [0; 1024];
        match tokio::time::timeout(Duration::from_millis(100), drips.read(&mut room)).await {
            Ok(Ok(read @ 1..)) => told.push_str(&String::from_utf8_lossy(&room[..read])),
            Ok(_) => break,
            Err(_) => {}
        }
        assert!(since.elapsed() < PATIENCE, "it is not let go");
    }
    assert!(told.starts_with("HTTP/1.1 408") && told.contains("G408"), "{told}");
    let answers = rest(&mut second).await;
    assert!(answers.starts_with("HTTP/1.1 200") && answers.contains("HTTP/1.1 408"), "{answers}");
    assert!(answers.ends_with("did not come in time\n"), "{answers}");
    assert_eq!(instance.hits(), 1);
    // Who has said nothing is only idle.
    silent.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(rest(&mut silent).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_with_a_request_under_way_is_not() {
    let (gateway, instance) = shop(&["--idle-timeout", "2s"]).await;
    let mut silent = TcpStream::connect(gateway.address).await.unwrap();
    let mut used = TcpStream::connect(gateway.address).await.unwrap();
    used.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut busy = TcpStream::connect(gateway.address).await.unwrap();
    busy.write_all(b"GET /hold HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
    let answer = rest(&mut used).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("v1"), "{answer}");
    // Its answer takes longer than others may be idle.
    tokio::time::sleep(Duration::from_secs(3)).await;
    instance.release.notify_one();
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("v1"), "{answer}");
}

#[tokio::test]
async fn a_connection_that_slept_serves_on() {
    let (gateway, _instance) = shop(&[]).await;
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    for wait in [4, 0, 5] {
        socket.write_all(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("hi") {
            let mut room = [0; 1024];
            let read = tokio::time::timeout(PATIENCE, socket.read(&mut room)).await.unwrap().unwrap();
            assert!(read > 0, "{answer}");
            answer.push_str(&String::from_utf8_lossy(&room[..read]));
        }
        // Long enough to fall asleep.
        tokio::time::sleep(Duration::from_secs(wait)).await;
    }
}

#[tokio::test]
async fn who_takes_nothing_of_an_answer_is_let_go_and_is_no_failure() {
    let (gateway, _instance) = shop(&["--slow-timeout", "2s"]).await;
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.write_all(b"GET /flood HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let windows = gateway.windows(None, |windows| sum(windows, "v1").client_gone == 1).await;
    assert_eq!(sum(&windows, "v1").failures.total(), 0);
    // In HTTP/2 the connection lives on, and only the stream is slow.
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    let ask = |path: &str| {
        let uri = format!("http://shop.test{path}");
        hyper::Request::get(uri).body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap()
    };
    let held = sender.send_request(ask("/flood")).await.unwrap();
    gateway.windows(None, |windows| sum(windows, "v1").client_gone == 2).await;
    let other = tokio::time::timeout(PATIENCE, sender.send_request(ask("/"))).await.unwrap().unwrap();
    assert_eq!(other.status(), 200);
    drop(held);
}

#[tokio::test]
async fn who_sends_next_to_nothing_of_a_body_is_let_go() {
    let (gateway, _instance) = shop(&["--slow-timeout", "2s"]).await;
    let mut snapshot = steady(2, &[]);
    let instance = Instance::start("v1").await;
    snapshot.serve = steady(2, &[&instance]).serve;
    snapshot.timeout = davy_core::Millis(1500);
    gateway.client.serve(&snapshot).await.unwrap();
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.write_all(b"POST /sink HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
    let since = Instant::now();
    let mut told = String::new();
    while told.is_empty() {
        assert!(since.elapsed() < PATIENCE, "it is not let go");
        // Often enough to look alive.
        socket.write_all(b"x").await.ok();
        let mut room = [0; 1024];
        match tokio::time::timeout(Duration::from_millis(200), socket.read(&mut room)).await {
            Ok(Ok(read)) => told.push_str(&String::from_utf8_lossy(&room[..read])),
            Ok(Err(_)) => break,
            Err(_) => {}
        }
    }
    assert!(told.starts_with("HTTP/1.1 408") && told.contains("G408"), "{told}");
}
