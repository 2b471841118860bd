//! The embedded data plane: a process of its own that proxies HTTP/1.1, HTTP/2 and gRPC, splits each service's requests by
//! weight, counts every one, and falls back to stable by itself when the controller is silent; and the client that controls it.

mod access;
mod acme;
mod aside;
mod certificates;
mod client;
mod clock;
mod connection;
mod control;
mod count;
mod cut;
mod deadlines;
mod disk;
mod frame;
mod front;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod gather;
mod guard;
mod handed;
mod handover;
mod headers;
mod health;
mod held;
mod keeper;
mod limits;
mod listen;
mod manager;
mod meters;
mod metrics;
mod mirror;
mod options;
mod pace;
mod pair;
mod peer;
mod porter;
mod process;
mod proxy;
mod shared;
mod sockets;
mod stall;
mod sticky;
mod table;
mod tls;
mod upstream;
mod worker;

pub use acme::Authority;
pub use certificates::Certificate;
pub use client::Client;
pub use frame::Hello;
pub use keeper::{Keeper, KeeperOptions};
pub use limits::Limits;
pub use manager::tell_manager;
pub use options::{Features, Options, Redirect};
pub use pair::Certified;
pub use porter::keep;
pub use process::run;
