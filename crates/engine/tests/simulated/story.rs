//! A story: releases are deployed one after the other while people and faults come at any moment; then the faults end, and
//! everything has to come to rest as it should.

use crate::{
    laws,
    reach::{Reach, World},
    site::FAILS,
};
use davy_core::{
    Actor, Analysis, BlueGreen, Canary, CanaryStep, EnvironmentName, HealthCheck, Millis, OnDeadline, Policy, Process,
    Rolling, Route, Run, ServiceKey, ServiceName, Source, Strategy, Timestamp, Weight, Workload, rollout::State,
};
use davy_engine::{Action, Deploy, Engine, now};
use davy_ports::Record;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How long everything may take to come to rest once the faults have ended.
const REST: Duration = Duration::from_secs(600);

/// So many requests come in a second, most of the time.
pub(crate) const RATE: f64 = 100.0;

/// How a story ended.
pub(crate) struct End {
    pub(crate) rollouts: usize,
    pub(crate) faults: u32,
    pub(crate) crashes: u32,
    /// What was broken; empty when all is well.
    pub(crate) broken: Vec<String>,
    /// What happened and when since the first event, without the names that are drawn anew each time.
    pub(crate) told: Vec<String>,
}

pub(crate) fn key(service: &str) -> ServiceKey {
    ServiceKey {
        service: ServiceName::new(service).expect("a name"),
        environment: EnvironmentName::new("production").expect("a name"),
    }
}

/// A deployment of a release that fails one request in so many; none if it is 0.
pub(crate) fn deploy(key: &ServiceKey, number: u32, fails_one_in: u32, strategy: Strategy) -> Deploy {
    let workload = Workload {
        run: Run::Process(Process { command: vec!["./logo".to_owned()], files: Vec::new() }),
        env: BTreeMap::from([(FAILS.to_owned(), fails_one_in.to_string()), ("NUMBER".to_owned(), number.to_string())]),
        secrets: Vec::new(),
        replicas: 2,
        health: HealthCheck { path: None, grace: Millis::seconds(30), interval: Millis::seconds(1) },
        route: Route { host: None, path: "/".to_owned() },
    };
    let policy = Policy {
        strategy,
        hold: Millis::seconds(2),
        deadline: Millis::seconds(40),
        on_deadline: OnDeadline::Pause,
        pause_limit: Millis::seconds(60),
        drain: Millis::seconds(2),
        bake: Millis::seconds(5),
        analysis: Analysis { margin: Some(0.1), ..Analysis::default() },
        notify: Vec::new(),
    };
    let source = Source { folder: format!("{number}").into() };
    Deploy { key: key.clone(), source, workload, policy, by: Actor::new("mira") }
}

/// The steps of a canary.
pub(crate) fn steps() -> Strategy {
    let steps = [1_000, 5_000, 10_000].map(|bp| CanaryStep::at(Weight::new(bp).expect("a weight")));
    Strategy::Canary(Canary { steps: steps.to_vec(), sticky: false, auto: false })
}

fn some_strategy(dice: &mut fastrand::Rng) -> Strategy {
    match dice.u32(0..8) {
        0 => Strategy::BlueGreen(BlueGreen { preview: Millis::seconds(2), host: None }),
        1 => Strategy::Rolling(Rolling::default()),
        2 => Strategy::Recreate,
        3 => Strategy::Canary(Canary::auto(Canary::HOLDBACK)),
        _ => steps(),
    }
}

/// A controller that may die.
struct Controller {
    reach: Arc<Reach>,
    engine: Arc<Engine>,
}

impl Controller {
    async fn start(world: &Arc<World>, reports: &Path) -> Self {
        loop {
            let reach = Reach::new(world);
            let starting = tokio::time::timeout(Duration::from_secs(10), Engine::start(reach.ports(reports)));
            match starting.await {
                Ok(Ok(engine)) => return Self { reach, engine: Arc::new(engine) },
                _ => {
                    reach.die();
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// `kill -9`.
    fn die(&self) {
        self.reach.die();
        self.engine.stop();
    }
}

/// Tells a story from its seed, on a runtime of its own, in virtual time. `trouble` is how many of 1,000 calls do not go as
/// they should.
pub(crate) fn told(seed: u64, trouble: u32) -> End {
    let reports = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let end = runtime.block_on(tell(seed, trouble, reports.path()));
    runtime.shutdown_timeout(Duration::from_secs(1));
    end
}

async fn tell(seed: u64, trouble: u32, reports: &Path) -> End {
    let mut dice = fastrand::Rng::with_seed(seed);
    // What pauses between two attempts draw.
    fastrand::seed(seed);
    let world = World::new(dice.u64(..));
    let key = key("logo");
    let mut controller = Controller::start(&world, reports).await;
    controller.engine.deploy(deploy(&key, 0, 0, steps())).await.expect("nothing is under way");
    at_rest(&world, &controller, &key, REST).await;
    world.trouble.store(trouble, Ordering::Relaxed);
    let (mut crashes, mut number) = (0, 0);
    let until = now().plus(Millis(dice.u64(60_000..400_000)));
    while now() < until {
        tokio::time::sleep(Duration::from_millis(dice.u64(100..8_000))).await;
        match dice.u32(0..19) {
            0..=4 => {
                number += 1;
                let fails = [0, 1_000, 3][dice.usize(0..3)];
                let asked = deploy(&key, number, fails, some_strategy(&mut dice));
                ask(&controller, |engine| async move { engine.deploy(asked).await.map(drop) });
            }
            5 | 6 => act(&controller, &key, Action::Abort),
            7 => act(&controller, &key, Action::Pause),
            8 => act(&controller, &key, Action::Resume),
            9 => act(&controller, &key, Action::Promote),
            10 => {
                let key = key.clone();
                let by = Actor::new("mira");
                ask(&controller, |engine| async move { engine.rollback(&key, None, by, None).await.map(drop) });
            }
            11 | 12 => {
                crashes += 1;
                controller.die();
                tokio::time::sleep(Duration::from_millis(dice.u64(0..20_000))).await;
                controller = Controller::start(&world, reports).await;
            }
            13 => world.site(&key, |site, _| site.restart_router(now())),
            14 => world.site(&key, |site, dice| {
                let count = site.instances.len().max(1);
                site.fall(dice.usize(0..count), now(), Millis(dice.u64(100..10_000)));
            }),
            15 => {
                let silence = Millis(dice.u64(500..120_000));
                world.site(&key, |site, _| site.silent = now().plus(silence));
            }
            16 => {
                let key = key.clone();
                ask(&controller, |engine| async move { engine.remove(&key, Actor::new("mira"), None).await.map(drop) });
            }
            // A service that nobody uses, or hardly anybody, and one that is used again.
            _ => {
                let rate = [0.0, 0.02, RATE, RATE][dice.usize(0..4)];
                world.site(&key, |site, _| site.set_rate(rate, now()));
            }
        }
    }
    world.trouble.store(0, Ordering::Relaxed);
    world.site(&key, |site, _| site.silent = Timestamp(0));
    let state = at_rest(&world, &controller, &key, REST).await;
    let records = world.journal.records();
    let mut broken = laws::of_the_journal(&world, &records).await;
    match state {
        Some(state) => broken.extend(laws::at_rest(&world, &key, &state)),
        None => broken.push(stuck(&controller, &key)),
    }
    broken.extend(world.site(&key, |site, _| std::mem::take(&mut site.broken)));
    controller.die();
    let rollouts = laws::rollouts(&records);
    End { rollouts, faults: world.faults.load(Ordering::Relaxed), crashes, broken, told: told_of(&records) }
}

/// Each event's time and kind.
fn told_of(records: &[Record]) -> Vec<String> {
    let began = records.first().map_or(Timestamp(0), |record| record.entry.at);
    let line = |record: &Record| {
        let kind = serde_json::to_value(&record.entry.event).unwrap_or_default()["type"].to_string();
        format!("{} {} {kind}", record.entry.at.since(began).0, record.entry.by)
    };
    records.iter().map(line).collect()
}

/// Somebody asks, and does not wait for an answer.
fn ask<F>(controller: &Controller, asked: impl FnOnce(Arc<Engine>) -> F)
where
    F: Future<Output = Result<(), davy_engine::EngineError>> + Send + 'static,
{
    tokio::spawn(asked(controller.engine.clone()));
}

fn act(controller: &Controller, key: &ServiceKey, action: Action) {
    let live = controller.engine.service(key);
    if let Some(rollout) = live.and_then(|live| live.state.rollout_id().cloned()) {
        ask(controller, |engine| async move { engine.act(&rollout, action, Actor::new("mira"), None).await });
    }
}

/// Waits until nothing is under way and nothing moves any more; the state, or nothing if it takes too long.
async fn at_rest(world: &World, controller: &Controller, key: &ServiceKey, within: Duration) -> Option<State> {
    let end = tokio::time::Instant::now() + within;
    while tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let state = controller.engine.service(key).map(|live| live.state);
        let state = state.filter(|state| state.rollout.is_none() && state.queued.is_none() && state.pending.is_empty());
        if let Some(state) = state
            && laws::at_rest(world, key, &state).is_empty()
        {
            return Some(Arc::unwrap_or_clone(state));
        }
    }
    None
}

fn stuck(controller: &Controller, key: &ServiceKey) -> String {
    match controller.engine.service(key) {
        Some(live) => {
            let rollout = live.state.rollout.as_ref();
            let phase = rollout.map(|rollout| (rollout.request.rollout.clone(), rollout.phase.clone()));
            let pending = &live.state.pending;
            let (stuck, verdict) = (&live.stuck, live.verdict.as_ref().map(|verdict| verdict.kind));
            format!("not at rest after {REST:?}: {phase:?}, pending {pending:?}, stuck {stuck:?}, verdict {verdict:?}")
        }
        None => "the service is unknown".to_owned(),
    }
}
