//! HTTP/2 by hand, as h2spec does it: what breaks the protocol ends its stream or its connection and harms nobody else.

use crate::{
    house::{Gateway, Instance, PATIENCE, key, raw, release, steady, until},
    tls::{Authority, secure, shake},
};
use davy_ports::Router;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block without a table: every field a literal that nobody remembers (RFC 7541 §6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fn text(bytes: &mut Vec<u8>, text: &str) {
        match u8::try_from(text.len()) {
            Ok(length @ ..127) => bytes.push(length),
            _ => {
                bytes.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                    rest /= 128;
                }
                bytes.push(u8::try_from(rest).unwrap());
            }
        }
        bytes.extend(text.as_bytes());
    }
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        text(&mut bytes, name);
        text(&mut bytes, value);
    }
    bytes
}

const GET: &[(&str, &str)] = &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "shop.test")];
const POST: &[(&str, &str)] =
    &[(":method", "POST"), (":scheme", "http"), (":path", "/sink"), (":authority", "shop.test")];

fn get(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&[GET, more].concat()))
}

/// A POST whose body is to come.
fn post(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(&[POST, more].concat()))
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

struct Client {
    socket: Box<dyn Socket>,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// How the gateway took it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Took {
    /// The stream was reset.
    Reset,
    /// The connection was ended with words or without.
    Ended,
    /// The stream was answered with this status.
    Status(String),
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self { socket: Box::new(TcpStream::connect(address).await.unwrap()), bytes: Vec::new() }
    }

    /// By TLS, HTTP/2 agreed on there.
    async fn shake(door: &Door) -> Self {
        let socket = shake(&door.authority, door.address, "shop.test", &["h2"]).await.unwrap();
        assert_eq!(socket.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        Self { socket: Box::new(socket), bytes: Vec::new() }
    }

    /// Settings are agreed on.
    async fn greet(address: SocketAddr) -> Self {
        Self::connect(address).await.greeted().await
    }

    async fn greeted(mut self) -> Self {
        self.say(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(SETTINGS, 1, 0, &[])].concat()).await;
        self
    }

    /// Nobody may be there any more.
    async fn say(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.ok();
        self.socket.flush().await.ok();
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let [a, b, c, kind, flags, d, e, f, g, rest @ ..] = self.bytes.as_slice() {
                let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                if rest.len() >= length {
                    let stream = u32::from_be_bytes([*d, *e, *f, *g]);
                    let found = Frame { kind: *kind, flags: *flags, stream, payload: rest[..length].to_vec() };
                    self.bytes.drain(..9 + length);
                    return Some(found);
                }
            }
            let mut room = vec![0; 16 * 1024];
            let read = tokio::time::timeout(PATIENCE, self.socket.read(&mut room)).await.expect("silence");
            match read {
                Ok(read @ 1..) => self.bytes.extend_from_slice(&room[..read]),
                _ => return None,
            }
        }
    }

    /// What becomes of a stream.
    async fn took(&mut self, stream: u32) -> Took {
        while let Some(frame) = self.next().await {
            match frame.kind {
                RESET if frame.stream == stream => return Took::Reset,
                GOAWAY if frame.payload[4..8] != [0; 4] => return Took::Ended,
                HEADERS if frame.stream == stream => {
                    // The gateway's encoder has the common ones in the static table (RFC 7541, appendix A).
                    let status = match frame.payload.iter().find(|byte| **byte & 0xe0 != 0x20) {
                        Some(0x88) => "200".to_owned(),
                        Some(0x8c) => "400".to_owned(),
                        other => format!("{other:x?}"),
                    };
                    return Took::Status(status);
                }
                _ => {}
            }
        }
        Took::Ended
    }
}

async fn shop() -> (Gateway, Instance) {
    let gateway = Gateway::start().await;
    let instance = Instance::start("v1").await;
    gateway.client.serve(&steady(1, &[&instance])).await.unwrap();
    (gateway, instance)
}

/// Where HTTP/2 is spoken by TLS.
struct Door {
    authority: Authority,
    address: SocketAddr,
}

async fn secure_shop() -> (Gateway, Instance, Door) {
    let fill = |authority: &Authority, folder: &std::path::Path| drop(authority.issue(folder, "a", &["shop.test"]));
    let (gateway, instance, authority, address) = secure(fill, &["--redirect", "off"]).await;
    (gateway, instance, Door { authority, address })
}

#[tokio::test]
async fn frames_that_break_the_protocol_end_what_they_break_with_tls_and_without() {
    let (gateway, instance, door) = secure_shop().await;
    let with = |more: &[(&str, &str)]| get(1, more);
    let heads = |fields: &[(&str, &str)]| frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields));
    let rest = &GET[1..];
    let ended = || vec![Took::Ended];
    let broken = || vec![Took::Reset, Took::Ended, Took::Status("400".to_owned())];
    let big = vec![b'x'; 16 * 1024 + 1];
    let too_long = vec![b'x'; 0x01_00_00];
    let cases: Vec<(&str, Vec<u8>, Vec<Took>)> = vec![
        ("a request", with(&[]), vec![Took::Status("200".to_owned())]),
        (
            "an unknown frame before it",
            [frame(0x16, 0, 0, b"what"), with(&[])].concat(),
            vec![Took::Status("200".into())],
        ),
        (
            "padding",
            frame(HEADERS, END_STREAM | END_HEADERS | 8, 1, &[&[3], block(GET).as_slice(), &[0; 3]].concat()),
            vec![Took::Status("200".into())],
        ),
        (
            "continued",
            [frame(HEADERS, END_STREAM, 1, &block(&GET[..2])), frame(CONTINUATION, END_HEADERS, 1, &block(&GET[2..]))]
                .concat(),
            vec![Took::Status("200".into())],
        ),
        ("a frame that is too large", frame(DATA, 0, 1, &big), ended()),
        ("settings that are too large", frame(SETTINGS, 0, 0, &too_long), ended()),
        ("settings of a stream", frame(SETTINGS, 0, 1, &[]), ended()),
        ("settings of no whole length", frame(SETTINGS, 0, 0, &[0; 5]), ended()),
        ("settings: a push that is neither on nor off", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), ended()),
        ("settings: a window that is too large", frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]), ended()),
        ("settings: a frame size that is too small", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]), ended()),
        ("an acknowledgement with something in it", frame(SETTINGS, 1, 0, &[0; 6]), ended()),
        ("a ping of a stream", frame(PING, 0, 1, &[0; 8]), ended()),
        ("a ping of another length", frame(PING, 0, 0, &[0; 7]), ended()),
        ("a goaway of a stream", frame(GOAWAY, 0, 1, &[0; 8]), ended()),
        ("a window update of another length", frame(WINDOW, 0, 0, &[0; 3]), ended()),
        ("a window update of nothing", frame(WINDOW, 0, 0, &[0; 4]), ended()),
        ("a window update of nothing, of a stream", [post(1, &[]), frame(WINDOW, 0, 1, &[0; 4])].concat(), broken()),
        (
            "a window that overflows",
            [frame(WINDOW, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), frame(WINDOW, 0, 0, &[0x7f, 0xff, 0xff, 0xff])].concat(),
            ended(),
        ),
        (
            "a stream's window that overflows",
            [
                post(1, &[]),
                frame(WINDOW, 0, 1, &[0x7f, 0xff, 0xff, 0xff]),
                frame(WINDOW, 0, 1, &[0x7f, 0xff, 0xff, 0xff]),
            ]
            .concat(),
            broken(),
        ),
        ("data of no stream", frame(DATA, 0, 0, b"x"), ended()),
        ("data of an idle stream", frame(DATA, 0, 1, b"x"), ended()),
        (
            "data after the end",
            [
                frame(
                    HEADERS,
                    END_STREAM | END_HEADERS,
                    1,
                    &block(&[(":method", "GET"), (":scheme", "http"), (":path", "/never"), (":authority", "a")]),
                ),
                frame(DATA, 0, 1, b"x"),
            ]
            .concat(),
            broken(),
        ),
        ("data with more padding than there is", [post(1, &[]), frame(DATA, 8, 1, &[9, 0])].concat(), ended()),
        ("a reset of no stream", frame(RESET, 0, 0, &[0; 4]), ended()),
        ("a reset of an idle stream", frame(RESET, 0, 1, &[0; 4]), ended()),
        ("a reset of another length", [post(1, &[]), frame(RESET, 0, 1, &[0; 3])].concat(), ended()),
        ("a priority of no stream", frame(PRIORITY, 0, 0, &[0; 5]), ended()),
        ("a priority of another length", [post(1, &[]), frame(PRIORITY, 0, 1, &[0; 4])].concat(), broken()),
        (
            "a stream that depends on itself",
            frame(HEADERS, END_STREAM | END_HEADERS | 0x20, 1, &[&[0, 0, 0, 1, 0], block(GET).as_slice()].concat()),
            broken(),
        ),
        ("a push by a client", frame(PUSH, END_HEADERS, 1, &[0, 0, 0, 2]), ended()),
        ("an even stream", frame(HEADERS, END_STREAM | END_HEADERS, 2, &block(GET)), ended()),
        ("headers of no stream", frame(HEADERS, END_STREAM | END_HEADERS, 0, &block(GET)), ended()),
        ("a stream below one that was used", [get(3, &[]), get(1, &[])].concat(), ended()),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &block(GET)), ended()),
        (
            "another frame before the continuation",
            [frame(HEADERS, END_STREAM, 1, &block(GET)), frame(PING, 0, 0, &[0; 8])].concat(),
            ended(),
        ),
        (
            "a continuation of another stream",
            [frame(HEADERS, END_STREAM, 1, &block(GET)), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
            ended(),
        ),
        (
            "a block that cannot be read",
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            ended(),
        ),
        ("an index that is not there", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff, 0x00]), ended()),
        ("a name in capitals", with(&[("X-Name", "y")]), broken()),
        ("connection", with(&[("connection", "keep-alive")]), broken()),
        ("keep-alive", with(&[("keep-alive", "5")]), broken()),
        ("proxy-connection", with(&[("proxy-connection", "x")]), broken()),
        ("upgrade", with(&[("upgrade", "h2c")]), broken()),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")]), broken()),
        ("te other than trailers", with(&[("te", "gzip")]), broken()),
        ("a pseudo-header after others", heads(&[&GET[..3], &[("x", "y"), (":authority", "a")]].concat()), broken()),
        ("a pseudo-header that is not known", with(&[(":what", "y")]), broken()),
        ("a pseudo-header of answers", with(&[(":status", "200")]), broken()),
        ("a pseudo-header twice", heads(&[GET, &[(":path", "/")]].concat()), broken()),
        ("no method", heads(rest), broken()),
        ("no scheme", heads(&[GET[0], GET[2], GET[3]]), broken()),
        ("no path", heads(&[GET[0], GET[1], GET[3]]), broken()),
        ("an empty path", heads(&[GET[0], GET[1], (":path", ""), GET[3]]), broken()),
        ("no authority and no host", heads(&GET[..3]), broken()),
        ("a host that is not the authority", with(&[("host", "other.test")]), broken()),
        ("a value with a line's end", with(&[("x", "y\r\nx-forwarded-for: 6.6.6.6")]), broken()),
        ("a value with a NUL", with(&[("x", "\0")]), broken()),
        ("a name with a colon", with(&[("x:y", "z")]), broken()),
        (
            "a method with a line's end",
            heads(&[(":method", "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET"), GET[1], GET[2], GET[3]]),
            broken(),
        ),
        (
            "a path with a line's end",
            heads(&[GET[0], GET[1], (":path", "/ HTTP/1.1\r\nhost: a\r\n\r\nGET /"), GET[3]]),
            broken(),
        ),
        ("a path with a space", heads(&[GET[0], GET[1], (":path", "/ HTTP/1.1"), GET[3]]), broken()),
        ("an authority with a user", heads(&[GET[0], GET[1], GET[2], (":authority", "x@shop.test")]), broken()),
        (
            "less data than its length",
            [post(1, &[("content-length", "9")]), frame(DATA, END_STREAM, 1, b"x")].concat(),
            broken(),
        ),
        (
            "more data than its length",
            [post(1, &[("content-length", "1")]), frame(DATA, END_STREAM, 1, b"xyz")].concat(),
            broken(),
        ),
        ("no data but a length", get(1, &[("content-length", "5")]), broken()),
        (
            "a length that is none",
            [post(1, &[("content-length", "+1")]), frame(DATA, END_STREAM, 1, b"x")].concat(),
            broken(),
        ),
        (
            "two lengths",
            [post(1, &[("content-length", "1"), ("content-length", "2")]), frame(DATA, END_STREAM, 1, b"x")].concat(),
            broken(),
        ),
        (
            "trailers without an end",
            [post(1, &[]), frame(HEADERS, END_HEADERS, 1, &block(&[("x", "y")])), frame(DATA, END_STREAM, 1, b"x")]
                .concat(),
            broken(),
        ),
        (
            "trailers with a pseudo-header",
            [post(1, &[]), frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[(":path", "/x")]))].concat(),
            // It is thrown away: the instance gets the body and no more.
            vec![Took::Status("200".to_owned())],
        ),
    ];
    let mut wrong = Vec::new();
    for (what, bytes, expected) in cases {
        for (how, client) in [("plain", Client::connect(gateway.address).await), ("TLS", Client::shake(&door).await)] {
            let mut client = client.greeted().await;
            client.say(&bytes).await;
            let took = client.took(1).await;
            if !expected.contains(&took) {
                wrong.push(format!("{what}, {how}: {took:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let heads = instance.heads.lock().unwrap().clone();
    assert!(heads.iter().all(|head| !head.contains("6.6.6.6") && !head.contains("HTTP/1.1\\r")), "{heads:?}");
    assert_eq!(gateway.get("/").await.1, "v1");
}

#[tokio::test]
async fn a_preface_that_is_none_is_no_http() {
    let (gateway, instance) = shop().await;
    for bytes in [
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\n\r\n",
        b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = raw(gateway.address, bytes).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    // In pieces it is one all the same.
    let mut client = Client::connect(gateway.address).await;
    for byte in PREFACE {
        client.say(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    client.say(&[frame(SETTINGS, 0, 0, &[]), get(1, &[])].concat()).await;
    assert_eq!(client.took(1).await, Took::Status("200".to_owned()));
    assert_eq!(instance.hits(), 1);
}

/// Says something again and again until the connection is ended.
async fn flood(gateway: &Gateway, what: &str, bytes: impl FnMut(u32) -> Vec<u8>) {
    flood_on(Client::greet(gateway.address).await, what, bytes).await;
}

async fn flood_on(client: Client, what: &str, mut bytes: impl FnMut(u32) -> Vec<u8>) {
    let since = Instant::now();
    let mut stream = 1;
    let (mut reading, mut writing) = tokio::io::split(client.socket);
    let mut room = vec![0; 16 * 1024];
    loop {
        assert!(since.elapsed() < PATIENCE, "{what}: nobody ends it");
        let some: Vec<u8> = (0..50).flat_map(|number| bytes(stream + 2 * number)).collect();
        stream += 100;
        if writing.write_all(&some).await.is_err() {
            return;
        }
        // What it says in between is not listened to, only its end.
        if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(Duration::from_millis(1), reading.read(&mut room)).await {
            return;
        }
    }
}

#[tokio::test]
async fn floods_end_the_connection_and_cost_little() {
    let (gateway, instance) = shop().await;
    let reset = |stream| frame(RESET, 0, stream, &[0, 0, 0, 8]);
    // CVE-2023-44487, CVE-2019-9514, CVE-2024-27316, and streams that are wrong.
    flood(&gateway, "rapid reset", |stream| [get(stream, &[]), reset(stream)].concat()).await;
    flood(&gateway, "streams that are wrong", |stream| get(stream, &[("connection", "x")])).await;
    let mut begun = false;
    flood(&gateway, "continuation", |_| {
        let first = !std::mem::replace(&mut begun, true);
        let kind = if first { HEADERS } else { CONTINUATION };
        frame(kind, 0, 1, &block(&[("x", &"y".repeat(1000))]))
    })
    .await;
    let mut begun = false;
    flood(&gateway, "empty continuations", |_| {
        let first = !std::mem::replace(&mut begun, true);
        frame(if first { HEADERS } else { CONTINUATION }, 0, 1, &[])
    })
    .await;
    assert!(gateway.peak() < 64 * 1024, "{} kB at most", gateway.peak());
    // Each was at most a few requests on their way.
    assert!(instance.hits() < 2_000, "{}", instance.hits());
    assert_eq!(gateway.get("/").await.1, "v1");
}

/// What TLS adds: records that end anywhere, a protocol that was agreed on and is not spoken, clients that leave without a word.
#[tokio::test]
async fn hostile_clients_of_http2_by_tls_harm_themselves_only() {
    let (gateway, instance, door) = secure_shop().await;
    // A record for each byte is one request all the same.
    let mut client = Client::shake(&door).await;
    for byte in [PREFACE, &frame(SETTINGS, 0, 0, &[]), &get(1, &[])].concat() {
        client.say(&[byte]).await;
    }
    assert_eq!(client.took(1).await, Took::Status("200".to_owned()));
    // What was agreed on is what is spoken.
    let mut client = Client::shake(&door).await;
    client.say(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").await;
    assert_eq!(client.took(1).await, Took::Ended);
    assert_eq!(instance.hits(), 1);
    let reset = |stream| frame(RESET, 0, stream, &[0, 0, 0, 8]);
    let rapid = |stream| [get(stream, &[]), reset(stream)].concat();
    flood_on(Client::shake(&door).await.greeted().await, "rapid reset", rapid).await;
    // Requests under way, an open body and half a frame, and the client is gone, without a word of TLS.
    for _ in 0..50 {
        let mut client = Client::shake(&door).await.greeted().await;
        let fields = [GET[0], GET[1], (":path", "/never"), GET[3]];
        client.say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&fields))).await;
        client
            .say(&[post(3, &[]), frame(DATA, 0, 3, b"begun"), frame(DATA, 0, 3, &[b'x'; 100])[..50].to_vec()].concat())
            .await;
    }
    until("what they asked for is given up", || async {
        let serving = gateway.client.observe(&key("shop")).await.unwrap().unwrap();
        serving.in_flight(&release("v1")) == 0
    })
    .await;
    assert!(gateway.peak() < 64 * 1024, "{} kB at most", gateway.peak());
    let mut client = Client::shake(&door).await.greeted().await;
    client.say(&get(1, &[])).await;
    assert_eq!(client.took(1).await, Took::Status("200".to_owned()));
}

/// Whoever never listens is not answered into memory: what is asked of the gateway stops being read.
#[tokio::test]
async fn pings_and_settings_that_nobody_reads_the_answers_of_take_no_memory() {
    let (gateway, _instance) = shop().await;
    let before = gateway.peak();
    for what in [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])] {
        let mut client = Client::greet(gateway.address).await;
        let some = what.repeat(4096);
        let mut said = 0;
        while said < 64 * 1024 * 1024 {
            match tokio::time::timeout(Duration::from_millis(500), client.socket.write(&some)).await {
                Ok(Ok(written @ 1..)) => said += written,
                _ => break,
            }
        }
    }
    assert!(gateway.peak() < before + 16 * 1024, "{} kB, {before} kB before", gateway.peak());
    assert_eq!(gateway.get("/").await.1, "v1");
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused_and_streams_beyond_the_limit_too() {
    let (gateway, instance) = shop().await;
    let mut client = Client::greet(gateway.address).await;
    // 80 kB in one block of fields; the limit of 64 kB counts 32 for each field as well (RFC 9113 §6.5.2).
    let long = "y".repeat(8 * 1024);
    let fields: Vec<(&str, &str)> = GET.iter().copied().chain((0..10).map(|_| ("x", long.as_str()))).collect();
    let bytes = block(&fields);
    let mut pieces = bytes.chunks(16 * 1024).peekable();
    client.say(&frame(HEADERS, END_STREAM, 1, pieces.next().unwrap())).await;
    while let Some(piece) = pieces.next() {
        client.say(&frame(CONTINUATION, if pieces.peek().is_none() { END_HEADERS } else { 0 }, 1, piece)).await;
    }
    let took = client.took(1).await;
    assert!(took != Took::Status("200".to_owned()), "{took:?}");
    assert_eq!(instance.hits(), 0);
    // 128 at once are told; those above are refused while the others are under way.
    let mut client = Client::greet(gateway.address).await;
    let never = |stream| {
        let fields = [GET[0], GET[1], (":path", "/never"), GET[3]];
        frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&fields))
    };
    for number in 0..200 {
        client.say(&never(1 + 2 * number)).await;
    }
    assert_eq!(client.took(399).await, Took::Reset);
    assert!(instance.hits() <= 128, "{}", instance.hits());
}
