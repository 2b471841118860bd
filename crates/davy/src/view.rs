//! A rollout in words: what a person reads while it goes on. Pure: text from what the API said.

use davy_core::{
    Timestamp, Weight,
    rollout::{PauseReason, RequestKind},
};
use davy_engine::MetricSeen;
use davy_judge::Kind;
use davy_ports::Tries;
use davy_server::wire::{Counted, Rollout};

/// The verdict's word.
pub(crate) const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Harmful => "harmful",
        Kind::Safe => "safe",
        Kind::Undecided => "undecided",
        Kind::NoTraffic => "no traffic",
        Kind::Blind => "blind",
    }
}

/// The whole view, a line each.
pub(crate) fn lines(rollout: &Rollout, width: usize) -> Vec<String> {
    let mut lines = vec![headline(rollout)];
    lines.push(format!("  weight   {}", weights(rollout)));
    lines.push(format!("  canary   {}", counted(rollout.canary)));
    lines.push(format!("  stable   {}", counted(rollout.stable)));
    if rollout.aside.requests > 0 {
        lines.push(format!("  aside    {} (matched or copied: no evidence)", counted(rollout.aside)));
    }
    if !rollout.preview.is_empty() {
        lines.push(format!("  preview  {}", rollout.preview.join(", ")));
    }
    for metric in &rollout.metrics {
        lines.push(format!("  metric   {}", measured(metric)));
    }
    for (index, told) in rollout.explained.iter().enumerate() {
        lines.push(format!("  {}{told}", if index == 0 { "verdict  " } else { "         " }));
    }
    if let Some(pause) = &rollout.paused {
        lines.push(format!("  paused   {}", paused(&pause.why)));
    }
    if let Some(why) = &rollout.why {
        lines.push(format!("  why      {why}"));
    }
    if !rollout.router.is_empty() && rollout.router != "serves the split" {
        lines.push(format!("  router   {}", rollout.router));
    }
    if let Some(stuck) = &rollout.stuck {
        lines.push(format!("  stuck    nothing can be written: {stuck}"));
    }
    lines.push(format!("  next     {}", next(rollout)));
    lines.iter().map(|line| clip(line, width)).collect()
}

/// The whole view as one line, for a log.
pub(crate) fn line(rollout: &Rollout) -> String {
    let verdict = rollout.judged.as_ref().map_or("no verdict yet", |verdict| word(verdict.kind));
    format!(
        "{}: {}; canary {} of {} failed, stable {} of {}; {verdict}; next: {}",
        rollout.state,
        weights(rollout),
        rollout.canary.failed,
        rollout.canary.requests,
        rollout.stable.failed,
        rollout.stable.requests,
        next(rollout),
    )
}

fn headline(rollout: &Rollout) -> String {
    let from = rollout.from.as_ref().map_or_else(String::new, |from| format!(" (stable {from})"));
    format!("{}/{}: release {}{from}: {}", rollout.environment, rollout.service, rollout.release, rollout.state)
}

pub(crate) fn weights(rollout: &Rollout) -> String {
    if rollout.next.is_none() {
        return rollout.weight.intended.to_string();
    }
    let observed = rollout.weight.observed.map_or_else(|| "not seen yet".to_owned(), |share| format!("{share} seen"));
    let steps: Vec<String> = rollout
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| if index == rollout.step { format!("[{step}]") } else { step.to_string() })
        .collect();
    let path = if steps.len() > 1 { format!("   {}", path(&steps, rollout.step)) } else { String::new() };
    format!("{} asked, {observed}{path}", rollout.weight.intended)
}

/// The steps; of many, those about the present one, and the last.
fn path(steps: &[String], at: usize) -> String {
    const MOST: usize = 8;
    if steps.len() <= MOST {
        return steps.join(" → ");
    }
    let (from, to) = (at.saturating_sub(1), (at + 2).min(steps.len()));
    let before = (from > 0).then_some("…").into_iter();
    let about = steps.get(from..to).unwrap_or_default().iter().map(String::as_str);
    let after = match steps.len() - to {
        0 => Vec::new(),
        1 => vec![steps[to].as_str()],
        _ => vec!["…", steps[steps.len() - 1].as_str()],
    };
    before.chain(about).chain(after).collect::<Vec<_>>().join(" → ")
}

fn counted(counted: Counted) -> String {
    let Counted { requests, failed } = counted;
    if requests == 0 {
        return "no requests yet".to_owned();
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with two decimals")]
    let share = failed as f64 * 100.0 / requests as f64;
    format!("{failed} of {requests} requests failed ({share:.2} %)")
}

fn measured(metric: &MetricSeen) -> String {
    let MetricSeen { name, canary, stable, blind } = metric;
    match blind {
        Some(why) => format!("{name} cannot be measured: {why}"),
        None => {
            let counts = |tries: &Tries| format!("{} of {} failed", tries.failed, tries.of);
            format!("{name}: {}, stable {}", counts(canary), counts(stable))
        }
    }
}

fn paused(why: &PauseReason) -> String {
    match why {
        PauseReason::Person { by } => format!("{by} asked"),
        PauseReason::Deadline { why } => format!("the deadline passed: {why}"),
        PauseReason::Router { why } => format!("the router refused: {why}"),
    }
}

/// Why a rollout ended or waits, for a person.
pub(crate) fn because(rollout: &Rollout) -> String {
    match (&rollout.why, &rollout.paused) {
        (Some(why), _) => why.clone(),
        (None, Some(pause)) => paused(&pause.why),
        _ if rollout.request == RequestKind::Rollback => "the earlier release serves again".to_owned(),
        _ if rollout.from.is_none() => "the first release serves".to_owned(),
        _ => "every step was passed".to_owned(),
    }
}

fn next(rollout: &Rollout) -> String {
    let Some(next) = &rollout.next else { return "nothing: it is over".to_owned() };
    let mut text = next.what.clone();
    if let Some(at) = next.at {
        text.push_str(&in_time(rollout.now, at));
    }
    if rollout.state == "holding"
        && let Some(deadline) = rollout.deadline
        && rollout.weight.intended < Weight::ALL
    {
        text.push_str(&format!("; deadline{}", in_time(rollout.now, deadline)));
    }
    text
}

fn in_time(now: Timestamp, at: Timestamp) -> String {
    let left = at.since(now);
    if left.0 == 0 { String::new() } else { format!(" (in {})", davy_core::Millis::seconds(left.0.div_ceil(1000))) }
}

fn clip(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn a_long_path_is_shown_where_it_is() {
        let steps: Vec<String> = (0..19).map(|step| step.to_string()).collect();
        assert_eq!(path(&steps[..3], 1), "0 → 1 → 2");
        assert_eq!(path(&steps, 0), "0 → 1 → … → 18");
        assert_eq!(path(&steps, 6), "… → 5 → 6 → 7 → … → 18");
        assert_eq!(path(&steps, 16), "… → 15 → 16 → 17 → 18");
        assert_eq!(path(&steps, 18), "… → 17 → 18");
    }
}
