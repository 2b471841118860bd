//! Connections to instances that speak HTTP/2, each shared by many requests: how gRPC is forwarded.

use crate::{
    connection::Local,
    limits,
    upstream::{CONNECT, Sent},
};
use hyper::{
    Request, Response, Version,
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use std::{cell::RefCell, collections::HashMap, io, net::SocketAddr, rc::Rc};
use tokio::net::TcpStream;

/// Requests at once on one connection, before another one is opened.
const STREAMS: usize = 100;

/// One worker's connections, by instance.
#[derive(Default)]
pub(crate) struct Shared(RefCell<HashMap<SocketAddr, Vec<Connection>>>);

struct Connection {
    sender: SendRequest<Sent>,
    streams: Rc<()>,
    was_used: bool,
}

/// A request on a shared connection, until it is dropped.
pub(crate) struct Stream(#[expect(dead_code, reason = "held, to be counted")] Rc<()>);

/// What became of a request that was not answered.
pub(crate) enum Unanswered {
    /// No connection: it never went anywhere.
    Unsent(Box<Request<Sent>>),
    Broken(hyper::Error),
}

/// Whether a request is for an instance that speaks HTTP/2: gRPC needs it, all else goes as HTTP/1.1.
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    let is_named = |value: &HeaderValue| {
        let rest = value.as_bytes().strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    };
    request.version() == Version::HTTP_2 && request.headers().get(header::CONTENT_TYPE).is_some_and(is_named)
}

/// gRPC's name for what a server did wrong (the list of OpenTelemetry's conventions): UNKNOWN, DEADLINE_EXCEEDED,
/// UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS. Anything that is no number is no success either.
pub(crate) fn is_fault(status: &HeaderValue) -> bool {
    !matches!(status.to_str().map(str::parse::<u8>), Ok(Ok(0 | 1 | 3 | 5..=11 | 16)))
}

impl Shared {
    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(
        &self,
        address: SocketAddr,
        request: Request<Sent>,
    ) -> Result<(Response<Incoming>, Stream), Unanswered> {
        let request = Box::new(request);
        let Some((mut sender, stream)) = self.lend(address).await else { return Err(Unanswered::Unsent(request)) };
        match sender.try_send_request(*request).await {
            Ok(response) => Ok((response, stream)),
            Err(mut error) => Err(match error.take_message() {
                Some(request) => Unanswered::Unsent(Box::new(request)),
                None => Unanswered::Broken(error.into_error()),
            }),
        }
    }

    async fn lend(&self, address: SocketAddr) -> Option<(SendRequest<Sent>, Stream)> {
        if let Some(known) = self.known(address) {
            return Some(known);
        }
        let connection = connect(address).await.ok()?;
        let lent = (connection.sender.clone(), Stream(connection.streams.clone()));
        self.0.borrow_mut().entry(address).or_default().push(connection);
        Some(lent)
    }

    fn known(&self, address: SocketAddr) -> Option<(SendRequest<Sent>, Stream)> {
        let mut all = self.0.borrow_mut();
        let open = all.get_mut(&address)?;
        open.retain(|connection| !connection.sender.is_closed());
        let free = open.iter_mut().find(|connection| Rc::strong_count(&connection.streams) <= STREAMS)?;
        free.was_used = true;
        Some((free.sender.clone(), Stream(free.streams.clone())))
    }

    /// Closes what nobody has used since the last time.
    pub(crate) fn tidy(&self) {
        self.0.borrow_mut().retain(|_, open| {
            open.retain_mut(|connection| {
                let is_used = Rc::strong_count(&connection.streams) > 1;
                !connection.sender.is_closed() && (std::mem::take(&mut connection.was_used) || is_used)
            });
            !open.is_empty()
        });
    }
}

async fn connect(address: SocketAddr) -> io::Result<Connection> {
    let connecting = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await;
    let socket = connecting.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    socket.set_nodelay(true)?;
    let shaken = http2::Builder::new(Local)
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(4 * limits::CONNECTION_WINDOW)
        .max_header_list_size(limits::HEAD as u32)
        .handshake(TokioIo::new(socket));
    let (sender, connection) = shaken.await.map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, %address, "a connection to an instance ended");
        }
    });
    Ok(Connection { sender, streams: Rc::new(()), was_used: true })
}

/// Gives a request that was prepared for HTTP/1.1 the form of one of HTTP/2.
pub(crate) fn as_http2(request: &mut Request<Sent>) {
    // Without one it has that form already: it is tried again.
    let Some(host) = request.headers_mut().remove(header::HOST) else { return };
    *request.version_mut() = Version::HTTP_2;
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let host = host.to_str().unwrap_or_default();
    if let Ok(uri) = format!("http://{host}{path}").parse() {
        *request.uri_mut() = uri;
    }
    request.headers_mut().remove(header::TRANSFER_ENCODING);
    // What is between must not hide that both ends take trailers: gRPC refuses that.
    request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
}
