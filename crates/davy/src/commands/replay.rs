//! `davy judge replay`: closed blocks in, where the evidence stands out, one JSON object a line each.

use crate::{
    cli::Replay as Asked,
    exit::{DONE, Exit, Failure},
    output,
};
use davy_judge::{
    Bounds, Counts, Kind, Pair,
    latency::Scale,
    replay::{Given, Reading, Replay, Settings},
};
use davy_simulation::named::percent;
use serde::{Deserialize, Serialize};
use serde_json::{Number, json};
use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

/// A line longer than this is no block.
const LONGEST: u64 = 1 << 20;
/// Times later than this in a rollout are no times: 30,000 years, in seconds.
const LATEST_S: f64 = 1e12;
/// The odds allowed where both versions are cut at the same boundary.
const SAME_BOUNDARY: f64 = 1.25;

#[derive(Deserialize)]
struct Line {
    from: Number,
    to: Number,
    canary: Version,
    stable: Version,
    #[serde(default)]
    weight: Option<u16>,
    #[serde(default)]
    latency: Option<Latency>,
}

#[derive(Deserialize)]
struct Version {
    n: u64,
    x: u64,
}

#[derive(Deserialize)]
struct Latency {
    canary: Histogram,
    stable: Histogram,
}

/// Requests per bucket, up to each boundary in seconds; one more for what took longer than the last.
#[derive(Deserialize)]
struct Histogram {
    le: Vec<f64>,
    n: Vec<u64>,
}

/// The judge, once the first line has said what there is.
struct Judged {
    replay: Replay,
    /// The boundaries of all lines.
    boundaries: Vec<f64>,
}

pub(crate) fn run(asked: &Asked) -> Result<Exit, Failure> {
    let settings = Settings {
        alpha: asked.alpha,
        beta: asked.beta,
        odds: asked.odds,
        max_error_rate: asked.max_error_rate.as_deref().map(rate).transpose()?,
        margin: asked.margin.as_deref().map(rate).transpose()?,
        latency: None,
    };
    Replay::new(&settings).map_err(|error| usage(error.to_string()))?;
    let mut lines = open(&asked.file)?;
    let ahead = boundaries_ahead(asked, &settings);
    let mut judged = None;
    let (mut number, mut exit) = (0_u64, DONE);
    let mut text = Vec::new();
    loop {
        if !next(&mut lines, &mut text).map_err(|error| {
            Failure::new(Exit::Internal, "D097", format!("cannot read {}: {error}", asked.file.display()))
        })? {
            return Ok(exit);
        }
        number += 1;
        if text.len() as u64 == LONGEST && text.last() != Some(&b'\n') {
            return Err(usage(format!("line {number} is longer than {LONGEST} bytes: no block is")));
        }
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if let Err(error) = take(&text, asked, &settings, ahead.as_deref(), &mut judged) {
            output::json(&json!({ "line": number, "error": error, "verdict": "blind" }));
            exit = Exit::Usage;
        }
    }
}

/// The next line; whether there was one. One that is too long is cut.
fn next(lines: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<bool> {
    text.clear();
    Ok(io::Read::take(lines, LONGEST).read_until(b'\n', text)? > 0)
}

/// The boundaries of the first latencies that can be judged, wherever in a file they are: what is compared, and with which weight, is
/// fixed before the first block. What is not a file can be read once only: there the first block says it.
fn boundaries_ahead(asked: &Asked, settings: &Settings) -> Option<Vec<f64>> {
    let mut lines = asked.file.metadata().is_ok_and(|file| file.is_file()).then(|| open(&asked.file).ok())??;
    let mut text = Vec::new();
    while next(&mut lines, &mut text).ok()? {
        let Ok(line @ Line { latency: Some(_), .. }) = serde_json::from_slice::<Line>(&text) else { continue };
        let times = milliseconds(&line.from).and_then(|from_ms| Ok((from_ms, milliseconds(&line.to)?)));
        let judged = begin(&line, asked, settings, None).and_then(|mut begun| {
            let (from_ms, to_ms) = times?;
            judge(&mut begun, &line, from_ms, to_ms)?;
            Ok(begun.boundaries)
        });
        if let Ok(boundaries) = judged {
            return Some(boundaries);
        }
    }
    None
}

fn usage(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, "D096", message)
}

/// `1%`, or a fraction.
fn rate(text: &str) -> Result<f64, Failure> {
    let parsed = if text.ends_with('%') { percent(text).ok() } else { text.parse().ok() };
    parsed.ok_or_else(|| usage(format!("`{text}` is no rate: write 1% or 0.01")))
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path).map_err(|error| {
        usage(format!("cannot read {}: {error}", path.display())).hint(
            "a file with a block a line, or - for standard input; a stored rollout is judged by `davy judge rollout`",
        )
    })?;
    Ok(Box::new(BufReader::new(file)))
}

/// Judges one line and tells where the evidence stands.
fn take(
    text: &[u8],
    asked: &Asked,
    settings: &Settings,
    ahead: Option<&[f64]>,
    judged: &mut Option<Judged>,
) -> Result<(), String> {
    let line: Line = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let (from_ms, to_ms) = (milliseconds(&line.from)?, milliseconds(&line.to)?);
    // The first line that is taken fixes what is compared; until one is, each is tried anew.
    let mut begun = match judged.take() {
        Some(begun) => begun,
        None => begin(&line, asked, settings, ahead)?,
    };
    let reading = judge(&mut begun, &line, from_ms, to_ms);
    if begun.replay.has_begun() {
        *judged = Some(begun);
    }
    output::json(&tell(&line.to, &reading?));
    Ok(())
}

fn judge(begun: &mut Judged, line: &Line, from_ms: u64, to_ms: u64) -> Result<Reading, String> {
    let latency = match &line.latency {
        None => None,
        Some(Latency { canary, stable }) => {
            if begun.boundaries.is_empty() {
                return Err("latencies that the first block did not have: what is compared is fixed by it; give it counts of 0, or \
                            give a file, which is read ahead"
                    .to_owned());
            }
            Some((buckets(canary, &begun.boundaries)?, buckets(stable, &begun.boundaries)?))
        }
    };
    let counts = Pair {
        canary: Counts::answered(line.canary.n, line.canary.x),
        stable: Counts::answered(line.stable.n, line.stable.x),
    };
    let latency = latency.as_ref().map(|(canary, stable)| (canary.as_slice(), stable.as_slice()));
    let given = Given { from_ms, to_ms, weight: line.weight, counts, latency };
    begun.replay.add(&given).map_err(|refused| refused.to_string())
}

fn begin(line: &Line, asked: &Asked, settings: &Settings, ahead: Option<&[f64]>) -> Result<Judged, String> {
    let own = line.latency.as_ref().map(|latency| latency.canary.le.as_slice());
    let mut settings = settings.clone();
    if let Some(boundaries) = ahead.or(own) {
        let shift = usize::from(asked.shift.unwrap_or(0));
        let odds = if shift == 0 { SAME_BOUNDARY } else { 1.0 };
        settings.latency = Some(Scale::new(boundaries, shift, odds).map_err(|error| format!("latency: {error}"))?);
    }
    let replay = Replay::new(&settings).map_err(|error| error.to_string())?;
    Ok(Judged { replay, boundaries: ahead.or(own).unwrap_or_default().to_vec() })
}

fn milliseconds(told: &Number) -> Result<u64, String> {
    let seconds = told.as_f64().filter(|seconds| (0.0..=LATEST_S).contains(seconds));
    let wrong = || format!("a time of {told}: seconds since the rollout began are 0 or more");
    seconds.map(|seconds| (seconds * 1_000.0).round() as u64).ok_or_else(wrong)
}

fn buckets(histogram: &Histogram, boundaries: &[f64]) -> Result<Vec<u64>, String> {
    if histogram.le != boundaries {
        return Err("latency: other boundaries than in the first block".to_owned());
    }
    let mut counts = histogram.n.clone();
    match counts.len().checked_sub(boundaries.len()) {
        Some(0) => counts.push(0),
        Some(1) => {}
        _ => {
            let (found, wanted) = (counts.len(), boundaries.len());
            return Err(format!(
                "latency: {found} counts for {wanted} boundaries; give as many, or one more for what took longer"
            ));
        }
    }
    Ok(counts)
}

/// One line of output, in the order in which it is documented.
#[derive(Serialize)]
struct Told<'a> {
    to: &'a Number,
    log_e_rel: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_e_abs: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_e_lat: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_e_safe: Option<f64>,
    log_e: f64,
    verdict: Kind,
    difference: Difference,
    odds_ratio_low: f64,
}

#[derive(Serialize)]
struct Difference {
    estimate: Option<f64>,
    high: f64,
}

fn tell<'a>(to: &'a Number, reading: &Reading) -> Told<'a> {
    let Bounds { difference, odds_ratio_low } = reading.bounds;
    Told {
        to,
        log_e_rel: reading.ln_e_relative,
        log_e_abs: reading.ln_e_absolute,
        log_e_lat: reading.ln_e_latency,
        log_e_safe: reading.ln_e_safe,
        log_e: reading.ln_e,
        verdict: reading.kind,
        difference: Difference { estimate: difference.estimate, high: difference.high },
        odds_ratio_low,
    }
}
