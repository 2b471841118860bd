//! From samples of counters to what was counted between two readings. Pure: time comes with the samples.

use crate::answer::Series;
use davy_core::{Millis, Timestamp};
use davy_ports::{Span, Tries};
use std::collections::BTreeMap;

/// Which counter: of which release, and whether of its failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Of {
    CanaryTries,
    CanaryFailures,
    StableTries,
    StableFailures,
}

pub(crate) const ALL: [Of; 4] = [Of::CanaryTries, Of::CanaryFailures, Of::StableTries, Of::StableFailures];

impl Of {
    pub(crate) const fn is_canary(self) -> bool {
        matches!(self, Self::CanaryTries | Self::CanaryFailures)
    }

    pub(crate) const fn are_failures(self) -> bool {
        matches!(self, Self::CanaryFailures | Self::StableFailures)
    }
}

/// A scrape may be so late at least before a counter counts as not scraped any more.
const LATE: Millis = Millis::seconds(15);
/// The same where only one sample is known.
const FIRST: Millis = Millis::seconds(60);
/// So often in a row failures may be ahead of what they are failures of: an instance counts the two one after the other.
const AHEAD: u32 = 12;
/// So many readings in a row may be lost to counters that begin anew.
const ANEW: u32 = 3;

/// What each series of one metric stood at when it was last read.
#[derive(Debug)]
pub(crate) struct Counter {
    interval: Millis,
    /// How far back samples are asked for.
    range: Millis,
    read_at: Option<Timestamp>,
    stood: BTreeMap<(Of, String), (Timestamp, u64)>,
    ahead: u32,
    anew: u32,
}

/// Between two readings.
#[derive(Default)]
struct Change {
    tries: [Tries; 2],
    /// Whether each version has a new sample of its tries.
    scraped: [bool; 2],
    since: Option<Timestamp>,
    anew: bool,
}

impl Counter {
    pub(crate) const fn new(interval: Millis, range: Millis) -> Self {
        Self { interval, range, read_at: None, stood: BTreeMap::new(), ahead: 0, anew: 0 }
    }

    /// Takes the samples of all four counters, read at `now`; what was counted since the last that was taken, if that can be
    /// told already.
    ///
    /// # Errors
    /// In words, and which counter is meant, if it is one.
    pub(crate) fn take(
        &mut self,
        read: &[Vec<Series>; 4],
        now: Timestamp,
    ) -> Result<Option<Span>, (Option<Of>, String)> {
        for (of, series) in ALL.iter().zip(read) {
            if let Some(why) = self.lacks(series, now) {
                return Err((Some(*of), why.to_owned()));
            }
        }
        let Some(from) = self.read_at else {
            self.keep(read, now);
            return Ok(None);
        };
        let change = self.change(read, now);
        if change.anew {
            self.keep(read, now);
            self.anew += 1;
            return match self.anew >= ANEW {
                true => Err((None, format!("its counters began anew in {} readings in a row", self.anew))),
                false => Ok(None),
            };
        }
        let (Some(since), [true, true]) = (change.since, change.scraped) else {
            // Not scraped yet since the last reading: both are told together.
            return Ok(None);
        };
        let [canary, stable] = change.tries;
        if [canary, stable].iter().any(|tries| tries.failed > tries.of) && self.ahead < AHEAD {
            self.ahead += 1;
            return Ok(None);
        }
        self.keep(read, now);
        if canary.failed > canary.of || stable.failed > stable.of {
            let (failed, of) =
                if canary.failed > canary.of { (canary.failed, canary.of) } else { (stable.failed, stable.of) };
            return Err((None, format!("{failed} failures of {of}: that cannot be")));
        }
        self.anew = 0;
        Ok(Some(Span { from, to: now, since, canary, stable }))
    }

    /// Why nothing can be told of a counter with these series.
    pub(crate) fn lacks(&self, series: &[Series], now: Timestamp) -> Option<&'static str> {
        if series.iter().any(|series| self.is_fresh(series, now)) {
            return None;
        }
        Some(match series.is_empty() {
            true => "there is no such counter: it has to be there before anything is counted, at 0",
            false => "it is not scraped any more",
        })
    }

    fn is_fresh(&self, series: &Series, now: Timestamp) -> bool {
        let Some((last, _)) = series.samples.last() else { return false };
        let mut gaps: Vec<u64> = series.samples.windows(2).map(|pair| pair[1].0.since(pair[0].0).0).collect();
        gaps.sort_unstable();
        let usual = gaps.get(gaps.len() / 2).map_or(FIRST.0, |gap| LATE.0.max(gap * 3));
        now.since(*last).0 <= usual.max(self.interval.0 * 3)
    }

    fn change(&self, read: &[Vec<Series>; 4], now: Timestamp) -> Change {
        let mut change = Change::default();
        // An instance that was scraped without a series had counted nothing in it.
        let mut scraped: BTreeMap<(bool, &str), Timestamp> = BTreeMap::new();
        for (of, series) in each(read) {
            if let Some((at, _)) = self.known(of, series, now) {
                let last = scraped.entry((of.is_canary(), &series.target)).or_insert(at);
                *last = at.max(*last);
            }
        }
        for (of, series) in each(read) {
            let zero = || {
                let at = *scraped.get(&(of.is_canary(), series.target.as_str()))?;
                series.samples.first().is_some_and(|(first, _)| *first > at).then_some((at, 0))
            };
            let Some((at, mut stands)) = self.known(of, series, now).or_else(zero) else { continue };
            let mut new = series.samples.iter().filter(|(sampled, _)| *sampled > at).peekable();
            if new.peek().is_none() {
                continue;
            }
            let before = stands;
            for (_, value) in new {
                change.anew |= *value < stands;
                stands = *value;
            }
            let (version, counted) = (usize::from(!of.is_canary()), stands.saturating_sub(before));
            change.since = Some(change.since.map_or(at, |since| since.min(at)));
            match of.are_failures() {
                true => change.tries[version].failed += counted,
                false => {
                    change.tries[version].of += counted;
                    change.scraped[version] = true;
                }
            }
        }
        change
    }

    /// What a series stood at when it was read last; nothing if samples in between may be missing.
    fn known(&self, of: Of, series: &Series, now: Timestamp) -> Option<(Timestamp, u64)> {
        let stood = self.stood.get(&(of, series.labels.clone())).copied()?;
        (now.since(stood.0) <= self.range).then_some(stood)
    }

    fn keep(&mut self, read: &[Vec<Series>; 4], now: Timestamp) {
        self.stood.clear();
        for (of, series) in each(read) {
            if let Some(last) = series.samples.last() {
                self.stood.insert((of, series.labels.clone()), *last);
            }
        }
        self.read_at = Some(now);
        self.ahead = 0;
    }
}

fn each(read: &[Vec<Series>; 4]) -> impl Iterator<Item = (Of, &Series)> {
    ALL.iter().zip(read).flat_map(|(of, all)| all.iter().map(|series| (*of, series)))
}

#[cfg(test)]
mod tests {
    use super::{Counter, Of};
    use crate::answer::Series;
    use davy_core::{Millis, Timestamp};
    use davy_ports::Tries;

    const SECOND: u64 = 1_000;

    fn series(name: &str, target: &str, samples: &[(u64, u64)]) -> Series {
        let samples = samples.iter().map(|(at, value)| (Timestamp(at * SECOND), *value)).collect();
        Series { labels: format!("{name}@{target}"), target: target.to_owned(), samples }
    }

    fn counter() -> Counter {
        Counter::new(Millis::seconds(5), Millis::seconds(150))
    }

    /// One instance of each version.
    fn four(samples: [&[(u64, u64)]; 4]) -> [Vec<Series>; 4] {
        let name = ["n", "x", "n", "x"];
        let target = ["c", "c", "s", "s"];
        std::array::from_fn(|index| vec![series(name[index], target[index], samples[index])])
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * SECOND)
    }

    #[test]
    fn differences_are_taken_and_added_up_over_series() {
        let mut counter = counter();
        let first = four([&[(98, 10)], &[(98, 1)], &[(99, 900)], &[(99, 9)]]);
        assert_eq!(counter.take(&first, at(100)), Ok(None));
        let mut second =
            four([&[(98, 10), (103, 30)], &[(98, 1), (103, 4)], &[(99, 900), (104, 1000)], &[(99, 9), (104, 9)]]);
        // An instance that was not there before has no difference yet.
        second[2].push(series("n", "s2", &[(104, 500)]));
        // A label that was not there before, of one that was: all of it is new.
        second[1].push(series("x-other", "c", &[(103, 2)]));
        let span = counter.take(&second, at(105)).unwrap().unwrap();
        assert_eq!((span.from, span.to, span.since), (at(100), at(105), at(98)));
        assert_eq!((span.canary, span.stable), (Tries { of: 20, failed: 5 }, Tries { of: 100, failed: 0 }));
    }

    #[test]
    fn a_counter_that_begins_anew_costs_its_reading_even_if_it_has_caught_up() {
        let mut counter = counter();
        let stands =
            |now: u64, value: u64| four([&[(now - 1, value)], &[(now - 1, 0)], &[(now - 1, value)], &[(now - 1, 0)]]);
        assert_eq!(counter.take(&stands(100, 10), at(100)), Ok(None));
        let anew = four([&[(99, 10), (101, 2), (104, 50)], &[(104, 0)], &[(104, 20)], &[(104, 0)]]);
        assert_eq!(counter.take(&anew, at(105)), Ok(None));
        let after = four([&[(104, 50), (109, 60)], &[(109, 0)], &[(109, 30)], &[(109, 0)]]);
        let span = counter.take(&after, at(110)).unwrap().unwrap();
        assert_eq!((span.from, span.canary.of, span.stable.of), (at(105), 10, 10));
        for (now, value) in [(115, 9), (120, 8)] {
            assert_eq!(counter.take(&stands(now, value), at(now)), Ok(None));
        }
        assert!(counter.take(&stands(125, 7), at(125)).is_err(), "one that always begins anew is never seen");
    }

    #[test]
    fn what_is_missing_or_not_scraped_any_more_is_told() {
        let mut counter = counter();
        let mut read = four([&[(99, 10)], &[(99, 0)], &[(99, 10)], &[(99, 0)]]);
        read[1].clear();
        let (of, why) = counter.take(&read, at(100)).unwrap_err();
        assert_eq!(of, Some(Of::CanaryFailures));
        assert!(why.contains("at 0"), "{why}");
        let read = four([&[(99, 10)], &[(99, 0)], &[(35, 9), (40, 10)], &[(99, 0)]]);
        let (of, why) = counter.take(&read, at(100)).unwrap_err();
        assert_eq!((of, why.as_str()), (Some(Of::StableTries), "it is not scraped any more"));
        // A slow scrape is no silence.
        let read = four([&[(99, 10)], &[(99, 0)], &[(0, 9), (60, 10)], &[(99, 0)]]);
        assert_eq!(counter.take(&read, at(100)), Ok(None));
    }

    #[test]
    fn it_waits_until_both_versions_are_scraped_and_failures_are_not_ahead() {
        let mut counter = counter();
        counter.take(&four([&[(99, 10)], &[(99, 0)], &[(99, 10)], &[(99, 0)]]), at(100)).unwrap();
        let half = four([&[(99, 10), (104, 20)], &[(99, 0), (104, 1)], &[(99, 10)], &[(99, 0)]]);
        assert_eq!(counter.take(&half, at(105)), Ok(None));
        let ahead = four([&[(109, 20)], &[(109, 11)], &[(109, 20)], &[(109, 0)]]);
        assert_eq!(counter.take(&ahead, at(110)), Ok(None));
        let whole = four([&[(114, 40)], &[(114, 11)], &[(114, 30)], &[(114, 0)]]);
        let span = counter.take(&whole, at(115)).unwrap().unwrap();
        assert_eq!((span.from, span.since, span.canary), (at(100), at(99), Tries { of: 30, failed: 11 }));
        let absurd = |now: u64| four([&[(now, 40)], &[(now, 50)], &[(now, 30)], &[(now, 0)]]);
        let told = (0..20).find_map(|step| counter.take(&absurd(120 + step), at(120 + step)).err());
        assert!(told.is_some_and(|(_, why)| why == "39 failures of 0: that cannot be"));
    }

    #[test]
    fn after_a_long_gap_it_begins_again() {
        let mut counter = counter();
        counter.take(&four([&[(99, 10)], &[(99, 0)], &[(99, 10)], &[(99, 0)]]), at(100)).unwrap();
        let later = |now: u64, of: u64| four([&[(now, of)], &[(now, 0)], &[(now, of)], &[(now, 0)]]);
        assert_eq!(counter.take(&later(400, 900), at(400)), Ok(None));
    }
}
