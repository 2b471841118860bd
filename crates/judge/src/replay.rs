//! The judge on closed blocks, one by one: for checking it, and for using it without windows and rollouts.
//!
//! The processes and thresholds are those of a rollout. `E` is a weighted mean of those that are asked for, with weights in
//! proportion to 0.4 (errors against stable), 0.3 (latency) and 0.2 (errors against a limit), fixed at the start.
//!
//! ```
//! use davy_judge::{Counts, Kind, Pair, replay::{Given, Replay, Settings}};
//!
//! let mut replay = Replay::new(&Settings { margin: Some(0.01), ..Settings::default() })?;
//! let mut reading = None;
//! for second in 0..60 {
//!     let counts = Pair { canary: Counts::answered(50, 0), stable: Counts::answered(450, 1) };
//!     let given = Given { from_ms: second * 1_000, to_ms: (second + 1) * 1_000, weight: None, counts, latency: None };
//!     reading = replay.add(&given).ok();
//! }
//! assert_eq!(reading.map(|reading| reading.kind), Some(Kind::Safe));
//! # Ok::<(), davy_judge::InvalidPolicy>(())
//! ```

use std::fmt;

use crate::absolute::Absolute;
use crate::blocks::{Block, compares};
use crate::bounds::{Bounds, Ladders};
use crate::counts::{Nonsense, Pair, WHOLE, Window};
use crate::judge::NO_TRAFFIC_MS;
use crate::latency::{Latency, Scale};
use crate::mixture::Value;
use crate::policy::{AMBER, InvalidPolicy, Policy};
use crate::promotion::{Product, past_rate};
use crate::relative::Relative;
use crate::sum::ln_mix;
use crate::verdict::Kind;

/// Parts of the processes in `E`, before they are scaled to those asked for.
const RELATIVE: f64 = 0.4;
const LATENCY: f64 = 0.3;
const ABSOLUTE: f64 = 0.2;

/// What is asked for. Errors against stable always are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Chance of a false `Harmful` over all blocks; the controller's 0.6 of it is what these thresholds spend.
    pub alpha: f64,
    /// Chance of a false `Safe` of each margin.
    pub beta: f64,
    /// How many times stable's odds of failure the canary's may be, at least 1.
    pub odds: f64,
    /// A limit of the canary's failure rate, as a fraction.
    pub max_error_rate: Option<f64>,
    /// The margin that is to be proven, as a fraction; without one each weight's own ([`crate::margin`]).
    pub margin: Option<f64>,
    /// Where latencies are cut, if they are compared.
    pub latency: Option<Scale>,
}

impl Default for Settings {
    fn default() -> Self {
        let Policy { alpha, beta, odds, max_error_rate, margin, .. } = Policy::default();
        Self { alpha, beta, odds, max_error_rate, margin, latency: None }
    }
}

/// One closed block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Given<'a> {
    /// Begin, in milliseconds since the rollout began.
    pub from_ms: u64,
    /// End, exclusive.
    pub to_ms: u64,
    /// The canary's configured share in basis points; as in the block before when it is not given.
    pub weight: Option<u16>,
    /// Requests that ended, and failures.
    pub counts: Pair,
    /// Answers per bucket of the scale, of the canary and of stable; one bucket more than boundaries.
    pub latency: Option<(&'a [u64], &'a [u64])>,
}

/// Why a block is not taken. It changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It cannot be true.
    Nonsense(Nonsense),
    /// It begins before the one before it ended, at so many milliseconds: it was counted already, or is out of order.
    Overlap(u64),
    /// It has latencies, and none were asked for at the start.
    NoLatency,
    /// Its latencies have this many buckets, and the scale has another number.
    Buckets(usize),
    /// It has more latencies than requests.
    Latencies,
}

/// What cannot be true, in words.
const NONSENSE: [(Nonsense, &str); 4] = [
    (Nonsense::MoreFailuresThanRequests, "more failures than requests"),
    (Nonsense::AbsurdCount, "a count above 10^15, which no service answers in a block"),
    (Nonsense::NoDuration, "it ends before or as it begins"),
    (Nonsense::WeightAboveWhole, "a weight above 10000 basis points"),
];

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nonsense(nonsense) => {
                let known = |(kind, told): &(Nonsense, &'static str)| (kind == nonsense).then_some(*told);
                f.write_str(NONSENSE.iter().find_map(known).unwrap_or("it cannot be true"))
            }
            Self::Overlap(last_ms) => {
                write!(
                    f,
                    "it begins before the last block ended, at {} s: each block counts once, in order",
                    *last_ms as f64 / 1e3
                )
            }
            Self::NoLatency => write!(f, "latencies that were not asked for at the start, when the weights were fixed"),
            Self::Latencies => write!(f, "more latencies than requests"),
            Self::Buckets(found) => write!(f, "latencies of {found} buckets, another number than in the first block"),
        }
    }
}

impl std::error::Error for Refused {}

/// Where the evidence stands after a block. All logarithms are natural.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// `ln E_rel`, errors against stable.
    pub ln_e_relative: f64,
    /// `ln E_abs`, errors against the limit, if there is one.
    pub ln_e_absolute: Option<f64>,
    /// `ln E_lat`, if latency is compared.
    pub ln_e_latency: Option<f64>,
    /// `ln E_prom` of the present step; nothing without a weight or margin.
    pub ln_e_safe: Option<f64>,
    /// `ln E`, the weighted mean.
    pub ln_e: f64,
    /// The verdict. `Harmful` stays; `Safe` was proven once in this step, and nothing speaks against the canary now.
    pub kind: Kind,
    /// Bounds for people, right at every look.
    pub bounds: Bounds,
}

/// One rollout's blocks.
#[derive(Clone, Debug)]
pub struct Replay {
    policy: Policy,
    relative: Relative,
    absolute: Option<Absolute>,
    latency: Option<(Latency, usize)>,
    /// `ln` of the weights of the three, in that order.
    ln_shares: [f64; 3],
    ladders: Ladders,
    product: Option<Product>,
    weight: Option<u16>,
    past: Pair,
    to_ms: Option<u64>,
    quiet_since_ms: u64,
    harmful: bool,
}

impl Replay {
    /// Begins without evidence.
    ///
    /// # Errors
    ///
    /// What in the settings cannot be promised.
    pub fn new(settings: &Settings) -> Result<Self, InvalidPolicy> {
        let Settings { alpha, beta, odds, max_error_rate, margin, .. } = *settings;
        let policy = Policy { alpha, beta, odds, max_error_rate, margin, ..Policy::default() };
        policy.check()?;
        let present = [true, settings.latency.is_some(), max_error_rate.is_some()];
        let shares: [f64; 3] = std::array::from_fn(|m| if present[m] { [RELATIVE, LATENCY, ABSOLUTE][m] } else { 0.0 });
        let whole: f64 = shares.iter().sum();
        Ok(Self {
            relative: Relative::begin(odds, false),
            absolute: max_error_rate.map(|limit| Absolute::begin(limit, 0)),
            latency: settings.latency.clone().map(|scale| (Latency::new(scale.clone()), scale.buckets())),
            ln_shares: shares.map(|share| libm::log(share / whole)),
            ladders: Ladders::begin(&policy),
            policy,
            product: None,
            weight: None,
            past: Pair::default(),
            to_ms: None,
            quiet_since_ms: 0,
            harmful: false,
        })
    }

    /// Whether a block was taken.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.to_ms.is_some()
    }

    /// Takes the next block.
    ///
    /// # Errors
    ///
    /// Why it cannot be taken; then it changed nothing.
    pub fn add(&mut self, given: &Given<'_>) -> Result<Reading, Refused> {
        let block = self.check(given)?;
        self.enter(given);
        let before = self.past;
        let stable_past = past_rate(before.stable);
        if block.compares() {
            self.relative.add(&block, before);
            self.ladders.add(&block, before);
            if let (Some((latency, _)), Some((canary, stable))) = (&mut self.latency, given.latency) {
                latency.add(block.from_ms, canary, stable);
            }
            if let Some(product) = &mut self.product {
                product.add(&block, stable_past, self.policy.ln_safe());
            }
        }
        if let Some(absolute) = self.absolute.as_mut().filter(|_| block.weight > 0) {
            absolute.add(&block, before);
        }
        self.past = before.plus(block.counts);
        self.to_ms = Some(block.to_ms);
        if block.counts.canary.n > 0 {
            self.quiet_since_ms = block.to_ms;
        }
        Ok(self.read())
    }

    fn check(&self, given: &Given<'_>) -> Result<Block, Refused> {
        // A block that says nothing of its weight is compared: any weight between nothing and everything will do.
        let weight = given.weight.or(self.weight).unwrap_or(WHOLE / 2);
        let Given { from_ms, to_ms, counts, .. } = *given;
        let window = Window { epoch: 0, weight, from_ms, to_ms, canary: counts.canary, stable: counts.stable };
        window.check().map_err(Refused::Nonsense)?;
        if let Some(last) = self.to_ms.filter(|last| from_ms < *last) {
            return Err(Refused::Overlap(last));
        }
        if let Some((canary, stable)) = given.latency {
            let Some((_, buckets)) = &self.latency else { return Err(Refused::NoLatency) };
            if let Some(other) = [canary, stable].iter().find(|counts| counts.len() != *buckets) {
                return Err(Refused::Buckets(other.len()));
            }
            let within = |buckets: &[u64], n: u64| {
                buckets.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count)).is_some_and(|sum| sum <= n)
            };
            if !within(canary, counts.canary.n) || !within(stable, counts.stable.n) {
                return Err(Refused::Latencies);
            }
        }
        Ok(Block { epoch: 0, weight, from_ms, to_ms, counts })
    }

    /// A weight above every earlier one begins a proof anew; a margin of one's own needs no weight.
    fn enter(&mut self, given: &Given<'_>) {
        let entered = given.weight.filter(|weight| self.weight != Some(*weight));
        if self.to_ms.is_none() || entered.is_some() {
            self.quiet_since_ms = given.from_ms;
        }
        self.weight = given.weight.or(self.weight);
        let highest = self.product.as_ref().map(|product| product.weight);
        let past = past_rate(self.past.stable);
        if let Some(weight) =
            entered.filter(|weight| compares(*weight) && highest.is_none_or(|highest| *weight > highest))
        {
            self.product = Some(Product::begin(weight, self.policy.margin, past));
        } else if self.product.is_none() && self.weight.is_none() && self.policy.margin.is_some() {
            self.product = Some(Product::begin(0, self.policy.margin, past));
        }
    }

    fn read(&mut self) -> Reading {
        let relative = self.relative.value().ln_e;
        let absolute = self.absolute.as_ref().map(Absolute::value);
        let latency = self.latency.as_ref().map(|(latency, _)| latency.ln_e());
        let combine = |absolute: f64| {
            let all = [relative, latency.unwrap_or(0.0), absolute];
            let terms: Vec<(f64, f64)> =
                self.ln_shares.iter().copied().zip(all).filter(|(ln_share, _)| ln_share.is_finite()).collect();
            ln_mix(&terms)
        };
        let ln_e_absolute = absolute.map(|value| value.ln_e);
        let ln_e = combine(ln_e_absolute.unwrap_or(0.0));
        let charged = match absolute {
            Some(value) if self.stable_fails_too(value) => combine(f64::min(value.ln_e, 0.0)),
            _ => ln_e,
        };
        self.harmful |= charged >= self.policy.ln_rollback();
        let quiet_ms = self.to_ms.unwrap_or_default().saturating_sub(self.quiet_since_ms);
        let kind = if self.harmful {
            Kind::Harmful
        } else if self.weight == Some(0) {
            Kind::Undecided
        } else if quiet_ms >= NO_TRAFFIC_MS {
            Kind::NoTraffic
        } else if ln_e <= AMBER
            && self.weight != Some(WHOLE)
            && self.product.as_ref().is_some_and(|product| product.proven)
        {
            Kind::Safe
        } else {
            Kind::Undecided
        };
        Reading {
            ln_e_relative: relative,
            ln_e_absolute,
            ln_e_latency: latency,
            ln_e_safe: self.product.as_ref().map(Product::ln_e),
            ln_e,
            kind,
            bounds: self.ladders.bounds(),
        }
    }

    /// Whether stable broke the limit, too, since the largest component of the evidence began.
    fn stable_fails_too(&self, value: Value) -> bool {
        let limit = self.absolute.as_ref().map(|absolute| absolute.limit);
        let rate = self.past.since(value.before).stable.rate();
        value.ln_e > AMBER && limit.zip(rate).is_some_and(|(limit, rate)| rate > limit)
    }
}
