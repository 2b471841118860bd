//! What of a message's head may pass a proxy, and what must not (RFC 9110 §7.6, RFC 9112 §6).

use crate::peer::Peer;
use hyper::{
    HeaderMap, Request, Version,
    header::{self, HeaderName, HeaderValue},
};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What is meant for one connection only.
static HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// What only the gateway may say.
static FORWARDED: [HeaderName; 7] = [
    crate::mirror::MIRRORED,
    header::FORWARDED,
    FOR,
    HOST,
    PROTO,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-real-ip"),
];

/// Removes these. Most messages have none of them: one look at each name is cheaper than a search for each of these.
fn remove(headers: &mut HeaderMap, names: &[HeaderName]) {
    if headers.keys().any(|name| names.contains(name)) {
        for name in names {
            headers.remove(name);
        }
    }
}

/// Why a request's head is refused.
pub(crate) fn ambiguous<B>(request: &Request<B>) -> Option<&'static str> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Some("more than one Host"),
        (None, None) if request.version() != Version::HTTP_10 => return Some("no Host"),
        (Some(host), None) => {
            let Ok(host) = host.to_str() else { return Some("a Host that is no text") };
            let bad = |c: char| c.is_whitespace() || matches!(c, '/' | '@' | '?' | '#' | ',');
            if host.is_empty() || host.contains(bad) {
                return Some("a Host that is no host");
            }
            if request.uri().authority().is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(host)) {
                return Some("a Host that is not the target's");
            }
        }
        (None, None) => {}
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        if headers.contains_key(header::CONTENT_LENGTH) {
            return Some("both Content-Length and Transfer-Encoding");
        }
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let only = codings.next().is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if !only || codings.next().is_some() || request.version() != Version::HTTP_11 {
            return Some("a Transfer-Encoding other than chunked");
        }
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if lengths.next().is_some() && lengths.next().is_some() {
        return Some("more than one Content-Length");
    }
    if request.method() == hyper::Method::CONNECT {
        return Some("CONNECT");
    }
    None
}

/// Why an instance's answer is refused: two readers could see its end in two places (RFC 9112 §6.3).
pub(crate) fn ambiguous_answer(headers: &HeaderMap) -> Option<&'static str> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        (None, None) => None,
        (Some(_), Some(_)) => Some("it has both Content-Length and Transfer-Encoding"),
        (Some(coding), None) => {
            let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
            (!is_chunked).then_some("it has a Transfer-Encoding other than chunked")
        }
        (None, Some(length)) => {
            let is_one = length.as_bytes().iter().all(u8::is_ascii_digit) && lengths.next().is_none();
            (!is_one).then_some("it has more than one Content-Length")
        }
    }
}

/// The protocol that both sides of a connection change to.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let asks = connection.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    // Another HTTP inside the tunnel would be requests that nobody routes, checks or counts.
    let http =
        |protocol: &&HeaderValue| protocol.to_str().map_or(true, |name| name.to_ascii_lowercase().contains("h2c"));
    if asks { headers.get(header::UPGRADE).filter(|protocol| !http(protocol)).cloned() } else { None }
}

/// Removes what is meant for one connection only.
pub(crate) fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .filter(|value| !value.eq_ignore_ascii_case("keep-alive") && !value.eq_ignore_ascii_case("close"))
            .flat_map(|value| value.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            // A client cannot make the proxy forget whom the request is for or how long it is.
            .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    remove(headers, &HOP_BY_HOP);
}

/// Gives a request of HTTP/2 the form of one of HTTP/1.1: the host in `Host`, one `Cookie` (RFC 9113 §8.2.3, §8.3.1).
pub(crate) fn as_http1<B>(request: &mut Request<B>) {
    let authority = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    if !request.headers().contains_key(header::HOST)
        && let Some(Ok(host)) = authority
    {
        request.headers_mut().insert(header::HOST, host);
    }
    let mut cookies = request.headers().get_all(header::COOKIE).iter();
    if cookies.next().is_some() && cookies.next().is_some() {
        let crumbs: Vec<&[u8]> = request.headers().get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(b"; ".as_slice())) {
            request.headers_mut().insert(header::COOKIE, whole);
        }
    }
}

/// Says who asked, whatever the client said about it.
pub(crate) fn forwarded(headers: &mut HeaderMap, peer: &Peer) {
    remove(headers, &FORWARDED);
    headers.reserve(3);
    headers.insert(FOR, peer.text.clone());
    headers.insert(PROTO, HeaderValue::from_static(if peer.is_secure { "https" } else { "http" }));
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.insert(HOST, host);
    }
}
