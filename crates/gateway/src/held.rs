//! What the gateway holds of every service: the snapshot, whether its fallback is served, the lease, the counts.

use crate::{
    aside::Aside,
    clock::now,
    count::{Cohorts, Counter, Traffic},
    cut::is_given,
    disk::{Stored, Writing},
    guard::Guard,
    metrics::Kept,
    sticky::{Failed, Key, Sticky},
    table::{Apart, Entry, Instance, Service, Table, Target},
};
use davy_core::{
    Cut, FallbackCause, Generation, InFlight, InstanceId, Match, Millis, Mode, ReleaseId, Role, Route, ServiceKey,
    Serving, Snapshot, Timestamp, Weight, Window,
};
use davy_ports::{Cursor, Error};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};
use tokio::sync::{Notify, watch};

/// Windows kept for a controller that comes back: 90 s of 100 ms.
const KEPT: usize = 900;
/// Requests admitted within this time are one cohort.
const COHORT: Millis = Millis::seconds(1);
/// Windows in one answer: what was kept for long is told in parts, which neither side has to hold as a whole.
pub(crate) const AT_ONCE: usize = 50;

/// Everything held, and the table compiled from it.
pub(crate) struct Holder {
    pub services: BTreeMap<ServiceKey, Held>,
    table: Arc<RwLock<Arc<Table>>>,
    pub boot: String,
    key: Key,
    tickets: u64,
    pub health: BTreeMap<SocketAddr, Arc<AtomicBool>>,
    /// Whether another process decides what is served.
    pub follows: bool,
    changed: watch::Sender<u64>,
    /// Rung by a guard that has found something.
    pub alarm: Arc<Notify>,
    /// What the disk has not been told yet.
    pub unwritten: Vec<Writing>,
}

pub(crate) struct Held {
    pub snapshot: Snapshot,
    pub mode: Mode,
    pub renewed: Instant,
    /// Of the latest revert: what was asked before it is not served any more.
    pub ticket: u64,
    epochs: Vec<Epoch>,
    pub in_flight: BTreeMap<(ReleaseId, InstanceId), Arc<AtomicU64>>,
    /// Clients that failed in the rollout under way, where they stay with a release.
    pub failed: Arc<Failed>,
    traffic: BTreeMap<ReleaseId, Arc<Traffic>>,
    /// Watches the canary of the rollout under way.
    pub guard: Option<Arc<Guard>>,
    /// Which gateway it is that guards this rollout, from 1.
    pub runs: u32,
    /// What a guard has cut off in this rollout.
    pub cut: Option<Cut>,
    /// Requests under way in processes that follow.
    pub followed: BTreeMap<u64, Vec<InFlight>>,
    unserved: Arc<AtomicU64>,
    pub windows: VecDeque<Window>,
    pub sequence: u64,
    pub closed_at: Timestamp,
    /// The number of the requests that are admitted now, and since when.
    pub cohort: u32,
    cohort_since: Timestamp,
    /// What processes that follow have counted since the last window.
    pub absorbed: Vec<Window>,
}

/// The counters of requests routed under one generation in one mode.
struct Epoch {
    generation: Generation,
    weight: Weight,
    counters: Vec<Arc<Counter>>,
}

impl Holder {
    /// Takes up the snapshots that were on disk. One that ran under a lease serves its fallback until a newer one comes.
    pub(crate) fn open(stored: Vec<Stored>, boot: String, key: Key, table: Arc<RwLock<Arc<Table>>>) -> Self {
        let mut holder = Self {
            services: BTreeMap::new(),
            table,
            boot,
            key,
            health: BTreeMap::new(),
            tickets: 0,
            follows: false,
            changed: watch::Sender::new(0),
            alarm: Arc::default(),
            unwritten: Vec::new(),
        };
        for Stored { snapshot, reverted, runs, cut } in stored {
            let is_cut = cut.as_ref().is_some_and(|cut| is_given(&snapshot, cut));
            let cause = match (reverted, &snapshot.lease) {
                _ if is_cut => Some(FallbackCause::Guard),
                (true, _) => Some(FallbackCause::Revert),
                (false, Some(_)) => Some(FallbackCause::Restart),
                (false, None) => None,
            };
            let mode = cause.map_or(Mode::Split, |cause| Mode::Fallback { cause, at: now() });
            let key = snapshot.key.clone();
            holder.hold(snapshot, mode);
            if let Some(held) = holder.services.get_mut(&key) {
                held.runs = runs.saturating_add(1);
                held.cut = cut;
            }
        }
        holder.compile();
        holder
    }

    pub(crate) fn boot(&self) -> &str {
        &self.boot
    }

    pub(crate) fn hold(&mut self, snapshot: Snapshot, mode: Mode) {
        let key = snapshot.key.clone();
        let held = self.services.entry(key).or_insert_with(|| Held {
            snapshot: snapshot.clone(),
            mode: mode.clone(),
            renewed: Instant::now(),
            ticket: 0,
            epochs: Vec::new(),
            in_flight: BTreeMap::new(),
            traffic: BTreeMap::new(),
            failed: Arc::default(),
            guard: None,
            runs: 1,
            cut: None,
            followed: BTreeMap::new(),
            unserved: Arc::default(),
            windows: VecDeque::new(),
            sequence: 0,
            closed_at: now(),
            cohort: 1,
            cohort_since: now(),
            absorbed: Vec::new(),
        });
        if held.snapshot.rollout != snapshot.rollout {
            held.failed = Arc::default();
            (held.guard, held.runs, held.cut) = (None, 1, None);
        }
        held.snapshot = snapshot;
        held.mode = mode;
        held.renewed = Instant::now();
    }

    /// The first half of serving a snapshot: what must be on disk before the second. None: it is served already.
    pub(crate) fn prepare(&mut self, snapshot: &Snapshot) -> Result<Option<Writing>, Error> {
        let tried = "serve a snapshot";
        self.leads(tried)?;
        snapshot.check().map_err(|error| Error::never(tried, error))?;
        let key = &snapshot.key;
        if let Some(held) = self.services.get(key) {
            if held.snapshot == *snapshot {
                return Ok(None);
            }
            if held.snapshot.generation >= snapshot.generation {
                let (has, got) = (held.snapshot.generation, snapshot.generation);
                return Err(Error::never(tried, format!("generation {got} is not above {has}, which is held")));
            }
        }
        if let Some(cut) = self.services.get(key).and_then(|held| held.cut.as_ref())
            && is_given(snapshot, cut)
        {
            let what =
                format!("the guard has cut release {} off: it gets no request again in this rollout", cut.release);
            return Err(Error::never(tried, what).hint("roll it out anew once it is mended"));
        }
        let route = &snapshot.route;
        let mut wanted = vec![route.clone()];
        wanted.extend(hosts(snapshot));
        for route in &wanted {
            let taken = |held: &&Held| held.snapshot.route == *route || hosts(&held.snapshot).any(|own| own == *route);
            // One that serves nothing any more keeps no route.
            let others = self.services.values().filter(|held| !held.snapshot.serve.is_empty());
            let clash = others.filter(|held| held.snapshot.key != *key).find(taken);
            if let Some(held) = clash {
                let host = route.host.as_deref().unwrap_or("every host");
                let what = format!("{} already has the route {host} {}", held.snapshot.key, route.path);
                let hint = "give the service a `route` of its own: another host or path";
                return Err(Error::never(tried, what).hint(hint));
            }
        }
        Ok(Some(self.writing(snapshot.clone(), false)))
    }

    /// The second half: serves a snapshot that is on disk, unless traffic was put back or another snapshot was served
    /// since the first half.
    pub(crate) fn serve(&mut self, writing: Writing) -> Result<Serving, Error> {
        let (ticket, snapshot) = (writing.ticket, writing.stored.snapshot);
        let key = snapshot.key.clone();
        if self.services.get(&key).is_some_and(|held| held.ticket > ticket) {
            return Err(Error::later("serve a snapshot", "something later was asked for the service meanwhile"));
        }
        if self.prepare(&snapshot)?.is_some() {
            self.hold(snapshot, Mode::Split);
            self.compile();
        }
        self.seen(&key)
    }

    fn leads(&self, tried: &str) -> Result<(), Error> {
        if self.follows { Err(Error::later(tried, "another process takes over just now")) } else { Ok(()) }
    }

    /// Tells when what is served changed.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn writing(&mut self, snapshot: Snapshot, reverted: bool) -> Writing {
        self.tickets += 1;
        let same = self.services.get(&snapshot.key).filter(|held| held.snapshot.rollout == snapshot.rollout);
        let (runs, cut) = same.map_or((1, None), |held| (held.runs, held.cut.clone()));
        Writing { ticket: self.tickets, stored: Stored { snapshot, reverted, runs, cut } }
    }

    pub(crate) fn renew(&mut self, key: &ServiceKey, generation: Generation) -> Result<Serving, Error> {
        let tried = "renew the lease";
        self.leads(tried)?;
        let held =
            self.services.get_mut(key).ok_or_else(|| Error::never(tried, format!("nothing is held of {key}")))?;
        if held.snapshot.generation != generation {
            let has = held.snapshot.generation;
            return Err(Error::never(tried, format!("generation {has} is held, not {generation}")));
        }
        held.renewed = Instant::now();
        self.seen(key)
    }

    /// Serves the fallback, now. The disk is told afterwards and need not answer.
    pub(crate) fn revert(&mut self, key: &ServiceKey) -> Result<(Serving, Option<Writing>), Error> {
        let tried = "put traffic back";
        self.leads(tried)?;
        let held = self.services.get(key).ok_or_else(|| Error::never(tried, format!("nothing is held of {key}")))?;
        if held.snapshot.fallback.is_none() {
            return Err(Error::never(tried, format!("the snapshot of {key} has no fallback")));
        }
        let reverted = matches!(held.mode, Mode::Fallback { cause: FallbackCause::Revert | FallbackCause::Guard, .. });
        let mut writing = None;
        if !reverted {
            let told = self.writing(held.snapshot.clone(), true);
            if let Some(held) = self.services.get_mut(key) {
                held.ticket = told.ticket;
                held.mode = Mode::Fallback { cause: FallbackCause::Revert, at: now() };
            }
            writing = Some(told);
            self.compile();
        }
        Ok((self.seen(key)?, writing))
    }

    /// Requests under way, of all services.
    pub(crate) fn under_way(&self) -> u64 {
        self.services.values().flat_map(|held| held.in_flight.values()).map(|count| count.load(Relaxed)).sum()
    }

    pub(crate) fn observe(&self, key: &ServiceKey) -> Option<Serving> {
        self.services.get(key).map(|held| self.serving(held))
    }

    fn seen(&self, key: &ServiceKey) -> Result<Serving, Error> {
        self.observe(key).ok_or_else(|| Error::never("look at the snapshot", format!("nothing is held of {key}")))
    }

    fn serving(&self, held: &Held) -> Serving {
        Serving {
            snapshot: held.snapshot.clone(),
            mode: held.mode.clone(),
            boot: self.boot.clone(),
            counted: Some(held.answered()),
            in_flight: held.under_way(),
            cut: held.cut.clone(),
        }
    }

    /// The hosts of all routes.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let hosts = self.services.values().filter_map(|held| held.snapshot.route.host.as_ref());
        hosts.map(|host| host.to_ascii_lowercase()).collect()
    }

    /// Every service as the metrics tell it.
    pub(crate) fn kept(&self) -> Vec<Kept> {
        let kept = self.services.iter().map(|(key, held)| {
            let lease = held.snapshot.lease.filter(|_| held.mode == Mode::Split);
            Kept {
                key: key.clone(),
                mode: held.mode.clone(),
                generation: held.snapshot.generation.0,
                lease: lease.map(|lease| lease.duration().saturating_sub(held.renewed.elapsed())),
                traffic: held.traffic.iter().map(|(release, traffic)| (release.clone(), traffic.clone())).collect(),
            }
        });
        kept.collect()
    }

    /// Every instance with how it is to be checked.
    pub(crate) fn instances(&self) -> Vec<(SocketAddr, davy_core::HealthCheck, Arc<AtomicBool>)> {
        let mut all = Vec::new();
        for held in self.services.values() {
            for backend in held.snapshot.serve.iter().flat_map(|target| &target.instances) {
                if let Some(healthy) = self.health.get(&backend.address) {
                    all.push((backend.address, held.snapshot.health.clone(), healthy.clone()));
                }
            }
        }
        all
    }

    /// Rebuilds the table that the workers use.
    pub(crate) fn compile(&mut self) {
        let mut health = BTreeMap::new();
        let mut routes = Vec::new();
        for (key, held) in &mut self.services {
            let fallen = matches!(held.mode, Mode::Fallback { .. });
            let canary = held.snapshot.serve.iter().find(|target| target.role == Role::Canary);
            let weight = canary.map_or(Weight::NONE, |target| target.weight);
            let weight = if fallen { Weight::NONE } else { weight };
            let watch = if fallen { None } else { held.watch(weight, &self.alarm, self.follows) };
            let cohort = held.admits(self.follows);
            let is_apart = !held.snapshot.matches.is_empty() || held.snapshot.mirror.is_some();
            let mut counters = Vec::new();
            let mut until = 0_u16;
            let mut targets = Vec::new();
            for target in &held.snapshot.serve {
                // What the disk or another process says was never checked here.
                until = until.saturating_add(target.weight.basis_points());
                let is_canary = target.role == Role::Canary;
                let traffic = held.traffic.entry(target.release.clone());
                let traffic = traffic.or_insert_with(|| Arc::new(Traffic::new(key))).clone();
                let instances = target.instances.iter().map(|backend| {
                    let known = self.health.get(&backend.address).cloned();
                    let healthy = known.unwrap_or_else(|| Arc::new(AtomicBool::new(true)));
                    health.insert(backend.address, healthy.clone());
                    let under_way = (target.release.clone(), backend.id.clone());
                    let in_flight = held.in_flight.entry(under_way).or_default().clone();
                    let count = |role, watch| {
                        let (release, instance) = (target.release.clone(), backend.id.clone());
                        let counter = Counter::new(release, role, instance, in_flight.clone());
                        let counter = counter.slow_over(held.snapshot.slow_over).watched(watch);
                        Arc::new(counter.in_cohort(cohort))
                    };
                    let counter = count(target.role, watch.clone());
                    counters.push(counter.clone());
                    let apart = (is_canary && is_apart)
                        .then(|| Apart { matched: count(Role::Matched, None), mirrored: count(Role::Mirrored, None) });
                    if let Some(Apart { matched, mirrored }) = &apart {
                        counters.extend([matched.clone(), mirrored.clone()]);
                    }
                    Instance { address: backend.address, healthy, counter, apart }
                });
                let instances = instances.collect();
                targets.push(Target { until, instances, next: Default::default(), traffic });
            }
            let fallback = held.snapshot.fallback.as_ref();
            let fallback = fallback.and_then(|id| held.snapshot.serve.iter().position(|target| target.release == *id));
            held.epochs.push(Epoch { generation: held.snapshot.generation, weight, counters });
            let (timeout, unserved) = (held.snapshot.timeout, held.unserved.clone());
            let aside = held.aside(&self.key).filter(|_| !fallen);
            let guard = watch.map(|watch| watch.guard);
            let service = Arc::new(Service { targets, fallback, fallen, guard, timeout, unserved, aside });
            if !fallen {
                let own = hosts(&held.snapshot);
                routes.extend(own.map(|route| Entry { route, service: service.clone(), canary: true }));
            }
            routes.push(Entry { route: held.snapshot.route.clone(), service, canary: false });
        }
        self.health = health;
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Table::new(routes));
        self.changed.send_modify(|changed| *changed += 1);
    }

    /// Lets leases lapse, hears what guards have found, and closes the windows that have run since the last call.
    pub(crate) fn tick(&mut self) {
        let mut lapsed = self.hear();
        for (key, held) in &mut self.services {
            let lease = held.snapshot.lease.filter(|_| held.mode == Mode::Split && !self.follows);
            if lease.is_some_and(|lease| held.renewed.elapsed() >= lease.duration()) {
                tracing::warn!(%key, "nobody renewed the lease: the fallback is served");
                held.mode = Mode::Fallback { cause: FallbackCause::Lapse, at: now() };
                lapsed = true;
            }
        }
        if lapsed {
            self.compile();
        }
        let to = now();
        for (key, held) in &mut self.services {
            held.close(key, &self.boot, to, self.follows);
        }
    }

    /// The next windows kept after a cursor.
    pub(crate) fn windows(&self, key: &ServiceKey, after: Option<&Cursor>) -> Vec<Window> {
        let Some(held) = self.services.get(key) else { return Vec::new() };
        let seen = after.filter(|cursor| cursor.boot == self.boot).map_or(0, |cursor| cursor.sequence);
        let new = held.windows.iter().rev().take_while(|window| window.sequence > seen).count();
        held.windows.range(held.windows.len() - new..).take(AT_ONCE).cloned().collect()
    }
}

/// The routes of a canary's own hosts.
fn hosts(snapshot: &Snapshot) -> impl Iterator<Item = Route> {
    snapshot.matches.iter().filter_map(|wanted| match wanted {
        Match::Host(host) => Some(Route { host: Some(host.clone()), path: snapshot.route.path.clone() }),
        _ => None,
    })
}

impl Held {
    /// What goes to the canary besides its share; none when nothing does.
    fn aside(&self, key: &Key) -> Option<Aside> {
        let Snapshot { matches, mirror, sticky, rollout, route, .. } = &self.snapshot;
        let canary = self.snapshot.serve.iter().position(|target| target.role == Role::Canary)?;
        let sticky = rollout.as_ref().filter(|_| *sticky);
        if matches.is_empty() && mirror.is_none() && sticky.is_none() {
            return None;
        }
        let failed = &self.failed;
        let sticky = sticky.map(|id| Sticky::new(key.clone(), &self.snapshot.key, id, &route.path, failed.clone()));
        Some(Aside { canary, matches: matches.clone(), mirror: *mirror, sticky })
    }

    /// Requests that were answered, or ended without an answer, since this gateway began.
    fn answered(&self) -> u64 {
        self.traffic.values().flat_map(|traffic| &traffic.answers).map(|count| count.load(Relaxed)).sum()
    }

    /// The cohort of what is admitted now; 0, of none, where nobody asks when requests were admitted.
    fn admits(&self, follows: bool) -> u32 {
        let is_trial = self.snapshot.serve.iter().any(|target| target.role == Role::Canary);
        if is_trial && !follows { self.cohort } else { 0 }
    }

    fn close(&mut self, key: &ServiceKey, boot: &str, to: Timestamp, follows: bool) {
        // A guard may ask for it twice in a millisecond: a window has a duration.
        let to = to.max(self.closed_at.plus(Millis(1)));
        let from = std::mem::replace(&mut self.closed_at, to);
        let last = self.epochs.len().saturating_sub(1);
        if to.since(self.cohort_since) >= COHORT {
            (self.cohort, self.cohort_since) = (self.cohort.saturating_add(1), to);
        }
        let next = self.admits(follows);
        let mut unserved = self.unserved.swap(0, Relaxed);
        let mut closed = Vec::new();
        self.epochs = std::mem::take(&mut self.epochs)
            .into_iter()
            .enumerate()
            .filter_map(|(index, epoch)| {
                // Taken before its counts: whoever held a counter then has counted by the next time.
                let used = epoch.counters.iter().any(|counter| Arc::strong_count(counter) > 1);
                let mut told = Cohorts::new();
                let take = |counter: &Arc<Counter>| counter.take(next, &mut told);
                let cells: Vec<_> = epoch.counters.iter().filter_map(take).collect();
                // Of requests that are compared with nothing nobody asks when they were admitted.
                let is_shared = Weight::NONE < epoch.weight && epoch.weight < Weight::ALL;
                let cohorts: Vec<_> = told.into_values().filter(|_| is_shared).collect();
                if index == last || !cells.is_empty() || !cohorts.is_empty() {
                    let unserved = if index == last { std::mem::take(&mut unserved) } else { 0 };
                    closed.push((epoch.generation, epoch.weight, cells, unserved, cohorts));
                }
                (index == last || used).then_some(epoch)
            })
            .collect();
        let clients_forgotten = self.failed.forgotten();
        let own = closed.into_iter().map(|(generation, weight, cells, unserved, cohorts)| Window {
            key: key.clone(),
            boot: boot.to_owned(),
            sequence: 0,
            generation,
            weight,
            from,
            to,
            cells,
            unserved,
            cohorts,
            clients_forgotten,
        });
        let absorbed = std::mem::take(&mut self.absorbed);
        let absorbed = absorbed.into_iter().map(|window| Window { boot: boot.to_owned(), from, to, ..window });
        for window in absorbed.chain(own) {
            self.sequence = self.sequence.saturating_add(1);
            self.windows.push_back(Window { sequence: self.sequence, ..window });
        }
        while self.windows.len() > KEPT {
            self.windows.pop_front();
        }
        let backends = self.snapshot.serve.iter().flat_map(|target| &target.instances);
        let served = |instance: &InstanceId| backends.clone().any(|backend| backend.id == *instance);
        self.in_flight.retain(|(_, instance), count| served(instance) || count.load(Relaxed) > 0);
        self.traffic.retain(|release, traffic| {
            let served = self.snapshot.serve.iter().any(|target| target.release == *release);
            served || traffic.in_flight.load(Relaxed) > 0
        });
    }
}
