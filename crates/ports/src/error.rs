//! What a place says when it cannot do as asked.

use serde::{Deserialize, Serialize};

/// What was tried, what happened, what to do next, and whether trying again can help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{tried}: {happened}")]
pub struct Error {
    /// What was tried, beginning with a verb: `start ./logo`.
    pub tried: String,
    /// What happened.
    pub happened: String,
    /// What a person can do about it; empty when there is nothing to say.
    pub hint: String,
    /// Whether the same call may succeed later.
    pub retry: Retry,
}

/// Whether the same call may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retry {
    /// It may: something was unreachable or busy.
    Later,
    /// It will not: the request itself is refused.
    Never,
}

impl Error {
    /// Something was unreachable or busy.
    pub fn later(tried: impl Into<String>, happened: impl std::fmt::Display) -> Self {
        Self { tried: tried.into(), happened: happened.to_string(), hint: String::new(), retry: Retry::Later }
    }

    /// The request itself is refused.
    pub fn never(tried: impl Into<String>, happened: impl std::fmt::Display) -> Self {
        Self { tried: tried.into(), happened: happened.to_string(), hint: String::new(), retry: Retry::Never }
    }

    /// Adds what a person can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}
