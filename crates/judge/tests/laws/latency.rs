//! Latency against stable's, and against a limit.

use davy_judge::latency::{Latency, Scale};
use davy_judge::{Counts, Details, Judge, Kind, Latencies, Measure, Pair, Policy, Standing, Verdict, Window};
use proptest::prelude::*;

use crate::world::{End, Random, World, median};

fn judge(policy: Policy) -> Judge {
    Judge::new(policy).expect("a valid policy")
}

fn compared() -> Policy {
    Policy { not_slower_than: Some(1.1), ..Policy::default() }
}

type Sparse = Vec<(u8, u64)>;

/// One second in which nothing fails: counts by bucket.
fn second(judge: &mut Judge, epoch: u64, weight: u16, second: u64, canary: &Sparse, stable: &Sparse) {
    let total = |buckets: &Sparse| Counts::answered(buckets.iter().map(|(_, count)| count).sum(), 0);
    let window = Window {
        epoch,
        weight,
        from_ms: second * 1_000,
        to_ms: (second + 1) * 1_000,
        canary: total(canary),
        stable: total(stable),
    };
    judge.observe_with(&window, &Details { latency: Some(Latencies { canary, stable }), ..Details::default() });
}

fn measure(verdict: &Verdict, measure: Measure) -> davy_judge::Metric {
    *verdict.evidence.metrics.iter().find(|metric| metric.measure == measure).expect("the metric")
}

/// All ways to put `n` requests into four buckets.
fn outcomes(n: u64) -> Vec<[u64; 4]> {
    let mut all = Vec::new();
    for a in 0..=n {
        for b in 0..=n - a {
            all.extend((0..=n - a - b).map(|c| [a, b, c, n - a - b - c]));
        }
    }
    all
}

fn multinomial(counts: &[u64; 4], shares: &[f64; 4]) -> f64 {
    let (mut left, mut chance) = (counts.iter().sum::<u64>(), 1.0);
    for (count, share) in counts.iter().zip(shares) {
        for i in 0..*count {
            chance *= (left - i) as f64 / (i + 1) as f64 * share;
        }
        left -= count;
    }
    chance
}

/// Three boundaries, every outcome of one block and of a second one across a start: the canary as slow as the null allows.
#[test]
fn latency_expects_at_most_one() {
    let stable_shares =
        [[0.4, 0.3, 0.2, 0.1], [0.9, 0.05, 0.04, 0.01], [0.1, 0.1, 0.1, 0.7], [0.25; 4], [0.5, 0.0, 0.0, 0.5]];
    let (mut worst, mut most): (f64, f64) = (0.0, 0.0);
    for (shift, shares) in (0..3).flat_map(|shift| stable_shares.iter().map(move |shares| (shift, shares))) {
        let mut canary_shares = [0.0; 4];
        for (bucket, share) in shares.iter().enumerate() {
            canary_shares[usize::min(bucket + shift, 3)] += share;
        }
        for (n_c, n_b) in [(1, 1), (1, 5), (5, 1), (3, 4), (5, 5)] {
            let fresh = Latency::new(Scale::new(&[0.1, 0.2, 0.3], shift, 1.0).expect("valid"));
            let mut begun = fresh.clone();
            begun.add(0, &[2, 0, 0, 1], &[5, 1, 0, 0]);
            for (from_ms, base) in [(0, fresh), (61_000, begun)] {
                let mut expected = 0.0;
                for canary in outcomes(n_c) {
                    for stable in outcomes(n_b) {
                        let chance = multinomial(&canary, &canary_shares) * multinomial(&stable, shares);
                        if chance > 0.0 {
                            let mut latency = base.clone();
                            latency.add(from_ms, &canary, &stable);
                            let e = latency.ln_e();
                            most = most.max(e);
                            expected += chance * e.exp();
                        }
                    }
                }
                let bound = base.ln_e().exp();
                worst = worst.max(expected / bound);
                assert!(
                    expected <= bound + 1e-9,
                    "E = {expected} over {bound}: {n_c} and {n_b}, shift {shift}, {shares:?}"
                );
            }
        }
    }
    assert!(worst > 0.9 && most > 0.3, "the enumeration never comes near its bound: {worst}, {most}");
}

/// The mixture over starts, thresholds and ratios, each product kept apart.
struct Naive {
    starts: Vec<(f64, Vec<f64>)>,
    thresholds: Vec<usize>,
    shift: usize,
    odds: f64,
}

const STARTS: [(u64, f64); 10] = [
    (0, 0.5),
    (1, 3.0 / 56.0),
    (2, 3.0 / 56.0),
    (4, 3.0 / 56.0),
    (8, 3.0 / 56.0),
    (15, 3.0 / 56.0),
    (30, 3.0 / 56.0),
    (45, 3.0 / 56.0),
    (90, 0.125 / 2.0),
    (180, 0.125 / 6.0),
];

impl Naive {
    fn ratio(k: usize) -> f64 {
        1.1 * (50.0_f64 / 1.1).powf(k as f64 / 9.0)
    }

    fn add(&mut self, from_ms: u64, canary: &[u64], stable: &[u64]) {
        while STARTS.get(self.starts.len()).is_some_and(|(minutes, _)| minutes * 60_000 <= from_ms) {
            let nu = STARTS[self.starts.len()].1;
            self.starts.push((nu, vec![0.0; 10 * self.thresholds.len()]));
        }
        let total = |buckets: &[u64], from: usize| buckets[from..].iter().sum::<u64>() as f64;
        let share = total(canary, 0) * self.odds / (total(canary, 0) * self.odds + total(stable, 0));
        for (_, products) in &mut self.starts {
            for (j, at) in self.thresholds.iter().enumerate() {
                let (x_c, x_b) = (total(canary, at + self.shift + 1), total(stable, at + 1));
                for k in 0..10 {
                    let ratio = Self::ratio(k);
                    products[10 * j + k] += x_c * ratio.ln() - (x_c + x_b) * ((ratio - 1.0) * share).ln_1p();
                }
            }
        }
    }

    fn ln_e(&self) -> f64 {
        let reached: f64 = self.starts.iter().map(|(nu, _)| nu).sum();
        let count = 10.0 * self.thresholds.len() as f64;
        let terms =
            self.starts.iter().flat_map(|(nu, products)| products.iter().map(move |ln_e| nu / count * ln_e.exp()));
        (terms.sum::<f64>() + 1.0 - reached).ln()
    }
}

/// Four hours of blocks, the canary good, bad and good again.
#[test]
fn one_sum_for_all_starts_equals_each_start_kept_apart() {
    for seed in 0..6 {
        let mut random = Random(seed);
        let (boundaries, shift, odds) = [(12, 0, 1.25), (12, 1, 1.0), (40, 2, 1.0)][seed as usize % 3];
        let edges: Vec<f64> = (1..=boundaries).map(|edge| 0.01 * f64::from(edge)).collect();
        let mut latency = Latency::new(Scale::new(&edges, shift, odds).expect("valid"));
        let thresholds = (0..boundaries as usize - shift).collect();
        let mut naive = Naive { starts: Vec::new(), thresholds, shift, odds };
        for block in 0..1_600_u64 {
            let from_ms = block * 9_000;
            let mut draw = |n: u64, more: u64| {
                let mut buckets = vec![0; boundaries as usize + 1];
                for _ in 0..n {
                    let bucket = random.binomial(boundaries as u64, 0.2) + more * random.binomial(2, 0.1);
                    buckets[usize::min(bucket as usize, boundaries as usize)] += 1;
                }
                buckets
            };
            let (canary, stable) = (draw(5, u64::from((500..560).contains(&block))), draw(20, 0));
            latency.add(from_ms, &canary, &stable);
            naive.add(from_ms, &canary, &stable);
            if block % 53 == 0 {
                let (ours, theirs) = (latency.ln_e(), naive.ln_e());
                assert!(
                    (ours - theirs).abs() < 1e-9 * f64::max(theirs.abs(), 1.0),
                    "seed {seed}, {block}: {ours} {theirs}"
                );
            }
        }
    }
}

fn histogram() -> impl Strategy<Value = Sparse> {
    prop::collection::btree_map(0..118_u8, prop_oneof![1..20_u64, Just(1_000_000)], 0..12)
        .prop_map(|buckets| buckets.into_iter().collect())
}

proptest! {
    #[test]
    fn merging_equals_one_stream(
        seconds in prop::collection::vec(prop::collection::vec((histogram(), histogram()), 5), 1..20),
        slow in 0..5_u64,
    ) {
        let policy = Policy { max_slow: Some(0.01), budget: Some(davy_judge::Budget::Excess(50.0)), ..compared() };
        let (mut whole, mut parts) = (judge(policy), judge(policy));
        let feed = |judge: &mut Judge, from_ms: u64, to_ms: u64, canary: &Sparse, stable: &Sparse, slow: u64| {
            let total = |buckets: &Sparse| buckets.iter().map(|(_, count)| count).sum::<u64>() + 5;
            let (n_c, n_b) = (total(canary), total(stable));
            let window = Window {
                epoch: 1, weight: 2_000, from_ms, to_ms,
                canary: Counts::answered(n_c, 0), stable: Counts::answered(n_b, 0),
            };
            let slow = Pair { canary: Counts::answered(n_c, slow), stable: Counts::answered(n_b, slow) };
            let latency = Some(Latencies { canary, stable });
            judge.observe_with(&window, &Details { latency, slow: Some(slow), ..Details::default() });
            window
        };
        for (at, fifths) in (0..).zip(&seconds) {
            let mut sum = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
            let mut counts = Pair::default();
            for (fifth, (canary, stable)) in (0..).zip(fifths) {
                for (bucket, count) in canary {
                    *sum.0.entry(*bucket).or_insert(0) += count;
                }
                for (bucket, count) in stable {
                    *sum.1.entry(*bucket).or_insert(0) += count;
                }
                let from_ms = at * 1_000 + fifth * 200;
                let part = feed(&mut parts, from_ms, from_ms + 200, canary, stable, slow);
                counts = counts.plus(Pair { canary: part.canary, stable: part.stable });
            }
            prop_assume!(counts.canary.n + counts.stable.n >= 100);
            let (canary, stable): (Sparse, Sparse) = (sum.0.into_iter().collect(), sum.1.into_iter().collect());
            let window = Window {
                epoch: 1, weight: 2_000, from_ms: at * 1_000, to_ms: (at + 1) * 1_000,
                canary: counts.canary, stable: counts.stable,
            };
            let slow = Pair {
                canary: Counts::answered(counts.canary.n, 5 * slow),
                stable: Counts::answered(counts.stable.n, 5 * slow),
            };
            let latency = Some(Latencies { canary: &canary, stable: &stable });
            whole.observe_with(&window, &Details { latency, slow: Some(slow), ..Details::default() });
        }
        prop_assert_eq!(whole.verdict(), parts.verdict());
    }

    #[test]
    fn numbers_stay_finite_however_large(
        weight in 1..10_000_u16,
        blocks in prop::collection::vec((histogram(), histogram(), 0..1_000_000_u64), 1..30),
    ) {
        let mut judge = judge(compared());
        for (at, (mut canary, mut stable, scale)) in (0..).zip(blocks) {
            for (_, count) in canary.iter_mut().chain(&mut stable) {
                *count *= scale;
            }
            second(&mut judge, 1, weight, at * 400, &canary, &stable);
            let verdict = judge.verdict();
            let text = serde_json::to_string(&verdict).expect("JSON");
            let back: Verdict = serde_json::from_str(&text).expect("nothing became null");
            prop_assert_eq!(back, verdict);
        }
    }
}

/// 2 % of the canary's requests take 800 ms more, at 10 canary requests a second: stable's 99th percentile is 252 ms.
#[test]
fn a_slower_part_is_found_in_half_a_minute() {
    let world = World { policy: compared(), late: 0.02, steps: vec![1_000], hold_ms: 600_000, ..World::reference() };
    let found: Vec<_> = (0..60).map(|seed| world.run(seed)).collect();
    let missed = found.iter().filter(|outcome| outcome.end != End::RolledBack).count();
    let seconds = median(found.iter().map(|outcome| outcome.at_ms as f64 / 1_000.0).collect());
    assert_eq!(missed, 0, "seeds 0 to 59");
    assert!(seconds < 40.0, "median of seeds 0 to 59: {seconds} s");
    let words = &found[0].because;
    assert!(words.contains("of the canary took longer than"), "{words}");
}

/// α_c is 0.6 %: of 200 healthy rollouts more than 6 rolled back has a chance below one in a thousand. β is 5 %: a step is not
/// held up by the second proof for long.
#[test]
fn a_healthy_canary_passes_with_latency_on() {
    let policy = Policy { max_slow: Some(0.01), ..compared() };
    let world = World { policy, deadline_ms: 900_000, ..World::reference() };
    let outcomes: Vec<_> = (0..200).map(|seed| world.run(seed)).collect();
    let back: Vec<usize> = (0..200).filter(|seed| outcomes[*seed].end == End::RolledBack).collect();
    assert!(back.len() <= 6, "rolled back: seeds {back:?}");
    let promoted = outcomes.iter().filter(|outcome| outcome.end == End::Promoted).count();
    assert!(promoted >= 180, "promoted within a quarter of an hour: {promoted} of 200");
}

/// Slower than stable by the margin at its threshold, and nothing that would roll back: few pass.
#[test]
fn slow_canaries_rarely_pass() {
    let mut passed = 0;
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut judge =
            judge(Policy { not_slower_than: Some(1.1), relative: false, margin: Some(0.05), ..Policy::default() });
        for at in 0..120 {
            // Half a percent of stable is above the threshold, 5.5 % of the canary.
            let draw = |random: &mut Random, n, share| {
                let slow = random.binomial(n, share);
                vec![(40, n - slow), (70, slow)]
            };
            let (canary, stable) = (draw(&mut random, 20, 0.055), draw(&mut random, 180, 0.005));
            second(&mut judge, 1, 1_000, at, &canary, &stable);
            if judge.verdict().evidence.speed.is_some_and(|speed| speed.proof.proven) {
                passed += 1;
                break;
            }
        }
    }
    assert!(passed <= 20, "β is 5 %: {passed} of 200, seeds 0 to 199");
}

/// What takes stable 10 s takes the canary 1.5 s: at the begin of each epoch only the canary's have ended.
#[test]
fn a_quicker_canary_is_not_taken_for_a_slower_one() {
    let mut judge = judge(compared());
    let (mut at, quick, tail) = (0, 49, 10_u64);
    for (epoch, weight) in [(1, 1_000), (2, 5_000), (3, 5_000), (4, 9_000)] {
        let (c, b) = (u64::from(weight) / 100, 100 - u64::from(weight) / 100);
        for age in 0..60 {
            // At 10 % the canary is as slow as stable: nothing is known yet that would tell.
            let (mut canary, mut stable) = (vec![(40, quick * c)], vec![(40, quick * b)]);
            match epoch {
                1 if age >= tail => canary.push((97, c)),
                1 => {}
                _ if age >= 2 => canary.push((77, c)),
                _ => {}
            }
            if age >= tail {
                stable.push((97, b));
            }
            second(&mut judge, epoch, weight, at, &canary, &stable);
            at += 1;
            let verdict = judge.verdict();
            assert_ne!(verdict.kind, Kind::Harmful, "epoch {epoch}, second {age}: {}", verdict.because);
        }
    }
    assert!(measure(&judge.verdict(), Measure::Latency).ln_e < 0.0);
}

#[test]
fn late_slowness_is_found_as_fresh() {
    let mut judge = judge(compared());
    let (quick, slow) = (vec![(40, 49), (75, 1)], vec![(40, 44), (75, 6)]);
    for at in 0..45 * 60 {
        second(&mut judge, 1, 5_000, at, &quick, &quick);
    }
    assert_eq!(judge.verdict().kind, Kind::Safe);
    for at in 45 * 60..45 * 60 + 20 {
        second(&mut judge, 1, 5_000, at, &slow, &quick);
    }
    let verdict = judge.verdict();
    assert_eq!((verdict.kind, &verdict.evidence.causes[..]), (Kind::Harmful, &[Measure::Latency][..]));
    let latency = measure(&verdict, Measure::Latency);
    assert!(latency.since_ms >= 45 * 60_000, "{}", verdict.because);
    assert!(latency.since.canary.x > 10 && latency.since.canary.n < 1_000, "{latency:?}");
    let thresholds = latency.thresholds.expect("thresholds");
    let allowed = f64::max(1.1 * thresholds.stable_ms, thresholds.stable_ms + 5.0);
    assert!((allowed * 0.999..1.1 * allowed).contains(&thresholds.canary_ms), "{thresholds:?}");
}

#[test]
fn a_step_needs_the_second_proof_too() {
    let mut judge = judge(compared());
    let quick: Sparse = vec![(40, 990), (60, 10)];
    let before: Sparse = vec![];
    second(&mut judge, 1, 0, 0, &before, &quick);
    let mut waited = false;
    for at in 1..60 {
        second(&mut judge, 2, 1_000, at, &vec![(40, 99), (60, 1)], &vec![(40, 891), (60, 9)]);
        let verdict = judge.verdict();
        let speed = verdict.evidence.speed.expect("the proof");
        if verdict.evidence.promotion.is_some_and(|promotion| promotion.proven) && !speed.proof.proven {
            waited = true;
            assert_eq!(verdict.kind, Kind::Undecided);
            assert!(verdict.because.contains("share of requests longer than"), "{}", verdict.because);
        }
    }
    assert!(waited, "the proof of errors is the quicker one");
    let verdict = judge.verdict();
    assert_eq!(verdict.kind, Kind::Safe, "{}", verdict.because);
    assert!(verdict.because.contains("no slower"), "{}", verdict.because);
}

#[test]
fn at_100_percent_the_comparison_stands_still_and_the_limit_acts() {
    let policy = Policy { max_slow: Some(0.01), ..compared() };
    let mut judge = judge(policy);
    let feed = |judge: &mut Judge, epoch, weight: u16, at: u64, n_c: u64, slow: u64| {
        let n_b = 1_000 - n_c;
        let window = Window {
            epoch,
            weight,
            from_ms: at * 1_000,
            to_ms: (at + 1) * 1_000,
            canary: Counts::answered(n_c, 0),
            stable: Counts::answered(n_b, 0),
        };
        let (canary, stable) = ([(40, n_c - slow), (80, slow)], [(40, n_b)]);
        let latency = Some(Latencies { canary: &canary, stable: &stable });
        let slow = Some(Pair { canary: Counts::answered(n_c, slow), stable: Counts::answered(n_b, 0) });
        judge.observe_with(&window, &Details { latency, slow, ..Details::default() });
        judge.verdict()
    };
    for at in 0..30 {
        feed(&mut judge, 1, 5_000, at, 500, 0);
    }
    let before = measure(&judge.verdict(), Measure::Latency).ln_e;
    for at in 30..60 {
        let verdict = feed(&mut judge, 2, 10_000, at, 1_000, 10);
        assert_eq!(measure(&verdict, Measure::Latency).ln_e, before);
        assert_eq!(verdict.kind, Kind::Undecided, "{}", verdict.because);
        assert_eq!(verdict.evidence.slow_limit.map(|limit| limit.standing), Some(Standing::Clean));
        assert!(!verdict.evidence.amber);
    }
    let verdict =
        (60..90).map(|at| feed(&mut judge, 2, 10_000, at, 1_000, 30)).find(|verdict| verdict.kind == Kind::Harmful);
    let verdict = verdict.expect("rolled back");
    assert_eq!(verdict.evidence.causes, [Measure::SlowLimit]);
    assert!(verdict.because.contains("above the latency limit, which allows 1 %"), "{}", verdict.because);
}

#[test]
fn what_is_asked_for_and_not_told_is_blind() {
    let window = |at: u64| Window {
        epoch: 1,
        weight: 1_000,
        from_ms: at * 1_000,
        to_ms: (at + 1) * 1_000,
        canary: Counts::answered(100, 0),
        stable: Counts::answered(900, 0),
    };
    let mut slow = judge(compared());
    slow.observe(&window(0));
    let verdict = slow.verdict();
    assert_eq!(verdict.kind, Kind::Blind);
    assert!(verdict.because.contains("requests came without latencies"), "{}", verdict.because);
    second(&mut slow, 1, 1_000, 1, &vec![(40, 100)], &vec![(40, 900)]);
    assert_eq!(slow.verdict().kind, Kind::Undecided);
    assert_eq!(slow.verdict().evidence.rollout.canary.n, 200, "the counts are counted");
    let mut limited = judge(Policy { max_slow: Some(0.01), ..Policy::default() });
    limited.observe(&window(0));
    assert_eq!(limited.verdict().kind, Kind::Blind);
}

#[test]
fn nonsense_is_not_counted() {
    let window = Window {
        epoch: 1,
        weight: 1_000,
        from_ms: 0,
        to_ms: 1_000,
        canary: Counts::answered(10, 0),
        stable: Counts::answered(10, 0),
    };
    let none: &[(u8, u64)] = &[];
    let bad: [&[(u8, u64)]; 5] =
        [&[(118, 1)], &[(4, 1), (3, 1)], &[(4, 1), (4, 1)], &[(4, 11)], &[(3, u64::MAX), (4, 2)]];
    for histogram in bad {
        for (canary, stable) in [(histogram, none), (none, histogram)] {
            let mut judge = judge(compared());
            judge.observe_with(&window, &Details { latency: Some(Latencies { canary, stable }), ..Details::default() });
            let verdict = judge.verdict();
            assert_eq!((verdict.kind, verdict.evidence.nonsense), (Kind::Blind, 1), "{histogram:?}");
            assert_eq!(verdict.evidence.open, Pair::default());
        }
    }
    let mut deaf = judge(Policy::default());
    let latency = Some(Latencies { canary: bad[0], stable: bad[3] });
    deaf.observe_with(&window, &Details { latency, ..Details::default() });
    assert_eq!(deaf.verdict().evidence.nonsense, 0, "what the policy does not ask for is not looked at");
    let slow = Pair { canary: Counts::answered(11, 0), stable: Counts::answered(10, 0) };
    let mut judge = judge(Policy { max_slow: Some(0.01), ..Policy::default() });
    judge.observe_with(&window, &Details { slow: Some(slow), ..Details::default() });
    assert_eq!((judge.verdict().kind, judge.verdict().evidence.nonsense), (Kind::Blind, 1));
}

/// Boundaries of one's own.
#[test]
fn an_imported_histogram_is_compared_at_its_own_boundaries() {
    let scale = Scale::new(&[0.1, 0.25, 0.5, 1.0, 2.5], 0, davy_judge::latency::IMPORTED_ODDS).expect("valid");
    let mut judge = Judge::with_scale(Policy::default(), scale).expect("a valid policy");
    for at in 0..60 {
        second(&mut judge, 1, 5_000, at, &vec![(0, 85), (4, 15)], &vec![(0, 99), (1, 1)]);
    }
    let verdict = judge.verdict();
    assert_eq!((verdict.kind, &verdict.evidence.causes[..]), (Kind::Harmful, &[Measure::Latency][..]));
    let thresholds = measure(&verdict, Measure::Latency).thresholds.expect("thresholds");
    assert!(thresholds.canary_ms <= 1_000.0 && thresholds.canary_ms == thresholds.stable_ms, "{thresholds:?}");
}

/// A verdict under a policy without any of this is stored as before, and what was stored before can be read.
#[test]
fn what_is_absent_is_not_stored() {
    let mut judge = judge(Policy::default());
    let none: Sparse = vec![(40, 100)];
    second(&mut judge, 1, 5_000, 0, &none, &none);
    let verdict = judge.verdict();
    let text = serde_json::to_string(&verdict).expect("JSON");
    for key in ["speed", "unheard", "slow_limit", "harm", "thresholds"] {
        assert!(!text.contains(key), "{key}: {text}");
    }
    assert_eq!(serde_json::from_str::<Verdict>(&text).expect("a verdict"), verdict);
}
