//! The rollback evidence: one e-process over all metrics and all looks.
//!
//! `E = Σ w_m E_m` with weights fixed at the start; at `E ≥ 1/α_c` the canary is harmful. Nothing is reset at steps.

use crate::absolute::{Absolute, derived_limit};
use crate::blocks::Block;
use crate::counts::Pair;
use crate::evidence::{Limit, Measure, Metric, Origin, Standing};
use crate::mixture::Value;
use crate::policy::{AMBER, Policy};
use crate::relative::Relative;
use crate::sum::ln_mix;

/// Above this weight, in basis points, little of stable is left to compare with, and the limit from its past is frozen.
const FREEZE_ABOVE: u16 = 7_500;

/// What the evidence says after the last closed block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    relative: Value,
    absolute: Value,
    /// `ln E`.
    pub(crate) ln_e: f64,
    /// `ln E` with the absolute limit held at 1 where stable breaks it, too.
    pub(crate) ln_charged: f64,
    stable_fails_too: bool,
}

/// All processes that roll back.
#[derive(Clone, Debug)]
pub(crate) struct Rollback {
    relative: Option<Relative>,
    absolute: Option<Absolute>,
    origin: Origin,
    ln_relative_share: f64,
    ln_absolute_share: f64,
    ln_needed: f64,
    pub(crate) reading: Reading,
}

impl Rollback {
    pub(crate) fn begin(policy: &Policy) -> Self {
        Self {
            relative: policy.relative.then(|| Relative::begin(policy.odds, policy.sticky)),
            absolute: policy.max_error_rate.map(|limit| Absolute::begin(limit, 0)),
            origin: if policy.max_error_rate.is_some() { Origin::User } else { Origin::Past },
            ln_relative_share: libm::log(policy.relative_share()),
            ln_absolute_share: libm::log(policy.absolute_share()),
            ln_needed: policy.ln_rollback(),
            reading: Reading {
                relative: Value::EMPTY,
                absolute: Value::EMPTY,
                ln_e: 0.0,
                ln_charged: 0.0,
                stable_fails_too: false,
            },
        }
    }

    /// Traffic is routed anew from `from_ms` on; `past` is what all closed blocks have counted.
    pub(crate) fn enter(&mut self, weight: u16, from_ms: u64, past: Pair) {
        if let Some(absolute) = &mut self.absolute {
            absolute.enter_epoch();
        } else if weight > FREEZE_ABOVE {
            // Asked again at each entry only while nothing could be derived; once frozen it stays.
            self.absolute = derived_limit(past.stable).map(|limit| Absolute::begin(limit, from_ms));
        }
    }

    /// Takes a closed block; `before` is what had been counted before it.
    pub(crate) fn add(&mut self, block: &Block, before: Pair) {
        if let Some(relative) = self.relative.as_mut().filter(|_| block.compares()) {
            relative.add(block, before);
            self.reading.relative = relative.value();
        }
        if let Some(absolute) = self.absolute.as_mut().filter(|_| block.weight > 0) {
            absolute.add(block, before);
            self.reading.absolute = absolute.value();
        }
        let stable = before.plus(block.counts).since(self.reading.absolute.before).stable;
        let limit = self.absolute.as_ref().map(|absolute| absolute.limit);
        self.reading.stable_fails_too =
            limit.zip(stable.rate()).is_some_and(|(limit, rate)| self.reading.absolute.ln_e > AMBER && rate > limit);
        self.reading.ln_e = self.combine(self.reading.absolute.ln_e);
        self.reading.ln_charged = if self.reading.stable_fails_too {
            self.combine(f64::min(self.reading.absolute.ln_e, 0.0))
        } else {
            self.reading.ln_e
        };
    }

    fn combine(&self, ln_absolute: f64) -> f64 {
        let absolute = (self.ln_absolute_share, ln_absolute);
        match self.relative {
            Some(_) => ln_mix(&[(self.ln_relative_share, self.reading.relative.ln_e), absolute]),
            None => ln_mix(&[absolute]),
        }
    }

    /// The metrics, each with what it would need alone; `now` is what all closed blocks have counted.
    pub(crate) fn metrics(&self, now: Pair) -> Vec<Metric> {
        let metric = |measure, ln_share: f64, value: Value| Metric {
            measure,
            share: libm::exp(ln_share),
            ln_e: value.ln_e,
            ln_needed: self.ln_needed - ln_share,
            since_ms: value.since_ms,
            since: now.since(value.before),
        };
        let relative =
            self.relative.as_ref().map(|_| metric(Measure::Relative, self.ln_relative_share, self.reading.relative));
        let absolute =
            self.absolute.as_ref().map(|_| metric(Measure::Absolute, self.ln_absolute_share, self.reading.absolute));
        relative.into_iter().chain(absolute).collect()
    }

    /// The absolute limit in force.
    pub(crate) fn limit(&self) -> Option<Limit> {
        let absolute = self.absolute.as_ref()?;
        let standing = match (self.reading.absolute.ln_e > AMBER, self.reading.stable_fails_too) {
            (false, _) => Standing::Clean,
            (true, false) => Standing::Amber,
            (true, true) => Standing::StableFailsToo,
        };
        Some(Limit { rate: absolute.limit, origin: self.origin, since_ms: absolute.begun_ms, standing })
    }
}
