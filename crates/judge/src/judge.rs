//! The judge itself: folds windows and blind marks into evidence, and reads a verdict off it.

use std::collections::VecDeque;

use crate::blocks::{Block, Gathering, compares};
use crate::counts::{Pair, WHOLE, Window};
use crate::evidence::{Evidence, Measure, Metric, Promotion, Standing};
use crate::forecast::{self, Forecast};
use crate::in_flight::InFlight;
use crate::policy::{AMBER, InvalidPolicy, Policy};
use crate::promotion::{Product, past_rate};
use crate::rollback::Rollback;
use crate::verdict::{Blindness, Kind, Verdict};
use crate::wording;

/// With a share and no request to the canary, answered or admitted, for this long by the windows' own time, in
/// milliseconds and within the epoch, there is no traffic.
pub const NO_TRAFFIC_MS: u64 = 10_000;

/// The forecast's traffic is that of the last minute.
const RECENT_MS: u64 = 60_000;

/// How the windows now coming were routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Route {
    epoch: u64,
    weight: u16,
}

/// Judges one rollout. A function of its policy and of what it is given, in that order, and of nothing else.
#[derive(Clone, Debug)]
pub struct Judge {
    policy: Policy,
    route: Option<Route>,
    /// End of the last window counted in this epoch.
    counted_to_ms: u64,
    /// When the canary last had a request in this epoch, or when the epoch began.
    quiet_since_ms: u64,
    gathering: Gathering,
    rollback: Rollback,
    product: Option<Product>,
    rollout: Pair,
    step: Pair,
    in_flight: InFlight,
    recent: VecDeque<Block>,
    blind: Option<Blindness>,
    blocks: u64,
    duplicates: u64,
    late: u64,
    nonsense: u64,
    /// Latched at the crossing, with the evidence of that moment.
    harmful: Option<Box<Verdict>>,
}

impl Judge {
    /// A judge for one rollout.
    ///
    /// # Errors
    ///
    /// What in the policy cannot be promised.
    pub fn new(policy: Policy) -> Result<Self, InvalidPolicy> {
        policy.check()?;
        Ok(Self {
            rollback: Rollback::begin(&policy),
            policy,
            route: None,
            counted_to_ms: 0,
            quiet_since_ms: 0,
            gathering: Gathering::default(),
            product: None,
            rollout: Pair::default(),
            step: Pair::default(),
            in_flight: InFlight::default(),
            recent: VecDeque::new(),
            blind: None,
            blocks: 0,
            duplicates: 0,
            late: 0,
            nonsense: 0,
            harmful: None,
        })
    }

    /// Takes the next window.
    ///
    /// A window counts once: within an epoch, one that begins before the end of the last one counted is a duplicate and
    /// ignored; so is, as late, one of an epoch below the present. Whoever delivers may therefore deliver again. A window
    /// that cannot be true is dropped and makes the judge blind; the next one counted ends blindness, an ignored one does
    /// not. A new epoch or weight drops the unfinished block of the old one and, above every earlier weight below 100 %,
    /// begins a new step. After the canary was found harmful nothing is looked at any more.
    pub fn observe(&mut self, window: &Window) {
        if self.harmful.is_some() {
            return;
        }
        if window.check().is_err() {
            self.nonsense += 1;
            self.blind = Some(Blindness::Nonsense);
            return;
        }
        match self.route {
            Some(route) if window.epoch < route.epoch => {
                self.late += 1;
                return;
            }
            Some(route) if window.epoch == route.epoch && window.from_ms < self.counted_to_ms => {
                self.duplicates += 1;
                return;
            }
            _ => {}
        }
        self.blind = None;
        let route = Route { epoch: window.epoch, weight: window.weight };
        if self.route != Some(route) {
            self.enter(route, window.from_ms);
        }
        self.counted_to_ms = window.to_ms;
        if window.canary.n > 0 || window.canary.admitted > 0 {
            self.quiet_since_ms = window.to_ms;
        }
        if let Some(block) = self.gathering.add(window) {
            self.close(&block);
        }
    }

    /// Marks that nothing can be seen, until the next window that is counted.
    pub fn blind(&mut self, why: Blindness) {
        if self.harmful.is_none() {
            self.blind = Some(why);
        }
    }

    /// The verdict now. Asking changes nothing.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if let Some(harmful) = &self.harmful {
            return Verdict::clone(harmful);
        }
        let evidence = self.evidence();
        let (kind, because) = self.decide(&evidence);
        self.speak(kind, evidence, because)
    }

    fn enter(&mut self, route: Route, from_ms: u64) {
        self.gathering.drop_open();
        self.quiet_since_ms = from_ms;
        self.in_flight = InFlight::default();
        self.rollback.enter(route.weight, from_ms, self.rollout);
        if self.route.is_none_or(|last| last.weight != route.weight) {
            self.step = Pair::default();
            self.recent.clear();
        }
        let highest = self.product.as_ref().map_or(0, |product| product.weight);
        if compares(route.weight) && route.weight > highest {
            let past = past_rate(self.rollout.stable);
            self.product = Some(Product::begin(route.weight, self.policy.margin, past));
        }
        self.route = Some(route);
    }

    fn close(&mut self, block: &Block) {
        self.rollback.add(block, self.rollout);
        if let Some(product) = self.product.as_mut().filter(|_| block.compares()) {
            product.add(block, past_rate(self.rollout.stable), self.policy.ln_safe());
        }
        self.rollout = self.rollout.plus(block.counts);
        self.step = self.step.plus(block.counts);
        self.in_flight.add(block.counts);
        self.blocks += 1;
        self.recent.push_back(*block);
        while self.recent.front().is_some_and(|old| old.from_ms.saturating_add(RECENT_MS) < block.to_ms) {
            self.recent.pop_front();
        }
        if self.rollback.reading.ln_charged >= self.policy.ln_rollback() {
            let evidence = self.evidence();
            let because = wording::harmful(&evidence, &self.policy);
            self.harmful = Some(Box::new(self.speak(Kind::Harmful, evidence, because)));
        }
    }

    fn speak(&self, kind: Kind, evidence: Evidence, because: String) -> Verdict {
        let Route { epoch, weight } = self.route.unwrap_or(Route { epoch: 0, weight: 0 });
        Verdict { kind, epoch, weight, evidence, because }
    }

    /// The order matters: what cannot be seen hides what was proven, and what speaks against the canary does, too.
    fn decide(&self, evidence: &Evidence) -> (Kind, String) {
        if let Some(why) = self.blind {
            return (Kind::Blind, wording::blind(why));
        }
        let Some(Route { weight, .. }) = self.route else {
            return (Kind::Undecided, wording::nothing_yet());
        };
        if weight == 0 {
            return (Kind::Undecided, wording::no_share());
        }
        let quiet_ms = self.counted_to_ms.saturating_sub(self.quiet_since_ms);
        if quiet_ms >= NO_TRAFFIC_MS {
            return (Kind::NoTraffic, wording::no_traffic(weight, quiet_ms));
        }
        if evidence.amber {
            return (Kind::Undecided, wording::amber(evidence));
        }
        match evidence.promotion {
            None if weight == WHOLE => (Kind::Undecided, wording::against_the_past(evidence)),
            None => (Kind::Undecided, wording::nothing_yet()),
            Some(Promotion { proven: true, .. }) if evidence.hanging => (Kind::Undecided, wording::hanging(evidence)),
            Some(Promotion { proven: true, margin, .. }) => (Kind::Safe, wording::safe(evidence, margin, &self.policy)),
            Some(Promotion { margin, forecast, .. }) => {
                (Kind::Undecided, wording::unproven(evidence, margin, forecast))
            }
        }
    }

    fn evidence(&self) -> Evidence {
        let ln_e = self.rollback.reading.ln_e;
        let metrics = self.rollback.metrics(self.rollout);
        let limit = self.rollback.limit();
        let (canary_in_flight, stable_in_flight) = self.in_flight.unanswered();
        // At 100 % the comparison stands still where it stood; only the limit can still speak.
        let alone = self.route.is_some_and(|route| route.weight == WHOLE);
        let amber = if alone { limit.is_some_and(|limit| limit.standing != Standing::Clean) } else { ln_e > AMBER };
        let causes: Vec<Measure> =
            metrics.iter().filter(|metric| metric.ln_e >= metric.ln_needed).map(|metric| metric.measure).collect();
        // The smallest distance to what a metric needs alone is the largest w_m E_m.
        let missing = |metric: &&Metric| metric.ln_needed - metric.ln_e;
        let suspect = metrics
            .iter()
            .filter(|metric| amber && causes.is_empty() && !(alone && metric.measure == Measure::Relative))
            .min_by(|a, b| missing(a).total_cmp(&missing(b)))
            .map(|metric| metric.measure);
        Evidence {
            rollout: self.rollout,
            step: self.step,
            open: self.gathering.open(),
            canary_rate: self.step.canary.rate(),
            stable_rate: self.step.stable.rate(),
            ln_e,
            ln_needed: self.policy.ln_rollback(),
            amber,
            metrics,
            causes,
            suspect,
            promotion: self.promotion(),
            canary_in_flight,
            stable_in_flight,
            hanging: !alone && self.in_flight.holds_back(self.policy.ln_safe()),
            limit,
            blocks: self.blocks,
            duplicates: self.duplicates,
            late: self.late,
            nonsense: self.nonsense,
        }
    }

    fn promotion(&self) -> Option<Promotion> {
        let product = self.product.as_ref()?;
        let weight = self.route.map(|route| route.weight).filter(|weight| compares(*weight))?;
        let ln_needed = self.policy.ln_safe();
        let past = past_rate(self.rollout.stable);
        let forecast = if product.proven {
            None
        } else {
            forecast::requests(product, weight, past, ln_needed)
                .map(|requests| Forecast { requests, seconds: self.seconds_for(requests) })
        };
        Some(Promotion {
            weight: product.weight,
            margin: product.margin,
            ln_e: product.ln_e(),
            ln_needed,
            proven: product.proven,
            forecast,
        })
    }

    /// How long `requests` take at the canary's traffic of the last minute at this weight.
    fn seconds_for(&self, requests: u64) -> Option<f64> {
        let (first, last) = (self.recent.front()?, self.recent.back()?);
        let seen = self.recent.iter().fold(0, |sum: u64, block| sum.saturating_add(block.counts.canary.n));
        let elapsed_ms = last.to_ms.saturating_sub(first.from_ms);
        (seen > 0).then(|| requests as f64 * elapsed_ms as f64 / seen as f64 / 1_000.0)
    }
}
