//! The tree read as a deployment: every key known, every value checked, every error told.

use crate::{
    Code, Diagnostic, codes, tree,
    tree::{Node, Span, Value},
    units, words,
};
use davy_core::{
    EnvironmentName, HealthCheck, Millis, OnDeadline, Place, Policy, Route, ServiceKey, ServiceName, Weight, Workload,
};
use std::collections::BTreeMap;

/// Known to the design, not enforced by this version.
const LATER: &[&str] = &[
    "image",
    "user",
    "volumes",
    "stop-signal",
    "secrets",
    "resources",
    "pipeline",
    "notify",
    "blue-green",
    "rolling",
    "recreate",
    "harm-budget",
    "latency",
    "metrics",
    "min-healthy",
    "max-surge",
    "holdback",
    "margin",
    "router",
    "approve",
    "cluster",
    "mirror",
    "sticky",
    "scale",
    "slo",
    "beta",
];

pub(crate) const TOP: &[&str] =
    &["service", "command", "files", "port", "replicas", "health", "route", "env", "environments", "rollout"];
pub(crate) const HEALTH: &[&str] = &["path", "grace", "interval"];
pub(crate) const ROUTE: &[&str] = &["host", "path"];
pub(crate) const ENVIRONMENT: &[&str] = &["platform"];
pub(crate) const ROLLOUT: &[&str] =
    &["canary", "analysis", "drain", "bake", "on-failure", "on-deadline", "pause-limit"];
pub(crate) const CANARY: &[&str] = &["steps", "hold", "deadline"];
pub(crate) const ANALYSIS: &[&str] = &["alpha", "error-rate"];
pub(crate) const ERROR_RATE: &[&str] = &["max", "not-worse-than-stable"];

/// A file without errors.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    service: ServiceName,
    environments: Vec<EnvironmentName>,
    workload: Workload,
    policy: Policy,
}

/// What to deploy, where, and how it gets there.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// Which service, in which environment.
    pub key: ServiceKey,
    /// Where it runs.
    pub place: Place,
    /// How it runs.
    pub workload: Workload,
    /// How it gets there.
    pub policy: Policy,
}

/// Reads a file.
///
/// # Errors
/// Every error that it has, in the order of their places.
pub fn parse(bytes: &[u8]) -> Result<File, Vec<Diagnostic>> {
    let root = tree::text(bytes).and_then(tree::read).map_err(|error| vec![error])?;
    let mut reader = Reader::default();
    let file = reader.file(&root);
    reader.errors.sort_by_key(|error| (error.line, error.column));
    match file {
        Some(file) if reader.errors.is_empty() => Ok(file),
        _ => Err(reader.errors),
    }
}

impl File {
    /// The deployment in one environment; the only one when none is named.
    ///
    /// # Errors
    /// When there is no such environment or service, or several environments and none is named.
    pub fn resolve(&self, environment: Option<&str>, service: Option<&str>) -> Result<Deployment, Vec<Diagnostic>> {
        let top = Span { line: 1, column: 1, length: 1 };
        let list = || self.environments.iter().map(EnvironmentName::as_str).collect::<Vec<_>>().join(", ");
        if let Some(other) = service.filter(|service| *service != self.service.as_str()) {
            let message = format!("the file is about `{}`, not `{other}`", self.service);
            return Err(vec![top.error(
                codes::SERVICE,
                message,
                "name the file with --file, or leave the service out",
            )]);
        }
        let found = match (environment, self.environments.as_slice()) {
            (None, [only]) => Some(only),
            (None, _) => {
                let message = format!("the file has several environments: {}", list());
                return Err(vec![top.error(codes::ENVIRONMENT, message, "name one with --env")]);
            }
            (Some(name), all) => all.iter().find(|known| known.as_str() == name),
        };
        let environment = found.cloned().ok_or_else(|| {
            let message = format!("there is no environment `{}`", environment.unwrap_or_default());
            vec![top.error(codes::ENVIRONMENT, message, format!("the file has {}", list()))]
        })?;
        let key = ServiceKey { service: self.service.clone(), environment };
        Ok(Deployment { key, place: Place::Local, workload: self.workload.clone(), policy: self.policy.clone() })
    }
}

type Map<'a> = BTreeMap<&'a str, &'a Node>;

#[derive(Default)]
struct Reader {
    errors: Vec<Diagnostic>,
}

impl Reader {
    fn fail<T>(&mut self, span: Span, code: Code, message: impl Into<String>, hint: impl Into<String>) -> Option<T> {
        self.errors.push(span.error(code, message, hint));
        None
    }

    fn file(&mut self, root: &Node) -> Option<File> {
        if root.is_null() {
            return self.fail(root.span, codes::EMPTY, "the file is empty", "`davy init` writes a file to start from");
        }
        let map = self.map(root, "the file", TOP)?;
        let missing = |name: &str| format!("`{name}` is missing");
        let service = match map.get("service") {
            Some(node) => self.name(node, |name| ServiceName::new(name)),
            None => self.fail(root.span, codes::MISSING, missing("service"), "add a line such as `service: logo`"),
        };
        let env = map.get("env").map(|node| self.env(node)).unwrap_or_default();
        let image = matches!(&root.value, Value::Map(pairs) if pairs.iter().any(|(key, _)| matches!(&key.value, Value::Text(text, _) if text == "image")));
        let command = match map.get("command") {
            Some(node) => self.command(node, &env),
            None if image => None,
            None => {
                let hint = "add a line such as `command: ./logo --port $PORT`";
                self.fail(root.span, codes::MISSING, missing("command"), hint)
            }
        };
        if let Some(node) = map.get("port") {
            self.number(node, "port", 1, 65_535);
        }
        let replicas = map.get("replicas").map_or(Some(1), |node| self.number(node, "replicas", 1, 100));
        let health = self.health(map.get("health").copied());
        let route = self.route(map.get("route").copied());
        let files = map.get("files").map_or_else(Vec::new, |node| self.texts(node, "files"));
        let environments = self.environments(map.get("environments").copied());
        let policy = self.policy(map.get("rollout").copied());
        let replicas = u32::try_from(replicas?).ok()?;
        let workload = Workload { command: command?, files, env, replicas, health, route };
        Some(File { service: service?, environments, workload, policy })
    }

    /// A mapping with known keys only. A null is an empty one.
    fn map<'a>(&mut self, node: &'a Node, what: &str, known: &[&str]) -> Option<Map<'a>> {
        let pairs = match &node.value {
            Value::Map(pairs) => pairs,
            _ if node.is_null() => return Some(Map::new()),
            _ => {
                let message = format!("{what} is {}, not a mapping", node.kind());
                return self.fail(
                    node.span,
                    codes::TYPE,
                    message,
                    format!("write keys and values: {}", known.join(", ")),
                );
            }
        };
        let mut map = Map::new();
        for (key, value) in pairs {
            let Value::Text(name, _) = &key.value else {
                self.fail::<()>(
                    key.span,
                    codes::TYPE,
                    format!("a key is {}, not a text", key.kind()),
                    "keys are names",
                );
                continue;
            };
            if known.contains(&name.as_str()) {
                map.insert(name.as_str(), value);
            } else if LATER.contains(&name.as_str()) {
                let message = format!("`{name}` is not enforced by this version");
                let hint = if name == "image" {
                    "use `command` on `local`, or a later version"
                } else {
                    "remove it, or use a later version"
                };
                self.fail::<()>(key.span, codes::NOT_ENFORCED, message, hint);
            } else {
                let near = known.iter().map(|other| (strsim::damerau_levenshtein(name, other), *other)).min();
                let near = near.filter(|(distance, other)| *distance <= 2.max(other.len() / 3));
                let all = known.join(", ");
                let hint = near.map_or_else(
                    || format!("there are: {all}"),
                    |(_, near)| format!("did you mean `{near}`? There are: {all}"),
                );
                self.fail::<()>(key.span, codes::UNKNOWN, format!("there is no key `{name}` in {what}"), hint);
            }
        }
        Some(map)
    }

    fn text<'a>(&mut self, node: &'a Node, what: &str) -> Option<&'a str> {
        match &node.value {
            Value::Text(text, _) if !node.is_null() => Some(text),
            _ => {
                let kind = if node.is_null() { "empty" } else { node.kind() };
                self.fail(node.span, codes::TYPE, format!("`{what}` is {kind}, not a text"), "write one value")
            }
        }
    }

    fn texts(&mut self, node: &Node, what: &str) -> Vec<String> {
        let Value::List(list) = &node.value else {
            let message = format!("`{what}` is {}, not a list", node.kind());
            self.fail::<()>(node.span, codes::TYPE, message, format!("write a list: {what}: [one, two]"));
            return Vec::new();
        };
        list.iter().filter_map(|item| self.text(item, what).map(str::to_owned)).collect()
    }

    fn number(&mut self, node: &Node, what: &str, least: u64, most: u64) -> Option<u64> {
        let text = self.text(node, what)?;
        match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            Ok(number) => {
                let message = format!("`{what}` is {number}");
                self.fail(node.span, codes::RANGE, message, format!("a whole number from {least} to {most}"))
            }
            Err(_) => {
                let message = format!("`{what}` is `{text}`, not a number");
                self.fail(node.span, codes::TYPE, message, format!("a whole number from {least} to {most}"))
            }
        }
    }

    fn name<T>(&mut self, node: &Node, make: impl FnOnce(&str) -> Result<T, davy_core::InvalidName>) -> Option<T> {
        let text = self.text(node, "service")?;
        match make(text) {
            Ok(name) => Some(name),
            Err(error) => self.fail(node.span, codes::NAME, error.to_string(), "such as `logo` or `shop-api`"),
        }
    }

    fn duration(&mut self, node: &Node, what: &str, least: Millis) -> Option<Millis> {
        let text = self.text(node, what)?;
        match units::duration(text) {
            Ok(length) if length < least => {
                self.fail(node.span, codes::RANGE, format!("`{what}` is {length}"), format!("at least {least}"))
            }
            Ok(length) => Some(length),
            Err(hint) => self.fail(node.span, codes::UNIT, format!("`{what}` is `{text}`, which is no duration"), hint),
        }
    }

    fn flag(&mut self, node: &Node, what: &str) -> Option<bool> {
        match self.text(node, what)? {
            "true" => Some(true),
            "false" => Some(false),
            other => {
                let message = format!("`{what}` is `{other}`");
                self.fail(node.span, codes::TYPE, message, "write true or false")
            }
        }
    }

    fn env(&mut self, node: &Node) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let Value::Map(pairs) = &node.value else {
            if !node.is_null() {
                let message = format!("`env` is {}, not a mapping", node.kind());
                self.fail::<()>(node.span, codes::TYPE, message, "write names and values: env: { COLOR: blue }");
            }
            return env;
        };
        for (key, value) in pairs {
            let (Some(name), Some(text)) = (self.text(key, "env"), self.text(value, "env")) else { continue };
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !plain || name.starts_with(|c: char| c.is_ascii_digit()) || name == "PORT" {
                let hint = if name == "PORT" { "PORT is given by Davy" } else { "letters, digits and _" };
                self.fail::<()>(key.span, codes::NAME, format!("`{name}` cannot be a variable's name"), hint);
                continue;
            }
            for unknown in words::variables(text).into_iter().filter(|variable| variable != "PORT") {
                let message = format!("`${unknown}` is not known in a value of `env`");
                self.fail::<()>(value.span, codes::VARIABLE, message, "only $PORT is replaced there");
            }
            env.insert(name.to_owned(), text.to_owned());
        }
        env
    }

    fn command(&mut self, node: &Node, env: &BTreeMap<String, String>) -> Option<Vec<String>> {
        let text = self.text(node, "command")?;
        let split = match words::split(text) {
            Ok(split) => split,
            Err(why) => {
                return self.fail(
                    node.span,
                    codes::WORDS,
                    format!("the command: {why}"),
                    "there is no shell; close every quote",
                );
            }
        };
        if split.is_empty() {
            return self.fail(node.span, codes::WORDS, "the command is empty", "such as `./logo --port $PORT`");
        }
        let mut told = env.values().any(|value| words::variables(value).iter().any(|name| name == "PORT"));
        for name in split.iter().flat_map(|word| words::variables(word)) {
            told |= name == "PORT";
            if name != "PORT" && !env.contains_key(&name) {
                let known = ["PORT"].into_iter().chain(env.keys().map(String::as_str)).collect::<Vec<_>>().join(", ");
                let message = format!("`${name}` is not known: a command is not run by a shell");
                self.fail::<()>(node.span, codes::VARIABLE, message, format!("known are {known}; add others to `env`"));
            }
        }
        if !told {
            let message = "no port: the command is not told where to listen";
            return self.fail(
                node.span,
                codes::PORT,
                message,
                "write $PORT where the port belongs, such as `--port $PORT`",
            );
        }
        Some(split)
    }

    fn health(&mut self, node: Option<&Node>) -> HealthCheck {
        let mut health = HealthCheck { path: None, grace: Millis::seconds(60), interval: Millis::seconds(2) };
        let Some(map) = node.and_then(|node| self.map(node, "`health`", HEALTH)) else { return health };
        if let Some(node) = map.get("path") {
            health.path = self.path(node);
        }
        if let Some(grace) = map.get("grace").and_then(|node| self.duration(node, "grace", Millis::seconds(1))) {
            health.grace = grace;
        }
        if let Some(interval) = map.get("interval").and_then(|node| self.duration(node, "interval", Millis(100))) {
            health.interval = interval;
        }
        health
    }

    fn path(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node, "path")?;
        let plain =
            text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'<' | b'>' | b'\\'));
        if !text.starts_with('/') || !plain {
            return self.fail(
                node.span,
                codes::ROUTE,
                format!("`{text}` is not a path"),
                "a path begins with /, such as /healthz",
            );
        }
        Some(text.to_owned())
    }

    fn route(&mut self, node: Option<&Node>) -> Route {
        let mut route = Route { host: None, path: "/".to_owned() };
        let Some(map) = node.and_then(|node| self.map(node, "`route`", ROUTE)) else { return route };
        if let Some(path) = map.get("path").and_then(|node| self.path(node)) {
            route.path = path;
        }
        if let Some(node) = map.get("host")
            && let Some(host) = self.text(node, "host")
        {
            let label = |label: &str| {
                !label.is_empty()
                    && label.len() <= 63
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            };
            match host.len() <= 253 && host.split('.').all(label) {
                true => route.host = Some(host.to_ascii_lowercase()),
                false => {
                    let message = format!("`{host}` is not a host name");
                    self.fail::<()>(
                        node.span,
                        codes::ROUTE,
                        message,
                        "such as logo.example.com, without scheme and port",
                    );
                }
            }
        }
        route
    }

    fn environments(&mut self, node: Option<&Node>) -> Vec<EnvironmentName> {
        let default = || EnvironmentName::new("production").into_iter().collect();
        let Some(node) = node else { return default() };
        let Value::Map(pairs) = &node.value else {
            let message = format!("`environments` is {}, not a mapping", node.kind());
            self.fail::<()>(
                node.span,
                codes::TYPE,
                message,
                "such as environments: { production: { platform: local } }",
            );
            return Vec::new();
        };
        if pairs.is_empty() {
            self.fail::<()>(node.span, codes::MISSING, "`environments` names none", "add one, or leave the key out");
        }
        let mut environments = Vec::new();
        for (key, value) in pairs {
            environments.extend(self.name(key, |name| EnvironmentName::new(name)));
            let Some(map) = self.map(value, "an environment", ENVIRONMENT) else { continue };
            let Some(platform) = map.get("platform") else { continue };
            match self.text(platform, "platform") {
                None | Some("local") => {}
                Some(later @ ("docker" | "swarm" | "ecs" | "kubernetes")) => {
                    let message = format!("the platform `{later}` is not in this version");
                    self.fail::<()>(platform.span, codes::NOT_ENFORCED, message, "this version has `local`");
                }
                Some(other) => {
                    self.fail::<()>(
                        platform.span,
                        codes::RANGE,
                        format!("there is no platform `{other}`"),
                        "this version has `local`",
                    );
                }
            }
        }
        environments
    }

    fn policy(&mut self, node: Option<&Node>) -> Policy {
        let mut policy = Policy::default();
        let Some(map) = node.and_then(|node| self.map(node, "`rollout`", ROLLOUT)) else { return policy };
        if let Some(node) = map.get("canary") {
            self.canary(node, &mut policy);
        }
        if let Some(node) = map.get("analysis") {
            self.analysis(node, &mut policy);
        }
        let mut set = |name: &str, least: Millis, to: &mut Millis| {
            if let Some(length) = map.get(name).and_then(|node| self.duration(node, name, least)) {
                *to = length;
            }
        };
        set("drain", Millis(0), &mut policy.drain);
        set("bake", Millis(0), &mut policy.bake);
        set("pause-limit", Millis::seconds(1), &mut policy.pause_limit);
        if let Some(node) = map.get("on-failure") {
            match self.text(node, "on-failure") {
                None | Some("rollback") => {}
                Some(other) => {
                    let message = format!("`on-failure` is `{other}`");
                    self.fail::<()>(node.span, codes::RANGE, message, "it is `rollback`");
                }
            }
        }
        if let Some(node) = map.get("on-deadline") {
            match self.text(node, "on-deadline") {
                Some("pause") | None => policy.on_deadline = OnDeadline::Pause,
                Some("rollback") => policy.on_deadline = OnDeadline::Rollback,
                Some(other) => {
                    let message = format!("`on-deadline` is `{other}`");
                    self.fail::<()>(node.span, codes::RANGE, message, "pause or rollback");
                }
            }
        }
        policy
    }

    fn canary(&mut self, node: &Node, policy: &mut Policy) {
        if matches!(&node.value, Value::Text(text, _) if text == "auto") {
            let message = "`canary: auto` is not in this version";
            return self
                .fail(
                    node.span,
                    codes::NOT_ENFORCED,
                    message,
                    "name the steps: canary: { steps: [1%, 10%, 50%, 100%] }",
                )
                .unwrap_or(());
        }
        let Some(map) = self.map(node, "`canary`", CANARY) else { return };
        if let Some(steps) = map.get("steps").and_then(|node| self.steps(node)) {
            policy.steps = steps;
        }
        if let Some(hold) = map.get("hold").and_then(|node| self.duration(node, "hold", Millis(100))) {
            policy.hold = hold;
        }
        if let Some(deadline) = map.get("deadline").and_then(|node| self.duration(node, "deadline", Millis::seconds(1)))
        {
            policy.deadline = deadline;
        }
        if policy.hold >= policy.deadline {
            let at = map.get("hold").or_else(|| map.get("deadline")).map_or(node.span, |node| node.span);
            let message =
                format!("the hold of {} does not end before the deadline of {}", policy.hold, policy.deadline);
            self.fail::<()>(at, codes::RANGE, message, "a step's deadline is longer than its hold");
        }
    }

    fn steps(&mut self, node: &Node) -> Option<Vec<Weight>> {
        if matches!(&node.value, Value::Text(text, _) if text == "auto") {
            return self.fail(
                node.span,
                codes::NOT_ENFORCED,
                "`auto` is not in this version",
                "name the weights: [1%, 10%, 50%, 100%]",
            );
        }
        let Value::List(list) = &node.value else {
            let message = format!("`steps` is {}, not a list", node.kind());
            return self.fail(node.span, codes::TYPE, message, "such as steps: [1%, 10%, 50%, 100%]");
        };
        let before = self.errors.len();
        let mut steps: Vec<Weight> = Vec::new();
        for item in list {
            let Some(text) = self.text(item, "steps") else { continue };
            match units::weight(text) {
                Err(hint) => {
                    let code = if text.ends_with('%') { codes::RANGE } else { codes::UNIT };
                    self.fail::<()>(item.span, code, format!("`{text}` is not a weight"), hint);
                }
                Ok(weight) if steps.last().is_some_and(|last| weight <= *last) => {
                    let message = format!(
                        "the weights do not rise: {text} does not follow {}",
                        steps.last().copied().unwrap_or_default()
                    );
                    self.fail::<()>(item.span, codes::STEPS, message, "each weight is larger than the one before it");
                    steps.push(weight);
                }
                Ok(weight) => steps.push(weight),
            }
        }
        if self.errors.len() > before {
            return None;
        }
        match steps.last() {
            None => self.fail(node.span, codes::STEPS, "there is no step", "such as steps: [1%, 10%, 50%, 100%]"),
            Some(last) if *last != Weight::ALL => {
                let message = format!("the last weight is {last}, not 100 %");
                self.fail(node.span, codes::STEPS, message, "add 100% at the end: that is the promotion")
            }
            Some(_) if steps.len() == 1 => {
                let message = "there is no step below 100 %: nothing would be compared";
                self.fail(node.span, codes::STEPS, message, "begin with a small weight, such as 1%")
            }
            Some(_) => Some(steps),
        }
    }

    fn analysis(&mut self, node: &Node, policy: &mut Policy) {
        let Some(map) = self.map(node, "`analysis`", ANALYSIS) else { return };
        if let Some(node) = map.get("alpha")
            && let Some(text) = self.text(node, "alpha")
        {
            match text.parse::<f64>() {
                Ok(alpha) if alpha > 0.0 && alpha <= 0.5 => policy.analysis.alpha = alpha,
                Ok(_) => {
                    self.fail::<()>(
                        node.span,
                        codes::RANGE,
                        format!("`alpha` is {text}"),
                        "above 0 and at most 0.5, such as 0.01",
                    );
                }
                Err(_) => {
                    self.fail::<()>(
                        node.span,
                        codes::TYPE,
                        format!("`alpha` is `{text}`, not a number"),
                        "such as 0.01",
                    );
                }
            }
        }
        let Some(map) = map.get("error-rate").and_then(|node| self.map(node, "`error-rate`", ERROR_RATE)) else {
            return;
        };
        if let Some(node) = map.get("max")
            && let Some(text) = self.text(node, "max")
        {
            match units::fraction(text) {
                Ok(max) if max > 0.0 && max < 1.0 => policy.analysis.max_error_rate = Some(max),
                Ok(_) => {
                    self.fail::<()>(node.span, codes::RANGE, format!("`max` is {text}"), "above 0% and below 100%");
                }
                Err(hint) => {
                    self.fail::<()>(node.span, codes::UNIT, format!("`{text}` is not a percentage"), hint);
                }
            }
        }
        if let Some(flag) = map.get("not-worse-than-stable").and_then(|node| self.flag(node, "not-worse-than-stable")) {
            policy.analysis.not_worse_than_stable = flag;
        }
    }
}
