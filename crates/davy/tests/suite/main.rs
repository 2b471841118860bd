//! Davy as its users meet it: the real binary, real processes, real requests.

mod backup;
mod docker;
#[path = "../../../docker/tests/suite/engine.rs"]
#[expect(dead_code, reason = "the place's own tests use the rest")]
mod engine;
mod host;
mod rollouts;
mod secrets;
mod services;
mod starting;
mod tokens;
