//! The place where instances are processes on this machine.
//!
//! What is deployed is copied first ([`LocalPlatform`]'s `prepare`), so that a rebuild changes nothing that runs. Each
//! instance has a folder, a port and a [`shim`]: a small process of its own session that owns the output, the restarts
//! and the exit status. The server may crash; the next one finds the shims by their sockets, never by process id.

mod artifact;
mod folders;
mod instances;
mod logs;
mod platform;
pub mod shim;
mod sweep;

pub use platform::{Leftover, LocalPlatform, Options};
