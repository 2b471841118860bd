//! Signing in, as others may rely on it.

use davy_core::Timestamp;
use davy_engine::Role;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Signs in: by a code or by a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// A code, as it was printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// A token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Who asks, and what he may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// `session`.
    #[serde(rename = "type")]
    pub kind: String,
    /// By which name the journal knows him.
    pub name: String,
    /// What he may do.
    pub role: Role,
    /// Where; everywhere when empty.
    pub environments: Vec<String>,
    /// Until when, unless it is used; null for a token.
    #[schema(required)]
    pub expires: Option<Timestamp>,
    /// How: `code`, `token`, `oidc` or `github`.
    pub by: String,
}

/// Somebody who is signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignedIn {
    /// `signed-in`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the audit log calls the session.
    pub session: String,
    /// By which name the journal knows him.
    pub name: String,
    /// What he may do.
    pub role: Role,
    /// Where; everywhere when empty.
    pub environments: Vec<String>,
    /// How: `code`, `token`, `oidc` or `github`.
    pub by: String,
    /// Which provider vouches for him; null when none does.
    #[schema(required)]
    pub provider: Option<String>,
    /// Since when.
    pub began: Timestamp,
    /// Until when, unless it is used.
    pub expires: Timestamp,
}

/// Asks for a sign-in code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeCode {
    /// Under which name whoever uses it acts; else under that of who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What whoever uses it may do; everything when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Where; everywhere when empty.
    #[serde(default)]
    pub environments: Vec<String>,
}

/// A code that signs somebody in once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Code {
    /// `code`.
    #[serde(rename = "type")]
    pub kind: String,
    /// To be typed.
    pub code: String,
    /// Until when.
    pub expires: Timestamp,
    /// Where.
    pub url: String,
}

/// How somebody may sign in besides by a code or a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ways {
    /// `ways`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who vouches for people here.
    pub ways: Vec<Way>,
    /// Who is signed in already in the browser that asks; null when nobody is.
    #[schema(required)]
    pub session: Option<Session>,
}

/// Somebody who vouches for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SignInWay)]
pub struct Way {
    /// As it is shown.
    pub name: String,
    /// `oidc` or `github`.
    pub kind: String,
    /// Where a browser goes to be vouched for.
    pub start: String,
}

/// How many sessions were ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionsEnded {
    /// `sessions-ended`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whose.
    pub name: String,
    /// How many.
    pub sessions: usize,
}
