//! The harm budget: told from chance, or a plain cap.

use davy_judge::{Budget, Counts, Details, Judge, Kind, Measure, Pair, Policy, Window};

use crate::world::Random;

fn window(epoch: u64, weight: u16, second: u64, canary: (u64, u64), stable: (u64, u64)) -> Window {
    Window {
        epoch,
        weight,
        from_ms: second * 1_000,
        to_ms: (second + 1) * 1_000,
        canary: Counts::answered(canary.0, canary.1),
        stable: Counts::answered(stable.0, stable.1),
    }
}

/// Nothing else rolls back, and α_h is 5 %.
fn budgeted(budget: Budget) -> Policy {
    Policy { alpha: 0.5, relative: false, budget: Some(budget), ..Policy::default() }
}

/// The simpler way: a bound on the excess from its variance.
#[derive(Default)]
struct Variance {
    excess: f64,
    variance: f64,
}

impl Variance {
    fn fires(&mut self, window: &Window, budget: f64, alpha: f64) -> bool {
        let ratio = window.canary.n as f64 / f64::max(window.stable.n as f64, 1.0);
        let (x_c, x_b) = (window.canary.x as f64, window.stable.x as f64);
        self.excess = f64::max(self.excess + x_c - ratio * x_b, 0.0);
        self.variance += x_c + ratio * ratio * x_b;
        let sum = self.variance + budget;
        self.excess >= f64::max(budget, (sum * ((sum / budget).ln() - 2.0 * alpha.ln())).sqrt())
    }
}

/// 400 rollouts of five minutes, 1,000 requests a second, each failing with chance 0.5 %, the canary `worse` times as often: how
/// many spend a budget of 20, and how many would by the bound from the variance.
fn spent(weight: u16, worse: f64) -> (usize, usize) {
    let (mut ours, mut theirs) = (0, 0);
    for seed in 0..400 {
        let mut random = Random(seed);
        let mut judge = Judge::new(budgeted(Budget::Excess(20.0))).expect("a valid policy");
        let (mut variance, mut fired) = (Variance::default(), false);
        for second in 0..300 {
            let n_c = random.binomial(1_000, f64::from(weight) / 10_000.0);
            let (x_c, x_b) = (random.binomial(n_c, 0.005 * worse), random.binomial(1_000 - n_c, 0.005));
            let window = window(1, weight, second, (n_c, x_c), (1_000 - n_c, x_b));
            judge.observe(&window);
            fired |= variance.fires(&window, 20.0, 0.05);
        }
        ours += usize::from(judge.verdict().evidence.causes == [Measure::Budget]);
        theirs += usize::from(fired);
    }
    (ours, theirs)
}

/// α_h is 5 % here: of 400 healthy rollouts more than 34 has a chance below one in a thousand.
#[test]
fn healthy_canaries_rarely_spend_it_at_any_weight() {
    for weight in [1_000, 5_000, 9_000] {
        let (ours, theirs) = spent(weight, 1.0);
        assert!(ours <= 34, "at {weight}: {ours} of 400, seeds 0 to 399");
        if weight == 9_000 {
            assert!(theirs > 40, "a bound from the variance alone was not valid there: {theirs}");
        }
    }
}

#[test]
fn worse_canaries_spend_it() {
    for weight in [5_000, 9_000] {
        let (ours, _) = spent(weight, 1.5);
        assert!(ours >= 380, "at {weight}: {ours} of 400, seeds 0 to 399");
    }
}

#[test]
fn an_excess_is_told_with_its_numbers() {
    let mut judge = Judge::new(budgeted(Budget::Excess(20.0))).expect("a valid policy");
    for second in 0..10 {
        judge.observe(&window(1, 5_000, second, (500, 2), (500, 0)));
    }
    let verdict = judge.verdict();
    let harm = verdict.evidence.harm.expect("a budget");
    assert_eq!((verdict.kind, &verdict.evidence.causes[..]), (Kind::Harmful, &[Measure::Budget][..]));
    assert!((harm.spent - 20.0).abs() < 1e-9 && harm.ln_e >= harm.ln_needed, "{harm:?}");
    assert!(verdict.because.contains("20 requests of the canary failed or were too slow"), "{}", verdict.because);
}

/// What stable fails is no harm, and health earns no credit for later.
#[test]
fn harm_is_an_excess_and_never_below_zero() {
    let mut judge = Judge::new(budgeted(Budget::Excess(1e9))).expect("a valid policy");
    let spent = |judge: &Judge| judge.verdict().evidence.harm.expect("a budget").spent;
    for second in 0..60 {
        judge.observe(&window(1, 1_000, second, (100, 1), (900, 90)));
    }
    assert_eq!(spent(&judge), 0.0);
    judge.observe(&window(1, 1_000, 60, (100, 11), (900, 9)));
    assert!((spent(&judge) - 10.0).abs() < 1e-9);
    judge.observe(&window(1, 1_000, 61, (100, 5), (0, 0)));
    assert!((spent(&judge) - 10.0).abs() < 1e-9, "without stable nothing says how many of these it would have failed");
    judge.observe(&window(1, 1_000, 62, (100, 0), (900, 0)));
    assert!((spent(&judge) - 15.0).abs() < 1e-9);
    judge.observe(&window(2, 10_000, 63, (1_000, 50), (0, 0)));
    assert!((spent(&judge) - 15.0).abs() < 1e-9, "at 100 % it stands still");
}

#[test]
fn a_request_that_failed_and_was_slow_counts_once() {
    let policy = Policy { max_slow: Some(0.5), ..budgeted(Budget::Hard(1_000)) };
    let mut judge = Judge::new(policy).expect("a valid policy");
    let slow = Counts { n: 500, x: 7, admitted: 500, repeated: 4 };
    let slow = Some(Pair { canary: slow, stable: Counts::answered(500, 0) });
    judge.observe_with(&window(1, 5_000, 0, (500, 5), (500, 0)), &Details { slow, ..Details::default() });
    assert_eq!(judge.verdict().evidence.harm.expect("a budget").spent, 8.0);
}

#[test]
fn a_plain_cap_counts_every_failure() {
    let mut judge = Judge::new(budgeted(Budget::Hard(10))).expect("a valid policy");
    judge.observe(&window(1, 5_000, 0, (500, 4), (500, 400)));
    let half = Window { to_ms: 1_500, ..window(1, 5_000, 1, (250, 3), (250, 200)) };
    judge.observe(&half);
    judge.observe(&window(2, 10_000, 2, (1_000, 2), (0, 0)));
    assert_eq!(judge.verdict().evidence.harm.expect("a budget").spent, 9.0, "an unfinished block counts, too");
    assert_ne!(judge.verdict().kind, Kind::Harmful);
    judge.observe(&window(2, 10_000, 3, (1_000, 1), (0, 0)));
    let verdict = judge.verdict();
    assert_eq!((verdict.kind, &verdict.evidence.causes[..]), (Kind::Harmful, &[Measure::Budget][..]));
    assert!(verdict.because.contains("the budget is 10, whatever stable does"), "{}", verdict.because);
}
