//! Whether a request comes from the page itself: what a browser says of that, and no other page can make it say.

use crate::problem::Problem;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};

/// No other page may send it without asking first, and nobody who asks is allowed to.
const PAGE: &str = "davy-page";
const SITE: &str = "sec-fetch-site";

/// Whether a method changes nothing.
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Refuses what another page would have a browser do with this one's cookie.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Problem> {
    let why = if headers.get(PAGE).is_none_or(|value| value != "1") {
        "the header `davy-page: 1` is missing"
    } else if !is_own(headers) {
        "it comes from another page"
    } else {
        return Ok(());
    };
    let detail = format!("only the page itself may do this in a browser, and {why}");
    let hint = "programs ask with `Authorization: Bearer` and a token";
    Err(Problem::new(StatusCode::FORBIDDEN, "A027", detail).hint(hint))
}

fn is_own(headers: &HeaderMap) -> bool {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_ascii_lowercase();
    let host = headers.get(header::HOST).map(text).unwrap_or_default();
    let origin = headers.get(header::ORIGIN).map(text);
    match (headers.get(SITE).map(text), origin) {
        // A proxy may leave the port out of `Host`: the browser has compared that.
        (Some(site), Some(origin)) => site == "same-origin" && name(after(&origin)) == name(&host),
        (Some(site), None) => site == "same-origin",
        (None, Some(origin)) => {
            let usual = match origin.starts_with("https://") {
                true => ":443",
                false => ":80",
            };
            let plain = |authority: &str| authority.strip_suffix(usual).unwrap_or(authority).to_owned();
            !host.is_empty() && plain(after(&origin)) == plain(&host)
        }
        (None, None) => false,
    }
}

fn after(origin: &str) -> &str {
    origin.split_once("://").map_or("", |(_, authority)| authority)
}

/// A host without its port.
fn name(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    }
}

/// For a server that passes requests on under another host name: what is said of that stays true where it arrives.
pub(crate) fn pass_on(headers: &mut HeaderMap) {
    if headers.contains_key(header::ORIGIN) {
        let site = if is_own(headers) { "same-origin" } else { "cross-site" };
        headers.remove(header::ORIGIN);
        headers.insert(SITE, HeaderValue::from_static(site));
    }
}

#[cfg(test)]
mod tests {
    use super::{check, pass_on};
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_the_page_itself_may_act() {
        let page = ("davy-page", "1");
        let own = [
            &[page, ("host", "localhost:7420"), ("origin", "http://localhost:7420")][..],
            &[page, ("host", "localhost:7420"), ("sec-fetch-site", "same-origin")],
            &[page, ("host", "Davy.example.com"), ("origin", "https://davy.example.com")],
            &[page, ("host", "davy.example.com:443"), ("origin", "https://davy.example.com")],
            &[
                page,
                ("host", "davy.example.com"),
                ("origin", "https://davy.example.com:8443"),
                ("sec-fetch-site", "same-origin"),
            ],
            &[page, ("host", "[::1]:7420"), ("origin", "http://[::1]:7420"), ("sec-fetch-site", "same-origin")],
        ];
        for pairs in own {
            assert!(check(&headers(pairs)).is_ok(), "{pairs:?}");
        }
        let others = [
            &[("host", "localhost:7420"), ("origin", "http://localhost:7420")][..],
            &[("davy-page", "0"), ("host", "localhost:7420"), ("origin", "http://localhost:7420")],
            &[page, ("host", "localhost:7420")],
            &[page, ("host", "localhost:7420"), ("origin", "null")],
            &[page, ("host", "localhost:7420"), ("origin", "http://localhost:3000")],
            &[page, ("host", "localhost:7420"), ("origin", "https://evil.example.com")],
            &[page, ("host", "localhost:7420"), ("origin", "http://localhost:7420.evil.com")],
            &[page, ("host", "localhost:7420"), ("origin", "https://evil.com"), ("sec-fetch-site", "same-origin")],
            &[page, ("host", "localhost:7420"), ("origin", "http://localhost:7420"), ("sec-fetch-site", "cross-site")],
            &[page, ("host", "localhost:7420"), ("sec-fetch-site", "same-site")],
            &[page, ("host", "localhost:7420"), ("sec-fetch-site", "none")],
            &[page, ("origin", "http://")],
        ];
        for pairs in others {
            assert!(check(&headers(pairs)).is_err(), "{pairs:?}");
        }
    }

    #[test]
    fn one_that_passes_on_says_what_it_has_seen() {
        let page = ("davy-page", "1");
        let seen = |origin: &str| {
            let mut seen = headers(&[page, ("host", "127.0.0.1:7421"), ("origin", origin)]);
            pass_on(&mut seen);
            seen.insert("host", HeaderValue::from_static("localhost:7420"));
            check(&seen).is_ok()
        };
        assert_eq!(
            (seen("http://127.0.0.1:7421"), seen("http://evil.com"), seen("http://localhost:7420")),
            (true, false, false)
        );
    }
}
