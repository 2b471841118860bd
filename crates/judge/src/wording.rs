//! Sentences for people.

use crate::counts::{Counts, WHOLE};
use crate::evidence::{Evidence, Measure, Metric, Origin, Standing};
use crate::forecast::Forecast;
use crate::policy::Policy;
use crate::verdict::Blindness;

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A fraction as a percentage, with the digits that a person reads.
fn percent(rate: f64) -> String {
    let value = 100.0 * rate;
    let decimals = match value {
        _ if value >= 10.0 => 1,
        _ if value >= 0.1 || value == 0.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A difference of rates. Percent would be taken for a ratio.
fn points(difference: f64) -> String {
    let number = percent(difference);
    let number = number.trim_end_matches(" %");
    format!("{number} percentage point{}", if number == "1" { "" } else { "s" })
}

/// Basis points as a percentage.
fn share(weight: u16) -> String {
    percent(f64::from(weight) / f64::from(WHOLE))
}

/// `ln e` as odds against chance.
fn odds(ln_e: f64) -> String {
    match ln_e {
        _ if ln_e > libm::log(1e6) => "more than a million to 1".to_owned(),
        _ if ln_e >= libm::log(10.0) => format!("{} to 1", grouped(libm::round(libm::exp(ln_e)) as u64)),
        _ => format!("{:.1} to 1", libm::exp(ln_e)),
    }
}

fn failed(counts: Counts) -> String {
    match counts.rate() {
        Some(rate) => format!("{} of {} requests ({})", grouped(counts.x), grouped(counts.n), percent(rate)),
        None => "no request yet".to_owned(),
    }
}

fn duration(seconds: f64) -> String {
    let seconds = libm::ceil(seconds) as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// The metric to name: a cause, else the suspect.
fn named(evidence: &Evidence) -> Option<&Metric> {
    let measure = evidence.causes.first().copied().or(evidence.suspect)?;
    evidence.metrics.iter().find(|metric| metric.measure == measure)
}

fn finding(metric: &Metric, evidence: &Evidence) -> String {
    let canary = failed(metric.since.canary);
    match (metric.measure, evidence.limit) {
        (Measure::Absolute, Some(limit)) => {
            format!("the canary failed {canary} where {} allows {}", author(limit.origin), percent(limit.rate))
        }
        _ => format!("the canary failed {canary}, stable {}", failed(metric.since.stable)),
    }
}

fn author(origin: Origin) -> &'static str {
    match origin {
        Origin::User => "the limit",
        Origin::Past => "stable's past",
    }
}

pub(crate) fn harmful(evidence: &Evidence, policy: &Policy) -> String {
    let finding = named(evidence).map(|metric| finding(metric, evidence)).unwrap_or_default();
    format!(
        "Harmful: {finding}; the evidence is {}, and {} is the line that a canary within its limits crosses in at most \
         {} of rollouts.",
        odds(evidence.ln_e),
        odds(evidence.ln_needed),
        percent(policy.controller()),
    )
}

pub(crate) fn blind(why: Blindness) -> String {
    let reason = match why {
        Blindness::Source => "a source of counts failed",
        Blindness::Silence => "no counts came in time",
        Blindness::Nonsense => "counts came that cannot be true",
    };
    format!("Blind: {reason}; what is not measured is not healthy, so the weight stays until counts come again.")
}

pub(crate) fn no_traffic(weight: u16, quiet_ms: u64) -> String {
    format!(
        "No traffic: no request has come to the canary for {} at {}; time alone proves nothing.",
        duration(quiet_ms as f64 / 1_000.0),
        share(weight)
    )
}

pub(crate) fn nothing_yet() -> String {
    "Undecided: nothing has been counted yet.".to_owned()
}

pub(crate) fn no_share() -> String {
    "Undecided: the canary has no share of the traffic.".to_owned()
}

pub(crate) fn amber(evidence: &Evidence) -> String {
    let Some(metric) = named(evidence) else { return nothing_yet() };
    if let Some(limit) = evidence.limit.filter(|limit| limit.standing == Standing::StableFailsToo)
        && metric.measure == Measure::Absolute
    {
        return format!(
            "Undecided: stable fails too: {}, and stable failed {}, above {} itself.",
            finding(metric, evidence),
            failed(metric.since.stable),
            percent(limit.rate)
        );
    }
    format!(
        "Undecided: {}; the evidence against it is {} ({} would roll back), and no step is left while there is any.",
        finding(metric, evidence),
        odds(evidence.ln_e),
        odds(evidence.ln_needed)
    )
}

pub(crate) fn against_the_past(evidence: &Evidence) -> String {
    match evidence.limit {
        None => {
            "Undecided: at 100 % there is nothing beside the canary to compare with, and stable's past is too short \
                 or too bad to derive a limit from; a person has to decide."
                .to_owned()
        }
        Some(limit) => format!(
            "Undecided: at 100 % the canary is judged against the past: it failed {}, {} allows {}, and one whole hold \
             without evidence against it ends the rollout.",
            failed(evidence.step.canary),
            author(limit.origin),
            percent(limit.rate)
        ),
    }
}

pub(crate) fn hanging(evidence: &Evidence) -> String {
    format!(
        "Undecided: {} requests of the canary are unanswered, far beyond its share beside stable's {}; they may yet fail, \
         and no step is left until they have ended.",
        grouped(evidence.canary_in_flight),
        grouped(evidence.stable_in_flight)
    )
}

pub(crate) fn safe(evidence: &Evidence, margin: f64, policy: &Policy) -> String {
    format!(
        "Safe: in this step the canary failed {}, stable {}, which proves its failure rate less than {} above stable's; \
         of a canary that is worse than that this is said in at most {} of rollouts.",
        failed(evidence.step.canary),
        failed(evidence.step.stable),
        points(margin),
        percent(policy.beta)
    )
}

pub(crate) fn unproven(evidence: &Evidence, margin: f64, forecast: Option<Forecast>) -> String {
    let needs = match forecast {
        None => "is out of reach with what has failed so far".to_owned(),
        Some(Forecast { requests, seconds }) => {
            let time = seconds.map(|seconds| format!(", {} at the present traffic", duration(seconds)));
            let noun = if requests == 1 { "request" } else { "requests" };
            format!(
                "needs about {} more canary {noun} without a failure{}",
                grouped(requests),
                time.unwrap_or_default()
            )
        }
    };
    format!(
        "Undecided: the proof that the canary's failure rate is less than {} above stable's {needs}; it failed {}, \
         stable {}, in this step.",
        points(margin),
        failed(evidence.step.canary),
        failed(evidence.step.stable)
    )
}

#[cfg(test)]
mod tests {
    use super::{duration, grouped, odds, percent, points};

    #[test]
    fn numbers_as_people_read_them() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(12), "12");
        assert_eq!(percent(0.05), "5 %");
        assert_eq!(percent(0.002), "0.2 %");
        assert_eq!(percent(0.12345), "12.3 %");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.00012), "0.012 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(points(0.01), "1 percentage point");
        assert_eq!(points(0.002), "0.2 percentage points");
        assert_eq!(duration(131.0), "2:11 min");
        assert_eq!(duration(3.2), "4 s");
        assert_eq!(odds(libm::log(512.0)), "512 to 1");
        assert_eq!(odds(1e12), "more than a million to 1");
    }
}
