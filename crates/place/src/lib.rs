//! What places share, so that each is only about its own kind of instance: health checks by HTTP, the fence of each
//! service, files written whole, and `$PORT` in words.

pub mod disk;
mod fences;
mod given;
mod mask;
mod myself;
mod probe;
mod substitute;

pub use fences::Fences;
pub use given::{Given, give};
pub use mask::{Mask, Masked};
pub use myself::{INSTANCE, myself};
pub use probe::{Asked, Probe, request};
pub use substitute::{known, substitute};
