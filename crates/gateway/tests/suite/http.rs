//! What passes the gateway, what it rewrites, and what it refuses.

use crate::house::{Connection, FLOOD, Gateway, Instance, PATIENCE, key, raw, steady, sum, text};
use davy_core::Route;
use davy_ports::Router;
use http_body_util::Full;
use hyper::{Request, StatusCode, header};
use std::{sync::atomic::Ordering::Relaxed, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn shop() -> (Gateway, Instance) {
    let gateway = Gateway::start().await;
    let instance = Instance::start("v1").await;
    gateway.client.serve(&steady(1, &[&instance])).await.unwrap();
    (gateway, instance)
}

#[tokio::test]
async fn routes_are_by_host_and_by_whole_segments_of_the_path() {
    let gateway = Gateway::start().await;
    let routes = [
        ("any", None, "/"),
        ("api", None, "/api"),
        ("deep", None, "/api/v2"),
        ("host", Some("shop.test"), "/"),
        ("host-api", Some("shop.test"), "/api"),
    ];
    for (name, host, path) in routes {
        let instance = Instance::start(name).await;
        let mut snapshot = steady(1, &[&instance]);
        snapshot.key = key(name);
        snapshot.route = Route { host: host.map(str::to_owned), path: path.to_owned() };
        gateway.client.serve(&snapshot).await.unwrap();
    }
    let asked = [
        ("other.test", "/", "any"),
        ("other.test", "/apis", "any"),
        ("other.test", "/api", "api"),
        ("other.test", "/api?q", "api"),
        ("other.test", "/api/v2/x", "deep"),
        ("other.test", "/api/v20", "api"),
        ("shop.test", "/x", "host"),
        ("SHOP.test:8080", "/api/", "host-api"),
        ("shop.test", "/api/v2", "host-api"),
    ];
    for (host, path, expected) in asked {
        let request = Request::get(path).header(header::HOST, host).body(Full::default()).unwrap();
        let response = Connection::open(gateway.address).await.send(request).await;
        assert_eq!(text(response).await.unwrap(), expected, "{host} {path}");
    }
    let mut taken = steady(1, &[]);
    taken.key = key("thief");
    taken.route = Route { host: Some("shop.test".to_owned()), path: "/api".to_owned() };
    let error = gateway.client.serve(&taken).await.unwrap_err();
    assert!(error.happened.contains("production/host-api") && !error.hint.is_empty(), "{error:?}");
    assert!(gateway.client.observe(&taken.key).await.unwrap().is_none());
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_reach_nobody() {
    let (gateway, instance) = shop().await;
    let refused: [(&str, &str); 17] = [
        ("two lengths that differ", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        ("a list of lengths", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 2\r\n\r\nab"),
        ("a signed length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\na"),
        ("a coding that is not chunked", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n"),
        ("two codings", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (
            "chunked twice",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("chunked, disguised", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("chunked in HTTP/1.0", "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("a space before the colon", "GET / HTTP/1.1\r\nhost: a\r\ncontent-length : 1\r\n\r\na"),
        ("a folded line", "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n  transfer-encoding: chunked\r\n\r\n"),
        ("a bare CR", "GET / HTTP/1.1\r\nhost: a\r\nx: 1\rtransfer-encoding: chunked\r\n\r\n"),
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n"),
        ("another host than the target's", "GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n"),
        ("a host that is none", "GET / HTTP/1.1\r\nhost: a/b@c\r\n\r\n"),
        ("CONNECT", "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n"),
        ("a NUL", "GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n"),
    ];
    for (what, request) in refused {
        let answer = raw(gateway.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.0 400"), "{what}: {answer}");
    }
    assert_eq!(instance.hits(), 0);
}

#[tokio::test]
async fn a_length_beside_chunks_is_dropped_and_nothing_after_it_is_read() {
    let (gateway, instance) = shop().await;
    for heads in ["content-length: 4\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 4"]
    {
        let request = format!(
            "POST /headers HTTP/1.1\r\nhost: a\r\n{heads}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
        );
        let answer = raw(gateway.address, request.as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        assert!(!answer.contains("\"content-length\": \"4\""), "{answer}");
    }
    let heads = instance.heads.lock().unwrap().clone();
    assert!(!heads.iter().any(|head| head.contains("smuggled")), "{heads:?}");
}

#[tokio::test]
async fn what_a_client_says_about_itself_is_replaced() {
    let (gateway, _instance) = shop().await;
    let request = "GET /headers HTTP/1.1\r\nHost: Shop.test:81\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
         Connection: close, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: x\r\n\
         X-Kept: yes\r\n\r\n";
    let answer = raw(gateway.address, request.as_bytes()).await;
    for kept in [
        "\"host\": \"Shop.test:81\"",
        "\"x-forwarded-for\": \"127.0.0.1\"",
        "\"x-forwarded-proto\": \"http\"",
        "\"x-forwarded-host\": \"Shop.test:81\"",
        "\"x-kept\": \"yes\"",
    ] {
        assert!(answer.contains(kept), "{kept} is missing: {answer}");
    }
    for gone in ["6.6.6.6", "7.7.7.7", "evil", "x-secret", "\"keep-alive\"", "\"te\"", "proxy-connection"] {
        assert!(!answer.contains(gone), "{gone} is there: {answer}");
    }
}

#[tokio::test]
async fn bodies_pass_as_they_come() {
    let (gateway, _instance) = shop().await;
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.write_all(b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    for word in ["first", "second", "third"] {
        // The next is sent only once this one is back.
        socket.write_all(format!("{:x}\r\n{word}\r\n", word.len()).as_bytes()).await.unwrap();
        while !answer.contains(word) {
            let mut bytes = [0; 1024];
            let read = tokio::time::timeout(PATIENCE, socket.read(&mut bytes)).await.unwrap().unwrap();
            assert!(read > 0, "{answer}");
            answer.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }
    socket.write_all(b"0\r\n\r\n").await.unwrap();
}

#[tokio::test]
async fn a_large_body_is_never_held_whole() {
    let (gateway, instance) = shop().await;
    let size = 256 * 1024 * 1024_u64;
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!(
        "POST /sink HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = [0; 1024];
    let read = tokio::time::timeout(PATIENCE, socket.read(&mut bytes)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes[..read]), "HTTP/1.1 100 Continue\r\n\r\n");
    let chunk = vec![b'x'; 1024 * 1024];
    for _ in 0..size / chunk.len() as u64 {
        socket.write_all(&chunk).await.unwrap();
    }
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.ends_with(&size.to_string()), "{answer}");
    assert_eq!(instance.sunk.load(Relaxed), size);
    assert!(gateway.peak() < 64 * 1024, "{} kB at most", gateway.peak());
}

#[tokio::test]
async fn a_large_answer_waits_for_its_client() {
    let (gateway, _instance) = shop().await;
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.write_all(b"GET /flood HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut bytes = vec![0; 1024 * 1024];
    let mut total = 0;
    loop {
        let read = tokio::time::timeout(PATIENCE, socket.read(&mut bytes)).await.unwrap().unwrap();
        if read == 0 {
            break;
        }
        total += read as u64;
    }
    assert!(total > FLOOD * 1024 * 1024, "{total}");
    assert!(gateway.peak() < 64 * 1024, "{} kB at most", gateway.peak());
    let windows = gateway.windows(None, |windows| sum(windows, "v1").answered == 1).await;
    assert_eq!(sum(&windows, "v1").failures.total(), 0);
}

#[tokio::test]
async fn an_upload_may_take_longer_than_the_wait_for_an_answer() {
    let gateway = Gateway::start().await;
    let instance = Instance::start("v1").await;
    let mut snapshot = steady(1, &[&instance]);
    snapshot.timeout = davy_core::Millis(500);
    gateway.client.serve(&snapshot).await.unwrap();
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    let head = b"POST /sink HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\nconnection: close\r\n\r\n";
    socket.write_all(head).await.unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        socket.write_all(b"x").await.unwrap();
    }
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn sockets_are_upgraded_and_carry_both_ways() {
    let (gateway, _instance) = shop().await;
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.write_all(b"GET /socket HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    while !answer.contains("\r\n\r\n") {
        let mut bytes = [0; 1024];
        let read = tokio::time::timeout(PATIENCE, socket.read(&mut bytes)).await.unwrap().unwrap();
        assert!(read > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    assert!(answer.starts_with("HTTP/1.1 101") && answer.contains("upgrade: echo"), "{answer}");
    for word in [b"ping", b"pong"] {
        socket.write_all(word).await.unwrap();
        let mut back = [0; 4];
        tokio::time::timeout(PATIENCE, socket.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(&back, word);
    }
    let serving = gateway.client.observe(&key("shop")).await.unwrap().unwrap();
    assert_eq!(serving.in_flight(&crate::house::release("v1")), 1);
}

#[tokio::test]
async fn an_upgrade_to_another_http_is_not_passed_on() {
    let (gateway, _instance) = shop().await;
    let request = "GET /headers HTTP/1.1\r\nhost: a\r\nconnection: close, upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n";
    let answer = raw(gateway.address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("h2c") && !answer.contains("http2"), "{answer}");
}

#[tokio::test]
async fn old_clients_are_served() {
    let (gateway, _instance) = shop().await;
    let answer = raw(gateway.address, b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("v1"), "{answer}");
    let answer = raw(gateway.address, b"HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("content-length: 2"), "{answer}");
}

#[tokio::test]
async fn no_service_is_404() {
    let gateway = Gateway::start().await;
    assert_eq!(gateway.get("/").await.0, StatusCode::NOT_FOUND);
}
