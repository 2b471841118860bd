//! A value encrypted for one place: XChaCha20-Poly1305 under a random nonce, with the name, the scope and the version as
//! associated data, so that a row moved to another secret does not open.

use super::key::{Key, draw};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};
use davy_core::{EnvironmentName, Pin, SecretName, ServiceName};
use davy_ports::{Error, SecretValue};
use sha2::{Digest, Sha256};

const NONCE: usize = 24;

/// Which key it is; says nothing about it.
pub(super) fn fingerprint(key: &Key) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(b"davy secrets 1, key");
    hash.update(**key);
    hash.finalize()[..8].to_vec()
}

fn place(name: &SecretName, pin: &Pin) -> Vec<u8> {
    let mut data = Vec::new();
    let environment = pin.scope.environment.as_ref().map_or("", EnvironmentName::as_str);
    let service = pin.scope.service.as_ref().map_or("", ServiceName::as_str);
    for field in ["davy secrets 1, value", environment, service, name.as_str()] {
        data.extend((field.len() as u64).to_be_bytes());
        data.extend(field.as_bytes());
    }
    data.extend(pin.version.to_be_bytes());
    data
}

pub(super) fn seal(key: &Key, name: &SecretName, pin: &Pin, value: &SecretValue) -> Result<Vec<u8>, Error> {
    let tried = format!("encrypt the secret {name}");
    let drawn = draw(&tried)?;
    let nonce: [u8; NONCE] = drawn[..NONCE].try_into().map_err(|_| Error::never(&tried, "no nonce"))?;
    let payload = Payload { msg: value.bytes(), aad: &place(name, pin) };
    let sealed = XChaCha20Poly1305::new((&**key).into()).encrypt((&nonce).into(), payload);
    let sealed = sealed.map_err(|_| Error::never(&tried, "the cipher refuses it"))?;
    Ok(nonce.into_iter().chain(sealed).collect())
}

/// None when the key is another one, or the bytes or their place were changed.
pub(super) fn open(key: &Key, name: &SecretName, pin: &Pin, sealed: &[u8]) -> Option<SecretValue> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
    let payload = Payload { msg: sealed, aad: &place(name, pin) };
    XChaCha20Poly1305::new((&**key).into()).decrypt(nonce.into(), payload).ok().map(SecretValue::new)
}
