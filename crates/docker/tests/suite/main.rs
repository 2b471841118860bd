//! The place against a real engine of its own: needs root, `dockerd` and a static `busybox`, which `scripts/setup` installs.

mod engine;
mod images;
mod life;
mod secrets;
