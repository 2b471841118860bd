//! Draws `docs/confidence.svg`: what the judge knows of the difference between canary and stable while requests come, in one
//! rollout of a healthy canary and one of a bad one. Two real runs of the judge; the same picture each time.
//!
//! `cargo run -p davy-judge --example picture > docs/confidence.svg`

#![expect(clippy::print_stdout, reason = "a command prints its picture")]

use std::fmt::Write;

use davy_judge::{Counts, Judge, Kind, Policy, Window};

const WIDTH: f64 = 700.0;
const HEIGHT: f64 = 430.0;
const TOP: f64 = 78.0;
const BOTTOM: f64 = 352.0;
/// Left edges of the two panels, and their width.
const LEFT: [f64; 2] = [58.0, 386.0];
const ACROSS: f64 = 280.0;
/// Canary requests at a panel's edges.
const FEWEST: f64 = 10.0;
const MOST: f64 = 10_000.0;

const BAND: &str = "#bcd4ee";
const EDGE: &str = "#1f5fa8";
const INK: &str = "#1b1f24";
const SOFT: &str = "#5b636c";
const RED: &str = "#b3261e";
const GREEN: &str = "#1a7f37";

/// What was known after one second.
struct Known {
    canary: f64,
    low: f64,
    high: f64,
    estimate: f64,
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn happens(&mut self, chance: f64) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) as f64) < chance * (1_u64 << 53) as f64
    }
}

/// A rollout at 10 % of 100 requests a second, until it is rolled back or the panel is full; the counts in which it ends, and
/// the number of canary requests at which the step was first proven.
fn run(seed: u64, stable: f64, canary: f64) -> (Vec<Known>, Kind, u64, Option<f64>) {
    let mut random = Random(seed);
    // One margin, as at 10 % by itself: 1 percentage point.
    let mut judge = Judge::new(Policy::default()).unwrap_or_else(|_| unreachable!("the default policy is valid"));
    let (mut known, mut proven) = (Vec::new(), None);
    for second in 0.. {
        let (mut on_canary, mut on_stable) = (Counts::default(), Counts::default());
        for _ in 0..100 {
            let chosen = random.happens(0.1);
            let side = if chosen { &mut on_canary } else { &mut on_stable };
            side.n += 1;
            side.admitted += 1;
            side.x += u64::from(random.happens(if chosen { canary } else { stable }));
        }
        let (from_ms, to_ms) = (second * 1_000, (second + 1) * 1_000);
        let (canary, stable) = (on_canary, on_stable);
        judge.observe(&Window { epoch: 1, weight: 1_000, from_ms, to_ms, canary, stable });
        let verdict = judge.verdict();
        let evidence = &verdict.evidence;
        let difference = evidence.bounds.difference;
        let requests = evidence.rollout.canary.n as f64;
        if verdict.kind == Kind::Safe {
            proven = proven.or(Some(requests));
        }
        known.push(Known {
            canary: requests,
            low: difference.low,
            high: difference.high,
            estimate: difference.estimate.unwrap_or(0.0),
        });
        if verdict.kind == Kind::Harmful || requests >= MOST {
            return (known, verdict.kind, evidence.rollout.canary.x, proven);
        }
    }
    unreachable!("an endless loop")
}

/// Across: canary requests, by their logarithm.
fn x(left: f64, requests: f64) -> f64 {
    left + ACROSS * (requests.clamp(FEWEST, MOST) / FEWEST).ln() / (MOST / FEWEST).ln()
}

/// Up: a difference, by its logarithm on both sides of 0 and evenly close to it.
fn y(difference: f64) -> f64 {
    let scaled = |value: f64| (1.0 + value.abs() / 0.0005).ln().copysign(value);
    let middle = f64::midpoint(TOP, BOTTOM);
    middle - (BOTTOM - TOP) / 2.0 * scaled(difference) / scaled(1.0)
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, colour: &str, weight: &str, words: &str) {
    let _ = writeln!(
        svg,
        r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}">{words}</text>"#
    );
}

/// The edge of the band: level until it steps.
fn edge(known: &[Known], left: f64, of: impl Fn(&Known) -> f64) -> Vec<(f64, f64)> {
    let mut points = vec![(left, y(of(&known[0])))];
    for pair in known.windows(2) {
        if of(&pair[0]) != of(&pair[1]) {
            let at = x(left, pair[1].canary);
            points.push((at, y(of(&pair[0]))));
            points.push((at, y(of(&pair[1]))));
        }
    }
    if let Some(last) = known.last() {
        points.push((x(left, last.canary), y(of(last))));
    }
    points
}

fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { " L" });
    }
    path
}

fn panel(svg: &mut String, left: f64, title: &str, seed: u64, (stable, canary): (f64, f64)) {
    let right = left + ACROSS;
    text(svg, (left, TOP - 12.0), "start", INK, "bold", title);
    for tick in [-1.0, -0.1, -0.01, -0.001, 0.0, 0.001, 0.01, 0.1, 1.0] {
        let at = y(tick);
        let (colour, width) = if tick == 0.0 { (SOFT, 1.2) } else { ("#e3e6ea", 1.0) };
        let _ = writeln!(svg, r#"<path d="M{left:.1} {at:.1} H{right:.1}" stroke="{colour}" stroke-width="{width}"/>"#);
        let sign = if tick > 0.0 {
            "+"
        } else if tick < 0.0 {
            "−"
        } else {
            ""
        };
        let words = format!("{sign}{}", (tick.abs() * 100_000.0).round() / 1_000.0);
        text(svg, (left - 7.0, at + 4.0), "end", SOFT, "normal", &words);
    }
    for (requests, words) in [(10.0, "10"), (100.0, "100"), (1_000.0, "1,000"), (10_000.0, "10,000")] {
        text(svg, (x(left, requests), BOTTOM + 18.0), "middle", SOFT, "normal", words);
    }
    let (known, kind, failed, proven) = run(seed, stable, canary);
    let high = edge(&known, left, |known| known.high);
    let low = edge(&known, left, |known| known.low);
    let around: Vec<(f64, f64)> = high.iter().copied().chain(low.iter().rev().copied()).collect();
    let _ = writeln!(svg, r#"<path d="{} Z" fill="{BAND}" fill-opacity="0.75"/>"#, path(&around));
    let _ = writeln!(svg, r#"<path d="M{left:.1} {:.1} H{right:.1}" stroke="{SOFT}" stroke-width="1"/>"#, y(0.0));
    for points in [&high, &low] {
        let _ = writeln!(svg, r#"<path d="{}" fill="none" stroke="{EDGE}" stroke-width="2"/>"#, path(points));
    }
    let mut estimate: Vec<(f64, f64)> = Vec::new();
    for known in &known {
        let at = (x(left, known.canary), y(known.estimate));
        if estimate.last().is_none_or(|last| at.0 - last.0 >= 1.5) {
            estimate.push(at);
        }
    }
    let _ = writeln!(svg, r#"<path d="{}" fill="none" stroke="{INK}" stroke-width="1.2"/>"#, path(&estimate));
    let truth = y(canary - stable);
    let _ = writeln!(
        svg,
        r#"<path d="M{left:.1} {truth:.1} H{right:.1}" stroke="{RED}" stroke-width="1.5" stroke-dasharray="2 4"/>"#
    );
    let failures = format!("after {failed} failures");
    let end = match (kind, proven) {
        (Kind::Harmful, _) => known.last().map(|last| (last.canary, RED, ["rolled back", &failures])),
        (_, proven) => proven.map(|requests| (requests, GREEN, ["safe: less", "than +1 proven"])),
    };
    if let Some((requests, colour, lines)) = end {
        let at = x(left, requests);
        let _ = writeln!(svg, r#"<path d="M{at:.1} {TOP:.1} V{BOTTOM:.1}" stroke="{colour}" stroke-width="1.5"/>"#);
        for (line, up) in lines.into_iter().zip([26.0, 10.0]) {
            text(svg, (at + 6.0, BOTTOM - up), "start", colour, "bold", line);
        }
    }
}

/// The whole picture.
pub(crate) fn svg() -> String {
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif" font-size="12.5" role="img" aria-label="Two rollouts: the band in which the difference between canary and stable must lie closes in as requests come. For the healthy canary it closes around 0 and the step is proven; for the bad one it leaves 0 and the canary is rolled back.">"#
    );
    let _ = writeln!(svg, r##"<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#ffffff"/>"##);
    let words = "What is known of the canary’s failure rate minus stable’s, in percentage points";
    text(&mut svg, (16.0, 26.0), "start", INK, "bold", words);
    panel(&mut svg, LEFT[0], "Healthy: both fail 0.1 %", 3, (0.001, 0.001));
    panel(&mut svg, LEFT[1], "Bad: canary fails 1 %, stable 0.1 %", 3, (0.001, 0.01));
    let below = BOTTOM + 38.0;
    text(&mut svg, (WIDTH / 2.0, below), "middle", SOFT, "normal", "requests to the canary so far");
    let row = HEIGHT - 14.0;
    let _ = writeln!(
        svg,
        r#"<rect x="58" y="{:.1}" width="22" height="12" fill="{BAND}" stroke="{EDGE}" stroke-width="1.5"/>"#,
        row - 10.0
    );
    text(&mut svg, (87.0, row), "start", INK, "normal", "cannot be ruled out (95 %, at every look)");
    let _ = writeln!(svg, r#"<path d="M364 {:.1} h22" stroke="{INK}" stroke-width="1.2"/>"#, row - 4.0);
    text(&mut svg, (393.0, row), "start", INK, "normal", "counted so far");
    let _ = writeln!(
        svg,
        r#"<path d="M504 {:.1} h22" stroke="{RED}" stroke-width="1.5" stroke-dasharray="2 4"/>"#,
        row - 4.0
    );
    text(&mut svg, (533.0, row), "start", INK, "normal", "the truth");
    svg.push_str("</svg>\n");
    svg
}

fn main() {
    print!("{}", svg());
}
