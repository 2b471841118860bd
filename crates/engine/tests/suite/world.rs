//! A rollout decided by the real state machine and the real judge on made-up traffic, written to a real journal. Time
//! goes by in whole seconds; nothing here waits for a clock.

use davy_core::{
    Actor, Analysis, Backend, Canary, CanaryStep, Cell, Cut, Digest, EnvironmentName, Failures, FallbackCause,
    Generation, Health, HealthCheck, Instance, InstanceId, Millis, Mode, OnDeadline, Policy, Process, Release,
    ReleaseId, Role, RolloutId, Route, Run, ServiceKey, ServiceName, Serving, Snapshot, Strategy, Target, Timestamp,
    Weight, Window, Workload,
    rollout::{self, Command, Effect, Input, Look, Refusal, Request, RequestKind, Sight, Split, State, Traffic, step},
};
use davy_engine::{
    report::Evidence,
    store::{BatchesDigest, Store},
};
use davy_judge::{
    Counts, Judge,
    guard::{Guard, Row, Side},
};
use davy_ports::{Batch, Entry, Journal, Record};
use std::{collections::BTreeMap, sync::Arc};
use tempfile::TempDir;

/// 2026-11-21T08:00:00Z.
const BEGIN: Timestamp = Timestamp(1_795_248_000_000);

pub(crate) struct World {
    _folder: Option<TempDir>,
    pub(crate) journal: Store,
    pub(crate) key: ServiceKey,
    state: State,
    at: Timestamp,
    position: u64,
    releases: BTreeMap<ReleaseId, Release>,
    running: Vec<Instance>,
    serving: Option<Serving>,
    judge: Option<Trial>,
    /// Requests a second.
    pub(crate) rate: u64,
    /// One request in so many fails, on stable and on the canary; never if 0.
    pub(crate) fails: (u64, u64),
    /// Whether counts arrive.
    pub(crate) blind: bool,
    /// Whether the router has a guard.
    pub(crate) guarded: bool,
    /// Whether what it says of it is changed on the way.
    pub(crate) doctored: bool,
    rows: Vec<Row>,
}

struct Trial {
    rollout: RolloutId,
    origin: Timestamp,
    judge: Judge,
    digest: BatchesDigest,
    number: u64,
    traffic: Traffic,
    /// Requests so far on stable and on the canary: which of them fail goes by their number.
    counted: [u64; 2],
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let journal = Store::open(&folder.path().join("journal.db")).await.unwrap();
        Self { _folder: Some(folder), ..Self::on(journal) }
    }

    /// In a journal that is there and empty.
    pub(crate) fn on(journal: Store) -> Self {
        let key = ServiceKey {
            service: ServiceName::new("logo").unwrap(),
            environment: EnvironmentName::new("production").unwrap(),
        };
        Self {
            _folder: None,
            journal,
            key,
            state: State::default(),
            at: BEGIN,
            position: 0,
            releases: BTreeMap::new(),
            running: Vec::new(),
            serving: None,
            judge: None,
            rate: 1000,
            fails: (1000, 1000),
            blind: false,
            guarded: false,
            doctored: false,
            rows: Vec::new(),
        }
    }

    /// A service that serves already, by a rollout of its own.
    pub(crate) async fn serving() -> Self {
        // A world is large: it waits on the heap.
        Box::pin(async { Box::pin(Self::new().await.served()).await }).await
    }

    /// The same in a journal that is there and empty.
    pub(crate) async fn serving_on(journal: Store) -> Self {
        Box::pin(Self::on(journal).served()).await
    }

    async fn served(mut self) -> Self {
        self.deploy("r-first", "1.0", "lena").await;
        self.pass(20).await;
        assert!(self.state.stable.is_some() && self.state.rollout.is_none());
        self
    }

    pub(crate) async fn deploy(&mut self, rollout: &str, version: &str, by: &str) {
        let workload = Workload {
            run: Run::Process(Process {
                command: ["./logo", "--version", version, "--port", "$PORT"].map(str::to_owned).to_vec(),
                files: Vec::new(),
            }),
            env: BTreeMap::new(),
            secrets: Vec::new(),
            replicas: 2,
            health: HealthCheck {
                path: Some("/healthz".to_owned()),
                grace: Millis::seconds(10),
                interval: Millis::seconds(1),
            },
            route: Route { host: None, path: "/".to_owned() },
        };
        let release =
            Release::new(&self.key, Digest::new(format!("sha256:{:7<64}", version.replace('.', ""))), workload);
        self.releases.insert(release.id.clone(), release.clone());
        let steps = [500, 2500, 10_000].map(|basis_points| CanaryStep::at(Weight::new(basis_points).unwrap()));
        let policy = Policy {
            strategy: Strategy::Canary(Canary { steps: steps.to_vec(), sticky: false, auto: false }),
            hold: Millis::seconds(3),
            deadline: Millis::seconds(20),
            on_deadline: OnDeadline::Pause,
            pause_limit: Millis::seconds(60),
            drain: Millis::seconds(2),
            bake: Millis::seconds(5),
            analysis: Analysis::default(),
            notify: Vec::new(),
        };
        let (rollout, by) = (RolloutId::new(rollout), Actor::new(by));
        let request = Request { rollout, release, policy, by: by.clone(), kind: RequestKind::Deploy };
        self.command(Command::Request(request), by.as_str()).await.unwrap();
    }

    pub(crate) async fn command(&mut self, command: Command, by: &str) -> Result<(), Refusal> {
        self.decide(Input::Command(command), by).await
    }

    /// The controller is another process than before.
    pub(crate) async fn restart(&mut self) {
        self.decide(Input::Restarted, "davy").await.unwrap();
    }

    /// The router serves its fallback for a while.
    pub(crate) fn lapse(&mut self) {
        let at = self.at;
        self.serving.as_mut().unwrap().mode = Mode::Fallback { cause: FallbackCause::Lapse, at };
    }

    pub(crate) async fn report(&self, rollout: &str) -> Option<String> {
        let rollout = RolloutId::new(rollout);
        let records: Vec<Record> = self.journal.rollout(&rollout).await.unwrap();
        let mut past = davy_engine::Past::default();
        past.read(&self.journal).await.unwrap();
        let evidence = self.journal.evidence(&rollout).await.unwrap();
        assert_eq!(self.journal.verify().await.unwrap().broken, []);
        davy_engine::report::report(&past, &records, &rollout, Evidence::Kept(&evidence))
    }

    pub(crate) async fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.second().await;
        }
    }

    async fn second(&mut self) {
        self.at = self.at.plus(Millis::seconds(1));
        self.count().await;
        if self.doctored {
            self.doctor();
        }
        let known = self.state.rollout.as_ref().and_then(|rollout| rollout.verdict);
        let trial = self.judge.as_ref();
        let verdict = trial.map(|trial| trial.judge.verdict());
        let told = known == verdict.as_ref().map(|new| (new.kind, new.weight));
        let look = Look {
            instances: Sight::Seen(Arc::new(self.running.clone())),
            router: Sight::Seen(self.serving.clone().map(Arc::new)),
            verdict: verdict.map(Arc::new),
            batches: trial.filter(|_| !told).and_then(|trial| trial.digest.batches()),
            traffic: trial.map(|trial| trial.traffic).unwrap_or_default(),
        };
        self.decide(Input::Look(Box::new(look)), "davy").await.unwrap();
    }

    async fn decide(&mut self, input: Input, by: &str) -> Result<(), Refusal> {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let events = step(&self.state, self.at, &input)?;
            let mut entries = Vec::new();
            let mut state = self.state.clone();
            for event in &events {
                let own = match event {
                    rollout::Event::RolloutRequested { request } | rollout::Event::RolloutQueued { request } => {
                        Some(request.rollout.clone())
                    }
                    rollout::Event::RolloutDropped { rollout, .. } => Some(rollout.clone()),
                    _ => state.rollout_id().cloned(),
                };
                state.apply(self.at, event);
                entries.push(Entry { at: self.at, by: Actor::new(by), rollout: own, event: event.clone() });
            }
            let records = self.journal.append(&self.key, self.position, &entries).await.unwrap();
            self.position += records.len() as u64;
            self.state = state;
            for effect in events.iter().filter_map(Effect::of) {
                self.carry_out(&effect);
                inputs.push(Input::Done { generation: effect.generation() });
            }
        }
        self.begin_trial();
        Ok(())
    }

    fn begin_trial(&mut self) {
        let Some(rollout) = &self.state.rollout else {
            self.judge = None;
            return;
        };
        let name = &rollout.request.rollout;
        if self.judge.as_ref().is_none_or(|trial| trial.rollout != *name) {
            self.judge = Some(Trial {
                rollout: name.clone(),
                origin: rollout.began,
                judge: Judge::new(davy_judge::Policy::default()).unwrap(),
                digest: BatchesDigest::new(),
                number: 0,
                traffic: Traffic::default(),
                counted: [0; 2],
            });
        }
    }

    fn carry_out(&mut self, effect: &Effect) {
        match effect {
            Effect::Run { release, count, .. } => {
                let there = self.running.iter().filter(|instance| instance.release == *release).count();
                for index in there..*count as usize {
                    let port = 4000 + u16::try_from(self.releases.len() * 10 + index).unwrap();
                    self.running.push(Instance {
                        id: InstanceId::new(format!("{release}-{index}")),
                        release: release.clone(),
                        address: ([127, 0, 0, 1], port).into(),
                        health: Health::Healthy,
                        restarts: 0,
                        since: self.at,
                    });
                }
            }
            Effect::Remove { release, .. } => self.running.retain(|instance| instance.release != *release),
            Effect::Revert { .. } => {
                if let Some(serving) = &mut self.serving {
                    serving.mode = Mode::Fallback { cause: FallbackCause::Revert, at: self.at };
                }
            }
            Effect::Route { generation, split } => self.route(*generation, split),
        }
    }

    fn route(&mut self, generation: Generation, split: &Split) {
        let rollout = self.state.rollout.as_ref();
        let new = rollout.map(|rollout| rollout.request.release.clone());
        let old = rollout.and_then(|rollout| rollout.from.clone());
        let target = |release: &Release, role, weight| Target {
            release: release.id.clone(),
            role,
            weight,
            instances: self
                .running
                .iter()
                .filter(|instance| instance.release == release.id)
                .map(|instance| Backend { id: instance.id.clone(), address: instance.address })
                .collect(),
        };
        let pair = |canary: Weight| {
            let new = new.iter().map(|release| target(release, Role::Canary, canary));
            new.chain(old.iter().map(|release| target(release, Role::Stable, canary.rest()))).collect()
        };
        let serve: Vec<Target> = match split {
            Split::Trial { canary, .. } => pair(*canary),
            Split::Bake => pair(Weight::ALL),
            Split::Only { release } => vec![target(&self.releases[release], Role::Stable, Weight::ALL)],
            Split::Nothing => Vec::new(),
        };
        let fallback = match split {
            Split::Trial { .. } | Split::Bake => old.map(|release| release.id),
            _ => None,
        };
        let release = self.releases.values().next().unwrap();
        let snapshot = Snapshot {
            key: self.key.clone(),
            generation,
            rollout: self.state.rollout_id().cloned(),
            route: release.workload.route.clone(),
            serve,
            fallback,
            lease: None,
            health: release.workload.health.clone(),
            timeout: Millis::seconds(30),
            matches: Vec::new(),
            mirror: None,
            sticky: false,
            guard: rollout.filter(|_| self.guarded).and_then(|rollout| rollout::guard(&rollout.request)),
            slow_over: None,
        };
        self.serving = Some(Serving {
            snapshot,
            mode: Mode::Split,
            boot: "boot".to_owned(),
            counted: None,
            in_flight: Vec::new(),
            cut: None,
        });
    }

    /// The router weighs what it counted.
    fn guard(&mut self, weight: Weight, canary: Counts, stable: Counts) {
        let Some(serving) = self.serving.as_mut().filter(|serving| serving.mode == Mode::Split) else { return };
        let Snapshot { guard: Some(order), rollout: Some(rollout), generation, .. } = &serving.snapshot else { return };
        let side = |counts: Counts| Side { routed: counts.n, failed: counts.x };
        let (epoch, weight, canary, stable) = (generation.0, weight.basis_points(), side(canary), side(stable));
        self.rows.push(Row { epoch, weight, start: 0, canary, stable, waiting: 2 });
        let guard = Guard::begin(order.clone(), 1).unwrap();
        if let Some(finding) = guard.find(&self.rows, None) {
            let target = serving.snapshot.serve.iter().find(|target| target.role == Role::Canary).unwrap();
            let cut = Cut { rollout: rollout.clone(), release: target.release.clone(), at: self.at, finding };
            serving.mode = Mode::Fallback { cause: FallbackCause::Guard, at: self.at };
            serving.cut = Some(cut);
        }
    }

    /// What the router says of its guard was changed on the way.
    fn doctor(&mut self) {
        if let Some(cut) = self.serving.as_mut().and_then(|serving| serving.cut.as_mut()) {
            cut.finding.rows[0].canary.failed += 1;
        }
    }

    /// One second of traffic, stored and judged.
    async fn count(&mut self) {
        let (Some(trial), Some(serving)) = (&mut self.judge, &self.serving) else { return };
        if self.blind {
            trial.judge.blind(davy_judge::Blindness::Silence);
            return;
        }
        let generation = serving.snapshot.generation;
        let split = serving.mode == Mode::Split;
        let canary = serving.snapshot.serve.iter().find(|target| target.role == Role::Canary);
        let weight = canary.filter(|_| split).map_or(Weight::NONE, |target| target.weight);
        let to_canary = self.rate * u64::from(weight.basis_points()) / 10_000;
        let mut cells = Vec::new();
        let mut counts = [Counts::default(); 2];
        for target in &serving.snapshot.serve {
            let (index, one_in, routed) = match target.role {
                Role::Stable => (0, self.fails.0, self.rate - to_canary),
                _ => (1, self.fails.1, to_canary),
            };
            if routed == 0 {
                continue;
            }
            let before = trial.counted[index];
            let failed = |until: u64| until.checked_div(one_in).unwrap_or(0);
            let status = failed(before + routed) - failed(before);
            trial.counted[index] += routed;
            counts[index] = Counts::answered(routed, status);
            cells.push(Cell {
                release: target.release.clone(),
                role: target.role,
                instance: target.instances[0].id.clone(),
                routed,
                answered: routed,
                failures: Failures { status, ..Failures::default() },
                repeated: 0,
                client_gone: 0,
                slow: 0,
                latency: vec![(3, routed)],
            });
        }
        if trial.traffic.generation != generation {
            trial.traffic = Traffic { generation, ..Traffic::default() };
        }
        trial.traffic.stable += counts[0].n;
        trial.traffic.canary += counts[1].n;
        trial.number += 1;
        let from = Timestamp(self.at.0 - 1000);
        let window = Window {
            key: self.key.clone(),
            boot: "boot".to_owned(),
            sequence: trial.number * 10,
            generation,
            weight,
            from,
            to: self.at,
            cells,
            unserved: 0,
            cohorts: Vec::new(),
            clients_forgotten: false,
        };
        let batch = Batch {
            rollout: trial.rollout.clone(),
            number: trial.number,
            generation,
            weight,
            origin: trial.origin,
            window,
            evidence: split && weight > Weight::NONE,
            blind: None,
            metrics: Vec::new(),
        };
        trial.digest.add(&batch);
        if batch.evidence {
            trial.judge.observe(&davy_judge::Window {
                epoch: generation.0,
                weight: weight.basis_points(),
                from_ms: from.since(trial.origin).0,
                to_ms: self.at.since(trial.origin).0,
                canary: counts[1],
                stable: counts[0],
            });
        }
        self.journal.store(&batch).await.unwrap();
        if split && weight > Weight::NONE {
            self.guard(weight, counts[1], counts[0]);
        }
    }
}
