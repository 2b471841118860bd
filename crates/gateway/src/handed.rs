//! What one gateway's process hands to the next, and how the first goes on: it follows the one that took over, and what it
//! still counts is told there. To whoever watches, the run goes on: the same boot, the next window, the mode and the lease as
//! they are.

use crate::{
    clock,
    held::{Held, Holder},
    sticky::{Failed, Key},
    table::Table,
};
use davy_core::{Cut, FallbackCause, InFlight, Mode, ServiceKey, Snapshot, Timestamp, Window};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Everything but the services.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Handed {
    pub boot: String,
    pub unhealthy: Vec<SocketAddr>,
    /// How many follow.
    pub services: usize,
    /// What time it is there: windows go on in it.
    #[serde(default)]
    pub now: Option<Timestamp>,
}

/// One service as it is served at that moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HandedService {
    snapshot: Snapshot,
    mode: Mode,
    /// Since the lease was renewed.
    renewed_ms: u64,
    windows: VecDeque<Window>,
    sequence: u64,
    closed_at: Timestamp,
    /// Clients that failed, where they stay with a release.
    failed: Vec<u64>,
    #[serde(default)]
    clients_forgotten: bool,
    /// Of the requests admitted last.
    #[serde(default)]
    cohort: u32,
    /// How many gateways have guarded its rollout.
    #[serde(default)]
    runs: u32,
    #[serde(default)]
    cut: Option<Cut>,
}

impl HandedService {
    /// The last window that goes along.
    pub(crate) fn last(&self) -> (ServiceKey, u64) {
        (self.snapshot.key.clone(), self.sequence)
    }
}

/// What the process that took over says to the one before.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Follow {
    /// This is served now.
    Serve(Vec<(Snapshot, Mode)>),
    /// End.
    End,
}

/// What the process before says to the one that took over.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Counted {
    /// Counts of one service since the last time, and what is under way.
    Service { key: ServiceKey, windows: Vec<Window>, in_flight: Vec<InFlight> },
    /// It has nothing under way any more.
    Done,
}

impl Holder {
    /// Hands everything over, and only follows from now on.
    pub(crate) fn hand_over(&mut self) -> (Handed, Vec<HandedService>) {
        self.tick();
        // From now on the next process numbers the cohorts, and what is admitted here is of none.
        self.follows = true;
        let services: Vec<HandedService> = self.services.values().map(Held::handed).collect();
        let unhealthy = self.health.iter().filter(|(_, healthy)| !healthy.load(Relaxed)).map(|(address, _)| *address);
        let (boot, services_count, now) = (self.boot.clone(), services.len(), Some(clock::now()));
        let handed = Handed { boot, unhealthy: unhealthy.collect(), services: services_count, now };
        (handed, services)
    }

    /// Takes everything over.
    pub(crate) fn take_over(
        handed: Handed,
        services: Vec<HandedService>,
        key: Key,
        table: Arc<RwLock<Arc<Table>>>,
    ) -> Self {
        if let Some(now) = handed.now {
            clock::set(now);
        }
        let mut holder = Self::open(Vec::new(), handed.boot, key, table);
        for address in handed.unhealthy {
            holder.health.insert(address, Arc::new(AtomicBool::new(false)));
        }
        for service in services {
            let key = service.snapshot.key.clone();
            holder.hold(service.snapshot, service.mode);
            if let Some(held) = holder.services.get_mut(&key) {
                let renewed = Instant::now().checked_sub(Duration::from_millis(service.renewed_ms));
                held.renewed = renewed.unwrap_or_else(Instant::now);
                held.windows = service.windows;
                held.sequence = service.sequence;
                held.closed_at = service.closed_at;
                held.failed = Arc::new(Failed::of(service.failed, service.clients_forgotten));
                held.cohort = service.cohort.saturating_add(1);
                held.runs = service.runs.saturating_add(1);
                held.cut = service.cut;
            }
            holder.rewrite(&key);
        }
        holder.compile();
        holder
    }

    /// What those that follow are to serve.
    pub(crate) fn told(&self) -> Vec<(Snapshot, Mode)> {
        self.services.values().map(|held| (held.snapshot.clone(), held.mode.clone())).collect()
    }

    /// Serves what the process that took over serves.
    pub(crate) fn follow(&mut self, told: Vec<(Snapshot, Mode)>) {
        let mut changed = false;
        for (snapshot, mode) in told {
            let known = self.services.get(&snapshot.key);
            if known.is_none_or(|held| held.snapshot != snapshot || held.mode != mode) {
                self.hold(snapshot, mode);
                changed = true;
            }
        }
        if changed {
            self.compile();
        }
    }

    /// Nobody controls it any more: every trial falls back.
    pub(crate) fn abandoned(&mut self) {
        let lapsed = Mode::Fallback { cause: FallbackCause::Lapse, at: clock::now() };
        for held in self.services.values_mut() {
            if held.snapshot.lease.is_some() && held.mode == Mode::Split {
                held.mode = lapsed.clone();
            }
        }
        self.compile();
    }

    /// What was counted since the last time, and what is under way, for the process that took over.
    pub(crate) fn counted(&self, told: &mut BTreeMap<ServiceKey, u64>) -> Vec<Counted> {
        let services = self.services.iter().map(|(key, held)| {
            let last = told.insert(key.clone(), held.sequence).unwrap_or(0);
            let is_new = |window: &&Window| {
                window.sequence > last
                    && !(window.cells.is_empty() && window.cohorts.is_empty() && window.unserved == 0)
            };
            let windows = held.windows.iter().filter(is_new).cloned().collect();
            Counted::Service { key: key.clone(), windows, in_flight: held.under_way() }
        });
        services.collect()
    }

    /// Takes the counts of a process that follows for its own: they are told with the next window, in its time.
    pub(crate) fn absorb(&mut self, of: u64, key: &ServiceKey, windows: Vec<Window>, in_flight: Vec<InFlight>) {
        let Some(held) = self.services.get_mut(key) else { return };
        held.absorbed.extend(windows);
        held.followed.insert(of, in_flight);
    }

    /// A process that followed is gone; whether it had said so. If not, what it had not told is lost, and seen to be: a window
    /// is left out.
    pub(crate) fn gone(&mut self, of: u64, said: bool) {
        for held in self.services.values_mut() {
            let left = held.followed.remove(&of);
            if !said && left.is_some() {
                held.sequence = held.sequence.saturating_add(1);
            }
        }
    }
}

impl Held {
    fn handed(&self) -> HandedService {
        HandedService {
            snapshot: self.snapshot.clone(),
            mode: self.mode.clone(),
            renewed_ms: u64::try_from(self.renewed.elapsed().as_millis()).unwrap_or(u64::MAX),
            windows: self.windows.clone(),
            sequence: self.sequence,
            closed_at: self.closed_at,
            failed: self.failed.names(),
            clients_forgotten: self.failed.forgotten(),
            cohort: self.cohort,
            runs: self.runs,
            cut: self.cut.clone(),
        }
    }

    /// Requests under way, also those of processes that follow.
    pub(crate) fn under_way(&self) -> Vec<InFlight> {
        let own = self.in_flight.iter().map(|(of, count)| (of.clone(), count.load(Relaxed)));
        let followed = self.followed.values().flatten();
        let followed = followed.map(|under| ((under.release.clone(), under.instance.clone()), under.requests));
        let mut sums: BTreeMap<_, u64> = BTreeMap::new();
        for (of, count) in own.chain(followed).filter(|(_, count)| *count > 0) {
            let sum = sums.entry(of).or_default();
            *sum = sum.saturating_add(count);
        }
        let told = sums.into_iter().map(|((release, instance), requests)| InFlight { release, instance, requests });
        told.collect()
    }
}
