//! The engine: the journal and its stores, and one reconciler for each service. It sees the world only through ports.

mod access;
mod busy;
mod clock;
mod counted;
mod decisions;
mod deed;
mod engine;
mod evidence;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod ledger;
mod outline;
mod past;
mod rate;
mod reconciler;
mod replay;
pub mod report;
mod routes;
mod served;
pub mod store;
mod then;
mod vault;

pub use access::{Access, Caller, Grant, NewToken, Refused, Rejected, Session, SignedIn, Token};
pub use clock::{go_by, now};
pub use deed::{Deed, DeedRecord, Role, Way};
pub use engine::{Action, Deploy, Engine, EngineError, Taken, Watched};
pub use evidence::{MetricSeen, Seen};
pub use ledger::Ledger;
pub use past::{Limits, Past, Summary};
pub use rate::Rate;
pub use reconciler::{Live, Ports, Still, reached};
pub use replay::{Replay, Replayed, replay};
pub use routes::LEASE;
pub use served::Served;
pub use then::{Course, Decision, Point};
pub use vault::{Listed, Vault, key::KeyFile};
