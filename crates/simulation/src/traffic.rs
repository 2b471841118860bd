//! What comes to the service, and what the two versions make of it.

use crate::{
    dice::{binomial, successes},
    pace::{Histogram, Pace, Paces},
};
use davy_judge::{Counts, WHOLE, Window};
use fastrand::Rng;

/// Assumed traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// Requests a second, of both versions together, on the average of a day.
    pub rate: f64,
    /// The share of requests that stable fails.
    pub baseline: f64,
    /// The share of requests that the canary fails.
    pub canary: f64,
    /// The second from which the canary fails so; before, it is as good as stable.
    pub onset_s: u64,
    /// How far the day's rhythm moves the rate up and down, as a fraction of it, 0 to 1.
    pub rhythm: f64,
    /// How long that day is, in seconds: a shorter one fits into a shorter rollout.
    pub day_s: f64,
    /// How long a request takes to fail: so much later it is known, and what was admitted meanwhile fails, too.
    pub answer_ms: f64,
    /// How long requests take.
    pub pace: Pace,
}

impl Default for Traffic {
    /// 100 requests/s, of which 0.1 % fail with either version, after 50 ms; both are as quick.
    fn default() -> Self {
        let pace = Pace::default();
        Self {
            rate: 100.0,
            baseline: 0.001,
            canary: 0.001,
            onset_s: 0,
            rhythm: 0.0,
            day_s: 86_400.0,
            answer_ms: 50.0,
            pace,
        }
    }
}

/// Where requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Rises with every change of the weight.
    pub epoch: u64,
    /// The canary's share, in basis points.
    pub weight: u16,
    /// Whether stable serves the rest; else the rest has no one.
    pub stable: bool,
}

/// What happened in one second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// When it began, in seconds since the rollout began.
    pub from_s: u64,
    /// The epoch its requests were routed in.
    pub epoch: u64,
    /// The canary's share in it, in basis points.
    pub weight: u16,
    /// Requests of the canary.
    pub canary: u64,
    /// Requests of stable.
    pub stable: u64,
    /// Which of the canary's requests failed, in order, from 0.
    pub canary_failed: Vec<u64>,
    /// Which of stable's requests failed.
    pub stable_failed: Vec<u64>,
    /// How long they took, of the canary and of stable.
    pub latency: (Histogram, Histogram),
}

/// When request `at` of `n` in a second is admitted, in milliseconds: they come evenly.
pub(crate) fn place(at: u64, n: u64) -> f64 {
    (at as f64 + 0.5) / n as f64 * 1_000.0
}

impl Second {
    /// What the judge is given of it.
    #[must_use]
    pub fn window(&self) -> Window {
        Window {
            epoch: self.epoch,
            weight: self.weight,
            from_ms: self.from_s * 1_000,
            to_ms: (self.from_s + 1) * 1_000,
            canary: Counts::answered(self.canary, self.canary_failed.len() as u64),
            stable: Counts::answered(self.stable, self.stable_failed.len() as u64),
        }
    }
}

impl Traffic {
    /// Requests a second at second `s`.
    #[must_use]
    pub fn rate_at(&self, s: u64) -> f64 {
        self.rate * (1.0 + self.rhythm * (std::f64::consts::TAU * s as f64 / self.day_s).sin())
    }

    /// The share that the canary fails at second `s`.
    #[must_use]
    pub fn canary_at(&self, s: u64) -> f64 {
        if s < self.onset_s { self.baseline } else { self.canary }
    }

    /// Whole requests of second `s`: what is left of a fraction comes in a later one.
    fn requests(&self, s: u64) -> u64 {
        self.requests_between(1_000 * s, 1_000 * (s + 1))
    }

    /// Whole requests from one millisecond to another.
    pub(crate) fn requests_between(&self, from_ms: u64, to_ms: u64) -> u64 {
        // The integral of the rate up to a moment, so that fractions are kept.
        let until = |ms: u64| {
            let s = ms as f64 / 1_000.0;
            if self.rhythm == 0.0 {
                return (s * self.rate).floor() as u64;
            }
            let turn = std::f64::consts::TAU / self.day_s;
            (self.rate * (s + self.rhythm * (1.0 - (turn * s).cos()) / turn)).floor() as u64
        };
        until(to_ms).saturating_sub(until(from_ms))
    }

    /// Draws second `s`.
    pub(crate) fn draw(&self, dice: &mut Rng, paces: &Paces, s: u64, served: Served) -> Second {
        let n = self.requests(s);
        let canary = binomial(dice, n, f64::from(served.weight) / f64::from(WHOLE));
        let stable = if served.stable { n - canary } else { 0 };
        Second {
            from_s: s,
            epoch: served.epoch,
            weight: served.weight,
            canary,
            stable,
            canary_failed: successes(dice, canary, self.canary_at(s)),
            stable_failed: successes(dice, stable, self.baseline),
            latency: paces.draw(dice, canary, stable),
        }
    }

    /// Failures of the canary from second `from_s` to `to_s` at a weight, which nobody judges.
    pub(crate) fn failures(&self, dice: &mut Rng, from_s: u64, to_s: u64, weight: u16) -> u64 {
        let share = f64::from(weight) / f64::from(WHOLE);
        let spans =
            [(from_s, to_s.min(self.onset_s).max(from_s)), (from_s.max(self.onset_s).min(to_s.max(from_s)), to_s)];
        spans
            .into_iter()
            .filter(|(from, to)| from < to)
            .map(|(from, to)| {
                let n: u64 = (from..to).map(|s| self.requests(s)).sum();
                binomial(dice, n, share * self.canary_at(from))
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{Served, Traffic};
    use crate::pace::Paces;
    use fastrand::Rng;

    #[test]
    fn fractions_of_a_request_come_in_a_later_second() {
        let quiet = Traffic { rate: 0.4, ..Traffic::default() };
        assert_eq!((0..50).map(|s| quiet.requests(s)).sum::<u64>(), 20);
        let daily = Traffic { rate: 0.4, rhythm: 0.8, ..Traffic::default() };
        assert_eq!((0..86_400).map(|s| daily.requests(s)).sum::<u64>(), 34_560);
        let noon: u64 = (20_000..22_000).map(|s| daily.requests(s)).sum();
        let night: u64 = (64_000..66_000).map(|s| daily.requests(s)).sum();
        assert!(noon > 1_400 && night < 200, "{noon}, {night}");
    }

    #[test]
    fn harm_begins_when_it_is_told_to() {
        let traffic = Traffic { canary: 1.0, baseline: 0.0, onset_s: 5, ..Traffic::default() };
        let (mut dice, paces) = (Rng::with_seed(3), Paces::of(&traffic.pace));
        let half = Served { epoch: 1, weight: 5_000, stable: true };
        assert!(traffic.draw(&mut dice, &paces, 4, half).canary_failed.is_empty());
        let bad = traffic.draw(&mut dice, &paces, 5, half);
        assert_eq!(bad.canary_failed.len() as u64, bad.canary);
        assert_eq!(traffic.failures(&mut dice, 0, 5, 10_000), 0);
        assert_eq!(traffic.failures(&mut dice, 0, 7, 10_000), 200);
        assert_eq!(traffic.failures(&mut dice, 6, 7, 10_000), 100);
    }
}
