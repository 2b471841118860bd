//! A policy in the words of the file, whole: what the form asks for, and what it has no field for.

use davy_core::{Analysis, Budget, CanaryStep, Policy, Scale, Strategy};
use serde::Serialize;

/// What is said where nothing is.
const NONE: &str = "none";

/// What of a policy the form asks for.
pub(super) fn asked(policy: &Policy) -> [(&'static str, String); 9] {
    let steps = match &policy.strategy {
        Strategy::Canary(canary) if canary.auto => "auto".to_owned(),
        Strategy::Canary(canary) => {
            canary.steps.iter().map(|step| step.weight.to_string()).collect::<Vec<_>>().join(", ")
        }
        _ => NONE.to_owned(),
    };
    let analysis = &policy.analysis;
    let budget = analysis.harm_budget.map(|budget| match budget {
        Budget::Excess(failures) => failures.to_string(),
        Budget::Hard(failures) => format!("{failures}, hard"),
    });
    let latency = analysis.latency.as_ref().map(|limit| format!("p{} {}", limit.percentile, limit.most));
    [
        ("strategy", policy.strategy.as_str().to_owned()),
        ("steps", steps),
        ("hold", policy.hold.to_string()),
        ("deadline", policy.deadline.to_string()),
        ("error-rate.max", or_none(analysis.max_error_rate.map(percent))),
        ("latency", or_none(latency)),
        ("harm-budget", or_none(budget)),
        ("drain", policy.drain.to_string()),
        ("bake", policy.bake.to_string()),
    ]
}

/// What it does not ask for. Of one strategy's own settings nothing is told beside another's.
pub(super) fn beyond(policy: &Policy, other: &Policy) -> Vec<(&'static str, String)> {
    // Every field by its name, so that a new one is not forgotten here; those of the form are told above.
    let Policy { strategy, on_deadline, pause_limit, analysis, notify, hold: _, deadline: _, drain: _, bake: _ } =
        policy;
    let Analysis {
        alpha,
        beta,
        not_worse_than_stable,
        slo,
        margin,
        not_slower_than,
        burst,
        metrics,
        source,
        max_error_rate: _,
        harm_budget: _,
        latency: _,
    } = analysis;
    let source = source.as_ref().map(|source| {
        let token = source.token.as_ref().map(|token| format!(", with {}", token.name)).unwrap_or_default();
        format!("{}, every {}{token}", source.prometheus, source.interval)
    });
    let mut all = vec![
        ("on-deadline", json(on_deadline)),
        ("pause-limit", pause_limit.to_string()),
        ("analysis.alpha", alpha.to_string()),
        ("analysis.beta", beta.to_string()),
        ("analysis.margin", or_none(margin.map(percent))),
        ("analysis.slo", or_none(slo.map(percent))),
        ("analysis.error-rate.not-worse-than-stable", not_worse_than_stable.to_string()),
        ("analysis.latency.not-slower-than", or_none(not_slower_than.map(|times| format!("{times}x")))),
        ("analysis.burst", burst.to_string()),
        ("analysis.metrics", joined(metrics.iter().map(|metric| metric.name.clone()))),
        ("environments.metrics", or_none(source)),
        ("notify", joined(notify.iter().map(|channel| format!("{channel} on {}", json(&channel.on))))),
    ];
    match strategy {
        _ if strategy.as_str() != other.strategy.as_str() => {}
        Strategy::Canary(canary) => {
            all.push(("canary.sticky", canary.sticky.to_string()));
            let own = canary.steps.iter().filter(|step| **step != CanaryStep::at(step.weight));
            let own = own.map(|CanaryStep { weight, scale, matches, mirror }| {
                let scale =
                    Some(scale).filter(|scale| **scale != Scale::All).map(|scale| format!(" scale {}", json(scale)));
                let matches = Some(matches).filter(|all| !all.is_empty()).map(|all| format!(" match {}", json(all)));
                let mirror = mirror.map(|mirror| format!(" mirror {}", json(&mirror)));
                let parts = [scale, matches, mirror].into_iter().flatten();
                format!("{weight}:{}", parts.collect::<String>())
            });
            all.push(("canary.steps", joined(own)));
        }
        Strategy::BlueGreen(own) => all.push(("blue-green", json(own))),
        Strategy::Rolling(own) => all.push(("rolling", json(own))),
        Strategy::Recreate => {}
    }
    all
}

/// A fraction, without what binary fractions make of it.
fn percent(fraction: f64) -> String {
    format!("{}%", (fraction * 1e11).round() / 1e9)
}

fn or_none(text: Option<String>) -> String {
    text.unwrap_or_else(|| NONE.to_owned())
}

fn joined(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    if all.is_empty() { NONE.to_owned() } else { all.join("; ") }
}

/// Without the quotes around a word.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default().trim_matches('"').to_owned()
}
