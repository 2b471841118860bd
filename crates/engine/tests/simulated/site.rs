//! What is really there of one service: its instances, what its router serves, and the requests that come.

use davy_core::{
    Cell, Failures, FallbackCause, Generation, Health, Instance, InstanceId, Millis, Mode, Release, ReleaseId, Role,
    ServiceKey, Serving, Snapshot, Timestamp, Weight, Window,
};
use davy_ports::{Cursor, Error, Order};
use std::collections::{BTreeMap, VecDeque};

/// The time that one window counts.
pub(crate) const WINDOW: Millis = Millis::seconds(1);
/// So many windows are kept for who asks later.
const KEPT: usize = 90;

/// The variable that says which of its requests a release fails: one in so many, none if it is 0.
pub(crate) const FAILS: &str = "FAILS_ONE_IN";

/// One service.
pub(crate) struct Site {
    key: ServiceKey,
    /// Requests a second.
    rate: f64,
    fails: BTreeMap<ReleaseId, f64>,
    pub(crate) instances: Vec<Instance>,
    ready: BTreeMap<InstanceId, Timestamp>,
    /// The highest generation that the platform took.
    fence: Generation,
    made: u32,
    pub(crate) router: Option<Held>,
    boot: u32,
    sequence: u64,
    began: Timestamp,
    counted: Timestamp,
    windows: VecDeque<Window>,
    /// No counts come until then.
    pub(crate) silent: Timestamp,
    /// Laws that the controller broke.
    pub(crate) broken: Vec<String>,
}

/// What the router holds.
pub(crate) struct Held {
    pub(crate) snapshot: Snapshot,
    pub(crate) mode: Mode,
    lease: Option<Timestamp>,
}

impl Site {
    pub(crate) fn new(key: &ServiceKey, rate: f64, now: Timestamp) -> Self {
        Self {
            key: key.clone(),
            rate,
            fails: BTreeMap::new(),
            instances: Vec::new(),
            ready: BTreeMap::new(),
            fence: Generation(0),
            made: 0,
            router: None,
            boot: 1,
            sequence: 0,
            began: now,
            counted: now,
            windows: VecDeque::new(),
            silent: Timestamp(0),
            broken: Vec::new(),
        }
    }

    /// Whether requests may go to a release now.
    fn serves(&self, release: &ReleaseId) -> bool {
        self.router.as_ref().is_some_and(|held| match held.mode {
            Mode::Fallback { .. } => held.snapshot.fallback.as_ref() == Some(release),
            Mode::Split => {
                let mut targets = held.snapshot.serve.iter();
                targets.any(|target| target.release == *release && target.weight > Weight::NONE)
            }
        })
    }

    /// From now on so many requests come in a second.
    pub(crate) fn set_rate(&mut self, rate: f64, now: Timestamp) {
        self.pass_by(now);
        self.count(now);
        self.rate = rate;
    }

    // The platform.

    pub(crate) fn ensure(&mut self, order: &Order, now: Timestamp, dice: &mut fastrand::Rng) -> Result<(), Error> {
        self.pass(order.generation, "order instances")?;
        let fails = order.release.workload.env.get(FAILS).and_then(|one_in| one_in.parse::<f64>().ok()).unwrap_or(0.0);
        self.fails.insert(order.release.id.clone(), if fails > 0.0 { 1.0 / fails } else { 0.0 });
        let wanted = order.count as usize;
        let there = |site: &Self| site.instances.iter().filter(|it| it.release == order.release.id).count();
        for spare in &order.spare {
            if there(self) > wanted {
                self.instances.retain(|instance| instance.id != *spare);
            }
        }
        while there(self) < wanted {
            self.start(&order.release, now, dice);
        }
        Ok(())
    }

    fn start(&mut self, release: &Release, now: Timestamp, dice: &mut fastrand::Rng) {
        self.made += 1;
        let id = InstanceId::new(format!("{}-{}", release.id, self.made));
        let port = 1024 + u16::try_from(self.made % 60_000).unwrap_or_default();
        self.ready.insert(id.clone(), now.plus(Millis(dice.u64(200..2_000))));
        self.instances.push(Instance {
            id,
            release: release.id.clone(),
            address: ([127, 0, 0, 1], port).into(),
            health: Health::Starting { why: "no answer yet".to_owned() },
            restarts: 0,
            since: now,
        });
    }

    pub(crate) fn observe(&mut self, now: Timestamp) -> Vec<Instance> {
        for instance in &mut self.instances {
            if self.ready.get(&instance.id).is_some_and(|ready| *ready <= now) {
                instance.health = Health::Healthy;
            }
        }
        self.instances.clone()
    }

    pub(crate) fn remove(&mut self, release: &ReleaseId, generation: Generation) -> Result<(), Error> {
        self.pass(generation, "remove instances")?;
        let there = self.instances.iter().any(|instance| instance.release == *release);
        if there && self.serves(release) {
            self.broken.push(format!("release {release} was removed while it served"));
        }
        self.instances.retain(|instance| instance.release != *release);
        Ok(())
    }

    fn pass(&mut self, generation: Generation, tried: &str) -> Result<(), Error> {
        if generation < self.fence {
            return Err(Error::never(tried, format!("generation {} was seen", self.fence.0)));
        }
        self.fence = generation;
        Ok(())
    }

    /// An instance ends, and is started again by its place.
    pub(crate) fn fall(&mut self, index: usize, now: Timestamp, back: Millis) {
        if let Some(instance) = self.instances.get_mut(index) {
            instance.health = Health::Ended { why: "killed".to_owned() };
            instance.since = now;
            self.ready.insert(instance.id.clone(), now.plus(back));
        }
    }

    // The router.

    pub(crate) fn serve(&mut self, snapshot: &Snapshot, now: Timestamp) -> Result<Serving, Error> {
        self.pass_by(now);
        if let Err(error) = snapshot.check() {
            self.broken.push(format!("a snapshot that no router can serve: {error}"));
        }
        match &self.router {
            Some(held) if held.snapshot.generation > snapshot.generation => {
                return Err(Error::never("serve", format!("it holds generation {}", held.snapshot.generation.0)));
            }
            Some(held) if held.snapshot.generation == snapshot.generation => {}
            _ => {
                self.count(now);
                let lease = snapshot.lease.map(|lease| now.plus(lease));
                self.router = Some(Held { snapshot: snapshot.clone(), mode: Mode::Split, lease });
            }
        }
        self.serving(now).ok_or_else(|| Error::later("serve", "it holds nothing"))
    }

    pub(crate) fn renew(&mut self, generation: Generation, now: Timestamp) -> Result<Serving, Error> {
        self.pass_by(now);
        match &mut self.router {
            Some(held) if held.snapshot.generation == generation => {
                held.lease = held.snapshot.lease.map(|lease| now.plus(lease));
            }
            _ => return Err(Error::never("renew", "it holds another snapshot")),
        }
        self.serving(now).ok_or_else(|| Error::later("renew", "it holds nothing"))
    }

    pub(crate) fn revert(&mut self, now: Timestamp) -> Result<Serving, Error> {
        self.pass_by(now);
        self.count(now);
        match &mut self.router {
            Some(held) if held.snapshot.fallback.is_some() => {
                if held.mode == Mode::Split {
                    held.mode = Mode::Fallback { cause: FallbackCause::Revert, at: now };
                }
            }
            _ => return Err(Error::never("put traffic back", "there is no fallback")),
        }
        self.serving(now).ok_or_else(|| Error::later("put traffic back", "it holds nothing"))
    }

    pub(crate) fn serving(&mut self, now: Timestamp) -> Option<Serving> {
        self.pass_by(now);
        self.router.as_ref().map(|held| Serving {
            snapshot: held.snapshot.clone(),
            mode: held.mode.clone(),
            boot: format!("boot-{}", self.boot),
            counted: None,
            in_flight: Vec::new(),
            cut: None,
        })
    }

    /// The router ends, and starts from what it had on disk.
    pub(crate) fn restart_router(&mut self, now: Timestamp) {
        self.pass_by(now);
        self.windows.clear();
        self.boot += 1;
        self.sequence = 0;
        self.counted = now;
        if let Some(held) = &mut self.router
            && held.snapshot.lease.is_some()
        {
            held.mode = Mode::Fallback { cause: FallbackCause::Restart, at: now };
        }
    }

    /// Time goes by: a lease may lapse, windows close.
    pub(crate) fn pass_by(&mut self, now: Timestamp) {
        if let Some(held) = &self.router
            && let (Mode::Split, Some(lapse)) = (&held.mode, held.lease)
            && lapse <= now
        {
            self.close_until(lapse);
            self.count(lapse);
            if let Some(held) = &mut self.router {
                held.mode = Mode::Fallback { cause: FallbackCause::Lapse, at: lapse };
            }
        }
        self.close_until(now);
    }

    fn close_until(&mut self, now: Timestamp) {
        while now.since(self.counted) >= WINDOW {
            self.count(self.counted.plus(WINDOW));
        }
    }

    /// Closes a window.
    fn count(&mut self, to: Timestamp) {
        let from = self.counted;
        if to <= from {
            return;
        }
        self.counted = to;
        let Some(held) = &self.router else { return };
        // Fractions of requests add up over the windows.
        let (rate, began) = (self.rate, self.began);
        let come = |at: Timestamp| rate * at.since(began).0 as f64 / 1_000.0;
        let upto = |at: Timestamp| come(at) as u64;
        let asked = upto(to) - upto(from);
        let fallback = matches!(held.mode, Mode::Fallback { .. });
        let shares: Vec<(&davy_core::Target, u64)> = held
            .snapshot
            .serve
            .iter()
            .map(|target| {
                let whole = held.snapshot.fallback.as_ref() == Some(&target.release);
                let share = if fallback { u64::from(whole) * 10_000 } else { u64::from(target.weight.basis_points()) };
                (target, share)
            })
            .filter(|(_, share)| *share > 0)
            .collect();
        let canary = shares.iter().find(|(target, _)| target.role == Role::Canary && !fallback);
        let weight = canary.map_or(Weight::NONE, |(target, _)| target.weight);
        let (mut cells, mut unserved, mut sent) = (Vec::new(), 0, 0);
        for (index, (target, share)) in shares.iter().enumerate() {
            let spread = |at: u64| at * share / 10_000;
            let routed = if index + 1 == shares.len() { asked - sent } else { spread(upto(to)) - spread(upto(from)) };
            let routed = routed.min(asked - sent);
            sent += routed;
            if routed == 0 {
                continue;
            }
            let here = |instance: &&Instance| target.instances.iter().any(|backend| backend.id == instance.id);
            let alive = self.instances.iter().filter(here).find(|it| it.health.is_healthy());
            let Some(first) = target.instances.first() else {
                unserved += routed;
                continue;
            };
            let mut failures = Failures::default();
            match alive {
                Some(_) => {
                    let one_in = self.fails.get(&target.release).copied().unwrap_or(0.0);
                    let until = |at: Timestamp| (come(at) * one_in) as u64;
                    let of = upto(to) - upto(from);
                    let failed = (until(to) - until(from)) * routed;
                    failures.status = failed.checked_div(of).unwrap_or(0).min(routed);
                }
                None => failures.refused = routed,
            }
            cells.push(Cell {
                release: target.release.clone(),
                role: target.role,
                instance: alive.map_or(&first.id, |instance| &instance.id).clone(),
                routed,
                answered: routed,
                failures,
                repeated: 0,
                client_gone: 0,
                slow: 0,
                latency: vec![(3, routed)],
            });
        }
        if shares.is_empty() {
            unserved = asked;
        }
        self.sequence += 1;
        self.windows.push_back(Window {
            key: self.key.clone(),
            boot: format!("boot-{}", self.boot),
            sequence: self.sequence,
            generation: held.snapshot.generation,
            weight,
            from,
            to,
            cells,
            unserved,
            cohorts: Vec::new(),
            clients_forgotten: false,
        });
        if self.windows.len() > KEPT {
            self.windows.pop_front();
        }
    }

    /// The next window after one that was seen.
    pub(crate) fn window(&mut self, after: Option<&Cursor>, now: Timestamp) -> Option<Window> {
        self.pass_by(now);
        if now < self.silent {
            return None;
        }
        let new = |window: &&Window| match after {
            Some(cursor) => window.boot != cursor.boot || window.sequence > cursor.sequence,
            None => true,
        };
        // Who is up to date is not shown all the others first.
        self.windows.iter().rev().take_while(new).last().cloned()
    }
}
