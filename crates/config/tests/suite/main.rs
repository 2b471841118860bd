//! The file from outside: every error with its code and place, every good file read, nothing that panics.

use davy_config::{Diagnostic, explain, explanations, parse, render, schema, template};
use davy_core::{Millis, OnDeadline, Weight};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A code, the line and column it is told at, and a file that has it.
fn bad() -> Vec<(&'static str, usize, usize, Vec<u8>)> {
    let with = |rest: &str| format!("service: x\ncommand: ./a $PORT\n{rest}").into_bytes();
    let deep = |levels: usize| with(&format!("env: {}{}\n", "[".repeat(levels), "]".repeat(levels)));
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for name in 'b'..='h' {
        let before = char::from(name as u8 - 1);
        bomb += &format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(", "));
    }
    vec![
        ("E001", 1, 1, b"# x\n".repeat(2_600_000)),
        ("E002", 2, 1, b"service: x\n\xff\xfe\n".to_vec()),
        ("E002", 1, 1, b"service: x\0\n".to_vec()),
        ("E003", 3, 8, with("files: [a\n")),
        ("E004", 4, 1, with("health:\n\tpath: /\n")),
        ("E005", 3, 69, deep(100)),
        ("E005", 3, 261, deep(10_000)),
        ("E006", 5, 12, bomb.into_bytes()),
        ("E007", 3, 1, with("service: y\n")),
        ("E008", 3, 1, with("---\nservice: y\n")),
        ("E009", 1, 1, b"# nothing\n".to_vec()),
        ("E010", 3, 8, with("files: a\n")),
        ("E010", 1, 1, b"- service: x\n".to_vec()),
        ("E010", 3, 11, with("replicas: two\n")),
        ("E011", 3, 1, with("replicsa: 2\n")),
        ("E011", 3, 22, with("rollout: { canary: { stepz: [1%, 100%] } }\n")),
        ("E012", 2, 1, b"service: x\nimage: nginx\n".to_vec()),
        ("E012", 3, 20, with("rollout: { canary: auto }\n")),
        ("E012", 3, 41, with("environments: { production: { platform: ecs } }\n")),
        ("E013", 1, 1, b"service: x\n".to_vec()),
        ("E014", 3, 28, with("rollout: { canary: { hold: 60 } }\n")),
        ("E014", 3, 30, with("rollout: { canary: { steps: [1, 100] } }\n")),
        ("E015", 3, 11, with("replicas: 0\n")),
        ("E015", 3, 31, with("rollout: { analysis: { alpha: 1 } }\n")),
        ("E016", 3, 34, with("rollout: { canary: { steps: [5%, 1%, 100%] } }\n")),
        ("E016", 3, 29, with("rollout: { canary: { steps: [5%] } }\n")),
        ("E016", 3, 29, with("rollout: { canary: { steps: [100%] } }\n")),
        ("E017", 2, 10, b"service: x\ncommand: ./a --port 8080\n".to_vec()),
        ("E018", 2, 10, b"service: x\ncommand: ./a $PORT $COLOUR\n".to_vec()),
        ("E019", 1, 10, b"service: My_Service\ncommand: ./a $PORT\n".to_vec()),
        ("E020", 2, 10, b"service: x\ncommand: ./a $PORT 'b\n".to_vec()),
        ("E021", 3, 16, with("route: { path: logo }\n")),
    ]
}

fn errors(bytes: &[u8]) -> Vec<Diagnostic> {
    parse(bytes).expect_err("it has errors")
}

#[test]
fn every_error_is_told_with_its_code_its_place_and_what_to_do() {
    for (code, line, column, bytes) in bad() {
        let found = errors(&bytes);
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
        let error = found.iter().find(|error| error.code.to_string() == code);
        let error = error.unwrap_or_else(|| panic!("{code} is not told of {text:?}: {found:#?}"));
        assert_eq!(error.line, line, "{code} {text:?}: {error:#?}");
        assert!(error.column == column, "{code} {text:?}: column {} for {column}", error.column);
        assert!(!error.hint.is_empty(), "{code} says what to do");
        let shown = render(error, &String::from_utf8_lossy(&bytes), "davy.yaml");
        assert!(shown.starts_with(&format!("error[{code}]: ")) && shown.contains("help: "), "{shown}");
    }
}

#[test]
fn every_code_is_produced_and_explained() {
    let mut produced: BTreeSet<String> = bad().iter().map(|(code, ..)| (*code).to_owned()).collect();
    let two = b"service: x\ncommand: ./a $PORT\nenvironments: { a: { platform: local }, b: {} }\n";
    let file = parse(two).expect("a good file");
    for wrong in [file.resolve(None, None), file.resolve(Some("c"), None), file.resolve(Some("a"), Some("y"))] {
        produced.extend(wrong.expect_err("it does not fit").iter().map(|error| error.code.to_string()));
    }
    assert!(file.resolve(Some("b"), Some("x")).is_ok());
    let known: BTreeSet<String> = explanations().iter().map(|known| known.code.to_owned()).collect();
    assert_eq!(produced, known);
    assert!(explain("e014").is_some_and(|known| known.text.contains("60s")));
    assert!(explain("E999").is_none());
}

#[test]
fn all_errors_are_told_at_once_in_order() {
    let found = errors(b"service: x\ncomand: ./a\nrollout:\n  canary:\n    steps: [5%, 1%]\n    hold: 60\n");
    let lines: Vec<_> = found.iter().map(|error| error.line).collect();
    assert_eq!(lines, [1, 2, 5, 6]);
    assert!(found[1].hint.contains("did you mean `command`"));
}

#[test]
fn good_files_are_read_as_they_are_written() {
    let small = parse(b"\xEF\xBB\xBFservice: logo\r\ncommand: ./logo --port $PORT\r\n").expect("a small file");
    let small = small.resolve(None, None).expect("one environment");
    assert_eq!(small.key.to_string(), "production/logo");
    assert_eq!(small.policy, davy_core::Policy::default());
    let full = r#"
service: logo
command: "./logo --port ${PORT} --colour $COLOUR 'two words'"
files: [static]
port: 8080
replicas: 3
health: { path: /healthz, grace: 1m30s, interval: 250ms }
route: { host: Logo.Example.com, path: /shop }
env: { COLOUR: blue, LEVEL: 3, ON: true }
environments: { production: { platform: local } }
rollout:
  canary: { steps: [0.5%, 10%, 100%], hold: 2m, deadline: 1h }
  analysis: { alpha: 0.02, error-rate: { max: 2%, not-worse-than-stable: false } }
  drain: 5s
  bake: 0s
  on-failure: rollback
  on-deadline: rollback
  pause-limit: 2h
"#;
    let full = parse(full.as_bytes()).expect("a full file").resolve(Some("production"), None).expect("it is there");
    let workload = &full.workload;
    assert_eq!(workload.command, ["./logo", "--port", "${PORT}", "--colour", "$COLOUR", "two words"]);
    assert_eq!((workload.replicas, workload.health.grace, workload.health.interval), (3, Millis(90_000), Millis(250)));
    assert_eq!(workload.route.host.as_deref(), Some("logo.example.com"));
    assert_eq!((workload.env["LEVEL"].as_str(), workload.env["ON"].as_str()), ("3", "true"));
    let policy = &full.policy;
    assert_eq!(policy.steps.iter().map(|step| step.basis_points()).collect::<Vec<_>>(), [50, 1_000, 10_000]);
    assert_eq!((policy.on_deadline, policy.bake), (OnDeadline::Rollback, Millis(0)));
    assert_eq!((policy.analysis.alpha, policy.analysis.max_error_rate), (0.02, Some(0.02)));
    assert!(!policy.analysis.not_worse_than_stable && policy.steps.last() == Some(&Weight::ALL));
}

#[test]
fn the_file_that_init_writes_is_good() {
    let file = parse(template("shop", "./shop --title 'It''s' --port $PORT").as_bytes());
    assert!(file.is_ok(), "{file:#?}");
}

/// Regenerate with `DAVY_UPDATE=1 cargo nextest run -p davy-config`.
#[test]
fn the_schema_that_is_checked_in_is_current_and_knows_the_readers_keys() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/davy.schema.json");
    let now = serde_json::to_string_pretty(&schema()).expect("JSON") + "\n";
    if std::env::var_os("DAVY_UPDATE").is_some() {
        std::fs::write(path, &now).expect("written");
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), now, "run it with DAVY_UPDATE=1");
    // What the reader says it knows, against what the schema says.
    let hints = |text: &str| -> BTreeSet<String> {
        let found = errors(text.as_bytes());
        let unknown = found.iter().find(|error| error.code.to_string() == "E011").expect("an unknown key");
        let keys = unknown.hint.rsplit_once(": ").expect("a list").1;
        keys.split(", ").map(str::to_owned).collect()
    };
    let schema = schema();
    let keys = |pointer: &str| -> BTreeSet<String> {
        let properties = schema.pointer(pointer).and_then(|found| found.as_object());
        properties.unwrap_or_else(|| panic!("{pointer} is not in the schema")).keys().cloned().collect()
    };
    let places = [
        ("/properties", "zzzzzz: 1\n".to_owned()),
        ("/$defs/Health/properties", "health: { zzzzzz: 1 }\n".to_owned()),
        ("/$defs/Route/properties", "route: { zzzzzz: 1 }\n".to_owned()),
        ("/$defs/Environment/properties", "environments: { a: { zzzzzz: 1 } }\n".to_owned()),
        ("/$defs/Rollout/properties", "rollout: { zzzzzz: 1 }\n".to_owned()),
        ("/$defs/Canary/properties", "rollout: { canary: { zzzzzz: 1 } }\n".to_owned()),
        ("/$defs/Analysis/properties", "rollout: { analysis: { zzzzzz: 1 } }\n".to_owned()),
        ("/$defs/ErrorRate/properties", "rollout: { analysis: { error-rate: { zzzzzz: 1 } } }\n".to_owned()),
    ];
    for (pointer, text) in places {
        assert_eq!(keys(pointer), hints(&text), "{pointer}");
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_errors_lie_within_the_file(bytes in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "[a-z:{}\\[\\], %$\n'\"&*-]{0,200}".prop_map(String::into_bytes),
        "(service|command|rollout|canary|steps|hold|env|health): ?[a-z0-9%$ {}\\[\\]\n,:]{0,80}".prop_map(String::into_bytes),
    ]) {
        if let Err(found) = parse(&bytes) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let lines = text.lines().count().max(1);
            prop_assert!(!found.is_empty());
            for error in found {
                prop_assert!((1..=lines).contains(&error.line) && error.column >= 1, "{:?} of {:?}", error, text);
                let _ = render(&error, &text, "davy.yaml");
            }
        }
    }
}
