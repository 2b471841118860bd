//! How one client's connection moves, looked at once a second: so that who is slow or idle is let go without a timer for
//! each request, and a request costs two additions.

use crate::limits::Limits;
use bytes::{Buf, Bytes};
use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    pin::Pin,
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

/// The time between two glances at who is awake: a connection that was quiet from one to the next gives its buffers back. So
/// what is held is what was used in the last fiftieth of a second, however many there are.
const GLANCE: Duration = Duration::from_millis(20);
/// The time between two looks at what else a worker has to see to.
pub(crate) const LOOK: Duration = Duration::from_millis(100);
/// So many of them pass between two looks at who is slow: a second.
pub(crate) const LOOKS: u64 = 10;
/// Looks that one who was asked to end may take, before it is cut off.
const GRACE: u32 = 3;

/// What a connection has done; written by its socket and its requests. Atomic only because a socket that changes protocol
/// has to be sendable: one thread uses it.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    active: AtomicU32,
    begun: AtomicU32,
    /// Bytes came that are no request yet.
    head: AtomicBool,
    late: AtomicBool,
    written: AtomicU64,
    /// The client took nothing when it was last offered something.
    blocked: AtomicBool,
}

impl Pace {
    /// A request is under way until what is given back is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        // One thread adds: that needs no bus lock.
        self.active.store(self.active.load(Relaxed) + 1, Relaxed);
        self.begun.store(self.begun.load(Relaxed).wrapping_add(1), Relaxed);
        self.head.store(false, Relaxed);
        Busy(self.clone())
    }

    /// Bytes came that begin a request.
    pub(crate) fn begins(&self) {
        self.head.store(true, Relaxed);
    }

    /// Nothing is under way or has begun.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.is_active() && !self.head.load(Relaxed) && !self.blocked.load(Relaxed)
    }

    fn is_active(&self) -> bool {
        self.active.load(Relaxed) > 0
    }
}

/// A request under way on a connection.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Pace>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.active.store(self.0.active.load(Relaxed) - 1, Relaxed);
    }
}

/// What a connection is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    GoOn,
    /// Give the buffers back and wait for the next byte.
    Sleep,
    /// End after what is under way.
    Finish,
    /// End now.
    Cut,
}

/// Why a connection was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slow {
    Head,
    Reader,
}

/// One connection as its worker sees it.
#[derive(Debug)]
pub(crate) struct Watched {
    pub pace: Arc<Pace>,
    pub is_http2: Cell<bool>,
    /// The requests that had begun at the last glance.
    seen: Cell<u32>,
    ask: Cell<Ask>,
    waker: RefCell<Option<Waker>>,
    begun: Cell<u32>,
    idle: Cell<u32>,
    head: Cell<u32>,
    stalled: Cell<u32>,
    written: Cell<u64>,
}

impl Watched {
    pub(crate) fn new() -> Self {
        Self {
            pace: Arc::default(),
            is_http2: Cell::new(false),
            seen: Cell::new(0),
            ask: Cell::new(Ask::GoOn),
            waker: RefCell::default(),
            begun: Cell::new(0),
            idle: Cell::new(0),
            head: Cell::new(0),
            stalled: Cell::new(0),
            written: Cell::new(0),
        }
    }

    /// What is asked of the connection; whose task is woken when that changes.
    pub(crate) fn asked(&self, context: &Context<'_>) -> Ask {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        self.ask.get()
    }

    pub(crate) fn ask(&self, ask: Ask) {
        self.ask.set(ask);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Whether it was asked to sleep: it does so now.
    pub(crate) fn sleeps(&self) -> bool {
        let asked = self.ask.get() == Ask::Sleep;
        if asked {
            self.ask.set(Ask::GoOn);
        }
        asked
    }

    /// Asks it to fall asleep if it was quiet since the last time. Whether it is to be glanced at again: who was asked once falls
    /// asleep as soon as it is quiet, or ends.
    fn glance(&self) -> bool {
        let begun = self.pace.begun.load(Relaxed);
        let was_quiet = self.seen.replace(begun) == begun && self.pace.is_quiet();
        if was_quiet && self.ask.get() == Ask::GoOn {
            self.ask(Ask::Sleep);
        }
        self.ask.get() == Ask::GoOn
    }

    /// Looks once; whom it lets go, and why.
    pub(crate) fn look(&self, limits: &Limits) -> Option<Slow> {
        let begun = self.pace.begun.load(Relaxed);
        let quiet = self.begun.replace(begun) == begun && !self.pace.is_active();
        self.idle.set(if quiet { self.idle.get() + 1 } else { 0 });
        self.head.set(if self.pace.head.load(Relaxed) { self.head.get() + 1 } else { 0 });
        let written = self.pace.written.load(Relaxed);
        let stalled = self.written.replace(written) == written && self.pace.blocked.load(Relaxed);
        self.stalled.set(if stalled { self.stalled.get() + 1 } else { 0 });
        if self.stalled.get() >= limits.slow_timeout {
            self.ask(Ask::Cut);
            return (self.stalled.get() == limits.slow_timeout).then_some(Slow::Reader);
        }
        if self.head.get() >= limits.head_timeout {
            self.pace.late.store(true, Relaxed);
            self.ask(if self.head.get() > limits.head_timeout + GRACE { Ask::Cut } else { Ask::Finish });
            return (self.head.get() == limits.head_timeout).then_some(Slow::Head);
        }
        if self.idle.get() >= limits.idle_timeout {
            self.ask(if self.idle.get() > limits.idle_timeout + GRACE { Ask::Cut } else { Ask::Finish });
        }
        None
    }
}

/// Every connection of a worker.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    all: RefCell<Vec<Rc<Watched>>>,
    /// Those that hold what HTTP/1.1 needs.
    awake: RefCell<Vec<Weak<Watched>>>,
    /// Somebody is awake where nobody was.
    woke: Notify,
}

impl Connections {
    pub(crate) fn add(&self, watched: Rc<Watched>) {
        self.all.borrow_mut().push(watched);
    }

    /// A connection holds what HTTP/1.1 needs, until it is quiet.
    pub(crate) fn wakes(&self, watched: &Rc<Watched>) {
        let mut awake = self.awake.borrow_mut();
        if awake.is_empty() {
            self.woke.notify_one();
        }
        awake.push(Rc::downgrade(watched));
    }

    /// Lets those fall asleep that are quiet, for ever; nothing is done while all of them sleep.
    pub(crate) async fn lull(&self) {
        loop {
            if self.awake.borrow().is_empty() {
                self.woke.notified().await;
            }
            tokio::time::sleep(GLANCE).await;
            self.awake.borrow_mut().retain(|watched| watched.upgrade().is_some_and(|watched| watched.glance()));
        }
    }

    /// Looks at all and forgets those that are gone. Tells whom it let go, and why.
    pub(crate) fn look(&self, limits: &Limits, mut slow: impl FnMut(Slow)) {
        self.all.borrow_mut().retain(|watched| {
            let is_there = Rc::strong_count(watched) > 1;
            if is_there && let Some(why) = watched.look(limits) {
                slow(why);
            }
            is_there
        });
    }

    /// Ends those of HTTP/2 after what is under way: each client is told so, and none loses a request. A client of HTTP/1.1
    /// can only be told with an answer.
    pub(crate) fn finish_http2(&self) {
        for watched in self.all.borrow().iter().filter(|watched| watched.is_http2.get()) {
            watched.ask(Ask::Finish);
        }
    }
}

/// A socket that says how it moves, and gives back first what was read of it already.
#[derive(Debug)]
pub(crate) struct Paced<S> {
    socket: S,
    first: Bytes,
    pace: Arc<Pace>,
    /// Whether bytes outside of a request are the head of one: in HTTP/2 they may be anything.
    heads: bool,
}

/// What who is too slow with a head is told.
const LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\
    content-length: 45\r\n\r\nG408 the request's head did not come in time\n";

impl<S> Paced<S> {
    pub(crate) fn new(socket: S, first: Bytes, pace: Arc<Pace>, heads: bool) -> Self {
        pace.head.store(heads && !first.is_empty(), Relaxed);
        Self { socket, first, pace, heads }
    }

    pub(crate) fn into_socket(self) -> S {
        self.socket
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let length = self.first.len().min(into.remaining());
            into.put_slice(&self.first[..length]);
            self.first.advance(length);
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(context, into);
        if read.is_pending() && self.pace.late.load(Relaxed) {
            // Nothing was answered yet on this connection that is not out: a head is what it waits for.
            Pin::new(&mut self.socket).poll_write(context, LATE).is_ready();
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        ready!(read)?;
        if self.heads && into.filled().len() > before && !self.pace.is_active() {
            self.pace.head.store(true, Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> Paced<S> {
    fn wrote(&self, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &wrote {
            Poll::Pending => self.pace.blocked.store(true, Relaxed),
            Poll::Ready(Ok(count)) => {
                self.pace.blocked.store(false, Relaxed);
                self.pace.written.store(self.pace.written.load(Relaxed) + *count as u64, Relaxed);
            }
            Poll::Ready(Err(_)) => {}
        }
        wrote
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.wrote(wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.wrote(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
