//! Exit codes, and failures as people and programs read them.

use crate::output;

/// What a command's end means to whoever called it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Promoted = 0,
    Internal = 1,
    Usage = 2,
    RolledBack = 3,
    Ended = 4,
    Held = 5,
    Unreachable = 6,
    Denied = 7,
    TimedOut = 124,
    Detached = 130,
}

/// Nothing special: the command did what it was asked.
pub(crate) const DONE: Exit = Exit::Promoted;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub exit: Exit,
    pub code: String,
    pub message: String,
    pub hint: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self { exit, code: code.to_owned(), message: message.into(), hint: String::new() }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    pub(crate) fn print(&self, json: bool) {
        if json && !self.message.is_empty() {
            output::json(&serde_json::json!({
                "type": "failure", "code": self.code, "message": self.message, "hint": self.hint,
            }));
        }
        if !self.message.is_empty() {
            output::say(&format!("error[{}]: {}", self.code, self.message));
        }
        if !self.hint.is_empty() {
            output::say(&format!("  help: {}", self.hint));
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Internal, "D001", format!("{error:#}"))
    }
}

impl From<davy_ports::Error> for Failure {
    fn from(error: davy_ports::Error) -> Self {
        Self::new(Exit::Internal, "D002", error.to_string()).hint(error.hint)
    }
}
