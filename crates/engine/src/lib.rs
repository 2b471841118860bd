//! The engine: the journal and its stores, and one reconciler for each service. It sees the world only through ports.

mod clock;
mod engine;
mod evidence;
mod reconciler;
pub mod report;
mod routes;
pub mod store;

pub use clock::now;
pub use engine::{Action, Deploy, Engine, EngineError, Summary};
pub use evidence::Seen;
pub use reconciler::{Live, Ports, reached};
pub use routes::LEASE;
