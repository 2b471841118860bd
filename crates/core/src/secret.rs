//! Secrets by name: which ones a workload is given, and which of their values. The values are elsewhere.

use crate::{EnvironmentName, ServiceKey, ServiceName};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest name of a secret.
const LONGEST: usize = 128;

/// The name of a secret, which is a variable's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

/// A name that no variable can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot be the name of a variable: write letters, digits and _, not beginning with a digit")]
pub struct InvalidSecretName {
    /// What was given.
    pub name: String,
}

impl SecretName {
    /// Checks and keeps a name.
    ///
    /// # Errors
    /// When no variable can have it.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidSecretName> {
        let name = name.into();
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        if plain && begins && name.len() <= LONGEST { Ok(Self(name)) } else { Err(InvalidSecretName { name }) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The variable that says where a secret's file is.
    #[must_use]
    pub fn file_variable(&self) -> String {
        format!("{}_FILE", self.0)
    }
}

impl TryFrom<String> for SecretName {
    type Error = InvalidSecretName;
    fn try_from(name: String) -> Result<Self, InvalidSecretName> {
        Self::new(name)
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A secret that instances are given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = SecretGiven))]
pub struct Secret {
    /// Its name.
    pub name: SecretName,
    /// How they are given it.
    pub given: Given,
    /// Which value it is; none until a release is made of the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
}

/// How an instance is given a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Given {
    /// As the variable of its name.
    Variable,
    /// As a file that only it can read; the variable `NAME_FILE` says where.
    File,
}

/// One of the values that a secret had: a release keeps the one it was made with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Pin {
    /// For whom it was set.
    pub scope: Scope,
    /// From 1, rising with every value set for this name and scope; none is used twice.
    pub version: u64,
}

/// For which services in which environments a secret is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Scope {
    /// One service; all when absent.
    pub service: Option<ServiceName>,
    /// One environment; all when absent.
    pub environment: Option<EnvironmentName>,
}

impl Scope {
    /// Those that apply to a service, the narrowest first.
    #[must_use]
    pub fn of(key: &ServiceKey) -> [Self; 4] {
        let (service, environment) = (Some(key.service.clone()), Some(key.environment.clone()));
        [
            Self { service: service.clone(), environment: environment.clone() },
            Self { service, environment: None },
            Self { service: None, environment },
            Self::default(),
        ]
    }

    /// Whether it applies to a service.
    #[must_use]
    pub fn covers(&self, key: &ServiceKey) -> bool {
        self.service.as_ref().is_none_or(|service| *service == key.service)
            && self.environment.as_ref().is_none_or(|environment| *environment == key.environment)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let environment = self.environment.as_ref().map_or("*", EnvironmentName::as_str);
        let service = self.service.as_ref().map_or("*", ServiceName::as_str);
        write!(f, "{environment}/{service}")
    }
}
