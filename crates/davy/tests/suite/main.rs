//! Davy as its users meet it: the real binary, real processes, real requests.

mod api;
mod backup;
mod containers;
mod database;
mod docker;
#[path = "../../../docker/tests/suite/engine.rs"]
#[expect(dead_code, reason = "the place's own tests use the rest")]
mod engine;
mod examples;
mod forecast;
mod host;
mod init;
mod install;
mod killed;
mod metrics;
mod network;
mod notify;
mod packing;
#[path = "../../../engine/tests/suite/server.rs"]
#[expect(dead_code, reason = "the store's own tests use the rest")]
mod postgres;
#[path = "../../../signals/tests/suite/process.rs"]
mod prometheus;
#[path = "../../../identity/tests/suite/provider.rs"]
#[expect(dead_code, reason = "the protocols' own tests use the rest")]
mod provider;
mod pulls;
#[path = "../../../docker/tests/suite/registry.rs"]
mod registry;
mod relay;
mod remote;
mod replay;
mod retention;
mod rollouts;
mod secrets;
mod servers;
mod services;
mod sessions;
mod setup;
mod simulate;
mod starting;
mod strategies;
mod tls;
mod tokens;
mod trouble;
mod vouched;
