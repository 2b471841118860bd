//! What the router tells, from its protocol's text to verdicts: nothing that cannot be true is healthy.

use super::Collector;
use davy_core::{
    Actor, Analysis, Canary, CanaryStep, Cell, Cohort, Digest, EnvironmentName, Failures, Generation, HealthCheck,
    InstanceId, Millis, OnDeadline, Policy, Process, Release, Role, RolloutId, Route, Run, ServiceKey, ServiceName,
    Strategy, Timestamp, Weight, Window, Workload,
    rollout::{Event, Request, RequestKind, State},
};
use davy_judge::{Kind, Verdict};
use std::sync::Arc;

const BEGAN: Timestamp = Timestamp(1_000_000);

fn key() -> ServiceKey {
    let service = ServiceName::new("logo").expect("a name");
    ServiceKey { service, environment: EnvironmentName::new("production").expect("a name") }
}

fn release() -> Release {
    let health = HealthCheck { path: None, grace: Millis::seconds(10), interval: Millis::seconds(1) };
    let run = Run::Process(Process { command: vec!["./logo".to_owned()], files: Vec::new() });
    let (env, secrets, route) = (Default::default(), Vec::new(), Route { host: None, path: "/".to_owned() });
    let workload = Workload { run, env, secrets, replicas: 2, health, route };
    Release::new(&key(), Digest::new(format!("sha256:{:0<64}", 2)), workload)
}

fn collector() -> Collector {
    let steps = vec![CanaryStep::at(Weight::new(1_000).expect("a weight")), CanaryStep::at(Weight::ALL)];
    let policy = Policy {
        strategy: Strategy::Canary(Canary { steps, sticky: false, auto: false }),
        hold: Millis::seconds(3),
        deadline: Millis::seconds(60),
        on_deadline: OnDeadline::Pause,
        pause_limit: Millis::seconds(60),
        drain: Millis::seconds(2),
        bake: Millis::seconds(5),
        analysis: Analysis { not_slower_than: None, ..Analysis::default() },
        notify: Vec::new(),
    };
    let by = Actor::new("mira");
    let request = Request { rollout: RolloutId::new("r"), release: release(), policy, by, kind: RequestKind::Deploy };
    let mut state = State::default();
    state.apply(BEGAN, &Event::RolloutRequested { request: Box::new(request) });
    Collector::new(state.rollout.as_ref().expect("a rollout"))
}

fn cell(role: Role, requests: u64) -> Cell {
    Cell {
        release: release().id,
        role,
        instance: InstanceId::new(format!("{role:?}")),
        routed: requests,
        answered: requests,
        failures: Failures::default(),
        repeated: 0,
        client_gone: 0,
        slow: 0,
        latency: vec![(3, requests)],
    }
}

/// A router that tells a window each 100 ms.
struct Router {
    collector: Collector,
    sequence: u64,
    at: Timestamp,
    generation: u64,
}

impl Router {
    fn new() -> Self {
        Self { collector: collector(), sequence: 0, at: BEGAN, generation: 5 }
    }

    fn window(&mut self) -> Window {
        self.sequence += 1;
        let from = self.at;
        self.at = from.plus(Millis(100));
        Window {
            key: key(),
            boot: "b".to_owned(),
            sequence: self.sequence,
            generation: Generation(self.generation),
            weight: Weight::new(1_000).expect("a weight"),
            from,
            to: self.at,
            cells: vec![cell(Role::Canary, 10), cell(Role::Stable, 90)],
            unserved: 0,
            cohorts: Vec::new(),
            clients_forgotten: false,
        }
    }

    /// Tells a window as the protocol does, and what is said then.
    fn tell(&mut self, window: &Window) -> Verdict {
        let text = serde_json::to_string(window).expect("text");
        for batch in self.collector.take(serde_json::from_str(&text).expect("a window"), window.to) {
            self.collector.feed(&batch);
        }
        Arc::unwrap_or_clone(self.collector.verdict().expect("a verdict"))
    }

    fn go_on(&mut self, windows: u64) -> Verdict {
        (0..windows)
            .map(|_| {
                let window = self.window();
                self.tell(&window)
            })
            .last()
            .expect("windows")
    }

    fn safe() -> Self {
        let mut router = Self::new();
        let verdict = router.go_on(200);
        assert_eq!(verdict.kind, Kind::Safe, "{}", verdict.because);
        router
    }
}

#[test]
fn absurd_counts_blind_and_never_panic() {
    type Change = fn(&mut Window);
    let changes: [Change; 9] = [
        |window| window.cells[0].answered = u64::MAX,
        |window| window.cells[0].routed = u64::MAX - 5,
        |window| (window.cells[0].client_gone, window.cells[0].answered) = (u64::MAX, u64::MAX),
        |window| window.cells[0].failures = Failures { status: u64::MAX, timeout: u64::MAX, refused: 2, reset: 0 },
        |window| window.cells[1].failures.reset = 91,
        |window| window.cells[1].latency = vec![(3, u64::MAX), (4, u64::MAX)],
        |window| window.unserved = u64::MAX,
        |window| window.cells = (0..90).map(|_| cell(Role::Canary, 900_000_000_000_000)).collect(),
        |window| window.cohorts = vec![Cohort { heard: u64::MAX, ..Cohort::default() }],
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut router = Router::safe();
        let before = router.collector.seen();
        for _ in 0..3 {
            let mut window = router.window();
            change(&mut window);
            assert_eq!(router.tell(&window).kind, Kind::Blind, "{number}");
        }
        assert_eq!(router.collector.seen(), before, "{number}: nothing of it is counted");
        assert_eq!(router.go_on(10).kind, Kind::Blind, "{number}: something is missing of the next batch");
        assert_eq!(router.go_on(10).kind, Kind::Safe, "{number}");
    }
}

#[test]
fn counts_that_are_absurd_only_together_blind() {
    let mut router = Router::safe();
    for _ in 0..30 {
        let mut window = router.window();
        window.cells = vec![cell(Role::Canary, 1_000_000_000_000_000)];
        router.tell(&window);
    }
    assert_eq!(router.collector.verdict().expect("a verdict").kind, Kind::Blind);
}

#[test]
fn a_batch_that_windows_are_missing_of_is_blind_whatever_is_in_it() {
    let mut router = Router::safe();
    router.window();
    let (mut seen, mut kinds) = (router.collector.number, Vec::new());
    for _ in 0..25 {
        let window = router.window();
        let kind = router.tell(&window).kind;
        if router.collector.number > seen {
            seen = router.collector.number;
            kinds.push(kind);
        }
    }
    assert_eq!(kinds, [Kind::Blind, Kind::Safe]);
}

#[test]
fn a_clock_that_goes_back_blinds_and_is_not_taken_for_silence() {
    let mut router = Router::safe();
    router.go_on(5);
    let before = router.at;
    router.at = Timestamp(router.at.0 - 600_000);
    for _ in 0..30 {
        let window = router.window();
        let verdict = router.tell(&window);
        assert_eq!(verdict.kind, Kind::Blind, "{}", verdict.because);
    }
    router.at = before;
    assert_eq!(router.go_on(10).kind, Kind::Blind);
    assert_eq!(router.go_on(15).kind, Kind::Safe);
    // A window that ends as it begins is none.
    let window = Window { to: router.at, from: router.at, ..router.window() };
    assert_eq!(router.tell(&window).kind, Kind::Blind);
}

#[test]
fn a_clock_that_leaps_ahead_blinds_until_it_goes_on() {
    for inside in [true, false] {
        let mut router = Router::safe();
        router.go_on(5);
        let mut window = router.window();
        window.to = window.to.plus(Millis::seconds(900));
        if !inside {
            window.from = Timestamp(window.to.0 - 100);
        }
        router.at = window.to;
        assert_eq!(router.tell(&window).kind, Kind::Blind, "{inside}");
        assert_eq!(router.go_on(10).kind, Kind::Blind, "{inside}");
        assert_eq!(router.go_on(15).kind, Kind::Safe, "{inside}");
    }
}

#[test]
fn a_router_whose_clock_is_another_is_judged_by_its_own() {
    for off in [-86_400_000_i64, 86_400_000] {
        let mut router = Router::new();
        router.at = Timestamp(router.at.0.saturating_mul(1_000).saturating_add_signed(off));
        let mut collector = collector();
        collector.origin = Timestamp(BEGAN.0 * 1_000);
        router.collector = collector;
        let verdict = router.go_on(200);
        assert_eq!(verdict.kind, Kind::Safe, "{}", verdict.because);
    }
}

/// Failures that come when the weight has changed are no evidence, and harm all the same.
#[test]
fn what_ends_after_its_epoch_is_counted_and_no_evidence() {
    let mut router = Router::safe();
    let before = router.collector.verdict().expect("a verdict").evidence.clone();
    router.generation = 6;
    router.go_on(5);
    let mut late = router.window();
    let failures = Failures { timeout: 7, ..Failures::default() };
    late.generation = Generation(5);
    late.cells = vec![Cell { routed: 0, answered: 7, failures, latency: vec![(117, 7)], ..cell(Role::Canary, 7) }];
    late.cohorts = vec![Cohort { number: 1, canary: true, heard: 7, failed: 7, ..Cohort::default() }];
    router.tell(&late);
    let after = router.go_on(20).evidence;
    assert_eq!((after.ended_late.canary.n, after.ended_late.canary.x, after.late), (7, 7, 1));
    assert_eq!(after.rollout.canary.x, before.rollout.canary.x);
    assert_eq!(router.collector.seen().0.failed, 7);
}

#[test]
fn a_service_is_idle_only_as_long_as_all_of_it_was_counted_and_nothing_came() {
    let idle = |router: &Router, later| router.collector.traffic(Generation(5), router.at.plus(Millis(later))).idle;
    let quiet = |router: &mut Router, windows: u64| {
        for _ in 0..windows {
            let window = Window { cells: Vec::new(), ..router.window() };
            router.tell(&window);
        }
    };
    let mut router = Router::safe();
    assert_eq!(idle(&router, 0), Millis(0), "requests come");
    quiet(&mut router, 700);
    assert_eq!((idle(&router, 0), idle(&router, 1_000)), (Millis(70_000), Millis(70_000)));
    assert_eq!(idle(&router, 3_000), Millis(0), "a source that says nothing is no service without requests");
    // What breaks it, each: requests, also those that nobody took or that a match sent; a lost window, another run, nonsense.
    type Change = fn(&mut Window);
    let changes: [(Change, u64); 6] = [
        (|window| window.cells = vec![cell(Role::Stable, 1)], 0),
        (|window| window.cells = vec![cell(Role::Matched, 1)], 0),
        (|window| window.unserved = 1, 0),
        (|window| window.sequence += 1, 100),
        (|window| window.boot = "another".to_owned(), 100),
        (|window| window.unserved = u64::MAX, 0),
    ];
    for (number, (change, left)) in changes.into_iter().enumerate() {
        let mut router = Router::new();
        quiet(&mut router, 700);
        let mut window = Window { cells: Vec::new(), ..router.window() };
        change(&mut window);
        router.sequence = window.sequence;
        router.tell(&window);
        assert_eq!(idle(&router, 0), Millis(left), "{number}");
    }
    // Copies are no requests.
    quiet(&mut router, 1);
    let window = Window { cells: vec![cell(Role::Mirrored, 5)], ..router.window() };
    router.tell(&window);
    assert_eq!(idle(&router, 0), Millis(70_200));
}
