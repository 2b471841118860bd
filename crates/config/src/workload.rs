//! What runs: the command, its files and environment, its health check and its route.

use crate::{
    codes,
    diagnostic::quote,
    keys,
    reader::{Map, Reader},
    tree::{self, Node, Value},
    units,
    words::{self, Variable},
};
use davy_core::{Container, HealthCheck, Millis, Process, Route, Run, Workload};
use std::collections::BTreeMap;

/// The variable that tells an instance where to listen.
const PORT: &str = "PORT";

/// What an image may be.
pub(crate) const IMAGE: &str = "such as logo:2.0, or registry.example.com/logo@sha256:…";

/// The environment, and whether a program is said to read its port from it.
#[derive(Default)]
struct Env {
    values: BTreeMap<String, String>,
    tells_port: bool,
    /// What is in the environment and in no command.
    secrets: Vec<String>,
}

/// One word that a person can see whole.
pub(crate) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic())
}

impl Reader {
    pub(crate) fn workload(&mut self, map: &Map<'_>) -> Option<Workload> {
        let mut env = map.get("env").map(|node| self.env(node)).unwrap_or_default();
        let secrets = map.get("secrets").map_or_else(Vec::new, |node| self.secrets(node, &env.values));
        env.secrets = secrets.iter().map(|secret| secret.name.as_str().to_owned()).collect();
        let run = match map.get("image") {
            Some(image) => self.container(image, map, &env).map(Run::Container),
            None => self.process(map, &env).map(Run::Process),
        };
        let replicas = map.get("replicas").map_or(Some(1), |node| self.whole(node, "`replicas`", 1, 100));
        let health = self.health(map.get("health").copied());
        let route = self.route(map.get("route").copied());
        let replicas = u32::try_from(replicas?).ok()?;
        Some(Workload { run: run?, env: env.values, secrets, replicas, health, route })
    }

    fn process(&mut self, map: &Map<'_>, env: &Env) -> Option<Process> {
        for name in keys::CONTAINERS {
            if let Some(node) = map.get(name) {
                let message = format!("`{name}` is not enforced on a process: the file has no `image`");
                self.fail::<()>(node.span, codes::NOT_ENFORCED, message, "remove it, or run an `image`");
            }
        }
        if let Some(node) = map.get("port") {
            self.whole(node, "`port`", 1, 65_535);
        }
        let command = match map.get("command") {
            Some(node) => self.command(node, env, true),
            None => {
                let hint = "add a line such as `command: ./logo --port $PORT`, or `image: logo:2.0`";
                self.fail(tree::TOP, codes::MISSING, "`command` or `image` is missing", hint)
            }
        };
        let files = map.get("files").map_or_else(Vec::new, |node| self.files(node));
        Some(Process { command: command?, files })
    }

    fn container(&mut self, image: &Node, map: &Map<'_>, env: &Env) -> Option<Container> {
        if let Some(node) = map.get("files") {
            let message = "`files` belong to a `command`: a container has those of its image";
            self.fail::<()>(
                node.span,
                codes::NOT_ENFORCED,
                message,
                "put them into the image, or mount them: `volumes`",
            );
        }
        let command = match map.get("command") {
            Some(node) => self.command(node, env, false),
            None => Some(Vec::new()),
        };
        let port = map.get("port").map(|node| self.whole(node, "`port`", 1, 65_535));
        let user = map.get("user").map(|node| self.word(node, "`user`", "such as nobody, or 1000:1000"));
        let stop_signal = map.get("stop-signal").map(|node| self.signal(node));
        let volumes = map.get("volumes").map_or_else(Vec::new, |node| self.volumes(node));
        let (cpu, memory) = map.get("resources").map_or((None, None), |node| self.resources(node));
        let image = self.word(image, "`image`", IMAGE);
        Some(Container {
            image: image?,
            command: command?,
            port: port.map_or(Some(None), |port| u16::try_from(port?).ok().map(Some))?,
            user: user.map_or(Some(None), |user| user.map(Some))?,
            volumes,
            stop_signal: stop_signal.map_or(Some(None), |signal| signal.map(Some))?,
            cpu,
            memory,
            engine: None,
        })
    }

    /// A text that is one word.
    fn word(&mut self, node: &Node, what: &str, hint: &str) -> Option<String> {
        let text = self.text(node, what)?;
        if is_word(text) {
            return Some(text.to_owned());
        }
        self.fail(node.span, codes::CONTAINER, format!("{} cannot be {what}", quote(text)), hint)
    }

    fn signal(&mut self, node: &Node) -> Option<String> {
        let text = self.word(node, "`stop-signal`", "such as SIGTERM or SIGQUIT")?;
        let name = text.strip_prefix("SIG").unwrap_or_default();
        if !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"+-".contains(&byte))
        {
            return Some(text);
        }
        let message = format!("{} is no signal", quote(&text));
        self.fail(node.span, codes::CONTAINER, message, "such as SIGTERM, SIGINT or SIGQUIT")
    }

    fn volumes(&mut self, node: &Node) -> Vec<String> {
        let Value::List(list) = &node.value else {
            self.kind::<()>(node, "`volumes`", "a list", "such as volumes: [\"logo-cache:/cache\"]");
            return Vec::new();
        };
        let mut volumes = Vec::new();
        for item in list {
            let Some(text) = self.text(item, "a volume") else { continue };
            match is_volume(text) {
                true => volumes.push(text.to_owned()),
                false => {
                    let message = format!("{} is not a volume", quote(text));
                    let hint = "write NAME:/PATH or /HOST/PATH:/PATH, and :ro after it if it is only read";
                    self.fail::<()>(item.span, codes::CONTAINER, message, hint);
                }
            }
        }
        volumes
    }

    fn resources(&mut self, node: &Node) -> (Option<u32>, Option<u64>) {
        let Some(map) = self.map(node, &keys::RESOURCES) else { return (None, None) };
        let cpu = map.get("cpu").and_then(|node| self.measure(node, "`cpu`", units::cpu));
        let memory = map.get("memory").and_then(|node| self.measure(node, "`memory`", units::memory));
        (cpu, memory)
    }

    fn measure<T>(&mut self, node: &Node, what: &str, read: impl Fn(&str) -> Result<T, units::Wrong>) -> Option<T> {
        let text = self.text(node, what)?;
        match read(text) {
            Ok(value) => Some(value),
            Err(wrong) => self.fail(node.span, wrong.code, format!("{} is not {what}", quote(text)), wrong.hint),
        }
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

    /// The words of a command; `own_port` when nothing but them tells the port.
    fn command(&mut self, node: &Node, env: &Env, own_port: bool) -> Option<Vec<String>> {
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
                if env.secrets.contains(&name) {
                    let message = format!("{} is a secret", quote(&written));
                    let hint =
                        "every user of a machine sees its command lines: the program reads it from its environment";
                    self.fail::<()>(node.part(&written), codes::VARIABLE, message, hint);
                    continue;
                }
                let known = [PORT].into_iter().chain(env.values.keys().map(String::as_str));
                let known = known.map(|name| format!("${name}")).collect::<Vec<_>>().join(", ");
                let message = format!("{} is not known", quote(&written));
                let hint = format!("there is no shell: what is replaced is {known}; add the name to `env`");
                self.fail::<()>(node.part(&written), codes::VARIABLE, message, hint);
            }
        }
        if own_port && !told {
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

    /// A host name, in lower case.
    pub(crate) fn host(&mut self, node: &Node) -> Option<String> {
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

/// `NAME:/PATH`, `/HOST/PATH:/PATH`, either with `:ro` or `:rw`.
fn is_volume(text: &str) -> bool {
    let mut parts = text.split(':');
    let (source, target, mode, more) = (parts.next(), parts.next(), parts.next(), parts.next());
    let name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    let path = |path: &str| path.starts_with('/') && !path.split('/').any(|part| part == "..");
    source.is_some_and(|source| name(source) || path(source))
        && target.is_some_and(|target| path(target) && target.len() > 1)
        && mode.is_none_or(|mode| matches!(mode, "ro" | "rw"))
        && more.is_none()
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
