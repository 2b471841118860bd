//! What a provider's token has to say to count (OpenID Connect Core 1.0, section 3.1.3.7).

use crate::{flow::same, text::shown};
use serde_json::Value;

/// By so many seconds two clocks may differ.
const APART: u64 = 60;

/// For whom and when it has to be.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client: &'a str,
    pub(crate) nonce: &'a str,
    /// Seconds since the Unix epoch.
    pub(crate) now: u64,
}

/// Whether the token is by this provider, for this server, for this attempt, and of now.
pub(crate) fn check(claims: &Value, expected: &Expected<'_>) -> Result<(), String> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    // Whole seconds, or with a fraction.
    let time = |name: &str| claims.get(name).and_then(Value::as_f64);
    if text("iss") != Some(expected.issuer) {
        return Err(format!("it is by `{}`", shown(text("iss").unwrap_or_default())));
    }
    let audience: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        // One that is no text is nobody.
        Some(Value::Array(all)) => all.iter().map(|one| one.as_str().unwrap_or_default()).collect(),
        _ => Vec::new(),
    };
    if !audience.contains(&expected.client) {
        return Err("it is for another client".to_owned());
    }
    let presented = claims.get("azp").map(|by| by.as_str() == Some(expected.client));
    if presented == Some(false) || (audience.len() > 1 && presented.is_none()) {
        return Err("it was given to another client".to_owned());
    }
    let now = expected.now as f64;
    match time("exp") {
        Some(exp) if exp + APART as f64 > now => {}
        Some(_) => return Err("it has expired".to_owned()),
        None => return Err("it does not say until when it is worth something".to_owned()),
    }
    if time("iat").is_none() {
        return Err("it does not say when it was made".to_owned());
    }
    if ["iat", "nbf"]
        .iter()
        .any(|name| claims.get(*name).is_some() && time(name).is_none_or(|at| at > now + APART as f64))
    {
        return Err("it is from the future: compare the clocks".to_owned());
    }
    if !text("nonce").is_some_and(|nonce| same(nonce, expected.nonce)) {
        return Err("it belongs to another attempt (nonce)".to_owned());
    }
    match text("sub").filter(|sub| !sub.is_empty() && sub.len() <= 255) {
        Some(_) => Ok(()),
        None => Err("it does not say who it is".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Expected, check};
    use serde_json::{Value, json};

    const EXPECTED: Expected<'_> = Expected { issuer: "https://i", client: "davy", nonce: "n", now: 1_000_000 };

    fn good() -> Value {
        json!({ "iss": "https://i", "aud": "davy", "sub": "1", "exp": 1_000_300, "iat": 999_990, "nonce": "n" })
    }

    #[test]
    fn what_counts_and_what_does_not() {
        assert_eq!(check(&good(), &EXPECTED), Ok(()));
        let with = |name: &str, value: Value| {
            let mut claims = good();
            claims[name] = value;
            check(&claims, &EXPECTED).is_ok()
        };
        for (name, value) in [
            ("aud", json!(["davy"])),
            ("azp", json!("davy")),
            ("exp", json!(999_950)),
            ("exp", json!(1_000_300.5)),
            ("iat", json!(1_000_050)),
            ("nbf", json!(999_000)),
        ] {
            assert!(with(name, value.clone()), "{name}: {value}");
        }
        for (name, value) in [
            ("iss", json!("https://i/")),
            ("iss", json!(["https://i"])),
            ("iss", Value::Null),
            ("aud", json!("other")),
            ("aud", json!(["other"])),
            ("aud", json!(["davy", "other"])),
            ("aud", json!([["davy"]])),
            ("aud", json!({ "davy": 1 })),
            ("aud", Value::Null),
            ("azp", json!("other")),
            ("azp", json!(["davy"])),
            ("exp", json!(999_930)),
            ("exp", json!("1000300")),
            ("exp", Value::Null),
            ("iat", json!(1_000_100)),
            ("iat", json!("999990")),
            ("iat", Value::Null),
            ("nbf", json!(1_000_100)),
            ("nbf", json!("0")),
            ("nonce", json!("m")),
            ("nonce", json!("")),
            ("nonce", Value::Null),
            ("sub", json!("")),
            ("sub", json!(1)),
            ("sub", json!("x".repeat(256))),
        ] {
            assert!(!with(name, value.clone()), "{name}: {value}");
        }
        assert!(check(&json!([]), &EXPECTED).is_err() && check(&Value::Null, &EXPECTED).is_err());
        let mut both = good();
        (both["aud"], both["azp"]) = (json!(["davy", "other"]), json!("davy"));
        assert!(check(&both, &EXPECTED).is_ok());
    }
}
