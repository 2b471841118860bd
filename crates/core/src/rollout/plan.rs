//! The steps that a rollout goes through: what its strategy means for its replicas.

use super::RequestKind;
use crate::{Match, Millis, Mirror, Policy, Rolling, Strategy, Weight};

/// One step: who is to run, what share is asked for, and what lets it pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The new release's share of requests.
    pub weight: Weight,
    /// How many of its instances are healthy before the share comes.
    pub canary: u32,
    /// How many of the old release's instances are left before those start.
    pub stable: u32,
    /// The least time at this weight.
    pub hold: Millis,
    /// What is to be shown besides.
    pub passes: Passes,
    /// Requests that go to the new release whatever the weight.
    pub matches: Vec<Match>,
    /// Copies for the new release.
    pub mirror: Option<Mirror>,
}

/// What lets a step pass once its hold is over. The last step of every plan ends in promotion: it passes by being observed to
/// carry all traffic, within the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passes {
    /// The step's margin is proven.
    Proven,
    /// Requests were seen on the new release, and nothing speaks against it.
    Observed,
    /// There is a past of the old release to judge the new one against.
    Measured,
    /// Copies were seen on the new release, if there are to be any.
    Tried,
}

/// No release has more instances (the file allows a hundred): whatever an event says, its plan has an end.
const MOST: u32 = 10_000;

/// The steps of a rollout to `replicas` instances, where so many of `from` serve; never empty.
#[must_use]
pub fn plan(policy: &Policy, kind: RequestKind, replicas: u32, from: Option<u32>) -> Vec<Step> {
    let (replicas, old) = (replicas.min(MOST), from.unwrap_or(0).min(MOST));
    let step = |weight, canary, stable, passes| Step {
        weight,
        canary,
        stable,
        hold: policy.hold,
        passes,
        matches: Vec::new(),
        mirror: None,
    };
    let last = |stable| step(Weight::ALL, replicas, stable, Passes::Observed);
    if from.is_none() || kind != RequestKind::Deploy {
        let stays = if policy.strategy == Strategy::Recreate { 0 } else { old };
        return vec![last(stays)];
    }
    let steps: Vec<Step> = match &policy.strategy {
        Strategy::Canary(canary) => canary
            .steps
            .iter()
            .map(|asked| {
                let passes = if asked.weight == Weight::NONE { Passes::Tried } else { Passes::Proven };
                let (matches, mirror) = (asked.matches.clone(), asked.mirror);
                Step { matches, mirror, ..step(asked.weight, asked.scale.of(replicas), old, passes) }
            })
            .collect(),
        Strategy::BlueGreen(blue_green) => {
            let matches = blue_green.host.iter().cloned().map(Match::Host).collect();
            let preview = step(Weight::NONE, replicas, old, Passes::Measured);
            vec![Step { hold: blue_green.preview, matches, ..preview }, last(old)]
        }
        Strategy::Rolling(rolling) => waves(rolling, policy, replicas, old),
        Strategy::Recreate => vec![step(Weight::NONE, 0, old, Passes::Measured), last(0)],
    };
    if steps.is_empty() { vec![last(old)] } else { steps }
}

/// Whether a plan's old instances end before any new one serves, so that requests fail in between.
#[must_use]
pub fn interrupts(plan: &[Step]) -> bool {
    plan.iter().position(|step| step.stable == 0).is_some_and(|at| at == 0 || plan[at - 1].canary == 0)
}

/// The waves of a rolling update: as many new instances as `max` has room for, once as many old ones have left as
/// `min_healthy` allows; traffic by the number of instances; then all of it.
fn waves(rolling: &Rolling, policy: &Policy, replicas: u32, old: u32) -> Vec<Step> {
    let part = |percent: u32, of: u32| u64::from(percent) * u64::from(of);
    let least = u32::try_from(part(rolling.min_healthy, old).div_ceil(100)).unwrap_or(old).min(old);
    // Room for one more than must be there, or nothing would ever move.
    let most = u32::try_from(part(rolling.max, replicas) / 100).unwrap_or(u32::MAX).max(least + 1);
    let (mut canary, mut stable) = (0, old);
    let mut steps = Vec::new();
    while canary < replicas {
        stable = stable.min(least.saturating_sub(canary).max(most.saturating_sub(replicas)));
        canary = replicas.min(most - stable);
        let weight = Weight::share(u64::from(canary), u64::from(canary) + u64::from(stable));
        let (hold, passes) = (policy.hold, Passes::Observed);
        steps.push(Step { weight, canary, stable, hold, passes, matches: Vec::new(), mirror: None });
    }
    let whole = steps.last().filter(|step| step.weight < Weight::ALL).cloned();
    steps.extend(whole.map(|step| Step { weight: Weight::ALL, ..step }));
    steps
}

#[cfg(test)]
mod tests {
    use super::waves;
    use crate::{Policy, Rolling, Weight};

    fn told(min_healthy: u32, max: u32, replicas: u32, old: u32) -> String {
        let steps = waves(&Rolling { min_healthy, max }, &Policy::default(), replicas, old);
        let told = steps.iter().map(|step| format!("{}+{} at {}", step.stable, step.canary, step.weight));
        told.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn waves_as_they_are_told_to_people() {
        assert_eq!(told(100, 200, 4, 4), "4+4 at 50 %, 4+4 at 100 %");
        assert_eq!(told(100, 200, 1, 1), "1+1 at 50 %, 1+1 at 100 %");
        assert_eq!(told(100, 150, 4, 4), "4+2 at 33.33 %, 2+4 at 66.67 %, 2+4 at 100 %");
        assert_eq!(told(100, 100, 2, 2), "2+1 at 33.33 %, 1+2 at 66.67 %, 1+2 at 100 %");
        assert_eq!(told(50, 100, 2, 2), "1+1 at 50 %, 0+2 at 100 %");
        assert_eq!(told(0, 100, 2, 2), "0+2 at 100 %");
    }

    #[test]
    fn waves_end_and_keep_within_their_limits() {
        for (min_healthy, max) in [(0, 100), (50, 100), (100, 100), (100, 125), (75, 150), (100, 200), (100, 500)] {
            for replicas in 1..9 {
                for old in 1..9 {
                    let steps = waves(&Rolling { min_healthy, max }, &Policy::default(), replicas, old);
                    let least = (min_healthy * old).div_ceil(100);
                    let most = (max * replicas / 100).max(least + 1);
                    let mut before = (0, old);
                    for step in &steps {
                        assert!(step.stable <= before.1 && step.canary >= before.0);
                        assert!(before.0 + step.stable >= least.min(old), "enough are there while new ones start");
                        assert!(step.canary + step.stable <= most, "never more than there is room for");
                        before = (step.canary, step.stable);
                    }
                    let last = steps.last().expect("a step");
                    assert_eq!((last.weight, last.canary), (Weight::ALL, replicas));
                    assert!(steps.windows(2).all(|pair| pair[0].weight < pair[1].weight), "{steps:?}");
                }
            }
        }
    }
}
