//! The schema and the reference: current, and the same as what the reader knows.
//! `DAVY_UPDATE=1 cargo nextest run -p davy-config` writes both anew.

use crate::{
    bad::corpus,
    yaml::{is_valid, json},
};
use davy_config::{parse, reference, schema};
use serde_json::Value;
use std::{collections::BTreeSet, env, fs, path::PathBuf};

const AGAIN: &str = "write it anew with: DAVY_UPDATE=1 cargo nextest run -p davy-config";

fn path(of: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(of)
}

#[test]
fn the_schema_in_the_repository_is_current() {
    let path = path("davy.schema.json");
    if env::var_os("DAVY_UPDATE").is_some() {
        fs::write(&path, format!("{:#}\n", schema())).unwrap();
    }
    let stored: Value = serde_json::from_str(&fs::read_to_string(path).unwrap_or_default()).unwrap_or_default();
    assert!(stored == schema(), "the schema changed: {AGAIN}");
}

#[test]
fn the_reference_is_current() {
    let path = path("../../docs/file.md");
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- generated: keys and codes -->\n", "<!-- generated: end -->");
    let (before, rest) = text.split_once(begin).expect("docs/file.md has a generated part");
    let (_, after) = rest.split_once(end).expect("docs/file.md has a generated part");
    let current = format!("{before}{begin}{}{end}{after}", reference());
    if env::var_os("DAVY_UPDATE").is_some() {
        fs::write(&path, &current).unwrap();
    } else {
        assert!(text == current, "the keys or codes changed: {AGAIN}");
    }
}

#[test]
fn the_reference_shows_a_file_without_errors() {
    let read = |of| fs::read_to_string(path(of)).unwrap();
    let text = read("../../docs/file.md") + &read("../../docs/strategies.md");
    let examples: Vec<_> = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 5);
    for example in examples {
        parse(example.as_bytes()).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert!(is_valid(&schema(), &schema(), &json(example)));
    }
}

/// A path to a mapping in the schema, and a file with a key there that cannot be.
const PLACES: [(&str, &str); 21] = [
    ("/properties", "zzzzzzzz: 1"),
    ("/$defs/Resources/properties", "image: logo:2\nresources: { zzzzzzzz: 1 }"),
    ("/$defs/Health/properties", "health: { zzzzzzzz: 1 }"),
    ("/$defs/Route/properties", "route: { zzzzzzzz: 1 }"),
    ("/$defs/Secret/properties", "secrets: [{ name: A, zzzzzzzz: 1 }]"),
    ("/$defs/Environment/properties", "environments: { production: { zzzzzzzz: 1 } }"),
    (
        "/$defs/MetricSource/properties",
        "environments: { production: { metrics: { zzzzzzzz: 1, prometheus: 'http://a' } } }",
    ),
    ("/$defs/Rollout/properties", "rollout: { zzzzzzzz: 1 }"),
    ("/$defs/Canary/properties", "rollout: { canary: { zzzzzzzz: 1 } }"),
    ("/$defs/Step/properties", "rollout: { canary: { steps: [{ weight: 1%, zzzzzzzz: 1 }, 100%] } }"),
    (
        "/$defs/Match/properties",
        "rollout: { canary: { steps: [{ weight: 1%, match: { zzzzzzzz: 1, host: a.b } }, 100%] } }",
    ),
    ("/$defs/Mirror/properties", "rollout: { canary: { steps: [{ weight: 1%, mirror: { zzzzzzzz: 1 } }, 100%] } }"),
    ("/$defs/BlueGreen/properties", "rollout: { blue-green: { zzzzzzzz: 1 } }"),
    ("/$defs/Rolling/properties", "rollout: { rolling: { zzzzzzzz: 1 } }"),
    ("/$defs/Recreate/properties", "rollout: { recreate: { zzzzzzzz: 1 } }"),
    ("/$defs/Analysis/properties", "rollout: { analysis: { zzzzzzzz: 1 } }"),
    ("/$defs/HardBudget/properties", "rollout: { analysis: { harm-budget: { zzzzzzzz: 1, hard: 5 } } }"),
    ("/$defs/Latency/properties", "rollout: { analysis: { latency: { zzzzzzzz: 1 } } }"),
    (
        "/$defs/Metric/properties",
        "rollout: { analysis: { metrics: [{ zzzzzzzz: 1, name: a, prometheus: 'a{r=\"$release\"}', of: 'b{r=\"$release\"}' }] } }\nenvironments: { a: { metrics: { prometheus: 'http://a' } } }",
    ),
    ("/$defs/Channel/properties", "notify: [{ zzzzzzzz: 1, slack: $A }]"),
    ("/$defs/ErrorRate/properties", "rollout: { analysis: { error-rate: { zzzzzzzz: 1 } } }"),
];

#[test]
fn the_reader_knows_the_keys_of_the_schema_and_no_others() {
    let schema = schema();
    for (place, line) in PLACES {
        let command = if line.contains("image") { "" } else { "command: ./logo $PORT\n" };
        let file = format!("service: logo\n{command}{line}\n");
        let errors = parse(file.as_bytes()).unwrap_err();
        let [error] = errors.as_slice() else { panic!("{errors:?}") };
        let read: BTreeSet<&str> = error.hint.trim_start_matches("here there are ").split(", ").collect();
        let said = schema.pointer(place).unwrap().as_object().unwrap().keys().map(String::as_str);
        assert_eq!(read, said.collect(), "{place}");
    }
    let mappings = schema["$defs"].as_object().unwrap().values().filter(|definition| definition["type"] == "object");
    assert_eq!(mappings.count() + 1, PLACES.len(), "a mapping is not tested");
}

#[test]
fn every_key_is_described() {
    let schema = schema();
    for (place, _) in PLACES {
        for (key, property) in schema.pointer(place).unwrap().as_object().unwrap() {
            assert!(property["description"].as_str().is_some_and(|text| text.len() > 15), "{place}: {key}");
        }
    }
}

/// Every default that the schema names, as JSON, which is YAML too.
#[test]
fn the_schemas_defaults_are_the_readers() {
    let schema = schema();
    let mut written = defaults(&schema, &schema);
    written["service"] = "logo".into();
    written["command"] = "./logo $PORT".into();
    written.as_object_mut().unwrap().remove("resources");
    // Latency is looked at where it stands, and not without it.
    written["rollout"]["analysis"].as_object_mut().unwrap().remove("latency");
    let count = written.to_string().matches(':').count();
    assert!(count > 20, "{written:#}");
    let read = |text: &str| parse(text.as_bytes()).and_then(|file| file.resolve(None, None)).unwrap();
    assert_eq!(read(&format!("{written:#}")), read("service: logo\ncommand: ./logo $PORT\n"));
}

#[test]
fn the_other_strategies_defaults_are_the_readers() {
    let schema = schema();
    let read = |text: &str| parse(text.as_bytes()).and_then(|file| file.resolve(None, None)).unwrap();
    for (strategy, place) in [("blue-green", "BlueGreen"), ("rolling", "Rolling"), ("recreate", "Recreate")] {
        let mapping = schema.pointer(&format!("/$defs/{place}")).unwrap();
        let written = defaults(&schema, mapping);
        assert!(written.as_object().unwrap().len() >= 2, "{written}");
        let file = |inner: &str| format!("service: logo\ncommand: ./logo $PORT\nrollout: {{ {strategy}: {inner} }}\n");
        assert_eq!(read(&file(&written.to_string())), read(&file("{}")), "{strategy}");
    }
}

fn defaults(root: &Value, mapping: &Value) -> Value {
    // One strategy at a time: the others are held against the reader below.
    let others = |key: &str| ["blue-green", "rolling", "recreate"].contains(&key);
    let properties = mapping["properties"].as_object().unwrap().iter().filter(|(key, _)| !others(key));
    let properties = properties.filter_map(|(key, property)| {
        let reference = property["anyOf"][0]["$ref"].as_str();
        let inner = reference.map(|reference| defaults(root, root.pointer(reference.trim_start_matches('#')).unwrap()));
        inner.or_else(|| property.get("default").cloned()).map(|value| (key.clone(), value))
    });
    Value::Object(properties.collect())
}

#[test]
fn the_schema_takes_good_files_and_refuses_wrong_keys_and_kinds() {
    let schema = schema();
    for (name, bytes) in corpus("good") {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains('*') || is_valid(&schema, &schema, &json(&text)), "{name}");
    }
    for name in [
        "unknown-keys",
        "misplaced-keys",
        "not-enforced",
        "no-command",
        "steps-no-list",
        "steps-one",
        "ranges",
        "names",
        "kinds",
        "a-text",
    ] {
        let (_, bytes) = corpus("bad").into_iter().find(|(file, _)| *file == format!("{name}.yaml")).unwrap();
        assert!(!is_valid(&schema, &schema, &json(&String::from_utf8(bytes).unwrap())), "{name}");
    }
}
