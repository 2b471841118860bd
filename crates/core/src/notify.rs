//! Who is told of a rollout, and of what: what `notify:` in the file says.

use crate::SecretName;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

/// One receiver, and what it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Channel {
    /// Who.
    pub to: Receiver,
    /// Of what.
    pub on: BTreeSet<Occasion>,
}

/// Who is told, and in which form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Receiver {
    /// Slack's incoming webhook, whose address is a secret.
    Slack {
        /// The secret that is its address.
        address: SecretName,
    },
    /// JSON to an address.
    Webhook {
        /// Where.
        address: Address,
        /// The secret that signs it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<SecretName>,
    },
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// As it stands in the file.
    Plain(String),
    /// What a secret says.
    Secret(SecretName),
}

/// What somebody may want to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    /// A rollout begins.
    Started,
    /// It waits for a person.
    Waiting,
    /// The new release serves.
    Promoted,
    /// Traffic is back on the release before.
    RolledBack,
    /// The same, because a person asked.
    Aborted,
    /// A newer rollout took its place.
    Superseded,
    /// The service is gone, as asked.
    Removed,
}

impl Occasion {
    /// Every one, in the order in which they come.
    pub const ALL: [Self; 7] = [
        Self::Started,
        Self::Waiting,
        Self::Promoted,
        Self::RolledBack,
        Self::Aborted,
        Self::Superseded,
        Self::Removed,
    ];
    /// Where the file does not say: what somebody has to do something about, and how it ended.
    pub const USUAL: [Self; 4] = [Self::Waiting, Self::Promoted, Self::RolledBack, Self::Aborted];

    /// As in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Waiting => "waiting",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled-back",
            Self::Aborted => "aborted",
            Self::Superseded => "superseded",
            Self::Removed => "removed",
        }
    }
}

impl Channel {
    /// The secrets that it needs.
    #[must_use]
    pub fn secrets(&self) -> Vec<&SecretName> {
        match &self.to {
            Receiver::Slack { address } => vec![address],
            Receiver::Webhook { address: Address::Secret(address), secret } => {
                [address].into_iter().chain(secret).collect()
            }
            Receiver::Webhook { address: Address::Plain(_), secret } => secret.iter().collect(),
        }
    }
}

/// As in the file: two channels that read the same are one.
impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            Receiver::Slack { address } => write!(f, "slack ${address}"),
            Receiver::Webhook { address: Address::Plain(address), .. } => write!(f, "webhook {address}"),
            Receiver::Webhook { address: Address::Secret(address), .. } => write!(f, "webhook ${address}"),
        }
    }
}
