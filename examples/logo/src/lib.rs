//! A small web service with the logo of a miner's safety lamp, in three versions, so that there is something to deploy.
//!
//! `v1` is black and white, `v2` is in colour, `v3` is in colour too but fails at random. `/` is a page, `/logo.svg` the
//! logo, `/version` its version as text, `/healthz` always answers 200.

mod options;
mod page;

pub use options::{InvalidOptions, Options, Version};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{cell::RefCell, convert::Infallible, io, net::SocketAddr, rc::Rc, time::Duration};
use tokio::net::TcpListener;

/// The header that says which version answered.
pub const VERSION_HEADER: &str = "x-version";

/// Serves for ever, on the current thread.
///
/// # Errors
/// When the port cannot be listened on; the message names it.
pub async fn serve(options: Options) -> io::Result<()> {
    let address = SocketAddr::from((options.host, options.port));
    let listener = TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}; choose another --port"))
    })?;
    serve_on(listener, options).await
}

/// Serves on a listener that is there already; `options.port` is not looked at.
///
/// # Errors
/// None today: a connection that fails ends alone.
pub async fn serve_on(listener: TcpListener, options: Options) -> io::Result<()> {
    let dice = Rc::new(RefCell::new(options.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed)));
    let options = Rc::new(options);
    let connections = tokio::task::LocalSet::new();
    connections.run_until(accept(listener, options, dice)).await
}

async fn accept(listener: TcpListener, options: Rc<Options>, dice: Rc<RefCell<fastrand::Rng>>) -> io::Result<()> {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: they come back when connections end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // A response leaves at once, not when the kernel has gathered more; without it the answer is only later.
        let _ = socket.set_nodelay(true);
        let (options, dice) = (Rc::clone(&options), Rc::clone(&dice));
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| answer(request, &options, &dice));
            // A client that goes away is its own affair.
            let _ =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    options: &Options,
    dice: &RefCell<fastrand::Rng>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let version = options.version;
    let path = request.uri().path();
    if path == "/healthz" {
        return Ok(response(version, StatusCode::OK, TEXT, "ok\n"));
    }
    if !options.latency.is_zero() {
        tokio::time::sleep(options.latency).await;
    }
    if dice.borrow_mut().f64() < options.error_rate {
        return Ok(response(version, StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{version} failed\n")));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = response(version, StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(refusal);
    }
    Ok(match path {
        "/" => response(version, StatusCode::OK, "text/html; charset=utf-8", page::html(version)),
        "/logo.svg" => response(version, StatusCode::OK, "image/svg+xml", page::logo(version)),
        "/version" => response(version, StatusCode::OK, TEXT, format!("{version}\n")),
        _ => {
            response(version, StatusCode::NOT_FOUND, TEXT, "not found; there is /, /logo.svg, /version and /healthz\n")
        }
    })
}

fn response(version: Version, status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // Reload the page during a rollout and either version may answer.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VERSION_HEADER, HeaderValue::from_static(version.name()));
    response
}
