//! The file as it is drafted: lines with their reasons, checked as any file is. A line with an error is taken back to a
//! comment and told, so that what is written has none.

use super::Form;
use crate::{
    diagnostic::{plain, quote},
    parse,
    template::quoted,
};

/// What could not be taken over, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The file that it is about.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What, why, and what to do: one line.
    pub message: String,
}

/// A `davy.yaml` without errors, its guesses marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The service.
    pub service: String,
    /// The file.
    pub text: String,
    /// What is not in it.
    pub notes: Vec<Note>,
    /// The same as fields, each with where it comes from.
    pub form: Form,
}

impl Draft {
    /// Of a command, where nothing is there to guess from. See [`crate::template`].
    #[must_use]
    pub fn template(service: &str, command: &str) -> Self {
        let text = crate::template(service, command);
        let form = Form::read(&text, |_| None);
        Self { service: service.to_owned(), text, notes: Vec::new(), form }
    }
}

/// Where a guess comes from.
#[derive(Clone, Debug)]
pub(super) struct From {
    pub file: String,
    pub line: usize,
    pub what: String,
    /// Whether the line says it, and it is not only likely.
    pub sure: bool,
}

struct Line {
    text: String,
    comment: String,
    from: Option<From>,
}

/// A draft under way.
pub(super) struct Sheet {
    service: String,
    lines: Vec<Line>,
    notes: Vec<Note>,
    /// What looks like secrets: a file names them once they are set, a form at once.
    secrets: Vec<(String, From)>,
}

/// The column at which reasons stand.
const REASONS: usize = 40;

impl Sheet {
    pub(super) fn new(service: &str) -> Self {
        let mut sheet = Self { service: service.to_owned(), lines: Vec::new(), notes: Vec::new(), secrets: Vec::new() };
        sheet.plain(format!("service: {service}"), "");
        sheet
    }

    /// A line that is no guess.
    pub(super) fn plain(&mut self, text: impl Into<String>, comment: impl Into<String>) {
        self.lines.push(Line { text: text.into(), comment: comment.into(), from: None });
    }

    /// A line that is a guess.
    pub(super) fn guess(&mut self, text: impl Into<String>, from: From) {
        let comment = format!("guessed: {} ({}:{})", from.what, from.file, from.line);
        self.lines.push(Line { text: text.into(), comment, from: Some(from) });
    }

    /// The name of what is likely a secret.
    pub(super) fn secret(&mut self, name: &str, from: From) {
        self.secrets.push((name.to_owned(), from));
    }

    pub(super) fn note(&mut self, file: &str, line: usize, message: impl Into<String>) {
        let message = plain(&message.into());
        self.notes.push(Note { file: file.to_owned(), line, message });
    }

    /// The file, and what was told.
    pub(super) fn finish(mut self) -> Draft {
        for line in [
            "",
            "rollout:",
            "  canary:",
            "    steps: [1%, 5%, 25%, 50%, 100%]     # each needs proof that it is no worse than the stable version",
            "    hold: 60s                           # the least time at each weight",
            "    deadline: 30m                       # the most; then a person is asked",
            "  bake: 15m                             # the old version is kept so long for an instant way back",
        ] {
            self.plain(line, "");
        }
        // What was said of the rollout stands in it.
        let (drafted, rest): (Vec<Line>, Vec<Line>) =
            self.lines.into_iter().partition(|line| !line.text.starts_with("  drain:"));
        self.lines = drafted;
        self.lines.extend(rest);
        loop {
            let text: String = self.lines.iter().map(render).collect();
            let errors = parse(text.as_bytes()).err().unwrap_or_default();
            let Some(error) = errors.first().filter(|_| !self.lines.is_empty()) else {
                self.notes.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
                let from = |line: usize| self.lines.get(line - 1)?.from.as_ref();
                let words = |from: &From| format!("{} ({}:{})", from.what, from.file, from.line);
                let mut form = Form::read(&text, |line| from(line).map(|from| (words(from), from.sure)));
                if let [(_, first), ..] = self.secrets.as_slice() {
                    let names: Vec<&str> = self.secrets.iter().map(|(name, _)| name.as_str()).collect();
                    form.say("secrets", names.join("\n"), words(first), false);
                }
                return Draft { service: self.service, text, notes: self.notes, form };
            };
            let at = (error.line - 1).min(self.lines.len() - 1);
            let line = &mut self.lines[at];
            let (file, number) = line.from.as_ref().map_or((String::new(), 0), |from| (from.file.clone(), from.line));
            if line.text.starts_with('#') || number == 0 {
                // Only a guess can be wrong; were another line, this would not end.
                self.lines.remove(at);
                continue;
            }
            let key = line.text.trim().trim_start_matches("- ").split(':').next().unwrap_or_default().to_owned();
            self.notes.push(Note {
                file,
                line: number,
                message: format!("{} was left out: {}; {}", quote(&key), error.message, error.hint),
            });
            let indent = line.text.len() - line.text.trim_start().len();
            line.text = format!("{}# {}", " ".repeat(indent), line.text.trim_start());
            line.comment = String::new();
        }
    }
}

fn render(line: &Line) -> String {
    let comment = plain(&line.comment);
    if line.comment.is_empty() {
        return format!("{}\n", line.text);
    }
    if line.text.is_empty() {
        return format!("# {comment}\n");
    }
    let pad = REASONS.saturating_sub(line.text.chars().count()).max(2);
    format!("{}{}# {comment}\n", line.text, " ".repeat(pad))
}

/// A scalar that YAML reads as this text.
pub(super) fn scalar(text: &str) -> String {
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "_./@+:-".contains(c));
    let nothing = ["null", "Null", "NULL"].contains(&text);
    match begins && plain && !nothing && !text.ends_with(':') {
        true => text.to_owned(),
        false => quoted(text),
    }
}
