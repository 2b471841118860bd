//! `$PORT` and the keys of `env` in a command's words: no shell, nothing else is touched.

use std::collections::BTreeMap;

/// Replaces `$NAME` and `${NAME}` where the name is known; everything else stays as it is.
#[must_use]
pub fn substitute(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, length) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, _)) => (name, name.len() + 2),
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        match known.get(name) {
            Some(value) => {
                out.push_str(value);
                rest = &after[length..];
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// What is known to the words of a command: `env`, its own `$PORT` replaced, and `PORT`.
#[must_use]
pub fn known(env: &BTreeMap<String, String>, port: Option<u16>) -> BTreeMap<String, String> {
    let port: BTreeMap<String, String> = port.map(|port| ("PORT".to_owned(), port.to_string())).into_iter().collect();
    let mut known: BTreeMap<String, String> =
        env.iter().map(|(key, value)| (key.clone(), substitute(value, &port))).collect();
    known.extend(port);
    known
}
