//! A small seeded world: traffic, two versions that fail at given rates, and a controller that obeys verdicts.

use davy_judge::{Counts, Details, Judge, Kind, Latencies, Pair, Policy, Standing, Window};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1].
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// A binomial draw, by jumping from success to success.
    pub(crate) fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if p <= 0.0 {
            return 0;
        }
        if p > 0.5 {
            return n - self.binomial(n, 1.0 - p);
        }
        let (mut at, mut successes) = (0.0, 0);
        loop {
            at += (self.unit().ln() / (-p).ln_1p()).floor() + 1.0;
            if at > n as f64 {
                return successes;
            }
            successes += 1;
        }
    }
}

/// The gateway's buckets.
const BUCKETS: usize = 118;

/// The bucket whose upper boundary is the latency limit: 490 ms.
const LIMIT: usize = 65;

/// How long requests take: half within 80 ms, 99 % within 252 ms (log-logistic); what is late takes 800 ms more.
struct Clock {
    plain: Vec<f64>,
    late: Vec<f64>,
}

impl Clock {
    fn new() -> Self {
        let within = |more: f64| {
            (0..BUCKETS - 1).map(move |bucket| {
                let ms = 1.1_f64.powi(bucket as i32) - more;
                if ms <= 0.0 { 0.0 } else { 1.0 / (1.0 + (ms / 80.0).powi(-4)) }
            })
        };
        Self { plain: within(0.0).collect(), late: within(800.0).collect() }
    }

    /// Adds `n` requests, each late with chance `late`.
    fn tick(&self, random: &mut Random, n: u64, late: f64) -> [u64; BUCKETS] {
        let mut buckets = [0; BUCKETS];
        let tardy = random.binomial(n, late);
        for request in 0..n {
            let within = if request < tardy { &self.late } else { &self.plain };
            let unit = random.unit();
            buckets[within.partition_point(|share| *share < unit)] += 1;
        }
        buckets
    }
}

fn sparse(buckets: &[u64]) -> Vec<(u8, u64)> {
    (0..).zip(buckets.iter().copied()).filter(|(_, count)| *count > 0).collect()
}

/// Latencies of a window, as the gateway tells them.
pub(crate) struct Times {
    canary: Vec<(u8, u64)>,
    stable: Vec<(u8, u64)>,
    slow: Pair,
}

impl Times {
    pub(crate) fn details(&self) -> Details<'_> {
        let latency = Some(Latencies { canary: &self.canary, stable: &self.stable });
        Details { latency, slow: Some(self.slow), ..Details::default() }
    }
}

/// Counts of a metric since its last scrape.
struct Scrape {
    epoch: u64,
    from_ms: u64,
    counts: Pair,
}

/// Time from scrape to scrape.
const SCRAPE_MS: u64 = 10_000;

/// One kind of rollout.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) policy: Policy,
    /// Requests per second of both versions together.
    pub(crate) traffic: u64,
    pub(crate) stable: f64,
    pub(crate) canary: f64,
    /// Share of the canary's requests that take 800 ms more.
    pub(crate) late: f64,
    /// Weights in basis points; the last may be 100 %.
    pub(crate) steps: Vec<u16>,
    pub(crate) hold_ms: u64,
    pub(crate) window_ms: u64,
    /// From a verdict to the traffic that follows it.
    pub(crate) actuation_ms: u64,
    /// A rollout that is not finished then is given up.
    pub(crate) deadline_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Promoted,
    RolledBack,
    OutOfTime,
}

/// How a rollout went.
pub(crate) struct Outcome {
    pub(crate) end: End,
    /// Failed canary requests until traffic was back.
    pub(crate) harm: u64,
    /// When it ended, in milliseconds.
    pub(crate) at_ms: u64,
    /// What the verdict at the end said.
    pub(crate) because: String,
    /// Seconds that each step took, as far as it came.
    pub(crate) seconds: Vec<f64>,
}

impl World {
    /// 100 requests/s, stable fails 0.1 %, steps 10/25/50 %, a look each second, a second of actuation, errors only.
    pub(crate) fn reference() -> Self {
        Self {
            policy: Policy::default(),
            traffic: 100,
            stable: 0.001,
            canary: 0.001,
            late: 0.0,
            steps: vec![1_000, 2_500, 5_000],
            hold_ms: 0,
            window_ms: 1_000,
            actuation_ms: 1_000,
            deadline_ms: 3_600_000,
        }
    }

    pub(crate) fn run(&self, seed: u64) -> Outcome {
        let mut random = Random(seed);
        let mut judge = Judge::new(self.policy).expect("a valid policy");
        let (mut step, mut begun, mut now, mut harm) = (0, 0, 0, 0);
        let mut seconds = Vec::new();
        let clock = (self.policy.not_slower_than.is_some() || self.policy.max_slow.is_some()).then(Clock::new);
        let mut scrape = Scrape { epoch: 0, from_ms: 0, counts: Pair::default() };
        let mut because;
        let end = loop {
            let window = self.window(&mut random, step, now);
            harm += window.canary.x;
            now = window.to_ms;
            match &clock {
                None => judge.observe(&window),
                Some(clock) => judge.observe_with(&window, &self.times(clock, &mut random, &window).details()),
            }
            self.scrape(&mut judge, &mut scrape, &window);
            let verdict = judge.verdict();
            because = verdict.because;
            let forward = match verdict.kind {
                Kind::Harmful => {
                    harm += self.meanwhile(&mut random, step, &mut now);
                    break End::RolledBack;
                }
                Kind::Safe => true,
                Kind::Undecided if self.steps[step] == 10_000 => {
                    verdict.evidence.limit.is_some_and(|limit| limit.standing == Standing::Clean)
                }
                _ => false,
            };
            if now >= self.deadline_ms {
                break End::OutOfTime;
            }
            if !forward || now - begun < self.hold_ms {
                continue;
            }
            harm += self.meanwhile(&mut random, step, &mut now);
            seconds.push((now - begun) as f64 / 1_000.0);
            begun = now;
            step += 1;
            if step == self.steps.len() {
                break End::Promoted;
            }
        };
        Outcome { end, harm, at_ms: now, because, seconds }
    }

    fn times(&self, clock: &Clock, random: &mut Random, window: &Window) -> Times {
        let canary = clock.tick(random, window.canary.n, self.late);
        let stable = clock.tick(random, window.stable.n, 0.0);
        let slow = |buckets: &[u64]| Counts::answered(buckets.iter().sum(), buckets[LIMIT + 1..].iter().sum());
        let slow = Pair { canary: slow(&canary), stable: slow(&stable) };
        Times { canary: sparse(&canary), stable: sparse(&stable), slow }
    }

    /// Metrics count the same requests, and come every ten seconds; what straddles a step is left out.
    fn scrape(&self, judge: &mut Judge, scrape: &mut Scrape, window: &Window) {
        if self.policy.metrics == 0 {
            return;
        }
        if scrape.counts == Pair::default() {
            scrape.epoch = window.epoch;
        }
        scrape.counts = scrape.counts.plus(Pair { canary: window.canary, stable: window.stable });
        if window.to_ms < scrape.from_ms + SCRAPE_MS {
            return;
        }
        let Pair { canary, stable } = scrape.counts;
        if scrape.epoch == window.epoch {
            for index in 0..self.policy.metrics {
                judge.observe_metric(index, &Window { from_ms: scrape.from_ms, canary, stable, ..*window });
            }
        }
        *scrape = Scrape { epoch: 0, from_ms: window.to_ms, counts: Pair::default() };
    }

    fn window(&self, random: &mut Random, step: usize, from_ms: u64) -> Window {
        let weight = self.steps[step];
        let n = self.traffic * self.window_ms / 1_000;
        let n_c = random.binomial(n, f64::from(weight) / 10_000.0);
        Window {
            epoch: step as u64 + 1,
            weight,
            from_ms,
            to_ms: from_ms + self.window_ms,
            canary: Counts::answered(n_c, random.binomial(n_c, self.canary)),
            stable: Counts::answered(n - n_c, random.binomial(n - n_c, self.stable)),
        }
    }

    /// Traffic between a verdict and its effect: it still harms and is no longer judged.
    fn meanwhile(&self, random: &mut Random, step: usize, now: &mut u64) -> u64 {
        let n = self.traffic * self.actuation_ms / 1_000;
        *now += self.actuation_ms;
        let n_c = random.binomial(n, f64::from(self.steps[step]) / 10_000.0);
        random.binomial(n_c, self.canary)
    }
}

/// The middle of a list; 0 of an empty one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
