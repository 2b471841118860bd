//! The text of `davy.yaml`.

use davy_config::{File, note, parse, render, template};
use davy_core::{Policy, Strategy};
use davy_judge::{Counts, Judge, Window};

/// It is read or refused, never a panic; what is refused has its place in the text; what is accepted can be deployed, and is the
/// same when it comes out of JSON again, as it does in the journal.
pub(crate) fn body(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let refused = match parse(bytes) {
        Ok(file) => {
            accepted(&file, &text);
            commanded(&text);
            return;
        }
        Err(errors) => errors,
    };
    assert!(!refused.is_empty() && refused.len() <= 100, "{} reasons", refused.len());
    let lines: Vec<usize> = lines(&text).map(|line| line.chars().count()).collect();
    for error in &refused {
        assert!((1..=lines.len().max(1)).contains(&error.line), "{error:?} of {} lines", lines.len());
        let width = lines.get(error.line - 1).copied().unwrap_or_default();
        assert!((1..=width + 1).contains(&error.column), "{error:?} in a line of {width}");
        assert!(error.length >= 1, "{error:?}");
        for told in [&error.message, &error.hint] {
            assert!(!told.chars().any(char::is_control), "{told:?}");
        }
        let shown = render(error, &text, "davy.yaml");
        assert!(shown.lines().count() <= 6 && shown.contains("help: "), "{shown}");
    }
    commanded(&text);
}

/// As YAML counts them, without a byte order mark.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else { return rest.take() };
        let after = &text[end..];
        rest = Some(after.strip_prefix("\r\n").unwrap_or(&after[1..]));
        Some(&text[..end])
    })
}

fn accepted(file: &File, text: &str) {
    for told in file.notes() {
        assert!(note(told, text, "davy.yaml").contains("note["));
    }
    assert!(!file.environments().is_empty(), "it can be deployed somewhere");
    for environment in file.environments() {
        let found = file.resolve(Some(environment.as_str()), None).expect("an environment of its own list");
        let (workload, policy) = (&found.workload, &found.policy);
        assert!((1..=100).contains(&workload.replicas), "{} replicas", workload.replicas);
        assert!(workload.route.path.starts_with('/'), "{:?}", workload.route);
        let policy_again = serde_json::to_string(policy).and_then(|json| serde_json::from_str(&json));
        assert_eq!(policy_again.ok().as_ref(), Some(policy), "a policy comes out of the journal as it went in");
        let again = serde_json::to_string(workload).and_then(|json| serde_json::from_str(&json));
        assert_eq!(again.ok().as_ref(), Some(workload), "a workload comes out of the journal as it went in");
        judged(policy);
        for old in [None, Some(1), Some(workload.replicas)] {
            let kind = davy_core::rollout::RequestKind::Deploy;
            let plan = davy_core::rollout::plan(policy, kind, workload.replicas, old);
            assert_eq!(plan.last().map(|step| step.weight), Some(davy_core::Weight::ALL), "every plan ends whole");
            let _ = davy_core::rollout::too_slow(policy, &plan, 10.0);
        }
        if let Strategy::Canary(canary) = &policy.strategy {
            assert!(canary.steps.windows(2).all(|pair| pair[0].weight <= pair[1].weight), "weights rise");
        }
    }
    file.clone().with_image("logo:2.0").ok();
}

/// What is accepted can be promised, and a verdict by it comes out of the journal as it went in.
fn judged(policy: &Policy) {
    let mut judge = Judge::new(policy.judge()).expect("what is accepted can be promised");
    for second in 0..3 {
        judge.observe(&Window {
            epoch: 1,
            weight: 1_000,
            from_ms: second * 1_000,
            to_ms: (second + 1) * 1_000,
            canary: Counts::answered(100, 3),
            stable: Counts::answered(900, 2),
        });
        let verdict = judge.verdict();
        let again = serde_json::to_string(&verdict).and_then(|json| serde_json::from_str(&json));
        assert_eq!(again.ok(), Some(verdict));
    }
}

/// Its first line as a command to start a file from.
fn commanded(text: &str) {
    let command = text.lines().next().unwrap_or_default();
    let drafted = template("shop", command);
    if let Ok(file) = parse(drafted.as_bytes()) {
        file.resolve(None, Some("shop")).expect("the service that it was drafted for");
    }
    davy_config::duration(command).ok();
}
