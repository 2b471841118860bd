//! `davy.yaml`: read with spans, within budgets, every error at once; each with a code, a place and a hint. A key that
//! this version does not enforce is refused: a limit that is parsed and not enforced is false safety.

mod codes;
mod diagnostic;
mod read;
mod schema;
mod template;
mod tree;
mod units;
mod words;

pub use codes::{Code, Explanation, explain, explanations};
pub use diagnostic::{Diagnostic, render};
pub use read::{Deployment, File, parse};
pub use schema::schema;
pub use template::template;
