//! The place from outside: real files, real shims, real processes.

mod artifact;
mod house;
mod life;
mod output;
mod secrets;
