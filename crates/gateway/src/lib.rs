//! The embedded data plane: a process of its own that proxies HTTP/1.1, splits each service's requests by weight, counts
//! every one, and falls back to stable by itself when the controller is silent; and the client that controls it.

mod client;
mod control;
mod count;
mod deadlines;
mod disk;
mod frame;
mod headers;
mod health;
mod held;
mod keeper;
mod process;
mod proxy;
mod table;
mod upstream;

pub use client::Client;
pub use frame::Hello;
pub use keeper::{Keeper, KeeperOptions};
pub use process::{Options, run};
