//! One client's connection: which protocol it speaks, its requests, its end.

use crate::{
    gather::Gathering,
    limits,
    pace::{Ask, Paced, Watched},
    peer::Peer,
    stall,
    worker::Worker,
};
use bytes::{Bytes, BytesMut};
use hyper::{
    rt::Executor,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// What every client that speaks HTTP/2 says first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a client until it or the gateway ends it.
pub(crate) async fn serve(worker: Rc<Worker>, socket: TcpStream, peer: Peer, tls: Option<TlsAcceptor>) {
    let watched = Rc::new(Watched::new());
    worker.connections.add(watched.clone());
    match tls {
        None => plain(worker, Socket::Plain(Gathering(socket)), peer, watched, Protocol::Unknown).await,
        Some(tls) => Box::pin(secure(worker, socket, peer, watched, tls)).await,
    }
}

async fn secure(worker: Rc<Worker>, socket: TcpStream, peer: Peer, watched: Rc<Watched>, tls: TlsAcceptor) {
    let due = Instant::now() + limits::HANDSHAKE;
    // Shaking hands takes more room than what comes after.
    let shaken = Box::pin(worker.deadlines.until(due, tls.accept(socket))).await.map(|shaken| shaken.map(Box::new));
    match shaken {
        Some(Ok(socket)) => {
            let protocol = match socket.get_ref().1.alpn_protocol() {
                Some(b"h2") => Protocol::Http2,
                _ => Protocol::Unknown,
            };
            plain(worker, Socket::Tls(socket), peer, watched, protocol).await;
        }
        Some(Err(error)) => {
            worker.meters.handshakes_failed.add();
            tracing::debug!(%error, client = %peer.ip, "a handshake failed");
        }
        None => worker.meters.handshakes_failed.add(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Unknown,
    Http2,
}

/// Serves what is plain by now.
async fn plain(worker: Rc<Worker>, mut socket: Socket, peer: Peer, watched: Rc<Watched>, protocol: Protocol) {
    let peer = Rc::new(peer);
    if protocol == Protocol::Http2 {
        return Box::pin(http2(worker, socket, Bytes::new(), peer, watched)).await;
    }
    let mut first = Bytes::new();
    loop {
        if first.is_empty() {
            // Nothing is held for a connection that says nothing but its socket.
            let Some(begun) = first_bytes(&mut socket, &watched).await else { return };
            if begun.starts_with(PREFACE) {
                return Box::pin(http2(worker, socket, begun, peer, watched)).await;
            }
            first = begun;
        }
        match Box::pin(http1(&worker, socket, first, &peer, &watched)).await {
            Some(slept) => (socket, first) = slept,
            None => return,
        }
    }
}

/// Enough of a connection to know its protocol; none when it ended or was let go.
async fn first_bytes(socket: &mut Socket, watched: &Watched) -> Option<Bytes> {
    let mut first = BytesMut::new();
    loop {
        let read = poll_fn(|context| {
            if matches!(watched.asked(context), Ask::Finish | Ask::Cut) {
                return Poll::Ready(None);
            }
            let mut room = [0; 2048];
            let mut room = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut *socket).poll_read(context, &mut room)).ok();
            first.extend_from_slice(room.filled());
            Poll::Ready(Some(room.filled().len()))
        });
        read.await.filter(|read| *read > 0)?;
        let compared = first.len().min(PREFACE.len());
        if first[..compared] != PREFACE[..compared] || compared == PREFACE.len() {
            return Some(first.freeze());
        }
        watched.pace.begins();
    }
}

/// Serves HTTP/1; what is given back has fallen asleep, with what it has read of its next request.
async fn http1(
    worker: &Rc<Worker>,
    socket: Socket,
    first: Bytes,
    peer: &Rc<Peer>,
    watched: &Rc<Watched>,
) -> Option<(Socket, Bytes)> {
    let (to, from, pace) = (worker.clone(), peer.clone(), watched.pace.clone());
    let service = service_fn(move |request| {
        let (worker, peer, busy) = (to.clone(), from.clone(), pace.begin());
        async move { worker.serve(request, &peer, busy).await }
    });
    let socket = Paced::new(socket, first, watched.pace.clone(), true);
    worker.connections.wakes(watched);
    let mut serving = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(limits::HEAD)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut finishing = false;
    let served = poll_fn(|context| {
        let asked = watched.asked(context);
        if asked == Ask::Cut {
            return Poll::Ready(None);
        }
        if asked == Ask::Finish && !finishing {
            finishing = true;
            Pin::new(&mut serving).graceful_shutdown();
        }
        match Pin::new(&mut serving).poll(context) {
            Poll::Ready(served) => Poll::Ready(Some(served)),
            Poll::Pending if asked == Ask::Sleep && watched.pace.is_quiet() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    match served.await {
        Some(Ok(())) => None,
        Some(Err(error)) => {
            if error.is_parse() {
                worker.meters.malformed.add();
            }
            tracing::debug!(%error, client = %peer.ip, "a client's connection ended");
            None
        }
        None => {
            let asleep = watched.sleeps();
            let parts = serving.into_parts().filter(|_| asleep)?;
            // Empty as it may be, it would hold the whole buffer.
            let read = if parts.read_buf.is_empty() { Bytes::new() } else { parts.read_buf };
            Some((parts.io.into_inner().into_socket(), read))
        }
    }
}

async fn http2(worker: Rc<Worker>, socket: Socket, first: Bytes, peer: Rc<Peer>, watched: Rc<Watched>) {
    let (to, from, pace) = (worker.clone(), peer.clone(), watched.pace.clone());
    let service = service_fn(move |request| {
        let (worker, peer, busy) = (to.clone(), from.clone(), pace.begin());
        async move {
            let mut serving = pin!(worker.serve(request, &peer, busy));
            poll_fn(|context| {
                stall::asks();
                serving.as_mut().poll(context)
            })
            .await
        }
    });
    let socket = Paced::new(socket, first, watched.pace.clone(), false);
    let mut serving = pin!(
        http2::Builder::new(Streams(worker.clone()))
            .max_concurrent_streams(limits::STREAMS)
            .max_header_list_size(limits::HEAD as u32)
            .initial_stream_window_size(limits::STREAM_WINDOW)
            .initial_connection_window_size(limits::CONNECTION_WINDOW)
            .max_send_buf_size(limits::SEND_BUFFER)
            .max_pending_accept_reset_streams(limits::RESETS)
            .max_local_error_reset_streams(limits::ERRORS)
            .serve_connection(TokioIo::new(socket), service)
    );
    watched.is_http2.set(true);
    if worker.is_ending.get() {
        watched.ask(Ask::Finish);
    }
    let mut finishing = false;
    let served = poll_fn(|context| {
        let asked = watched.asked(context);
        if asked == Ask::Cut {
            return Poll::Ready(Ok(()));
        }
        if asked == Ask::Finish && !finishing {
            finishing = true;
            serving.as_mut().graceful_shutdown();
        }
        serving.as_mut().poll(context)
    });
    if let Err(error) = served.await {
        worker.meters.malformed.add();
        tracing::debug!(%error, client = %peer.ip, "a client's connection ended");
    }
}

/// Runs the streams of a client's connection on its worker's thread.
#[derive(Clone)]
struct Streams(Rc<Worker>);

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let worker = self.0.clone();
        tokio::task::spawn_local(async move {
            if !stall::guard(&worker.deadlines, worker.limits.half_slow(), stream).await {
                worker.meters.slow_readers.add();
            }
        });
    }
}

/// Runs what belongs to a connection on its worker's thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// A client's socket.
pub(crate) enum Socket {
    Plain(Gathering),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, into),
            Self::Tls(socket) => Pin::new(socket).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(socket) => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Tls(socket) => Pin::new(socket).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(socket) => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}
