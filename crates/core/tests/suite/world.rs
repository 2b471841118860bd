//! A world for the machine: instances, a router with generations, leases and a fallback, a judge, traffic.

use davy_core::{
    Actor, Analysis, Backend, BlueGreen, Canary, CanaryStep, Cut, Digest, EnvironmentName, FallbackCause, Generation,
    Health, HealthCheck, Instance, InstanceId, Millis, Mode, OnDeadline, Policy, Process, Release, Role, Rolling,
    RolloutId, Route, Run, Scale, ServiceKey, ServiceName, Serving, Snapshot, Strategy, Target, Timestamp, Weight,
    Workload,
    rollout::{
        self, Command, Effect, Event, Input, Look, Refusal, Request, RequestKind, Sight, Split, State, Traffic, step,
    },
};
use davy_judge::{
    Counts, Judge, Kind, Verdict, Window,
    guard::{Finding, Guard, Row, Side},
    ramp::Risk,
};
use std::{collections::BTreeMap, sync::Arc};

pub(crate) fn key() -> ServiceKey {
    ServiceKey {
        service: ServiceName::new("logo").expect("a name"),
        environment: EnvironmentName::new("production").expect("a name"),
    }
}

pub(crate) fn release(number: u32) -> Release {
    let workload = Workload {
        run: Run::Process(Process { command: vec![format!("./v{number}")], files: Vec::new() }),
        env: BTreeMap::new(),
        secrets: Vec::new(),
        replicas: 1 + number % 3,
        health: HealthCheck { path: None, grace: Millis::seconds(10), interval: Millis::seconds(1) },
        route: Route { host: None, path: "/".to_owned() },
    };
    Release::new(&key(), Digest::new(format!("sha256:{number}")), workload)
}

/// One of each strategy: a plain canary first.
pub(crate) fn strategy(number: usize) -> Strategy {
    let at = |bp| CanaryStep::at(Weight::new(bp).expect("a weight"));
    let canary = |steps| Strategy::Canary(Canary { steps, sticky: false, auto: false });
    match number % 9 {
        0 => canary(vec![at(1_000), at(5_000), at(10_000)]),
        1 => Strategy::BlueGreen(BlueGreen { preview: Millis::seconds(2), host: None }),
        2 => Strategy::Rolling(Rolling::default()),
        3 => Strategy::Rolling(Rolling { min_healthy: 100, max: 150 }),
        4 => Strategy::Rolling(Rolling { min_healthy: 50, max: 100 }),
        5 => Strategy::Recreate,
        6 => {
            let scaled = CanaryStep { scale: Scale::Instances(1), ..at(1_000) };
            canary(vec![CanaryStep { weight: Weight::NONE, ..scaled.clone() }, scaled, at(5_000), at(10_000)])
        }
        7 => Strategy::Rolling(Rolling { min_healthy: 0, max: 100 }),
        _ => Strategy::Canary(Canary::auto(Weight::new(1_000).expect("a weight"))),
    }
}

pub(crate) fn policy() -> Policy {
    Policy {
        strategy: strategy(0),
        hold: Millis::seconds(3),
        deadline: Millis::seconds(20),
        on_deadline: OnDeadline::Pause,
        pause_limit: Millis::seconds(60),
        drain: Millis::seconds(4),
        bake: Millis::seconds(8),
        analysis: Analysis::default(),
        notify: Vec::new(),
    }
}

/// What a guard finds in a canary that fails everything.
pub(crate) fn finding() -> Finding {
    let (rollout, kind) = (RolloutId::new("r"), RequestKind::Deploy);
    let request = Request { rollout, release: release(1), policy: policy(), by: by(), kind };
    let guard = Guard::begin(rollout::guard(&request).expect("an order"), 1).expect("a guard");
    let (canary, stable) = (Side { routed: 9, failed: 9 }, Side { routed: 90, failed: 0 });
    guard.find(&[Row { epoch: 2, weight: 1_000, start: 0, canary, stable, waiting: 1 }], None).expect("a crossing")
}

/// What a router refuses once its guard has cut a release off.
fn gives(snapshot: &Snapshot, cut: &Cut) -> bool {
    snapshot.serve.iter().any(|target| target.release == cut.release && target.weight > Weight::NONE)
}

pub(crate) fn by() -> Actor {
    Actor::new("mira")
}

/// A verdict of a real judge, its kind then set: the machine is to cope with every one.
pub(crate) fn verdict(kind: Kind, epoch: Generation, weight: Weight) -> Verdict {
    let mut judge = Judge::new(davy_judge::Policy::default()).expect("a policy");
    for second in 0..40 {
        let counts = |n| Counts { n, x: 0, admitted: n, repeated: 0 };
        judge.observe(&Window {
            epoch: second / 20,
            weight: if second < 20 { 5_000 } else { 10_000 },
            from_ms: second * 1000,
            to_ms: (second + 1) * 1000,
            canary: counts(500),
            stable: if second < 20 { counts(500) } else { counts(0) },
        });
    }
    Verdict { kind, epoch: epoch.0, weight: weight.basis_points(), ..judge.verdict() }
}

pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    pub(crate) events: Vec<(Timestamp, Event)>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) serving: Option<Serving>,
    pub(crate) kind: Kind,
    pub(crate) flowing: bool,
    pub(crate) healthy: bool,
    pub(crate) reachable: bool,
    /// Effects asked for and not carried out yet.
    pub(crate) asked: Vec<Effect>,
    /// How the next rollouts go.
    pub(crate) strategy: Strategy,
    /// Requests of the last minute, as far as known.
    pub(crate) last_minute: Option<u64>,
    /// How long no request has come.
    pub(crate) idle: Millis,
    /// What an automatic ramp rests on.
    pub(crate) risk: Risk,
    rollouts: u32,
    started: u32,
    verdicts: BTreeMap<(u8, u64, u16), Verdict>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            state: State::default(),
            now: Timestamp(1_000_000),
            events: Vec::new(),
            instances: Vec::new(),
            serving: None,
            kind: Kind::Undecided,
            flowing: true,
            healthy: true,
            reachable: true,
            asked: Vec::new(),
            strategy: strategy(0),
            last_minute: Some(600),
            idle: Millis(0),
            risk: Risk { rate: 10.0, past: 0.001, worst: 0.001, left: 50.0, hold: 3.0, needed: 9.7, holdback: 1_000 },
            rollouts: 0,
            started: 0,
            verdicts: BTreeMap::new(),
        }
    }

    pub(crate) fn request(&mut self, number: u32, kind: RequestKind) -> Command {
        self.rollouts += 1;
        let rollout = RolloutId::new(format!("r{}", self.rollouts));
        let policy = Policy { strategy: self.strategy.clone(), ..policy() };
        Command::Request(Request { rollout, release: release(number), policy, by: by(), kind })
    }

    /// Decides, and folds what was decided in.
    pub(crate) fn input(&mut self, input: &Input) -> Result<Vec<Event>, Refusal> {
        let events = step(&self.state, self.now, input)?;
        for event in &events {
            self.state.apply(self.now, event);
            self.events.push((self.now, event.clone()));
            self.asked.extend(Effect::of(event));
        }
        Ok(events)
    }

    /// Carries an effect out in the world.
    pub(crate) fn carry_out(&mut self, effect: &Effect) -> Input {
        let generation = effect.generation();
        match effect {
            Effect::Run { release, count, spare, .. } => {
                let mut more = self.instances.iter().filter(|instance| instance.release == *release).count();
                for id in spare {
                    if more > *count as usize {
                        let before = self.instances.len();
                        self.instances.retain(|instance| instance.id != *id);
                        more -= before - self.instances.len();
                    }
                }
                let there = self.instances.iter().filter(|instance| instance.release == *release).count();
                for _ in there..*count as usize {
                    self.started += 1;
                    let number = u16::try_from(self.started % 60_000).expect("small");
                    self.instances.push(Instance {
                        id: InstanceId::new(format!("i{}", self.started)),
                        release: release.clone(),
                        address: ([127, 0, 0, 1], 1_000 + number).into(),
                        health: Health::Starting { why: "just begun".to_owned() },
                        restarts: 0,
                        since: self.now,
                    });
                }
                Input::Done { generation }
            }
            Effect::Route { split, .. } => {
                let held = self.serving.as_ref().map_or(Generation(0), |serving| serving.snapshot.generation);
                if generation <= held {
                    return Input::Refused { generation, why: "an old generation".to_owned() };
                }
                let cut = self.serving.as_ref().and_then(|serving| serving.cut.clone());
                let cut = cut.filter(|cut| self.state.rollout_id() == Some(&cut.rollout));
                match self.snapshot(generation, split) {
                    Some(snapshot) if cut.as_ref().is_some_and(|cut| gives(&snapshot, cut)) => {
                        Input::Refused { generation, why: "the guard has cut it off".to_owned() }
                    }
                    Some(snapshot) => {
                        snapshot.check().expect("a snapshot that holds");
                        let boot = self.serving.as_ref().map_or("b".to_owned(), |serving| serving.boot.clone());
                        self.serving = Some(Serving {
                            snapshot,
                            mode: Mode::Split,
                            boot,
                            counted: None,
                            in_flight: Vec::new(),
                            cut,
                        });
                        Input::Done { generation }
                    }
                    None => Input::Refused { generation, why: "nothing to serve it with".to_owned() },
                }
            }
            Effect::Revert { .. } => {
                self.fall_back(FallbackCause::Revert);
                // As the engine: one that had nothing to fall back to has not answered.
                match self.serving.as_ref().map(|serving| &serving.mode) {
                    Some(Mode::Fallback { .. }) => Input::Done { generation },
                    _ => Input::Lost { generation, why: "it did not fall back".to_owned() },
                }
            }
            Effect::Remove { release, .. } => {
                self.instances.retain(|instance| instance.release != *release);
                Input::Done { generation }
            }
        }
    }

    fn snapshot(&self, generation: Generation, split: &Split) -> Option<Snapshot> {
        let rollout = self.state.rollout.as_ref();
        let (canary, stable) = (rollout.map(|r| &r.request.release), rollout.and_then(|r| r.from.as_ref()));
        let plan = match split {
            Split::Trial { canary: weight, .. } => {
                vec![(stable?, Role::Stable, weight.rest()), (canary?, Role::Canary, *weight)]
            }
            Split::Bake => vec![(canary?, Role::Canary, Weight::ALL), (stable?, Role::Stable, Weight::NONE)],
            Split::Only { release } => vec![(self.state.release(release)?, Role::Stable, Weight::ALL)],
            Split::Nothing => Vec::new(),
        };
        let mut serve = Vec::new();
        for (release, role, weight) in plan {
            let without = match split {
                Split::Trial { without, .. } => without.as_slice(),
                _ => &[],
            };
            let ours = self.instances.iter().filter(|instance| instance.release == release.id);
            let ours = ours.filter(|instance| !without.contains(&instance.id));
            let instances: Vec<_> = ours.map(|i| Backend { id: i.id.clone(), address: i.address }).collect();
            if instances.is_empty() && weight > Weight::NONE {
                return None;
            }
            serve.push(Target { release: release.id.clone(), role, weight, instances });
        }
        let fallback = match split {
            Split::Trial { .. } | Split::Bake => Some(stable?.id.clone()),
            _ => None,
        };
        Some(Snapshot {
            key: key(),
            generation,
            rollout: rollout.map(|rollout| rollout.request.rollout.clone()),
            route: Route { host: None, path: "/".to_owned() },
            serve,
            fallback,
            lease: matches!(split, Split::Trial { .. }).then_some(Millis::seconds(15)),
            health: HealthCheck { path: None, grace: Millis::seconds(1), interval: Millis::seconds(1) },
            timeout: Millis::seconds(30),
            matches: Vec::new(),
            mirror: None,
            sticky: false,
            guard: rollout
                .filter(|_| matches!(split, Split::Trial { .. }))
                .and_then(|rollout| rollout::guard(&rollout.request)),
            slow_over: None,
        })
    }

    /// The router falls back, if it can.
    pub(crate) fn fall_back(&mut self, cause: FallbackCause) {
        let now = self.now;
        if let Some(serving) = &mut self.serving
            && serving.snapshot.fallback.is_some()
            && (cause == FallbackCause::Revert || serving.snapshot.lease.is_some())
            && !matches!(serving.mode, Mode::Fallback { cause: FallbackCause::Revert | FallbackCause::Guard, .. })
        {
            let canary = serving.snapshot.serve.iter().find(|target| target.role == Role::Canary);
            let named = serving.snapshot.rollout.clone().zip(canary.map(|target| target.release.clone()));
            if cause == FallbackCause::Guard {
                if serving.snapshot.guard.is_none() {
                    return;
                }
                serving.cut = named.map(|(rollout, release)| Cut { rollout, release, at: now, finding: finding() });
            }
            serving.mode = Mode::Fallback { cause, at: now };
        }
    }

    /// Time passes, and everything in the world with it.
    pub(crate) fn pass(&mut self, length: Millis) {
        self.now = self.now.plus(length);
        for instance in &mut self.instances {
            if self.healthy && matches!(instance.health, Health::Starting { .. }) {
                instance.health = Health::Healthy;
            }
        }
    }

    pub(crate) fn look(&mut self) -> Input {
        let unseen = || "it does not answer".to_owned();
        let generation = self.state.routed;
        let weight = match &self.state.split {
            Some(Split::Trial { canary, .. }) => *canary,
            _ => Weight::NONE,
        };
        let split = self
            .serving
            .as_ref()
            .is_some_and(|serving| serving.mode == Mode::Split && serving.snapshot.generation == generation);
        let canary = match &self.state.split {
            Some(Split::Trial { canary, .. }) => u64::from(canary.basis_points()),
            Some(Split::Bake) => 10_000,
            _ => 0,
        };
        let flows = self.flowing && split;
        let traffic = Traffic {
            generation,
            canary: if flows { canary } else { 0 },
            stable: if flows { 10_000 - canary } else { 0 },
            mirrored: 0,
            matched: 0,
            last_minute: self.last_minute,
            idle: self.idle,
        };
        let trial = self.state.rollout.is_some();
        let kind = self.kind;
        let entry = (kind as u8, generation.0, weight.basis_points());
        let verdict =
            trial.then(|| self.verdicts.entry(entry).or_insert_with(|| verdict(kind, generation, weight)).clone());
        let verdict = verdict.map(|mut verdict| {
            let automatic = self.state.rollout.as_ref().is_some_and(rollout::Rollout::is_automatic);
            verdict.evidence.ramp = (automatic && weight > Weight::NONE).then(|| self.risk.next(weight.basis_points()));
            verdict
        });
        Input::Look(Box::new(Look {
            instances: match self.reachable {
                true => Sight::Seen(Arc::new(self.instances.clone())),
                false => Sight::Unseen { why: unseen() },
            },
            router: match self.reachable {
                true => Sight::Seen(self.serving.clone().map(Arc::new)),
                false => Sight::Unseen { why: unseen() },
            },
            verdict: verdict.map(Arc::new),
            batches: None,
            traffic,
        }))
    }

    /// Everything asked for is carried out and answered, and so on until nothing is left.
    pub(crate) fn settle(&mut self) {
        while !self.asked.is_empty() {
            let effect = self.asked.remove(0);
            let answer = self.carry_out(&effect);
            self.input(&answer).expect("answers are never refused");
        }
    }

    /// As `settle`, but of some nobody knows whether they were done, and they were not.
    pub(crate) fn settle_but(&mut self, lost: impl Fn(&Effect) -> bool) {
        while !self.asked.is_empty() {
            let effect = self.asked.remove(0);
            let generation = effect.generation();
            let answer = match lost(&effect) {
                true => Input::Lost { generation, why: "no room".to_owned() },
                false => self.carry_out(&effect),
            };
            self.input(&answer).expect("answers are never refused");
        }
    }

    /// A while in which all goes well.
    pub(crate) fn run(&mut self, length: Millis) {
        let until = self.now.plus(length);
        while self.now < until {
            self.pass(Millis(500));
            let look = self.look();
            self.input(&look).expect("looks are never refused");
            self.settle();
        }
    }
}
