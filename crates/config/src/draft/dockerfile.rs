//! A Dockerfile, as far as it says how its containers are to be run: the last stage, with what it is built on.

use super::{
    Draft, Refusal,
    health::{self, Request},
    interpolate,
    sheet::{self, From, Sheet},
};
use crate::{diagnostic::quote, tree};
use std::collections::{BTreeMap, HashMap};

const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// More stages or ports than this are nobody's.
const MOST: usize = 100;

/// Something that an instruction says, and its line.
#[derive(Clone, Debug)]
pub(super) struct Said<T> {
    pub line: usize,
    pub value: T,
}

/// What `HEALTHCHECK` says.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub request: Option<Request>,
    pub interval: Option<String>,
    pub start: Option<String>,
}

/// What one stage says of its containers.
#[derive(Clone, Debug, Default)]
struct Stage {
    name: Option<String>,
    values: BTreeMap<String, String>,
    /// What `ENV PORT` says: a program that reads it listens there.
    told: Option<Said<u16>>,
    ports: Vec<Said<u16>>,
    user: Option<Said<String>>,
    stop_signal: Option<Said<String>>,
    check: Option<Said<Check>>,
    volumes: Vec<Said<String>>,
    notes: Vec<(usize, String)>,
}

/// A Dockerfile that was read.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    name: String,
    stage: Stage,
}

/// One instruction, its continuation lines joined.
struct Instruction {
    line: usize,
    name: String,
    rest: String,
}

impl Dockerfile {
    /// Reads one; `name` is how it is called in reasons, `target` the stage that counts when it is not the last.
    ///
    /// # Errors
    /// What keeps it from being read, with its line.
    pub fn read(name: &str, bytes: &[u8], target: Option<&str>) -> Result<Self, Refusal> {
        let text = tree::text(bytes)?;
        let escape = escape(text);
        let mut global = BTreeMap::new();
        let mut stages: Vec<Stage> = Vec::new();
        let mut named: HashMap<String, usize> = HashMap::new();
        for Instruction { line, name, rest } in instructions(text, escape)? {
            if name == "FROM" {
                let (image, called) = from(&rest, escape, &global)
                    .ok_or_else(|| Refusal::new(line, "FROM names no image", "write FROM IMAGE [AS NAME]"))?;
                let mut stage = named.get(&image).and_then(|at| stages.get(*at)).cloned().unwrap_or_default();
                if let Some(called) = &called {
                    named.insert(called.clone(), stages.len());
                }
                stage.name = called;
                if stages.len() >= MOST {
                    let message = format!("there are more than {MOST} stages");
                    return Err(Refusal::new(
                        line,
                        message,
                        "write the davy.yaml by hand: `davy init --command` begins one",
                    ));
                }
                stages.push(stage);
            } else if let Some(stage) = stages.last_mut() {
                stage.take(line, &name, &rest, escape, &global);
            } else if name == "ARG" {
                arguments(&rest, escape, &mut global, &BTreeMap::new());
            } else {
                let message = format!("{name} comes before any FROM");
                return Err(Refusal::new(line, message, "a Dockerfile begins with FROM; is this one?"));
            }
        }
        let wanted = target.map(str::to_ascii_lowercase);
        let stage = match &wanted {
            None => stages.pop(),
            Some(wanted) => stages.into_iter().rfind(|stage| stage.name.as_ref() == Some(wanted)),
        };
        let stage = stage.ok_or_else(|| match wanted {
            Some(wanted) => Refusal::new(1, format!("there is no stage {}", quote(&wanted)), "see `target` of `build`"),
            None => Refusal::new(1, "there is no FROM in it", "a Dockerfile begins with FROM; is this one?"),
        })?;
        Ok(Self { name: name.to_owned(), stage })
    }

    /// A file for a service of this image.
    #[must_use]
    pub fn draft(&self, service: &str) -> Draft {
        let mut sheet = Sheet::new(service);
        let what = format!("build it with `docker build -t {service} .`");
        sheet.guess(format!("image: {service}"), From { sure: false, ..self.from(1, what) });
        self.port(&mut sheet, true);
        sheet.plain("# replicas: 2", "");
        if let Some(said) = &self.stage.user {
            sheet.guess(format!("user: {}", sheet::scalar(&said.value)), self.from(said.line, "USER"));
        }
        if let Some(said) = &self.stage.stop_signal {
            let text = format!("stop-signal: {}", sheet::scalar(&said.value));
            sheet.guess(text, self.from(said.line, "STOPSIGNAL"));
        }
        self.health(&mut sheet);
        sheet.plain("# env: { COLOR: blue }", "what the image's ENV says is there without it");
        sheet.plain(format!("# route: {{ host: {service}.example.com }}"), "without it, every host");
        self.tell(&mut sheet);
        sheet.finish()
    }

    fn from(&self, line: usize, what: impl Into<String>) -> From {
        From { file: self.name.clone(), line, what: what.into(), sure: true }
    }

    /// The first port, else what `ENV PORT` says.
    pub(super) fn port(&self, sheet: &mut Sheet, must: bool) -> bool {
        match (self.stage.ports.as_slice(), &self.stage.told) {
            ([first, more @ ..], _) => {
                sheet.guess(format!("port: {}", first.value), self.from(first.line, "EXPOSE"));
                for other in more {
                    let message = format!(
                        "EXPOSE {}: a service has one port, and {} was taken; write the other if that is the one",
                        other.value, first.value
                    );
                    sheet.note(&self.name, other.line, message);
                }
                true
            }
            ([], Some(told)) => {
                sheet.guess(format!("port: {}", told.value), self.from(told.line, "ENV PORT"));
                true
            }
            ([], None) if must => {
                let from = self.from(1, "nothing says it, there is no EXPOSE");
                sheet.guess("port: 8080", From { sure: false, ..from });
                let message = "there is no EXPOSE: 8080 was guessed; write in `port` where the container listens";
                sheet.note(&self.name, 1, message);
                false
            }
            _ => false,
        }
    }

    pub(super) fn health(&self, sheet: &mut Sheet) {
        let Some(said) = &self.stage.check else {
            sheet.plain(
                "# health: { path: /healthz, grace: 60s, interval: 2s }",
                "without a path, an open port is healthy",
            );
            return;
        };
        let port = self.stage.ports.first().map(|port| port.value);
        write_health(sheet, &self.from(said.line, "HEALTHCHECK"), &said.value, port, || {
            "the image's own HEALTHCHECK is heeded".to_owned()
        });
    }

    /// What cannot be expressed.
    pub(super) fn tell(&self, sheet: &mut Sheet) {
        for said in &self.stage.volumes {
            let message = format!(
                "VOLUME {0} is each container's own and ends with it; to keep it: volumes: [\"NAME:{0}\"]",
                quote(&said.value).trim_matches('`')
            );
            sheet.note(&self.name, said.line, message);
        }
        for (line, message) in &self.stage.notes {
            sheet.note(&self.name, *line, message.clone());
        }
    }
}

/// A health check, whoever says it. `otherwise` says what becomes of one that is no request.
pub(super) fn write_health(
    sheet: &mut Sheet,
    from: &From,
    check: &Check,
    port: Option<u16>,
    otherwise: impl FnOnce() -> String,
) {
    let Some(request) = &check.request else {
        sheet.plain("# health: { path: /healthz }", format!("{} ({}:{})", otherwise(), from.file, from.line));
        return;
    };
    sheet.plain("health:", "");
    sheet.guess(format!("  path: {}", sheet::scalar(&request.path)), from.clone());
    if let Some(start) = &check.start {
        let what = format!("{}'s start period", from.what);
        sheet.guess(format!("  grace: {}", sheet::scalar(start)), From { what, ..from.clone() });
    }
    if let Some(interval) = &check.interval {
        let what = format!("{}'s interval", from.what);
        sheet.guess(format!("  interval: {}", sheet::scalar(interval)), From { what, ..from.clone() });
    }
    if let (Some(asked), Some(port)) = (request.port, port)
        && asked != port
    {
        let message = format!(
            "the health check asks on port {asked}, the service is on {port}: Davy asks on `port`; see that it answers there"
        );
        sheet.note(&from.file, from.line, message);
    }
}

impl Stage {
    fn take(&mut self, line: usize, name: &str, rest: &str, escape: char, global: &BTreeMap<String, String>) {
        match name {
            "ARG" => arguments(rest, escape, &mut self.values, global),
            "ENV" => self.environment(line, rest, escape),
            "EXPOSE" => {
                for word in rest.split_whitespace() {
                    match self.filled(word, escape) {
                        Ok(text) => self.expose(line, &text),
                        Err(unknown) => self.notes.push((
                            line,
                            format!("EXPOSE {word}: nothing gives {unknown} a value; write `port` yourself"),
                        )),
                    }
                }
            }
            "USER" => self.user = self.said(line, name, rest, escape).or(self.user.take()),
            "STOPSIGNAL" => {
                let said = self.said(line, name, rest, escape);
                self.stop_signal =
                    said.map(|said| Said { value: signal(&said.value), ..said }).or(self.stop_signal.take());
            }
            "HEALTHCHECK" => self.check = check(rest).map(|value| Said { line, value }),
            "VOLUME" => {
                let paths = array(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
                self.volumes.extend(paths.into_iter().map(|value| Said { line, value }));
            }
            _ => {}
        }
    }

    fn filled(&self, text: &str, escape: char) -> Result<String, String> {
        interpolate::fill(text, escape, &|name| self.values.get(name).cloned()).map(|filled| filled.text)
    }

    fn said(&mut self, line: usize, name: &str, rest: &str, escape: char) -> Option<Said<String>> {
        match self.filled(rest.trim(), escape) {
            Ok(value) => Some(Said { line, value }),
            Err(unknown) => {
                let message = format!("{name} {rest}: nothing gives {unknown} a value here; the image's own is used");
                self.notes.push((line, message));
                None
            }
        }
    }

    fn expose(&mut self, line: usize, text: &str) {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        if !protocol.eq_ignore_ascii_case("tcp") {
            let message = format!("EXPOSE {text}: the gateway carries HTTP over TCP; publish it without Davy");
            self.notes.push((line, message));
            return;
        }
        let first = range.split('-').next().unwrap_or_default();
        match first.parse::<u16>() {
            Ok(port) if port > 0 => {
                if self.ports.len() < MOST && !self.ports.iter().any(|known| known.value == port) {
                    self.ports.push(Said { line, value: port });
                }
            }
            _ => self.notes.push((line, format!("EXPOSE {}: this is no port; write `port` yourself", quote(text)))),
        }
    }

    fn environment(&mut self, line: usize, rest: &str, escape: char) {
        let words = crate::words::split(rest).unwrap_or_default();
        let pairs: Vec<(String, String)> = match words.first() {
            Some(first) if first.contains('=') => words
                .iter()
                .filter_map(|word| word.split_once('='))
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .collect(),
            Some(first) => vec![(first.clone(), words[1..].join(" "))],
            None => Vec::new(),
        };
        for (name, value) in pairs {
            if let Ok(value) = self.filled(&value, escape) {
                if name == "PORT" {
                    self.told = value.parse().ok().filter(|port| *port > 0).map(|value| Said { line, value });
                }
                self.values.insert(name, value);
            }
        }
    }
}

fn arguments(rest: &str, escape: char, into: &mut BTreeMap<String, String>, global: &BTreeMap<String, String>) {
    for word in crate::words::split(rest).unwrap_or_default() {
        let known = |name: &str| into.get(name).cloned();
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), interpolate::fill(value, escape, &known).ok().map(|f| f.text)),
            None => (word.clone(), global.get(&word).cloned()),
        };
        if let Some(value) = value {
            into.insert(name, value);
        }
    }
}

/// The image and the stage's name, both as they are looked up.
fn from(rest: &str, escape: char, global: &BTreeMap<String, String>) -> Option<(String, Option<String>)> {
    let mut words = rest.split_whitespace().filter(|word| !word.starts_with("--"));
    let image = words.next()?;
    let filled = interpolate::fill(image, escape, &|name| global.get(name).cloned());
    let image = filled.map_or_else(|_| image.to_owned(), |filled| filled.text);
    let called = words.next().filter(|word| word.eq_ignore_ascii_case("as")).and(words.next());
    Some((image.to_ascii_lowercase(), called.map(str::to_ascii_lowercase)))
}

/// Signals may be written as their numbers.
pub(super) fn signal(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    let known = match upper.as_str() {
        "1" => "SIGHUP",
        "2" => "SIGINT",
        "3" => "SIGQUIT",
        "9" => "SIGKILL",
        "10" => "SIGUSR1",
        "12" => "SIGUSR2",
        "15" => "SIGTERM",
        "28" => "SIGWINCH",
        name if name.starts_with("SIG") || name.is_empty() => name,
        name => return format!("SIG{name}"),
    };
    known.to_owned()
}

fn check(rest: &str) -> Option<Check> {
    let (mut interval, mut start, mut rest) = (None, None, rest.trim());
    while let Some(option) = rest.strip_prefix("--") {
        let (word, after) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        match word.split_once('=') {
            Some(("interval", value)) => interval = Some(value.to_owned()),
            Some(("start-period", value)) => start = Some(value.to_owned()),
            _ => {}
        }
        rest = after.trim_start();
    }
    let (word, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if !word.eq_ignore_ascii_case("CMD") {
        // NONE, or nothing that is known.
        return None;
    }
    let command = match array(command) {
        Some(words) => joined(&words),
        None => command.to_owned(),
    };
    Some(Check { request: health::request(&command), interval, start })
}

/// The command that words make; those of a shell are its script.
pub(super) fn joined(words: &[String]) -> String {
    match words {
        [shell, option, script] if shell.ends_with("sh") && option == "-c" => script.clone(),
        _ => words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
    }
}

fn array(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text.trim()).ok()
}

/// The character that continues a line: a directive at the top may choose another.
fn escape(text: &str) -> char {
    let directives = text.lines().map(str::trim).take_while(|line| line.starts_with('#'));
    let mut said = directives.filter_map(|line| line.trim_start_matches('#').trim().split_once('='));
    let chosen = said.find(|(name, _)| name.trim().eq_ignore_ascii_case("escape"));
    if chosen.is_some_and(|(_, value)| value.trim() == "`") { '`' } else { '\\' }
}

fn instructions(text: &str, escape: char) -> Result<Vec<Instruction>, Refusal> {
    let mut all = Vec::new();
    let mut lines = crate::diagnostic::lines(text).enumerate().map(|(at, line)| (at + 1, line));
    while let Some((number, first)) = lines.next() {
        let skipped = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
        if skipped(first) {
            continue;
        }
        let mut whole = String::new();
        let mut line = first;
        loop {
            if let Some(begun) = line.trim_end().strip_suffix(escape) {
                whole.push_str(begun);
                whole.push(' ');
                // Comments and empty lines do not end it.
                match lines.by_ref().find(|(_, next)| !skipped(next)) {
                    Some((_, next)) => line = next,
                    None => break,
                }
            } else {
                whole.push_str(line);
                break;
            }
        }
        let whole = whole.trim();
        let (name, rest) = whole.split_once(char::is_whitespace).unwrap_or((whole, ""));
        let name = name.to_ascii_uppercase();
        if !INSTRUCTIONS.contains(&name.as_str()) {
            let message = format!("{} is no instruction of a Dockerfile", quote(&name));
            return Err(Refusal::new(number, message, "see that it is a Dockerfile, and that lines go on with a `\\`"));
        }
        if ["RUN", "COPY", "ADD"].contains(&name.as_str()) {
            for (end, tabs) in heredocs(rest) {
                let closed = lines.by_ref().any(|(_, line)| {
                    let line = if tabs { line.trim_start_matches('\t') } else { line };
                    line == end
                });
                if !closed {
                    let message = format!("the text that begins with <<{end} has no end");
                    return Err(Refusal::new(number, message, format!("put a line with {end} alone after it")));
                }
            }
        }
        all.push(Instruction { line: number, name, rest: rest.trim().to_owned() });
    }
    Ok(all)
}

/// The words that end the texts which begin here, and whether tabs before them are nothing.
fn heredocs(rest: &str) -> Vec<(String, bool)> {
    let begun = rest
        .split_whitespace()
        .filter_map(|word| word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<"));
    let named = begun.filter_map(|word| {
        let (word, tabs) = word.strip_prefix('-').map_or((word, false), |word| (word, true));
        let name = word.trim_matches(['"', '\'']);
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c));
        is_name.then(|| (name.to_owned(), tabs))
    });
    named.collect()
}
