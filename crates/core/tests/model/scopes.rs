//! The worlds.

use super::world::Scope;
use davy_core::{BlueGreen, Canary, CanaryStep, OnDeadline, Rolling, Strategy, Weight, rollout::step};

fn canary(steps: &[u16], auto: bool) -> Strategy {
    let steps = steps.iter().map(|bp| CanaryStep::at(Weight::new(*bp).expect("a weight"))).collect();
    Strategy::Canary(Canary { steps, sticky: false, auto })
}

/// The smallest: what the suite searches, and what a broken machine is caught in.
pub(crate) fn small() -> Scope {
    Scope {
        name: "canary",
        strategy: canary(&[1_000, 10_000], false),
        on_deadline: OnDeadline::Pause,
        replicas: 1,
        served: true,
        requests: 1,
        nudges: 1,
        faults: 1,
        refusals: 0,
        crashes: 0,
        slow: false,
        machine: step,
    }
}

/// One for each strategy.
pub(crate) fn all() -> Vec<Scope> {
    let small = small();
    let blue_green = Strategy::BlueGreen(BlueGreen { preview: super::world::TICK, host: None });
    let rolling = |min_healthy, max| Strategy::Rolling(Rolling { min_healthy, max });
    vec![
        small.clone(),
        Scope { name: "canary, rolled back at its deadline", on_deadline: OnDeadline::Rollback, ..small.clone() },
        Scope { name: "first", served: false, requests: 2, ..small.clone() },
        Scope { name: "auto", strategy: canary(&[100, 5_000, 9_000, 10_000], true), ..small.clone() },
        Scope { name: "blue-green", strategy: blue_green, ..small.clone() },
        Scope { name: "recreate", strategy: Strategy::Recreate, ..small.clone() },
        Scope { name: "rolling 1", strategy: rolling(100, 200), ..small.clone() },
        Scope { name: "rolling 2 in place", strategy: rolling(50, 100), replicas: 2, ..small.clone() },
        Scope { name: "rolling 2", strategy: rolling(100, 100), replicas: 2, ..small.clone() },
    ]
}
