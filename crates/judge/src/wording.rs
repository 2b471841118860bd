//! Sentences for people.

pub(crate) mod doubts;

use crate::counts::{Counts, WHOLE};
use crate::evidence::{Evidence, Harm, Limit, Measure, Metric, Origin, Speed, Standing};
use crate::forecast::Forecast;
use crate::policy::{Budget, Policy};
use crate::ramp::Ramp;
use crate::verdict::Blindness;

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
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
pub(crate) fn percent(rate: f64) -> String {
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
pub(crate) fn odds(ln_e: f64) -> String {
    match ln_e {
        _ if ln_e > libm::log(1e6) => "more than a million to 1".to_owned(),
        _ if ln_e >= libm::log(10.0) => format!("{} to 1", grouped(libm::round(libm::exp(ln_e)) as u64)),
        _ => format!("{:.1} to 1", libm::exp(ln_e)),
    }
}

pub(crate) fn failed(counts: Counts) -> String {
    some_of(counts, "request")
}

/// Failures of requests, or of what else is counted.
fn some_of(counts: Counts, what: &str) -> String {
    match counts.rate() {
        Some(rate) => format!("{} of {} {what}s ({})", grouped(counts.x), grouped(counts.n), percent(rate)),
        None => format!("no {what} yet"),
    }
}

/// A latency, with the digits that a person reads.
fn latency(ms: f64) -> String {
    match ms {
        _ if ms >= 9_950.0 => format!("{:.0} s", ms / 1_000.0),
        _ if ms >= 1_000.0 => format!("{:.1} s", ms / 1_000.0),
        _ if ms >= 10.0 => format!("{ms:.0} ms"),
        _ => format!("{ms:.1} ms"),
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
    let (canary, stable) = (metric.since.canary, metric.since.stable);
    match metric.measure {
        Measure::Metric(index) => format!(
            "in metric {} the canary failed {}, stable {}",
            u16::from(index) + 1,
            some_of(canary, "trial"),
            some_of(stable, "trial")
        ),
        Measure::Latency => {
            let (slow, quick) = metric.thresholds.map_or((0.0, 0.0), |both| (both.canary_ms, both.stable_ms));
            format!(
                "{} of the canary took longer than {}, of stable {} longer than {}",
                failed(canary),
                latency(slow),
                failed(stable),
                latency(quick)
            )
        }
        Measure::SlowLimit => {
            let allowed = evidence.slow_limit.map_or(1.0, |limit| limit.rate);
            format!("{} of the canary were above the latency limit, which allows {}", failed(canary), percent(allowed))
        }
        Measure::Absolute => {
            let (by, allowed) = evidence.limit.map_or(("the limit", 1.0), |limit| (author(limit.origin), limit.rate));
            format!("the canary failed {} where {by} allows {}", failed(canary), percent(allowed))
        }
        Measure::Relative | Measure::Budget => {
            format!("the canary failed {}, stable {}", failed(canary), failed(stable))
        }
    }
}

/// The evidence to tell with a metric, and the line it has to reach: its own for one that crosses alone.
fn against(metric: Option<&Metric>, evidence: &Evidence) -> (String, String) {
    match metric {
        Some(metric) if matches!(metric.measure, Measure::Metric(_)) => (odds(metric.ln_e), odds(metric.ln_needed)),
        _ => (odds(evidence.ln_e), odds(evidence.ln_needed)),
    }
}

fn author(origin: Origin) -> &'static str {
    match origin {
        Origin::User => "the limit",
        Origin::Past => "stable's past",
    }
}

pub(crate) fn harmful(evidence: &Evidence, policy: &Policy) -> String {
    if let ([Measure::Budget], Some(harm)) = (evidence.causes.as_slice(), evidence.harm) {
        return spent(harm, policy);
    }
    let metric = named(evidence);
    let finding = metric.map(|metric| finding(metric, evidence)).unwrap_or_default();
    let (found, needed) = against(metric, evidence);
    format!(
        "Harmful: {finding}; the evidence is {found}, and {needed} is the line that a canary within its limits crosses in at \
         most {} of rollouts.",
        percent(policy.controller()),
    )
}

fn spent(harm: Harm, policy: &Policy) -> String {
    let count = |value: f64| grouped(libm::round(value) as u64);
    match harm.budget {
        Budget::Hard(most) => format!(
            "Harmful: {} requests of the canary failed or were too slow, and the budget is {}, whatever stable does.",
            count(harm.spent),
            grouped(most)
        ),
        Budget::Excess(most) => format!(
            "Harmful: {} requests of the canary failed or were too slow beyond what stable's rate explains, and the budget is \
             {}; the evidence of an excess is {}, and {} is the line that a canary no worse than stable crosses in at most {} \
             of rollouts.",
            count(harm.spent),
            count(most),
            odds(harm.ln_e.unwrap_or_default()),
            odds(harm.ln_needed.unwrap_or_default()),
            percent(policy.harm())
        ),
    }
}

pub(crate) fn blind(why: Blindness, measure: Option<Measure>) -> String {
    let counts = match measure {
        Some(Measure::Latency) => "latencies".to_owned(),
        Some(Measure::SlowLimit) => "counts of slow requests".to_owned(),
        Some(Measure::Metric(index)) => format!("counts of metric {}", u16::from(index) + 1),
        _ => "counts".to_owned(),
    };
    let reason = match why {
        Blindness::Source if matches!(measure, Some(Measure::Latency | Measure::SlowLimit)) => {
            format!("requests came without {counts}")
        }
        Blindness::Source => format!("a source of {counts} failed"),
        Blindness::Silence => format!("no {counts} came in time"),
        Blindness::Nonsense => format!("{counts} came that cannot be true"),
    };
    format!("Blind: {reason}; what is not measured is not healthy, so the weight stays until {counts} come again.")
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
    let shared = |limit: &Limit| limit.standing == Standing::StableFailsToo;
    if metric.measure == Measure::Absolute
        && let Some(limit) = evidence.limit.filter(shared)
    {
        return format!(
            "Undecided: stable fails too: {}, and stable failed {}, above {} itself.",
            finding(metric, evidence),
            failed(metric.since.stable),
            percent(limit.rate)
        );
    }
    if metric.measure == Measure::SlowLimit && evidence.slow_limit.is_some_and(|limit| shared(&limit)) {
        return format!(
            "Undecided: stable is slow too: {}, and so were {} of stable.",
            finding(metric, evidence),
            failed(metric.since.stable)
        );
    }
    let (found, needed) = against(Some(metric), evidence);
    format!(
        "Undecided: {}; the evidence against it is {found} ({needed} would roll back), and no step is left while there is any.",
        finding(metric, evidence),
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
    let quick = match evidence.speed {
        Some(Speed { counts, thresholds: Some(both), .. }) => format!(
            "; {} of the canary took longer than {}, of stable {} longer than {}, which proves it no slower by as much",
            failed(counts.canary),
            latency(both.canary_ms),
            failed(counts.stable),
            latency(both.stable_ms)
        ),
        _ => String::new(),
    };
    format!(
        "Safe: in this step the canary failed {}, stable {}, which proves its failure rate less than {} above stable's{quick}; \
         of a canary that is worse than that this is said in at most {} of rollouts.{}",
        failed(evidence.step.canary),
        failed(evidence.step.stable),
        points(margin),
        percent(policy.beta),
        evidence.ramp.and_then(|ramp| waits(ramp, evidence.promotion?.weight)).unwrap_or_default()
    )
}

/// Why no larger share comes, where that is the budget.
fn waits(ramp: Ramp, present: u16) -> Option<String> {
    let barred = ramp.barred.filter(|_| ramp.next == present)?;
    Some(format!(
        " A larger share waits: at {} a canary {} worse than stable could cost {} failed requests more, and half of what is \
         left of the budget is {}.",
        share(barred.weight),
        points(barred.worse),
        grouped(libm::ceil(barred.harm) as u64),
        grouped(libm::floor(ramp.risk.left.max(0.0) / 2.0) as u64)
    ))
}

pub(crate) fn chosen(ramp: &Ramp) -> String {
    let known = match ramp.risk.worst {
        worst if worst >= 1.0 => "with nothing known of the canary yet".to_owned(),
        worst => format!("with a canary at most {} worse than stable", points(worst)),
    };
    format!(
        "{} of {} requests a second: {known}, that could cost {} failed requests more than stable would, and half of what is \
         left of the budget is {}.",
        share(ramp.next),
        grouped(libm::ceil(ramp.risk.rate) as u64),
        grouped(libm::ceil(ramp.cost) as u64),
        grouped(libm::floor(ramp.risk.left.max(0.0) / 2.0) as u64)
    )
}

/// What a proof still needs, of canary requests that are `healthy`.
fn needs(forecast: Option<Forecast>, healthy: &str) -> String {
    match forecast {
        None => "is out of reach with what has been counted so far".to_owned(),
        Some(Forecast { requests, seconds }) => {
            let time = seconds.map(|seconds| format!(", {} at the present traffic", duration(seconds)));
            let noun = if requests == 1 { "request" } else { "requests" };
            format!("needs about {} more canary {noun} {healthy}{}", grouped(requests), time.unwrap_or_default())
        }
    }
}

pub(crate) fn unproven(evidence: &Evidence, margin: f64, forecast: Option<Forecast>) -> String {
    format!(
        "Undecided: the proof that the canary's failure rate is less than {} above stable's {}; it failed {}, stable {}, in \
         this step.",
        points(margin),
        needs(forecast, "without a failure"),
        failed(evidence.step.canary),
        failed(evidence.step.stable)
    )
}

pub(crate) fn not_proven_quick(speed: &Speed) -> String {
    let Some(both) = speed.thresholds else {
        return "Undecided: stable has answered too few requests to say what is slow.".to_owned();
    };
    format!(
        "Undecided: the proof that the canary's share of requests longer than {} is less than {} above stable's share longer \
         than {} {}; so far {} of the canary were, {} of stable.",
        latency(both.canary_ms),
        points(speed.proof.margin),
        latency(both.stable_ms),
        needs(speed.proof.forecast, "as quick as stable's"),
        failed(speed.counts.canary),
        failed(speed.counts.stable)
    )
}

pub(crate) fn settling() -> String {
    "Undecided: it fails no more than the margin allows, and how long it takes is not known yet: the slow answers at this share are \
     still to come."
        .to_owned()
}

pub(crate) fn unheard(index: u8) -> String {
    format!(
        "Undecided: metric {} has not counted a trial of the canary at this weight; what is not measured is not healthy.",
        u16::from(index) + 1
    )
}

#[cfg(test)]
mod tests {
    use super::{duration, grouped, latency, odds, percent, points};

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
        assert_eq!(latency(3.25), "3.2 ms");
        assert_eq!(latency(512.3), "512 ms");
        assert_eq!(latency(1_234.0), "1.2 s");
        assert_eq!(latency(63_000.0), "63 s");
        assert_eq!(duration(131.0), "2:11 min");
        assert_eq!(duration(3.2), "4 s");
        assert_eq!(odds(libm::log(512.0)), "512 to 1");
        assert_eq!(odds(1e12), "more than a million to 1");
    }
}
