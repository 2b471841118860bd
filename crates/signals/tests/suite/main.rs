//! The reader against a real Prometheus server that scrapes a real exporter, and against servers that fail in every way.

mod broken;
mod exporter;
mod process;
mod real;
mod server;
