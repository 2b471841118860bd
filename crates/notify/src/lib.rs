//! Tells people what happened to their rollouts: signed webhooks and Slack.
//!
//! What is told is in the journal, and is read from there (`story`): nothing is queued elsewhere, so nothing is lost with a process.
//! Each channel of a service is a lane (`courier`) with a mark up to which it was told; a receiver that hangs holds up its
//! lane and nothing else, a rollout least of all. A request goes to the address that was looked at before (`guard`, `http`).

mod courier;
mod guard;
mod http;
mod message;
mod sign;
mod story;

pub use courier::{Notifier, Options, Standing, Tested};
pub use sign::{SIGNATURE, TIMESTAMP, signature};
