//! The engine from outside.

mod checkpoint;
mod golden;
mod group;
mod packing;
mod past;
mod postgres;
mod report;
mod retention;
#[expect(dead_code, reason = "the binary's own tests use the rest")]
mod server;
mod store;
mod vault;
mod world;
