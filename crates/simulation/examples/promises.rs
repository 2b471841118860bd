//! What the judge promises, measured at full size: healthy canaries that are rolled back, canaries at the margin that pass, and how soon
//! an automatic ramp is over.
//!
//! `benches/judge promises [RUNS [healthy|margins|auto]...]`; seeds are fixed. The exit code is 1 if a figure is missed.

#![expect(clippy::print_stdout, reason = "a command prints its figures")]

use davy_core::{Analysis, Canary, CanaryStep, Millis, OnDeadline, Policy, Strategy, Weight};
use davy_judge::{Kind, margin, ramp::rungs};
use davy_simulation::{
    Comparison, End, Machine, Named, Traffic,
    pilot::{Order, Pilot},
    rules::Seen,
    schedule::Schedule,
    summary::interval,
    traffic::{Second, Served},
    world,
};
use std::{error::Error, time::Instant};

type Missed = Vec<String>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let runs: u64 = words.next().map_or(Ok(10_000), |runs| runs.parse())?;
    let asked: Vec<String> = words.collect();
    let is_asked = |name: &str| asked.is_empty() || asked.iter().any(|asked| asked == name);
    let begun = Instant::now();
    let mut missed = Vec::new();
    if is_asked("healthy") {
        schedules(runs, &mut missed);
        machines(runs, &mut missed)?;
    }
    if is_asked("margins") {
        margins(runs, &mut missed)?;
    }
    if is_asked("auto") {
        automatic(&mut missed)?;
        quiet(&mut missed)?;
    }
    println!("\n== figures, after {:.0} s", begun.elapsed().as_secs_f64());
    match missed.is_empty() {
        true => println!("every figure is within its limit"),
        false => missed.iter().for_each(|missed| println!("MISSED {missed}")),
    }
    if missed.is_empty() { Ok(()) } else { Err("figures were missed".into()) }
}

/// On all processors: how many of these numbers are so.
fn count(numbers: u64, is: impl Fn(u64) -> bool + Sync) -> u64 {
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    std::thread::scope(|scope| {
        let is = &is;
        let part = |thread: u64| (thread..numbers).step_by(threads as usize).filter(|number| is(*number)).count();
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
        handles.into_iter().map(|handle| handle.join().map_or(numbers, |found| found as u64)).sum()
    })
}

/// A chance whose upper bound (Clopper and Pearson, 97.5 %) is not to exceed what is promised.
fn hold(name: &str, found: u64, runs: u64, promised: f64, missed: &mut Missed) {
    let (_, high) = interval(found, runs);
    let told = format!("{name}: {found} of {runs}, at most {:.3} %, promised {} %", 100.0 * high, 100.0 * promised);
    println!("{told}");
    if high > promised {
        missed.push(told);
    }
}

/// The judge alone, whatever the traffic, the weights, the windows and the looks.
fn schedules(runs: u64, missed: &mut Missed) {
    let back = count(runs, |number| Schedule::healthy(number).is_rolled_back(number + 1).unwrap_or(true));
    hold("healthy under schedules, rolled back", back, runs, 0.01, missed);
}

fn machine(steps: Vec<u16>, policy: Policy) -> Result<Machine, Box<dyn Error>> {
    let steps = steps.into_iter().chain([10_000]).map(|bp| Weight::new(bp).map(CanaryStep::at));
    let canary = Canary { steps: steps.collect::<Result<_, _>>()?, sticky: false, auto: false };
    Ok(Machine::new(1, Policy { strategy: Strategy::Canary(canary), hold: Millis(0), ..policy })?)
}

/// The whole of it, with the guard: steps, deadlines, latency and budget, under traffic with a rhythm.
fn machines(runs: u64, missed: &mut Missed) -> Result<(), Box<dyn Error>> {
    let analysis = Analysis { not_slower_than: Some(1.1), ..Analysis::default() };
    let policy =
        Policy { analysis, on_deadline: OnDeadline::Pause, pause_limit: Millis::seconds(600), ..Policy::default() };
    let mut worlds = Vec::new();
    for rate in [10.0, 100.0, 1_000.0] {
        for rhythm in [0.0, 0.8] {
            for steps in [vec![1_000, 2_500, 5_000], vec![100, 500, 2_500, 5_000]] {
                let traffic = Traffic { rate, rhythm, day_s: 600.0, ..Traffic::default() };
                worlds.push((traffic, machine(steps, policy.clone())?));
            }
        }
    }
    let back = count(runs, |number| {
        let (traffic, machine) = &worlds[(number % worlds.len() as u64) as usize];
        let mut machine = machine.clone();
        let outcome = world::run(traffic, &mut machine, number);
        // A pause that nobody ends puts traffic back, too, and is no error; the guard cuts off in the middle of a second.
        let found = machine.verdict().kind == Kind::Harmful || outcome.seconds.fract() > 0.0;
        outcome.end == End::RolledBack && found
    });
    hold("healthy, machine, judge and guard, rolled back", back, runs, 0.01, missed);
    Ok(())
}

/// A canary that is worse by a step's margin, which nothing but the proof holds back.
fn margins(runs: u64, missed: &mut Missed) -> Result<(), Box<dyn Error>> {
    let analysis = Analysis { alpha: 1e-9, not_worse_than_stable: false, harm_budget: None, ..Analysis::default() };
    let policy =
        Policy { analysis, on_deadline: OnDeadline::Rollback, deadline: Millis::seconds(600), ..Policy::default() };
    // Nine worlds share the runs: where many pass, so few cannot tell a chance below β from β itself, but together they can.
    let each = runs.div_ceil(9).max(100);
    let mut all = 0;
    for weight in [100, 1_000, 5_000] {
        for baseline in [0.0001, 0.001, 0.02] {
            let worse = margin(weight).max(baseline / 2.0);
            let traffic = Traffic { rate: 1_000.0, baseline, canary: baseline + worse, ..Traffic::default() };
            let davy = machine(vec![weight], policy.clone())?;
            let comparison = Comparison { traffic, davy, steps: vec![weight], hold_s: 0, alpha: 0.01 };
            let passed = count(each, |number| comparison.run(Named::Davy, number).end == End::Promoted);
            let (low, high) = interval(passed, each);
            let told = format!(
                "at the margin of {} %, stable fails {} %, passed: {passed} of {each}, {:.3} % to {:.3} %",
                f64::from(weight) / 100.0,
                100.0 * baseline,
                100.0 * low,
                100.0 * high
            );
            println!("{told}");
            if low > 0.05 {
                missed.push(told);
            }
            all += passed;
        }
    }
    hold("at the margin, passed", all, 9 * each, 0.05, missed);
    Ok(())
}

/// Watches a machine: when which weight was served first, and what the judge said after ten minutes.
#[derive(Clone)]
struct Watched {
    machine: Machine,
    served: Vec<(u64, u16)>,
    said: Option<String>,
}

impl Watched {
    fn automatic() -> Result<Self, Box<dyn Error>> {
        let policy = Policy {
            strategy: Strategy::Canary(Canary::auto(Canary::HOLDBACK)),
            hold: Canary::HOLD,
            ..Policy::default()
        };
        Ok(Self { machine: Machine::new(1, policy)?, served: Vec::new(), said: None })
    }
}

impl Pilot for Watched {
    fn served(&self) -> Served {
        self.machine.served()
    }
    fn routed(&mut self) {
        self.machine.routed();
    }
    fn admits(&mut self, second: &Second) {
        self.machine.admits(second);
    }
    fn failed(&mut self, failure: &Seen) -> bool {
        self.machine.failed(failure)
    }
    fn second(&mut self, second: &Second) -> Order {
        if self.served.last().is_none_or(|(_, weight)| *weight != second.weight) {
            self.served.push((second.from_s, second.weight));
        }
        let order = self.machine.second(second);
        if second.from_s == 600 {
            let verdict = self.machine.verdict();
            let forecast = verdict.evidence.promotion.and_then(|promotion| promotion.forecast);
            self.said = forecast.and_then(|forecast| forecast.seconds).map(|_| verdict.because);
        }
        order
    }
}

/// The least seconds from the first request to 100 %, were nothing ever to fail: the quickest way over the rungs, at each the hold
/// and the requests that its margin needs, and a second until traffic follows.
fn least(rate: f64, hold_s: f64, beta: f64) -> f64 {
    let rungs: Vec<u16> = rungs(Canary::HOLDBACK.basis_points()).collect();
    let mut soonest = vec![f64::INFINITY; rungs.len()];
    for at in 0..rungs.len() {
        let begun = if rungs[at] == 100 {
            0.0
        } else {
            let before = (0..at).filter(|from| u32::from(rungs[at]) <= 5 * u32::from(rungs[*from]));
            before.map(|from| soonest[from]).fold(f64::INFINITY, f64::min)
        };
        let needed = -beta.ln() / -(-margin(rungs[at])).ln_1p();
        soonest[at] =
            begun + f64::max(hold_s, needed / (rate * f64::from(rungs[at]) / 10_000.0)) + world::ACTUATION_S as f64;
    }
    soonest.last().copied().unwrap_or_default()
}

/// A healthy canary at 1,000 requests a second.
fn automatic(missed: &mut Missed) -> Result<(), Box<dyn Error>> {
    let traffic = Traffic { rate: 1_000.0, ..Traffic::default() };
    let watched = Watched::automatic()?;
    let mut seconds = Vec::new();
    let mut ways = Vec::new();
    for seed in 0..200 {
        let mut watched = watched.clone();
        world::run(&traffic, &mut watched, seed);
        let at =
            |wanted: &dyn Fn(u16) -> bool| watched.served.iter().find(|(_, weight)| wanted(*weight)).map(|(at, _)| *at);
        let (first, last) = (at(&|weight| weight > 0), at(&|weight| weight == 10_000));
        seconds.push(first.zip(last).map_or(f64::INFINITY, |(first, last)| (last - first) as f64));
        ways.push(watched.served.iter().map(|(_, weight)| f64::from(*weight) / 100.0).collect::<Vec<_>>());
    }
    seconds.sort_by(f64::total_cmp);
    let least = least(1_000.0, Canary::HOLD.duration().as_secs_f64(), 0.05);
    let told = format!(
        "auto at 1,000 requests/s: 100 % after {} s (median of 200; 90 % within {} s); {least:.0} s are the least that holds and margins allow",
        seconds[100], seconds[180]
    );
    println!("{told}\n    such as {:?} %", ways[0]);
    if seconds[100] > 3.0 * least {
        missed.push(told);
    }
    Ok(())
}

/// A healthy canary at a request a second: it waits for its evidence, and says how long.
fn quiet(missed: &mut Missed) -> Result<(), Box<dyn Error>> {
    let traffic = Traffic { rate: 1.0, ..Traffic::default() };
    let watched = Watched::automatic()?;
    let outcomes: Vec<(End, Watched)> = (0..20)
        .map(|seed| {
            let mut watched = watched.clone();
            let outcome = world::run(&traffic, &mut watched, seed);
            (outcome.end, watched)
        })
        .collect();
    let most = |watched: &Watched| watched.served.iter().filter(|(at, _)| *at <= 600).map(|(_, weight)| *weight).max();
    let waits = outcomes.iter().filter(|(_, watched)| most(watched) < Some(10_000)).count();
    let says = outcomes.iter().filter(|(_, watched)| watched.said.is_some()).count();
    let told = format!("auto at 1 request/s: {waits} of 20 wait after ten minutes, {says} say how long");
    println!(
        "{told}, such as:\n    {}",
        outcomes.iter().find_map(|(_, watched)| watched.said.clone()).unwrap_or_default()
    );
    if waits < 20 || says < 18 {
        missed.push(told);
    }
    Ok(())
}
