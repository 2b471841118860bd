//! The place against a real engine of its own: needs root, `dockerd` and a static `busybox`, which `scripts/setup` installs.

#[expect(dead_code, reason = "the tests of the whole use the rest")]
mod engine;
mod found;
mod images;
mod life;
mod pulls;
#[expect(dead_code, reason = "the tests of the whole use the rest")]
mod registry;
mod secrets;
