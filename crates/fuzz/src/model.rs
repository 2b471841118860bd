//! The world of `davy-core`'s search of all states, with its laws: here it goes where chance leads, and further.

#[path = "../../core/tests/model/actions.rs"]
pub(crate) mod actions;
#[path = "../../core/tests/model/key.rs"]
pub(crate) mod key;
#[path = "../../core/tests/model/laws.rs"]
pub(crate) mod laws;
#[path = "../../core/tests/model/looks.rs"]
pub(crate) mod looks;
#[path = "../../core/tests/model/scopes.rs"]
pub(crate) mod scopes;
#[path = "../../core/tests/model/world.rs"]
pub(crate) mod world;
