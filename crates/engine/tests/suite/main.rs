//! The engine from outside.

mod checkpoint;
mod postgres;
mod report;
mod server;
mod store;
mod vault;
mod world;
