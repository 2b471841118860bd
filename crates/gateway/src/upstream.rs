//! Connections to instances: one small pool for each worker thread, the most recently used first.

use crate::{deadlines::Deadlines, gather::Gathering, mirror::Pieces};
use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::{TrySendError, http1::SendRequest},
};
use hyper_util::rt::TokioIo;
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// The longest wait for a connection.
pub(crate) const CONNECT: Duration = Duration::from_secs(2);
/// Idle for longer, a connection is closed. Kept so long, those that a burst needed are there for the next one.
const IDLE: Duration = Duration::from_secs(60);
/// Shorter than servers usually keep an idle connection: one that was idle for longer may be closed while a request is on
/// its way, so that only a request that may be asked again is sent on it.
const RELIED: Duration = Duration::from_secs(4);
/// No server closes a connection that was idle for less, so that a request on it need not be asked again.
const FRESH: Duration = Duration::from_millis(250);
/// Idle connections kept for each instance.
const KEPT: usize = 128;

/// A connection to an instance. It has no task of its own: whoever holds it drives it, so that a request and its
/// answer wake one task each, the client's.
pub(crate) struct Link {
    sender: SendRequest<Sent>,
    connection: Option<Driver>,
}

/// What moves a connection; done when it ends or changes protocol.
pub(crate) type Driver = Pin<Box<dyn Future<Output = ()>>>;

impl Link {
    /// Moves what can be moved.
    pub(crate) fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(context).is_ready()
        {
            self.connection = None;
        }
    }

    /// Whether another request could be sent when it was last driven.
    fn was_ready(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Whether another request can be sent.
    fn is_ready(&mut self) -> bool {
        // Nobody waits for an idle connection: it is looked at when it is needed.
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.was_ready()
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(
        &mut self,
        request: Request<Sent>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Sent>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|context| {
            if let Some(connection) = &mut self.connection
                && connection.as_mut().poll(context).is_ready()
            {
                self.connection = None;
            }
            // It comes by driving only, and that wakes this task.
            answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
    }

    /// The rest of a connection that changes protocol.
    pub(crate) fn into_driver(self) -> Option<Driver> {
        self.connection
    }
}

/// What a request to an instance carries: the client's body as it comes, or nothing.
pub(crate) enum Sent {
    Streamed(Incoming),
    Watched(Incoming, Rc<Upload>),
    /// Watched, and its pieces are given to a copy while that takes them.
    Copied(Incoming, Rc<Upload>, Option<Pieces>),
    /// The pieces of another request's body.
    Copy(tokio::sync::mpsc::Receiver<Option<Bytes>>),
    Empty,
}

/// How a request's body moves: an instance is not to blame for a client that is slow to send it.
pub(crate) struct Upload {
    pub moved: Cell<Instant>,
    /// Whether the client is being waited for.
    pub waits: Cell<bool>,
    /// How much came.
    pub bytes: Cell<u64>,
    /// How much may come.
    pub limit: u64,
}

/// Why a request's body ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cut {
    #[error(transparent)]
    Client(#[from] hyper::Error),
    #[error("it is longer than allowed")]
    Long,
    #[error("the request that it copies ended too soon, or was quicker")]
    Copy,
}

impl Upload {
    fn watch(&self, body: &mut Incoming, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let polled = Pin::new(body).poll_frame(context);
        self.waits.set(polled.is_pending());
        if polled.is_ready() {
            self.moved.set(Instant::now());
        }
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.bytes.set(self.bytes.get() + length);
            if self.bytes.get() > self.limit {
                return Poll::Ready(Some(Err(Cut::Long)));
            }
        }
        polled.map_err(Cut::Client)
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Streamed(body) => Pin::new(body).poll_frame(context).map_err(Cut::Client),
            Self::Watched(body, upload) => upload.watch(body, context),
            Self::Copied(body, upload, pieces) => {
                let polled = upload.watch(body, context);
                let piece = match &polled {
                    Poll::Pending => return polled,
                    Poll::Ready(Some(Ok(frame))) => frame.data_ref().cloned().map(Some),
                    Poll::Ready(None) => Some(None),
                    Poll::Ready(Some(Err(_))) => {
                        *pieces = None;
                        return polled;
                    }
                };
                let ends = piece.as_ref().is_some_and(Option::is_none) || body.is_end_stream();
                let mut given = piece.into_iter().chain(ends.then_some(None));
                // A copy that cannot keep up is given up: the request does not wait.
                if let Some(open) = pieces
                    && given.any(|piece| open.try_send(piece).is_err())
                {
                    *pieces = None;
                }
                polled
            }
            Self::Copy(pieces) => match std::task::ready!(pieces.poll_recv(context)) {
                Some(Some(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(None) => Poll::Ready(None),
                None => Poll::Ready(Some(Err(Cut::Copy))),
            },
            Self::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Streamed(body) | Self::Watched(body, _) | Self::Copied(body, ..) => body.is_end_stream(),
            Self::Copy(_) => false,
            Self::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Streamed(body) | Self::Watched(body, _) | Self::Copied(body, ..) => body.size_hint(),
            Self::Copy(_) => SizeHint::default(),
            Self::Empty => SizeHint::with_exact(0),
        }
    }
}

/// One worker's idle connections.
pub(crate) struct Pool {
    clock: Rc<Deadlines>,
    idle: RefCell<HashMap<SocketAddr, Vec<(Link, Instant)>>>,
}

/// A connection, and whether it was idle for so long that the instance may be closing it.
pub(crate) struct Lent {
    pub link: Link,
    pub stale: bool,
}

impl Pool {
    pub(crate) fn new(clock: Rc<Deadlines>) -> Self {
        Self { clock, idle: RefCell::default() }
    }

    /// A connection that is ready: an idle one, or a new one. `again` says that the request may be asked again.
    pub(crate) async fn lend(&self, address: SocketAddr, again: bool) -> io::Result<Lent> {
        let longest = if again { IDLE } else { RELIED };
        while let Some((mut link, idle)) = self.pop(address, longest) {
            // Sending drives it first: what was closed or said meanwhile is found before anything is sent.
            if (idle < FRESH && link.was_ready()) || link.is_ready() {
                return Ok(Lent { link, stale: idle >= FRESH });
            }
        }
        self.fresh(address).await
    }

    /// A connection that nobody has used.
    pub(crate) async fn fresh(&self, address: SocketAddr) -> io::Result<Lent> {
        // Held apart: few requests need it.
        Ok(Lent { link: Box::pin(connect(address)).await?, stale: false })
    }

    /// The connection that was used last, if it was idle for less than `longest`, and for how long.
    fn pop(&self, address: SocketAddr, longest: Duration) -> Option<(Link, Duration)> {
        let now = self.clock.now();
        let mut idle = self.idle.borrow_mut();
        let (link, since) = idle.get_mut(&address)?.pop_if(|(_, since)| now - *since < longest)?;
        Some((link, now - since))
    }

    /// Keeps a connection for the next request. Whether it is done with this one is looked at when it is lent.
    pub(crate) fn keep(&self, address: SocketAddr, link: Link) {
        if link.connection.is_none() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let kept = idle.entry(address).or_default();
        if kept.len() < KEPT {
            kept.push((link, self.clock.now()));
        }
    }

    /// Closes what has been idle for too long.
    pub(crate) fn tidy(&self) {
        self.idle.borrow_mut().retain(|_, kept| {
            kept.retain_mut(|(link, since)| self.clock.now() - *since < IDLE && link.is_ready());
            !kept.is_empty()
        });
    }
}

async fn connect(address: SocketAddr) -> io::Result<Link> {
    let connecting = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await;
    let socket = connecting.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    socket.set_nodelay(true)?;
    let mut builder = hyper::client::conn::http1::Builder::new();
    let shaken = builder.max_buf_size(64 * 1024).handshake(TokioIo::new(Gathering(socket))).await;
    let (sender, connection) = shaken.map_err(io::Error::other)?;
    // Whoever sends on it learns that it broke.
    let connection: Driver = Box::pin(async move { connection.with_upgrades().await.unwrap_or_default() });
    Ok(Link { sender, connection: Some(connection) })
}

/// Whether a request may be asked twice: idempotent, and without a body.
pub(crate) fn may_repeat(request: &Request<Sent>) -> bool {
    request.method().is_idempotent() && request.body().is_end_stream()
}

/// The same request again, without its body.
pub(crate) fn again(request: &Request<Sent>) -> Request<Sent> {
    let mut copy = Request::new(Sent::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
