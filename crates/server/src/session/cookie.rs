//! The cookies of the page: what they are named, what they hold, and where they may go.

use axum::http::{HeaderMap, HeaderValue, header};
use davy_core::Millis;

/// Who keeps it, and to whom it is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The session: it goes with nothing that another page begins.
    Session,
    /// What a sign-in elsewhere began with: it is needed when the browser comes back from there.
    Elsewhere,
}

/// The cookies of one server.
#[derive(Clone, Debug)]
pub(crate) struct Cookies {
    /// Whether the page is served by TLS: then no other host and nothing without TLS can set them.
    secure: bool,
    /// Tells this server's from those of another one under the same host name: cookies know no ports.
    mark: String,
}

impl Cookies {
    pub(crate) const fn new(secure: bool, mark: String) -> Self {
        Self { secure, mark }
    }

    fn name(&self, kept: Kept) -> String {
        let prefix = if self.secure { "__Host-" } else { "" };
        let name = match kept {
            Kept::Session => "davy_session",
            Kept::Elsewhere => "davy_sign_in",
        };
        format!("{prefix}{name}_{}", self.mark)
    }

    /// What a request holds of it; several when somebody else set one, too.
    pub(crate) fn of<'a>(&self, kept: Kept, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
        let name = self.name(kept);
        let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(move |(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Sets it.
    pub(crate) fn set(&self, kept: Kept, value: &str, length: Millis) -> HeaderValue {
        self.write(kept, value, length.0 / 1000)
    }

    /// Takes it back.
    pub(crate) fn clear(&self, kept: Kept) -> HeaderValue {
        self.write(kept, "", 0)
    }

    fn write(&self, kept: Kept, value: &str, seconds: u64) -> HeaderValue {
        let same = match kept {
            Kept::Session => "Strict",
            Kept::Elsewhere => "Lax",
        };
        let secure = if self.secure { "; Secure" } else { "" };
        let name = self.name(kept);
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite={same}; Max-Age={seconds}{secure}");
        let mut value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::{Cookies, Kept};
    use axum::http::{HeaderMap, HeaderValue, header};
    use davy_core::Millis;

    #[test]
    fn a_cookie_goes_nowhere_else() {
        let cookies = Cookies::new(true, "0f".to_owned());
        let set = cookies.set(Kept::Session, "abc", Millis::seconds(60));
        let text = "__Host-davy_session_0f=abc; Path=/; HttpOnly; SameSite=Strict; Max-Age=60; Secure";
        assert_eq!(set.to_str().unwrap(), text);
        let plain = Cookies::new(false, "0f".to_owned()).clear(Kept::Elsewhere);
        assert_eq!(plain.to_str().unwrap(), "davy_sign_in_0f=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
    }

    #[test]
    fn only_its_own_is_read() {
        let cookies = Cookies::new(false, "0f".to_owned());
        let mut headers = HeaderMap::new();
        let first = "a=b;davy_session_0f=one; davy_session_1f=other; xdavy_session_0f=no; davy_session_0f";
        for line in [first, "davy_session_0f=two=2", "__Host-davy_session_0f=three"] {
            headers.append(header::COOKIE, HeaderValue::from_str(line).unwrap());
        }
        assert_eq!(cookies.of(Kept::Session, &headers).collect::<Vec<_>>(), ["one", "two=2"]);
        assert_eq!(cookies.of(Kept::Elsewhere, &headers).count(), 0);
    }
}
