//! Searches the worlds whole and prints what it found, a line each; `benches/model` runs it.

mod actions;
mod key;
mod laws;
mod scopes;
mod search;
mod world;

use std::io::Write;
use world::Scope;

/// One for each strategy, with a person who pauses, goes on or promotes, and with a fault.
fn full() -> Vec<Scope> {
    let person = |scope: &Scope| Scope { faults: 0, ..scope.clone() };
    let fault = |scope: &Scope| Scope { nudges: 0, ..scope.clone() };
    scopes::all().iter().flat_map(|scope| [person(scope), fault(scope)]).collect()
}

fn main() -> std::io::Result<()> {
    let only = std::env::args().nth(1).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    let (mut worlds, mut states, mut transitions, mut broken) = (0, 0, 0, 0);
    for scope in full().into_iter().filter(|scope| scope.name.contains(&only)) {
        let found = search::search(&scope, usize::MAX);
        let whole = if found.whole { "" } else { ", not all of them" };
        let people = if scope.nudges > 0 { "a person" } else { "a fault" };
        let (name, reached, passed) = (scope.name, found.states, found.transitions);
        writeln!(out, "{name}, with {people}: {reached} states{whole}, {passed} transitions")?;
        worlds += 1;
        states += found.states;
        transitions += found.transitions;
        if let Some(law) = found.broken {
            writeln!(out, "{law}")?;
            broken += 1;
        }
        out.flush()?;
    }
    writeln!(out, "worlds={worlds} states={states} transitions={transitions} broken={broken}")?;
    std::process::exit(i32::from(broken > 0));
}
