//! A small web service with the logo of a miner's safety lamp, in three versions, so that there is something to deploy.
//!
//! `v1` is black and white, `v2` is in colour, `v3` is in colour too but fails at random. `/` is a page, `/logo.svg` the
//! logo, `/version` its version as text, `/healthz` always answers 200, `/metrics` has its counters for Prometheus.

mod options;
mod page;

pub use options::{InvalidOptions, Options, Version};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    io,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};
use tokio::net::TcpListener;

/// The header that says which version answered.
pub const VERSION_HEADER: &str = "x-version";

/// Serves for ever, on the current thread.
///
/// # Errors
/// When the port cannot be listened on; the message names it.
pub async fn serve(options: Options) -> io::Result<()> {
    serve_on(listen(&options).await?, options).await
}

/// Serves on a listener that is there already; `options.port` is not looked at.
///
/// # Errors
/// None today: a connection that fails ends alone.
pub async fn serve_on(listener: TcpListener, options: Options) -> io::Result<()> {
    let version = options.version;
    serve_pages(listener, options, move |path| std::future::ready(page(version, &path))).await
}

/// An answer to GET.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its status.
    pub status: StatusCode,
    /// Its `Content-Type`.
    pub kind: &'static str,
    /// Its body.
    pub body: Bytes,
}

impl Page {
    /// An answer that is well.
    #[must_use]
    pub fn new(kind: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, kind, body: body.into() }
    }
}

/// Plain text.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// A page.
pub const HTML: &str = "text/html; charset=utf-8";

fn page(version: Version, path: &str) -> Page {
    match path {
        "/" => Page::new(HTML, page::html(version)),
        "/logo.svg" => Page::new("image/svg+xml", page::logo(version)),
        _ => Page {
            status: StatusCode::NOT_FOUND,
            ..Page::new(TEXT, "not found; there is /, /logo.svg, /version and /healthz\n")
        },
    }
}

/// Serves pages of another service in the same way: `/healthz`, `/version`, failures and delays as the options say.
///
/// # Errors
/// None today: a connection that fails ends alone.
pub async fn serve_pages<Pages, Answer>(listener: TcpListener, options: Options, pages: Pages) -> io::Result<()>
where
    Pages: Fn(String) -> Answer + 'static,
    Answer: Future<Output = Page> + 'static,
{
    let dice = RefCell::new(options.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed));
    let service = Rc::new(Service { options, dice, pages, counted: Counted::default() });
    let connections = tokio::task::LocalSet::new();
    connections.run_until(accept(listener, service)).await
}

/// Listens where the options say.
///
/// # Errors
/// When the port cannot be listened on; the message names it.
pub async fn listen(options: &Options) -> io::Result<TcpListener> {
    let address = SocketAddr::from((options.host, options.port));
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}; choose another --port"))
    })
}

struct Service<Pages> {
    options: Options,
    dice: RefCell<fastrand::Rng>,
    pages: Pages,
    counted: Counted,
}

/// What it has answered, each from 0: a counter that is not there yet is none.
#[derive(Default)]
struct Counted {
    requests: Cell<u64>,
    failures: Cell<u64>,
    spoiled: Cell<u64>,
}

impl Counted {
    /// In Prometheus' text format, with the release that Davy says it is.
    fn text(&self) -> String {
        let release = std::env::var("DAVY_RELEASE").unwrap_or_default();
        let all = [("requests", &self.requests), ("failures", &self.failures), ("spoiled", &self.spoiled)];
        let line = |(name, count): (&str, &Cell<u64>)| {
            format!("# TYPE logo_{name}_total counter\nlogo_{name}_total{{release=\"{release}\"}} {}\n", count.get())
        };
        all.into_iter().map(line).collect()
    }
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

async fn accept<Pages, Answer>(listener: TcpListener, service: Rc<Service<Pages>>) -> io::Result<()>
where
    Pages: Fn(String) -> Answer + 'static,
    Answer: Future<Output = Page> + 'static,
{
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: they come back when connections end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // A response leaves at once, not when the kernel has gathered more; without it the answer is only later.
        let _ = socket.set_nodelay(true);
        let service = Rc::clone(&service);
        tokio::task::spawn_local(async move {
            let answering = service_fn(|request| service.answer(request));
            // A client that goes away is its own affair.
            let _ =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), answering).await;
        });
    }
}

impl<Pages, Answer> Service<Pages>
where
    Pages: Fn(String) -> Answer,
    Answer: Future<Output = Page>,
{
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let version = self.options.version;
        let path = request.uri().path();
        if path == "/healthz" {
            return Ok(response(version, StatusCode::OK, TEXT, "ok\n"));
        }
        if path == "/metrics" {
            return Ok(response(version, StatusCode::OK, "text/plain; version=0.0.4", self.counted.text()));
        }
        if !self.options.latency.is_zero() {
            tokio::time::sleep(self.options.latency).await;
        }
        count(&self.counted.requests);
        if self.options.spoiled > 0.0 && self.dice.borrow_mut().f64() < self.options.spoiled {
            count(&self.counted.spoiled);
        }
        if self.dice.borrow_mut().f64() < self.options.error_rate {
            count(&self.counted.failures);
            return Ok(response(version, StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{version} failed\n")));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            // Answered before its body has come, the connection could not be kept.
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {}
            let mut refusal = response(version, StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Ok(refusal);
        }
        if path == "/version" {
            return Ok(response(version, StatusCode::OK, TEXT, format!("{version}\n")));
        }
        let Page { status, kind, body } = (self.pages)(path.to_owned()).await;
        Ok(response(version, status, kind, body))
    }
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
