//! What workers look up for every request: routes, splits and instances, compiled from the snapshots held.

use crate::count::{Counter, Under};
use davy_core::{Millis, Route};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

/// Every service's route, the most specific first.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub routes: Vec<(Route, Arc<Service>)>,
}

/// One service as it is served now.
#[derive(Debug)]
pub(crate) struct Service {
    pub targets: Vec<Target>,
    /// The target that everything falls back to.
    pub fallback: Option<usize>,
    /// Whether only the fallback is served.
    pub fallen: bool,
    pub timeout: Millis,
    pub unserved: Arc<AtomicU64>,
}

/// One release and its share.
#[derive(Debug)]
pub(crate) struct Target {
    /// The sum of the weights up to here, in basis points.
    pub until: u16,
    pub instances: Vec<Instance>,
    pub next: AtomicUsize,
    pub in_flight: Arc<AtomicU64>,
}

/// One instance of a release.
#[derive(Debug)]
pub(crate) struct Instance {
    pub address: SocketAddr,
    pub healthy: Arc<AtomicBool>,
    pub counter: Arc<Counter>,
}

/// Where a request goes.
pub(crate) struct Chosen {
    pub address: SocketAddr,
    pub under: Under,
}

impl Table {
    pub(crate) fn new(mut routes: Vec<(Route, Arc<Service>)>) -> Self {
        // One that serves nothing gives way to one of the same route.
        routes.sort_by_key(|(route, service)| {
            (route.host.is_none(), std::cmp::Reverse(route.path.len()), service.targets.is_empty())
        });
        Self { routes }
    }

    /// The service of a host (without port) and a path.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<&Arc<Service>> {
        let fits = |route: &Route| {
            route.host.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(host)) && is_under(path, &route.path)
        };
        self.routes.iter().find(|(route, _)| fits(route)).map(|(_, service)| service)
    }
}

/// Whether a path is a prefix's, by whole segments.
fn is_under(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest.starts_with('?'))
}

impl Service {
    /// Draws a release by weight and takes an instance of it. None when nothing can be asked at all.
    pub(crate) fn choose(&self, draw: u16) -> Option<Chosen> {
        let by_weight = self.targets.iter().position(|target| draw < target.until);
        let target = match self.fallback {
            Some(fallback) if self.fallen => fallback,
            _ => by_weight?,
        };
        let healthy = self.healthy(target);
        let target = match (healthy, self.fallback) {
            // A release without a healthy instance harms nobody while another can serve.
            (None, Some(fallback)) if self.healthy(fallback).is_some() => fallback,
            _ => target,
        };
        let target = &self.targets[target];
        let count = target.instances.len();
        let start = target.next.fetch_add(1, Relaxed);
        let in_turn = (0..count).map(|offset| &target.instances[(start.wrapping_add(offset)) % count]);
        let instance =
            in_turn.clone().find(|instance| instance.healthy.load(Relaxed)).or_else(|| in_turn.clone().next())?;
        let under = Under::new(instance.counter.clone(), target.in_flight.clone());
        Some(Chosen { address: instance.address, under })
    }

    fn healthy(&self, target: usize) -> Option<&Instance> {
        self.targets[target].instances.iter().find(|instance| instance.healthy.load(Relaxed))
    }
}
