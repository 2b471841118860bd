//! Instances that answer what no instance should: each answer is refused or forwarded in one meaning, and the next client on the
//! same pool gets its own answer.

use crate::house::{Gateway, PATIENCE, steady};
use davy_core::{Backend, InstanceId};
use davy_ports::Router;
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// What an instance does with the request for `/hostile`.
#[derive(Clone)]
enum Says {
    /// These bytes, and goes on.
    Goes(String),
    /// These bytes, and closes.
    Closes(String),
    /// These bytes; the others once the client has its answer.
    Later(&'static str, &'static str),
    /// These bytes, and the others again and again.
    Endless(&'static str, &'static str),
}

/// What the client is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// A failure that the gateway answers.
    Refused,
    /// A whole answer with this body.
    Body(&'static str),
    /// An answer that ends before its end, and with it the connection.
    Cut,
}

use Seen::{Body, Cut, Refused};

/// An answer that nobody asked for.
const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";

#[derive(Clone)]
struct Hostile {
    address: SocketAddr,
    /// The client has its answer.
    answered: Arc<Notify>,
    /// All was said.
    said: Arc<Notify>,
}

impl Hostile {
    /// Answers `/hostile` as said, and every other request with its path.
    async fn start(says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hostile = Self { address, answered: Arc::default(), said: Arc::default() };
        let serving = hostile.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                // What is surplus leaves before the next request, not with the acknowledgement that this brings.
                socket.set_nodelay(true).unwrap();
                tokio::spawn(serving.clone().serve(socket, says.clone()));
            }
        });
        hostile
    }

    async fn serve(self, mut socket: TcpStream, says: Says) {
        let mut bytes = Vec::new();
        let mut room = [0; 4096];
        while let Ok(read @ 1..) = socket.read(&mut room).await {
            bytes.extend_from_slice(&room[..read]);
            while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = bytes.drain(..end + 4).collect();
                let path = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned();
                if path != "/hostile" {
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len());
                    socket.write_all(answer.as_bytes()).await.ok();
                    continue;
                }
                let all = match &says {
                    Says::Goes(all) | Says::Closes(all) => all.as_str(),
                    Says::Later(all, _) | Says::Endless(all, _) => all,
                };
                socket.write_all(all.as_bytes()).await.ok();
                match says {
                    Says::Goes(_) => {}
                    Says::Closes(_) => return,
                    Says::Later(_, more) => {
                        self.answered.notified().await;
                        socket.write_all(more.as_bytes()).await.ok();
                        self.said.notify_one();
                    }
                    Says::Endless(_, more) => while socket.write_all(more.as_bytes()).await.is_ok() {},
                }
            }
        }
    }
}

/// The answer to one request on a connection, as strictly as it can be read.
async fn ask(socket: &mut TcpStream, method: &str, path: &str) -> Result<(String, String), String> {
    socket.write_all(format!("{method} {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.ok();
    let mut bytes = Vec::new();
    let mut room = [0; 4096];
    loop {
        let reading = tokio::time::timeout(PATIENCE, socket.read(&mut room)).await;
        let read = reading.map_err(|_| "silence")?.unwrap_or_default();
        bytes.extend_from_slice(&room[..read]);
        match answer(&bytes, method == "HEAD")? {
            Some((head, body, whole)) if whole == bytes.len() => return Ok((head, body)),
            Some((head, ..)) => return Err(format!("more than one answer after {head:?}")),
            None if read == 0 => return Ok((String::from_utf8_lossy(&bytes).into_owned(), "cut".to_owned())),
            None => {}
        }
    }
}

/// Head, body and length of the first answer, once it is whole; an error is what two readers could see in two ways.
fn answer(bytes: &[u8], is_head: bool) -> Result<Option<(String, String, usize)>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "no text")?.to_ascii_lowercase();
    if head.replace("\r\n", "").chars().any(char::is_control) {
        return Err(format!("controls in {head:?}"));
    }
    let of = |name: &str| head.split("\r\n").filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
    let (lengths, codings) = (of("content-length: "), of("transfer-encoding: "));
    let rest = &bytes[end + 4..];
    if is_head || head.contains(" 204 ") || head.contains(" 304 ") {
        return Ok(Some((head.clone(), String::new(), end + 4)));
    }
    let (body, length) = match (lengths.as_slice(), codings.as_slice()) {
        ([length], []) => {
            let length: usize = length.parse().map_err(|_| format!("the length {length:?}"))?;
            if rest.len() < length {
                return Ok(None);
            }
            (rest[..length].to_vec(), length)
        }
        ([], ["chunked"]) => {
            let (mut body, mut at) = (Vec::new(), 0);
            loop {
                let Some(line) = rest[at..].windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
                let size = std::str::from_utf8(&rest[at..at + line]).map_err(|_| "no text")?;
                let size = usize::from_str_radix(size, 16).map_err(|_| format!("the chunk size {size:?}"))?;
                at += line + 2;
                if rest.len() < at + size + 2 {
                    return Ok(None);
                }
                body.extend_from_slice(&rest[at..at + size]);
                at += size + 2;
                if size == 0 {
                    break (body, at);
                }
            }
        }
        other => return Err(format!("the framing {other:?}")),
    };
    Ok(Some((head.clone(), String::from_utf8_lossy(&body).into_owned(), end + 4 + length)))
}

fn goes(bytes: impl Into<String>) -> Says {
    Says::Goes(bytes.into())
}

fn closes(bytes: impl Into<String>) -> Says {
    Says::Closes(bytes.into())
}

#[tokio::test]
async fn each_answer_is_refused_or_forwarded_in_one_meaning_and_the_next_client_gets_its_own() {
    let many = (0..1000).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
    #[rustfmt::skip]
    let cases = [
        ("plain", "GET", goes("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"), Body("hi")),
        ("chunks", "GET", goes(format!("{chunked}\r\n2\r\nhi\r\n0\r\n\r\n")), Body("hi")),
        ("until it closes", "GET", closes("HTTP/1.1 200 OK\r\n\r\nhi"), Body("hi")),
        ("HTTP/1.0 until it closes", "GET", closes("HTTP/1.0 200 OK\r\n\r\nhi"), Body("hi")),
        ("CL and TE", "GET", goes(format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{POISON}")), Refused),
        ("TE and CL", "GET", goes(format!("{chunked}content-length: 90\r\n\r\n2\r\nhi\r\n0\r\n\r\n{POISON}")), Refused),
        ("two lengths", "GET", goes(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 51\r\n\r\nhi{POISON}")), Refused),
        ("a list of lengths", "GET", goes("HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nhi"), Refused),
        ("the same length twice", "GET", goes("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi"), Refused),
        ("a list of the same length", "GET", goes("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nhi"), Refused),
        ("a length with a sign", "GET", goes("HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nhi"), Refused),
        ("a coding that is not chunked", "GET", closes("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhi"), Refused),
        ("two codings", "GET", goes("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), Refused),
        ("chunks in HTTP/1.0", "GET", closes("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), Refused),
        ("surplus bytes", "GET", goes(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi{POISON}")), Body("hi")),
        ("surplus bytes after chunks", "GET", goes(format!("{chunked}\r\n2\r\nhi\r\n0\r\n\r\n{POISON}")), Body("hi")),
        ("surplus bytes later", "GET", Says::Later("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", POISON), Body("hi")),
        ("a body to a HEAD", "HEAD", goes(format!("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison{POISON}")), Body("")),
        ("a body of a 204", "GET", goes(format!("HTTP/1.1 204 No Content\r\n\r\n{POISON}")), Body("")),
        ("a length of a 204", "GET", goes(format!("HTTP/1.1 204 No Content\r\ncontent-length: 51\r\n\r\n{POISON}")), Body("")),
        ("a body of a 304", "GET", goes(format!("HTTP/1.1 304 Not Modified\r\ncontent-length: 51\r\n\r\n{POISON}")), Body("")),
        ("a protocol that nobody asked for", "GET", goes(format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n{POISON}")), Refused),
        ("a continue that nobody asked for", "GET", goes("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"), Body("hi")),
        ("a bare CR in a value", "GET", goes("HTTP/1.1 200 OK\r\nx: y\rcontent-length: 90\r\ncontent-length: 2\r\n\r\nhi"), Refused),
        ("a bare CR ends the head", "GET", goes("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\rx: y\r\n\r\nhi"), Refused),
        ("a folded line", "GET", goes("HTTP/1.1 200 OK\r\nx: y\r\n content-length: 90\r\ncontent-length: 2\r\n\r\nhi"), Refused),
        ("a space before the colon", "GET", goes("HTTP/1.1 200 OK\r\ncontent-length : 90\r\ncontent-length: 2\r\n\r\nhi"), Refused),
        ("a NUL in a value", "GET", goes("HTTP/1.1 200 OK\r\nx: \0\r\ncontent-length: 2\r\n\r\nhi"), Refused),
        ("no HTTP", "GET", goes("SSH-2.0-OpenSSH_9.2\r\n\r\n"), Refused),
        ("another version", "GET", goes("HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nhi"), Refused),
        ("no status", "GET", goes("HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nhi"), Refused),
        ("too many fields", "GET", goes(format!("HTTP/1.1 200 OK\r\n{many}content-length: 2\r\n\r\nhi")), Refused),
        ("an endless head", "GET", Says::Endless("HTTP/1.1 200 OK\r\n", "x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"), Refused),
        ("an endless line", "GET", Says::Endless("HTTP/1.1 200 OK\r\nx: ", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"), Refused),
        ("an endless chunk extension", "GET", Says::Endless("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"), Cut),
        ("a head that ends too soon", "GET", closes("HTTP/1.1 200 OK\r\ncontent-le"), Refused),
        ("nothing", "GET", closes(""), Refused),
        ("a body shorter than its length", "GET", closes("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi"), Cut),
        ("chunks without an end", "GET", closes(format!("{chunked}\r\n2\r\nhi\r\n")), Cut),
        ("a chunk that ends too soon", "GET", closes(format!("{chunked}\r\n9\r\nhi")), Cut),
        ("a chunk that is longer than its size", "GET", goes(format!("{chunked}\r\n2\r\nhixx\r\n0\r\n\r\n{POISON}")), Cut),
        ("no chunk size", "GET", goes(format!("{chunked}\r\nxyz\r\nhi\r\n0\r\n\r\n{POISON}")), Cut),
        ("a huge chunk size", "GET", goes(format!("{chunked}\r\n10000000000000002\r\nhi\r\n0\r\n\r\n{POISON}")), Cut),
    ];
    let gateway = Gateway::start().await;
    let mut wrong = Vec::new();
    for (generation, (what, method, says, expected)) in (1..).zip(cases) {
        let is_later = matches!(says, Says::Later(..));
        let hostile = Hostile::start(says).await;
        let mut snapshot = steady(generation, &[]);
        snapshot.health.path = None;
        snapshot.health.interval = davy_core::Millis::seconds(60);
        let address = hostile.address;
        snapshot.serve[0].instances = vec![Backend { id: InstanceId::new(address.to_string()), address }];
        gateway.client.serve(&snapshot).await.unwrap();
        let mut socket = TcpStream::connect(gateway.address).await.unwrap();
        // The pool of each worker has a connection that was used well.
        for number in 0..8 {
            let mut other = TcpStream::connect(gateway.address).await.unwrap();
            let path = format!("/before-{number}");
            let before = ask(&mut other, "GET", &path).await;
            assert!(before.as_ref().is_ok_and(|(_, body)| *body == path), "{what}: {before:?}");
        }
        let seen = match ask(&mut socket, method, "/hostile").await {
            Ok((head, _)) if head.starts_with("http/1.1 502") => Some(Refused),
            Ok((_, body)) if body == "cut" => Some(Cut),
            Ok((_, body)) => Some(expected).filter(|expected| matches!(expected, Body(text) if *text == body)),
            Err(why) => {
                wrong.push(format!("{what}: {why}"));
                continue;
            }
        };
        if seen != Some(expected) {
            wrong.push(format!("{what}: {seen:?}"));
        }
        if is_later {
            hostile.answered.notify_one();
            tokio::time::timeout(PATIENCE, hostile.said.notified()).await.unwrap();
        }
        // On the same connection, if it is still one, and on others.
        for number in 0..8 {
            let path = format!("/after-{number}");
            let after = ask(&mut socket, "GET", &path).await;
            if !after.as_ref().is_ok_and(|(_, body)| *body == path || (number == 0 && seen == Some(Cut))) {
                wrong.push(format!("{what}: then {after:?}"));
            }
            socket = TcpStream::connect(gateway.address).await.unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(gateway.peak() < 64 * 1024, "{} kB at most", gateway.peak());
}
