//! The rollout machine from outside: laws over random worlds, and stories.

mod automatic;
mod dependencies;
mod laws;
mod stories;
mod strategies;
mod waits;
mod world;
