//! What splits traffic.

use crate::{Boxed, Error};
use davy_core::{Generation, ServiceKey, Serving, Snapshot};

/// Serves one snapshot for each service.
pub trait Router: Send + Sync {
    /// Serves a snapshot and keeps it on disk. The generation must be higher than the one held; the same snapshot
    /// under the same generation again is success and changes nothing (it does not end a fallback).
    fn serve<'a>(&'a self, snapshot: &'a Snapshot) -> Boxed<'a, Result<Serving, Error>>;

    /// Renews the lease of the snapshot held, if its generation is this one. Never ends a fallback.
    fn renew<'a>(&'a self, key: &'a ServiceKey, generation: Generation) -> Boxed<'a, Result<Serving, Error>>;

    /// Sends everything to the fallback, now, until a snapshot of a higher generation. Needs nothing but the router
    /// itself; repeating it is success. An error when there is no fallback.
    fn revert<'a>(&'a self, key: &'a ServiceKey) -> Boxed<'a, Result<Serving, Error>>;

    /// What is served for a service; none when it holds no snapshot of it.
    fn observe<'a>(&'a self, key: &'a ServiceKey) -> Boxed<'a, Result<Option<Serving>, Error>>;
}
