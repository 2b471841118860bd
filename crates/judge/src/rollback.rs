//! The rollback evidence: one e-process over all metrics and all looks.
//!
//! `E = Σ w_m E_m` with weights fixed at the start; at `E ≥ 1/α_c` the canary is harmful. Nothing is reset at steps.
//!
//! That sum is an e-process only of metrics that are counted in the same blocks. A metric of the user comes later, by a
//! scrape: by then the others have moved on, and what is known from them may bear on it, so that their sum need not be a
//! supermartingale. Each such metric therefore crosses alone, at `w_m E_m ≥ 1/α_c`. The union of all crossings has a
//! probability of at most `α_c Σ w_m = α_c` (Ville's inequality for each, then Boole's), however late anything comes. It
//! costs nothing to see: where one metric of two is far ahead, the larger term is the sum.

use crate::absolute::{Absolute, derived_limit};
use crate::blocks::Block;
use crate::counts::{Counts, Pair};
use crate::evidence::{Limit, Measure, Metric, Origin, Standing, Thresholds};
use crate::gathered::Gathered;
use crate::latency::{Histograms, Latency, settling_ms};
use crate::metrics::Stream;
use crate::mixture::Value;
use crate::policy::{AMBER, Policy, Shares};
use crate::relative::Relative;
use crate::sum::ln_sum;

/// Above this weight, in basis points, little of stable is left to compare with, and the limit from its past is frozen.
const FREEZE_ABOVE: u16 = 7_500;

/// No step is left before so many blocks at its share have had their latencies compared: with a short hold and slow answers there
/// would be none.
const COMPARED: u32 = 3;

/// What the evidence says after the last closed block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    relative: Value,
    ln_latency: f64,
    /// The larger of `ln E` of the metrics that share blocks, and `ln w_m E_m` of each metric of the user.
    pub(crate) ln_e: f64,
    /// That with each absolute limit held at 1 where stable breaks it, too.
    pub(crate) ln_charged: f64,
    /// `ln E` of all metrics together: what holds a step back.
    pub(crate) ln_all: f64,
}

/// An absolute limit, and what it says after the last closed block.
#[derive(Clone, Debug)]
struct Watch {
    absolute: Option<Absolute>,
    origin: Origin,
    value: Value,
    counted: Pair,
    stable_breaks_it: bool,
}

impl Watch {
    fn begin(limit: Option<f64>, cluster: f64) -> Self {
        Self {
            absolute: limit.map(|limit| Absolute::begin(limit, 0).tempered(cluster)),
            origin: if limit.is_some() { Origin::User } else { Origin::Past },
            value: Value::EMPTY,
            counted: Pair::default(),
            stable_breaks_it: false,
        }
    }

    /// Takes a closed block with counts of what is limited.
    fn add(&mut self, block: &Block) {
        if let Some(absolute) = self.absolute.as_mut().filter(|_| block.weight > 0) {
            absolute.add(block, self.counted);
            self.value = absolute.value();
        }
        self.counted = self.counted.plus(block.counts);
        let stable = self.counted.since(self.value.before).stable;
        let limit = self.absolute.as_ref().map(|absolute| absolute.limit);
        self.stable_breaks_it =
            limit.zip(stable.rate()).is_some_and(|(limit, rate)| self.value.ln_e > AMBER && rate > limit);
    }

    /// `ln` of what it contributes to a charge.
    fn ln_charged(&self) -> f64 {
        if self.stable_breaks_it { f64::min(self.value.ln_e, 0.0) } else { self.value.ln_e }
    }

    fn limit(&self) -> Option<Limit> {
        let absolute = self.absolute.as_ref()?;
        let standing = match (self.value.ln_e > AMBER, self.stable_breaks_it) {
            (false, _) => Standing::Clean,
            (true, false) => Standing::Amber,
            (true, true) => Standing::StableFailsToo,
        };
        Some(Limit { rate: absolute.limit, origin: self.origin, since_ms: absolute.begun_ms, standing })
    }
}

/// All processes that roll back.
#[derive(Clone, Debug)]
pub(crate) struct Rollback {
    relative: Option<Relative>,
    latency: Option<Latency>,
    /// Until then the latencies of this epoch are left out.
    settling_to_ms: u64,
    /// Blocks of this epoch whose latencies were compared.
    compared: u32,
    errors: Watch,
    slow: Option<Watch>,
    metrics: Vec<Stream>,
    shares: Shares,
    cluster: f64,
    ln_needed: f64,
    pub(crate) reading: Reading,
}

impl Rollback {
    pub(crate) fn begin(policy: &Policy, latency: Option<Latency>) -> Self {
        let relative = || Relative::begin(policy.odds, policy.sticky).tempered(policy.cluster);
        Self {
            relative: policy.relative.then(relative),
            latency,
            settling_to_ms: 0,
            compared: 0,
            errors: Watch::begin(policy.max_error_rate, policy.cluster),
            slow: policy.max_slow.map(|share| Watch::begin(Some(share), policy.cluster)),
            metrics: (0..policy.metrics).map(|_| Stream::begin(policy)).collect(),
            shares: policy.shares(),
            cluster: policy.cluster,
            ln_needed: policy.ln_rollback(),
            reading: Reading { relative: Value::EMPTY, ln_latency: 0.0, ln_e: 0.0, ln_charged: 0.0, ln_all: 0.0 },
        }
    }

    /// Traffic is routed anew from `from_ms` on; `past` is what all closed blocks have counted, `latencies` how long it took.
    pub(crate) fn enter(&mut self, weight: u16, from_ms: u64, past: Pair, latencies: Option<&Histograms>) {
        self.compared = 0;
        if let Some((process, latencies)) = self.latency.as_ref().zip(latencies) {
            self.settling_to_ms = from_ms.saturating_add(settling_ms(latencies, process.scale()));
        }
        for watch in [Some(&mut self.errors), self.slow.as_mut()].into_iter().flatten() {
            if let Some(absolute) = &mut watch.absolute {
                absolute.enter_epoch();
            } else if weight > FREEZE_ABOVE {
                // Asked again at each entry only while nothing could be derived; once frozen it stays.
                let begin = |limit| Absolute::begin(limit, from_ms).tempered(self.cluster);
                watch.absolute = derived_limit(past.stable).map(begin);
            }
        }
    }

    /// Takes a closed block and what else is known of it; `before` is what had been counted before it.
    pub(crate) fn add(&mut self, block: &Block, gathered: &Gathered, before: Pair) {
        if let Some(relative) = self.relative.as_mut().filter(|_| block.compares()) {
            relative.add(block, before);
            self.reading.relative = relative.value();
        }
        if let (Some(latency), Some(block_latencies)) = (&mut self.latency, &gathered.latencies)
            && block.compares()
            && block.from_ms >= self.settling_to_ms
        {
            latency.add(block.from_ms, block_latencies.canary.buckets(), block_latencies.stable.buckets());
            self.reading.ln_latency = latency.ln_e();
            self.compared = self.compared.saturating_add(1);
        }
        self.errors.add(block);
        if let Some(watch) = &mut self.slow {
            // By admission as errors are, so that fast answers cannot hide nor fake a share.
            let of = |all: Counts, slow: Counts| Counts { x: slow.x, repeated: 0, ..all };
            let counts = Pair {
                canary: of(block.counts.canary, gathered.slow.canary),
                stable: of(block.counts.stable, gathered.slow.stable),
            };
            watch.add(&Block { counts, ..*block });
        }
        self.read();
    }

    /// Whether latencies are to be compared and hardly were in this epoch.
    pub(crate) fn settles(&self) -> bool {
        self.latency.is_some() && self.compared < COMPARED
    }

    /// The stream of a metric of the user.
    pub(crate) fn metric_mut(&mut self, index: u8) -> Option<&mut Stream> {
        self.metrics.get_mut(usize::from(index))
    }

    /// The streams of the metrics of the user.
    pub(crate) fn streams(&self) -> &[Stream] {
        &self.metrics
    }

    /// Combines what every process says.
    pub(crate) fn read(&mut self) {
        let together = self.together(|watch| watch.value.ln_e);
        let alone = self.metrics.iter().map(|stream| libm::log(self.shares.metric) + stream.value.ln_e);
        let largest = alone.clone().fold(f64::NEG_INFINITY, f64::max);
        self.reading.ln_all = ln_sum(std::iter::once(together).chain(alone));
        self.reading.ln_e = f64::max(together, largest);
        self.reading.ln_charged = f64::max(self.together(Watch::ln_charged), largest);
    }

    /// `ln` of the weighted sum over the metrics that share blocks.
    fn together(&self, of_limit: impl Fn(&Watch) -> f64) -> f64 {
        let term = |share: f64, ln_e: f64| libm::log(share) + ln_e;
        let relative = self.relative.as_ref().map(|_| term(self.shares.relative, self.reading.relative.ln_e));
        let latency = self.latency.as_ref().map(|_| term(self.shares.latency, self.reading.ln_latency));
        let errors = Some(term(self.shares.limit, of_limit(&self.errors)));
        let slow = self.slow.as_ref().map(|watch| term(self.shares.limit, of_limit(watch)));
        ln_sum([relative, latency, errors, slow].into_iter().flatten())
    }

    /// The metrics, each with what it would need alone; `now` is what all closed blocks have counted.
    pub(crate) fn metrics(&self, now: Pair) -> Vec<Metric> {
        let metric = |measure, share: f64, value: Value, now: Pair| Metric {
            measure,
            share,
            ln_e: value.ln_e,
            ln_needed: self.ln_needed - libm::log(share),
            since_ms: value.since_ms,
            since: now.since(value.before),
            thresholds: None,
        };
        let Shares { relative, latency, limit, metric: share } = self.shares;
        let relative = self.relative.as_ref().map(|_| metric(Measure::Relative, relative, self.reading.relative, now));
        let latency = self.latency.as_ref().map(|process| {
            let finding = process.finding();
            Metric {
                measure: Measure::Latency,
                share: latency,
                ln_e: finding.ln_e,
                ln_needed: self.ln_needed - libm::log(latency),
                since_ms: finding.since_ms,
                since: finding.since,
                thresholds: Some(Thresholds { canary_ms: finding.canary_above_ms, stable_ms: finding.stable_above_ms }),
            }
        });
        let watched = |measure, watch: &Watch| {
            watch.absolute.as_ref().map(|_| metric(measure, limit, watch.value, watch.counted))
        };
        let errors = watched(Measure::Absolute, &self.errors);
        let slow = self.slow.as_ref().and_then(|watch| watched(Measure::SlowLimit, watch));
        let own = (0..).zip(&self.metrics);
        let own = own.map(|(index, stream)| metric(Measure::Metric(index), share, stream.value, stream.counted));
        [relative, latency, errors, slow].into_iter().flatten().chain(own).collect()
    }

    /// The absolute limit of errors in force.
    pub(crate) fn limit(&self) -> Option<Limit> {
        self.errors.limit()
    }

    /// The absolute limit of slow requests.
    pub(crate) fn slow_limit(&self) -> Option<Limit> {
        self.slow.as_ref().and_then(Watch::limit)
    }
}
