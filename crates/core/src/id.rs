//! Names and identifiers: one type each, so that none is taken for another. Their text is shared: a copy is no copy of it.

use serde::{Deserialize, Serialize, Serializer};
use std::{fmt, sync::Arc};

/// A name that is not a DNS label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a name: 1 to 63 of a-z, 0-9 and -, beginning with a letter and not ending with -")]
pub struct InvalidName {
    /// What was given.
    pub name: String,
}

fn check(name: &str) -> Result<(), InvalidName> {
    let bytes = name.as_bytes();
    let inner = bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
    let edges = bytes.first().is_some_and(u8::is_ascii_lowercase) && bytes.last().is_some_and(|b| *b != b'-');
    if inner && edges && bytes.len() <= 63 { Ok(()) } else { Err(InvalidName { name: name.to_owned() }) }
}

macro_rules! text {
    ($type:ident) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl From<$type> for String {
            fn from(text: $type) -> Self {
                text.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        #[serde(try_from = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks and keeps a name.
            ///
            /// # Errors
            /// When it is not a DNS label.
            pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
                let name = name.into();
                check(&name)?;
                Ok(Self(name.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(name: String) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        text!($type);
    };
}

name! {
    /// A named, routable unit.
    ServiceName
}
name! {
    /// `staging`, `production`, …
    EnvironmentName
}

macro_rules! identifier {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        #[serde(from = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Takes an identifier made elsewhere.
            #[must_use]
            pub fn new(id: impl Into<Arc<str>>) -> Self {
                Self(id.into())
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<String> for $type {
            fn from(id: String) -> Self {
                Self::new(id)
            }
        }

        text!($type);
    };
}

identifier! {
    /// One rollout; sorts by the time it was asked for.
    RolloutId
}
identifier! {
    /// One release: the first 12 hexadecimal digits over service, artifact and configuration.
    ReleaseId
}
identifier! {
    /// One running copy of a release.
    InstanceId
}
identifier! {
    /// What an artifact is, exactly: a registry digest, an image id, or for `local` a hash of command and files.
    Digest
}
identifier! {
    /// Who asked: a token's name, or `davy` itself.
    Actor
}

impl InstanceId {
    /// How the judge calls it: a number that stays the same for a name, on every machine and in every version.
    #[must_use]
    pub fn number(&self) -> u64 {
        use sha2::Digest as _;
        let hash = sha2::Sha256::digest(self.0.as_bytes());
        hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

/// One service in one environment: what a rollout moves, and the name of its journal stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ServiceKey {
    /// The service.
    pub service: ServiceName,
    /// Where it runs.
    pub environment: EnvironmentName,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.environment, self.service)
    }
}

/// A number that rises with every effect asked for one service; an effect with a lower one than was seen is refused.
/// The router's generation is also the weight epoch of its counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
