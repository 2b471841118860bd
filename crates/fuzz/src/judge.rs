//! The judge and the guard, on counts that nobody has checked.

use crate::choices::Choices;
use davy_judge::{
    Blindness, Budget, Cohort, Counts, Details, Instance, Judge, Kind, Latencies, Pair, Policy, Verdict, Window,
    guard::{Guard, Order, Row, Side},
};

/// Any policy, then any windows: never a panic, no number that is none, and harm stays.
pub(crate) fn body(bytes: &[u8]) {
    let mut choices = Choices::of(bytes);
    guarded(&mut choices);
    let policy = policy(&mut choices);
    let Ok(mut judge) = Judge::new(policy) else { return };
    let (mut at, mut epoch, mut harmed) = (0_u64, 0_u64, false);
    while !choices.is_over() {
        match choices.byte() % 16 {
            0 => judge.blind(*choices.one(&[Blindness::Source, Blindness::Silence, Blindness::Nonsense])),
            1 => judge.blind_metric(choices.byte(), Blindness::Source),
            2 => {
                let window = window(&mut choices, &mut at, &mut epoch);
                judge.observe_metric(choices.byte(), &window);
            }
            kind => {
                let window = window(&mut choices, &mut at, &mut epoch);
                let told = Told::of(&mut choices, &window);
                match kind {
                    3 => judge.observe_late(&window, &told.details()),
                    _ => judge.observe_with(&window, &told.details()),
                }
            }
        }
        if choices.seldom(4) {
            let verdict = judge.verdict();
            sound(&verdict);
            assert!(!harmed || verdict.kind == Kind::Harmful, "harm stays");
            harmed = verdict.kind == Kind::Harmful;
            assert_eq!(judge.is_harmful(), harmed, "harm is told at once");
        }
    }
    sound(&judge.verdict());
}

/// All its numbers are numbers: they come out of JSON as they went in.
fn sound(verdict: &Verdict) {
    let json = serde_json::to_string(verdict).unwrap_or_else(|error| panic!("{error}: {verdict:?}"));
    let again = serde_json::from_str::<Verdict>(&json).unwrap_or_else(|error| panic!("{error}: {verdict:?}"));
    assert_eq!(again, *verdict, "a verdict comes out of the journal as it went in");
    assert!(!verdict.because.is_empty() && !verdict.because.contains("NaN"), "{}", verdict.because);
}

fn policy(choices: &mut Choices<'_>) -> Policy {
    let mut policy = Policy::default();
    while !choices.seldom(3) && !choices.is_over() {
        match choices.byte() % 15 {
            0 => policy.alpha = choices.fraction(),
            1 => policy.beta = choices.fraction(),
            2 => policy.odds = 1.0 + choices.fraction(),
            3 => policy.max_error_rate = Some(choices.fraction()),
            4 => policy.margin = Some(choices.fraction()),
            5 => policy.relative = choices.flag(),
            6 => policy.sticky = choices.flag(),
            7 => policy.not_slower_than = Some(1.0 + choices.fraction()),
            8 => policy.max_slow = Some(choices.fraction()),
            9 => policy.metrics = choices.byte() % 18,
            10 => policy.budget = Some(Budget::Excess(choices.fraction() * 100.0)),
            11 => policy.budget = Some(Budget::Hard(choices.number())),
            12 => policy.cluster = 1.0 + choices.fraction() * 10.0,
            13 => policy.ramp = Some(choices.fraction() * 60.0),
            _ => policy.holdback = u16::try_from(choices.number() & 0xffff).unwrap_or_default(),
        }
    }
    policy
}

fn counts(choices: &mut Choices<'_>) -> Counts {
    let n = choices.number();
    // Mostly what can be true, or little would ever be judged.
    match choices.byte() % 8 {
        0 => Counts { n, x: choices.number(), admitted: choices.number(), repeated: choices.number() },
        1 => Counts { n, x: n, admitted: n, repeated: n },
        kind => {
            let x = n.min(u64::from(choices.byte()));
            Counts { n, x, admitted: n.saturating_add(u64::from(kind & 1)), repeated: x / u64::from(kind) }
        }
    }
}

fn window(choices: &mut Choices<'_>, at: &mut u64, epoch: &mut u64) -> Window {
    let odd = choices.byte();
    if odd & 1 == 1 {
        *epoch = if odd & 64 > 0 { choices.number() } else { epoch.saturating_add(1) };
    }
    let from_ms = if odd & 128 > 0 { choices.number() } else { *at };
    let to_ms = from_ms.saturating_add(if odd & 2 > 0 { choices.number() } else { 1_000 });
    *at = to_ms;
    let weight = u16::try_from(choices.number() & 0xffff).unwrap_or_default();
    let weight = if odd & 4 > 0 { weight } else { weight % 10_001 };
    Window { epoch: *epoch, weight, from_ms, to_ms, canary: counts(choices), stable: counts(choices) }
}

fn histogram(choices: &mut Choices<'_>, most: u64) -> Vec<(u8, u64)> {
    let odd = choices.byte();
    let mut bucket = 0_u8;
    let mut left = most;
    (0..odd % 5)
        .map(|_| {
            bucket = bucket.wrapping_add(choices.byte() % 40);
            let count = if odd & 128 > 0 { choices.number() } else { left.min(choices.number()) };
            left = left.saturating_sub(count);
            let here = (bucket, count);
            bucket = bucket.wrapping_add(1);
            here
        })
        .collect()
}

/// What is told of a window besides its counts.
struct Told {
    canary: Vec<(u8, u64)>,
    stable: Vec<(u8, u64)>,
    slow: Option<Pair>,
    instances: Vec<Instance>,
    cohorts: Vec<Cohort>,
    odd: u8,
}

impl Told {
    fn of(choices: &mut Choices<'_>, window: &Window) -> Self {
        let odd = choices.byte();
        let some = |bit: u8| odd & bit > 0;
        let histograms = match some(1) {
            true => (histogram(choices, window.canary.n), histogram(choices, window.stable.n)),
            false => Default::default(),
        };
        let slow = some(2).then(|| Pair { canary: counts(choices), stable: counts(choices) });
        let instances = match some(4) {
            true => (0..choices.byte() % 4)
                .map(|_| Instance { id: choices.number(), canary: choices.flag(), counts: counts(choices) })
                .collect(),
            false => Vec::new(),
        };
        let cohorts = match some(8) {
            true => (0..choices.byte() % 4)
                .map(|_| Cohort {
                    number: choices.number(),
                    canary: choices.flag(),
                    admitted: choices.number(),
                    heard: choices.number(),
                    failed: choices.number(),
                    gone: choices.number(),
                    latency: histogram(choices, u64::MAX),
                })
                .collect(),
            false => Vec::new(),
        };
        Self { canary: histograms.0, stable: histograms.1, slow, instances, cohorts, odd }
    }

    fn details(&self) -> Details<'_> {
        Details {
            latency: (self.odd & 1 > 0).then_some(Latencies { canary: &self.canary, stable: &self.stable }),
            slow: self.slow,
            instances: &self.instances,
            cohorts: &self.cohorts,
            clients_forgotten: self.odd & 16 > 0,
        }
    }
}

/// A guard on rows that can be true: what it finds, its counts give again.
fn guarded(choices: &mut Choices<'_>) {
    let mut order = Order { alpha: 0.003, odds: 1.0, relative: true, limits: Vec::new(), past: true, cluster: 1.0 };
    while !choices.seldom(3) && !choices.is_over() {
        match choices.byte() % 6 {
            0 => order.alpha = choices.fraction(),
            1 => order.odds = 1.0 + choices.fraction(),
            2 => order.relative = choices.flag(),
            3 => order.limits.push(choices.fraction()),
            4 => order.past = choices.flag(),
            _ => order.cluster = 1.0 + choices.fraction() * 10.0,
        }
    }
    let run = u32::try_from(choices.number() & u64::from(u32::MAX)).unwrap_or_default();
    let Ok(guard) = Guard::begin(order, run) else { return };
    let side = |choices: &mut Choices<'_>| {
        let routed = choices.number().min(davy_judge::ABSURD);
        Side { routed, failed: routed.min(choices.number()) }
    };
    let rows: Vec<Row> = (0..choices.byte() % 6)
        .map(|_| Row {
            epoch: choices.number(),
            weight: u16::try_from(choices.number() % 10_001).unwrap_or_default(),
            start: choices.byte() % 3,
            canary: side(choices),
            stable: side(choices),
            waiting: choices.number().min(davy_judge::ABSURD),
        })
        .collect();
    let frozen = choices.flag().then(|| guard.freeze(side(choices)));
    assert!(!guard.weigh(&rows, frozen.as_ref()).is_nan(), "the guard's evidence is a number: {rows:?}");
    if let Some(finding) = guard.find(&rows, frozen.as_ref()) {
        assert!(finding.holds(), "what is found is found again: {finding:?}");
        assert!(!finding.because().contains("NaN"), "{}", finding.because());
    }
}
