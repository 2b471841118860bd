//! Steps that the judge chooses among: where a canary begins, and how far it goes at once.

use super::{Event, Look, Phase, Rollout, step::Decision};
use crate::{Millis, Weight};
use davy_judge::{Ramp, ramp::Risk};

/// The longest wait for what the router has counted so far, before the first step is chosen without.
const PATIENCE: Millis = Millis::seconds(3);
/// Where a canary begins if nobody knows the traffic.
const UNKNOWN: u16 = 100;

impl Rollout {
    /// Whether the judge chooses among the steps.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        self.plan.len() > 1 && self.request.policy.strategy.is_automatic()
    }

    /// The last step of a share up to `weight`.
    fn step_of(&self, weight: Weight) -> usize {
        self.plan.iter().rposition(|step| step.weight <= weight).unwrap_or_default()
    }

    /// The step after the present one, which is passed, and where the judge chose it, why. None while the budget leaves no
    /// room for a larger share.
    pub(super) fn following(&self, look: &Look) -> Option<(usize, Option<String>)> {
        if !self.is_automatic() {
            return Some((self.step + 1, None));
        }
        if self.step + 2 >= self.plan.len() {
            let why = "The canary has shown what it can beside stable: all requests are next.".to_owned();
            return Some((self.step + 1, Some(why)));
        }
        let ramp = look.verdict.as_ref()?.evidence.ramp?;
        let step = self.step_of(Weight::new(ramp.next).ok()?);
        (step > self.step).then(|| (step, Some(ramp.because())))
    }
}

impl Decision<'_> {
    /// Chooses the step to begin with, once the traffic is known; whether nothing is left to choose.
    pub(super) fn begun(&mut self, rollout: &Rollout, look: &Look) -> bool {
        let first = rollout.step == 0 && rollout.step_since == rollout.began && rollout.is_automatic();
        if !first || !matches!(rollout.phase, Phase::Starting { .. }) {
            return true;
        }
        let (weight, why) = match look.traffic.last_minute {
            None if !self.passed(rollout.began, PATIENCE) => return false,
            None => (Weight::new(UNKNOWN), "Nobody knows how much traffic there is.".to_owned()),
            Some(requests) => {
                #[expect(clippy::cast_precision_loss, reason = "requests of a minute")]
                let rate = requests as f64 / 60.0;
                let ramp: Ramp = Risk::before(&rollout.request.policy.judge(), rate).first();
                (Weight::new(ramp.next), ramp.because())
            }
        };
        self.push(Event::StepChosen { step: rollout.step_of(weight.unwrap_or(Weight::NONE)), why });
        true
    }
}
