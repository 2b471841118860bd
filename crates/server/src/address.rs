//! Addresses that must not be: a token belongs into a header, because addresses are kept by logs, histories and proxies.

use crate::problem::Problem;
use axum::{extract::Request, http::StatusCode, middleware::Next, response::Response};

/// Names under which tokens are sent in queries.
const NAMES: [&str; 9] =
    ["token", "access_token", "id_token", "refresh_token", "api_key", "apikey", "authorization", "code", "password"];
/// How every token begins.
const TOKEN: &str = "davy_";
/// What an identity provider sends people back to: it hands over a code of its own there, which is worth something once.
const CALLBACK: &str = "/api/session/callback/";

pub(crate) async fn check(request: Request, next: Next) -> Result<Response, Problem> {
    let uri = request.uri();
    if has_token(uri.path(), uri.query().unwrap_or_default()) {
        let why = "there is a token in the address, where others may read it: it counts as given away";
        let hint =
            "send it as `Authorization: Bearer TOKEN`; if it was a real one, revoke it: `davy token revoke NAME`";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "A030", why).hint(hint));
    }
    Ok(next.run(request).await)
}

fn has_token(path: &str, query: &str) -> bool {
    let begins = |value: &str| plain(value).to_ascii_lowercase().starts_with(TOKEN);
    if path.split('/').any(begins) {
        return true;
    }
    query.split('&').any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = plain(name).to_ascii_lowercase();
        let is_named = NAMES.contains(&name.as_str()) && !(name == "code" && path.starts_with(CALLBACK));
        is_named || begins(value)
    })
}

/// Without percent signs, as far as they are none of its own.
fn plain(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let hex = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        let (byte, left) = match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => (u8::try_from(high * 16 + low).unwrap_or(b'?'), &after[2..]),
            _ => (*first, after),
        };
        bytes.push(byte);
        rest = left;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::has_token;

    #[test]
    fn a_token_is_found_wherever_it_is_written() {
        for (path, query) in [
            ("/api/services", "token=x"),
            ("/api/services", "limit=3&Access_Token=x"),
            ("/api/services", "limit=davy_0123"),
            ("/api/services", "limit=%64avy%5F0123"),
            ("/api/services", "%74oken=x"),
            ("/api/tokens/davy_0123/revoke", ""),
            ("/", "code=1"),
        ] {
            assert!(has_token(path, query), "{path} {query}");
        }
        for (path, query) in [
            ("/api/services", "limit=3&cursor=production/davy"),
            ("/api/session/callback/company", "code=1&state=2"),
            ("/api/services/production/davy-page", "tokens=1"),
            ("/", "%&%zz=%4"),
        ] {
            assert!(!has_token(path, query), "{path} {query}");
        }
    }
}
