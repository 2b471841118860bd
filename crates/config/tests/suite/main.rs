//! The file, from outside.

mod bad;
mod draft;
mod generated;
mod good;
mod random;
mod yaml;
