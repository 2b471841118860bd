//! What a gateway holds, whatever it is told by a controller, by its disk and by another process.

use crate::{
    aside::Asked,
    disk::Stored,
    frame::Request,
    handed::{Counted, Handed, HandedService},
    held::Holder,
    sticky::Key,
    table::{Entry, Table},
};
use davy_core::{Generation, Mode, ServiceKey, Snapshot};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

/// One thing that a gateway may be told, a line of JSON each.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Said {
    /// It starts again with this on its disk.
    Disk(Vec<Stored>),
    /// A controller asks.
    Ask(Box<Request>),
    /// It takes over from another process.
    TakeOver(Handed, Vec<HandedService>),
    /// The process that took over from it says what is served.
    Follow(Vec<(Snapshot, Mode)>),
    /// A process that it took over from tells what it counted.
    Counted(Counted),
    /// A request comes, with this draw.
    Draw { host: String, path: String, draw: u16 },
    /// Windows are closed.
    Tick,
    /// It hands over.
    HandOver,
}

/// Holds what it is told, line by line. What is served, what is counted and what is told of it keep their laws.
pub fn held(bytes: &[u8]) {
    let mut held = World::new(Vec::new());
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        if let Ok(said) = serde_json::from_slice(line) {
            held.hear(said);
            held.check();
        }
    }
}

struct World {
    holder: Holder,
    table: Arc<RwLock<Arc<Table>>>,
    /// The last window that was seen of each service.
    seen: BTreeMap<ServiceKey, u64>,
}

fn key() -> Key {
    Key::new(&[7; 32])
}

impl World {
    fn new(stored: Vec<Stored>) -> Self {
        let table = Arc::default();
        let holder = Holder::open(stored, "fuzz".to_owned(), key(), Arc::clone(&table));
        Self { holder, table, seen: BTreeMap::new() }
    }

    fn table(&self) -> Arc<Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hear(&mut self, said: Said) {
        match said {
            Said::Disk(stored) => *self = Self::new(stored),
            Said::Ask(request) => self.ask(*request),
            Said::TakeOver(handed, services) => {
                let table = Arc::clone(&self.table);
                self.holder = Holder::take_over(handed, services, key(), table);
                self.seen.clear();
            }
            Said::Follow(told) => self.holder.follow(told),
            Said::Counted(Counted::Service { key, windows, in_flight }) => {
                self.holder.absorb(1, &key, windows, in_flight);
            }
            Said::Counted(Counted::Done) => self.holder.gone(1, true),
            Said::Draw { host, path, draw } => {
                if let Some((service, _)) = self.table().find(&host, &path) {
                    service.choose(Asked::Draw(draw % 10_000), Instant::now());
                }
            }
            Said::Tick => self.tick(),
            Said::HandOver => {
                let (_, services) = self.holder.hand_over();
                assert_eq!(services.len(), self.holder.services.len(), "everything is handed over");
                self.holder.counted(&mut BTreeMap::new());
                self.holder.abandoned();
            }
        }
    }

    fn ask(&mut self, request: Request) {
        match request {
            Request::Serve(snapshot) => {
                let before = self.generation(&snapshot.key);
                let Ok(Some(writing)) = self.holder.prepare(&snapshot) else { return };
                assert!(before < Some(snapshot.generation), "generations rise");
                snapshot.check().unwrap_or_else(|error| panic!("served, and not sound: {error}"));
                let serving = self.holder.serve(writing).unwrap_or_else(|error| panic!("it was prepared: {error}"));
                assert_eq!((serving.mode, serving.snapshot), (Mode::Split, *snapshot), "what was asked is served");
            }
            Request::Renew { key, generation } => {
                let renewed = self.holder.renew(&key, generation).is_ok();
                assert!(!renewed || self.generation(&key) == Some(generation), "a lease is of one generation");
            }
            Request::Revert { key } => {
                if let Ok((serving, _)) = self.holder.revert(&key) {
                    assert!(matches!(serving.mode, Mode::Fallback { .. }), "traffic is back");
                }
            }
            Request::Observe { key } => drop(self.holder.observe(&key)),
            Request::Windows { key, after } => drop(self.holder.windows(&key, after.as_ref())),
            _ => {}
        }
    }

    fn generation(&self, key: &ServiceKey) -> Option<Generation> {
        self.holder.services.get(key).map(|held| held.snapshot.generation)
    }

    fn tick(&mut self) {
        self.holder.tick();
        self.holder.unwritten();
        let told: Vec<_> = self.holder.services.iter().map(|(key, held)| (key.clone(), held.sequence)).collect();
        for (key, sequence) in told {
            let before = self.seen.insert(key.clone(), sequence).unwrap_or(0);
            assert!(sequence > before || sequence == u64::MAX, "each tick closes a window");
            let last = self.holder.services.get(&key).and_then(|held| held.windows.back());
            assert_eq!(last.map(|window| window.sequence), Some(sequence), "windows are numbered without gaps");
        }
    }

    fn check(&self) {
        self.holder.kept();
        self.holder.instances();
        self.holder.under_way();
        self.holder.hosts();
        let table = self.table();
        for (key, held) in &self.holder.services {
            self.holder.observe(key).unwrap_or_else(|| panic!("{key} is held and cannot be seen"));
            // Whose entry it is, only a service that is alone knows.
            let own = table.routes.iter().find(|entry| !entry.canary).filter(|_| self.holder.services.len() == 1);
            if let Some(own) = own {
                draws(&held.snapshot, &held.mode, own);
            }
        }
        for entry in &table.routes {
            entry.service.choose(Asked::Draw(0), Instant::now());
            entry.service.choose(Asked::Matched, Instant::now());
            entry.service.copied();
        }
    }
}

/// Each draw goes where the weights say, the fallback's instances first while that is served.
fn draws(snapshot: &Snapshot, mode: &Mode, entry: &Entry) {
    let fallback = snapshot.serve.iter().position(|target| Some(&target.release) == snapshot.fallback.as_ref());
    for draw in [0, 1, 4_999, 5_000, 9_998, 9_999] {
        let mut weights = snapshot.serve.iter().scan(0_u32, |until, target| {
            *until += u32::from(target.weight.basis_points());
            Some(*until)
        });
        let by_weight = weights.position(|until| u32::from(draw) < until);
        let wanted = match mode {
            Mode::Fallback { .. } if fallback.is_some() => fallback,
            _ => by_weight,
        };
        let chosen = entry.service.choose(Asked::Draw(draw), Instant::now());
        let Some(wanted) = wanted else { continue };
        let healthy = |instance: &crate::table::Instance| instance.healthy.load(std::sync::atomic::Ordering::Relaxed);
        if entry.service.targets[wanted].instances.iter().any(healthy) {
            let Some(chosen) = chosen else { panic!("{draw} goes nowhere") };
            let backends = &snapshot.serve[wanted].instances;
            assert!(backends.iter().any(|backend| backend.address == chosen.address), "{draw} goes elsewhere");
        }
    }
}
