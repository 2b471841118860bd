//! What workers look up for every request: routes, splits and instances, compiled from the snapshots held.

use crate::{
    aside::{Aside, Asked},
    count::{Counter, Traffic, Under},
    guard::Guard,
};
use davy_core::{Millis, Role, Route};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

/// Every service's route, the most specific first.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub routes: Vec<Entry>,
}

/// One route.
#[derive(Debug)]
pub(crate) struct Entry {
    pub route: Route,
    pub service: Arc<Service>,
    /// Whether it is the canary's own.
    pub canary: bool,
}

/// One service as it is served now.
#[derive(Debug)]
pub(crate) struct Service {
    pub targets: Vec<Target>,
    /// The target that everything falls back to.
    pub fallback: Option<usize>,
    /// Whether only the fallback is served.
    pub fallen: bool,
    /// Watches the canary: what it has cut off gets nothing more, before anybody else knows.
    pub guard: Option<Arc<Guard>>,
    pub timeout: Millis,
    pub unserved: Arc<AtomicU64>,
    /// None for a plain split.
    pub aside: Option<Aside>,
}

/// One release and its share.
#[derive(Debug)]
pub(crate) struct Target {
    /// The sum of the weights up to here, in basis points.
    pub until: u16,
    pub instances: Vec<Instance>,
    pub next: AtomicUsize,
    pub traffic: Arc<Traffic>,
}

/// One instance of a release.
#[derive(Debug)]
pub(crate) struct Instance {
    pub address: SocketAddr,
    pub healthy: Arc<AtomicBool>,
    pub counter: Arc<Counter>,
    /// What is no evidence: requests that belong to the canary, and copies.
    pub apart: Option<Apart>,
}

/// Counts that are no evidence.
#[derive(Debug)]
pub(crate) struct Apart {
    pub matched: Arc<Counter>,
    pub mirrored: Arc<Counter>,
}

/// Where a request goes.
pub(crate) struct Chosen {
    pub address: SocketAddr,
    pub under: Under,
    /// Whether another release than the canary answers, by weight: such a request may be copied.
    pub by_stable: bool,
}

impl Table {
    pub(crate) fn new(mut routes: Vec<Entry>) -> Self {
        // One that serves nothing gives way to one of the same route.
        routes.sort_by_key(|Entry { route, service, .. }| {
            (route.host.is_none(), std::cmp::Reverse(route.path.len()), service.targets.is_empty())
        });
        Self { routes }
    }

    /// The service of a host (without port) and a path, and whether the route is its canary's own.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<(&Arc<Service>, bool)> {
        let fits = |route: &Route| {
            route.host.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(host)) && is_under(path, &route.path)
        };
        self.routes.iter().find(|entry| fits(&entry.route)).map(|entry| (&entry.service, entry.canary))
    }
}

/// Whether a path is a prefix's, by whole segments.
fn is_under(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest.starts_with('?'))
}

impl Service {
    /// Finds the release of a request that `began` then and takes an instance of it. None when nothing can be asked at all.
    pub(crate) fn choose(&self, asked: Asked, began: Instant) -> Option<Chosen> {
        let fallen = self.fallen || self.guard.as_ref().is_some_and(|guard| guard.found().is_some());
        let by_weight = |draw| self.targets.iter().position(|target| draw < target.until);
        let wanted = match (&asked, &self.aside) {
            (Asked::Matched, Some(aside)) => Some(aside.canary),
            (Asked::Draw(draw), _) => by_weight(*draw),
            (Asked::Client(client), _) => by_weight(client.draw),
            (Asked::Matched, None) => None,
        };
        let target = match self.fallback {
            Some(fallback) if fallen => fallback,
            _ => wanted?,
        };
        let healthy = self.healthy(target);
        let target = match (healthy, self.fallback) {
            // A release without a healthy instance harms nobody while another can serve.
            (None, Some(fallback)) if self.healthy(fallback).is_some() => fallback,
            // A fallback whose instances have all left cannot serve until they are back.
            _ if self.targets[target].instances.is_empty() => {
                (0..self.targets.len()).find(|other| self.healthy(*other).is_some()).unwrap_or(target)
            }
            _ => target,
        };
        let instance = self.targets[target].next()?;
        let by_stable = self.aside.as_ref().is_some_and(|aside| aside.canary != target) && !fallen;
        let counter = match (&asked, &instance.apart) {
            (Asked::Matched, Some(apart)) => &apart.matched,
            _ => &instance.counter,
        };
        let mut under = Under::new(counter.clone(), self.targets[target].traffic.clone(), began);
        let is_drawn = !matches!(asked, Asked::Matched);
        let by_stable = by_stable && is_drawn;
        if is_drawn && !fallen && wanted == Some(target) {
            under.drawn();
        }
        if let Asked::Client(client) = asked {
            under.of(client);
        }
        Some(Chosen { address: instance.address, under, by_stable })
    }

    /// A healthy instance of the canary, for a copy.
    pub(crate) fn copied(&self) -> Option<(SocketAddr, Under)> {
        let aside = self.aside.as_ref()?;
        self.healthy(aside.canary)?;
        let canary = &self.targets[aside.canary];
        let instance = canary.next()?;
        let counter = &instance.apart.as_ref()?.mirrored;
        Some((instance.address, Under::new(counter.clone(), canary.traffic.clone(), Instant::now())))
    }

    /// Another instance of the release of one that could not be reached: a healthy one, else any, which may be back before its health
    /// was looked at.
    pub(crate) fn another(&self, tried: &[SocketAddr], role: Role) -> Option<(SocketAddr, Arc<Counter>)> {
        let is_tried = |instance: &&Instance| tried.contains(&instance.address);
        let target = self.targets.iter().find(|target| target.instances.iter().any(|known| is_tried(&known)))?;
        let others = || target.instances.iter().filter(|other| !is_tried(other));
        let other = others().find(|other| other.healthy.load(Relaxed)).or_else(|| others().next())?;
        let counter = match (role, &other.apart) {
            (Role::Matched, Some(apart)) => &apart.matched,
            (Role::Mirrored, Some(apart)) => &apart.mirrored,
            _ => &other.counter,
        };
        Some((other.address, counter.clone()))
    }

    fn healthy(&self, target: usize) -> Option<&Instance> {
        self.targets[target].instances.iter().find(|instance| instance.healthy.load(Relaxed))
    }
}

impl Target {
    /// The instances in turn: the next healthy one, else the next.
    fn next(&self) -> Option<&Instance> {
        let count = self.instances.len();
        let start = self.next.fetch_add(1, Relaxed);
        let in_turn = (0..count).map(|offset| &self.instances[(start.wrapping_add(offset)) % count]);
        in_turn.clone().find(|instance| instance.healthy.load(Relaxed)).or_else(|| in_turn.clone().next())
    }
}
