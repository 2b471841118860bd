//! Laws of counting, over random inputs.

use davy_judge::{Counts, Details, Instance, Judge, Kind, Policy, Verdict, Window};
use proptest::prelude::*;

fn window(second: u64, weight: u16, canary: Counts, stable: Counts) -> Window {
    Window { epoch: 1, weight, from_ms: second * 1_000, to_ms: (second + 1) * 1_000, canary, stable }
}

fn judge(policy: Policy) -> Judge {
    Judge::new(policy).expect("a valid policy")
}

/// Counts of one version, failures rare, some, or all.
fn counts(most: u64) -> impl Strategy<Value = Counts> {
    (0..=most, prop_oneof![Just(0.0), 0.0..0.01, 0.0..=1.0], 0..=most / 10).prop_map(|(n, rate, more)| Counts {
        n,
        x: ((n as f64 * rate) as u64).min(n),
        admitted: n + more,
        repeated: 0,
    })
}

fn policies() -> impl Strategy<Value = Policy> {
    (prop::option::of(1e-5..0.9_f64), prop::option::of(1e-4..0.5_f64), 1.0..5.0_f64, any::<bool>()).prop_map(
        |(max_error_rate, margin, odds, relative)| Policy {
            max_error_rate,
            margin,
            odds,
            relative,
            ..Policy::default()
        },
    )
}

proptest! {
    #[test]
    fn merging_equals_one_stream(
        seconds in prop::collection::vec(prop::collection::vec((counts(200), counts(2_000)), 10), 1..20),
        policy in policies(),
    ) {
        let (mut whole, mut parts) = (judge(policy), judge(policy));
        for (second, tenths) in (0..).zip(&seconds) {
            let mut sum = (Counts::default(), Counts::default());
            for (tenth, (canary, stable)) in (0..).zip(tenths) {
                sum = (sum.0.plus(*canary), sum.1.plus(*stable));
                let from_ms = second * 1_000 + tenth * 100;
                let part = Window { from_ms, to_ms: from_ms + 100, ..window(second, 2_000, *canary, *stable) };
                parts.observe(&part);
            }
            whole.observe(&window(second, 2_000, sum.0, sum.1));
            prop_assume!(sum.0.n + sum.1.n >= 100);
        }
        prop_assert_eq!(whole.verdict(), parts.verdict());
    }

    #[test]
    fn a_window_delivered_again_counts_once(
        seconds in prop::collection::vec((counts(500), counts(5_000)), 1..30),
        again in any::<prop::sample::Index>(),
    ) {
        let (mut once, mut twice) = (judge(Policy::default()), judge(Policy::default()));
        let windows: Vec<Window> =
            (0..).zip(&seconds).map(|(second, (canary, stable))| window(second, 1_000, *canary, *stable)).collect();
        for (position, window) in windows.iter().enumerate() {
            once.observe(window);
            twice.observe(window);
            if position >= again.index(windows.len()) {
                twice.observe(&windows[again.index(windows.len())]);
            }
        }
        let (once, mut twice) = (once.verdict(), twice.verdict());
        prop_assert!(twice.evidence.duplicates > 0 || twice.kind == Kind::Harmful);
        twice.evidence.duplicates = 0;
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn without_failures_nothing_speaks_against_the_canary(
        seconds in prop::collection::vec((0..10_000_u64, 0..10_000_u64, 0..=10_000_u16), 1..60),
        policy in policies(),
    ) {
        let mut judge = judge(policy);
        for (second, (canary, stable, weight)) in (0..).zip(seconds) {
            let window = window(second, weight, Counts::answered(canary, 0), Counts::answered(stable, 0));
            judge.observe(&Window { epoch: second, ..window });
            let verdict = judge.verdict();
            prop_assert!(!verdict.evidence.amber, "{}", verdict.because);
            for metric in &verdict.evidence.metrics {
                prop_assert!(metric.ln_e <= 1e-12);
                if metric.measure == davy_judge::Measure::Relative {
                    prop_assert!(metric.ln_e.abs() <= 1e-12);
                }
            }
        }
    }

    #[test]
    fn more_canary_failures_never_help_it(
        seconds in prop::collection::vec((counts(500), counts(5_000)), 1..20),
        policy in policies(),
        at in any::<prop::sample::Index>(),
        more in 1..50_u64,
    ) {
        let (mut fewer, mut worse) = (judge(policy), judge(policy));
        let at = at.index(seconds.len());
        for (second, (canary, stable)) in (0..).zip(&seconds) {
            fewer.observe(&window(second, 1_000, *canary, *stable));
            let x = if second == at as u64 { (canary.x + more).min(canary.n) } else { canary.x };
            worse.observe(&window(second, 1_000, Counts { x, ..*canary }, *stable));
        }
        let (fewer, worse) = (fewer.verdict(), worse.verdict());
        prop_assert!(worse.kind == Kind::Harmful || worse.evidence.ln_e >= fewer.evidence.ln_e - 1e-9);
        prop_assert!(fewer.kind != Kind::Harmful || worse.kind == Kind::Harmful);
    }

    #[test]
    fn numbers_stay_finite(
        windows in prop::collection::vec(
            (0..=10_000_u16, counts(1_000_000_000_000), counts(1_000_000_000_000), 1..10_000_000_u64, 0..3_u64), 1..40),
        policy in policies(),
    ) {
        let mut judge = judge(policy);
        let (mut now, mut epoch) = (0, 0);
        for (weight, canary, stable, duration, skip) in windows {
            epoch += skip;
            judge.observe(&Window { epoch, weight, from_ms: now, to_ms: now + duration, canary, stable });
            now += duration;
            let verdict = judge.verdict();
            let text = serde_json::to_string(&verdict).expect("JSON");
            let back: Verdict = serde_json::from_str(&text).expect("nothing became null");
            prop_assert_eq!(back.kind, verdict.kind);
            prop_assert!(verdict.evidence.ln_e.is_finite());
            if let Some(promotion) = verdict.evidence.promotion {
                prop_assert!(promotion.ln_e.is_finite() && promotion.margin > 0.0 && promotion.margin < 1.0);
                prop_assert!(promotion.forecast.and_then(|forecast| forecast.seconds).is_none_or(f64::is_finite));
            }
        }
    }
}

/// The window's counts dealt out to `hosts` instances of each version.
fn dealt(window: &Window, hosts: u64) -> Vec<Instance> {
    let deal = |counts: Counts, canary| {
        (0..hosts).map(move |host| {
            let part = |count: u64| count / hosts + u64::from(host < count % hosts);
            let (n, admitted) = (part(counts.n), part(counts.admitted));
            // What rounds to more failures than requests would be nonsense.
            let x = part(counts.x).min(n);
            Instance { id: host + 100 * u64::from(canary), canary, counts: Counts { n, x, admitted, repeated: 0 } }
        })
    };
    deal(window.canary, true).chain(deal(window.stable, false)).collect()
}

proptest! {
    /// Windows of a tenth of a second, with their instances in any order, are one of a second.
    #[test]
    fn instances_merge_as_counts_do(
        seconds in prop::collection::vec(prop::collection::vec((counts(200), counts(2_000)), 10), 1..10),
        hosts in 1..8_u64,
        turn in 0..16_usize,
    ) {
        let (mut whole, mut parts) = (judge(Policy::default()), judge(Policy::default()));
        for (second, tenths) in (0..).zip(&seconds) {
            let mut sum: Vec<Instance> = Vec::new();
            let mut total = (Counts::default(), Counts::default());
            for (tenth, (canary, stable)) in (0..).zip(tenths) {
                total = (total.0.plus(*canary), total.1.plus(*stable));
                let from_ms = second * 1_000 + tenth * 100;
                let part = Window { from_ms, to_ms: from_ms + 100, ..window(second, 2_000, *canary, *stable) };
                let mut instances = dealt(&part, hosts);
                for (place, instance) in instances.iter().enumerate() {
                    match sum.get_mut(place) {
                        Some(known) => known.counts = known.counts.plus(instance.counts),
                        None => sum.push(*instance),
                    }
                }
                let turn = turn % instances.len();
                instances.rotate_left(turn);
                parts.observe_with(&part, &Details { instances: &instances, ..Details::default() });
            }
            let window = window(second, 2_000, total.0, total.1);
            whole.observe_with(&window, &Details { instances: &sum, ..Details::default() });
            prop_assume!(total.0.n + total.1.n >= 100);
        }
        prop_assert_eq!(whole.verdict(), parts.verdict());
    }

    /// Instances label and hold back; they never change the evidence, and never make a verdict better.
    #[test]
    fn instances_change_no_evidence(
        seconds in prop::collection::vec((counts(500), counts(5_000)), 1..30),
        hosts in 1..20_u64,
        policy in policies(),
    ) {
        let (mut with, mut without) = (judge(policy), judge(policy));
        for (second, (canary, stable)) in (0..).zip(&seconds) {
            let window = window(second, 2_000, *canary, *stable);
            without.observe(&window);
            with.observe_with(&window, &Details { instances: &dealt(&window, hosts), ..Details::default() });
            let (with, without) = (with.verdict(), without.verdict());
            prop_assert_eq!(with.evidence.ln_e, without.evidence.ln_e);
            prop_assert_eq!(with.evidence.bounds, without.evidence.bounds);
            prop_assert_eq!(with.evidence.promotion, without.evidence.promotion);
            prop_assert!(with.kind == without.kind || (with.kind, without.kind) == (Kind::Undecided, Kind::Safe));
        }
    }

    /// More failures of one version are more evidence against the process of [`davy_judge::relative`] at fixed requests.
    #[test]
    fn evidence_grows_with_each_failure(
        n in (1..1_000_000_000_000_u64, 1..1_000_000_000_000_u64),
        x in (0.0..1.0_f64, 0.0..1.0_f64),
        odds in 1.0..100.0_f64,
        ratio in 1.01..1_000.0_f64,
    ) {
        let x_c = ((n.0 as f64 * x.0) as u64).min(n.0 - 1);
        let stable = Counts::answered(n.1, (n.1 as f64 * x.1) as u64);
        let e = |x_c| davy_judge::relative::ln_e(&davy_judge::Pair { canary: Counts::answered(n.0, x_c), stable }, odds, ratio);
        let (fewer, more) = (e(x_c), e(x_c + 1));
        // What one failure adds can be less than the last digit of what all add: of the terms, which may be far larger than
        // their difference.
        let terms = (x_c + 1 + stable.x) as f64 * ratio.ln();
        prop_assert!(more >= fewer - 4.0 * f64::EPSILON * terms, "{} {}", fewer, more);
    }
}

/// Impossible instances are left out, and one that comes and goes or a hundred of them break nothing.
#[test]
fn instances_may_be_many_or_mad() {
    let mut judge = judge(Policy::default());
    for second in 0..300 {
        let window = window(second, 2_000, Counts::answered(200, 1), Counts::answered(800, 2));
        let mut instances: Vec<Instance> = (0..100)
            .map(|host| Instance {
                id: host * second,
                canary: host % 2 == 0,
                counts: Counts::answered(10, u64::from(host == 3)),
            })
            .collect();
        instances.push(Instance { id: 5, canary: true, counts: Counts { n: 1, x: 2, admitted: 1, repeated: 9 } });
        instances.push(Instance { id: 6, canary: false, counts: Counts::answered(u64::MAX, u64::MAX) });
        judge.observe_with(&window, &Details { instances: &instances, ..Details::default() });
        let text = serde_json::to_string(&judge.verdict()).expect("JSON");
        let _: Verdict = serde_json::from_str(&text).expect("nothing became null");
    }
}

/// What was stored before these fields were known is read as "not known".
#[test]
fn old_records_are_read() {
    let mut value = serde_json::to_value(judge(Policy::default()).verdict()).expect("JSON");
    let evidence = value["evidence"].as_object_mut().expect("an object");
    for field in ["bounds", "calibration", "sample_ratio", "single_instance"] {
        assert!(evidence.remove(field).is_some(), "{field}");
    }
    let old: Verdict = serde_json::from_value(value).expect("an old record");
    assert_eq!(old.evidence.calibration, davy_judge::Calibration::Unaudited);
    assert_eq!((old.evidence.bounds.difference.low, old.evidence.bounds.difference.high), (-1.0, 1.0));
}

/// Weights 0.01 % and 99.99 % and empty versions.
#[test]
fn empty_and_extreme_blocks_say_nothing() {
    for weight in [1, 9_999] {
        for (n_c, n_b) in [(0, 0), (0, 1_000_000_000_000), (1_000_000_000_000, 0)] {
            let mut judge = judge(Policy::default());
            for second in 0..5 {
                judge.observe(&window(second, weight, Counts::answered(n_c, n_c / 2), Counts::answered(n_b, n_b / 3)));
            }
            let verdict = judge.verdict();
            let relative = &verdict.evidence.metrics[0];
            assert!(relative.ln_e.abs() < 1e-12, "weight {weight}, {n_c} and {n_b}: {}", relative.ln_e);
            assert!(verdict.evidence.promotion.is_none_or(|promotion| !promotion.proven));
        }
    }
}

/// Failures that come half a minute after admission, and traffic that falls just after a start of the mixture: the
/// canary fails exactly at its limit, and late failures must not be held against the few requests admitted since.
#[test]
fn late_failures_of_old_requests_fake_no_rate() {
    let policy = Policy { max_error_rate: Some(0.01), relative: false, ..Policy::default() };
    let mut judge = judge(policy);
    let admitted = |second: u64| if second < 61 { 1_000 } else { 20 };
    for second in 0_u64..180 {
        let failing = second.checked_sub(30).map_or(0, admitted) / 100;
        let canary =
            Counts { n: admitted(second) * 99 / 100 + failing, x: failing, admitted: admitted(second), repeated: 0 };
        judge.observe(&window(second, 5_000, canary, Counts::answered(1_000, 0)));
        let verdict = judge.verdict();
        assert!(verdict.evidence.ln_e < 1.0, "second {second}: {}", verdict.because);
    }
}

/// Hours of windows of a tenth of a second give what one window gives: nothing drifts. (`n` is far from round in binary.)
#[test]
fn many_windows_are_one() {
    let (mut one, mut many) = (judge(Policy::default()), judge(Policy::default()));
    let windows = 200_000;
    let part = (Counts::answered(10_007, 1), Counts::answered(90_001, 9));
    for tenth in 0..windows {
        let from_ms = tenth * 100;
        many.observe(&Window { from_ms, to_ms: from_ms + 100, ..window(0, 1_000, part.0, part.1) });
    }
    for second in 0..windows / 10 {
        let ten = |counts: Counts| Counts::answered(10 * counts.n, 10 * counts.x);
        one.observe(&window(second, 1_000, ten(part.0), ten(part.1)));
    }
    assert_eq!(one.verdict(), many.verdict());
}
