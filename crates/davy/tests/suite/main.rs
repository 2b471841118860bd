//! Davy as its users meet it: the real binary, real processes, real requests.

mod host;
mod rollouts;
mod starting;
