//! Work that is carried to its end beside a reconciler, so that nothing else waits for it. A journal in memory answers at once; one on
//! a disk or elsewhere is waited for by a task.

use futures_util::FutureExt as _;
use std::{
    panic::AssertUnwindSafe,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::task::JoinHandle;

/// Before what was broken off at once is said to have been.
const PAUSE: Duration = Duration::from_millis(150);

/// What needs no waiting is done when it begins; the rest goes on as a task.
pub(super) enum Beside<T> {
    Done(Option<T>),
    Task(JoinHandle<Option<T>>),
}

impl<T: Send + 'static> Beside<T> {
    pub(super) fn begin(work: impl Future<Output = T> + Send + 'static) -> Self {
        let mut work = Box::pin(AssertUnwindSafe(work).catch_unwind().map(Result::ok));
        // Whoever is woken meanwhile is the task, which asks again.
        match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            // It will be tried again, and everything else has to have its turn before.
            Poll::Ready(None) => Self::Task(tokio::spawn(tokio::time::sleep(PAUSE).map(|()| None))),
            Poll::Ready(Some(done)) => Self::Done(Some(done)),
            Poll::Pending => Self::Task(tokio::spawn(work)),
        }
    }

    /// What became of it; nothing where it was broken off. To be asked until it answers, and then no more.
    pub(super) async fn end(&mut self) -> Option<T> {
        match self {
            Self::Done(done) => done.take(),
            Self::Task(task) => task.await.ok().flatten(),
        }
    }
}

impl<T> Beside<T> {
    pub(super) fn abort(&self) {
        if let Self::Task(task) = self {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Beside;
    use futures_util::FutureExt as _;
    use std::future::{pending, ready};
    use tokio::task::yield_now;

    #[tokio::test]
    async fn what_need_not_wait_is_done_at_once_and_the_rest_by_a_task() {
        let mut done = Beside::begin(ready(1));
        assert!(matches!(done, Beside::Done(Some(1))), "no task for it");
        assert_eq!(done.end().await, Some(1));
        let mut later = Beside::begin(async {
            yield_now().await;
            2
        });
        assert!(matches!(later, Beside::Task(_)), "nobody waits for it");
        assert_eq!(later.end().await, Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_broken_off_says_so() {
        let mut at_once = Beside::begin(async { assert!(false_now(), "broken on purpose") });
        assert_eq!(at_once.end().now_or_never(), None, "others have their turn");
        assert_eq!(at_once.end().await, None);
        let mut later = Beside::begin(async {
            yield_now().await;
            assert!(false_now(), "broken on purpose");
        });
        assert_eq!(later.end().await, None);
        let mut never = Beside::begin(pending::<()>());
        never.abort();
        assert_eq!(never.end().await, None);
    }

    fn false_now() -> bool {
        std::hint::black_box(false)
    }
}
