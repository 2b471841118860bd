//! The judge alone under a schedule: windows and looks of any length, weights that go up and down whatever it says, traffic with a rhythm,
//! incidents that both versions share. Two versions that are alike must keep their promise under all of them.

use crate::{dice::binomial, pace::Paces, traffic::Traffic};
use davy_judge::{
    Budget, Counts, Details, InvalidPolicy, Judge, Kind, Latencies, Policy, WHOLE, Window, guard::FREEZE_ABOVE,
};
use fastrand::Rng;

/// A time at one weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// The canary's share, in basis points.
    pub weight: u16,
    /// How many windows it lasts.
    pub windows: u64,
    /// How many times as many requests fail, of both versions.
    pub incident: f64,
}

/// One rollout that is only judged.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// What comes.
    pub traffic: Traffic,
    /// What the judge is held to.
    pub policy: Policy,
    /// How long a window is, in milliseconds.
    pub window_ms: u64,
    /// The time from look to look, in milliseconds.
    pub look_ms: u64,
    /// One after the other.
    pub stages: Vec<Stage>,
}

/// Shares that stages go to, up and down.
const WEIGHTS: [u16; 9] = [1, 100, 500, 1_000, 2_500, 5_000, 7_500, 9_000, 9_900];
/// A stage lasts 14 to 84 seconds, in steps that windows of 0.1, 1 and 7 s fit into.
const STEP_MS: u64 = 7_000;
const STAGES: usize = 8;

impl Schedule {
    /// The `number`-th of many healthy rollouts: every combination of 10, 100 and 1,000 requests/s, windows of 0.1, 1 and 7 s, looks every
    /// 1, 10 and 60 s, with and without a rhythm of the traffic, a stable version that fails 0.01 %, 0.1 % or 2 %; weights drawn anew
    /// for each; where they stay up to 75 %, one of the stages is an incident that both share. Latency is compared, and there is a budget.
    #[must_use]
    pub fn healthy(number: u64) -> Self {
        let mut dice = Rng::with_seed(number);
        let mut rest = number;
        let mut one_of = |choices: [f64; 3]| {
            let choice = choices[(rest % 3) as usize];
            rest /= 3;
            choice
        };
        let (rate, window_s, look_s) =
            (one_of([10.0, 100.0, 1_000.0]), one_of([0.1, 1.0, 7.0]), one_of([1.0, 10.0, 60.0]));
        let (rhythm, fails) = (one_of([0.0, 0.5, 0.9]), one_of([0.0001, 0.001, 0.02]));
        let window_ms = (1_000.0 * window_s) as u64;
        let mut stages: Vec<Stage> = (0..STAGES)
            .map(|_| Stage {
                weight: WEIGHTS[dice.usize(..WEIGHTS.len())],
                windows: dice.u64(2..=12) * STEP_MS / window_ms,
                incident: 1.0,
            })
            .collect();
        // Above 75 % the canary is held to stable's past besides, and an incident that both share breaks such a limit.
        let compared = stages.iter().take_while(|stage| stage.weight <= FREEZE_ABOVE).count();
        if let Some(stage) = stages.get_mut(dice.usize(..STAGES)).filter(|_| compared == STAGES) {
            stage.incident = 20.0;
        }
        let policy = Policy { not_slower_than: Some(1.1), budget: Some(Budget::Excess(50.0)), ..Policy::default() };
        Self {
            stages,
            traffic: Traffic { rate, rhythm, day_s: 300.0, baseline: fails, canary: fails, ..Traffic::default() },
            policy,
            window_ms,
            look_ms: (1_000.0 * look_s) as u64,
        }
    }

    /// Whether a look finds the canary harmful.
    ///
    /// # Errors
    ///
    /// What in the policy cannot be promised.
    pub fn is_rolled_back(&self, seed: u64) -> Result<bool, InvalidPolicy> {
        let mut dice = Rng::with_seed(seed);
        let paces = Paces::of(&self.traffic.pace);
        let mut judge = Judge::new(self.policy)?;
        let (mut from_ms, mut look_ms) = (0, self.look_ms);
        for (epoch, stage) in (1..).zip(&self.stages) {
            for _ in 0..stage.windows {
                let to_ms = from_ms + self.window_ms;
                let n = self.traffic.requests_between(from_ms, to_ms);
                let n_c = binomial(&mut dice, n, f64::from(stage.weight) / f64::from(WHOLE));
                let mut of =
                    |n: u64, rate: f64| Counts::answered(n, binomial(&mut dice, n, (rate * stage.incident).min(1.0)));
                let (canary, stable) = (of(n_c, self.traffic.canary), of(n - n_c, self.traffic.baseline));
                let times = paces.draw(&mut dice, canary.n, stable.n);
                let latency = Some(Latencies { canary: &times.0, stable: &times.1 });
                judge.observe_with(
                    &Window { epoch, weight: stage.weight, from_ms, to_ms, canary, stable },
                    &Details { latency, ..Details::default() },
                );
                from_ms = to_ms;
                if from_ms >= look_ms {
                    look_ms = from_ms + self.look_ms;
                    if judge.verdict().kind == Kind::Harmful {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(judge.is_harmful())
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn every_combination_comes_and_a_bad_canary_is_found_in_most() {
        let found = (0..243).filter(|number| {
            let mut schedule = Schedule::healthy(*number);
            schedule.traffic.canary = 0.3;
            schedule.is_rolled_back(*number).expect("a valid policy")
        });
        let found = found.count();
        assert!(found >= 235, "{found} of 243");
        let rates: Vec<f64> = (0..3).map(|number| Schedule::healthy(number).traffic.rate).collect();
        assert_eq!(rates, [10.0, 100.0, 1_000.0]);
    }
}
