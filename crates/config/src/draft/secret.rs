//! What is likely to be a secret: it is never copied, and never shown.

/// Whether a variable's name, or the form of its value, says so.
#[must_use]
pub fn is_likely(name: &str, value: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let words = ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "PRIVATE", "APIKEY"];
    let segments = ["KEY", "KEYS", "PASS", "PWD", "PW", "AUTH", "SALT", "DSN"];
    words.iter().any(|word| upper.contains(word))
        || upper.split(['_', '-', '.']).any(|part| segments.contains(&part))
        || holds_password(value)
        || value.contains("-----BEGIN ")
}

/// `scheme://user:password@host`.
fn holds_password(value: &str) -> bool {
    let authority = value.split_once("://").map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or(rest));
    let user = authority.and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
    user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| !password.is_empty())
}

#[cfg(test)]
mod tests {
    use super::is_likely;

    #[test]
    fn secrets_are_known_by_name_and_form() {
        for (name, value) in [
            ("DB_PASSWORD", "x"),
            ("api_key", "x"),
            ("STRIPE_SECRET_ID", "x"),
            ("GITHUB_TOKEN", "x"),
            ("DATABASE_URL", "postgres://shop:hunter2@db/shop"),
            ("CERT", "-----BEGIN RSA PRIVATE KEY-----"),
        ] {
            assert!(is_likely(name, value), "{name}");
        }
        for (name, value) in [
            ("COLOR", "blue"),
            ("KEYBOARD", "de"),
            ("MONKEY", "1"),
            ("DATABASE_URL", "postgres://db/shop"),
            ("URL", "http://a.example/x:y@z"),
        ] {
            assert!(!is_likely(name, value), "{name}");
        }
    }
}
