//! An error of the file, for people and programs.

use crate::Code;
use serde::Serialize;

/// What is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Its code.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters it is about; at least 1.
    #[serde(skip)]
    pub length: usize,
    /// What to do.
    pub hint: String,
}

/// The error with its line, as plain text.
#[must_use]
pub fn render(diagnostic: &Diagnostic, text: &str, file: &str) -> String {
    let Diagnostic { code, message, line, column, length, hint } = diagnostic;
    let mut out = format!("error[{code}]: {message}\n --> {file}:{line}:{column}\n");
    if let Some(source) = text.lines().nth(line - 1).filter(|source| source.len() <= 400) {
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        let source: String = source.chars().map(|c| if c == '\t' || c.is_control() { ' ' } else { c }).collect();
        let room = source.chars().count().saturating_sub(column - 1).max(1);
        let caret = "^".repeat((*length).clamp(1, room));
        out.push_str(&format!("{gutter} |\n{number} | {source}\n{gutter} | {}{caret}\n", " ".repeat(column - 1)));
    }
    if !hint.is_empty() {
        out.push_str(&format!("  help: {hint}\n"));
    }
    out
}
