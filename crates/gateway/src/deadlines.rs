//! The deadlines of a worker's requests, looked at ten times a second: a request that is answered in time, as nearly all
//! are, costs no timer and no look at the clock.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

/// The time between two looks: a deadline passes by so much later.
const EVERY: Duration = Duration::from_millis(100);

/// Whom to wake, and when; one for each worker thread.
pub(crate) struct Deadlines {
    now: Cell<Instant>,
    waiting: RefCell<Vec<Option<Waiting>>>,
    free: RefCell<Vec<usize>>,
}

struct Waiting {
    due: Instant,
    waker: Waker,
}

impl Deadlines {
    pub(crate) fn new() -> Self {
        Self { now: Cell::new(Instant::now()), waiting: RefCell::default(), free: RefCell::default() }
    }

    /// The time of the last look.
    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Looks for ever.
    pub(crate) async fn watch(&self) {
        loop {
            tokio::time::sleep(EVERY).await;
            let now = Instant::now();
            self.now.set(now);
            for waiting in self.waiting.borrow().iter().flatten().filter(|waiting| waiting.due <= now) {
                waiting.waker.wake_by_ref();
            }
        }
    }

    /// What becomes of `future`; none when it is not done at `due`. It is pinned where it is, so that it is not held twice.
    pub(crate) async fn until<T>(&self, due: Instant, mut future: impl Future<Output = T> + Unpin) -> Option<T> {
        let mut place = Place { deadlines: self, index: None };
        poll_fn(|context| {
            if let Poll::Ready(done) = Pin::new(&mut future).poll(context) {
                return Poll::Ready(Some(done));
            }
            if due <= self.now() {
                return Poll::Ready(None);
            }
            place.wait(due, context.waker());
            Poll::Pending
        })
        .await
    }
}

/// Where one future waits; given back when it waits no more.
struct Place<'a> {
    deadlines: &'a Deadlines,
    index: Option<usize>,
}

impl Place<'_> {
    fn wait(&mut self, due: Instant, waker: &Waker) {
        let mut all = self.deadlines.waiting.borrow_mut();
        let index = *self.index.get_or_insert_with(|| {
            self.deadlines.free.borrow_mut().pop().unwrap_or_else(|| {
                all.push(None);
                all.len() - 1
            })
        });
        match &mut all[index] {
            Some(waiting) if waiting.waker.will_wake(waker) => waiting.due = due,
            place => *place = Some(Waiting { due, waker: waker.clone() }),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(index) = self.index {
            self.deadlines.waiting.borrow_mut()[index] = None;
            self.deadlines.free.borrow_mut().push(index);
        }
    }
}
