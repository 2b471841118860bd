//! The past: read in parts or at once, from either database, it is the same.

use crate::server::Server;
use davy_core::{
    Actor, Digest, EnvironmentName, Generation, HealthCheck, Millis, Policy, Process, Release, RolloutId, Route, Run,
    ServiceKey, ServiceName, Timestamp, Weight, Workload,
    rollout::{CauseKind, Event, Outcome, Request, RequestKind, Split},
};
use davy_engine::{Past, store::Store};
use davy_ports::{Entry, Journal as _, Record};
use futures_util::TryStreamExt as _;
use std::collections::BTreeMap;
use tempfile::TempDir;

/// More than are read at once.
const EVENTS: usize = 1_000;

fn key(service: usize) -> ServiceKey {
    ServiceKey {
        service: ServiceName::new(format!("s{service}")).unwrap(),
        environment: EnvironmentName::new("production").unwrap(),
    }
}

/// Events of services that begin, wait, are promoted and end by the dice.
struct Histories {
    dice: fastrand::Rng,
    services: Vec<Own>,
    number: u64,
    /// What each rollout should be told to have come to, by its name: whether it began on something, was promoted, has ended.
    expected: BTreeMap<String, (bool, bool, bool)>,
}

#[derive(Default)]
struct Own {
    position: u64,
    current: Option<(RolloutId, bool)>,
    queued: Option<Request>,
    serves: bool,
}

impl Histories {
    fn new(seed: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let services = (0..dice.usize(1..40)).map(|_| Own::default()).collect();
        Self { dice, services, number: 0, expected: BTreeMap::new() }
    }

    fn request(&mut self, service: usize) -> Request {
        self.number += 1;
        let workload = Workload {
            run: Run::Process(Process { command: vec!["./logo".to_owned()], files: Vec::new() }),
            env: BTreeMap::new(),
            secrets: Vec::new(),
            replicas: 1,
            health: HealthCheck { path: None, grace: Millis::seconds(1), interval: Millis::seconds(1) },
            route: Route { host: None, path: "/".to_owned() },
        };
        let release = Release::new(&key(service), Digest::new(format!("sha256:{}", self.number)), workload);
        let rollout = RolloutId::new(format!("r{:06}", self.number));
        self.expected.insert(rollout.to_string(), (false, false, false));
        Request { rollout, release, policy: Policy::default(), by: Actor::new("mira"), kind: RequestKind::Deploy }
    }

    /// The next event of a service, and the rollout that it belongs to.
    fn next(&mut self, service: usize) -> (Option<RolloutId>, Event) {
        let own = std::mem::take(&mut self.services[service]);
        let (own, rollout, event) = self.follow(service, own);
        self.services[service] = Own { position: own.position + 1, ..own };
        (rollout, event)
    }

    fn follow(&mut self, service: usize, mut own: Own) -> (Own, Option<RolloutId>, Event) {
        let generation = Generation(own.position);
        let Some((rollout, promoted)) = own.current.clone() else {
            let request = own.queued.take().unwrap_or_else(|| self.request(service));
            self.expected.get_mut(request.rollout.as_str()).unwrap().0 = own.serves;
            own.current = Some((request.rollout.clone(), false));
            return (own, Some(request.rollout.clone()), Event::RolloutRequested { request: Box::new(request) });
        };
        match self.dice.u32(0..8) {
            0 if own.queued.is_none() => {
                let request = self.request(service);
                own.queued = Some(request.clone());
                (own, Some(request.rollout.clone()), Event::RolloutQueued { request: Box::new(request) })
            }
            1 if own.queued.is_some() => {
                let dropped = own.queued.take().unwrap().rollout;
                self.expected.get_mut(dropped.as_str()).unwrap().2 = true;
                let by = RolloutId::new("r-newer");
                (own, Some(dropped.clone()), Event::RolloutDropped { rollout: dropped, by })
            }
            2 if !promoted => {
                self.expected.get_mut(rollout.as_str()).unwrap().1 = true;
                own.current = Some((rollout.clone(), true));
                own.serves = true;
                (own, Some(rollout), Event::Promoted)
            }
            3 => {
                self.expected.get_mut(rollout.as_str()).unwrap().2 = true;
                own.current = None;
                let outcome = if promoted { Outcome::Promoted } else { Outcome::RolledBack };
                let cause = (!promoted).then_some(CauseKind::Judge);
                let event =
                    Event::RolloutFinished { rollout: rollout.clone(), outcome, why: "so it was".to_owned(), cause };
                (own, Some(rollout), event)
            }
            4 => {
                let split = Split::Trial { canary: Weight::new(500).unwrap(), without: Vec::new() };
                (own, Some(rollout), Event::WeightRequested { generation, step: Some(0), split })
            }
            _ => (own, Some(rollout), Event::WeightApplied { generation }),
        }
    }

    /// Appends some events of some service.
    async fn append(&mut self, journal: &Store) -> Vec<Record> {
        let service = self.dice.usize(0..self.services.len());
        let position = self.services[service].position;
        let entries: Vec<Entry> = (0..self.dice.usize(1..120))
            .map(|_| {
                let (rollout, event) = self.next(service);
                Entry { at: Timestamp(self.number), by: Actor::new("davy"), rollout, event }
            })
            .collect();
        journal.append(&key(service), position, &entries).await.unwrap()
    }
}

/// A past that reads now and then what is new is in the end the one that is read at once; and every way to read gives the same.
async fn holds(journal: &Store, seed: u64) {
    let mut histories = Histories::new(seed);
    let (mut grown, mut all) = (Past::default(), Vec::new());
    while all.len() < EVENTS {
        all.extend(histories.append(journal).await);
        if histories.dice.u32(0..5) == 0 {
            grown.read(journal).await.unwrap();
        }
    }
    grown.read(journal).await.unwrap();
    let mut whole = Past::default();
    whole.read(journal).await.unwrap();
    assert_eq!(format!("{grown:?}"), format!("{whole:?}"), "seed {seed}");

    let told = whole.of(None).map(|summary| {
        let reached = (summary.from.is_some(), summary.promoted.is_some(), summary.ended.is_some());
        (summary.rollout.to_string(), reached)
    });
    assert_eq!(told.collect::<BTreeMap<_, _>>(), histories.expected, "seed {seed}");
    for service in 0..histories.services.len() {
        let own: Vec<_> = whole.of(None).filter(|summary| summary.key == key(service)).collect();
        assert_eq!(whole.of(Some(&key(service))).collect::<Vec<_>>(), own, "seed {seed}");
    }

    for from in [0, 1, 249, 250, 251, histories.dice.usize(0..EVENTS), all.len() - 1, all.len()] {
        let since: Vec<Record> = journal.since(from as u64).try_collect().await.unwrap();
        assert!(since == all[from..], "seed {seed}: everything after {from}, in order");
        assert!(journal.after(from as u64, usize::MAX).await.unwrap() == since, "seed {seed}: the same in one page");
    }
}

#[tokio::test]
async fn what_is_read_in_parts_is_what_is_read_at_once() {
    for seed in 0..4 {
        let folder = TempDir::new().unwrap();
        holds(&Store::open(&folder.path().join("journal.db")).await.unwrap(), seed).await;
    }
}

#[tokio::test]
async fn so_it_is_in_postgresql() {
    let server = Server::start();
    holds(&Store::connect(&server.database()).await.unwrap(), 7).await;
}
