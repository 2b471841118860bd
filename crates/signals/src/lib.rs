//! Metric sources that are only HTTP: a reader of Prometheus servers.
//!
//! It asks for the raw samples of counters, series by series, and takes their differences itself (`counter`): a rate would hide when
//! something was counted, and that a counter began anew. What a server says is looked at before it is believed (`answer`), in
//! bounded time and space (`http`); whatever is wrong is an error of that reading, and so blindness, never a zero.

mod answer;
mod counter;
mod http;
mod prometheus;

pub use prometheus::Prometheus;
