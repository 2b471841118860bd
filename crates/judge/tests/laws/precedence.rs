//! Which verdict wins: harmful for ever, then blind, then no traffic, then safe, else undecided.

use davy_judge::{Blindness, Budget, Counts, InvalidPolicy, Judge, Kind, Measure, Policy, Standing, Window};

fn window(epoch: u64, weight: u16, second: u64, canary: (u64, u64), stable: (u64, u64)) -> Window {
    Window {
        epoch,
        weight,
        from_ms: second * 1_000,
        to_ms: (second + 1) * 1_000,
        canary: Counts::answered(canary.0, canary.1),
        stable: Counts::answered(stable.0, stable.1),
    }
}

fn fresh() -> Judge {
    Judge::new(Policy::default()).expect("a valid policy")
}

/// A judge that has proven 10 % in its first ten seconds.
fn safe() -> Judge {
    let mut judge = fresh();
    for second in 0..10 {
        judge.observe(&window(1, 1_000, second, (100, 0), (900, 1)));
    }
    assert_eq!(judge.verdict().kind, Kind::Safe);
    judge
}

fn kind(judge: &Judge) -> Kind {
    judge.verdict().kind
}

#[test]
fn nothing_counted_is_undecided() {
    assert_eq!(kind(&fresh()), Kind::Undecided);
    let mut judge = fresh();
    judge.blind(Blindness::Source);
    assert_eq!(kind(&judge), Kind::Blind);
}

#[test]
fn blind_hides_safe_until_a_good_window() {
    let mut judge = safe();
    judge.blind(Blindness::Source);
    assert_eq!(kind(&judge), Kind::Blind);
    judge.observe(&window(1, 1_000, 3, (100, 0), (900, 0)));
    assert_eq!(kind(&judge), Kind::Blind, "a duplicate shows nothing");
    judge.observe(&window(0, 1_000, 30, (100, 0), (900, 0)));
    assert_eq!(kind(&judge), Kind::Blind, "a window of an old epoch shows nothing");
    judge.observe(&window(1, 1_000, 10, (100, 0), (900, 1)));
    assert_eq!(kind(&judge), Kind::Safe);
    let evidence = judge.verdict().evidence;
    assert_eq!((evidence.duplicates, evidence.late), (1, 1));
}

#[test]
fn nonsense_blinds_and_is_not_counted() {
    let good = window(1, 1_000, 10, (100, 0), (900, 1));
    let nonsense = [
        window(1, 1_000, 10, (100, 101), (900, 0)),
        window(1, 1_000, 10, (u64::MAX, 0), (900, 0)),
        window(1, 10_001, 10, (100, 0), (900, 0)),
        Window { to_ms: 10_000, ..good },
        Window { to_ms: 9_999, ..good },
    ];
    let mut judge = safe();
    let before = judge.verdict().evidence.rollout;
    for window in nonsense {
        judge.observe(&window);
        assert_eq!(kind(&judge), Kind::Blind, "{window:?}");
    }
    assert_eq!(judge.verdict().evidence.rollout, before);
    assert_eq!(judge.verdict().evidence.nonsense, 5);
    judge.observe(&good);
    assert_eq!(kind(&judge), Kind::Safe);
}

#[test]
fn silence_towards_the_canary_hides_safe() {
    let mut judge = safe();
    for second in 10..19 {
        judge.observe(&window(1, 1_000, second, (0, 0), (5, 0)));
        assert_eq!(kind(&judge), Kind::Safe, "second {second}");
    }
    judge.observe(&window(1, 1_000, 19, (0, 0), (5, 0)));
    assert_eq!(kind(&judge), Kind::NoTraffic);
    judge.blind(Blindness::Silence);
    assert_eq!(kind(&judge), Kind::Blind);
    judge.observe(&window(1, 1_000, 20, (1, 0), (900, 1)));
    assert_eq!(kind(&judge), Kind::Safe);
}

#[test]
fn a_request_in_flight_is_traffic() {
    let mut judge = safe();
    for second in 10..40 {
        let canary = Counts { n: 0, x: 0, admitted: 5, repeated: 0 };
        judge.observe(&Window { canary, ..window(1, 1_000, second, (0, 0), (900, 1)) });
    }
    assert_ne!(kind(&judge), Kind::NoTraffic);
}

#[test]
fn without_a_share_there_is_nothing_to_miss() {
    let mut judge = fresh();
    for second in 0..30 {
        judge.observe(&window(1, 0, second, (0, 0), (900, 1)));
    }
    assert_eq!(kind(&judge), Kind::Undecided);
}

#[test]
fn what_speaks_against_the_canary_hides_safe() {
    let mut judge = safe();
    judge.observe(&window(1, 1_000, 10, (100, 4), (900, 0)));
    let verdict = judge.verdict();
    assert_eq!(verdict.kind, Kind::Undecided);
    assert!(verdict.evidence.amber && verdict.evidence.promotion.is_some_and(|promotion| promotion.proven));
    assert_eq!(verdict.evidence.suspect, Some(Measure::Relative));
    for second in 11..300 {
        judge.observe(&window(1, 1_000, second, (100, 0), (900, 1)));
    }
    assert_eq!(kind(&judge), Kind::Safe);
}

/// A fifth of the canary's requests hang until a timeout of half a minute; those that end are perfect.
#[test]
fn a_hanging_canary_is_not_safe_before_its_timeouts() {
    let run = |ended: u64| {
        let mut judge = fresh();
        for second in 0..20 {
            let canary = Counts { n: ended, x: 0, admitted: 10, repeated: 0 };
            let n = if second == 0 { 940 } else { 990 };
            let stable = Counts { n, x: 0, admitted: 990, repeated: 0 };
            judge.observe(&Window { canary, stable, ..window(1, 100, second, (0, 0), (0, 0)) });
        }
        judge.verdict()
    };
    let hanging = run(8);
    assert_eq!(hanging.kind, Kind::Undecided, "{}", hanging.because);
    assert!(hanging.evidence.promotion.is_some_and(|promotion| promotion.proven));
    assert!(hanging.because.contains("40 requests of the canary are unanswered"), "{}", hanging.because);
    assert_eq!(run(10).kind, Kind::Safe);
}

/// Twice stable's latency is a matter for a limit of latency.
#[test]
fn a_slower_canary_is_not_taken_for_hanging() {
    let mut judge = fresh();
    for second in 0..10 {
        let (c, b) = if second == 0 { (480, 490) } else { (500, 500) };
        let canary = Counts { n: c, x: 0, admitted: 500, repeated: 0 };
        let stable = Counts { n: b, x: 0, admitted: 500, repeated: 0 };
        judge.observe(&Window { canary, stable, ..window(1, 5_000, second, (0, 0), (0, 0)) });
    }
    assert_eq!(kind(&judge), Kind::Safe);
}

#[test]
fn harmful_is_for_ever() {
    let mut judge = safe();
    judge.observe(&window(1, 1_000, 10, (100, 50), (900, 1)));
    let harmful = judge.verdict();
    assert_eq!(harmful.kind, Kind::Harmful);
    assert_eq!(harmful.evidence.causes, [Measure::Relative]);
    assert!(harmful.because.contains("failed 50 of 1,100 requests"), "{}", harmful.because);
    judge.blind(Blindness::Source);
    for second in 11..600 {
        judge.observe(&window(2, 0, second, (0, 0), (1_000, 1)));
    }
    assert_eq!(judge.verdict(), harmful);
}

#[test]
fn a_shared_incident_is_not_the_canarys_fault_alone() {
    let policy = Policy { max_error_rate: Some(0.01), ..Policy::default() };
    let mut judge = Judge::new(policy).expect("a valid policy");
    for second in 0..60 {
        judge.observe(&window(1, 1_000, second, (100, 20), (900, 180)));
    }
    let verdict = judge.verdict();
    assert_eq!(verdict.kind, Kind::Undecided);
    assert!(verdict.evidence.ln_e > verdict.evidence.ln_needed);
    assert_eq!(verdict.evidence.limit.map(|limit| limit.standing), Some(Standing::StableFailsToo));
    assert!(verdict.because.contains("stable fails too"), "{}", verdict.because);

    let mut alone = Judge::new(Policy { relative: false, ..policy }).expect("a valid policy");
    for second in 0..60 {
        alone.observe(&window(1, 1_000, second, (100, 20), (900, 1)));
    }
    assert_eq!(kind(&alone), Kind::Harmful);
    assert_eq!(alone.verdict().evidence.causes, [Measure::Absolute]);
}

#[test]
fn what_cannot_be_promised_is_refused() {
    let refuse = |policy: Policy| Judge::new(policy).map(|_| ()).expect_err("refused");
    let base = Policy::default();
    assert_eq!(refuse(Policy { odds: 0.9, ..base }), InvalidPolicy::Odds(0.9));
    assert_eq!(refuse(Policy { alpha: 0.0, ..base }), InvalidPolicy::Alpha(0.0));
    assert_eq!(refuse(Policy { beta: 1.0, ..base }), InvalidPolicy::Beta(1.0));
    assert!(Judge::new(Policy { alpha: 0.99, beta: 0.99, ..base }).is_ok(), "odd, but a promise");
    assert_eq!(refuse(Policy { margin: Some(1.0), ..base }), InvalidPolicy::Margin(1.0));
    assert_eq!(refuse(Policy { max_error_rate: Some(0.0), ..base }), InvalidPolicy::MaxErrorRate(0.0));
    assert!(matches!(refuse(Policy { alpha: f64::NAN, ..base }), InvalidPolicy::Alpha(_)));
    assert!(matches!(refuse(Policy { odds: f64::INFINITY, ..base }), InvalidPolicy::Odds(_)));
    assert!(matches!(refuse(Policy { ramp: Some(f64::NAN), ..base }), InvalidPolicy::Ramp(_)));
    assert_eq!(refuse(Policy { ramp: Some(-1.0), ..base }), InvalidPolicy::Ramp(-1.0));
    assert_eq!(refuse(Policy { not_slower_than: Some(0.99), ..base }), InvalidPolicy::NotSlowerThan(0.99));
    assert!(matches!(refuse(Policy { not_slower_than: Some(f64::NAN), ..base }), InvalidPolicy::NotSlowerThan(_)));
    for share in [0.0, 1.0, -0.1] {
        assert_eq!(refuse(Policy { max_slow: Some(share), ..base }), InvalidPolicy::MaxSlow(share));
    }
    assert_eq!(refuse(Policy { metrics: 17, ..base }), InvalidPolicy::Metrics(17));
    assert_eq!(refuse(Policy { cluster: 0.5, ..base }), InvalidPolicy::Cluster(0.5));
    assert!(matches!(refuse(Policy { cluster: f64::NAN, ..base }), InvalidPolicy::Cluster(_)));
    for budget in [Budget::Excess(0.0), Budget::Excess(f64::NAN), Budget::Excess(f64::INFINITY), Budget::Hard(0)] {
        assert!(matches!(refuse(Policy { budget: Some(budget), ..base }), InvalidPolicy::Budget(_)), "{budget:?}");
    }
}
