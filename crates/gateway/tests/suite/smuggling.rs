//! The known ways to make two ends disagree about where a request ends: each is refused, or reaches the instance in a form
//! that can be read in one way only.

use crate::{
    house::{Gateway, PATIENCE, steady},
    strict::requests,
};
use davy_core::{Backend, InstanceId};
use davy_ports::Router;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What each connection to an instance brought, byte for byte.
#[derive(Clone, Default)]
struct Record(Arc<Mutex<Vec<Vec<u8>>>>);

/// Answers every whole request as a strict reader sees it, and keeps everything that comes.
async fn recorder() -> (SocketAddr, Record) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let record = Record::default();
    let kept = record.clone();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let index = {
                let mut all = kept.0.lock().unwrap();
                all.push(Vec::new());
                all.len() - 1
            };
            let kept = kept.clone();
            tokio::spawn(async move {
                let mut answered = 0;
                let mut room = [0; 4096];
                while let Ok(read @ 1..) = socket.read(&mut room).await {
                    let whole = {
                        let mut all = kept.0.lock().unwrap();
                        all[index].extend_from_slice(&room[..read]);
                        requests(&all[index]).map_or(0, |requests| requests.len())
                    };
                    for _ in answered..whole {
                        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.ok();
                    }
                    answered = whole;
                }
            });
        }
    });
    (address, record)
}

/// What is to become of it.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// No whole request of it reaches an instance, and the connection ends.
    Refused,
    /// One request with this body, and nothing of what follows, unless that is a request of its own.
    Body(&'static str),
}

use Fate::{Body, Refused};

/// Everything here hides this behind or inside of a request.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

#[rustfmt::skip]
const CASES: &[(&str, &str, Fate)] = &[
    ("plain", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", Body("hi")),
    ("chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", Body("hi")),
    ("chunks on a GET", "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", Body("hi")),
    ("CL and TE", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Body("")),
    ("TE and CL", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", Body("")),
    ("several lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 37\r\n\r\n", Refused),
    ("the same length twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", Body("hi")),
    ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\nhi", Refused),
    ("a plus", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\nhi", Refused),
    ("a minus", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -2\r\n\r\nhi", Refused),
    ("a length in hex", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x2\r\n\r\nhi", Refused),
    ("a space in a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2 2\r\n\r\nhi", Refused),
    ("an empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhi", Refused),
    ("a huge length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551618\r\n\r\nhi", Refused),
    ("spaces around a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \t 2 \r\n\r\nhi", Body("hi")),
    ("a space before the colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 2\r\n\r\nhi", Refused),
    ("a tab before the colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", Refused),
    ("a space before a name", "POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused),
    ("a space before the first name", "POST / HTTP/1.1\r\n Host: a\r\nContent-Length: 2\r\n\r\nhi", Refused),
    ("an empty name", "POST / HTTP/1.1\r\nHost: a\r\n: chunked\r\n\r\n", Refused),
    ("no colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\r\n\r\n", Refused),
    ("a folded coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", Refused),
    ("a folded line", "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tContent-Length: 37\r\n\r\n", Refused),
    ("chunked twice in a line", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", Refused),
    ("chunked in two lines", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused),
    ("identity and chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", Refused),
    ("chunked and identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", Refused),
    ("chunked, then another", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", Refused),
    ("xchunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", Refused),
    ("xchunked and a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", Refused),
    ("quoted", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", Refused),
    ("an empty coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", Refused),
    ("a parameter", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n", Refused),
    ("capitals", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ChUnKeD\r\n\r\n2\r\nhi\r\n0\r\n\r\n", Body("hi")),
    ("a tab before the coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", Body("hi")),
    ("spaces around the coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:  chunked \r\n\r\n2\r\nhi\r\n0\r\n\r\n", Body("hi")),
    ("a vertical tab before the coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", Refused),
    ("chunked in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused),
    ("an underscore", "POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n", Body("")),
    ("a bare CR in a value", "POST / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 37\r\n\r\n", Refused),
    ("a bare CR after a name", "POST / HTTP/1.1\r\nHost: a\r\nX\r: y\r\n\r\n", Refused),
    ("a bare CR ends the head", "POST / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n", Refused),
    ("bare LFs", "POST / HTTP/1.1\nHost: a\nContent-Length: 2\n\nhi", Body("hi")),
    ("a bare LF in a value", "POST / HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 2\r\n\r\nhi", Body("hi")),
    ("LF CR", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\n\r\n\rhi", Body("\rh")),
    ("a NUL in a value", "POST / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", Refused),
    ("a NUL in a name", "POST / HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n", Refused),
    ("a NUL in the target", "POST /\0 HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
    ("a chunk extension", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n0;c\r\n\r\n", Body("hi")),
    ("a bare LF in a chunk extension", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;\nhi\r\n0\r\n\r\n", Refused),
    ("a bare CR in a chunk extension", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;\rxx\r\nhi\r\n0\r\n\r\n", Refused),
    ("a bare LF after a chunk size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n", Refused),
    ("a bare LF after a chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\n0\r\n\r\n", Refused),
    ("a chunk that is longer than its size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhixx\r\n0\r\n\r\n", Refused),
    ("a huge chunk size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nhi\r\n0\r\n\r\n", Refused),
    ("a chunk size with a sign", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nhi\r\n0\r\n\r\n", Refused),
    ("a chunk size with 0x", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n", Refused),
    ("a chunk size with an underscore", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0_2\r\nhi\r\n0\r\n\r\n", Refused),
    ("no chunk size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhi\r\n0\r\n\r\n", Refused),
    ("zeros before a chunk size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0000002\r\nhi\r\n0\r\n\r\n", Body("hi")),
    ("a trailer", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nContent-Length: 37\r\n\r\n", Body("hi")),
    ("another host in the target", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
    ("the same host in the target", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Body("")),
    ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Refused),
    ("no host", "GET / HTTP/1.1\r\n\r\n", Refused),
    ("a space in a host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Refused),
    ("a path in a host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Refused),
    ("a user in a host", "GET / HTTP/1.1\r\nHost: x@a\r\n\r\n", Refused),
    ("a length on a GET", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", Body("hi")),
    ("the length is named for the connection", "POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nhi", Body("hi")),
    ("the host is named for the connection", "POST / HTTP/1.1\r\nHost: a\r\nConnection: host\r\nContent-Length: 2\r\n\r\nhi", Body("hi")),
    ("a space before the version", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
    ("two targets", "GET / /hidden HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
    ("another version", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", Refused),
    ("HTTP/0.9", "GET /\r\n\r\n", Refused),
    ("a version of two digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", Refused),
    ("a lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", Refused),
    ("an upgrade to HTTP/2", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", Body("")),
    ("an empty line before", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Body("")),
    ("CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", Refused),
];

#[tokio::test]
async fn each_is_refused_or_forwarded_in_one_meaning() {
    let gateway = Gateway::start().await;
    let mut wrong = Vec::new();
    for (generation, (what, bytes, fate)) in (1..).zip(CASES) {
        let (address, record) = recorder().await;
        let mut snapshot = steady(generation, &[]);
        snapshot.health.path = None;
        snapshot.health.interval = davy_core::Millis::seconds(60);
        snapshot.serve[0].instances = vec![Backend { id: InstanceId::new(address.to_string()), address }];
        gateway.client.serve(&snapshot).await.unwrap();
        let mut socket = TcpStream::connect(gateway.address).await.unwrap();
        socket.write_all(format!("{bytes}{HIDDEN}").as_bytes()).await.unwrap();
        socket.shutdown().await.ok();
        let mut answer = Vec::new();
        let reading = socket.read_to_end(&mut answer);
        tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("{what}: no end")).ok();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        // A health check of this kind only connects: what says nothing is not a request.
        let all: Vec<_> = record.0.lock().unwrap().clone();
        let mut seen = Vec::new();
        for bytes in &all {
            match requests(bytes) {
                Ok(requests) => seen.extend(requests),
                Err(why) => wrong.push(format!("{what}: the instance got {why}: {}", String::from_utf8_lossy(bytes))),
            }
        }
        let first = answer.lines().next().unwrap_or_default().to_owned();
        match fate {
            Refused => {
                if !seen.is_empty() || answer.contains(" 200 ") {
                    wrong.push(format!("{what}: {first:?}, the instance saw {seen:?}"));
                }
            }
            Body(body) => {
                // What follows is its own request or was thrown away with the connection: never a part of this one.
                let is_well = seen.first().is_some_and(|asked| asked.body == body.as_bytes())
                    && seen.iter().skip(1).all(|asked| asked.line == "GET /hidden HTTP/1.1" && asked.body.is_empty())
                    && seen.len() <= 2
                    && answer.matches("HTTP/1.1 200").count() == seen.len();
                if !is_well {
                    wrong.push(format!("{what}: {first:?}, the instance saw {seen:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
