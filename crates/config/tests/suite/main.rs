//! The file, from outside.

mod bad;
mod draft;
mod generated;
mod good;
mod notify;
mod random;
mod yaml;
