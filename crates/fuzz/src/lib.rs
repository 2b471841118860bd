//! What must hold whatever bytes come, one function for each target: it takes any bytes, and panics where a law is broken.
//!
//! The tests here run every seed and mutations of them; `benches/fuzz` lets libFuzzer look for more. A seed that once broke a law
//! stays among them.

mod api;
mod choices;
mod draft;
mod file;
mod gateway;
mod journal;
mod judge;
mod machine;
#[expect(dead_code, reason = "the search of all states needs more of it")]
mod model;
#[path = "../../gateway/tests/suite/strict.rs"]
mod strict;
mod stub;
mod wild;

/// What a target does with its bytes.
pub type Body = fn(&[u8]);

/// Every target, by its name.
pub const TARGETS: &[(&str, Body)] = &[
    ("file", file::body),
    ("draft", draft::body),
    ("api", api::body),
    ("gateway", gateway::body),
    ("journal", journal::body),
    ("pack", davy_engine::fuzz::packed),
    ("machine", machine::body),
    ("judge", judge::body),
];

/// Runs one target.
///
/// # Panics
/// When there is no such target, or a law is broken.
pub fn run(target: &str, bytes: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target of this name");
    body(bytes);
}
