//! A `davy.yaml` guessed from what a project has already: a Dockerfile, a service of a Compose file. Every guess says where
//! it comes from; what cannot be expressed is told, line by line. What is drafted has no errors.

mod compose;
mod dockerfile;
mod form;
mod found;
mod health;
mod interpolate;
mod secret;
mod service;
mod sheet;
mod values;

pub use compose::{Compose, Service};
pub use dockerfile::Dockerfile;
pub use form::{Field, Form, KEYS, Key, Unknown, Written};
pub use found::of_container;
pub use secret::is_likely as is_likely_secret;
pub use sheet::{Draft, Note};

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Refusal {
    fn new(line: usize, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { line, message: message.into(), hint: hint.into() }
    }
}

impl From<crate::Diagnostic> for Refusal {
    fn from(error: crate::Diagnostic) -> Self {
        Self::new(error.line, error.message, error.hint)
    }
}

/// A name that a service may have, as near as can be.
#[must_use]
pub fn service_name(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let plain: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let begun = plain.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    let short: String = begun.chars().take(63).collect();
    short.trim_end_matches('-').to_owned()
}
