//! Every outcome of small blocks, weighed exactly: no e-value expects more than 1 under its null.

use davy_judge::{Counts, Pair, absolute, bounds, promotion, promotion::Sample, relative};

fn pair(n_c: u64, x_c: u64, n_b: u64, x_b: u64) -> Pair {
    Pair { canary: Counts::answered(n_c, x_c), stable: Counts::answered(n_b, x_b) }
}

fn choose(n: u64, k: u64) -> f64 {
    (0..k).map(|i| (n - i) as f64 / (k - i) as f64).product()
}

fn binomial(n: u64, x: u64, p: f64) -> f64 {
    choose(n, x) * p.powi(x as i32) * (1.0 - p).powi((n - x) as i32)
}

/// Fisher's noncentral hypergeometric distribution given the totals.
#[test]
fn relative_expects_at_most_one() {
    let mut worst: f64 = 0.0;
    for (n_c, n_b) in (1..=10).flat_map(|n_c| (1..=10).map(move |n_b| (n_c, n_b))).chain([(1, 40), (40, 1), (30, 30)]) {
        for m in 1_u64..=n_c + n_b {
            for limit in [1.0, 1.1, 1.5, 3.0, 10.0, 100.0] {
                for odds in [limit, f64::max(1.0, 0.9 * limit), 1.0, 0.5, 0.01] {
                    let outcomes = (m.saturating_sub(n_b)..=m.min(n_c)).map(|x_c| {
                        let weight = choose(n_c, x_c) * choose(n_b, m - x_c) * odds.powi(x_c as i32);
                        (x_c, weight)
                    });
                    let outcomes: Vec<(u64, f64)> = outcomes.collect();
                    let total: f64 = outcomes.iter().map(|(_, weight)| weight).sum();
                    for ratio in [1.01, 1.3, 2.0, 10.0, 100.0, 1_000.0] {
                        let expected: f64 = outcomes
                            .iter()
                            .map(|(x_c, weight)| {
                                weight / total * relative::ln_e(&pair(n_c, *x_c, n_b, m - x_c), limit, ratio).exp()
                            })
                            .sum();
                        worst = worst.max(expected);
                        assert!(
                            expected <= 1.0 + 1e-9,
                            "E[e] = {expected} at n_c {n_c} n_b {n_b} m {m} r {ratio} limit {limit} odds {odds}"
                        );
                    }
                }
            }
        }
    }
    assert!(worst > 0.99, "the enumeration never comes near its bound: {worst}");
}

/// Below 1 the process would not be valid, which is why the policy refuses it.
#[test]
fn relative_below_odds_of_one_would_expect_more() {
    let (n_c, n_b, m, odds) = (6, 2, 6, 0.2_f64);
    let weight = |x_c: u64| choose(n_c, x_c) * choose(n_b, m - x_c) * odds.powi(x_c as i32);
    let total: f64 = (4..=6).map(weight).sum();
    let expected: f64 =
        (4..=6).map(|x_c| weight(x_c) / total * relative::ln_e(&pair(n_c, x_c, n_b, m - x_c), odds, 2.0).exp()).sum();
    assert!(expected > 1.0, "{expected}");
}

#[test]
fn absolute_expects_at_most_one() {
    for n in 1..=25 {
        for limit in [1e-6, 1e-4, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99] {
            for rate in [limit, 0.5 * limit, 0.0] {
                let mut expected = [0.0; 10];
                for x in 0..=n {
                    let ln_e = absolute::ln_e(Counts::answered(n, x), limit);
                    for (sum, ln_e) in expected.iter_mut().zip(ln_e) {
                        *sum += binomial(n, x, rate) * ln_e.exp();
                    }
                }
                assert!(expected.iter().all(|e| *e <= 1.0 + 1e-9), "n {n} limit {limit} rate {rate}: {expected:?}");
            }
        }
    }
}

#[test]
fn promotion_expects_at_most_one() {
    let sizes = [1, 2, 5, 12];
    let rates = [0.0, 1e-6, 1e-4, 0.001, 0.01, 0.1, 0.3, 0.5, 0.8, 0.95, 0.998, 1.0];
    let mut worst: f64 = 0.0;
    for (n_c, n_b) in sizes.iter().flat_map(|n_c| sizes.iter().map(move |n_b| (*n_c, *n_b))).chain([(1, 60), (60, 1)]) {
        for past in [0.0, 1e-7, 0.0005, 0.01, 0.2, 0.7, 0.99, 0.9999, 1.0] {
            for margin in [0.0005, 0.002, 0.05, 0.3, 0.6] {
                for fraction in [0.0, 0.25, 0.5] {
                    let e: Vec<Vec<f64>> = (0..=n_c)
                        .map(|x_c| {
                            (0..=n_b)
                                .map(|x_b| {
                                    let [n_c, x_c, n_b, x_b] = [n_c, x_c, n_b, x_b].map(|count| count as f64);
                                    promotion::ln_e(Sample { n_c, x_c, n_b, x_b }, past, margin, fraction).exp()
                                })
                                .collect()
                        })
                        .collect();
                    for p_b in rates.into_iter().filter(|p_b| p_b + margin <= 1.0).chain([1.0 - margin]) {
                        let weights_b: Vec<f64> = (0..=n_b).map(|x_b| binomial(n_b, x_b, p_b)).collect();
                        for above in [0.0, 1e-4, 0.01, 0.2, 1.0] {
                            let p_c = f64::min(p_b + margin + above, 1.0);
                            let expected: f64 = e
                                .iter()
                                .zip(0..)
                                .map(|(row, x_c)| {
                                    let given: f64 = row.iter().zip(&weights_b).map(|(e, weight)| e * weight).sum();
                                    binomial(n_c, x_c, p_c) * given
                                })
                                .sum();
                            worst = worst.max(expected);
                            assert!(
                                expected <= 1.0 + 1e-6,
                                "E[e] = {expected} at n_c {n_c} n_b {n_b} past {past} margin {margin} f {fraction} \
                                 p_b {p_b} p_c {p_c}"
                            );
                        }
                    }
                }
            }
        }
    }
    assert!(worst > 0.999, "the enumeration never comes near its bound: {worst}");
}

#[test]
fn promotion_grows_where_the_canary_is_as_stable() {
    let sample = Sample { n_c: 1_000.0, x_c: 1.0, n_b: 9_000.0, x_b: 9.0 };
    assert!(promotion::ln_e(sample, 0.001, 0.01, 0.0) > 3.0);
}

/// The nulls of the lower bound: `p_c ≤ p_b + difference`, which may be below, at or above 0.
#[test]
fn above_expects_at_most_one() {
    let sizes = [1, 2, 5, 12];
    let rates = [0.0, 1e-6, 1e-4, 0.001, 0.01, 0.1, 0.3, 0.5, 0.8, 0.95, 0.998, 1.0];
    let mut worst: f64 = 0.0;
    for (n_c, n_b) in sizes.iter().flat_map(|n_c| sizes.iter().map(move |n_b| (*n_c, *n_b))).chain([(1, 60), (60, 1)]) {
        for difference in [-0.5, -0.05, -0.001, 0.0, 0.001, 0.02, 0.5] {
            for alternative in [(1e-6, 1e-6), (0.001, 0.0005), (0.3, 0.01), (0.9, 0.2), (1.0 - 1e-6, 0.7), (0.5, 0.95)]
            {
                let e: Vec<Vec<f64>> = (0..=n_c)
                    .map(|x_c| {
                        (0..=n_b)
                            .map(|x_b| {
                                let [n_c, x_c, n_b, x_b] = [n_c, x_c, n_b, x_b].map(|count| count as f64);
                                bounds::ln_e_above(Sample { n_c, x_c, n_b, x_b }, alternative, difference).exp()
                            })
                            .collect()
                    })
                    .collect();
                for p_b in rates.into_iter().chain([1.0 - f64::max(difference, 0.0), f64::max(-difference, 0.0)]) {
                    let weights_b: Vec<f64> = (0..=n_b).map(|x_b| binomial(n_b, x_b, p_b)).collect();
                    for below in [0.0, 1e-4, 0.01, 0.2, 1.0] {
                        let p_c = f64::min(p_b + difference - below, 1.0);
                        if p_c < 0.0 {
                            continue;
                        }
                        let expected: f64 = e
                            .iter()
                            .zip(0..)
                            .map(|(row, x_c)| {
                                let given: f64 = row.iter().zip(&weights_b).map(|(e, weight)| e * weight).sum();
                                binomial(n_c, x_c, p_c) * given
                            })
                            .sum();
                        worst = worst.max(expected);
                        assert!(
                            expected <= 1.0 + 1e-6,
                            "E[e] = {expected} at n_c {n_c} n_b {n_b} alternative {alternative:?} difference {difference} \
                             p_b {p_b} p_c {p_c}"
                        );
                    }
                }
            }
        }
    }
    assert!(worst > 0.999, "the enumeration never comes near its bound: {worst}");
}

/// Clients that stay: of the first failures each is the canary's with the odds of its client's draw.
#[test]
fn sticky_expects_at_most_one() {
    for share in [0.0001, 0.01, 0.25, 0.5, 0.9999] {
        for limit in [1.0, 1.1, 3.0, 100.0] {
            for odds in [limit, 1.0, 0.2] {
                let p = share * odds / (share * odds + 1.0 - share);
                for m in 1..=20 {
                    for ratio in [1.01, 1.3, 10.0, 1_000.0] {
                        let expected: f64 = (0..=m)
                            .map(|x_c| {
                                let counts = pair(100, x_c, 100, m - x_c);
                                binomial(m, x_c, p) * relative::ln_e_sticky(&counts, limit, ratio, share).exp()
                            })
                            .sum();
                        assert!(expected <= 1.0 + 1e-9, "E[e] = {expected} at share {share} limit {limit} m {m}");
                    }
                }
            }
        }
    }
}
