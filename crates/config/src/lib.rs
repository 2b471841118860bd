//! `davy.yaml`: read with spans, within budgets, every error at once; each with a code, a place and a hint. A key that
//! this version does not enforce is refused: a limit that is parsed and not enforced is false safety.
//!
//! Bytes become a tree with places (`tree`), the tree becomes values (`reader`), the values a `File` (`file`, `workload`,
//! `rollout`, `strategy`, `analysis`). Which key stands where is in `keys`; what each is for is in the types of `schema`.

mod analysis;
mod codes;
mod diagnostic;
pub mod draft;
mod engine;
mod file;
mod keys;
mod notify;
mod reader;
mod reference;
mod rollout;
mod schema;
mod secrets;
mod selector;
mod sign_in;
mod source;
mod strategy;
mod template;
mod tree;
mod units;
mod words;
mod workload;

pub use codes::{Code, Explanation, explain, explanations};
pub use diagnostic::{Diagnostic, note, render};
pub use file::{Deployment, File, parse};
pub use reference::reference;
pub use schema::schema;
pub use sign_in::{Kind, Provider, Rule, SignIn, Who, sign_in};
pub use template::template;
pub use tree::LARGEST;

/// Reads a duration with its unit: 90d, 12h.
///
/// # Errors
/// In words, what to write.
pub fn duration(text: &str) -> Result<davy_core::Millis, String> {
    units::duration(text).map_err(|wrong| wrong.hint)
}
