//! Searches the worlds whole, two at a time, and prints what it found, a line each; `benches/model` runs it.

mod actions;
mod key;
mod laws;
mod looks;
mod scopes;
mod search;
mod world;

use std::{
    io::Write,
    sync::{Mutex, PoisonError},
    time::Instant,
};
use world::Scope;

/// All that are searched whole: each strategy with a person who pauses, goes on or promotes, and with a fault; and what takes more
/// than one rollout, fault or person.
fn full() -> Vec<Scope> {
    let each = scopes::all();
    let person = each.iter().map(|scope| Scope { faults: 0, ..scope.clone() });
    let fault = each.iter().map(|scope| Scope { nudges: 0, ..scope.clone() });
    let calm = Scope { faults: 0, ..scopes::small() };
    let more = [
        Scope { refusals: 4, ..calm.clone() },
        Scope { crashes: 2, ..calm.clone() },
        Scope { slow: true, ..calm.clone() },
        Scope { requests: 2, ..calm },
        scopes::small(),
        Scope { nudges: 0, requests: 2, ..scopes::small() },
        Scope { nudges: 0, slow: true, ..scopes::small() },
        Scope { nudges: 0, faults: 2, ..scopes::small() },
        Scope { nudges: 0, requests: 3, faults: 0, ..scopes::small() },
        Scope { nudges: 2, faults: 0, ..scopes::small() },
    ];
    person.chain(fault).chain(more).collect()
}

/// Its name and its bounds.
fn told(scope: &Scope) -> String {
    let many = |number: u8, one: &str| match number {
        0 => String::new(),
        1 => format!(", 1 {one}"),
        _ => format!(", {number} {one}s"),
    };
    let slow = if scope.slow { ", slow answers" } else { "" };
    let (rollouts, nudges) = (many(scope.requests, "rollout"), many(scope.nudges, "nudge"));
    let (faults, refusals) = (many(scope.faults, "fault"), many(scope.refusals, "refused weight"));
    let crashes = if scope.crashes > 0 { format!(", {} crashes", scope.crashes) } else { String::new() };
    format!("{}{rollouts}{nudges}{faults}{refusals}{crashes}{slow}", scope.name)
}

fn main() -> std::io::Result<()> {
    let only = std::env::args().nth(1).unwrap_or_default();
    let scopes: Vec<_> = full().into_iter().filter(|scope| told(scope).contains(&only)).collect();
    let (began, left) = (Instant::now(), Mutex::new(scopes.iter()));
    let searched = || {
        let (mut states, mut transitions, mut broken) = (0, 0, 0);
        loop {
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(scope) = next else { return Ok::<_, std::io::Error>((states, transitions, broken)) };
            let since = Instant::now();
            let found = search::search(scope, usize::MAX);
            let whole = if found.whole { "" } else { ", not all of them" };
            let (told, reached, passed) = (told(scope), found.states, found.transitions);
            let law = found.broken.map(|law| format!("{law}\n"));
            let mut out = std::io::stdout().lock();
            let took = since.elapsed().as_secs_f64();
            writeln!(out, "{told}: {reached} states{whole}, {passed} transitions, {took:.1} s")?;
            write!(out, "{}", law.as_deref().unwrap_or_default())?;
            out.flush()?;
            states += found.states;
            transitions += found.transitions;
            broken += usize::from(law.is_some());
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let sums = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(searched)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<_>, _>>()
    })?;
    let (states, transitions, broken) =
        sums.into_iter().fold((0, 0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1, sum.2 + more.2));
    let (worlds, seconds) = (scopes.len(), began.elapsed().as_secs_f64());
    let mut out = std::io::stdout().lock();
    writeln!(out, "worlds={worlds} states={states} transitions={transitions} broken={broken} seconds={seconds:.0}")?;
    std::process::exit(i32::from(broken > 0));
}
