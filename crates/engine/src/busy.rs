//! How busy a service is, from a count that the router shows at every look.

use crate::rate::Rate;
use davy_core::Timestamp;
use std::collections::VecDeque;

/// So much of the past is kept, in milliseconds.
const PAST: u64 = 60_000;
/// Between two counts that are kept, in milliseconds.
const EVERY: u64 = 5_000;

/// What was counted when, in the last minute.
#[derive(Debug, Default)]
pub(crate) struct Busy(VecDeque<(Timestamp, u64)>);

impl Busy {
    /// Takes what the router has counted since it began. One that counts less than before began anew.
    pub(crate) fn count(&mut self, at: Timestamp, counted: u64) {
        match self.0.back() {
            Some((_, before)) if *before > counted => self.0.clear(),
            Some((last, _)) if at.since(*last).0 < EVERY => return,
            _ => {}
        }
        self.0.push_back((at, counted));
        while self.0.get(1).is_some_and(|(second, _)| at.since(*second).0 >= PAST) {
            self.0.pop_front();
        }
    }

    /// Requests of the last minute; none before two counts.
    pub(crate) fn rate(&self) -> Option<Rate> {
        let ((begin, first), (end, last)) = (self.0.front()?, self.0.back()?);
        let elapsed = end.since(*begin).0;
        (elapsed > 0).then(|| Rate { requests: last.saturating_sub(*first), seconds: elapsed as f64 / 1_000.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::Busy;
    use davy_core::Timestamp;

    #[test]
    fn a_minute_is_remembered_and_a_router_that_began_anew_is_no_less_traffic() {
        let mut busy = Busy::default();
        assert_eq!(busy.rate(), None);
        for tick in 0..1_000_u64 {
            busy.count(Timestamp(tick * 200), tick * 20);
        }
        let rate = busy.rate().expect("a minute of it");
        assert!((rate.per_second() - 100.0).abs() < 1.0 && (55.0..=65.0).contains(&rate.seconds), "{rate:?}");
        busy.count(Timestamp(200_000), 3);
        assert_eq!(busy.rate(), None);
        busy.count(Timestamp(205_000), 8);
        assert_eq!(busy.rate().map(|rate| rate.requests), Some(5));
    }
}
