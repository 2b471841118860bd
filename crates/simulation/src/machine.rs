//! Davy itself: the real machine and the real judge, with the guard at each failure. Everything else is as good as it can be:
//! what they decide is what they would decide of such traffic.

use crate::{
    guard::Guard,
    pilot::{Order, Pilot},
    rules::Seen,
    traffic::{Second, Served},
};
use davy_core::{
    Actor, Backend, Digest, EnvironmentName, Generation, Health, HealthCheck, Instance, InstanceId, Millis, Mode,
    Policy, Process, Release, ReleaseId, Role, RolloutId, Route, Run, ServiceKey, ServiceName, Serving, Snapshot,
    Target, Timestamp, Weight, Workload,
    rollout::{
        Command, Effect, Input, Look, Passes, Request, RequestKind, Sight, Split, State, Traffic, guard as ordered,
        step,
    },
};
use davy_judge::{Counts, Details, InvalidPolicy, Judge, Latencies, Pair, Verdict};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

const SECOND: Millis = Millis::seconds(1);
/// While a rollout waits for a person the machine has nothing to do but to count the pause, and looks this seldom.
const PAUSED_S: u64 = 60;

/// One rollout of a second release.
#[derive(Clone, Debug)]
pub struct Machine {
    key: ServiceKey,
    workload: Workload,
    policy: Policy,
    state: State,
    now: Timestamp,
    began: Timestamp,
    instances: Vec<Instance>,
    serving: Option<Serving>,
    /// Asked for and not yet served.
    wanted: Option<(Serving, Generation)>,
    judge: Judge,
    /// None where there is nothing to hold the canary to.
    guard: Option<Guard>,
    traffic: Traffic,
}

impl Machine {
    /// A first release serves with so many instances; the second is asked for. Clone it for each rollout. Metrics of the
    /// service's own are not simulated.
    ///
    /// # Errors
    ///
    /// What in the policy of the judge cannot be promised.
    pub fn new(replicas: u32, policy: Policy) -> Result<Self, InvalidPolicy> {
        let (Ok(service), Ok(environment)) = (ServiceName::new("service"), EnvironmentName::new("simulated")) else {
            unreachable!("both are names")
        };
        let key = ServiceKey { service, environment };
        let workload = Workload {
            run: Run::Process(Process { command: Vec::new(), files: Vec::new() }),
            env: BTreeMap::new(),
            secrets: Vec::new(),
            replicas,
            health: HealthCheck { path: None, grace: Millis::seconds(10), interval: SECOND },
            route: Route { host: None, path: "/".to_owned() },
        };
        let judged_by = davy_judge::Policy { metrics: 0, ..policy.judge() };
        let start = Timestamp(1_000_000);
        let mut machine = Self {
            key,
            workload,
            policy,
            state: State::default(),
            now: start,
            began: start,
            instances: Vec::new(),
            serving: None,
            wanted: None,
            judge: Judge::new(judged_by)?,
            guard: None,
            traffic: Traffic::default(),
        };
        machine.ask(1);
        // Two days are more than any first release takes.
        for s in 0..2 * 86_400 {
            if machine.state.rollout.is_none() {
                break;
            }
            machine.routed();
            let served = machine.served();
            let _ = machine.second(&Second {
                from_s: s,
                epoch: served.epoch,
                weight: served.weight,
                stable: 1_000,
                ..Second::default()
            });
        }
        machine.ask(2);
        machine.routed();
        machine.began = machine.now;
        let order = machine.state.rollout.as_ref().and_then(|rollout| ordered(&rollout.request));
        machine.guard = order.and_then(|order| Guard::new(order).ok());
        Ok(machine)
    }

    /// What the judge says now.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.judge.verdict()
    }

    fn ask(&mut self, number: u32) {
        let release = Release::new(&self.key, Digest::new(format!("sha256:{number}")), self.workload.clone());
        let (rollout, by) = (RolloutId::new(format!("r{number}")), Actor::new("simulation"));
        let policy = self.policy.clone();
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
                inputs.extend(Effect::of(event).and_then(|effect| self.carry_out(&effect)));
            }
        }
    }

    /// The answer, unless it takes time.
    fn carry_out(&mut self, effect: &Effect) -> Option<Input> {
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
            Effect::Route { split, .. } => {
                self.wanted = Some((self.snapshot(generation, split), generation));
                return None;
            }
            Effect::Revert { .. } => {
                if let Some(serving) = &mut self.serving {
                    serving.mode = Mode::Fallback { cause: davy_core::FallbackCause::Revert, at: self.now };
                }
            }
        }
        Some(Input::Done { generation })
    }

    fn snapshot(&self, generation: Generation, split: &Split) -> Serving {
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
        let snapshot = Snapshot {
            key: self.key.clone(),
            generation,
            rollout: self.state.rollout_id().cloned(),
            route: self.workload.route.clone(),
            serve,
            fallback: share.and(old),
            lease: None,
            health: self.workload.health.clone(),
            timeout: Millis::seconds(30),
            matches: Vec::new(),
            mirror: None,
            sticky: false,
            guard: None,
            slow_over: None,
        };
        Serving { snapshot, mode: Mode::Split, boot: "b".to_owned(), counted: None, in_flight: Vec::new(), cut: None }
    }
}

impl Pilot for Machine {
    fn served(&self) -> Served {
        let serving = self.serving.as_ref().filter(|serving| serving.mode == Mode::Split);
        let target =
            |role| serving.and_then(|serving| serving.snapshot.serve.iter().find(|target| target.role == role));
        Served {
            epoch: serving.map_or(0, |serving| serving.snapshot.generation.0),
            weight: target(Role::Canary).map_or(0, |target| target.weight.basis_points()),
            stable: target(Role::Stable).is_some() || serving.is_none() && self.serving.is_some(),
        }
    }

    fn routed(&mut self) {
        while let Some((serving, generation)) = self.wanted.take() {
            self.serving = Some(serving);
            self.decide(Input::Done { generation });
        }
    }

    fn admits(&mut self, second: &Second) {
        if let Some(guard) = &mut self.guard {
            guard.admits(second);
        }
    }

    fn failed(&mut self, failure: &Seen) -> bool {
        self.guard.as_mut().is_some_and(|guard| guard.failed(failure))
    }

    fn second(&mut self, second: &Second) -> Order {
        self.now = self.now.plus(SECOND);
        let rollout = self.state.rollout.as_ref();
        let on_trial = rollout.is_some_and(|rollout| rollout.is_forward() && !rollout.is_first());
        let past = rollout.is_some_and(|rollout| rollout.plan.iter().any(|step| step.passes == Passes::Measured));
        if on_trial && self.serving.is_some() && (past || second.weight > 0) {
            let window = second.window();
            let (canary, stable) = &second.latency;
            // An absolute limit of latency is taken to be kept by both.
            let slow = Pair { canary: Counts::answered(second.canary, 0), stable: Counts::answered(second.stable, 0) };
            let details =
                Details { latency: Some(Latencies { canary, stable }), slow: Some(slow), ..Details::default() };
            self.judge.observe_with(&window, &details);
        }
        if self.traffic.generation.0 != second.epoch {
            self.traffic = Traffic { generation: Generation(second.epoch), ..Traffic::default() };
        }
        self.traffic.last_minute = Some(60 * (second.canary + second.stable));
        self.traffic.canary += second.canary;
        self.traffic.stable += second.stable;
        if on_trial && self.judge.is_harmful() {
            return Order::Back;
        }
        let paused = rollout.is_some_and(|rollout| rollout.pause.is_some()) && self.wanted.is_none();
        if paused && !second.from_s.is_multiple_of(PAUSED_S) {
            return Order::Stay;
        }
        let verdict = on_trial.then(|| self.judge.verdict());
        self.decide(Input::Look(Box::new(Look {
            instances: Sight::Seen(Arc::new(self.instances.clone())),
            router: Sight::Seen(self.serving.clone().map(Arc::new)),
            verdict: verdict.map(Arc::new),
            batches: None,
            traffic: self.traffic,
        })));
        match &self.state.rollout {
            Some(rollout) if rollout.promoted => Order::Promote,
            Some(rollout) if rollout.ending.is_some() => Order::Back,
            None => Order::Back,
            Some(_) if self.wanted.is_some() => Order::Route,
            Some(_) => Order::Stay,
        }
    }
}
