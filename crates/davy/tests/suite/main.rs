//! Davy as its users meet it: the real binary, real processes, real requests.

mod backup;
mod docker;
#[path = "../../../docker/tests/suite/engine.rs"]
#[expect(dead_code, reason = "the place's own tests use the rest")]
mod engine;
mod examples;
mod host;
mod init;
mod install;
mod remote;
mod rollouts;
mod secrets;
mod services;
mod starting;
mod strategies;
mod tokens;
mod trouble;
