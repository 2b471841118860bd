//! The judge itself: folds windows and blind marks into evidence, and reads a verdict off it.

use std::collections::VecDeque;

use crate::admission::{self, Place, Proof, Settles};
use crate::blocks::{self, Block, Gathering, Order, Route, compares};
use crate::bounds::Ladders;
use crate::counts::{Pair, WHOLE, Window};
use crate::details::Details;
use crate::evidence::{Evidence, Limit, Measure, Metric, Promotion, Speed, Standing, Thresholds};
use crate::forecast::{self, Forecast};
use crate::gathered::Gathered;
use crate::harm::HarmBudget;
use crate::honesty::{Calibration, Honesty};
use crate::in_flight::InFlight;
use crate::latency::{Histograms, Latency, Scale, SpeedProof};
use crate::metrics::Taken;
use crate::policy::{AMBER, InvalidPolicy, Policy};
use crate::promotion::{Product, past_rate};
use crate::ramp::{Ramp, Risk};
use crate::rollback::Rollback;
use crate::verdict::{Blindness, Kind, Verdict};
use crate::wording::{self, doubts};

/// With a share and no request to the canary, answered or admitted, for this long by the windows' own time, in
/// milliseconds and within the epoch, there is no traffic.
pub const NO_TRAFFIC_MS: u64 = 10_000;

/// The forecast's traffic is that of the last minute.
const RECENT_MS: u64 = 60_000;

/// What a closed block brought to the canary.
#[derive(Clone, Copy, Debug)]
struct Traffic {
    from_ms: u64,
    to_ms: u64,
    canary: u64,
    all: u64,
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
    gathered: Gathered,
    scale: Option<Scale>,
    /// Latencies in closed blocks.
    latencies: Option<Histograms>,
    rollback: Rollback,
    harm: Option<HarmBudget>,
    proof: Option<Proof>,
    speed: Option<SpeedProof>,
    /// The epoch in which the present weight was entered.
    step_epoch: u64,
    rollout: Pair,
    step: Pair,
    in_flight: InFlight,
    recent: VecDeque<Traffic>,
    blind: Option<Blindness>,
    /// What the last window with requests did not tell though the policy asks for it.
    missing: Option<Measure>,
    blocks: u64,
    duplicates: u64,
    late: u64,
    /// Counts of requests that ended after their epoch.
    ended_late: Pair,
    nonsense: u64,
    ladders: Ladders,
    honesty: Honesty,
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
        Ok(Self::begin(policy, policy.not_slower_than.map(Scale::gateway)))
    }

    /// A judge whose latencies come as histograms with boundaries of their own: `scale` says how they are compared, in place of
    /// the policy's `not_slower_than`, and buckets of [`crate::Latencies`] are the scale's.
    ///
    /// # Errors
    ///
    /// What in the policy cannot be promised.
    pub fn with_scale(policy: Policy, scale: Scale) -> Result<Self, InvalidPolicy> {
        policy.check()?;
        let compared = policy.not_slower_than.or(Some(1.0));
        Ok(Self::begin(Policy { not_slower_than: compared, ..policy }, Some(scale)))
    }

    fn begin(policy: Policy, scale: Option<Scale>) -> Self {
        let latency = scale.clone().map(|scale| Latency::tempered(scale, policy.cluster));
        Self {
            rollback: Rollback::begin(&policy, latency),
            ladders: Ladders::begin(&policy),
            honesty: Honesty::begin(&policy),
            harm: policy.budget.map(|budget| HarmBudget::begin(&policy, budget)),
            gathered: Gathered::begin(policy.max_slow.is_some(), scale.as_ref()),
            latencies: scale.as_ref().map(Histograms::empty),
            scale,
            policy,
            route: None,
            counted_to_ms: 0,
            quiet_since_ms: 0,
            gathering: Gathering::of_clusters(policy.cluster),
            proof: None,
            speed: None,
            step_epoch: 0,
            rollout: Pair::default(),
            step: Pair::default(),
            in_flight: InFlight::default(),
            recent: VecDeque::new(),
            blind: None,
            missing: None,
            blocks: 0,
            duplicates: 0,
            late: 0,
            ended_late: Pair::default(),
            nonsense: 0,
            harmful: None,
        }
    }

    /// Takes the next window.
    ///
    /// A window counts once: within an epoch, one that begins before the end of the last one counted is a duplicate and
    /// ignored; so is, as late, one of an epoch below the present. Whoever delivers may therefore deliver again. A window
    /// that cannot be true is dropped and makes the judge blind; the next one counted ends blindness, an ignored one does
    /// not. A new epoch or weight drops the unfinished block of the old one and, above every earlier weight below 100 %,
    /// begins a new step. After the canary was found harmful nothing is looked at any more.
    pub fn observe(&mut self, window: &Window) {
        self.observe_with(window, &Details::default());
    }

    /// Takes the next window with what else is known of it, by the rules of [`Judge::observe`]. What the policy asks for and a
    /// window with requests does not tell makes the judge blind until a window tells it; the counts are counted all the same.
    pub fn observe_with(&mut self, window: &Window, details: &Details<'_>) {
        if self.harmful.is_some() {
            return;
        }
        let details = &self.gathered.asked(details);
        let buckets = self.scale.as_ref().map_or(0, Scale::buckets);
        if window.check().and_then(|()| details.check(window, buckets)).is_err() {
            self.nonsense += 1;
            self.blind = Some(Blindness::Nonsense);
            return;
        }
        match Order::of(window, self.route, self.counted_to_ms) {
            Order::Next => {}
            Order::Late => {
                self.late += 1;
                return;
            }
            Order::Duplicate => {
                self.duplicates += 1;
                return;
            }
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
        if window.canary.n > 0 || window.stable.n > 0 {
            self.missing = self.gathered.missing(window, details);
        }
        self.prove(window, details);
        self.gathered.add(details);
        self.honesty.see(details, window.to_ms);
        if let Some(block) = self.gathering.add(window) {
            self.close(&block);
        }
    }

    /// Takes the next window of metric `index` of the user, from 0: trials and, of these, failures. A metric has blocks, epochs
    /// and duplicates of its own, by the rules of [`Judge::observe`]; a window that straddles a change of the weight must be left
    /// out by the caller. A window of a metric that the policy does not know is nonsense.
    pub fn observe_metric(&mut self, index: u8, window: &Window) {
        if self.harmful.is_some() {
            return;
        }
        match self.rollback.metric_mut(index).map(|stream| stream.observe(window)) {
            Some(Taken::Counted(closed)) => {
                if closed {
                    self.rollback.read();
                    self.latch();
                }
            }
            Some(Taken::Left(Order::Late)) => self.late += 1,
            Some(Taken::Left(_)) => self.duplicates += 1,
            Some(Taken::Nonsense) => self.nonsense += 1,
            None => {
                self.nonsense += 1;
                self.blind = Some(Blindness::Nonsense);
            }
        }
    }

    /// Marks that nothing can be seen of metric `index`, until its next window that is counted. What is not known to the policy
    /// blinds as a whole, until the next window.
    pub fn blind_metric(&mut self, index: u8, why: Blindness) {
        match self.rollback.metric_mut(index) {
            Some(stream) => stream.blind = Some(why),
            None => self.blind(why),
        }
    }

    /// Marks that nothing can be seen, until the next window that is counted.
    pub fn blind(&mut self, why: Blindness) {
        if self.harmful.is_none() {
            self.blind = Some(why);
        }
    }

    /// Whether the canary was found harmful: the verdict is, and stays so.
    #[must_use]
    pub fn is_harmful(&self) -> bool {
        self.harmful.is_some()
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

    /// What the proofs of the step make of requests by when they were admitted.
    fn prove(&mut self, window: &Window, details: &Details<'_>) {
        if details.cohorts.is_empty() || !compares(window.weight) {
            return;
        }
        let Window { epoch, weight, to_ms, .. } = *window;
        let past = past_rate(self.rollout.stable);
        let place = Place { epoch, weight, to_ms, past, ln_safe: self.policy.ln_safe() };
        if let Some(proof) = &mut self.proof {
            proof.take(place, details.cohorts, admission::errors, Settles::Ended);
        }
        if let (Some(speed), Some(scale), Some(latencies)) = (&mut self.speed, &self.scale, &self.latencies) {
            speed.take(place, details.cohorts, latencies, scale);
        }
    }

    /// Takes what ended of requests of an epoch that is over, though the judge may not have been given a window of the next one
    /// yet. Give each such window once: what is given twice is not told apart. It is never evidence, but it settles what a
    /// proof waits for, and the harm budget counts it. A window that cannot be true is ignored.
    pub fn observe_late(&mut self, window: &Window, details: &Details<'_>) {
        let details = &self.gathered.asked(details);
        let buckets = self.scale.as_ref().map_or(0, Scale::buckets);
        let is_late = self.route.is_some_and(|route| window.epoch <= route.epoch);
        let is_sound = window.check().and_then(|()| details.check(window, buckets)).is_ok();
        if self.harmful.is_some() || !is_late || !is_sound {
            return;
        }
        self.late += 1;
        if !compares(window.weight) {
            return;
        }
        self.ended_late = self.ended_late.plus(window.pair());
        let (at_ms, ln_safe) = ((window.epoch, self.counted_to_ms), self.policy.ln_safe());
        if let Some(proof) = &mut self.proof {
            proof.take_late(at_ms, ln_safe, details.cohorts, admission::errors, Settles::Ended);
        }
        if let (Some(speed), Some(scale)) = (&mut self.speed, &self.scale) {
            speed.take_late(at_ms, ln_safe, details.cohorts, scale);
        }
        if let Some(harm) = &mut self.harm {
            harm.add_late(window.pair(), details.slow.unwrap_or_default());
        }
        self.latch();
    }

    fn enter(&mut self, route: Route, from_ms: u64) {
        let open = self.gathering.drop_open();
        if let Some(harm) = &mut self.harm {
            harm.drop_open(open, self.gathered.slow);
        }
        self.gathered.clear();
        self.quiet_since_ms = from_ms;
        self.in_flight = InFlight::default();
        self.rollback.enter(route.weight, from_ms, self.rollout, self.latencies.as_ref());
        if self.route.is_none_or(|last| last.weight != route.weight) {
            self.step = Pair::default();
            self.step_epoch = route.epoch;
            self.recent.clear();
        }
        let highest = self.proof.as_ref().map_or(0, |proof| proof.product.weight);
        if compares(route.weight) && route.weight > highest {
            let past = past_rate(self.rollout.stable);
            let product = Product::begin(route.weight, self.policy.margin, past).tempered(self.policy.cluster);
            self.speed = self.scale.as_ref().map(|_| SpeedProof::begin(&product, self.policy.cluster));
            self.proof = Some(Proof::begin(product, blocks::needed(self.policy.cluster)));
        }
        self.honesty.enter(route.weight);
        self.route = Some(route);
    }

    fn close(&mut self, block: &Block) {
        self.rollback.add(block, &self.gathered, self.rollout);
        if let Some(harm) = &mut self.harm {
            harm.add(block, self.gathered.slow);
        }
        self.close_latencies(block);
        if let Some(proof) = self.proof.as_mut().filter(|_| block.compares() && !self.gathered.by_admission) {
            proof.product.add(block, past_rate(self.rollout.stable), self.policy.ln_safe());
        }
        self.gathered.clear();
        self.rollout = self.rollout.plus(block.counts);
        self.step = self.step.plus(block.counts);
        self.in_flight.add(block.counts);
        self.blocks += 1;
        let all = block.counts.canary.n.saturating_add(block.counts.stable.n);
        self.recent.push_back(Traffic {
            from_ms: block.from_ms,
            to_ms: block.to_ms,
            canary: block.counts.canary.n,
            all,
        });
        while self.recent.front().is_some_and(|old| old.from_ms.saturating_add(RECENT_MS) < block.to_ms) {
            self.recent.pop_front();
        }
        if block.compares() {
            self.ladders.add(block, self.rollout.since(block.counts));
        }
        self.honesty.close(block);
        self.latch();
    }

    fn close_latencies(&mut self, block: &Block) {
        let (Some(scale), Some(past), Some(latencies)) = (&self.scale, &mut self.latencies, &self.gathered.latencies)
        else {
            return;
        };
        let by_admission = self.gathered.by_admission;
        if let Some(speed) = self.speed.as_mut().filter(|_| block.compares() && !by_admission) {
            speed.add(latencies, past, scale, self.policy.ln_safe());
        }
        past.add(latencies);
    }

    fn latch(&mut self) {
        let spent = self.harm.as_ref().is_some_and(HarmBudget::fired);
        if spent || self.rollback.reading.ln_charged >= self.policy.ln_rollback() {
            let mut evidence = self.evidence();
            evidence.single_instance = self.honesty.single(&evidence, self.rollout);
            let because = wording::harmful(&evidence, &self.policy) + &doubts::harmful(&evidence);
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
            return (Kind::Blind, wording::blind(why, None));
        }
        if let Some(measure) = self.missing {
            return (Kind::Blind, wording::blind(Blindness::Source, Some(measure)));
        }
        let blind = (0..).zip(self.rollback.streams()).find_map(|(index, stream)| Some((index, stream.blind?)));
        if let Some((index, why)) = blind {
            return (Kind::Blind, wording::blind(why, Some(Measure::Metric(index))));
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
        // At 100 % a person or the proof has let it through already, and nothing is compared any more.
        if weight < WHOLE && evidence.calibration == Calibration::Uncalibrated {
            let forgotten = self.honesty.clients_forgotten;
            return (Kind::Undecided, if forgotten { doubts::clients_forgotten() } else { doubts::uncalibrated() });
        }
        if let Some(sample_ratio) = evidence.sample_ratio.filter(|ratio| weight < WHOLE && ratio.wrong) {
            return (Kind::Undecided, doubts::sample_ratio(&sample_ratio));
        }
        match evidence.promotion {
            None if weight == WHOLE => (Kind::Undecided, wording::against_the_past(evidence)),
            None => (Kind::Undecided, wording::nothing_yet()),
            Some(Promotion { proven: true, .. }) if evidence.hanging => (Kind::Undecided, wording::hanging(evidence)),
            Some(Promotion { proven: true, margin, .. }) => match (&evidence.speed, evidence.unheard.first()) {
                (Some(speed), _) if !speed.proof.proven => (Kind::Undecided, wording::not_proven_quick(speed)),
                (_, Some(index)) => (Kind::Undecided, wording::unheard(*index)),
                _ if self.rollback.settles() => (Kind::Undecided, wording::settling()),
                _ => (Kind::Safe, wording::safe(evidence, margin, &self.policy)),
            },
            Some(errors) => match evidence.speed.filter(|speed| lags(speed, &errors)) {
                Some(speed) => (Kind::Undecided, wording::not_proven_quick(&speed)),
                None => (Kind::Undecided, wording::unproven(evidence, errors.margin, errors.forecast)),
            },
        }
    }

    fn evidence(&self) -> Evidence {
        let ln_e = self.rollback.reading.ln_e;
        let metrics = self.rollback.metrics(self.rollout);
        let (limit, slow_limit) = (self.rollback.limit(), self.rollback.slow_limit());
        let harm = self.harm.as_ref().map(HarmBudget::harm);
        let (canary_in_flight, stable_in_flight) = self.in_flight.unanswered();
        // At 100 % comparisons stand still where they stood; only limits can still speak.
        let alone = self.route.is_some_and(|route| route.weight == WHOLE);
        let broken = |limit: &Limit| limit.standing != Standing::Clean;
        let amber =
            if alone { limit.iter().chain(&slow_limit).any(broken) } else { self.rollback.reading.ln_all > AMBER };
        let spent = self.harm.as_ref().is_some_and(HarmBudget::fired).then_some(Measure::Budget);
        let crossed = metrics.iter().filter(|metric| metric.ln_e >= metric.ln_needed).map(|metric| metric.measure);
        let causes: Vec<Measure> = crossed.chain(spent).collect();
        // The largest w_m (E_m − 1): what is at 1 says nothing, however great its share.
        let says = |metric: &Metric| metric.ln_e + libm::log1p(-libm::exp(-metric.ln_e)) - metric.ln_needed;
        let suspect = metrics
            .iter()
            .filter(|metric| amber && causes.is_empty() && metric.ln_e > 0.0 && !(alone && metric.measure.compares()))
            .max_by(|a, b| says(a).total_cmp(&says(b)))
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
            speed: self.speed_evidence(),
            unheard: self.unheard(),
            canary_in_flight,
            stable_in_flight,
            hanging: !alone && self.in_flight.holds_back(self.policy.ln_safe()),
            limit,
            slow_limit,
            harm,
            blocks: self.blocks,
            duplicates: self.duplicates,
            late: self.late,
            ended_late: self.ended_late,
            nonsense: self.nonsense,
            ramp: self.ramp(),
            bounds: self.ladders.bounds(),
            calibration: self.honesty.calibration(),
            sample_ratio: self.honesty.sample_ratio(),
            single_instance: None,
        }
    }

    /// Which share may come next.
    fn ramp(&self) -> Option<Ramp> {
        self.policy.ramp?;
        let weight = self.route.map(|route| route.weight).filter(|weight| compares(*weight))?;
        let rate = self.per_second(|block| block.all)?;
        let worst = self.ladders.bounds().difference.high;
        let spent = self.harm.as_ref().map_or(0.0, |harm| harm.harm().spent);
        Some(Risk::now(&self.policy, rate, past_rate(self.rollout.stable), worst, spent).next(weight))
    }

    fn promotion(&self) -> Option<Promotion> {
        let product = &self.proof.as_ref()?.product;
        let weight = self.compared()?;
        let past = past_rate(self.rollout.stable);
        Some(self.proven(product, |ln_safe| forecast::requests(product, weight, past, ln_safe)))
    }

    fn speed_evidence(&self) -> Option<Speed> {
        let (speed, scale, latencies) = (self.speed.as_ref()?, self.scale.as_ref()?, self.latencies.as_ref()?);
        let weight = self.compared()?;
        // A canary as quick as stable is above its threshold as often.
        let past = speed.past(latencies);
        let forecast = |ln_safe| forecast::requests_failing(past, speed.product(), weight, past, ln_safe);
        let thresholds = speed.thresholds_ms(scale).map(|(stable_ms, canary_ms)| Thresholds { canary_ms, stable_ms });
        Some(Speed { thresholds, counts: speed.counts(), proof: self.proven(speed.product(), forecast) })
    }

    /// The present weight, where it compares.
    fn compared(&self) -> Option<u16> {
        self.route.map(|route| route.weight).filter(|weight| compares(*weight))
    }

    fn unheard(&self) -> Vec<u8> {
        let streams = (0..).zip(self.rollback.streams()).filter(|_| self.compared().is_some());
        let unheard = streams.filter(|(_, stream)| !stream.heard_since(self.step_epoch));
        unheard.map(|(index, _)| index).collect()
    }

    fn proven(&self, product: &Product, requests: impl Fn(f64) -> Option<u64>) -> Promotion {
        let ln_needed = self.policy.ln_safe();
        let forecast = if product.proven { None } else { requests(ln_needed) };
        Promotion {
            weight: product.weight,
            margin: product.margin,
            ln_e: product.ln_e(),
            ln_needed,
            proven: product.proven,
            forecast: forecast.map(|requests| Forecast { requests, seconds: self.seconds_for(requests) }),
        }
    }

    /// How long `requests` take at the canary's traffic of the last minute at this weight.
    fn seconds_for(&self, requests: u64) -> Option<f64> {
        let rate = self.per_second(|block| block.canary)?;
        (rate > 0.0).then(|| requests as f64 / rate)
    }

    /// How many a second, over the last minute at this weight; none where no time has passed.
    fn per_second(&self, of: impl Fn(&Traffic) -> u64) -> Option<f64> {
        let (first, last) = (self.recent.front()?, self.recent.back()?);
        let seen = self.recent.iter().fold(0, |sum: u64, block| sum.saturating_add(of(block)));
        let elapsed_ms = last.to_ms.saturating_sub(first.from_ms);
        (elapsed_ms > 0).then(|| seen as f64 * 1_000.0 / elapsed_ms as f64)
    }
}

/// Whether the proof that the step is not slower will take longer than that of errors.
fn lags(speed: &Speed, errors: &Promotion) -> bool {
    let needs = |proof: &Promotion| proof.forecast.map_or(u64::MAX, |forecast| forecast.requests);
    !speed.proof.proven && speed.thresholds.is_some() && needs(&speed.proof) > needs(errors)
}
