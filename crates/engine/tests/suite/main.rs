//! The engine from outside.

mod checkpoint;
mod group;
mod postgres;
mod report;
mod server;
mod store;
mod vault;
mod world;
