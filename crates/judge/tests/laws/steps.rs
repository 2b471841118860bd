//! How steps, epochs and blocks follow from windows alone.

use davy_judge::{Counts, Evidence, Judge, Kind, Origin, Policy, Promotion, Standing, Window};

/// A judge with a running clock of its own.
struct Bench {
    judge: Judge,
    epoch: u64,
    now_ms: u64,
}

impl Bench {
    fn new(policy: Policy) -> Self {
        Self { judge: Judge::new(policy).expect("a valid policy"), epoch: 0, now_ms: 0 }
    }

    /// A new epoch of `seconds` seconds at `weight`; counts are per second.
    fn hold(&mut self, weight: u16, seconds: u64, canary: (u64, u64), stable: (u64, u64)) -> &mut Self {
        self.epoch += 1;
        for _ in 0..seconds {
            self.window(weight, 1_000, canary, stable);
        }
        self
    }

    fn window(&mut self, weight: u16, duration_ms: u64, canary: (u64, u64), stable: (u64, u64)) {
        self.judge.observe(&Window {
            epoch: self.epoch,
            weight,
            from_ms: self.now_ms,
            to_ms: self.now_ms + duration_ms,
            canary: Counts::answered(canary.0, canary.1),
            stable: Counts::answered(stable.0, stable.1),
        });
        self.now_ms += duration_ms;
    }

    fn evidence(&self) -> Evidence {
        self.judge.verdict().evidence
    }

    fn promotion(&self) -> Promotion {
        self.evidence().promotion.expect("a step")
    }
}

#[test]
fn a_proof_begins_only_above_every_earlier_weight() {
    let mut bench = Bench::new(Policy::default());
    bench.hold(1_000, 10, (100, 0), (900, 1));
    let ten = bench.promotion();
    assert!(ten.proven);
    bench.hold(2_500, 1, (250, 0), (750, 1));
    let more = bench.promotion();
    assert_eq!((more.weight, more.margin, more.proven), (2_500, 0.004, false));
    bench.hold(1_000, 1, (100, 0), (900, 1));
    let back = bench.promotion();
    assert_eq!((back.weight, back.margin), (2_500, 0.004));
    assert!(back.ln_e > more.ln_e, "going back continues the proof");
    let again = bench.hold(2_500, 1, (250, 0), (750, 1)).promotion();
    assert!(again.ln_e > back.ln_e);
}

#[test]
fn the_margin_is_frozen_as_the_step_begins() {
    let mut bench = Bench::new(Policy::default());
    bench.hold(0, 60, (0, 0), (10_000, 1_000));
    bench.hold(5_000, 1, (500, 50), (500, 50));
    let begun = bench.promotion().margin;
    assert!((begun - 0.05).abs() < 1e-3, "half of stable's tenth: {begun}");
    bench.hold(5_000, 60, (500, 0), (500, 0));
    assert_eq!(bench.promotion().margin, begun);
    let own = Policy { margin: Some(0.003), ..Policy::default() };
    let mut bench = Bench::new(own);
    assert_eq!(
        bench.hold(0, 60, (0, 0), (10_000, 1_000)).hold(5_000, 1, (500, 50), (500, 50)).promotion().margin,
        0.003
    );
}

#[test]
fn a_block_needs_time_and_requests_of_one_epoch() {
    let mut bench = Bench::new(Policy::default());
    bench.epoch = 1;
    bench.window(5_000, 999, (1_000, 0), (1_000, 0));
    assert_eq!(bench.evidence().blocks, 0, "too short");
    bench.window(5_000, 1, (0, 0), (0, 0));
    assert_eq!(bench.evidence().blocks, 1);
    bench.window(5_000, 5_000, (4, 0), (3, 0));
    assert_eq!(bench.evidence().blocks, 1, "seven requests are too few at 50 %");
    assert_eq!(bench.evidence().open.canary.n, 4);
    bench.window(5_000, 100, (0, 0), (1, 0));
    assert_eq!(bench.evidence().blocks, 2, "eight are enough");
    bench.window(5_000, 500, (50, 50), (50, 0));
    bench.hold(5_000, 0, (0, 0), (0, 0));
    bench.window(5_000, 500, (0, 0), (0, 0));
    let evidence = bench.evidence();
    assert_eq!((evidence.blocks, evidence.open.canary.x), (2, 0), "an unfinished block ends with its epoch");
    assert_eq!(evidence.rollout.canary.n, 1_004);
}

#[test]
fn after_75_percent_the_past_is_the_limit() {
    let mut bench = Bench::new(Policy::default());
    bench.hold(5_000, 20, (500, 0), (500, 1)).hold(7_500, 5, (750, 0), (250, 0));
    assert_eq!(bench.evidence().limit, None);
    bench.hold(10_000, 3, (1_000, 1), (0, 0));
    let verdict = bench.judge.verdict();
    let limit = verdict.evidence.limit.expect("a limit");
    assert_eq!((verdict.kind, limit.origin, limit.rate), (Kind::Undecided, Origin::Past, limit.rate.max(0.005)));
    assert_eq!(limit.standing, Standing::Clean);
    assert!(verdict.because.contains("against the past"), "{}", verdict.because);
    assert!(verdict.evidence.promotion.is_none(), "nothing is proven at 100 %");
    bench.hold(10_000, 2, (1_000, 100), (0, 0));
    assert_eq!(bench.judge.verdict().kind, Kind::Harmful);
}

#[test]
fn without_a_past_there_is_no_limit_and_nobody_pretends() {
    let mut bench = Bench::new(Policy::default());
    bench.hold(10_000, 20, (1_000, 0), (0, 0));
    let verdict = bench.judge.verdict();
    assert_eq!((verdict.kind, verdict.evidence.limit), (Kind::Undecided, None));
    assert!(verdict.because.contains("a person has to decide"), "{}", verdict.because);
}

#[test]
fn stable_alone_before_a_switch_gives_the_past() {
    let mut bench = Bench::new(Policy::default());
    bench.hold(0, 10, (0, 0), (1_000, 1)).hold(10_000, 5, (1_000, 2), (0, 0));
    assert!(bench.evidence().limit.is_some_and(|limit| limit.standing == Standing::Clean));
}

/// Bad after 45 minutes of health: found as a fresh regression, not against all the good results before.
#[test]
fn a_late_regression_is_found_as_a_fresh_one() {
    let mut bench = Bench::new(Policy::default());
    bench.hold(5_000, 45 * 60, (50, 1), (50, 1));
    bench.hold(5_000, 20, (50, 4), (50, 1));
    let verdict = bench.judge.verdict();
    assert_eq!(verdict.kind, Kind::Harmful);
    assert!(verdict.evidence.metrics[0].since_ms >= 45 * 60_000, "{}", verdict.because);
}

#[test]
fn the_forecast_comes_true() {
    let mut bench = Bench::new(Policy::default());
    bench.hold(0, 10, (0, 0), (1_000, 1)).hold(1_000, 1, (100, 0), (900, 1));
    let forecast = bench.promotion().forecast.expect("in reach");
    let seconds = forecast.seconds.expect("traffic");
    bench.hold(1_000, seconds as u64, (100, 0), (900, 1));
    assert!(!bench.promotion().proven || seconds < 1.0, "too pessimistic: {forecast:?}");
    bench.hold(1_000, 2, (100, 0), (900, 1));
    assert!(bench.promotion().proven, "too optimistic: {forecast:?}");
}
