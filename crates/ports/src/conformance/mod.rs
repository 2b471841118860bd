//! What every implementation of a port must do, as suites that run against the real thing. Each panics with the law
//! that was broken.

mod journal;

pub use journal::journal;
