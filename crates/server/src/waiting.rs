//! A server that waits for another one to end: it passes on what it is asked.

use crate::{KnownAs, guard::Guard, listen, problem::Problem, routes::BODY, session::origin};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{self, StatusCode, header},
    response::Response,
};
use davy_ports::Boxed;
use hyper::body::Incoming;
use std::{io, sync::Arc};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Asks the server that works, as the caller would; or says why it could not be asked.
pub type Forward =
    Arc<dyn Fn(http::Request<Bytes>) -> Boxed<'static, Result<http::Response<Incoming>, String>> + Send + Sync>;

/// Passes on every request, for ever. Host names are checked here; tokens are where the answer comes from.
///
/// # Errors
/// When the listener has no address.
pub async fn wait(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    known_as: KnownAs,
    forward: Forward,
) -> io::Result<()> {
    let guard = Arc::new(Guard::new(listener.local_addr()?, known_as));
    let app = Router::new().fallback(move |request: Request| {
        let (guard, forward) = (guard.clone(), forward.clone());
        async move {
            guard.knows(request.headers())?;
            let (mut head, body) = request.into_parts();
            // That one is about the connection here.
            head.headers.remove(header::CONNECTION);
            origin::pass_on(&mut head.headers);
            let bytes = to_bytes(body, BODY).await;
            let bytes = bytes.map_err(|error| {
                Problem::new(StatusCode::BAD_REQUEST, "A004", format!("the body could not be read: {error}"))
            })?;
            let mut answered = forward(http::Request::from_parts(head, bytes)).await.map_err(|why| {
                let detail = format!("this server waits, and the one that works cannot be asked: {why}");
                let hint = "try again in a moment: this one takes over when the other is gone";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "A023", detail).hint(hint)
            })?;
            answered.headers_mut().remove(header::CONNECTION);
            Ok::<Response, Problem>(answered.map(Body::new))
        }
    });
    listen::serve(listener, tls, app).await;
    Ok(())
}
