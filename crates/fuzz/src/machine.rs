//! The state machine of a rollout: in a world that keeps its own rules, and in one that keeps none.

use crate::{
    choices::Choices,
    model::{key::key, laws, looks::WELL, scopes, world::Scope},
    wild,
};
use davy_core::{BlueGreen, Canary, CanaryStep, Millis, OnDeadline, Rolling, Scale, Strategy, Weight};

/// So many things happen at most in a world.
const MOST: usize = 160;
/// So much is waited for an end once faults stop.
const PATIENCE: usize = 2_000;

/// The first byte says which world it is.
pub(crate) fn body(bytes: &[u8]) {
    let mut choices = Choices::of(bytes);
    if choices.flag() { wild::body(&mut choices) } else { lawful(&mut choices) }
}

/// Anything that may happen where places, routers and people are as they are: every law holds after each, and once faults stop, an
/// end comes.
fn lawful(choices: &mut Choices<'_>) {
    let scope = scope(choices);
    let mut node = scope.root();
    let mut story = Vec::new();
    for _ in 0..MOST {
        if choices.is_over() {
            break;
        }
        let actions = node.actions(&scope);
        let action = *choices.one(&actions);
        story.push(action);
        match node.after(&scope, action, &mut node.scene()) {
            Ok(Some(after)) => node = after,
            Ok(None) => continue,
            Err(law) => panic!("{law}: {scope:?} after {story:?}", scope = told(&scope)),
        }
        if let Err(law) = laws::standing(&scope, &node, &mut node.scene()) {
            panic!("{law}: {scope:?} after {story:?}", scope = told(&scope));
        }
    }
    node.calm_down();
    for _ in 0..PATIENCE {
        if node.is_final() {
            return;
        }
        node = node
            .calmly(&scope, WELL, key(&node))
            .unwrap_or_else(|law| panic!("{law}: {:?} after {story:?}", told(&scope)));
    }
    let phase = node.state.rollout.as_ref().map(|rollout| &rollout.phase);
    panic!("no end comes, it stays at {phase:?} ({}): {:?} after {story:?}", key(&node), told(&scope));
}

fn told(scope: &Scope) -> (&Strategy, OnDeadline, u32, bool) {
    (&scope.strategy, scope.on_deadline, scope.replicas, scope.served)
}

fn scope(choices: &mut Choices<'_>) -> Scope {
    let mut scope = choices.one(&scopes::all()).clone();
    scope.replicas = 1 + u32::from(choices.byte() % 4);
    scope.served = !choices.seldom(4);
    scope.requests = 1 + choices.byte() % 4;
    scope.nudges = choices.byte() % 4;
    scope.faults = choices.byte() % 4;
    (scope.refusals, scope.crashes) = (choices.byte() % 5, choices.byte() % 3);
    scope.slow = choices.flag();
    scope.on_deadline = *choices.one(&[OnDeadline::Pause, OnDeadline::Rollback]);
    if choices.flag() {
        scope.strategy = strategy(choices);
    }
    scope
}

fn weight(choices: &mut Choices<'_>) -> Weight {
    Weight::new(u16::try_from(choices.number() % 10_001).unwrap_or_default()).unwrap_or(Weight::ALL)
}

/// Any strategy that a file may ask for.
pub(crate) fn strategy(choices: &mut Choices<'_>) -> Strategy {
    match choices.byte() % 4 {
        0 => {
            let mut weights: Vec<Weight> = (0..1 + choices.byte() % 4).map(|_| weight(choices)).collect();
            weights.retain(|weight| *weight < Weight::ALL);
            weights.sort_unstable();
            weights.dedup();
            let steps = weights.into_iter().chain([Weight::ALL]).map(|weight| CanaryStep {
                scale: if weight == Weight::ALL { Scale::All } else { scale(choices) },
                ..CanaryStep::at(weight)
            });
            Strategy::Canary(Canary { steps: steps.collect(), sticky: choices.flag(), auto: false })
        }
        1 => Strategy::BlueGreen(BlueGreen { preview: Millis::seconds(5), host: None }),
        2 => {
            let min_healthy = u32::from(choices.byte() % 101);
            let max = (100 + u32::from(choices.byte())).max(min_healthy + 1);
            Strategy::Rolling(Rolling { min_healthy, max })
        }
        _ => Strategy::Recreate,
    }
}

fn scale(choices: &mut Choices<'_>) -> Scale {
    match choices.byte() % 3 {
        0 => Scale::All,
        1 => Scale::Instances(1 + u32::from(choices.byte() % 4)),
        _ => Scale::Share(weight(choices)),
    }
}
