//! What was done to the server itself: secrets, tokens, who signed in, restores, evidence let go. Kept in the journal's file as a hash chain of its own;
//! who may do what, and which secrets are set, is a fold over it.

use davy_core::{Actor, EnvironmentName, RolloutId, Scope, SecretName, Timestamp, rollout::Batches};
use serde::{Deserialize, Serialize};

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Deed {
    /// A secret has a new value.
    SecretSet {
        /// Its name.
        name: SecretName,
        /// For whom.
        scope: Scope,
        /// Which of its values this is.
        version: u64,
    },
    /// No new release is given it any more.
    SecretRemoved {
        /// Its name.
        name: SecretName,
        /// For whom it was set.
        scope: Scope,
    },
    /// No release needs the value any more, and it is gone.
    SecretShredded {
        /// Its name.
        name: SecretName,
        /// For whom it was set.
        scope: Scope,
        /// Which of its values.
        version: u64,
    },
    /// A token was given out.
    TokenCreated {
        /// Its name, which is who acts by it.
        name: String,
        /// What it may do.
        role: Role,
        /// Where; everywhere when empty.
        environments: Vec<EnvironmentName>,
        /// Until when; for ever when absent.
        expires: Option<Timestamp>,
        /// SHA-256 of it, hexadecimal: it is 256 random bits, so this says nothing about it.
        hash: String,
    },
    /// A token is worth nothing any more.
    TokenRevoked {
        /// Which.
        name: String,
    },
    /// Somebody signed in on the page: who did it.
    SignedIn {
        /// SHA-256 of the session's secret, hexadecimal: it is 256 random bits, so this says nothing about it.
        session: String,
        /// What he may do.
        role: Role,
        /// Where; everywhere when empty.
        environments: Vec<EnvironmentName>,
        /// How.
        way: Way,
        /// The digest of the token or the session that it rests on, if it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        behind: Option<String>,
        /// Until when, unless it is used.
        expires: Timestamp,
        /// Until when at the longest.
        ends: Timestamp,
    },
    /// A session is in use, and goes on.
    SessionKept {
        /// Which, by its digest.
        session: String,
        /// Until when, unless it is used.
        expires: Timestamp,
    },
    /// A session is worth nothing any more.
    SignedOut {
        /// Which, by its digest.
        session: String,
    },
    /// A message about a rollout did not arrive, and is not sent again.
    Untold {
        /// Which, to whom, and why.
        #[serde(flatten)]
        untold: davy_ports::Untold,
    },
    /// The evidence of a rollout was let go: it had been kept as long as it was to be.
    EvidenceLetGo {
        /// Of which.
        rollout: RolloutId,
        /// All there was of it, so that a copy that is kept elsewhere can be compared.
        batches: Batches,
        /// The public key of the server that did it, hexadecimal.
        key: String,
        /// Its signature, hexadecimal: nobody else can let evidence go.
        signature: String,
    },
    /// The folder was restored from a backup.
    Restored {
        /// When the backup was made.
        made: Timestamp,
    },
}

/// What a token may do; each may what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Look.
    Viewer,
    /// Deploy, pause and go back.
    Deployer,
    /// Take unproven steps on oneself.
    Approver,
    /// Secrets, tokens, removing services, stopping the server.
    Admin,
}

/// How somebody signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = SignedInBy))]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// By a code that an admin had made.
    Code,
    /// By a token.
    Token,
    /// An OpenID provider said who it is; by which name the server knows it.
    Oidc(String),
    /// GitHub did; by which name the server knows it.
    Github(String),
}

impl Way {
    /// Whether somebody else vouches for who it is.
    #[must_use]
    pub const fn is_vouched(&self) -> bool {
        matches!(self, Self::Oidc(_) | Self::Github(_))
    }
}

impl Role {
    /// Every role, from the least.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Deployer, Self::Approver, Self::Admin];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Deployer => "deployer",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

/// A deed as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DeedRecord {
    /// From 1, without gaps.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Actor,
    /// What.
    pub deed: Deed,
    /// SHA-256 over the hash before it and this record, hexadecimal.
    pub hash: String,
}
