//! Metrics of the user: each a stream of windows of its own, compared with stable as errors are.
//!
//! A scrape brings a metric's counts every few seconds, later than the gateways bring theirs, so a metric has blocks, epochs
//! and duplicates of its own. Whoever delivers leaves out a window that straddles a change of the weight.

use crate::blocks::{Gathering, Order, Route};
use crate::counts::{Pair, Window};
use crate::mixture::Value;
use crate::policy::Policy;
use crate::relative::Relative;
use crate::verdict::Blindness;

/// One metric.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    route: Option<Route>,
    counted_to_ms: u64,
    gathering: Gathering,
    relative: Relative,
    pub(crate) value: Value,
    /// Trials and failures in closed blocks.
    pub(crate) counted: Pair,
    /// The last epoch in which a closed block had trials of the canary.
    heard: Option<u64>,
    pub(crate) blind: Option<Blindness>,
}

/// What became of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It was not counted.
    Left(Order),
    /// It cannot be true.
    Nonsense,
    /// It was counted; whether it closed a block.
    Counted(bool),
}

impl Stream {
    pub(crate) fn begin(policy: &Policy) -> Self {
        Self {
            route: None,
            counted_to_ms: 0,
            gathering: Gathering::of_clusters(policy.cluster),
            relative: Relative::begin(policy.odds, false).tempered(policy.cluster),
            value: Value::EMPTY,
            counted: Pair::default(),
            heard: None,
            blind: None,
        }
    }

    pub(crate) fn observe(&mut self, window: &Window) -> Taken {
        if window.check().is_err() {
            self.blind = Some(Blindness::Nonsense);
            return Taken::Nonsense;
        }
        match Order::of(window, self.route, self.counted_to_ms) {
            Order::Next => {}
            other => return Taken::Left(other),
        }
        self.blind = None;
        let route = Route { epoch: window.epoch, weight: window.weight };
        if self.route != Some(route) {
            self.gathering.drop_open();
            self.route = Some(route);
        }
        self.counted_to_ms = window.to_ms;
        let Some(block) = self.gathering.add(window) else { return Taken::Counted(false) };
        if block.compares() {
            self.relative.add(&block, self.counted);
            self.value = self.relative.value();
        }
        self.counted = self.counted.plus(block.counts);
        if block.counts.canary.n > 0 {
            self.heard = Some(block.epoch);
        }
        Taken::Counted(true)
    }

    /// Whether the canary has had a trial since `epoch`. A step passes only then: a metric that the canary does not report, by a
    /// lost label or a path that nobody took, would look as healthy as one without failures.
    pub(crate) fn heard_since(&self, epoch: u64) -> bool {
        self.heard.is_some_and(|heard| heard >= epoch)
    }
}
