//! The guard where the requests are: counted in one book, weighed whenever the canary fails, heard at once.
//!
//! What of stable still waits for its answer is weighed as failed if it was admitted before the canary's last failed request. So
//! each admission of the canary begins a phase, stable's requests wait in the slot of their phase, and a slot is taken again
//! only when nobody waits in it. Where threads race for one, a request is at worst taken for an earlier one: that holds the
//! guard back and never makes it rash.

use davy_core::{ReleaseId, RolloutId, Timestamp};
pub(crate) use davy_judge::guard::Seat;
use davy_judge::guard::{Book, FREEZE_ABOVE, Finding, Frozen, Guard as Judge, InvalidOrder, Order, start_after};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering::SeqCst},
    },
    time::Instant,
};
use tokio::sync::Notify;

/// One run of a guard over one rollout.
#[derive(Debug)]
pub(crate) struct Guard {
    judge: Judge,
    pub rollout: RolloutId,
    /// The canary.
    pub release: ReleaseId,
    begun: Instant,
    start: AtomicU8,
    book: Mutex<Book>,
    /// Stable's past, once little of it is left.
    frozen: OnceLock<Frozen>,
    /// Failures of the canary that nobody has weighed yet.
    unweighed: AtomicU64,
    found: OnceLock<(Timestamp, Finding)>,
    alarm: Arc<Notify>,
}

/// What the counters of one weight are watched by.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub guard: Arc<Guard>,
    epoch: u64,
    weight: u16,
}

impl Guard {
    pub(crate) fn begin(
        order: &Order,
        run: u32,
        rollout: RolloutId,
        release: ReleaseId,
        alarm: Arc<Notify>,
    ) -> Result<Arc<Self>, InvalidOrder> {
        Ok(Arc::new(Self {
            judge: Judge::begin(order.clone(), run)?,
            rollout,
            release,
            begun: Instant::now(),
            start: AtomicU8::new(0),
            book: Mutex::default(),
            frozen: OnceLock::new(),
            unweighed: AtomicU64::new(0),
            found: OnceLock::new(),
            alarm,
        }))
    }

    /// Watches what is routed at a weight.
    pub(crate) fn watch(self: &Arc<Self>, epoch: u64, weight: u16) -> Watch {
        if weight > FREEZE_ABOVE {
            self.frozen.get_or_init(|| self.judge.freeze(self.book().past()));
        }
        Watch { guard: self.clone(), epoch, weight }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the starts that are due.
    pub(crate) fn reach(&self) {
        let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.start.store(start_after(elapsed), SeqCst);
    }

    /// What it found, and when.
    pub(crate) fn found(&self) -> Option<&(Timestamp, Finding)> {
        self.found.get()
    }

    /// Weighs everything. One thread at a time does: what others add meanwhile it weighs, too.
    fn weigh(&self) {
        if self.unweighed.fetch_add(1, SeqCst) > 0 {
            return;
        }
        loop {
            let seen = self.unweighed.load(SeqCst);
            if self.found.get().is_none() {
                let cuts = self.judge.cuts(&self.book());
                if let Some(finding) = self.judge.search(&cuts, self.frozen.get()) {
                    self.found.set((crate::clock::now(), finding)).ok();
                    self.alarm.notify_one();
                }
            }
            if self.unweighed.compare_exchange(seen, 0, SeqCst, SeqCst).is_ok() {
                return;
            }
        }
    }
}

impl Watch {
    /// A request was drawn for one of both.
    pub(crate) fn admit(&self, is_canary: bool) -> Seat {
        let mut book = self.guard.book();
        book.admit(self.epoch, self.weight, self.guard.start.load(SeqCst), is_canary)
    }

    /// Its answer begins.
    pub(crate) fn answers(&self, seat: &mut Seat) {
        if seat.waits() {
            self.guard.book().answers(seat);
        }
    }

    /// It is over.
    pub(crate) fn end(&self, seat: Seat, failed: bool) {
        if seat.waits() || failed {
            self.guard.book().end(seat, failed);
        }
        if failed && seat.is_canary() {
            self.guard.weigh();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use davy_judge::guard::Side;

    fn guard(limits: Vec<f64>) -> Arc<Guard> {
        let order = Order { alpha: 0.003, odds: 1.0, relative: true, limits, past: false, cluster: 1.0 };
        Guard::begin(&order, 1, RolloutId::new("r"), ReleaseId::new("v2"), Arc::default()).unwrap()
    }

    /// Several threads fail and answer at once: nothing is lost, and the one crossing is what its counts give.
    #[test]
    fn threads_add_up_at_once() {
        let guard = guard(vec![0.01]);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let watch = guard.watch(7, 1_000);
                watch.end(watch.admit(false), false);
                let watch = guard.watch(7 + thread, 1_000);
                scope.spawn(move || {
                    for number in 0..1_000_u32 {
                        let seat = watch.admit(number % 10 == 0);
                        watch.end(seat, number % 20 == 0);
                    }
                });
            }
        });
        let [row] = guard.book().rows()[..] else { panic!("one row: {:?}", guard.book().rows()) };
        assert_eq!((row.epoch, row.canary, row.waiting), (7, Side { routed: 400, failed: 200 }, 0));
        assert_eq!(row.stable, Side { routed: 3_604, failed: 0 });
        let (_, finding) = guard.found().unwrap();
        assert!(finding.holds(), "{finding:?}");
        assert_eq!(guard.unweighed.load(SeqCst), 0);
    }

    #[test]
    fn what_waits_holds_it_back_and_what_is_answered_does_not() {
        let guard = guard(Vec::new());
        let watch = guard.watch(1, 1_000);
        let mut waiting: Vec<Seat> = (0..40).map(|_| watch.admit(false)).collect();
        for _ in 0..8 {
            watch.end(watch.admit(true), true);
        }
        assert!(guard.found().is_none());
        assert_eq!(guard.book().rows()[0].waiting, 40);
        waiting.iter_mut().for_each(|seat| watch.answers(seat));
        watch.end(watch.admit(true), true);
        assert!(guard.found().is_some_and(|(_, finding)| finding.holds() && finding.counts().0.failed == 9));
        waiting.into_iter().for_each(|seat| watch.end(seat, false));
        assert_eq!(guard.book().rows()[0].waiting, 0);
    }

    /// On a machine that is slow with everything, what came after the canary's failed requests waits, and says nothing of them.
    #[test]
    fn what_was_admitted_later_does_not_hold_it_back() {
        let guard = guard(Vec::new());
        let watch = guard.watch(1, 1_000);
        let mut under_way = std::collections::VecDeque::new();
        for number in 0..2_000 {
            under_way.push_back(watch.admit(number % 10 == 9));
            if under_way.len() > 300 {
                let seat = under_way.pop_front().unwrap();
                watch.end(seat, seat.is_canary());
            }
            if let Some((_, finding)) = guard.found() {
                let failed = finding.counts().0.failed;
                assert!(failed <= 6 && finding.holds(), "{finding:?}");
                return;
            }
        }
        panic!("never found");
    }
}
