//! One rollout: traffic, a pilot, and the time that its wishes take.

use crate::{
    guard::CUTS_MS,
    pace::Paces,
    pilot::{Order, Pilot},
    rules::Seen,
    traffic::{Second, Traffic, place},
};
use davy_judge::WHOLE;
use fastrand::Rng;

/// From an order to the traffic that follows it.
pub const ACTUATION_S: u64 = 1;

/// A bad version that was promoted goes on to fail: harm is counted until this long after the beginning.
pub const WATCHED_S: u64 = 3_600;

/// A rollout that is not over by then is one that waits: as long as a pause may last where nothing else is said.
pub const LONGEST_S: u64 = 86_400;

/// How a rollout went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The canary took over.
    Promoted,
    /// Traffic is back on stable.
    RolledBack,
    /// It waits for a person, a day after the beginning.
    Undecided,
}

/// One rollout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Until traffic was back, or the canary had taken over; a day if neither.
    pub seconds: f64,
    /// Failed requests of the canary until traffic is back; where it was promoted, until an hour after the beginning, and where
    /// nobody decided, for the whole day.
    pub harm: u64,
}

/// Draws one rollout.
pub fn run(traffic: &Traffic, pilot: &mut impl Pilot, seed: u64) -> Outcome {
    let mut dice = Rng::with_seed(seed);
    let dice = &mut dice;
    let paces = Paces::of(&traffic.pace);
    let (mut now, mut harm) = (0, 0);
    let mut due = None;
    let waits_s = CUTS_MS.map(|age_ms| traffic.pace.beyond_ms(age_ms) / 1_000.0);
    let mut quiet = Quiet { canary: 0, stable: 0, waits_s };
    loop {
        let served = pilot.served();
        let second = traffic.draw(dice, &paces, now, served);
        pilot.admits(&second);
        if let Some(cut_ms) = quiet.show(&second, traffic, pilot) {
            harm += until(&second, cut_ms);
            // What was admitted in the next second while the failure was on its way.
            let beyond_s = (cut_ms / 1_000.0 - (now + 1) as f64).max(0.0);
            let n = traffic.rate_at(now) * beyond_s * f64::from(served.weight) / f64::from(WHOLE);
            harm += crate::dice::binomial(dice, n.round() as u64, traffic.canary_at(now + 1));
            return Outcome { end: End::RolledBack, seconds: cut_ms / 1_000.0, harm };
        }
        harm += second.canary_failed.len() as u64;
        now += 1;
        if due.is_some_and(|due| now >= due) {
            due = None;
            pilot.routed();
        }
        let end = match pilot.second(&second) {
            Order::Stay => None,
            Order::Route => {
                due.get_or_insert(now + ACTUATION_S);
                None
            }
            Order::Back => {
                harm += traffic.failures(dice, now, now + ACTUATION_S, served.weight);
                now += ACTUATION_S;
                Some(End::RolledBack)
            }
            Order::Promote => {
                harm += traffic.failures(dice, now, WATCHED_S.max(now), WHOLE);
                Some(End::Promoted)
            }
        };
        if let Some(end) = end.or((now >= LONGEST_S).then_some(End::Undecided)) {
            return Outcome { end, seconds: now as f64, harm };
        }
    }
}

/// Failures of the canary admitted in this second before a moment.
fn until(second: &Second, cut_ms: f64) -> u64 {
    let admitted = |at: &&u64| second.from_s as f64 * 1_000.0 + place(**at, second.canary) < cut_ms;
    second.canary_failed.iter().filter(admitted).count() as u64
}

/// Requests that succeeded since the last failure, of the canary and of stable.
struct Quiet {
    canary: u64,
    stable: u64,
    /// How much of one request a second waits for longer than the age of each cut.
    waits_s: [f64; CUTS_MS.len()],
}

impl Quiet {
    /// Shows a pilot the failures of a second, one by one; when it cuts the canary off.
    fn show(&mut self, second: &Second, traffic: &Traffic, pilot: &mut impl Pilot) -> Option<f64> {
        let begin_ms = second.from_s as f64 * 1_000.0 + traffic.answer_ms;
        let waiting = self.waits_s.map(|seconds| second.stable as f64 * seconds);
        let (mut c, mut b) = (second.canary_failed.iter().peekable(), second.stable_failed.iter().peekable());
        let (mut last_c, mut last_b) = (None, None);
        loop {
            let next_c = c.peek().map(|at| place(**at, second.canary));
            let next_b = b.peek().map(|at| place(**at, second.stable));
            let canary = match (next_c, next_b) {
                (None, None) => break,
                (Some(x), Some(y)) => x <= y,
                (x, _) => x.is_some(),
            };
            let (of, last, quiet, n) = match canary {
                true => (&mut c, &mut last_c, &mut self.canary, second.canary),
                false => (&mut b, &mut last_b, &mut self.stable, second.stable),
            };
            let Some(at) = of.next() else { break };
            let successes = match last.replace(*at) {
                None => *quiet + at,
                Some(before) => at - before - 1,
            };
            let at_ms = begin_ms + place(*at, n);
            if pilot.failed(&Seen {
                at_ms,
                admitted_ms: at_ms - traffic.answer_ms,
                weight: second.weight,
                canary,
                successes,
                waiting,
            }) {
                return Some(at_ms);
            }
        }
        let rest = |quiet: u64, last: Option<u64>, n: u64| last.map_or(quiet + n, |last| n - last - 1);
        self.canary = rest(self.canary, last_c, second.canary);
        self.stable = rest(self.stable, last_b, second.stable);
        None
    }
}
