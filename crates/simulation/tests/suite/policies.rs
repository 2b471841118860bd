//! The machine, the judge and the guard are held to the policy that is simulated, as they are where it runs.

use davy_core::{Analysis, BlueGreen, Canary, CanaryStep, Millis, Policy, Strategy, Weight};
use davy_simulation::{Comparison, Machine, Named, Summary, Traffic};

/// Without a harm budget, so that nothing but what is tried rolls back.
fn simulate(strategy: Strategy, analysis: Analysis, traffic: Traffic, runs: u64) -> Summary {
    let analysis = Analysis { harm_budget: None, ..analysis };
    let policy = Policy { strategy, hold: Millis::seconds(20), analysis, ..Policy::default() };
    let davy = Machine::new(1, policy).expect("a valid policy");
    Comparison { traffic, davy, steps: vec![1_000], hold_s: 0, alpha: 0.01 }.summary(Named::Davy, runs, 1, 2)
}

fn canary(steps: &[u16]) -> Strategy {
    let steps = steps.iter().map(|bp| CanaryStep::at(Weight::new(*bp).expect("a weight")));
    Strategy::Canary(Canary { steps: steps.collect(), sticky: false, auto: false })
}

fn bad(rate: f64) -> Traffic {
    Traffic { rate, canary: 0.5, ..Traffic::default() }
}

#[test]
fn what_is_not_compared_with_stable_is_not_rolled_back_for_it() {
    let alone = Analysis { not_worse_than_stable: false, ..Analysis::default() };
    let found = simulate(canary(&[1_000, 10_000]), alone, bad(2.0), 4);
    assert_eq!(found.undecided, 4, "{found:?}");
    let found = simulate(canary(&[1_000, 10_000]), Analysis::default(), bad(2.0), 4);
    assert_eq!(found.rolled_back, 4, "{found:?}");
}

/// At 70 % a comparison needs some 25 failures; a limit that stable keeps needs a few.
#[test]
fn the_guard_is_held_to_the_limit() {
    let limited = Analysis { max_error_rate: Some(0.005), ..Analysis::default() };
    let with = simulate(canary(&[7_000, 10_000]), limited, bad(100.0), 40);
    let without = simulate(canary(&[7_000, 10_000]), Analysis::default(), bad(100.0), 40);
    assert_eq!((with.rolled_back, without.rolled_back), (40, 40));
    assert!(with.harm.0 <= 10 && without.harm.0 > 20, "{with:?} {without:?}");
}

/// Evidence that comes ten at a time takes ten times the failures.
#[test]
fn a_burst_is_heeded_by_the_guard() {
    let clustered = Analysis { burst: 10, ..Analysis::default() };
    let (one, ten) = (Analysis::default(), clustered);
    let harm = |analysis| simulate(canary(&[1_000, 10_000]), analysis, bad(1_000.0), 40).harm.0;
    let (one, ten) = (harm(one), harm(ten));
    assert!(ten > 2 * one, "{one} {ten}");
}

/// At 100 % nothing is left to compare with: the guard has stable's past, and needs no whole second.
#[test]
fn what_has_everything_is_judged_against_the_past_at_once() {
    let preview = Millis::seconds(60);
    let switched = Traffic { onset_s: 75, ..bad(1_000.0) };
    let blue_green = Strategy::BlueGreen(BlueGreen { preview, host: None });
    let last = Traffic { onset_s: 35, ..bad(1_000.0) };
    for (strategy, traffic) in [(blue_green, switched), (canary(&[2_500, 10_000]), last)] {
        let found = simulate(strategy.clone(), Analysis::default(), traffic, 20);
        assert_eq!(found.rolled_back, 20, "{strategy:?}: {found:?}");
        // Half a second would be 250 failures.
        assert!(found.harm.1 < 150, "{strategy:?}: {found:?}");
    }
}

/// Whatever stays with the old version until the last step, that step comes.
#[test]
fn an_automatic_ramp_ends_with_any_holdback() {
    for holdback in [100, 500, 1_000, 2_500] {
        let ramp = Strategy::Canary(Canary::auto(Weight::new(holdback).expect("a weight")));
        let traffic = Traffic { rate: 1_000.0, ..Traffic::default() };
        let found = simulate(ramp, Analysis::default(), traffic, 2);
        assert_eq!(found.promoted, 2, "{holdback}: {found:?}");
    }
}
