//! One service in one environment: the rollout under way, decided by pure functions.
//!
//! [`step`] turns a [`State`] and an [`Input`] into [`Event`]s or a [`Refusal`]; [`State::apply`] folds events back into
//! the state. An event may ask for an [`Effect`]; what came of it returns as an input.

mod automatic;
mod command;
mod effect;
mod event;
mod fold;
mod forecast;
mod guard;
mod input;
mod instances;
mod leaving;
mod plan;
mod proof;
mod state;
mod step;
mod trial;

pub use effect::Effect;
pub use event::{Batches, Cause, CauseKind, Event, Outcome, PauseReason, Request, RequestKind, Split};
pub use forecast::{Need, TooSlow, about, needs, provable, too_slow};
pub use guard::guard;
pub use input::{Command, Input, Look, Refusal, Sight, Traffic};
pub use plan::{Passes, Step, interrupts, plan};
pub use state::{Ended, Next, Pause, Pending, Phase, Rollout, State};
pub use step::step;
