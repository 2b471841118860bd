//! `davy judge replay`, beside the formulas written down a second time: straight from the paper, in plain floats.

use crate::host::{Host, text};
use serde_json::{Value, json};
use std::fs;

fn lines(output: &std::process::Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn replayed(host: &Host, blocks: &[Value], flags: &[&str]) -> Vec<Value> {
    let file: String = blocks.iter().map(|block| format!("{block}\n")).collect();
    fs::write(host.folder.path().join("blocks.jsonl"), file).expect("written");
    let words: Vec<&str> = ["judge", "replay", "blocks.jsonl"].into_iter().chain(flags.iter().copied()).collect();
    let output = host.davy(&words);
    assert!(output.status.success(), "{}", text(&output));
    lines(&output)
}

/// One block: begin in seconds, weight in basis points, requests and failures of both, latencies of both.
#[derive(Clone)]
struct Block {
    from: f64,
    weight: f64,
    n: [f64; 2],
    x: [f64; 2],
    slow: [Vec<f64>; 2],
}

/// `ln Σ exp`.
fn ln_sum(terms: &[f64]) -> f64 {
    let peak = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    peak + terms.iter().map(|term| (term - peak).exp()).sum::<f64>().ln()
}

fn ln_mean(terms: &[f64]) -> f64 {
    ln_sum(terms) - (terms.len() as f64).ln()
}

/// The starts: when in seconds, and their weight.
fn starts() -> Vec<(f64, f64)> {
    let mut starts = vec![(0.0, 0.5)];
    starts.extend([1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 45.0].map(|minutes| (60.0 * minutes, 3.0 / 56.0)));
    starts.extend((0..30).map(|i| {
        let i = f64::from(i);
        (5_400.0 * 2_f64.powf(i), 0.125 / ((i + 1.0) * (i + 2.0)))
    }));
    starts
}

/// `ln Σ_s ν_s mean_k exp(Σ terms)`, where a block belongs to a start that it begins at or after.
fn mixture(blocks: &[Block], alternatives: usize, ln_e: impl Fn(&Block, usize) -> f64) -> f64 {
    let mut parts = Vec::new();
    let mut weights = 0.0;
    for (start, nu) in starts() {
        weights += nu;
        let sums: Vec<f64> = (0..alternatives)
            .map(|k| blocks.iter().filter(|block| block.from >= start).map(|block| ln_e(block, k)).sum())
            .collect();
        parts.push(nu.ln() + ln_mean(&sums));
    }
    parts.push((1.0 - weights).ln());
    ln_sum(&parts)
}

fn spaced(low: f64, high: f64, count: usize, k: usize) -> f64 {
    low * (high / low).powf(k as f64 / (count - 1) as f64)
}

fn relative([n_c, n_b]: [f64; 2], [x_c, x_b]: [f64; 2], odds: f64, ratio: f64) -> f64 {
    if n_c == 0.0 || n_b == 0.0 || x_c + x_b == 0.0 {
        return 0.0;
    }
    let theta = n_c * odds / (n_c * odds + n_b);
    x_c * ratio.ln() - (x_c + x_b) * ((ratio - 1.0) * theta).ln_1p()
}

fn ln_e_relative(blocks: &[Block], odds: f64) -> f64 {
    mixture(blocks, 20, |block, k| relative(block.n, block.x, odds, spaced(1.3, 1_000.0, 20, k)))
}

fn ln_e_absolute(blocks: &[Block], p0: f64) -> f64 {
    let limit = p0 / (1.0 - p0);
    mixture(blocks, 10, |block, k| {
        let odds = spaced(1.5 * limit, f64::max(4.0, 3.0 * limit), 10, k);
        let q = odds / (1.0 + odds);
        block.x[0] * (q / p0).ln() + (block.n[0] - block.x[0]) * ((1.0 - q) / (1.0 - p0)).ln()
    })
}

fn ln_e_latency(blocks: &[Block], shift: usize, odds: f64) -> f64 {
    let thresholds = blocks[0].slow[0].len() - 1 - shift;
    let each: Vec<f64> = (0..thresholds)
        .map(|j| {
            mixture(blocks, 10, |block, k| {
                let above = |counts: &[f64], j: usize| counts[j + 1..].iter().sum::<f64>();
                let n = [0, 1].map(|version: usize| block.slow[version].iter().sum::<f64>());
                relative(
                    n,
                    [above(&block.slow[0], j + shift), above(&block.slow[1], j)],
                    odds,
                    spaced(1.1, 50.0, 10, k),
                )
            })
        })
        .collect();
    ln_mean(&each)
}

/// `ln e` of one block against the margin `d`, by Newton's bisection on the derivative of the divergence itself.
fn promotion(block: &Block, past: f64, d: f64, fraction: f64) -> f64 {
    let [n_c, n_b] = block.n;
    let [x_c, x_b] = block.x;
    let p_b = past.clamp(1e-6, 1.0 - 1e-3);
    let p_c = f64::min(p_b + fraction * d, 1.0 - 1e-6);
    if n_c == 0.0 || n_b == 0.0 || p_c >= p_b + d {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1.0 - d);
    for _ in 0..100 {
        let theta = (low + high) / 2.0;
        let slope =
            n_c * (theta + d - p_c) / ((theta + d) * (1.0 - theta - d)) + n_b * (theta - p_b) / (theta * (1.0 - theta));
        if slope < 0.0 {
            low = theta;
        } else {
            high = theta;
        }
    }
    let theta = (low + high) / 2.0;
    let ln_bin = |x: f64, n: f64, p: f64| x * p.ln() + (n - x) * (1.0 - p).ln();
    ln_bin(x_c, n_c, p_c) + ln_bin(x_b, n_b, p_b) - ln_bin(x_c, n_c, theta + d) - ln_bin(x_b, n_b, theta)
}

fn past(blocks: &[Block]) -> f64 {
    let sum = |of: fn(&Block) -> f64| blocks.iter().map(of).sum::<f64>();
    (sum(|block| block.x[1]) + 0.5) / (sum(|block| block.n[1]) + 1_000.0)
}

/// `ln E_prom` of the blocks from `first` on, by a margin that is its own or frozen then.
fn ln_e_safe(blocks: &[Block], first: usize, own: Option<f64>) -> f64 {
    let weight = blocks[first].weight / 10_000.0;
    let d = own.unwrap_or_else(|| f64::max((0.001 / weight).clamp(0.002, 0.05), 0.5 * past(&blocks[..first])));
    let products = [0.0, 0.25, 0.5].map(|fraction| {
        (first..blocks.len()).map(|at| promotion(&blocks[at], past(&blocks[..at]), d, fraction)).sum::<f64>()
    });
    ln_mean(&products)
}

/// Blocks of ten seconds over three hours: rising weights, a bad stretch, seconds without anybody.
fn story(seed: u64) -> Vec<Block> {
    let mut dice = dice_of(seed);
    let mut draw = move |n: u64, p: f64| (0..n).filter(|_| dice() < p).count() as f64;
    let weights = [500.0, 1_000.0, 500.0, 2_500.0, 5_000.0];
    (0..1_080)
        .map(|at| {
            let weight = weights[at * weights.len() / 1_080];
            let n_c = if at % 50 == 7 { 0.0 } else { draw(40, weight / 10_000.0) };
            let n = [n_c, 40.0 - n_c];
            let bad = if (700..760).contains(&at) { 0.06 } else { 0.01 };
            let x = [draw(n[0] as u64, bad), draw(n[1] as u64, 0.01)];
            let slow = n.map(|n| {
                let first = draw(n as u64, 0.7);
                let second = draw((n - first) as u64, 0.8);
                let third = draw((n - first - second) as u64, 0.8);
                vec![first, second, third, n - first - second - third]
            });
            Block { from: at as f64 * 10.0, weight, n, x, slow }
        })
        .collect()
}

/// Uniform draws from a seed (SplitMix64).
fn dice_of(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn written(block: &Block, weight: bool, latency: bool) -> Value {
    let whole = |counts: &[f64]| counts.iter().map(|count| *count as u64).collect::<Vec<_>>();
    let version = |at: usize| json!({ "n": block.n[at] as u64, "x": block.x[at] as u64 });
    let mut line = json!({ "from": block.from, "to": block.from + 10.0, "canary": version(0), "stable": version(1) });
    if weight {
        line["weight"] = json!(block.weight as u64);
    }
    if latency {
        let histogram = |at: usize| json!({ "le": [0.1, 0.25, 1.0], "n": whole(&block.slow[at]) });
        line["latency"] = json!({ "canary": histogram(0), "stable": histogram(1) });
    }
    line
}

fn near(told: &Value, expected: f64, what: &str) {
    let told = told.as_f64().unwrap_or_else(|| panic!("{what} is missing"));
    assert!((told - expected).abs() <= 1e-8 * expected.abs().max(1.0), "{what}: told {told}, expected {expected}");
}

#[test]
fn every_number_is_what_the_formulas_say() {
    let host = Host::new();
    for (seed, shift) in [(1, 0_usize), (2, 1)] {
        let blocks = story(seed);
        let input: Vec<Value> = blocks.iter().map(|block| written(block, true, true)).collect();
        let shifted = shift.to_string();
        let odds = if shift == 0 { 1.25 } else { 1.0 };
        let told = replayed(&host, &input, &["--odds", "1.5", "--max-error-rate", "2%", "--shift", &shifted]);
        assert_eq!(told.len(), blocks.len());
        // Where steps begin: the second 5 % goes on with the proof of 10 %.
        let begins = [0, 216, 216, 648, 864];
        for at in [0, 1, 7, 40, 216, 300, 431, 432, 600, 648, 720, 760, 900, 1_079] {
            let (seen, line) = (&blocks[..=at], &told[at]);
            let what = |name: &str| format!("seed {seed}, block {at}: {name}");
            let relative = ln_e_relative(seen, 1.5);
            let (absolute, latency) = (ln_e_absolute(seen, 0.02), ln_e_latency(seen, shift, odds));
            near(&line["log_e_rel"], relative, &what("log_e_rel"));
            near(&line["log_e_abs"], absolute, &what("log_e_abs"));
            near(&line["log_e_lat"], latency, &what("log_e_lat"));
            let all = [(0.4, relative), (0.3, latency), (0.2, absolute)];
            near(&line["log_e"], ln_sum(&all.map(|(share, ln_e)| f64::ln(share / 0.9) + ln_e)), &what("log_e"));
            let first = begins[at * 5 / 1_080];
            near(&line["log_e_safe"], ln_e_safe(seen, first, None), &what("log_e_safe"));
            let sum = |of: fn(&Block) -> f64| seen.iter().map(of).sum::<f64>();
            let estimate = sum(|b| b.x[0]) / sum(|b| b.n[0]) - sum(|b| b.x[1]) / sum(|b| b.n[1]);
            near(&line["difference"]["estimate"], estimate, &what("estimate"));
        }
        assert!(told.iter().any(|line| line["verdict"] == "undecided"), "seed {seed}");
    }
}

#[test]
fn bounds_are_the_rungs_taken_one_after_the_other() {
    let host = Host::new();
    let blocks: Vec<Block> = story(3).into_iter().map(|block| Block { weight: 5_000.0, ..block }).collect();
    let input: Vec<Value> = blocks.iter().map(|block| written(block, true, false)).collect();
    let told = replayed(&host, &input, &[]);
    let taken = 40_f64.ln();
    let margins = [0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];
    let mut high = 1.0;
    let mut left = margins.as_slice();
    let mut products = vec![[0.0; 3]; margins.len()];
    let mut reached = vec![false; margins.len()];
    for (at, block) in blocks.iter().enumerate() {
        let before = past(&blocks[..at]);
        for ((d, product), reached) in margins.iter().zip(&mut products).zip(&mut reached) {
            for (sum, fraction) in product.iter_mut().zip([0.0, 0.25, 0.5]) {
                *sum += promotion(block, before, *d, fraction);
            }
            *reached |= ln_mean(product.as_slice()) >= taken;
        }
        while left.first().is_some_and(|next| reached[margins.len() - left.len()] && *next < high) {
            (high, left) = (left[0], &left[1..]);
        }
        assert_eq!(told[at]["difference"]["high"], json!(high), "block {at}");
    }
    assert!(high < 0.05, "something was shown: {high}");
    // All of the canary's requests fail: the odds are bounded from below as far as the evidence goes.
    let bad: Vec<Block> = blocks[..3].iter().map(|block| Block { x: [block.n[0], 0.0], ..block.clone() }).collect();
    let told = replayed(&host, &bad.iter().map(|block| written(block, true, false)).collect::<Vec<_>>(), &[]);
    let ladder = [1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0];
    let low = ladder.into_iter().take_while(|odds| (1..=3).any(|n| ln_e_relative(&bad[..n], *odds) >= taken)).last();
    assert_eq!(told[2]["odds_ratio_low"], json!(low.unwrap_or(0.0)));
    assert!(low.is_some());
    assert_eq!(told[2]["verdict"], "harmful");
}

fn block(from: u64, canary: (u64, u64), stable: (u64, u64)) -> Value {
    json!({ "from": from, "to": from + 1, "canary": { "n": canary.0, "x": canary.1 }, "stable": { "n": stable.0, "x": stable.1 } })
}

#[test]
fn verdicts_are_those_of_a_rollout_and_absent_is_what_was_not_asked_for() {
    let host = Host::new();
    let healthy: Vec<Value> = (0..60).map(|s| block(s, (100, 0), (900, 1))).collect();
    let told = replayed(&host, &healthy, &[]);
    assert!(told.iter().all(|line| line["verdict"] == "undecided" && line.get("log_e_safe").is_none()), "{told:?}");
    assert!(told[0].get("log_e_abs").is_none() && told[0].get("log_e_lat").is_none());
    assert_eq!(told[0]["log_e"], told[0]["log_e_rel"]);
    let told = replayed(&host, &healthy, &["--margin", "1%"]);
    let ln_safe = |line: &Value| line["log_e_safe"].as_f64().expect("a number");
    for line in &told {
        let safe = told.iter().any(|seen| seen["to"].as_f64() <= line["to"].as_f64() && ln_safe(seen) >= 20_f64.ln());
        assert_eq!(line["verdict"], if safe { "safe" } else { "undecided" }, "{line}");
    }
    assert_eq!(told[59]["verdict"], "safe");
    let bad: Vec<Value> = (0..9).map(|s| block(s, (100, 5), (900, 1))).collect();
    let told = replayed(&host, &bad, &["--alpha", "0.02"]);
    let needed = -(0.6 * 0.02_f64).ln();
    for line in &told {
        let harmful = line["log_e"].as_f64() >= Some(needed);
        assert_eq!(line["verdict"], if harmful { "harmful" } else { "undecided" }, "{line}");
    }
    assert_eq!(told[8]["verdict"], "harmful");
    let silent: Vec<Value> = (0..12).map(|s| block(s, (0, 0), (900, 1))).collect();
    let told = replayed(&host, &silent, &[]);
    assert_eq!((&told[8]["verdict"], &told[11]["verdict"]), (&json!("undecided"), &json!("no-traffic")));
}

#[test]
fn a_line_that_cannot_be_true_changes_nothing_and_is_told_in_the_end() {
    let host = Host::new();
    let good: Vec<String> = (0..4).map(|s| block(s, (100, s), (900, 1)).to_string()).collect();
    let nonsense = [
        block(4, (100, 101), (900, 1)).to_string(),
        block(1, (100, 1), (900, 1)).to_string(),
        good[0].replace("\"n\":100", "\"n\":-100"),
        good[0].replace("\"n\":100", "\"n\":\"100\""),
        good[0].replace("\"n\":100", "\"n\":NaN"),
        good[0].replace("\"n\":100", "\"n\":9000000000000000"),
        "{\"from\":9,\"to\":9,\"canary\":{\"n\":1,\"x\":0},\"stable\":{\"n\":1,\"x\":0}}".to_owned(),
        "{\"from\":9}".to_owned(),
        "[]".to_owned(),
        "nonsense".to_owned(),
    ];
    let clean = host.davy_reads(&["judge", "replay", "-", "--margin", "0.01"], &(good.join("\n") + "\n"));
    assert!(clean.status.success(), "{}", text(&clean));
    for wrong in nonsense {
        let input = format!("{}\n{}\n{}\n\n{wrong}\n{}\n", good[0], good[1], good[2], good[3]);
        let output = host.davy_reads(&["judge", "replay", "-", "--margin", "0.01"], &input);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {}", text(&output));
        let mut told = lines(&output);
        let blind = told.remove(3);
        assert_eq!((&blind["line"], &blind["verdict"]), (&json!(5), &json!("blind")), "{wrong}");
        assert!(blind["error"].as_str().is_some_and(|error| !error.is_empty()), "{blind}");
        assert_eq!(told, lines(&clean), "{wrong}");
    }
    // The first line is no exception, and decides nothing by itself.
    let output = host.davy_reads(&["judge", "replay", "-"], &format!("{{\"latency\":1}}\n{}\n", good[0]));
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(lines(&output)[1]["to"], json!(1));
}

#[test]
fn what_cannot_be_promised_is_refused_before_anything_is_read() {
    let host = Host::new();
    for flags in [
        ["--alpha", "0"],
        ["--alpha", "2"],
        ["--beta", "1"],
        ["--odds", "0.5"],
        ["--margin", "0"],
        ["--max-error-rate", "x"],
    ] {
        let output = host.davy_reads(&["judge", "replay", "-", flags[0], flags[1]], "");
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {}", text(&output));
    }
    let output = host.davy(&["judge", "replay", "there-is-none"]);
    assert!(output.status.code() == Some(2) && text(&output).contains("cannot read"), "{}", text(&output));
}

/// The first blocks of a rollout often have no answer yet, and so no latency.
#[test]
fn a_file_may_begin_without_latencies() {
    let host = Host::new();
    let latency = |n: [u64; 3]| json!({ "le": [0.1, 0.5], "n": n });
    let mut input: Vec<Value> = (0..40).map(|s| block(s, (100, 0), (900, 1))).collect();
    for line in &mut input[2..] {
        line["latency"] = json!({ "canary": latency([50, 30, 20]), "stable": latency([890, 10, 0]) });
    }
    // What cannot be judged fixes nothing.
    input[1]["latency"] = json!({ "canary": { "le": [1], "n": [101] }, "stable": { "le": [1], "n": [0] } });
    fs::write(host.folder.path().join("late.jsonl"), input.iter().map(|line| format!("{line}\n")).collect::<String>())
        .expect("written");
    let output = host.davy(&["judge", "replay", "late.jsonl"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let mut told = lines(&output);
    assert_eq!(told.remove(1)["line"], json!(2));
    input.remove(1);
    input[0]["latency"] = json!({ "canary": latency([0, 0, 0]), "stable": latency([0, 0, 0]) });
    assert_eq!(told, replayed(&host, &input, &[]), "as if there had been none yet");
    assert_eq!(told[0]["log_e_lat"], json!(0.0));
    assert_eq!(told.last().expect("a line")["verdict"], "harmful");
}

#[test]
fn any_chance_below_one_may_be_asked_for() {
    let host = Host::new();
    let bad: Vec<Value> = (0..9).map(|s| block(s, (100, 1), (900, 1))).collect();
    let needed = -(0.6 * 0.9_f64).ln();
    for line in replayed(&host, &bad, &["--alpha", "0.9", "--beta", "0.99"]) {
        let harmful = line["log_e"].as_f64() >= Some(needed);
        assert_eq!(line["verdict"] == "harmful", harmful, "{line}");
    }
}

/// What others may rely on, to the letter.
#[test]
fn the_first_lines_read_as_documented() {
    let host = Host::new();
    let input = "{\"from\":0,\"to\":1,\"weight\":1000,\"canary\":{\"n\":10,\"x\":0},\"stable\":{\"n\":90,\"x\":0}}\n\
                 {\"from\":1,\"to\":2,\"weight\":1000,\"canary\":{\"n\":10,\"x\":2},\"stable\":{\"n\":90,\"x\":0}}\n\
                 {\"from\":2,\"to\":1,\"weight\":1000,\"canary\":{\"n\":10,\"x\":2},\"stable\":{\"n\":90,\"x\":0}}\n";
    let output = host.davy_reads(&["judge", "replay", "-"], input);
    assert_eq!(String::from_utf8_lossy(&output.stdout), include_str!("replay.golden.jsonl"));
}
