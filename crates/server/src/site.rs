//! The page: its files, as they were built, and its own addresses, all of which are the same document.
//!
//! Nobody has to be known for them: they hold nothing that is anybody's. What they show they ask the API for.

use crate::problem::Problem;
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

/// One file of the page.
struct Asset {
    path: &'static str,
    kind: &'static str,
    /// Names what it holds, in quotes.
    tag: &'static str,
    /// Compressed by gzip.
    packed: &'static [u8],
}

const ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));
/// The document.
const INDEX: &str = "/index.html";
/// Files under it have a digest in their name and never change.
const HASHED: &str = "/assets/";
/// The least and the most that gzip adds to what it packs.
const HEAD: usize = 10;
const TAIL: usize = 8;

/// Nothing from elsewhere, nothing inline, nobody's frame. Svelte makes its own HTML under one policy of this name.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
    connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types svelte-trusted-html";
/// What the page has no use for.
const OFF: &str = "accelerometer=(), autoplay=(), camera=(), display-capture=(), encrypted-media=(), fullscreen=(), \
    geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), usb=(), xr-spatial-tracking=()";

/// Whether an address is the API's.
pub(crate) fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// Whether it is one of the page's own addresses, which the page itself shows.
fn is_page(path: &str) -> bool {
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
    let parts = [parts.next(), parts.next(), parts.next(), parts.next()];
    let some = |part: &str| !part.is_empty();
    match parts {
        [Some("" | "set-up" | "history" | "settings" | "sign-in"), None, ..] => true,
        [Some("rollouts"), Some(id), None, _] => some(id),
        [Some("services"), Some(environment), Some(service), None] => some(environment) && some(service),
        _ => false,
    }
}

/// What is at an address that no route of the API has.
pub(crate) async fn serve(request: Request) -> Response {
    let (path, headers) = (request.uri().path(), request.headers());
    if is_api(path) {
        return nothing();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let why = format!("this address does not take {}, only GET, HEAD", request.method());
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "A032", why);
        return problem.header(header::ALLOW, HeaderValue::from_static("GET, HEAD")).into_response();
    }
    let file = |path: &str| ASSETS.iter().find(|asset| asset.path == path);
    if let Some(asset) = file(path) {
        return answer(asset, StatusCode::OK, headers);
    }
    let Some(index) = file(INDEX) else { return nothing() };
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match is_page(path) {
        true => answer(index, StatusCode::OK, headers),
        // A person who is lost is told by the page; a program by a problem.
        false if accepted.contains("text/html") && !path.starts_with(HASHED) => {
            answer(index, StatusCode::NOT_FOUND, headers)
        }
        false => nothing(),
    }
}

fn nothing() -> Response {
    Problem::new(StatusCode::NOT_FOUND, "A003", "there is nothing at this address").into_response()
}

fn answer(asset: &Asset, status: StatusCode, asked: &HeaderMap) -> Response {
    let all = |name: HeaderName| asked.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let known =
        |value: &str| value.split(',').any(|tag| ["*", asset.tag].contains(&tag.trim().trim_start_matches("W/")));
    let is_known = status == StatusCode::OK && all(header::IF_NONE_MATCH).any(known);
    let packs = all(header::ACCEPT_ENCODING).any(takes_gzip);
    let body = match (is_known, packs) {
        (true, _) => Body::empty(),
        (false, true) => Body::from(asset.packed),
        (false, false) => match unpacked(asset.packed) {
            Some(bytes) => Body::from(bytes),
            None => return crate::problem::inside(&"a file of the page cannot be unpacked").into_response(),
        },
    };
    let mut response = (if is_known { StatusCode::NOT_MODIFIED } else { status }, body).into_response();
    let headers = response.headers_mut();
    let lasting = if asset.path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut say = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    say(header::CONTENT_TYPE, asset.kind);
    say(header::ETAG, asset.tag);
    say(header::CACHE_CONTROL, lasting);
    say(header::VARY, "accept-encoding");
    say(header::CONTENT_SECURITY_POLICY, POLICY);
    say(header::REFERRER_POLICY, "no-referrer");
    say(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    say(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    say(HeaderName::from_static("permissions-policy"), OFF);
    if packs && !is_known {
        say(header::CONTENT_ENCODING, "gzip");
    }
    response
}

/// Whether a list of codings has gzip, and not with a weight of nothing.
fn takes_gzip(list: &str) -> bool {
    list.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f64>);
        ["gzip", "*"].contains(&name.trim()) && weight.is_ok_and(|weight| weight > 0.0)
    })
}

fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
    let deflated = packed.get(HEAD..packed.len().checked_sub(TAIL)?)?;
    miniz_oxide::inflate::decompress_to_vec(deflated).ok()
}

#[cfg(test)]
mod tests {
    use super::{ASSETS, INDEX, answer, is_page, takes_gzip, unpacked};
    use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

    #[test]
    fn the_page_has_its_own_addresses_and_no_others() {
        for path in ["/", "/set-up", "/history", "/settings", "/sign-in", "/rollouts/0a", "/services/production/logo"] {
            assert!(is_page(path), "{path}");
        }
        for path in
            ["/rollouts", "/rollouts/", "/rollouts/a/b", "/services/a", "/services/a/b/c", "/x", "//", "/history/x"]
        {
            assert!(!is_page(path), "{path}");
        }
    }

    #[test]
    fn every_file_is_whole_with_and_without_compression() {
        let index = ASSETS.iter().find(|asset| asset.path == INDEX).expect("the document");
        let text = unpacked(index.packed).expect("it is packed well");
        assert!(String::from_utf8_lossy(&text).contains("<!doctype html>"));
        for asset in ASSETS {
            let bytes = unpacked(asset.packed).unwrap_or_else(|| panic!("{}", asset.path));
            let length = asset.packed.last_chunk::<4>().map(|length| u32::from_le_bytes(*length));
            assert_eq!(length.map(|length| length as usize), Some(bytes.len()), "{}", asset.path);
        }
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        let index = ASSETS.iter().find(|asset| asset.path == INDEX).expect("the document");
        let mut asked = HeaderMap::new();
        asked.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("br, gzip"));
        let first = answer(index, StatusCode::OK, &asked);
        assert_eq!(
            (first.status(), first.headers()[header::CONTENT_ENCODING].as_bytes()),
            (StatusCode::OK, &b"gzip"[..])
        );
        asked.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(answer(index, StatusCode::OK, &asked).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(answer(index, StatusCode::NOT_FOUND, &asked).status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn codings_are_read_with_their_weights() {
        assert!(takes_gzip("gzip, deflate, br") && takes_gzip("br;q=1.0, gzip;q=0.5") && takes_gzip("*"));
        assert!(!takes_gzip("identity") && !takes_gzip("gzip;q=0") && !takes_gzip("") && !takes_gzip("gzip;q=x"));
    }
}
