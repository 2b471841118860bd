//! What keeps the values of secrets.

use crate::{Boxed, Error};
use davy_core::{Secret, SecretName, ServiceKey};
use zeroize::Zeroizing;

/// Opens secrets for the places that give them to instances.
pub trait Vault: Send + Sync {
    /// The values of what a release is given, in its order. Needs no database for those that were opened before.
    fn open<'a>(&'a self, secrets: &'a [Secret]) -> Boxed<'a, Result<Vec<SecretValue>, Error>>;

    /// The value that a service would be given now: for what belongs to no release.
    fn current<'a>(&'a self, key: &'a ServiceKey, name: &'a SecretName) -> Boxed<'a, Result<SecretValue, Error>> {
        let _ = key;
        Box::pin(async move { Err(Error::never(format!("open the secret {name}"), "no secrets are kept here")) })
    }

    /// Every value that an instance of the service may know: what is to be hidden in its output.
    fn known<'a>(&'a self, key: &'a ServiceKey) -> Boxed<'a, Vec<SecretValue>>;
}

/// The value of a secret. It is never shown, and leaves memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Zeroizing<Vec<u8>>);

impl SecretValue {
    /// Takes a value.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The value itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Where there are no secrets: a place that is only opened to stop what runs.
#[derive(Clone, Copy, Debug)]
pub struct NoVault;

impl Vault for NoVault {
    fn open<'a>(&'a self, secrets: &'a [Secret]) -> Boxed<'a, Result<Vec<SecretValue>, Error>> {
        Box::pin(async move {
            match secrets.first() {
                None => Ok(Vec::new()),
                Some(secret) => {
                    Err(Error::never(format!("open the secret {}", secret.name), "no secrets are kept here"))
                }
            }
        })
    }

    fn known<'a>(&'a self, _: &'a ServiceKey) -> Boxed<'a, Vec<SecretValue>> {
        Box::pin(async { Vec::new() })
    }
}
