//! HTTP/2 streams whose client leaves no room for the answer: the connection lives, so only the stream can tell.

use crate::deadlines::Deadlines;
use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    time::{Duration, Instant},
};

thread_local! {
    /// Whether the stream that is moved just now asked for more of its answer.
    static ASKED: Cell<bool> = const { Cell::new(false) };
}

/// Says that the stream which is moved just now has room for more of its answer.
pub(crate) fn asks() {
    ASKED.set(true);
}

/// Moves a stream; false when its client has left no room for a whole period. Dropped, the stream is reset.
pub(crate) async fn guard(deadlines: &Deadlines, period: Duration, stream: impl Future<Output = ()>) -> bool {
    let asked = Cell::new(0_u64);
    let mut stream = pin!(stream);
    let mut moving = pin!(poll_fn(|context| {
        ASKED.set(false);
        let polled = stream.as_mut().poll(context);
        asked.set(asked.get() + u64::from(ASKED.get()));
        polled
    }));
    loop {
        let before = asked.get();
        // The look at the end of this time moves the stream, too: one that waits for its answer asks again then.
        if deadlines.until(Instant::now() + period, moving.as_mut()).await.is_some() {
            return true;
        }
        if asked.get() == before {
            return false;
        }
    }
}
