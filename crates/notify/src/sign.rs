//! How a webhook knows that a message is Davy's: HMAC-SHA-256 over the time and the body, under a secret that both know.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt::Write;

/// When the request was made, in seconds since 1970.
pub const TIMESTAMP: &str = "davy-timestamp";
/// `v1=` and the signature in hexadecimal.
pub const SIGNATURE: &str = "davy-signature";

/// The signature of a body that is sent at a time: over the digits of the time, a point and the body.
#[must_use]
pub fn signature(secret: &[u8], timestamp: u64, body: &[u8]) -> String {
    // A key of any length is taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let mut text = String::from("v1=");
    for byte in mac.finalize().into_bytes() {
        write!(text, "{byte:02x}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    /// By `printf '1763726400.{"a":1}' | openssl dgst -sha256 -hmac whsec_1`.
    #[test]
    fn a_signature_is_what_others_compute() {
        assert_eq!(
            super::signature(b"whsec_1", 1_763_726_400, b"{\"a\":1}"),
            "v1=53ed01736d3348ca4c4f5269187e4d50f6ab89e69ec77c2c5b34cc8e427bc293"
        );
    }
}
