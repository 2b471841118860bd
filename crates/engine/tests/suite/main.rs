//! The engine from outside.

mod checkpoint;
mod report;
mod store;
mod vault;
mod world;
