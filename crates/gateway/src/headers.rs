//! What of a message's head may pass a proxy, and what must not (RFC 9110 §7.6, RFC 9112 §6).

use hyper::{
    HeaderMap, Request, Version,
    header::{self, HeaderName, HeaderValue},
};
use std::net::IpAddr;

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
static FORWARDED: [HeaderName; 6] = [
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
        (None, None) if request.version() == Version::HTTP_11 => return Some("no Host"),
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

/// A client's address as it is told to instances.
pub(crate) fn address(client: IpAddr) -> HeaderValue {
    HeaderValue::from_str(&client.to_canonical().to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// Says who asked, whatever the client said about it.
pub(crate) fn forwarded(headers: &mut HeaderMap, client: HeaderValue) {
    remove(headers, &FORWARDED);
    headers.reserve(3);
    headers.insert(FOR, client);
    headers.insert(PROTO, HeaderValue::from_static("http"));
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.insert(HOST, host);
    }
}
