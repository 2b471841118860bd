//! Rollouts in a world of dice: the real machine and the real judge, everything else as good as it can be. What they decide is
//! what they would decide of such traffic; what they cost is what it would cost.

use davy_core::{
    Actor, Backend, Digest, Generation, Health, Instance, InstanceId, Mode, Policy, Release, ReleaseId, Role,
    RolloutId, ServiceKey, Serving, Snapshot, Target, Timestamp, Weight, Workload,
    rollout::{Command, Effect, Input, Look, Passes, Request, RequestKind, Sight, Split, State, Traffic, step},
};
use davy_judge::{Counts, Judge, Kind, Window};
use std::collections::VecDeque;

/// The time between two looks, which is also that of a window.
const LOOK_MS: u64 = 1_000;

/// What is deployed, and what happens to requests.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub key: ServiceKey,
    pub workload: Workload,
    pub policy: Policy,
    /// Requests a second.
    pub rate: u64,
    /// Shares of requests that fail.
    pub stable: f64,
    pub canary: f64,
}

/// How a rollout went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Promoted,
    RolledBack,
    /// It waits for a person.
    Held,
}

/// One rollout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub end: End,
    pub seconds: u64,
    /// Failed requests of the new version.
    pub failed: u64,
    /// Its requests.
    pub requests: u64,
}

struct Run<'a> {
    world: &'a World,
    state: State,
    now: Timestamp,
    instances: Vec<Instance>,
    serving: Option<Serving>,
    judge: Judge,
    began: Timestamp,
    traffic: Traffic,
}

/// Draws one rollout of a second release.
pub(crate) fn run(world: &World, seed: u64) -> Outcome {
    let analysis = &world.policy.analysis;
    let policy = davy_judge::Policy {
        alpha: analysis.alpha,
        beta: analysis.beta,
        max_error_rate: analysis.max_error_rate,
        relative: analysis.not_worse_than_stable,
        ..davy_judge::Policy::default()
    };
    let judge = Judge::new(policy).unwrap_or_else(|_| unreachable!("the file was read"));
    let start = Timestamp(1_000_000);
    let mut run = Run {
        world,
        state: State::default(),
        now: start,
        instances: Vec::new(),
        serving: None,
        judge,
        began: start,
        traffic: Traffic::default(),
    };
    let mut dice = fastrand::Rng::with_seed(seed);
    run.ask(1);
    while run.state.rollout.is_some() {
        run.second(&mut dice);
    }
    run.ask(2);
    run.began = run.now;
    let (mut failed, mut requests) = (0, 0);
    loop {
        let counted = run.second(&mut dice);
        failed += counted.x;
        requests += counted.n;
        let end = match &run.state.rollout {
            Some(rollout) if rollout.promoted => Some(End::Promoted),
            Some(rollout) if rollout.ending.is_some() => Some(End::RolledBack),
            Some(rollout) if rollout.pause.is_some() => Some(End::Held),
            Some(_) => None,
            None => Some(End::RolledBack),
        };
        if let Some(end) = end {
            let seconds = run.now.since(run.began).0 / 1_000;
            return Outcome { end, seconds, failed, requests };
        }
    }
}

impl Run<'_> {
    fn ask(&mut self, number: u32) {
        let release =
            Release::new(&self.world.key, Digest::new(format!("sha256:{number}")), self.world.workload.clone());
        let (rollout, by) = (RolloutId::new(format!("r{number}")), Actor::new("simulation"));
        let policy = self.world.policy.clone();
        self.decide(Input::Command(Command::Request(Request {
            rollout,
            release,
            policy,
            by,
            kind: RequestKind::Deploy,
        })));
    }

    fn decide(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            // Nobody else asks for anything, so nothing is refused.
            let events = step(&self.state, self.now, &input).unwrap_or_default();
            for event in &events {
                self.state.apply(self.now, event);
                inputs.extend(Effect::of(event).map(|effect| self.carry_out(&effect)));
            }
        }
    }

    fn carry_out(&mut self, effect: &Effect) -> Input {
        let generation = effect.generation();
        match effect {
            Effect::Run { release, count, spare, .. } => {
                self.instances.retain(|one| !spare.contains(&one.id));
                let there = self.instances.iter().filter(|one| one.release == *release).count();
                for _ in there..*count as usize {
                    let number = u16::try_from(self.instances.len()).unwrap_or_default();
                    let (id, address) =
                        (InstanceId::new(format!("{generation}-{number}")), ([127, 0, 0, 1], number).into());
                    let (release, since) = (release.clone(), self.now);
                    self.instances.push(Instance { id, release, address, health: Health::Healthy, restarts: 0, since });
                }
            }
            Effect::Remove { release, .. } => self.instances.retain(|one| one.release != *release),
            Effect::Route { split, .. } => self.route(generation, split),
            Effect::Revert { .. } => {
                if let Some(serving) = &mut self.serving {
                    serving.mode = Mode::Fallback { cause: davy_core::FallbackCause::Revert, at: self.now };
                }
            }
        }
        Input::Done { generation }
    }

    fn route(&mut self, generation: Generation, split: &Split) {
        let rollout = self.state.rollout.as_ref();
        let new = rollout.map(|rollout| rollout.request.release.id.clone());
        let old = rollout.and_then(|rollout| rollout.from.as_ref()).map(|release| release.id.clone());
        let target = |release: &ReleaseId, role, weight| Target {
            release: release.clone(),
            role,
            weight,
            instances: self
                .instances
                .iter()
                .filter(|one| one.release == *release)
                .map(|one| Backend { id: one.id.clone(), address: one.address })
                .collect(),
        };
        let share = match split {
            Split::Trial { canary, .. } => Some(*canary),
            Split::Bake => Some(Weight::ALL),
            _ => None,
        };
        let serve = match (share, split, &new, &old) {
            (Some(share), _, Some(new), Some(old)) => {
                vec![target(new, Role::Canary, share), target(old, Role::Stable, share.rest())]
            }
            (_, Split::Only { release }, ..) => vec![target(release, Role::Stable, Weight::ALL)],
            _ => Vec::new(),
        };
        let workload = &self.world.workload;
        let snapshot = Snapshot {
            key: self.world.key.clone(),
            generation,
            rollout: self.state.rollout_id().cloned(),
            route: workload.route.clone(),
            serve,
            fallback: share.and(old),
            lease: None,
            health: workload.health.clone(),
            timeout: davy_core::Millis::seconds(30),
            matches: Vec::new(),
            mirror: None,
            sticky: false,
        };
        self.serving = Some(Serving { snapshot, mode: Mode::Split, boot: "b".to_owned(), in_flight: Vec::new() });
    }

    /// A second of traffic, judged and looked at. The new version's requests.
    fn second(&mut self, dice: &mut fastrand::Rng) -> Counts {
        let from = self.now;
        self.now = self.now.plus(davy_core::Millis(LOOK_MS));
        let serving = self.serving.as_ref().filter(|serving| serving.mode == Mode::Split);
        let of = |role| serving.and_then(|serving| serving.snapshot.serve.iter().find(|target| target.role == role));
        let weight = of(Role::Canary).map_or(Weight::NONE, |target| target.weight);
        let share = f64::from(weight.basis_points()) / 10_000.0;
        let n = if self.serving.is_some() { self.world.rate } else { 0 };
        let to_canary = binomial(dice, n, share);
        let served = of(Role::Stable).is_some() || serving.is_none() && self.serving.is_some();
        let to_stable = if served { n - to_canary } else { 0 };
        let canary = Counts::answered(to_canary, binomial(dice, to_canary, self.world.canary));
        let stable = Counts::answered(to_stable, binomial(dice, to_stable, self.world.stable));
        let on_trial = self.state.rollout.as_ref().is_some_and(|rollout| rollout.is_forward() && !rollout.is_first());
        let past = self
            .state
            .rollout
            .as_ref()
            .is_some_and(|rollout| rollout.plan.iter().any(|step| step.passes == Passes::Measured));
        let generation = self.state.routed;
        if on_trial && serving.is_some() && (past || weight > Weight::NONE) {
            let (from_ms, to_ms) = (from.since(self.began).0, self.now.since(self.began).0);
            let weight = weight.basis_points();
            self.judge.observe(&Window { epoch: generation.0, weight, from_ms, to_ms, canary, stable });
        }
        if self.traffic.generation != generation {
            self.traffic = Traffic { generation, ..Traffic::default() };
        }
        self.traffic.canary += canary.n;
        self.traffic.stable += stable.n;
        let verdict = on_trial.then(|| self.judge.verdict());
        let harmful = verdict.as_ref().is_some_and(|verdict| verdict.kind == Kind::Harmful);
        if harmful && let Some(serving) = &mut self.serving {
            serving.mode = Mode::Fallback { cause: davy_core::FallbackCause::Revert, at: self.now };
        }
        let look = Look {
            instances: Sight::Seen(self.instances.clone()),
            router: Sight::Seen(self.serving.clone()),
            verdict,
            batches: None,
            traffic: self.traffic,
        };
        self.decide(Input::Look(look));
        canary
    }
}

/// How many of `n` succeed with chance `p`: by jumping from success to success.
fn binomial(dice: &mut fastrand::Rng, n: u64, p: f64) -> u64 {
    if p <= 0.0 || n == 0 {
        return 0;
    }
    if p > 0.5 {
        return n - binomial(dice, n, 1.0 - p);
    }
    let (mut at, mut successes) = (0.0, 0);
    #[expect(clippy::cast_precision_loss, reason = "requests of a second")]
    let n = n as f64;
    loop {
        at += ((1.0 - dice.f64()).ln() / (-p).ln_1p()).floor() + 1.0;
        if at > n {
            return successes;
        }
        successes += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::binomial;

    #[test]
    fn draws_have_the_mean_that_they_should() {
        let mut dice = fastrand::Rng::with_seed(7);
        for p in [0.001, 0.1, 0.5, 0.9, 1.0] {
            let drawn: u64 = (0..2_000).map(|_| binomial(&mut dice, 100, p)).sum();
            let (mean, spread) = (200_000.0 * p, (200_000.0 * p * (1.0 - p)).sqrt());
            assert!((drawn as f64 - mean).abs() <= 4.0 * spread + 1e-9, "{drawn} at {p}");
        }
    }
}
