//! The guard: valid by enumeration and in simulation, whatever the ages of requests; quick; and recomputed from its counts.

use crate::ages::{Service, healthy, order, row, run};
use davy_judge::guard::{Book, Finding, Guard, InvalidOrder, Order, Row, STARTS, Side, start_after};
use proptest::prelude::*;

fn binomial(n: u64, x: u64, p: f64) -> f64 {
    let choose: f64 = (0..x).map(|i| (n - i) as f64 / (x - i) as f64).product();
    choose * p.powi(x as i32) * (1.0 - p).powi((n - x) as i32)
}

fn e(order: &Order, rows: &[Row]) -> f64 {
    Guard::recompute(order, 1, rows, None).expect("a valid order").exp()
}

/// Failures at two weights and after two starts, each the canary's with the chance that its draw had.
#[test]
fn it_expects_at_most_one_of_failures_drawn_by_weight() {
    let mut worst: f64 = 0.0;
    for (first, second) in [(1_000_u16, 5_000), (1, 9_999), (100, 100), (9_000, 2_500)] {
        for odds in [1.0, 1.5, 10.0] {
            for of_limit in [1.0, 0.7, 0.1] {
                let order = Order { odds, ..order() };
                let chance = |weight: u16| {
                    let w = f64::from(weight) / 1e4;
                    w * odds * of_limit / (w * odds * of_limit + 1.0 - w)
                };
                let (m1, m2) = (7, 6);
                let mut expected = 0.0;
                for x1 in 0..=m1 {
                    for x2 in 0..=m2 {
                        let rows =
                            [row(first, 0, (100, x1), (100, m1 - x1), 0), row(second, 2, (100, x2), (100, m2 - x2), 0)];
                        let weight = binomial(m1, x1, chance(first)) * binomial(m2, x2, chance(second));
                        expected += weight * e(&order, &rows);
                    }
                }
                worst = worst.max(expected);
                assert!(expected <= 1.0 + 1e-9, "{first} {second} odds {odds} × {of_limit}: {expected}");
            }
        }
    }
    assert!(worst > 0.99, "the enumeration never comes near its bound: {worst}");
}

#[test]
fn it_expects_at_most_one_against_limits_and_with_both() {
    for limit in [0.001, 0.01, 0.3] {
        for relative in [false, true] {
            let order = Order { relative, limits: vec![limit], ..order() };
            for rate in [limit, limit / 3.0] {
                let (n, weight) = (12, 0.3);
                let mut expected = 0.0;
                for n_c in 0..=n {
                    for (x_c, x_b) in (0..=n_c).flat_map(|x_c| (0..=n - n_c).map(move |x_b| (x_c, x_b))) {
                        let fails = binomial(n_c, x_c, rate) * binomial(n - n_c, x_b, rate);
                        let rows = [row(3_000, 0, (n_c, x_c), (n - n_c, x_b), 0)];
                        expected += binomial(n, n_c, weight) * fails * e(&order, &rows);
                    }
                }
                assert!(expected <= 1.0 + 1e-9, "{limit} {rate} {relative}: {expected}");
            }
        }
    }
}

/// Healthy canaries, over rates, weights, changes of the weight and ages. The guard's first run has 4.4 % here; more than 30 of
/// 360 have a chance below one in a thousand.
#[test]
fn healthy_canaries_are_rarely_cut_off_whatever_the_ages_of_requests() {
    let seed = 4_000;
    let cut = healthy(true, seed..seed + 60);
    assert!(cut <= 30, "cut off: {cut} of 360, seeds {seed} to {}", seed + 60);
    // Failures taken as they come would be another thing: that is what waiting requests are weighed for.
    let naive = healthy(false, seed..seed + 60);
    assert!(naive > 60, "without it: {naive} of 360, seeds from {seed}");
}

#[test]
fn a_canary_that_fails_everything_is_cut_off_within_a_handful() {
    for seed in 0..20 {
        let bad = |fails, weights, limits| Service {
            rate: 1_000.0,
            fails: (fails, 0.001),
            late: (0.001, 0.001),
            answer: 0.001,
            weights,
            seconds: 60.0,
            limits,
            waits: true,
        };
        let cut = run(&bad(1.0, [1_000; 3], Vec::new()), 0.003, seed).expect("cut off");
        assert!(cut <= 7, "{cut} failures, seed {seed}");
        let cut = run(&bad(1.0, [10_000; 3], vec![0.01]), 0.003, seed).expect("cut off at 100 %, where the limit acts");
        assert!(cut <= 5, "{cut} failures, seed {seed}");
        let cut = run(&bad(0.05, [1_000; 3], Vec::new()), 0.003, seed).expect("cut off");
        assert!(cut <= 30, "{cut} failures, seed {seed}");
        assert_eq!(
            run(&bad(1.0, [10_000; 3], Vec::new()), 0.003, seed),
            None,
            "at 100 % there is nothing to compare with"
        );
    }
}

/// With much traffic most of what came with the canary's first failures has been answered long before the last of it.
#[test]
fn what_stable_has_not_answered_yet_hides_a_catastrophe_no_longer_than_its_answers_take() {
    let bad = Service {
        rate: 1_000.0,
        fails: (1.0, 0.001),
        late: (0.001, 0.06),
        answer: 0.06,
        weights: [1_000; 3],
        seconds: 60.0,
        limits: Vec::new(),
        waits: true,
    };
    for seed in 0..20 {
        let cut = run(&bad, 0.003, seed).expect("cut off");
        assert!(cut <= 20, "{cut} failures, seed {seed}");
    }
}

/// A request's number, weight and start, whether it was the canary's and failed; and whether it is still under way.
type Told = ((u64, u16, u8, bool, bool), bool);

/// Requests of every age, over weights and starts: slices lose nothing, and each cut is a beginning of all that was admitted.
#[test]
fn a_book_counts_each_request_once_however_old_it_is() {
    let mut random = crate::world::Random(7);
    let guard = Guard::begin(order(), 1).expect("a valid order");
    let (mut book, mut under_way) = (Book::default(), Vec::new());
    let mut ended = Vec::new();
    for number in 0..30_000_u64 {
        let (weight, start) = ([500, 2_500][usize::from(number > 10_000)], u8::from(number > 20_000));
        let canary = random.unit() < f64::from(weight) / 1e4;
        under_way.push((number, weight, start, book.admit(number / 1_000, weight, start, canary)));
        while under_way.len() > 300 || (number == 29_999 && under_way.len() > 100) {
            // The first, mostly: some stay for ever.
            let at = 50 + (random.unit() * random.unit() * (under_way.len() - 50) as f64) as usize;
            let (number, weight, start, seat) = under_way.swap_remove(at.min(under_way.len() - 1));
            let failed = random.unit() < 0.2;
            book.end(seat, failed);
            ended.push((number, weight, start, seat.is_canary(), failed));
        }
    }
    let open =
        under_way.iter().map(|(number, weight, start, seat)| (*number, *weight, *start, seat.is_canary(), false));
    let mut all: Vec<_> = ended.into_iter().map(|one| (one, false)).chain(open.map(|one| (one, true))).collect();
    all.sort_unstable();
    let cuts = guard.cuts(&book);
    assert!(cuts.len() > 1 && cuts[0].0 == book.rows(), "{cuts:?}");
    for (rows, later) in cuts {
        let until: u64 = rows.iter().map(|row| row.canary.routed + row.stable.routed).sum();
        let (inside, after) = all.split_at(usize::try_from(until).expect("a few"));
        let side = |all: &[Told], wanted: bool, of: Option<(u16, u8)>| {
            let mine = all.iter().filter(|((_, weight, start, canary, _), _)| {
                *canary == wanted && of.is_none_or(|of| of == (*weight, *start))
            });
            Side {
                routed: mine.clone().count() as u64,
                failed: mine.filter(|((.., failed), _)| *failed).count() as u64,
            }
        };
        assert_eq!(later, side(after, true, None).failed);
        for row in rows {
            let of = Some((row.weight, row.start));
            assert_eq!((row.canary, row.stable), (side(inside, true, of), side(inside, false, of)), "up to {until}");
            let waits = |((_, weight, start, canary, _), open): &&Told| {
                *open && !*canary && (*weight, *start) == (row.weight, row.start)
            };
            assert_eq!(row.waiting, inside.iter().filter(waits).count() as u64, "up to {until}");
        }
    }
    let answered = all.iter().filter(|((.., canary, _), open)| !canary && !open).count();
    assert_eq!(book.past().routed, answered as u64);
}

#[test]
fn a_limit_that_stable_breaks_too_cuts_nothing_off() {
    let order = Order { relative: false, limits: vec![0.01], ..order() };
    let guard = Guard::begin(order, 1).expect("a valid order");
    assert!(guard.find(&[row(1_000, 0, (100, 50), (900, 2), 0)], None).is_some());
    assert!(guard.find(&[row(1_000, 0, (100, 50), (900, 450), 0)], None).is_none());
}

/// Blue-green, or the last step: nothing to compare with but what stable has shown.
#[test]
fn stables_past_gives_a_limit_for_what_is_admitted_above_75_percent() {
    let guard = Guard::begin(Order { past: true, ..order() }, 1).expect("a valid order");
    let frozen = guard.freeze(Side { routed: 20_000, failed: 20 });
    let past = row(0, 0, (0, 0), (20_000, 20), 0);
    let at_full = |failed| [past, row(10_000, 0, (40, failed), (0, 0), 0)];
    assert!(guard.find(&at_full(40), None).is_none(), "before it is frozen there is no limit");
    let finding = guard.find(&at_full(6), Some(&frozen)).expect("a crossing");
    assert!(finding.holds());
    let because = finding.because();
    assert!(because.contains("6 of 40 requests (15 %) where stable's past allows 0.5 %;"), "{because}");
    assert!(guard.find(&at_full(1), Some(&frozen)).is_none());
    assert!(!Finding { past: Some(Side { routed: 200, failed: 20 }), ..finding }.holds());
    // What came below that weight is no part of it.
    let below = [past, row(5_000, 0, (40, 6), (40, 6), 0)];
    assert!(guard.find(&below, Some(&frozen)).is_none());
    // Nor is there a limit where one was given, or where stable has no past.
    let given = Guard::begin(Order { limits: vec![0.5], past: true, ..order() }, 1).expect("a valid order");
    assert!(given.find(&at_full(6), Some(&given.freeze(Side { routed: 20_000, failed: 20 }))).is_none());
    assert!(guard.find(&at_full(40), Some(&guard.freeze(Side::default()))).is_none());
}

#[test]
fn runs_share_alpha() {
    let all: f64 = (1..10_000).map(|run| order().alpha_of(run)).sum();
    assert!(all <= order().alpha && all > 0.999 * order().alpha);
    assert!((1..50).all(|run| order().alpha_of(run + 1) < order().alpha_of(run)));
}

#[test]
fn what_cannot_be_promised_is_refused() {
    for alpha in [0.0, 1.0, -1.0, 2.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(Order { alpha, ..order() }.check(), Err(InvalidOrder::Alpha(_))), "{alpha}");
    }
    for odds in [0.0, 0.99, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(Order { odds, ..order() }.check(), Err(InvalidOrder::Odds(_))), "{odds}");
    }
    for limit in [0.0, 1.0, -0.1, f64::NAN] {
        assert!(matches!(Order { limits: vec![limit], ..order() }.check(), Err(InvalidOrder::Limit(_))), "{limit}");
    }
    for cluster in [0.0, 0.5, f64::NAN, f64::INFINITY] {
        assert!(matches!(Order { cluster, ..order() }.check(), Err(InvalidOrder::Cluster(_))), "{cluster}");
    }
    assert_eq!(Order { relative: false, ..order() }.check(), Err(InvalidOrder::Nothing));
    assert!(Guard::begin(Order { odds: 0.5, ..order() }, 1).is_err());
}

#[test]
fn a_finding_that_was_changed_does_not_hold() {
    let guard = Guard::begin(Order { limits: vec![0.02], ..order() }, 2).expect("a valid order");
    let rows =
        [row(100, 0, (2, 1), (150, 0), 1), row(1_000, 0, (40, 9), (400, 1), 0), row(1_000, 1, (8, 8), (80, 0), 2)];
    let finding = guard.find(&rows, None).expect("a crossing");
    assert!(finding.holds());
    let written = serde_json::to_string(&finding).expect("JSON");
    let read: Finding = serde_json::from_str(&written).expect("the same");
    assert!(read == finding && read.holds());
    let changed = |change: fn(&mut Finding)| {
        let mut other = finding.clone();
        change(&mut other);
        other.holds()
    };
    assert!(!changed(|finding| finding.rows[1].canary.failed -= 1));
    assert!(!changed(|finding| finding.rows[0].waiting = 0));
    assert!(!changed(|finding| finding.ln_e = finding.ln_e.next_up()));
    assert!(!changed(|finding| finding.ln_needed = 0.0));
    assert!(!changed(|finding| finding.order.alpha = 0.5));
    assert!(!changed(|finding| finding.order.odds = f64::NAN));
    assert!(!changed(|finding| finding.run = 1));
    assert!(!changed(|finding| finding.rows[0].start = 200));
    assert!(!changed(|finding| finding.rows[0].weight = 60_000));
    assert!(!changed(|finding| finding.rows[0].stable.failed = u64::MAX));
    assert!(!changed(|finding| finding.rows.clear()));
}

#[test]
fn starts_are_those_of_the_judge() {
    assert_eq!([0, 59_999, 60_000, 45 * 60_000, 90 * 60_000].map(start_after), [0, 0, 1, 7, 8]);
    assert_eq!(usize::from(start_after(u64::MAX)), STARTS - 1);
}

fn any_row() -> impl Strategy<Value = Row> {
    let count = prop_oneof![0_u64..50, 0_u64..1_000_000_000_000];
    (0_u16..=10_000, 0_u8..20, count.clone(), count.clone(), count.clone(), count.clone(), count).prop_map(
        |(weight, start, a, b, c, d, waiting)| row(weight, start, (a.max(b), a.min(b)), (c.max(d), c.min(d)), waiting),
    )
}

proptest! {
    #[test]
    fn any_counts_give_a_number_and_the_same_again(
        rows in prop::collection::vec(any_row(), 0..12), run in 1_u32..50, odds in 1.0..20.0, limit in 1e-6..0.9,
    ) {
        let order = Order { odds, limits: vec![limit], ..order() };
        let guard = Guard::begin(order.clone(), run).expect("a valid order");
        let ln_e = guard.weigh(&rows, None);
        prop_assert!(!ln_e.is_nan());
        prop_assert_eq!(Guard::recompute(&order, run, &rows, None).expect("a valid order").to_bits(), ln_e.to_bits());
        prop_assert_eq!(guard.find(&rows, None).is_some(), ln_e >= guard.ln_needed());
        prop_assert!(guard.find(&rows, None).is_none_or(|finding| finding.holds()));
    }

    #[test]
    fn failures_of_stable_and_what_waits_only_lower_it(mut rows in prop::collection::vec(any_row(), 1..6), by in 1_u64..100) {
        let guard = Guard::begin(order(), 1).expect("a valid order");
        let before = guard.weigh(&rows, None);
        rows[0].waiting += by;
        let waiting = guard.weigh(&rows, None);
        prop_assert!(waiting <= before);
        rows[0].waiting -= by;
        rows[0].stable.failed += by;
        prop_assert_eq!(guard.weigh(&rows, None).to_bits(), waiting.to_bits());
        rows[0].stable.failed -= by;
        rows[0].canary.failed += by;
        prop_assert!(guard.weigh(&rows, None) >= before);
    }
}
