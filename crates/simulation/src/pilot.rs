//! Who moves the weight.

use crate::{
    rules::{Rule, Ruling, Seen},
    traffic::{Second, Served},
};

/// What is wanted after a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing new.
    Stay,
    /// Another weight is to be served; [`Pilot::routed`] tells that it is.
    Route,
    /// Put traffic back.
    Back,
    /// The canary has taken over.
    Promote,
}

/// Moves the weight of one rollout.
pub trait Pilot {
    /// What is served now.
    fn served(&self) -> Served;
    /// The weight last asked for is served from now on.
    fn routed(&mut self);
    /// The requests of a second are routed; what becomes of them is told by [`Pilot::failed`] and [`Pilot::second`].
    fn admits(&mut self, _second: &Second) {}
    /// A failure, as it becomes known; whether the canary is cut off at once.
    fn failed(&mut self, failure: &Seen) -> bool;
    /// A second is over.
    fn second(&mut self, second: &Second) -> Order;
}

/// Steps, each left when its rule and its hold allow it; promoted after the last. How other tools move.
#[derive(Clone, Debug)]
pub struct Ramp<R> {
    rule: R,
    /// Rising weights in basis points.
    steps: Vec<u16>,
    hold_s: u64,
    step: usize,
    wanted: usize,
    /// When the weight was asked for.
    since_s: u64,
}

impl<R: Rule> Ramp<R> {
    /// Begins at the first of the steps, which must not be empty.
    #[must_use]
    pub fn new(rule: R, steps: Vec<u16>, hold_s: u64) -> Self {
        Self { rule, steps, hold_s, step: 0, wanted: 0, since_s: 0 }
    }
}

impl<R: Rule> Pilot for Ramp<R> {
    fn served(&self) -> Served {
        let weight = self.steps.get(self.step).copied().unwrap_or_default();
        Served { epoch: self.step as u64 + 1, weight, stable: true }
    }

    fn routed(&mut self) {
        self.step = self.wanted;
    }

    fn failed(&mut self, failure: &Seen) -> bool {
        self.rule.failed(failure)
    }

    fn second(&mut self, second: &Second) -> Order {
        let now = second.from_s + 1;
        match self.rule.second(second) {
            Ruling::Back => Order::Back,
            Ruling::Forward
                if self.step == self.wanted && now - self.since_s >= self.hold_s.max(self.rule.patience_s()) =>
            {
                if self.step + 1 >= self.steps.len() {
                    return Order::Promote;
                }
                self.wanted = self.step + 1;
                self.since_s = now;
                Order::Route
            }
            _ => Order::Stay,
        }
    }
}
