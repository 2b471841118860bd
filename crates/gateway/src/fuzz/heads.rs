//! A request's head, from what HTTP's parser gives to what goes to an instance.

use crate::{
    aside::{Aside, Asked},
    headers,
    peer::Peer,
    proxy::without_port,
    sticky::{Failed, Key, Sticky},
};
use davy_core::{EnvironmentName, Match, RolloutId, ServiceKey, ServiceName};
use hyper::{
    HeaderMap, Request, Version,
    header::{self, HeaderName, HeaderValue},
};
use std::sync::Arc;

/// What no instance is told by a client.
const GONE: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "forwarded",
    "x-real-ip",
];

/// Takes a head in lines: method and target, then a name and a value each; `2` before it makes it one of HTTP/2.
pub fn heads(bytes: &[u8]) {
    let Some(mut request) = request(bytes) else { return };
    if request.version() == Version::HTTP_2 {
        headers::as_http1(&mut request);
        assert!(request.headers().get_all(header::COOKIE).iter().count() <= 1, "one line of cookies");
    }
    answer(request.headers());
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    assert!(host.starts_with(without_port(&host)) || host.starts_with('['), "a host is a part of what was said");
    cookies(request.headers());
    if headers::ambiguous(&request).is_some() {
        return;
    }
    let has = |name: HeaderName| request.headers().get_all(name).iter().count();
    let (hosts, lengths, codings) = (has(header::HOST), has(header::CONTENT_LENGTH), has(header::TRANSFER_ENCODING));
    assert!(hosts == 1 || hosts == 0 && request.version() == Version::HTTP_10, "one host");
    assert!(lengths + codings <= 1, "one way to know where it ends");
    headers::upgrade(request.headers());
    let length = request.headers().get(header::CONTENT_LENGTH).cloned();
    headers::strip(request.headers_mut());
    let peer = Peer::new(([192, 0, 2, 1], 1).into(), false);
    headers::forwarded(request.headers_mut(), &peer);
    let told = request.headers();
    for name in GONE {
        assert!(!told.contains_key(name), "{name} is for one connection, or the gateway's own to say");
    }
    assert_eq!(told.get_all("x-forwarded-for").iter().collect::<Vec<_>>(), ["192.0.2.1"], "the gateway says who asks");
    assert_eq!(told.get(header::CONTENT_LENGTH), length.as_ref(), "nobody makes the gateway forget a length");
    assert_eq!(told.get_all(header::HOST).iter().count(), hosts, "nobody makes the gateway forget a host");
}

fn request(bytes: &[u8]) -> Option<Request<()>> {
    let (bytes, version) = match bytes.split_first() {
        Some((b'2', rest)) => (rest, Version::HTTP_2),
        Some((b'0', rest)) => (rest, Version::HTTP_10),
        _ => (bytes, Version::HTTP_11),
    };
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    let (method, target) = first.split_at(first.iter().position(|byte| *byte == b' ')?);
    let mut request = Request::builder().version(version).method(method).uri(&target[1..]).body(()).ok()?;
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
    }
    Some(request)
}

/// The same head, had an instance answered with it.
fn answer(head: &HeaderMap) {
    if headers::ambiguous_answer(head).is_none() {
        let lengths: Vec<_> = head.get_all(header::CONTENT_LENGTH).iter().collect();
        assert!(lengths.len() <= 1 && !(lengths.len() == 1 && head.contains_key(header::TRANSFER_ENCODING)));
    }
}

/// Whatever cookies say: no client is taken for another, and each is drawn below the whole.
fn cookies(head: &HeaderMap) {
    let (Ok(service), Ok(environment)) = (ServiceName::new("shop"), EnvironmentName::new("production")) else { return };
    let (key, rollout) = (ServiceKey { service, environment }, RolloutId::new("r"));
    let sticky = Sticky::new(Key::new(&[7; 32]), &key, &rollout, "/", Arc::new(Failed::default()));
    let beta = Match::Cookie { name: "beta".to_owned(), value: Some("1".to_owned()) };
    let header = Match::Header { name: "x-canary".to_owned(), value: None };
    let aside = Aside { canary: 0, matches: vec![beta, header], mirror: None, sticky: Some(sticky) };
    let peer = Peer::new(([192, 0, 2, 1], 1).into(), true);
    match aside.asked(head, false, &peer, &mut fastrand::Rng::with_seed(1)) {
        (Asked::Matched, cookie) => assert!(cookie.is_none(), "what is matched stays with nobody"),
        (Asked::Client(client), _) => assert!(client.draw < 10_000),
        (Asked::Draw(_), _) => panic!("a client that stays is not drawn anew"),
    }
}
