//! The engine from outside.

mod report;
mod store;
mod vault;
mod world;
