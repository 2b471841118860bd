//! The file, from outside.

mod bad;
mod generated;
mod good;
mod random;
mod yaml;
