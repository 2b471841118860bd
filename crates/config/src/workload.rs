//! What runs: the command, its files and environment, its health check and its route.

use crate::{
    codes,
    diagnostic::quote,
    keys,
    reader::{Map, Reader},
    tree::{self, Node, Value},
    words::{self, Variable},
};
use davy_core::{HealthCheck, Millis, Route, Workload};
use std::collections::BTreeMap;

/// The variable that tells an instance where to listen.
const PORT: &str = "PORT";

/// The environment, and whether a program is said to read its port from it.
#[derive(Default)]
struct Env {
    values: BTreeMap<String, String>,
    tells_port: bool,
}

impl Reader {
    pub(crate) fn workload(&mut self, root: &Node, map: &Map<'_>) -> Option<Workload> {
        let env = map.get("env").map(|node| self.env(node)).unwrap_or_default();
        let command = match map.get("command") {
            Some(node) => self.command(node, &env),
            // An image is told of already; nothing else is missing beside it.
            None if has(root, "image") => None,
            None => {
                let hint = "add a line such as `command: ./logo --port $PORT`";
                self.fail(tree::TOP, codes::MISSING, "`command` is missing", hint)
            }
        };
        if let Some(node) = map.get("port") {
            self.whole(node, "`port`", 1, 65_535);
        }
        let replicas = map.get("replicas").map_or(Some(1), |node| self.whole(node, "`replicas`", 1, 100));
        let health = self.health(map.get("health").copied());
        let route = self.route(map.get("route").copied());
        let files = map.get("files").map_or_else(Vec::new, |node| self.files(node));
        let replicas = u32::try_from(replicas?).ok()?;
        Some(Workload { command: command?, files, env: env.values, replicas, health, route })
    }

    fn files(&mut self, node: &Node) -> Vec<String> {
        let Value::List(list) = &node.value else {
            self.kind::<()>(node, "`files`", "a list", "such as files: [static, settings.toml]");
            return Vec::new();
        };
        let mut files = Vec::new();
        for item in list {
            let Some(text) = self.text(item, "a file") else { continue };
            match stays_inside(text) {
                true => files.push(text.to_owned()),
                false => {
                    let message = format!("{} is not inside the folder of the file", quote(text));
                    let hint = "list paths relative to davy.yaml, inside its folder";
                    self.fail::<()>(item.span, codes::FILES, message, hint);
                }
            }
        }
        files
    }

    fn env(&mut self, node: &Node) -> Env {
        let mut env = Env::default();
        let Value::Map(pairs) = &node.value else {
            if !node.is_null() {
                self.kind::<()>(node, "`env`", "a mapping", "write names and values: env: { COLOR: blue }");
            }
            return env;
        };
        for (key, value) in pairs {
            let Some(name) = self.text(key, "a name in `env`") else { continue };
            let Some(text) = self.text(value, &format!("{} in `env`", quote(name))) else { continue };
            if name == PORT {
                env.tells_port = true;
                if !matches!(text, "$PORT" | "${PORT}") {
                    let message = "PORT is given by Davy: every instance gets a port of its own";
                    let hint = "write `PORT: $PORT` if the program reads its port from there, else remove it";
                    self.fail::<()>(key.span, codes::PORT, message, hint);
                }
                continue;
            }
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !plain || name.starts_with(|c: char| c.is_ascii_digit()) {
                let message = format!("{} cannot be the name of a variable", quote(name));
                let hint = "write letters, digits and _, not beginning with a digit";
                self.fail::<()>(key.span, codes::NAME, message, hint);
                continue;
            }
            for Variable { name, written } in words::variables(text) {
                env.tells_port |= name == PORT;
                if name != PORT {
                    let message = format!("{} is not known in a value of `env`", quote(&written));
                    let hint = "only $PORT is replaced there";
                    self.fail::<()>(value.part(&written), codes::VARIABLE, message, hint);
                }
            }
            env.values.insert(name.to_owned(), text.to_owned());
        }
        env
    }

    fn command(&mut self, node: &Node, env: &Env) -> Option<Vec<String>> {
        if let Value::List(_) = node.value {
            return self.kind(node, "`command`", "one text", "write it as one line: command: ./logo --port $PORT");
        }
        let text = self.text(node, "`command`")?;
        let split = match words::split(text) {
            Ok(split) if split.is_empty() || split[0].is_empty() => {
                return self.fail(node.span, codes::WORDS, "the command is empty", "such as `./logo --port $PORT`");
            }
            Ok(split) => split,
            Err(why) => {
                let hint = "run one program without a shell; quotes keep words together and take operators literally";
                return self.fail(node.span, codes::WORDS, format!("the command is not read: {why}"), hint);
            }
        };
        let mut told = env.tells_port;
        for Variable { name, written } in split.iter().flat_map(|word| words::variables(word)) {
            told |= name == PORT;
            if name != PORT && !env.values.contains_key(&name) {
                let known = [PORT].into_iter().chain(env.values.keys().map(String::as_str));
                let known = known.map(|name| format!("${name}")).collect::<Vec<_>>().join(", ");
                let message = format!("{} is not known", quote(&written));
                let hint = format!("there is no shell: what is replaced is {known}; add the name to `env`");
                self.fail::<()>(node.part(&written), codes::VARIABLE, message, hint);
            }
        }
        if !told {
            let message = "no port: nothing tells the command where to listen";
            let hint = "write `--port $PORT` or the like; if it reads PORT by itself, say `env: { PORT: $PORT }`";
            return self.fail(node.span, codes::PORT, message, hint);
        }
        Some(split)
    }

    fn health(&mut self, node: Option<&Node>) -> HealthCheck {
        let mut health = HealthCheck { path: None, grace: Millis::seconds(60), interval: Millis::seconds(2) };
        let Some(map) = node.and_then(|node| self.map(node, &keys::HEALTH)) else { return health };
        if let Some(node) = map.get("path") {
            health.path = self.path(node, "/healthz", "");
        }
        if let Some(grace) = map.get("grace").and_then(|node| self.duration(node, "`grace`", Millis::seconds(1))) {
            health.grace = grace;
        }
        if let Some(interval) = map.get("interval").and_then(|node| self.duration(node, "`interval`", Millis(100))) {
            health.interval = interval;
        }
        health
    }

    fn route(&mut self, node: Option<&Node>) -> Route {
        let mut route = Route { host: None, path: "/".to_owned() };
        let Some(map) = node.and_then(|node| self.map(node, &keys::ROUTE)) else { return route };
        if let Some(path) = map.get("path").and_then(|node| self.path(node, "/shop", "?*")) {
            route.path = path;
        }
        route.host = map.get("host").and_then(|node| self.host(node));
        route
    }

    /// A path as it stands in a request, without the characters in `but`.
    fn path(&mut self, node: &Node, example: &str, but: &str) -> Option<String> {
        let text = self.text(node, "`path`")?;
        let plain = text.chars().all(|c| c.is_ascii_graphic() && !"#\"<>\\^`{|}".contains(c) && !but.contains(c));
        if text.starts_with('/') && plain {
            return Some(text.to_owned());
        }
        let hint = match text.starts_with('/') {
            true => format!("write what stands in a request, such as {example}; other characters as %20"),
            false => format!("a path begins with /, such as {example}"),
        };
        self.fail(node.span, codes::ROUTE, format!("{} is not a path", quote(text)), hint)
    }

    fn host(&mut self, node: &Node) -> Option<String> {
        let host = self.text(node, "`host`")?;
        let label = |label: &str| {
            let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
        };
        if host.len() <= 253 && host.split('.').all(label) {
            return Some(host.to_ascii_lowercase());
        }
        let hint = match host {
            _ if host.contains("://") => "leave out the scheme: such as logo.example.com",
            _ if host.contains('*') => "name one host, or leave it out for every one",
            _ if host.contains('/') => "a path belongs in `path`: such as logo.example.com",
            _ if host.contains(':') => "leave out the port: such as logo.example.com",
            _ => "such as logo.example.com",
        };
        self.fail(node.span, codes::ROUTE, format!("{} is not a host name", quote(host)), hint)
    }
}

fn has(root: &Node, name: &str) -> bool {
    matches!(&root.value, Value::Map(pairs) if pairs.iter().any(|(key, _)| key.scalar() == Some(name)))
}

/// Whether a path is relative and never leaves where it begins.
fn stays_inside(path: &str) -> bool {
    let mut depth = 0_usize;
    !path.is_empty()
        && !path.starts_with('/')
        && path.split('/').all(|part| match part {
            ".." => depth.checked_sub(1).inspect(|up| depth = *up).is_some(),
            "" | "." => true,
            _ => {
                depth += 1;
                true
            }
        })
}
