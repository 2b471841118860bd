//! The place where instances are containers, of one Docker engine or of several.
//!
//! What is deployed is named by its digest first ([`DockerPlatform`]'s `prepare`): an image of a registry by the digest that
//! the registry gives, one that was built on the engine by its id. Containers run on a network of their own and carry
//! labels; the server may crash, and the next one finds them by these, never by name or process id.

mod container;
mod dial;
mod engaged;
mod engine;
mod engines;
mod found;
mod image;
mod logs;
mod looks;
mod platform;
mod pull;
mod secrets;

pub use engines::Engines;
pub use platform::{DockerPlatform, Options};
