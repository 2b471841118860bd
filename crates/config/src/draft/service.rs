//! What of a Compose file's service Davy can take over, and what it cannot.

use super::{
    Compose, Dockerfile, Draft, Service,
    dockerfile::{Check, joined, signal, write_health},
    health, interpolate, secret, service_name,
    sheet::{From, Sheet, scalar},
    values::{self, container_port, environment, get, memory, merged, normal, plain, ports},
};
use crate::{
    diagnostic::quote,
    tree::{Node, Value},
};

/// What Davy does not do for a container, and what to do about it.
const LEFT_OUT: [(&str, &str); 16] = [
    ("depends_on", "Davy starts no other service; start those with Compose, and be healthy once they answer"),
    (
        "networks",
        "containers run on a network of Davy's own; publish what they call on the host, and call it host.docker.internal",
    ),
    ("network_mode", "containers run on a network of Davy's own"),
    (
        "links",
        "containers run on a network of Davy's own; publish what they call on the host, and call it host.docker.internal",
    ),
    ("container_name", "old and new version run side by side, so Davy names them"),
    ("hostname", "old and new version run side by side, so Davy names them"),
    ("entrypoint", "write it into the image's ENTRYPOINT; `command` replaces what comes after it"),
    ("working_dir", "write it into the image's WORKDIR"),
    ("configs", "mount a file with `volumes`, or put it into the image"),
    ("labels", "Davy's containers carry its own labels; what a proxy read there belongs in `route`"),
    ("extends", "what it adds was not read: write it out"),
    ("tmpfs", "it is not set on Davy's containers; a volume is the nearest"),
    ("profiles", "davy.yaml is about one service, which is always deployed"),
    ("privileged", "Davy gives a container no more rights than Docker does by default"),
    ("cap_add", "Davy gives a container no more rights than Docker does by default"),
    ("devices", "Davy gives a container no devices"),
];

/// What is read here, or says nothing that matters.
const READ: [&str; 22] = [
    "image",
    "build",
    "command",
    "ports",
    "expose",
    "environment",
    "env_file",
    "volumes",
    "user",
    "stop_signal",
    "stop_grace_period",
    "deploy",
    "scale",
    "cpus",
    "mem_limit",
    "healthcheck",
    "restart",
    "secrets",
    "pull_policy",
    "annotations",
    "attach",
    "develop",
];

/// A value, with whether it stands by a default of the file.
struct Text {
    text: String,
    guess: Option<String>,
    line: usize,
}

/// Words as a command is written, each kept together.
pub(super) fn words(words: &[String]) -> String {
    let quoted = |word: &String| match !word.is_empty()
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,@+%$".contains(c))
    {
        true => word.clone(),
        false if !word.contains('\'') => format!("'{word}'"),
        false => format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

impl Compose {
    /// A file for one of its services. `dockerfile` is what that service is built from, if it could be read.
    #[must_use]
    pub fn draft(&self, service: &Service, dockerfile: Option<&Dockerfile>) -> Draft {
        let node = get(&self.root, "services").and_then(|all| get(all, &service.name));
        let Some(node) = node else { return Sheet::new(&service_name(&service.name)).finish() };
        let name = service_name(&service.name);
        let name = if name.is_empty() { "service".to_owned() } else { name };
        let mut sheet = Sheet::new(&name);
        if name != service.name {
            self.note(
                &mut sheet,
                service.line,
                format!("{} is called {name}: names have a-z, 0-9 and -", quote(&service.name)),
            );
        }
        self.image(&mut sheet, node, service);
        self.command(&mut sheet, node);
        let port = self.port(&mut sheet, node, dockerfile);
        self.replicas(&mut sheet, node);
        self.one(&mut sheet, node, "user", "user", str::to_owned);
        self.volumes(&mut sheet, node);
        self.one(&mut sheet, node, "stop_signal", "stop-signal", signal);
        self.resources(&mut sheet, node);
        self.health(&mut sheet, node, port, dockerfile);
        self.environment(&mut sheet, node);
        sheet.plain(format!("# route: {{ host: {name}.example.com }}"), "without it, every host");
        self.one(&mut sheet, node, "stop_grace_period", "  drain", str::to_owned);
        self.tell(&mut sheet, node);
        if let Some(dockerfile) = dockerfile {
            dockerfile.tell(&mut sheet);
        }
        sheet.finish()
    }

    fn note(&self, sheet: &mut Sheet, line: usize, message: impl Into<String>) {
        sheet.note(&self.name, line, message);
    }

    fn from(&self, line: usize, what: impl Into<String>) -> From {
        From { file: self.name.clone(), line, what: what.into(), sure: true }
    }

    /// A value as Compose would have it without a variable set.
    fn text(&self, sheet: &mut Sheet, node: &Node, what: &str) -> Option<Text> {
        let line = node.span.line;
        let Some(written) = node.scalar() else {
            self.note(sheet, line, format!("{what} was left out: one value was expected, and it is {}", node.kind()));
            return None;
        };
        match interpolate::fill(written, '$', &|_| None) {
            Ok(filled) => {
                let guess =
                    (!filled.defaults.is_empty()).then(|| format!("the default of {}", filled.defaults.join(", ")));
                Some(Text { text: filled.text, guess, line })
            }
            Err(unknown) => {
                // The whole text is not shown: what is around a variable may be a secret.
                let message =
                    format!("{what} was left out: {} is set where Compose runs; write its value", quote(&unknown));
                self.note(sheet, line, message);
                None
            }
        }
    }

    fn guess(&self, sheet: &mut Sheet, key: &str, text: Text, what: &str) {
        let sure = text.guess.is_none();
        let what = text.guess.as_ref().map_or_else(|| what.to_owned(), |guess| format!("{what}, {guess}"));
        sheet.guess(format!("{key}: {}", scalar(&text.text)), From { sure, ..self.from(text.line, what) });
    }

    /// A key that becomes another, with one value.
    fn one(&self, sheet: &mut Sheet, node: &Node, theirs: &str, ours: &str, change: impl Fn(&str) -> String) {
        if let Some(node) = get(node, theirs)
            && let Some(text) = self.text(sheet, node, &format!("`{theirs}`"))
        {
            self.guess(sheet, ours, Text { text: change(&text.text), ..text }, theirs);
        }
    }

    fn image(&self, sheet: &mut Sheet, node: &Node, service: &Service) {
        let is_built = get(node, "build").is_some();
        let named = get(node, "image").and_then(|node| self.text(sheet, node, "`image`"));
        let named = named.filter(|text| !text.text.is_empty() && text.text.chars().all(|c| c.is_ascii_graphic()));
        match named {
            Some(text) => {
                let what = if is_built {
                    format!("image; build it with `docker compose build {}`", service.name)
                } else {
                    "image".to_owned()
                };
                self.guess(sheet, "image", text, &what);
            }
            None => {
                // Compose takes no other names; what is drafted of a file that it refuses has no errors either.
                let named = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
                let text: String = format!("{}-{}", self.project, service.name).chars().map(named).collect();
                let what = match is_built {
                    true => format!("what `docker compose build {}` calls it", service.name),
                    false => "it says none that can be read: write the image".to_owned(),
                };
                let from = From { sure: is_built, ..self.from(service.line, what) };
                sheet.guess(format!("image: {}", scalar(&text)), from);
            }
        }
    }

    fn command(&self, sheet: &mut Sheet, node: &Node) {
        let Some(node) = get(node, "command").filter(|node| !node.is_null()) else { return };
        let words = match &node.value {
            Value::List(list) => {
                let words: Option<Vec<Text>> = list.iter().map(|word| self.text(sheet, word, "`command`")).collect();
                words.map(|words| words.into_iter().map(|word| word.text).collect::<Vec<_>>())
            }
            _ => self.text(sheet, node, "`command`").and_then(|text| match crate::words::split(&text.text) {
                Ok(words) => Some(words),
                Err(why) => {
                    self.note(
                        sheet,
                        node.span.line,
                        format!("`command` was left out: {why}; write one program, or the shell into the image"),
                    );
                    None
                }
            }),
        };
        let Some(words) = words.filter(|words| !words.is_empty()) else { return };
        if words.iter().any(|word| secret::is_likely(word.split('=').next().unwrap_or(word), word)) {
            let message = "`command` was left out: it looks like it holds a secret, which everybody on the host could see; \
                           let the program read it from its environment";
            self.note(sheet, node.span.line, message);
            return;
        }
        sheet.guess(format!("command: {}", scalar(&self::words(&words))), self.from(node.span.line, "command"));
    }

    fn port(&self, sheet: &mut Sheet, node: &Node, dockerfile: Option<&Dockerfile>) -> Option<u16> {
        let mut taken = None::<u16>;
        for (written, line) in ports(node) {
            let filled = interpolate::fill(&written, '$', &|_| None);
            let port = match filled {
                Ok(filled) => container_port(&filled.text),
                // The host's side may be unknown: the container's is what counts.
                Err(unknown) => {
                    container_port(&written).map_err(|_| format!("{} is set where Compose runs", quote(&unknown)))
                }
            };
            match (port, taken) {
                (Ok(port), None) => {
                    sheet.guess(format!("port: {port}"), self.from(line, "the container's side of the first port"));
                    taken = Some(port);
                }
                (Ok(port), Some(taken)) if port != taken => {
                    self.note(
                        sheet,
                        line,
                        format!("port {port} was left out: a service has one port, and {taken} was taken"),
                    );
                }
                (Ok(_), _) => {}
                (Err(why), _) => self.note(sheet, line, format!("a port was left out: {why}")),
            }
        }
        if taken.is_none() {
            let own = environment(node).into_iter().find(|(name, _, _)| *name == "PORT");
            if let Some((_, Some(value), line)) = own
                && let Some(port) =
                    interpolate::fill(&value, '$', &|_| None).ok().and_then(|filled| filled.text.parse::<u16>().ok())
            {
                sheet.guess(format!("port: {port}"), self.from(line, "PORT of its environment"));
                return Some(port);
            }
            let told = dockerfile.is_some_and(|dockerfile| dockerfile.port(sheet, false));
            if !told {
                sheet.plain("# port: 8080", "not known: without it, the only port that the image exposes");
            }
        }
        taken
    }

    fn replicas(&self, sheet: &mut Sheet, node: &Node) {
        let deployed =
            get(node, "deploy").and_then(|deploy| get(deploy, "replicas")).map(|node| (node, "deploy.replicas"));
        let scaled = get(node, "scale").map(|node| (node, "scale"));
        match deployed.or(scaled) {
            Some((node, what)) => {
                if let Some(text) = self.text(sheet, node, &format!("`{what}`")) {
                    self.guess(sheet, "replicas", text, what);
                }
            }
            None => sheet.plain("# replicas: 2", ""),
        }
    }

    fn resources(&self, sheet: &mut Sheet, node: &Node) {
        let deploy = get(node, "deploy");
        let limits = deploy.and_then(|deploy| get(deploy, "resources")).and_then(|resources| get(resources, "limits"));
        let either = |inner: &str, outer: &str| {
            limits.and_then(|limits| get(limits, inner)).or_else(|| get(node, outer)).filter(|node| !node.is_null())
        };
        let mut lines = Vec::new();
        if let Some(node) = either("cpus", "cpus")
            && let Some(text) = self.text(sheet, node, "`cpus`")
        {
            match text.text.parse::<f64>().ok().filter(|cpus| *cpus > 0.0 && *cpus < 10_000.0) {
                Some(cpus) => lines.push((format!("  cpu: {}m", (cpus * 1000.0).round()), text.line, "cpus")),
                None if text.text.parse::<f64>().is_ok_and(|cpus| cpus == 0.0) => {}
                None => self.note(sheet, text.line, format!("`cpus` was left out: {} is no number", quote(&text.text))),
            }
        }
        if let Some(node) = either("memory", "mem_limit")
            && let Some(text) = self.text(sheet, node, "the memory")
        {
            match memory(&text.text) {
                Some(memory) => lines.push((format!("  memory: {memory}"), text.line, "its memory limit")),
                None => {
                    self.note(sheet, text.line, format!("the memory was left out: {} is no size", quote(&text.text)));
                }
            }
        }
        if !lines.is_empty() {
            sheet.plain("resources:", "");
        }
        for (text, line, what) in lines {
            sheet.guess(text, self.from(line, what));
        }
    }

    fn volumes(&self, sheet: &mut Sheet, node: &Node) {
        let Some(Value::List(list)) = get(node, "volumes").map(|node| &node.value) else { return };
        let mut found = Vec::new();
        for item in list {
            let line = item.span.line;
            let text = match &item.value {
                Value::Map(_) => self.long_volume(sheet, item),
                _ => self.text(sheet, item, "a volume").map(|text| text.text),
            };
            let Some(text) = text else { continue };
            match self.volume(&text) {
                Ok(volume) => found.push((volume, line)),
                Err(why) => self.note(sheet, line, format!("the volume {} was left out: {why}", quote(&text))),
            }
        }
        if let [(_, first), ..] = found.as_slice() {
            sheet.guess("volumes:", self.from(*first, "volumes; old and new version share them while both run"));
        }
        for (volume, line) in found {
            sheet.guess(format!("  - {}", crate::template::quoted(&volume)), self.from(line, "volumes"));
        }
    }

    /// The short form of a long one.
    fn long_volume(&self, sheet: &mut Sheet, item: &Node) -> Option<String> {
        let mut text =
            |name: &str| get(item, name).and_then(|node| self.text(sheet, node, "a volume")).map(|text| text.text);
        let (kind, source, target) = (text("type").unwrap_or_default(), text("source"), text("target"));
        let read_only = text("read_only").is_some_and(|value| value == "true");
        let mode = if read_only { ":ro" } else { "" };
        match (kind.as_str(), source, target) {
            ("volume" | "bind" | "", Some(source), Some(target)) => Some(format!("{source}:{target}{mode}")),
            (kind, _, _) => {
                let message =
                    format!("a volume of type {} was left out: write NAME:/PATH or /HOST/PATH:/PATH", quote(kind));
                self.note(sheet, item.span.line, message);
                None
            }
        }
    }

    fn volume(&self, text: &str) -> Result<String, String> {
        let mut parts = text.split(':');
        let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
            return Err("it has no name and would end with its container; give it one".to_owned());
        };
        let options: Vec<&str> = parts.next().unwrap_or_default().split(',').collect();
        let mode = if options.contains(&"ro") { ":ro" } else { "" };
        if source.starts_with('~') {
            return Err("~ is the home of whoever runs Compose; write the whole path".to_owned());
        }
        if source.starts_with(['.', '/']) {
            let path = std::path::absolute(self.folder.join(source)).map_err(|error| error.to_string())?;
            return Ok(format!("{}:{target}{mode}", normal(&path).display()));
        }
        let named = get(&self.root, "volumes").and_then(|volumes| get(volumes, source));
        let own = named.and_then(|named| get(named, "name")).and_then(|name| plain(name).ok());
        let external = named.and_then(|named| get(named, "external")).and_then(|node| plain(node).ok());
        let name = match (own, external.as_deref()) {
            (Some(own), _) => own,
            (None, Some("true")) => source.to_owned(),
            // What Compose calls it.
            (None, _) => format!("{}_{source}", self.project),
        };
        Ok(format!("{name}:{target}{mode}"))
    }

    fn health(&self, sheet: &mut Sheet, node: &Node, port: Option<u16>, dockerfile: Option<&Dockerfile>) {
        let Some(check) = get(node, "healthcheck") else {
            match dockerfile {
                Some(dockerfile) => dockerfile.health(sheet),
                None => sheet.plain(
                    "# health: { path: /healthz, grace: 60s, interval: 2s }",
                    "without a path, the image's HEALTHCHECK, else an open port",
                ),
            }
            return;
        };
        let line = check.span.line;
        let disabled = get(check, "disable").and_then(|node| plain(node).ok()).is_some_and(|text| text == "true");
        let test = get(check, "test");
        let command = match test.map(|test| &test.value) {
            Some(Value::List(list)) => {
                let words: Vec<String> = list.iter().filter_map(|word| plain(word).ok()).collect();
                match words.split_first() {
                    Some((first, rest)) if first == "CMD-SHELL" => Some(rest.join(" ")),
                    Some((first, rest)) if first == "CMD" => Some(joined(rest)),
                    _ => None,
                }
            }
            Some(_) => test.and_then(|test| plain(test).ok()),
            None => None,
        };
        if disabled || command.is_none() {
            self.note(sheet, line, "`healthcheck` says that there is none: an open port is healthy to Davy, unless `health.path` is written");
            sheet.plain("# health: { path: /healthz, grace: 60s, interval: 2s }", "");
            return;
        }
        let mut text =
            |name: &str| get(check, name).and_then(|node| self.text(sheet, node, name)).map(|text| text.text);
        let (interval, start) = (text("interval"), text("start_period"));
        let found = Check { request: command.and_then(|command| health::request(&command)), interval, start };
        if found.request.is_none() {
            let message = "`healthcheck` was left out: Davy asks for a path by HTTP; write `health.path`, or put the check into the image as HEALTHCHECK";
            self.note(sheet, line, message);
        }
        let otherwise = || "it is no plain request; the image's HEALTHCHECK is heeded".to_owned();
        write_health(sheet, &self.from(line, "healthcheck"), &found, port, otherwise);
    }

    fn environment(&self, sheet: &mut Sheet, node: &Node) {
        let others: Vec<&str> = self.services.iter().map(|service| service.name.as_str()).collect();
        let (mut lines, mut secrets) = (Vec::new(), Vec::new());
        for (name, value, line) in environment(node) {
            let Some(value) = value else {
                self.note(
                    sheet,
                    line,
                    format!(
                        "{} of the environment was left out: its value comes from where Compose runs; write it",
                        quote(name)
                    ),
                );
                continue;
            };
            // What a variable brings is as secret as its own name says.
            if secret::is_likely(name, &value) || value.contains('$') && secret::is_likely(&value, "") {
                secrets.push((name, line));
                continue;
            }
            if name == "PORT" {
                self.note(sheet, line, "PORT of the environment was left out: Davy sets it, to what `port` says");
                continue;
            }
            let what = format!("{} of the environment", quote(name));
            let text = match interpolate::fill(&value, '$', &|_| None) {
                Ok(filled) => filled,
                Err(unknown) => {
                    self.note(
                        sheet,
                        line,
                        format!("{what} was left out: {} is set where Compose runs; write its value", quote(&unknown)),
                    );
                    continue;
                }
            };
            if let Some(host) = values::host(name, &text.text).filter(|host| others.contains(host)) {
                let message = format!(
                    "{what} names the service `{host}` of the Compose file: Davy's containers do not find it by that \
                     name; publish it on the host, and write host.docker.internal"
                );
                self.note(sheet, line, message);
            }
            let what = match text.defaults.is_empty() {
                true => "environment".to_owned(),
                false => format!("environment, the default of {}", text.defaults.join(", ")),
            };
            lines.push((format!("  {}: {}", scalar(name), scalar(&text.text)), line, what));
        }
        match lines.is_empty() {
            true => sheet.plain("# env: { COLOR: blue }", ""),
            false => sheet.plain("env:", ""),
        }
        for (text, line, what) in lines {
            sheet.guess(text, self.from(line, what));
        }
        if !secrets.is_empty() {
            let names = secrets.iter().map(|(name, _)| scalar(name)).collect::<Vec<_>>().join(", ");
            sheet.plain(format!("# secrets: [{names}]"), "give each with `davy secret set`, then uncomment this");
        }
        for (name, line) in &secrets {
            sheet.secret(name, From { sure: false, ..self.from(*line, "environment, and it looks like a secret") });
            let shown: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
            sheet.plain(
                "",
                format!(
                    "{shown} looks like a secret and was not copied ({}:{line}): keep it out of this file",
                    self.name
                ),
            );
            self.note(sheet, *line, format!("{} looks like a secret and was not copied: give it to Davy with `davy secret set`, and name it under `secrets`", quote(name)));
        }
    }

    /// What cannot be expressed.
    fn tell(&self, sheet: &mut Sheet, node: &Node) {
        if let Some(include) = get(&self.root, "include") {
            self.note(sheet, include.span.line, "`include` was not read: name the included file with --from");
        }
        let pairs = match &node.value {
            Value::Map(_) => merged(node),
            _ => Vec::new(),
        };
        for (key, value) in pairs {
            let line = value.span.line;
            if key == "env_file" {
                self.note(sheet, line, "`env_file` was not read, since it may hold secrets: write plain values under `env`, and give secrets with `davy secret set`");
            } else if key == "secrets" {
                self.note(
                    sheet,
                    line,
                    "`secrets` were not read: give each with `davy secret set`, and name it under `secrets`",
                );
            } else if key == "restart" {
                if plain(value).is_ok_and(|text| text == "no" || text == "false") {
                    self.note(sheet, line, "`restart: no` was left out: what ends is started again");
                }
            } else if key == "deploy" {
                let known = ["replicas", "resources", "restart_policy", "mode"];
                for (inner, value) in merged(value).into_iter().filter(|(inner, _)| !known.contains(inner)) {
                    self.note(
                        sheet,
                        value.span.line,
                        format!("`deploy.{inner}` was left out: see `rollout` for how versions change"),
                    );
                }
            } else if let Some((_, why)) = LEFT_OUT.iter().find(|(known, _)| *known == key) {
                self.note(sheet, line, format!("`{key}` was left out: {why}"));
            } else if !READ.contains(&key) && !key.starts_with("x-") {
                self.note(sheet, line, format!("{} was left out: it is not set on Davy's containers", quote(key)));
            }
        }
    }
}
