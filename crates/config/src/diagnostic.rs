//! An error of the file, for people and programs.

use crate::{Code, codes};
use serde::Serialize;

/// What is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Its code.
    pub code: Code,
    /// What is wrong. One line, without control characters.
    pub message: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters it is about; at least 1.
    #[serde(skip)]
    pub length: usize,
    /// What to do. One line, without control characters.
    pub hint: String,
}

/// The width of a terminal that shows a long line's part.
const WIDTH: usize = 120;
/// A line with this holds a secret, whatever else is wrong with it.
const SLACK: &str = "hooks.slack.com/";
/// What of a long line stands before the place.
const BEFORE: usize = 40;

/// The error with its line, as plain text. What the file says is shown without its control characters, so that a file
/// cannot write to a terminal more than its text.
#[must_use]
pub fn render(diagnostic: &Diagnostic, text: &str, file: &str) -> String {
    shown("error", diagnostic, text, file)
}

/// What is allowed and should be known, in the same form.
#[must_use]
pub fn note(diagnostic: &Diagnostic, text: &str, file: &str) -> String {
    shown("note", diagnostic, text, file)
}

fn shown(what: &str, diagnostic: &Diagnostic, text: &str, file: &str) -> String {
    let Diagnostic { code, message, line, column, length, hint } = diagnostic;
    let mut out = format!("{what}[{code}]: {message}\n --> {}:{line}:{column}\n", plain(file));
    // What is wrong there may be that it holds a secret.
    let source = lines(text).nth(line - 1).filter(|source| *code != codes::ADDRESS && !source.contains(SLACK));
    if let Some(source) = source {
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        let before = if *column > WIDTH - BEFORE { column - 1 - BEFORE } else { 0 };
        let source = source.chars().skip(before).take(WIDTH).collect::<String>();
        let source = plain(source.trim_end());
        let at = column - 1 - before;
        let room = source.chars().count().saturating_sub(at).max(1);
        let caret = "^".repeat((*length).clamp(1, room));
        out.push_str(&format!("{gutter} |\n{number} | {source}\n{gutter} | {}{caret}\n", " ".repeat(at)));
    }
    if !hint.is_empty() {
        out.push_str(&format!("  help: {hint}\n"));
    }
    out
}

/// The lines of a file as YAML counts them, without a byte order mark.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text.strip_prefix('\u{FEFF}').unwrap_or(text));
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            rest = None;
            return (!text.is_empty()).then_some(text);
        };
        let (line, after) = text.split_at(end);
        rest = Some(after.strip_prefix("\r\n").unwrap_or(&after[1..]));
        Some(line)
    })
}

/// One space for each character that would move a cursor or hide text, so that columns stay.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect()
}

/// A part of the file in a message: in backquotes, without control characters, not longer than needed to know it again.
pub(crate) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut out = String::from("`");
    for (count, c) in text.chars().enumerate() {
        if count == LONGEST {
            out.push('…');
            break;
        }
        match is_hidden(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out.push('`');
    out
}

/// Controls, and what reorders or hides the text around it.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}
