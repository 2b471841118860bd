//! What may be seen at one look, whatever is really there.

use super::world::Node;
use davy_core::{
    Generation, Health, Instance, Millis, Serving,
    rollout::{Input, Look, Phase, Rollout, Sight, Traffic},
};
use davy_judge::{Counts, Judge, Kind, Standing, Verdict, Window, ramp::Risk};
use std::sync::{Arc, OnceLock};

/// What is observed at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) health: Healthy,
    pub(crate) router: bool,
    pub(crate) busy: bool,
    pub(crate) judged: Judged,
    pub(crate) flow: Flow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Healthy {
    All,
    Unseen,
    /// One instance is otherwise: the how manyth.
    But(usize, Ill),
    /// All instances of the release on trial are.
    Canary(Ill),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ill {
    Starting,
    Ended,
    Crashing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Nothing,
    Harmful,
    Safe,
    /// Proven, while something speaks against the canary.
    Amber,
    /// Proven, of an epoch that is over.
    Stale,
    /// Proven, and the budget leaves no room.
    Stay,
    Undecided,
    NoTraffic,
    Blind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Nothing,
    Canary,
    Both,
    /// Counts of an epoch that is over.
    Stale,
    /// All was counted for long, and nothing came.
    Idle,
}

/// All goes well.
pub(crate) const WELL: Seen =
    Seen { health: Healthy::All, router: true, busy: false, judged: Judged::Safe, flow: Flow::Canary };

fn judged() -> &'static Verdict {
    static VERDICT: OnceLock<Verdict> = OnceLock::new();
    VERDICT.get_or_init(|| {
        let mut judge = Judge::new(davy_judge::Policy::default()).expect("a policy");
        for second in 0..40 {
            judge.observe(&Window {
                epoch: second / 20,
                weight: if second < 20 { 5_000 } else { 10_000 },
                from_ms: second * 1000,
                to_ms: (second + 1) * 1000,
                canary: Counts::answered(500, 0),
                stable: Counts::answered(if second < 20 { 500 } else { 0 }, 0),
            });
        }
        let mut verdict = judge.verdict();
        assert_eq!(verdict.evidence.limit.as_ref().map(|limit| limit.standing), Some(Standing::Clean));
        verdict.because = String::new();
        verdict
    })
}

/// What can be seen of a node, made once and changed from look to look.
pub(crate) struct Scene {
    input: Input,
    /// What the present look does not show.
    instances: Arc<Vec<Instance>>,
    serving: Option<Arc<Serving>>,
    verdict: Option<Arc<Verdict>>,
}

impl Scene {
    /// What the machine is told of a look.
    pub(crate) fn show(&mut self, node: &Node, seen: Seen) -> &Input {
        if let Input::Look(look) = &mut self.input {
            if let Sight::Unseen { .. } = look.instances {
                look.instances = Sight::Seen(std::mem::take(&mut self.instances));
            }
            if let Sight::Unseen { .. } = look.router {
                look.router = Sight::Seen(self.serving.take());
            }
            look.verdict = look.verdict.take().or_else(|| self.verdict.take());
            node.see(look, seen);
            let unseen = || "no answer".to_owned();
            if seen.health == Healthy::Unseen
                && let Sight::Seen(instances) = &mut look.instances
            {
                self.instances = std::mem::take(instances);
                look.instances = Sight::Unseen { why: unseen() };
            }
            if !seen.router
                && let Sight::Seen(serving) = &mut look.router
            {
                self.serving = serving.take();
                look.router = Sight::Unseen { why: unseen() };
            }
            if seen.judged == Judged::Nothing {
                self.verdict = look.verdict.take();
            }
        }
        &self.input
    }
}

impl Node {
    /// What there is to be seen.
    pub(crate) fn scene(&self) -> Scene {
        let look = Look {
            instances: Sight::Seen(Arc::new(self.instances())),
            router: Sight::Seen(self.serving().map(Arc::new)),
            verdict: self.state.rollout.as_ref().map(|_| Arc::new(judged().clone())),
            batches: None,
            traffic: Traffic::default(),
        };
        Scene { input: Input::Look(Box::new(look)), instances: Arc::default(), serving: None, verdict: None }
    }

    /// Makes a look, in which all is to be seen, show what is seen.
    fn see(&self, look: &mut Look, seen: Seen) {
        let Look { instances: Sight::Seen(instances), router: Sight::Seen(serving), verdict, traffic, .. } = look
        else {
            return;
        };
        let trial = self.state.rollout.as_ref().filter(|rollout| !rollout.promoted);
        for (at, instance) in Arc::make_mut(instances).iter_mut().enumerate() {
            let ill = match seen.health {
                Healthy::But(one, ill) => (one == at).then_some(ill),
                Healthy::Canary(ill) => {
                    trial.is_some_and(|rollout| rollout.request.release.id == instance.release).then_some(ill)
                }
                Healthy::All | Healthy::Unseen => None,
            };
            instance.health = match ill {
                None => Health::Healthy,
                Some(Ill::Starting) => Health::Starting { why: String::new() },
                Some(Ill::Ended | Ill::Crashing) => Health::Ended { why: String::new() },
            };
            instance.restarts = if ill == Some(Ill::Crashing) { 3 } else { 0 };
        }
        if let Some(serving) = serving.as_mut().map(Arc::make_mut) {
            serving.in_flight.clear();
            if seen.busy {
                serving.in_flight.extend(instances.iter().map(|instance| davy_core::InFlight {
                    release: instance.release.clone(),
                    instance: instance.id.clone(),
                    requests: 1,
                }));
            }
        }
        let generation = self.state.routed;
        let before = Generation(generation.0.saturating_sub(1));
        let (of, canary, stable) = match seen.flow {
            Flow::Nothing | Flow::Idle => (generation, 0, 0),
            Flow::Canary => (generation, 10, 0),
            Flow::Both => (generation, 10, 10),
            Flow::Stale => (before, 10, 0),
        };
        let (last_minute, idle) = match seen.flow {
            Flow::Nothing => (None, Millis(0)),
            Flow::Idle => (Some(0), Millis::seconds(60)),
            _ => (Some(600), Millis(0)),
        };
        *traffic = Traffic { generation: of, canary, stable, mirrored: 0, matched: 0, last_minute, idle };
        let (Some(verdict), Some(rollout)) = (verdict.as_mut().map(Arc::make_mut), &self.state.rollout) else { return };
        verdict.kind = match seen.judged {
            Judged::Harmful => Kind::Harmful,
            Judged::Safe | Judged::Amber | Judged::Stale | Judged::Stay => Kind::Safe,
            Judged::Undecided => Kind::Undecided,
            Judged::NoTraffic => Kind::NoTraffic,
            Judged::Blind | Judged::Nothing => Kind::Blind,
        };
        let weight = rollout.intended.basis_points();
        verdict.epoch = if seen.judged == Judged::Stale { before.0 } else { generation.0 };
        verdict.weight = weight;
        verdict.evidence.amber = seen.judged == Judged::Amber;
        verdict.evidence.limit = judged().evidence.limit.filter(|_| seen.judged != Judged::Amber);
        verdict.evidence.ramp = (rollout.is_automatic() && weight > 0 && seen.judged != Judged::Undecided).then(|| {
            let risk =
                Risk { rate: 10.0, past: 0.001, worst: 0.001, left: 50.0, hold: 3.0, needed: 9.7, holdback: 1_000 };
            let mut ramp = risk.next(weight);
            let next = rollout.plan.get(rollout.step + 1).map_or(weight, |step| step.weight.basis_points());
            ramp.next = if seen.judged == Judged::Stay { weight } else { next };
            ramp
        });
    }

    /// Whether counts of the present epoch can exist: the router has served it.
    pub(crate) fn counted(&self) -> bool {
        self.router.as_ref().is_some_and(|held| held.snapshot.generation == self.state.routed)
    }

    pub(crate) fn looks(&self) -> Vec<Seen> {
        use Judged::{Amber, Blind, Harmful, NoTraffic, Nothing, Safe, Stale, Stay, Undecided};
        let well = Seen { flow: if self.counted() { Flow::Canary } else { Flow::Nothing }, ..WELL };
        let mut flows = match self.counted() {
            true => vec![Flow::Canary, Flow::Nothing, Flow::Both],
            false => vec![Flow::Nothing, Flow::Stale],
        };
        let asks = |rollout: &Rollout| match rollout.phase {
            Phase::Baking { .. } => true,
            Phase::Starting { .. } => rollout.is_automatic() && rollout.step_since == rollout.began,
            _ => false,
        };
        let asks = self.state.rollout.as_ref().is_some_and(asks);
        if asks {
            flows.push(Flow::Idle);
        }
        let verdicts: &[Judged] = match &self.state.rollout {
            Some(rollout) if rollout.is_forward() && !rollout.is_first() => {
                &[Safe, Undecided, Harmful, Amber, Stale, Stay, NoTraffic, Blind, Nothing]
            }
            _ => &[Safe],
        };
        let holds = self.state.rollout.as_ref().is_some_and(|r| matches!(r.phase, Phase::Holding { .. }));
        let mut looks = Vec::new();
        for (number, flow) in flows.into_iter().enumerate() {
            // Verdicts and counts are weighed against each other where a weight is held.
            let verdicts = if holds || number == 0 { verdicts } else { &[Undecided] };
            looks.extend(verdicts.iter().map(|&judged| Seen { flow, judged, ..well }));
        }
        looks.push(Seen { health: Healthy::Unseen, router: false, ..well });
        looks.push(Seen { health: Healthy::Unseen, ..well });
        for at in 0..self.instances.len() {
            let ills = [Ill::Starting, Ill::Ended, Ill::Crashing];
            // To see one dead is a fault of the edge, too.
            let ills = if self.faults > 0 { &ills[..] } else { &ills[..1] };
            looks.extend(ills.iter().map(|&ill| Seen { health: Healthy::But(at, ill), ..well }));
        }
        looks.push(Seen { router: false, ..well });
        if asks {
            looks.push(Seen { router: false, flow: Flow::Idle, ..well });
        }
        looks.push(Seen { busy: true, ..well });
        looks
    }
}
