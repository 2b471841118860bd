//! What a verdict rests on besides its sentence: each metric in plain words. It goes by what the evidence says of itself as JSON,
//! as others read it, so that a measure that is new needs no words here to be shown.

use super::format::{count, odds};
use davy_core::Analysis;
use davy_judge::{Calibration, Difference, Evidence, Verdict};
use serde_json::Value;

/// How much the versions differ, and whether what the figures assume was checked; then a line for each metric where there are more than those of the verdict's own sentence, for the budget and the proof of speed. The sentence itself has the
/// forecast.
#[must_use]
pub fn lines(verdict: &Verdict, analysis: &Analysis) -> Vec<String> {
    let Ok(evidence) = serde_json::to_value(&verdict.evidence) else { return Vec::new() };
    let mut lines: Vec<String> = difference(&verdict.evidence).into_iter().collect();
    let metrics = evidence["metrics"].as_array().map(Vec::as_slice).unwrap_or_default();
    let plain = |metric: &&Value| metric["measure"] == "relative" || metric["measure"] == "absolute";
    if !metrics.iter().all(|metric| plain(&metric)) {
        lines.extend(metrics.iter().map(|metric| measure(metric, analysis)));
    }
    let harm = &evidence["harm"];
    if let Some(spent) = harm["spent"].as_f64() {
        let (kind, most) = match (&harm["budget"]["excess"], &harm["budget"]["hard"]) {
            (Value::Number(most), _) => ("in excess of stable's", most.as_f64()),
            (_, most) => ("", most.as_f64()),
        };
        let most = most.map_or_else(String::new, |most| format!(" of {most}"));
        lines.push(format!("harm budget: {spent:.1}{most} failures {kind} spent").replace("  ", " "));
    }
    let proof = &evidence["speed"]["proof"];
    if let (Some(found), Some(needed)) = (proof["ln_e"].as_f64(), proof["ln_needed"].as_f64()) {
        lines.push(format!("proof that it is not slower {}, passes at {}", odds(found), odds(needed)));
    }
    lines.extend(checks(&verdict.evidence));
    lines
}

/// The range that the canary's failure rate is in; none before anything is known.
fn difference(evidence: &Evidence) -> Option<String> {
    let Difference { estimate, low, high } = evidence.bounds.difference;
    let counted = estimate.filter(|estimate| estimate.abs() >= 0.000_005);
    let counted = counted.map(|estimate| format!(" (as counted {:+.3} percentage points)", 100.0 * estimate));
    (low > -1.0 || high < 1.0)
        .then(|| format!("the canary's failure rate is {}{}", evidence.bounds, counted.unwrap_or_default()))
}

/// Whether what the figures assume was checked; nothing before the first block.
fn checks(evidence: &Evidence) -> Option<String> {
    let audit = match evidence.calibration {
        Calibration::Audited => "stable's instances agree with one another",
        Calibration::Unaudited => "stable's instances are too few to be compared with one another (four are needed)",
        Calibration::Uncalibrated => "stable's instances do NOT agree with one another: chances of error may be larger",
    };
    let split = evidence.sample_ratio.filter(|ratio| ratio.routed > 0).map(|ratio| {
        let so = if ratio.wrong { "the split is NOT the one configured" } else { "the split is as configured" };
        let due = format!("{:.0}", ratio.due).parse().map_or_else(|_| format!("{:.0}", ratio.due), count);
        format!("; {so}: {} of {} requests to the canary, {due} due", count(ratio.given), count(ratio.routed))
    });
    (evidence.blocks > 0).then(|| format!("checked: {audit}{}", split.unwrap_or_default()))
}

/// A metric's name for a person.
#[must_use]
pub fn name(measure: &Value, analysis: &Analysis) -> String {
    if let Some(index) = measure["metric"].as_u64() {
        let metric = usize::try_from(index).ok().and_then(|index| analysis.metrics.get(index));
        return format!("metric {}", metric.map_or_else(|| (index + 1).to_string(), |metric| metric.name.clone()));
    }
    match measure.as_str().unwrap_or_default() {
        "relative" => "failures against stable's".to_owned(),
        "absolute" => "failures against their limit".to_owned(),
        "latency" => "latency against stable's".to_owned(),
        "slow-limit" => "slow requests against their limit".to_owned(),
        other => other.replace('-', " "),
    }
}

fn measure(metric: &Value, analysis: &Analysis) -> String {
    let name = name(&metric["measure"], analysis);
    let number = |field: &str| metric[field].as_f64().unwrap_or_default();
    let counts = |version: &str| {
        let counts = &metric["since"][version];
        let (failed, all) = (counts["x"].as_u64().unwrap_or_default(), counts["n"].as_u64().unwrap_or_default());
        format!("{} of {}", count(failed), count(all))
    };
    format!(
        "{name}: {} against {}, evidence {}, rolls back alone at {}",
        counts("canary"),
        counts("stable"),
        odds(number("ln_e")),
        odds(number("ln_needed"))
    )
}
