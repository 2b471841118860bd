//! A small world around the machine: a few instances, a router with fences, a fallback and a lease, effects on their way.
//!
//! What an observer may see (health, verdicts, counts, who answers) is chosen anew at each look and remembered nowhere, so
//! it adds behaviour and no states. Only what really is there is kept.

use davy_core::{
    Actor, Analysis, Backend, Cut, Digest, EnvironmentName, FallbackCause, Generation, Health, HealthCheck, Instance,
    InstanceId, Millis, Mode, OnDeadline, Policy, Process, Release, ReleaseId, Role, RolloutId, Route, Run, ServiceKey,
    ServiceName, Serving, Snapshot, Strategy, Target, Timestamp, Weight, Workload,
    rollout::{self, Effect, Event, Input, Look, Refusal, Request, RequestKind, Split, State},
};
use davy_judge::guard::{Finding, Guard, Row, Side};
use std::{collections::BTreeMap, rc::Rc, sync::OnceLock};

/// The machine under the search: the real one, or one that breaks a rule.
pub(crate) type Machine = fn(&State, Timestamp, &Input) -> Result<Vec<Event>, Refusal>;

/// How far time goes at once: no wait of the machine or of the policies below is shorter, so ages are small numbers.
pub(crate) const TICK: Millis = Millis::seconds(5);

/// One world to be searched.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) name: &'static str,
    pub(crate) strategy: Strategy,
    pub(crate) on_deadline: OnDeadline,
    /// Instances of each release.
    pub(crate) replicas: u32,
    /// Whether a release serves at the beginning.
    pub(crate) served: bool,
    /// How many rollouts people ask for, how often they pause, resume or promote.
    pub(crate) requests: u8,
    pub(crate) nudges: u8,
    /// How many faults of the edge: a crash, an answer lost or late, a refusal, an instance gone, a router that lost its memory.
    pub(crate) faults: u8,
    /// How many weights the router refuses besides, and how often the controller begins anew.
    pub(crate) refusals: u8,
    pub(crate) crashes: u8,
    /// Whether anything may happen between an effect and its answer.
    pub(crate) slow: bool,
    pub(crate) machine: Machine,
}

/// Something asked of the edge.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Flight {
    pub(crate) effect: Effect,
    /// What is to be served, as it was known when it was asked.
    pub(crate) snapshot: Option<Rc<Snapshot>>,
    /// What the edge said once it was carried out, while the answer is on its way.
    pub(crate) answer: Option<bool>,
}

#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) snapshot: Rc<Snapshot>,
    pub(crate) mode: Mode,
    /// The rollout and the release that its guard has cut off.
    pub(crate) cut: Option<(RolloutId, ReleaseId)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) state: Rc<State>,
    pub(crate) now: Timestamp,
    pub(crate) instances: Vec<(u32, ReleaseId)>,
    pub(crate) router: Option<Held>,
    /// Asked for and not answered.
    pub(crate) flights: Vec<Flight>,
    /// Given up by the controller, and perhaps still on its way.
    pub(crate) late: Option<Flight>,
    /// The highest generation that the platform took.
    pub(crate) fence: Generation,
    pub(crate) started: u32,
    pub(crate) rollouts: u32,
    /// What is left of the scope's numbers.
    pub(crate) requests: u8,
    pub(crate) nudges: u8,
    pub(crate) faults: u8,
    pub(crate) refusals: u8,
    pub(crate) crashes: u8,
    /// Whether a request was seen on the new release since its weight was asked for.
    pub(crate) witnessed: bool,
    /// Whether the new release was seen to carry all traffic, or, for long enough, that there is none.
    pub(crate) carried: bool,
}

pub(crate) fn key() -> ServiceKey {
    ServiceKey {
        service: ServiceName::new("logo").expect("a name"),
        environment: EnvironmentName::new("production").expect("a name"),
    }
}

pub(crate) fn by() -> Actor {
    Actor::new("mira")
}

pub(crate) fn release(number: u32, replicas: u32) -> Release {
    let workload = Workload {
        run: Run::Process(Process { command: vec![format!("./v{number}")], files: Vec::new() }),
        env: BTreeMap::new(),
        secrets: Vec::new(),
        replicas,
        health: HealthCheck { path: None, grace: Millis(2 * TICK.0), interval: TICK },
        route: Route { host: None, path: "/".to_owned() },
    };
    Release {
        id: ReleaseId::new(format!("v{number}")),
        digest: Digest::new(format!("sha256:{number}")),
        workload: workload.into(),
    }
}

/// What a guard finds in a canary that fails everything.
fn finding() -> &'static Finding {
    static FINDING: OnceLock<Finding> = OnceLock::new();
    FINDING.get_or_init(|| {
        let scope = super::scopes::small();
        let (rollout, kind) = (RolloutId::new("r"), RequestKind::Deploy);
        let request = Request { rollout, release: release(1, 1), policy: scope.policy(), by: by(), kind };
        let guard = Guard::begin(rollout::guard(&request).expect("an order"), 1).expect("a guard");
        let (canary, stable) = (Side { routed: 9, failed: 9 }, Side { routed: 90, failed: 0 });
        guard.find(&[Row { epoch: 2, weight: 1_000, start: 0, canary, stable, waiting: 1 }], None).expect("a crossing")
    })
}

impl Scope {
    fn policy(&self) -> Policy {
        Policy {
            strategy: self.strategy.clone(),
            hold: TICK,
            deadline: Millis(2 * TICK.0),
            on_deadline: self.on_deadline,
            pause_limit: Millis(2 * TICK.0),
            drain: TICK,
            bake: TICK,
            analysis: Analysis::default(),
            notify: Vec::new(),
        }
    }

    /// Where it begins.
    pub(crate) fn root(&self) -> Node {
        let mut node = Node {
            state: Rc::default(),
            now: Timestamp(1_000 * TICK.0),
            instances: Vec::new(),
            router: None,
            flights: Vec::new(),
            late: None,
            fence: Generation(0),
            started: 0,
            rollouts: 0,
            requests: self.requests,
            nudges: self.nudges,
            faults: self.faults,
            refusals: self.refusals,
            crashes: self.crashes,
            witnessed: false,
            carried: false,
        };
        if self.served {
            let first = release(1, self.replicas);
            node.instances.extend((1..=self.replicas).map(|number| (number, first.id.clone())));
            node.started = self.replicas;
            let split = Split::Only { release: first.id.clone() };
            node.state = Rc::new(State {
                stable: Some(first),
                generation: Generation(1),
                routed: Generation(1),
                split: Some(split.clone()),
                ..State::default()
            });
            let snapshot = node.snapshot(Generation(1), &split, &node.instances()).expect("instances are there");
            node.router = Some(Held { snapshot: Rc::new(snapshot), mode: Mode::Split, cut: None });
        }
        node
    }

    pub(crate) fn request(&self, node: &mut Node, number: u32, kind: RequestKind) -> Request {
        node.rollouts += 1;
        let rollout = RolloutId::new(format!("r{}", node.rollouts));
        Request { rollout, release: release(number, self.replicas), policy: self.policy(), by: by(), kind }
    }
}

impl Node {
    /// Everything as the platform would tell it, all of it healthy.
    pub(crate) fn instances(&self) -> Vec<Instance> {
        let told = self.instances.iter().map(|(number, release)| Instance {
            id: InstanceId::new(format!("i{number:04}")),
            release: release.clone(),
            address: ([127, 0, 0, 1], 1_000 + u16::try_from(number % 60_000).expect("small")).into(),
            health: Health::Healthy,
            restarts: 0,
            since: Timestamp(0),
        });
        told.collect()
    }

    pub(crate) fn serving(&self) -> Option<Serving> {
        self.router.as_ref().map(|held| Serving {
            snapshot: held.snapshot.as_ref().clone(),
            mode: held.mode.clone(),
            boot: "b".to_owned(),
            counted: None,
            in_flight: Vec::new(),
            cut: held.cut.clone().map(|(rollout, release)| Cut {
                rollout,
                release,
                at: Timestamp(0),
                finding: finding().clone(),
            }),
        })
    }

    /// The share of new requests that really goes to a release.
    pub(crate) fn share(&self, release: &ReleaseId) -> Weight {
        let Some(held) = &self.router else { return Weight::NONE };
        match (&held.mode, &held.snapshot.fallback) {
            (Mode::Fallback { .. }, Some(fallback)) => {
                if fallback == release {
                    Weight::ALL
                } else {
                    Weight::NONE
                }
            }
            _ => {
                let mut targets = held.snapshot.serve.iter();
                targets.find(|target| target.release == *release).map_or(Weight::NONE, |target| target.weight)
            }
        }
    }

    /// Whether the router may send a request to a release, now or by falling back.
    pub(crate) fn serves(&self, release: &ReleaseId) -> bool {
        let fallback = self.router.as_ref().and_then(|held| held.snapshot.fallback.as_ref());
        self.share(release) > Weight::NONE || fallback == Some(release)
    }

    pub(crate) fn count(&self, release: &ReleaseId) -> usize {
        self.instances.iter().filter(|(_, of)| of == release).count()
    }

    /// As the engine makes it of what it sees.
    fn snapshot(&self, generation: Generation, split: &Split, seen: &[Instance]) -> Option<Snapshot> {
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
        let without: &[InstanceId] = match split {
            Split::Trial { without, .. } => without,
            _ => &[],
        };
        let all = seen.iter().filter(|instance| !matches!(instance.health, Health::Ended { .. }));
        let mut serve = Vec::new();
        for (release, role, weight) in plan {
            let ours = all.clone().filter(|instance| instance.release == release.id && !without.contains(&instance.id));
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
        let snapshot = Snapshot {
            key: key(),
            generation,
            rollout: rollout.map(|rollout| rollout.request.rollout.clone()),
            route: Route { host: None, path: "/".to_owned() },
            serve,
            fallback,
            lease: matches!(split, Split::Trial { .. }).then_some(Millis::seconds(15)),
            health: HealthCheck { path: None, grace: TICK, interval: TICK },
            timeout: Millis::seconds(30),
            matches: Vec::new(),
            mirror: None,
            sticky: false,
            guard: None,
            slow_over: None,
        };
        snapshot.check().ok().map(|()| snapshot)
    }

    /// Is in another state, and sends off what the events that led there ask for.
    pub(crate) fn turn(&mut self, state: Option<State>, events: &[Event], look: Option<&Look>) {
        self.state = state.map_or_else(|| self.state.clone(), Rc::new);
        for effect in events.iter().filter_map(Effect::of) {
            let snapshot = match (&effect, look) {
                (Effect::Route { generation, split }, Some(look)) => self
                    .snapshot(*generation, split, look.instances.seen().map_or(&[], |instances| instances.as_slice()))
                    .map(Rc::new),
                (Effect::Route { generation, split }, None) => {
                    self.snapshot(*generation, split, &self.instances()).map(Rc::new)
                }
                _ => None,
            };
            self.flights.push(Flight { effect, snapshot, answer: None });
        }
    }

    /// Carries an effect out: whether the edge took it, and what it must never do.
    pub(crate) fn carry_out(&mut self, flight: &Flight) -> Result<bool, String> {
        let generation = flight.effect.generation();
        match &flight.effect {
            Effect::Run { release, count, spare, .. } => {
                if generation < self.fence {
                    return Ok(false);
                }
                self.fence = generation;
                let count = *count as usize;
                for spare in spare {
                    if self.count(release) > count {
                        let leaves = |number: u32| InstanceId::new(format!("i{number:04}")) == *spare;
                        if let Some(at) = self.instances.iter().position(|(number, _)| leaves(*number)) {
                            self.may_end(spare)?;
                            self.instances.remove(at);
                        }
                    }
                }
                for _ in self.count(release)..count {
                    self.started += 1;
                    self.instances.push((self.started, release.clone()));
                }
                Ok(true)
            }
            Effect::Route { .. } => {
                let held = self.router.as_ref().map_or(Generation(0), |held| held.snapshot.generation);
                let Some(snapshot) = flight.snapshot.as_ref().filter(|_| generation > held) else { return Ok(false) };
                let cut = self.router.as_ref().and_then(|held| held.cut.clone());
                let cut = cut.filter(|(rollout, _)| snapshot.rollout.as_ref() == Some(rollout));
                let gives = |release: &ReleaseId| {
                    let mut served = snapshot.serve.iter();
                    served.any(|target| target.release == *release && target.weight > Weight::NONE)
                };
                if cut.as_ref().is_some_and(|(_, release)| gives(release)) {
                    return Ok(false);
                }
                self.router = Some(Held { snapshot: snapshot.clone(), mode: Mode::Split, cut });
                Ok(true)
            }
            Effect::Revert { .. } => Ok(self.fall_back(FallbackCause::Revert)),
            Effect::Remove { release, .. } => {
                if generation < self.fence {
                    return Ok(false);
                }
                if self.serves(release) && self.count(release) > 0 {
                    return Err(format!("{release} is removed while the router serves it"));
                }
                self.fence = generation;
                self.instances.retain(|(_, of)| of != release);
                Ok(true)
            }
        }
    }

    fn may_end(&self, instance: &InstanceId) -> Result<(), String> {
        let Some(held) = &self.router else { return Ok(()) };
        let mut served = held.snapshot.serve.iter().filter(|target| self.serves(&target.release));
        let served = served.any(|target| target.instances.iter().any(|backend| backend.id == *instance));
        if served { Err(format!("{instance} ends while the router serves it")) } else { Ok(()) }
    }

    /// The router serves its fallback, if it has one.
    pub(crate) fn fall_back(&mut self, cause: FallbackCause) -> bool {
        let Some(held) = &mut self.router else { return false };
        let may = match cause {
            FallbackCause::Revert => held.snapshot.fallback.is_some(),
            _ => held.snapshot.lease.is_some() && held.mode == Mode::Split,
        };
        let reverted = matches!(held.mode, Mode::Fallback { cause: FallbackCause::Revert | FallbackCause::Guard, .. });
        if may && !reverted {
            held.mode = Mode::Fallback { cause, at: Timestamp(0) };
        }
        may
    }

    /// The release that the router's guard may cut off now.
    pub(crate) fn guarded(&self) -> Option<(RolloutId, ReleaseId)> {
        let held = self.router.as_ref().filter(|held| held.mode == Mode::Split && held.snapshot.lease.is_some())?;
        let gets = |target: &&Target| target.role == Role::Canary && target.weight > Weight::NONE;
        let canary = held.snapshot.serve.iter().find(gets)?;
        let deployed = self.state.rollout.as_ref().is_none_or(|rollout| {
            Some(&rollout.request.rollout) != held.snapshot.rollout.as_ref()
                || rollout.request.kind == RequestKind::Deploy
        });
        held.snapshot.rollout.clone().filter(|_| deployed).map(|rollout| (rollout, canary.release.clone()))
    }
}
