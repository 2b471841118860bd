//! Where the journal is kept: a file of SQLite, or a database of PostgreSQL.
//!
//! Events form one hash chain per stream; evidence is kept beside them, digested batch by batch, so that what a verdict
//! rests on can be checked as long as it is kept. How a record is hashed (`chain`) and how a batch is written (`evidence`)
//! belongs to no database, and one text of SQL serves both (`sql`); `place` knows which it is.

mod apart;
mod chain;
mod checkpoint;
mod deeds;
mod evidence;
mod explain;
mod given;
mod group;
mod journal;
mod lease;
mod let_go;
mod pack;
mod packed;
mod packing;
mod place;
mod postgres;
mod read;
mod room;
mod seen;
mod sql;
mod sqlite;
mod told;
mod verify;
mod write;

pub use checkpoint::{Head, Signer, Trust};
pub use deeds::{Change, Sealed};
pub use evidence::BatchesDigest;
#[cfg(feature = "fuzz")]
pub(crate) use evidence::{digest, read as read_batch, write as write_batch};
pub use journal::Store;
pub use lease::{Bid, Bidder, Lease};
#[cfg(feature = "fuzz")]
pub(crate) use pack::read_and_packed_again;
pub use room::Room;
