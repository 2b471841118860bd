//! The output of an instance: each line with the time it was read and where it was written, in two files of bounded
//! size. `1732156800123 e text` is one line of standard error.

use super::protocol::now;
use davy_core::Timestamp;
use davy_place::{Mask, Masked};
use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The file that is written.
pub(crate) const CURRENT: &str = "output.log";
/// The file before it.
pub(crate) const PREVIOUS: &str = "output.1.log";
/// The size at which the file is put aside.
const LIMIT: u64 = 10 * 1024 * 1024;
/// A line longer than this is cut into several.
const LONGEST_LINE: usize = 16 * 1024;
/// How many last lines are kept for the reason of an end, and how long each may be.
const LAST_LINES: usize = 5;
const LAST_LINE_LENGTH: usize = 300;

/// Where a line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Stdout,
    Stderr,
}

/// Reads one stored line, without its end.
pub(crate) fn parse_line(line: &[u8]) -> Option<(Timestamp, Source, String)> {
    let mut parts = line.splitn(3, |byte| *byte == b' ');
    let at = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let source = match parts.next()? {
        b"o" => Source::Stdout,
        b"e" => Source::Stderr,
        _ => return None,
    };
    Some((Timestamp(at), source, String::from_utf8_lossy(parts.next()?).into_owned()))
}

#[derive(Default)]
struct Part {
    masked: Masked,
    unfinished: Vec<u8>,
    last: VecDeque<String>,
}

pub(super) struct Output {
    /// Secrets never get to the file.
    mask: Mask,
    folder: PathBuf,
    file: Option<File>,
    size: u64,
    stdout: Part,
    stderr: Part,
}

impl Output {
    pub(super) fn open(folder: &Path, mask: Mask) -> Self {
        let (stdout, stderr) = (Part::default(), Part::default());
        let mut output = Self { mask, folder: folder.to_owned(), file: None, size: 0, stdout, stderr };
        // A full disk costs lines, not the service.
        let _ = output.reopen();
        output
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(self.folder.join(CURRENT))?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Takes what was read; lines are written when they end.
    pub(super) fn take(&mut self, source: Source, bytes: &[u8]) {
        let mut ready = Vec::new();
        let part = match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        };
        let shown = part.masked.take(&self.mask, bytes);
        for piece in shown.split_inclusive(|byte| *byte == b'\n') {
            part.unfinished.extend_from_slice(piece);
            if piece.ends_with(b"\n") || part.unfinished.len() >= LONGEST_LINE {
                ready.append(&mut part.finish(source));
            }
        }
        self.write(&ready);
    }

    /// Writes a last line that has no end.
    pub(super) fn flush(&mut self) {
        let mut ready = Vec::new();
        for (part, source) in [(&mut self.stdout, Source::Stdout), (&mut self.stderr, Source::Stderr)] {
            let rest = part.masked.end(&self.mask);
            part.unfinished.extend(rest);
            if !part.unfinished.is_empty() {
                ready.append(&mut part.finish(source));
            }
        }
        self.write(&ready);
    }

    /// The last lines of standard error, or of standard output where that says nothing.
    pub(super) fn last_lines(&self) -> Vec<String> {
        let part = if self.stderr.last.is_empty() { &self.stdout } else { &self.stderr };
        part.last.iter().cloned().collect()
    }

    /// Forgets the last lines: they belong to the process before.
    pub(super) fn forget(&mut self) {
        self.stdout.last.clear();
        self.stderr.last.clear();
    }

    fn write(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        if self.size >= LIMIT || self.file.is_none() {
            if self.size >= LIMIT {
                let _ = fs::rename(self.folder.join(CURRENT), self.folder.join(PREVIOUS));
            }
            let _ = self.reopen();
        }
        if let Some(file) = &mut self.file
            && file.write_all(lines).is_ok()
        {
            self.size += lines.len() as u64;
        }
    }
}

impl Part {
    fn finish(&mut self, source: Source) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.unfinished);
        while matches!(text.last(), Some(b'\n' | b'\r')) {
            text.pop();
        }
        let shown: String = String::from_utf8_lossy(&text).chars().take(LAST_LINE_LENGTH).collect();
        if !shown.trim().is_empty() {
            if self.last.len() == LAST_LINES {
                self.last.pop_front();
            }
            self.last.push_back(shown);
        }
        let letter = match source {
            Source::Stdout => 'o',
            Source::Stderr => 'e',
        };
        let mut line = format!("{} {letter} ", now().0).into_bytes();
        line.append(&mut text);
        line.push(b'\n');
        line
    }
}
