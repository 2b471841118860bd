//! The reference table in short: a few hundred rollouts where the command `benches/judge` draws ten thousand.

use davy_core::{Analysis, Canary, CanaryStep, Millis, Policy, Strategy, Weight};
use davy_simulation::{Comparison, Machine, Named, Summary, Traffic};

/// Latency is compared, too: it has its share of the evidence.
fn comparison(traffic: Traffic, steps: &[u16]) -> Comparison {
    let whole = steps.iter().copied().chain([10_000]).map(|bp| CanaryStep::at(Weight::new(bp).expect("a weight")));
    let canary = Canary { steps: whole.collect(), sticky: false, auto: false };
    let analysis = Analysis { not_slower_than: Some(1.1), ..Analysis::default() };
    let policy = Policy { strategy: Strategy::Canary(canary), hold: Millis(0), analysis, ..Policy::default() };
    let davy = Machine::new(1, policy).expect("a valid policy");
    Comparison { traffic, davy, steps: steps.to_vec(), hold_s: 0, alpha: 0.01 }
}

fn summary(policy: &str, traffic: Traffic, steps: &[u16], runs: u64) -> Summary {
    let policy: Named = policy.parse().expect("a policy");
    comparison(traffic, steps).summary(policy, runs, 1, 2)
}

const FROM_TEN: [u16; 3] = [1_000, 2_500, 5_000];
const FROM_ONE: [u16; 5] = [100, 500, 1_000, 2_500, 5_000];

#[test]
fn harm_stays_within_the_reference_table() {
    for (steps, wanted) in [(FROM_TEN.as_slice(), [29, 7, 4, 10]), (FROM_ONE.as_slice(), [24, 6, 3, 3])] {
        for (canary, wanted) in [0.003, 0.01, 0.05, 0.5].into_iter().zip(wanted) {
            let found = summary("davy", Traffic { canary, ..Traffic::default() }, steps, 60);
            assert!(found.harm.0 as f64 <= 1.3 * f64::from(wanted), "{canary} from {}: {found:?}", steps[0]);
            assert!(found.promoted <= 9, "{canary} from {}: {found:?}", steps[0]);
        }
    }
}

/// α is 1 %: more than 7 of 200 have a chance below one in a thousand.
#[test]
fn healthy_canaries_are_rarely_rolled_back_and_soon_promoted() {
    let found = summary("davy", Traffic::default(), &FROM_TEN, 200);
    assert!(found.rolled_back <= 7 && found.promoted >= 190, "{found:?}");
    assert!(found.seconds.0 < 300.0, "{found:?}");
}

/// Harm at other rates, in at most so many failed requests: 1.5 times the best policy that `benches/judge` finds there, and at
/// 0.3 % what so few rollouts may miss it by.
#[test]
fn harm_at_other_rates_stays_near_the_best_that_is_known() {
    for (rate, runs, wanted) in [(10.0, 30, [36, 9, 6, 4]), (1_000.0, 30, [40, 12, 13, 19])] {
        for (canary, wanted) in [0.003, 0.01, 0.05, 0.5].into_iter().zip(wanted) {
            let found = summary("davy", Traffic { rate, canary, ..Traffic::default() }, &FROM_TEN, runs);
            assert!(found.harm.0 <= wanted, "{canary} at {rate}/s: {found:?}");
            assert!(found.promoted <= 6, "{canary} at {rate}/s: {found:?}");
        }
    }
}

/// The table's figures for the other tools, so that what is modelled of them is what was compared.
#[test]
fn other_tools_cost_what_the_reference_says() {
    let harm =
        |policy: &str, canary: f64| summary(policy, Traffic { canary, ..Traffic::default() }, &FROM_TEN, 100).harm.0;
    let near = |found: u64, wanted: u64| found.abs_diff(wanted) * 10 <= wanted.max(20);
    for (policy, canary, wanted) in [
        ("check:60s,1%", 0.003, 1_040),
        ("check:60s,1%", 0.05, 30),
        ("check:60s,1%", 0.5, 299),
        ("interval:60s,99%,5", 0.003, 1_042),
        ("interval:60s,99%,5", 0.05, 180),
        ("interval:60s,99%,5", 0.5, 1_799),
        ("failure-limit:5m,95%,3", 0.003, 692),
        ("failure-limit:5m,95%,3", 0.5, 10_499),
        ("rank:50", 0.05, 1_498),
        ("rank:50", 0.5, 14_996),
    ] {
        let found = harm(policy, canary);
        assert!(near(found, wanted), "{policy} at {canary}: {found}, not {wanted}");
    }
    let peeking = summary("z-test", Traffic::default(), &FROM_TEN, 200);
    assert!(peeking.rolled_back > 16, "looking often is paid for: {peeking:?}");
}

#[test]
fn a_late_regression_is_found_and_counted_from_its_onset() {
    let traffic = Traffic { canary: 0.05, onset_s: 30, ..Traffic::default() };
    let found = summary("davy", traffic, &FROM_TEN, 100);
    assert!(found.rolled_back >= 95 && found.harm.0 <= 12 && found.seconds.0 > 30.0, "{found:?}");
}

#[test]
fn a_quiet_service_waits_for_a_person_and_threads_change_nothing() {
    let quiet = Traffic { rate: 0.2, ..Traffic::default() };
    let found = summary("davy", quiet, &FROM_TEN, 4);
    assert_eq!(found.undecided, 4, "{found:?}");
    let of = |threads| comparison(Traffic::default(), &FROM_TEN).summary(Named::Davy, 12, 3, threads);
    assert_eq!(of(1), of(5));
}
