//! The API without a socket, for what is fuzzed of it.

use crate::{Reached, Shared, guard::Guard, routes, session::door::Door};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    http::{HeaderValue, Request, Uri, header},
};
use davy_engine::{
    Access, Engine, Vault,
    store::{Signer, Store},
};
use davy_notify::Notifier;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use std::{net::SocketAddr, sync::Arc};
use tokio::sync::mpsc;

/// The API as a function.
pub struct Api(TowerToHyperService<Router>);

/// What it answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The kind of the body.
    pub kind: String,
    /// The body; none of an answer that goes on.
    pub body: Bytes,
}

impl Api {
    /// Over an engine and what belongs to it.
    #[must_use]
    pub fn new(
        engine: Arc<Engine>,
        access: Arc<Access>,
        vault: Arc<Vault>,
        notifier: Arc<Notifier>,
        journal: (Store, Arc<Signer>),
    ) -> Self {
        // Nobody hears that it is to stop.
        let (stop, _) = mpsc::unbounded_channel();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let guard = Arc::new(Guard::new(address, Arc::new(|_: &str| false)));
        let (shown, once) = Default::default();
        let reached = Reached { url: "http://localhost".to_owned(), proxied: false };
        let door = Arc::new(Door::new(reached, None, access.mark()));
        let app = routes::app(Shared { engine, vault, access, notifier, journal, stop, guard, shown, once, door });
        Self(TowerToHyperService::new(app))
    }

    /// Asks it; none when no HTTP can carry the question.
    pub async fn ask(&self, method: &str, target: &str, token: &str, body: &[u8]) -> Option<Answer> {
        let target = target.parse::<Uri>().ok().filter(|target| target.path().starts_with('/'))?;
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        let request = Request::builder().method(method).uri(target).header(header::HOST, "localhost");
        let request = request.header(header::AUTHORIZATION, bearer).body(Body::from(body.to_vec())).ok()?;
        let response = match self.0.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status().as_u16();
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().to_owned();
        let goes_on = kind.starts_with("text/event-stream") || kind.starts_with("application/x-ndjson");
        let body = if goes_on { Bytes::new() } else { to_bytes(response.into_body(), usize::MAX).await.ok()? };
        Some(Answer { status, kind, body })
    }
}
