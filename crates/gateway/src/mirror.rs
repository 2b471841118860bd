//! Copies of requests for the canary, whose answers are dropped. The request itself never waits for its copy: a copy that cannot
//! keep up is given up.

use crate::{
    count::{Outcome, Under},
    proxy::{Body, Speech},
    upstream::Sent,
    worker::Worker,
};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Request, header::HeaderName, header::HeaderValue};
use std::{net::SocketAddr, rc::Rc, time::Duration};
use tokio::sync::mpsc;

/// Pieces of a body that wait for the copy's instance to take them.
const PIECES: usize = 64;
/// Copies under way at once in one worker; more are not made.
const AT_ONCE: u32 = 256;
/// Tells an instance that nobody sees its answer.
pub(crate) const MIRRORED: HeaderName = HeaderName::from_static("davy-mirrored");

/// A copy's instance, and its counts.
pub(crate) struct Copy {
    pub address: SocketAddr,
    pub under: Under,
}

/// Takes the pieces of a body as they pass; the last is none.
pub(crate) type Pieces = mpsc::Sender<Option<Bytes>>;

impl Worker {
    /// Begins a copy of a prepared request. Gives what takes the body's pieces, if it has a body.
    pub(crate) fn mirror<B: hyper::body::Body>(
        self: &Rc<Self>,
        mut copy: Copy,
        speech: Speech,
        request: &Request<B>,
        timeout: Duration,
    ) -> Option<Pieces> {
        if self.copies.get() >= AT_ONCE {
            copy.under.end(Outcome::ClientGone);
            return None;
        }
        let (pieces, body) = match request.body().is_end_stream() {
            true => (None, Sent::Empty),
            false => {
                let (pieces, body) = mpsc::channel(PIECES);
                (Some(pieces), Sent::Copy(body))
            }
        };
        let mut repeated = Request::new(body);
        *repeated.method_mut() = request.method().clone();
        *repeated.uri_mut() = request.uri().clone();
        *repeated.version_mut() = request.version();
        *repeated.headers_mut() = request.headers().clone();
        repeated.headers_mut().insert(MIRRORED, HeaderValue::from_static("yes"));
        let worker = self.clone();
        worker.copies.set(worker.copies.get() + 1);
        tokio::task::spawn_local(async move {
            let until = copy.under.began() + timeout;
            let address = copy.address;
            let answering = worker.deadlines.until(until, Box::pin(worker.forward(address, speech, repeated))).await;
            match answering {
                None => copy.under.end(Outcome::Timeout),
                Some(Err(refused)) => copy.under.end(refused.outcome()),
                Some(Ok((response, way))) => {
                    let mut body: Body = worker.relay(address, response, way, copy.under).into_body();
                    let drained = Box::pin(async { while let Some(Ok(_)) = body.frame().await {} });
                    worker.deadlines.until(until, drained).await;
                }
            }
            worker.copies.set(worker.copies.get() - 1);
        });
        pieces
    }
}
