//! The keys by which a provider signs (RFC 7517), and whether it signed something (RFC 7515). Only keys whose other half nobody but
//! the provider has: what is signed by a shared secret, or by nothing, is refused.

use crate::text::shown;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use serde_json::Value;

/// The longest token that is read.
const LONGEST: usize = 64 * 1024;

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// One key; what it has depends on its kind.
#[derive(Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    used: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// What a way of signing needs of a key.
enum Needs {
    Rsa(&'static RsaParameters),
    /// A curve, and whether a point has two coordinates.
    Curve(&'static str, &'static str, &'static dyn VerificationAlgorithm),
}

fn needs(alg: &str) -> Option<Needs> {
    Some(match alg {
        "RS256" => Needs::Rsa(&RSA_PKCS1_2048_8192_SHA256),
        "RS384" => Needs::Rsa(&RSA_PKCS1_2048_8192_SHA384),
        "RS512" => Needs::Rsa(&RSA_PKCS1_2048_8192_SHA512),
        "PS256" => Needs::Rsa(&RSA_PSS_2048_8192_SHA256),
        "PS384" => Needs::Rsa(&RSA_PSS_2048_8192_SHA384),
        "PS512" => Needs::Rsa(&RSA_PSS_2048_8192_SHA512),
        "ES256" => Needs::Curve("EC", "P-256", &ECDSA_P256_SHA256_FIXED),
        "ES384" => Needs::Curve("EC", "P-384", &ECDSA_P384_SHA384_FIXED),
        "EdDSA" => Needs::Curve("OKP", "Ed25519", &ED25519),
        _ => return None,
    })
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| "a part of it is no base64url".to_owned())
}

/// What a signed token says, once one of the keys is found to have signed it.
pub(crate) fn opened(token: &str, keys: &Value) -> Result<Value, String> {
    if token.len() > LONGEST {
        return Err("it is longer than 64 KiB".to_owned());
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [head, body, signed] = parts[..] else { return Err("it has not three parts".to_owned()) };
    let read: Head = serde_json::from_slice(&bytes(head)?).map_err(|_| "its head is none".to_owned())?;
    if read.crit.is_some() {
        return Err("it has extensions that have to be understood, and are not".to_owned());
    }
    let needs =
        needs(&read.alg).ok_or_else(|| format!("it is signed by `{}`, which is not taken", shown(&read.alg)))?;
    let message = format!("{head}.{body}");
    let signature = bytes(signed)?;
    let all = keys.get("keys").and_then(Value::as_array).ok_or("the provider's keys are none")?;
    // One that is of another kind, or cannot be read, is not this one.
    let keys = all.iter().filter_map(|key| Key::deserialize(key).ok());
    let mut fitting = keys.filter(|key| key.fits(&read, &needs)).peekable();
    if fitting.peek().is_none() {
        return Err("none of the provider's keys fits it".to_owned());
    }
    match fitting.any(|key| key.signed(&needs, message.as_bytes(), &signature)) {
        true => serde_json::from_slice(&bytes(body)?).map_err(|_| "it says no JSON".to_owned()),
        false => Err("its signature is wrong".to_owned()),
    }
}

impl Key {
    fn fits(&self, head: &Head, needs: &Needs) -> bool {
        let kind = match needs {
            Needs::Rsa(_) => self.kty == "RSA",
            Needs::Curve(kty, crv, _) => self.kty == *kty && self.crv.as_deref() == Some(*crv),
        };
        kind && self.used.as_deref().is_none_or(|used| used == "sig")
            && self.alg.as_ref().is_none_or(|alg| *alg == head.alg)
            && head.kid.as_ref().is_none_or(|kid| self.kid.as_ref() == Some(kid))
    }

    fn signed(&self, needs: &Needs, message: &[u8], signature: &[u8]) -> bool {
        let part = |part: &Option<String>| part.as_deref().and_then(|text| bytes(text).ok());
        match needs {
            Needs::Rsa(how) => {
                let (Some(n), Some(e)) = (part(&self.n), part(&self.e)) else { return false };
                RsaPublicKeyComponents { n, e }.verify(how, message, signature).is_ok()
            }
            Needs::Curve(kty, _, how) => {
                let Some(mut point) = part(&self.x) else { return false };
                if *kty == "EC" {
                    let Some(y) = part(&self.y).filter(|y| y.len() == point.len()) else { return false };
                    point.insert(0, 4);
                    point.extend(y);
                }
                UnparsedPublicKey::verify(&UnparsedPublicKey::new(*how, point), message, signature).is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{URL_SAFE_NO_PAD, Value, opened};
    use base64::Engine as _;
    use ring::{
        rand::SystemRandom,
        rsa::PublicKeyComponents,
        signature::{
            ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
            RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
        },
    };
    use serde_json::json;

    fn encoded(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn message(head: &Value) -> String {
        format!("{}.{}", encoded(head.to_string()), encoded("{\"sub\":\"1\"}"))
    }

    fn with(message: &str, signature: impl AsRef<[u8]>) -> String {
        format!("{message}.{}", encoded(signature))
    }

    /// Opens it; not with its head, its body or its signature changed, and not with another key.
    fn holds(token: &str, key: &Value, other: &Value) {
        let keys = |key: &Value| json!({ "keys": [key] });
        assert_eq!(opened(token, &keys(key)), Ok(json!({ "sub": "1" })));
        assert!(opened(token, &json!({ "keys": [other, key] })).is_ok(), "beside another");
        assert!(opened(token, &keys(other)).is_err());
        let parts: Vec<&str> = token.split('.').collect();
        let (head, body, signature) = (parts[0], parts[1], parts[2]);
        let forged = encoded("{\"sub\":\"2\"}");
        for bad in [
            format!("{head}.{forged}.{signature}"),
            format!("{}.{body}.{signature}", encoded("{\"alg\":\"none\"}")),
            format!("{head}.{body}."),
            format!("{head}.{body}"),
            format!("{head}.{body}.{signature}.x"),
            format!("{head}.{body}.{signature}="),
            format!("{head}.{body}.{}", encoded([0; 64])),
        ] {
            assert!(opened(&bad, &keys(key)).is_err(), "{bad}");
        }
        for (name, value) in [("use", "enc"), ("alg", "ES512"), ("kid", "other"), ("kty", "oct")] {
            let mut unfit = key.clone();
            unfit[name] = json!(value);
            assert!(opened(token, &keys(&unfit)).is_err(), "{name}");
        }
        assert!(opened(token, &json!({})).is_err() && opened(token, &json!({ "keys": [] })).is_err());
    }

    fn rsa() -> (RsaKeyPair, Value) {
        let words = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-outform", "DER"];
        let made = std::process::Command::new("openssl").args(words).output().expect("openssl runs");
        // Which of the two forms it is differs from one version of openssl to another.
        let pair = RsaKeyPair::from_pkcs8(&made.stdout).or_else(|_| RsaKeyPair::from_der(&made.stdout)).expect("a key");
        let parts = PublicKeyComponents::<Vec<u8>>::from(pair.public());
        let key = json!({ "kty": "RSA", "kid": "r", "n": encoded(parts.n), "e": encoded(parts.e) });
        (pair, key)
    }

    #[test]
    fn rsa_by_both_ways() {
        let ((pair, key), (_, other)) = (rsa(), rsa());
        let ways: [(&str, &dyn RsaEncoding); 2] = [("RS256", &RSA_PKCS1_SHA256), ("PS512", &RSA_PSS_SHA512)];
        for (alg, how) in ways {
            let message = message(&json!({ "alg": alg, "kid": "r" }));
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(how, &SystemRandom::new(), message.as_bytes(), &mut signature).expect("signed");
            holds(&with(&message, &signature), &key, &other);
        }
    }

    #[test]
    fn curves() {
        let random = SystemRandom::new();
        let p384 = || {
            let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).expect("a key");
            let pair =
                EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, made.as_ref(), &random).expect("a key");
            let point = pair.public_key().as_ref().to_vec();
            let (x, y) = (encoded(&point[1..49]), encoded(&point[49..]));
            (pair, json!({ "kty": "EC", "crv": "P-384", "x": x, "y": y, "kid": "c" }))
        };
        let ((pair, key), (_, other)) = (p384(), p384());
        let message = message(&json!({ "alg": "ES384", "kid": "c" }));
        holds(&with(&message, pair.sign(&random, message.as_bytes()).expect("signed")), &key, &other);

        let ed = || {
            let made = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
            let pair = Ed25519KeyPair::from_pkcs8(made.as_ref()).expect("a key");
            let x = encoded(pair.public_key());
            (pair, json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "o" }))
        };
        let ((pair, key), (_, other)) = (ed(), ed());
        let message = super::tests::message(&json!({ "alg": "EdDSA", "kid": "o" }));
        holds(&with(&message, pair.sign(message.as_bytes())), &key, &other);
        // What has to be understood, and is not.
        let message = super::tests::message(&json!({ "alg": "EdDSA", "kid": "o", "crit": ["exp"] }));
        assert!(opened(&with(&message, pair.sign(message.as_bytes())), &json!({ "keys": [key] })).is_err());
    }
}
