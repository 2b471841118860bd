//! Data to stdout, messages to stderr. A closed pipe is not an error.

use serde::Serialize;
use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// One JSON object on a line of stdout.
pub(crate) fn json(value: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(value) {
        data(&line);
    }
}

/// A line of data.
pub(crate) fn data(line: &str) {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}

/// A line for a person.
pub(crate) fn say(line: &str) {
    writeln!(io::stderr().lock(), "{line}").ok();
}

/// What is worked on, for a person: on a terminal one line that is painted again, else a line from time to time.
#[derive(Default)]
pub(crate) struct Working {
    told: Option<(String, Instant)>,
}

impl Working {
    const EVERY: Duration = Duration::from_secs(5);

    pub(crate) fn tell(&mut self, on: &str) {
        let repaints = io::stderr().is_terminal();
        if self.told.as_ref().is_some_and(|(told, at)| told == on || !repaints && at.elapsed() < Self::EVERY) {
            return;
        }
        match repaints {
            true => write!(io::stderr().lock(), "\r\x1b[2K  {on}").ok(),
            false => writeln!(io::stderr().lock(), "  {on}").ok(),
        };
        self.told = Some((on.to_owned(), Instant::now()));
    }

    pub(crate) fn over(self) {
        if self.told.is_some() && io::stderr().is_terminal() {
            say("");
        }
    }
}

/// Whether stdout is repainted: a terminal that can be.
pub(crate) fn repaints() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Replaces the `previous` lines painted last; gives the number painted now.
pub(crate) fn repaint(previous: usize, lines: &[String]) -> usize {
    let mut out = io::stdout().lock();
    let mut text = String::new();
    if previous > 0 {
        text.push_str(&format!("\x1b[{previous}A"));
    }
    for line in lines {
        text.push_str("\x1b[2K");
        text.push_str(line);
        text.push('\n');
    }
    for _ in lines.len()..previous {
        text.push_str("\x1b[2K\n");
    }
    if previous > lines.len() {
        text.push_str(&format!("\x1b[{}A", previous - lines.len()));
    }
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
    lines.len()
}

/// A moment as people read it.
pub(crate) fn time(at: davy_core::Timestamp) -> String {
    jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap_or(i64::MAX))
        .map_or_else(|_| String::new(), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}
