//! Every reachable state of small worlds around the rollout machine, searched for a broken law.

mod actions;
mod key;
mod laws;
mod looks;
mod mutants;
mod scopes;
mod search;
mod world;

/// What differs most, without faults; one with a person who pauses, goes on or promotes, one with a router that refuses, one with a
/// rollout that takes another's place: small enough for the suite.
fn short() -> Vec<world::Scope> {
    let mut scopes = scopes::all();
    scopes.retain(|scope| ["first", "auto", "blue-green", "recreate", "rolling 1"].contains(&scope.name));
    for scope in &mut scopes {
        (scope.faults, scope.nudges) = (0, 0);
    }
    let calm = world::Scope { faults: 0, ..scopes::small() };
    scopes.push(world::Scope { nudges: 0, refusals: 3, ..calm.clone() });
    scopes.push(world::Scope { nudges: 0, requests: 2, ..calm.clone() });
    scopes.push(calm);
    scopes
}

#[test]
fn the_laws_hold_in_every_reachable_state() {
    for scope in short() {
        let found = search::search(&scope, usize::MAX);
        assert_eq!(found.broken, None, "{}", found.broken.clone().unwrap_or_default());
        assert!(found.whole, "every state was visited");
        assert!(found.states > 1_000 && found.transitions > 5_000, "{}: {} states", scope.name, found.states);
    }
}
