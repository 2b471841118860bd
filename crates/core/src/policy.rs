//! How a rollout goes: what `rollout:` in the file says, with its defaults.

use crate::{Analysis, Canary, CanaryStep, Channel, Millis, Strategy, Weight};
use serde::{Deserialize, Serialize};

/// A strategy, and what is waited for in each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(try_from = "crate::earlier::AnyPolicy")]
pub struct Policy {
    /// How the new release takes over.
    pub strategy: Strategy,
    /// The least time at each weight.
    pub hold: Millis,
    /// The most time at each weight.
    pub deadline: Millis,
    /// What happens at the deadline.
    pub on_deadline: OnDeadline,
    /// The longest pause; then the rollout is rolled back.
    pub pause_limit: Millis,
    /// The longest wait for the requests in flight on a release that is about to be removed.
    pub drain: Millis,
    /// How long the old release is kept after promotion.
    pub bake: Millis,
    /// What the judge may spend and must heed.
    pub analysis: Analysis,
    /// Who is told of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Channel>,
}

/// What happens when a step's deadline passes without proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OnDeadline {
    /// Wait for a person.
    #[default]
    Pause,
    /// Put traffic back.
    Rollback,
}

impl Default for Policy {
    /// A canary of 1, 5, 25, 50, 100 %; hold 60 s, deadline 30 min, pause, 24 h; drain 30 s, bake 15 min.
    fn default() -> Self {
        let weights = [100, 500, 2_500, 5_000, 10_000].into_iter().filter_map(|bp| Weight::new(bp).ok());
        let steps = weights.map(CanaryStep::at).collect();
        Self {
            strategy: Strategy::Canary(Canary { steps, sticky: false, auto: false }),
            hold: Millis::seconds(60),
            deadline: Millis::seconds(30 * 60),
            on_deadline: OnDeadline::Pause,
            pause_limit: Millis::seconds(24 * 3600),
            drain: Millis::seconds(30),
            bake: Millis::seconds(15 * 60),
            analysis: Analysis::default(),
            notify: Vec::new(),
        }
    }
}

impl Policy {
    /// What the judge holds the rollout to.
    #[must_use]
    pub fn judge(&self) -> davy_judge::Policy {
        let (sticky, auto) = match &self.strategy {
            Strategy::Canary(canary) => (canary.sticky, canary.auto),
            _ => (false, false),
        };
        let ramp = auto.then(|| self.hold.duration().as_secs_f64());
        let judge = davy_judge::Policy { sticky, ramp, ..self.analysis.judge() };
        match &self.strategy {
            Strategy::Canary(canary) if auto => {
                davy_judge::Policy { holdback: canary.holdback().basis_points(), ..judge }
            }
            _ => judge,
        }
    }
}
