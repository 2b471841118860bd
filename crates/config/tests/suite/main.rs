//! The file, from outside.

mod bad;
mod draft;
mod form;
mod generated;
mod good;
mod notify;
mod random;
mod yaml;
