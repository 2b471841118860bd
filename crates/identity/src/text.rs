//! Text as it stands in addresses and in messages.

use crate::Refused;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

/// The longest part of somebody else's text that is told.
const LONGEST: usize = 120;

/// One value of a query or a form.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A query or a form.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{}={}", encoded(name), encoded(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// What others wrote, as it may stand in a message: short, and without what moves a cursor.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// 256 random bits, as they may stand in an address.
pub(crate) fn draw() -> Result<Zeroizing<String>, Refused> {
    let mut bytes = Zeroizing::new([0; 32]);
    let drawn = SystemRandom::new().fill(&mut *bytes);
    drawn.map_err(|_| Refused::Provider("the system gives no random numbers".to_owned()))?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::{draw, form, shown};

    #[test]
    fn what_stands_in_addresses_is_encoded() {
        assert_eq!(form(&[("a b", "ä&=+"), ("scope", "openid email")]), "a%20b=%C3%A4%26%3D%2B&scope=openid%20email");
        assert_eq!(shown("a\x1b[31m\nb"), "a [31m b");
        let (one, other) = (draw().unwrap(), draw().unwrap());
        assert!(one.len() == 43 && *one != *other);
    }
}
