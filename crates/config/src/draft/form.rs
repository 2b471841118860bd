//! The file as the fields of a form: what stands in each, where that comes from, and the file that they make, its errors told of
//! the fields.

use super::sheet::scalar;
use crate::{
    Diagnostic, File, parse,
    tree::{self, Node, Value},
};
use davy_core::Place;
use std::collections::BTreeMap;

/// How a field's text becomes YAML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One scalar.
    One,
    /// A list, separated by commas.
    Commas,
    /// A list, one a line.
    Lines,
    /// `NAME=value`, one a line.
    Pairs,
}
use Kind::{Commas, Lines, One, Pairs};

/// What a form may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name: the key's path in the file, but for what several strategies have.
    pub name: &'static str,
    /// What holds where nothing stands there; empty where nothing does.
    pub default: &'static str,
    /// Where it can be asked for; everywhere when absent.
    pub place: Option<Place>,
    kind: Kind,
}

const fn key(name: &'static str, kind: Kind, default: &'static str) -> Key {
    Key { name, default, kind, place: None }
}

const fn only(place: Place, name: &'static str, kind: Kind, default: &'static str) -> Key {
    Key { name, default, kind, place: Some(place) }
}

/// Every field, in the order of the file.
pub const KEYS: [Key; 31] = [
    key("service", One, ""),
    key("environment", One, "production"),
    key("platform", One, ""),
    only(Place::Docker, "image", One, ""),
    key("command", One, ""),
    only(Place::Local, "folder", One, ""),
    only(Place::Local, "files", Lines, ""),
    only(Place::Docker, "port", One, ""),
    key("replicas", One, "1"),
    only(Place::Docker, "user", One, ""),
    only(Place::Docker, "volumes", Lines, ""),
    only(Place::Docker, "stop-signal", One, ""),
    only(Place::Docker, "resources.cpu", One, ""),
    only(Place::Docker, "resources.memory", One, ""),
    key("health.path", One, ""),
    key("health.grace", One, "60s"),
    key("health.interval", One, "2s"),
    key("route.host", One, ""),
    key("route.path", One, "/"),
    key("env", Pairs, ""),
    key("secrets", Lines, ""),
    only(Place::Docker, "engine", One, ""),
    key("strategy", One, "canary"),
    key("steps", Commas, "1%, 5%, 25%, 50%, 100%"),
    key("hold", One, ""),
    key("deadline", One, "30m"),
    key("error-rate.max", One, ""),
    key("latency.p99", One, ""),
    key("harm-budget", One, "50"),
    key("drain", One, "30s"),
    key("bake", One, "15m"),
];

/// Those of the file's top that stand there as they are called.
const TOP: [&str; 13] = [
    "service",
    "image",
    "command",
    "files",
    "port",
    "replicas",
    "user",
    "volumes",
    "stop-signal",
    "resources",
    "health",
    "route",
    "env",
];
const STRATEGIES: [&str; 4] = ["canary", "blue-green", "rolling", "recreate"];

/// What stands in one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its text; empty where the default holds.
    pub value: String,
    /// Where that comes from, in words; `default` where nothing was said.
    pub origin: String,
    /// Whether whoever said it knows; else it is a guess to look at.
    pub sure: bool,
}

/// The fields of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    fields: BTreeMap<&'static str, Field>,
}

/// What the fields make.
#[derive(Clone, Debug)]
pub struct Written {
    /// The text of `davy.yaml`.
    pub text: String,
    /// The file, if it has no errors.
    pub file: Option<File>,
    /// Its errors, each with the field that it is of; empty when of none.
    pub errors: Vec<(&'static str, Diagnostic)>,
}

/// No field of the form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(pub String);

impl Form {
    /// With nothing in it but where it runs.
    #[must_use]
    pub fn blank(place: Place) -> Self {
        let mut form = Self::default();
        form.say("platform", place.as_str(), "chosen", true);
        form
    }

    /// As it was filled in.
    ///
    /// # Errors
    /// A name that is no field's.
    pub fn filled(values: BTreeMap<String, String>) -> Result<Self, Unknown> {
        let mut form = Self::default();
        for (name, value) in values {
            let Some(key) = KEYS.iter().find(|key| key.name == name) else { return Err(Unknown(name)) };
            form.say(key.name, value, "you", true);
        }
        Ok(form)
    }

    /// What a file says that has no errors. `origin` says where a line of it comes from, and whether that is known for sure.
    pub(super) fn read(text: &str, origin: impl Fn(usize) -> Option<(String, bool)>) -> Self {
        let mut form = Self::default();
        let (Some(root), _) = tree::read(text) else { return form };
        let strategy = STRATEGIES.into_iter().find(|name| at(&root, &["rollout", name]).is_some());
        for key in &KEYS {
            let Some(node) = path(key.name, strategy).and_then(|path| at(&root, &path)) else { continue };
            let Some(value) = text_of(node, key.kind) else { continue };
            let (origin, sure) = origin(node.span.line).unwrap_or_else(|| (DEFAULT.to_owned(), true));
            form.say(key.name, value, origin, sure);
        }
        if let Some(strategy) = strategy {
            form.say("strategy", strategy, DEFAULT, true);
        }
        let place = if form.value("image").is_empty() { Place::Local } else { Place::Docker };
        form.say("platform", place.as_str(), "what runs", true);
        form
    }

    pub(super) fn say(&mut self, key: &'static str, value: impl Into<String>, origin: impl Into<String>, sure: bool) {
        self.fields.insert(key, Field { value: value.into(), origin: origin.into(), sure });
    }

    /// What stands in a field; empty where nothing does.
    #[must_use]
    pub fn value(&self, key: &str) -> &str {
        self.fields.get(key).map_or("", |field| field.value.trim())
    }

    /// Where it runs.
    #[must_use]
    pub fn place(&self) -> Place {
        if self.value("platform") == Place::Local.as_str() { Place::Local } else { Place::Docker }
    }

    /// Every field that can be asked for where it runs, in the order of the file.
    #[must_use]
    pub fn fields(&self) -> Vec<(Key, Field)> {
        let place = self.place();
        let asked = KEYS.iter().filter(|key| key.place.is_none_or(|only| only == place));
        let untold = || Field { value: String::new(), origin: DEFAULT.to_owned(), sure: true };
        asked.map(|key| (*key, self.fields.get(key.name).cloned().unwrap_or_else(untold))).collect()
    }

    /// The file that they make.
    #[must_use]
    pub fn write(&self) -> Written {
        let lines = Writing { form: self, place: self.place(), lines: Vec::new() }.all();
        let text: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
        match parse(text.as_bytes()) {
            Ok(file) => Written { text, file: Some(file), errors: Vec::new() },
            Err(errors) => {
                let of = |error: &Diagnostic| lines.get(error.line.saturating_sub(1)).map_or("", |(key, _)| *key);
                let errors = errors.into_iter().map(|error| (of(&error), error)).collect();
                Written { text, file: None, errors }
            }
        }
    }
}

/// What is said of a value that nobody chose.
const DEFAULT: &str = "default";

/// Where a field's value stands in a file with this strategy.
fn path<'a>(name: &'a str, strategy: Option<&'a str>) -> Option<Vec<&'a str>> {
    match name {
        "environment" | "platform" | "folder" | "engine" | "strategy" => None,
        "steps" => Some(vec!["rollout", "canary", "steps"]),
        "hold" | "deadline" => Some(vec!["rollout", strategy?, name]),
        "drain" | "bake" => Some(vec!["rollout", name]),
        "harm-budget" => Some(vec!["rollout", "analysis", name]),
        "error-rate.max" => Some(vec!["rollout", "analysis", "error-rate", "max"]),
        "latency.p99" => Some(vec!["rollout", "analysis", "latency", "p99"]),
        other => Some(other.split('.').collect()),
    }
}

fn at<'a>(node: &'a Node, path: &[&str]) -> Option<&'a Node> {
    path.iter().try_fold(node, |node, name| match &node.value {
        Value::Map(pairs) => pairs.iter().find(|(key, _)| key.scalar() == Some(name)).map(|(_, value)| value),
        _ => None,
    })
}

fn text_of(node: &Node, kind: Kind) -> Option<String> {
    match (&node.value, kind) {
        (Value::List(list), Commas) => Some(joined(list, ", ")),
        (Value::List(list), Lines) => Some(joined(list, "\n")),
        (Value::Map(pairs), Pairs) => {
            let pairs = pairs.iter().filter_map(|(name, value)| {
                let empty = matches!(value.value, Value::Quoted(_));
                let value = value.scalar().or(empty.then_some(""))?;
                Some(format!("{}={value}", name.scalar()?))
            });
            Some(pairs.collect::<Vec<_>>().join("\n"))
        }
        (_, One | Commas) => node.scalar().map(str::to_owned),
        _ => None,
    }
}

fn joined(list: &[Node], between: &str) -> String {
    list.iter().filter_map(Node::scalar).collect::<Vec<_>>().join(between)
}

/// The file under way: each line with the field that it is of.
struct Writing<'a> {
    form: &'a Form,
    place: Place,
    lines: Vec<(&'static str, String)>,
}

impl Writing<'_> {
    fn all(mut self) -> Vec<(&'static str, String)> {
        for top in TOP {
            self.top(top);
        }
        let secrets = items(self.form.value("secrets"), '\n');
        if !secrets.is_empty() {
            let names: Vec<String> = secrets.iter().map(|name| scalar(name)).collect();
            self.lines.push(("secrets", format!("secrets: [{}]", names.join(", "))));
        }
        self.environment();
        self.rollout();
        self.lines
    }

    fn is_asked(&self, key: &Key) -> bool {
        key.place.is_none_or(|only| only == self.place)
    }

    fn top(&mut self, top: &'static str) {
        let form = self.form;
        let prefix = format!("{top}.");
        let of = KEYS.iter().filter(|key| key.name == top || key.name.starts_with(&prefix));
        let mut said: Vec<&'static Key> = Vec::new();
        for key in of.filter(|key| self.is_asked(key)) {
            let must = key.name == "service" || key.name == self.runs();
            if must || !form.value(key.name).is_empty() {
                said.push(key);
            }
        }
        let Some(first) = said.first() else { return };
        let value = form.value(first.name);
        match first.kind {
            One if first.name == top => self.lines.push((first.name, format!("{top}: {}", scalar(value)))),
            One | Commas => {
                self.lines.push((first.name, format!("{top}:")));
                for key in said {
                    let name = &key.name[prefix.len()..];
                    self.lines.push((key.name, format!("  {name}: {}", scalar(form.value(key.name)))));
                }
            }
            Lines => {
                self.lines.push((first.name, format!("{top}:")));
                for item in items(value, '\n') {
                    self.lines.push((first.name, format!("  - {}", crate::template::quoted(&item))));
                }
            }
            Pairs => {
                self.lines.push((first.name, format!("{top}:")));
                for item in items(value, '\n') {
                    let (name, value) = item.split_once('=').unwrap_or((&item, ""));
                    self.lines.push((first.name, format!("  {}: {}", scalar(name.trim()), scalar(value))));
                }
            }
        }
    }

    /// What has to be said of what runs.
    const fn runs(&self) -> &'static str {
        match self.place {
            Place::Local => "command",
            Place::Docker => "image",
        }
    }

    fn environment(&mut self) {
        let (name, engine) = (self.form.value("environment"), self.form.value("engine"));
        let engine = Some(engine).filter(|engine| self.place == Place::Docker && !engine.is_empty());
        let name = if name.is_empty() { "production" } else { name };
        if name == "production" && engine.is_none() {
            return;
        }
        self.lines.push(("environment", "environments:".to_owned()));
        self.lines.push(("environment", format!("  {}:", scalar(name))));
        self.lines.push(("platform", format!("    platform: {}", self.place.as_str())));
        if let Some(engine) = engine {
            self.lines.push(("engine", format!("    engine: {}", scalar(engine))));
        }
    }

    fn rollout(&mut self) {
        let form = self.form;
        let strategy = Some(form.value("strategy")).filter(|name| !name.is_empty()).unwrap_or("canary");
        self.lines.push(("strategy", "rollout:".to_owned()));
        self.lines.push(("strategy", format!("  {}:", scalar(strategy))));
        let before = self.lines.len();
        let steps = form.value("steps");
        match steps {
            _ if strategy != "canary" || steps.is_empty() => {}
            "auto" => self.lines.push(("steps", "    steps: auto".to_owned())),
            _ => {
                let steps: Vec<String> = items(steps, ',').iter().map(|step| scalar(step)).collect();
                self.lines.push(("steps", format!("    steps: [{}]", steps.join(", "))));
            }
        }
        for name in ["hold", "deadline"] {
            let value = form.value(name);
            if !value.is_empty() {
                self.lines.push((name, format!("    {name}: {}", scalar(value))));
            }
        }
        if self.lines.len() == before {
            self.lines.pop();
            self.lines.push(("strategy", format!("  {}: {{}}", scalar(strategy))));
        }
        self.analysis();
        for name in ["drain", "bake"] {
            let value = form.value(name);
            if !value.is_empty() {
                self.lines.push((name, format!("  {name}: {}", scalar(value))));
            }
        }
    }

    fn analysis(&mut self) {
        let said = |name| Some(self.form.value(name)).filter(|value| !value.is_empty());
        let all = [
            ("harm-budget", "    harm-budget: "),
            ("error-rate.max", "    error-rate:\n      max: "),
            ("latency.p99", "    latency:\n      p99: "),
        ];
        let said: Vec<_> = all.into_iter().filter_map(|(name, before)| Some((name, before, said(name)?))).collect();
        if let Some((first, ..)) = said.first() {
            self.lines.push((first, "  analysis:".to_owned()));
        }
        for (name, before, value) in said {
            let whole = format!("{before}{}", scalar(value));
            self.lines.extend(whole.split('\n').map(|line| (name, line.to_owned())));
        }
    }
}

fn items(text: &str, between: char) -> Vec<String> {
    text.split(between).map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}
