//! Where the journal is kept: SQLite, in one file.
//!
//! Events form one hash chain per stream; evidence is kept beside them, digested batch by batch, so that what a verdict
//! rests on can be checked years later. How a record is hashed (`chain`) and how a batch is written (`evidence`)
//! belongs to no database: another store uses the same.

mod chain;
mod checkpoint;
mod connect;
mod deeds;
mod evidence;
mod explain;
mod read;
mod sqlite;
mod verify;
mod write;

pub use checkpoint::{Head, Signer, Trust};
pub use deeds::{Change, Sealed};
pub use evidence::BatchesDigest;
pub use sqlite::Sqlite;
