//! The output of a service's instances, from their files: what was written last, then what comes.

use crate::{
    folders::Folders,
    instances::{blocking, list},
    shim::{CURRENT, PREVIOUS, Source, parse_line, protocol::Spec},
};
use davy_core::InstanceId;
use davy_ports::{Error, LogLine, LogQuery, LogSource};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::mpsc;

/// How often files are looked at when following.
const LOOK: Duration = Duration::from_millis(150);
/// The most that is read of one file at once.
const AT_ONCE: u64 = 1024 * 1024;

pub(crate) type Lines = mpsc::Receiver<Result<LogLine, Error>>;

/// Begins to read; ends when everything was told, or when the receiver is dropped.
pub(crate) fn read(folders: Folders, query: LogQuery) -> Lines {
    let (sender, receiver) = mpsc::channel(256);
    tokio::spawn(async move {
        let mut readers: BTreeMap<InstanceId, Reader> = BTreeMap::new();
        let mut first = true;
        while !sender.is_closed() {
            let (these, asked) = (folders.clone(), query.clone());
            let (lines, kept) = blocking(move || {
                let lines = look(&these, &asked, &mut readers, first);
                (lines, readers)
            })
            .await;
            readers = kept;
            match lines {
                Ok(lines) => {
                    for line in lines {
                        if sender.send(Ok(line)).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => {
                    let _ = sender.send(Err(error)).await;
                    return;
                }
            }
            if !query.follow {
                return;
            }
            first = false;
            tokio::time::sleep(LOOK).await;
        }
    });
    receiver
}

/// What is new in the output of every instance that is asked for, in the order of its time.
fn look(
    folders: &Folders,
    query: &LogQuery,
    readers: &mut BTreeMap<InstanceId, Reader>,
    first: bool,
) -> Result<Vec<LogLine>, Error> {
    let mut lines = Vec::new();
    for spec in list(folders)? {
        let wanted = spec.key == query.key && query.release.as_ref().is_none_or(|release| *release == spec.release);
        if wanted && !readers.contains_key(&spec.id) {
            let mut reader = Reader::new(folders.instance(&spec.id), spec);
            // One that began since is told from its beginning, which may have been put aside already.
            lines.extend(reader.tail(if first { query.tail } else { usize::MAX }));
            readers.insert(reader.spec.id.clone(), reader);
        }
    }
    readers.retain(|_, reader| {
        lines.extend(reader.next());
        // What is removed was read to its end: the open file outlives its name.
        reader.folder.exists()
    });
    lines.sort_by_key(|line| line.at);
    Ok(lines)
}

struct Reader {
    folder: PathBuf,
    spec: Spec,
    file: Option<File>,
    unfinished: Vec<u8>,
}

impl Reader {
    fn new(folder: PathBuf, spec: Spec) -> Self {
        Self { folder, spec, file: None, unfinished: Vec::new() }
    }

    /// The last lines of both files; what comes after them is read next.
    fn tail(&mut self, count: usize) -> Vec<LogLine> {
        let mut lines: Vec<LogLine> = Vec::new();
        let Ok(mut file) = File::open(self.folder.join(CURRENT)) else { return lines };
        if count == 0 {
            let _ = file.seek(SeekFrom::End(0));
            self.file = Some(file);
            return lines;
        }
        let current = self.last_of(&mut file, count);
        let unfinished = self.unfinished.clone();
        if current.len() < count
            && let Ok(mut before) = File::open(self.folder.join(PREVIOUS))
            // Put aside just now: it is the file that was read.
            && is_another(&file, &self.folder.join(PREVIOUS))
        {
            lines = self.last_of(&mut before, count - current.len());
            self.unfinished = unfinished;
        }
        lines.extend(current);
        self.file = Some(file);
        lines
    }

    /// Reads a file from its end in growing pieces until it has so many lines; leaves it at its end.
    fn last_of(&mut self, file: &mut File, count: usize) -> Vec<LogLine> {
        let length = file.metadata().map_or(0, |about| about.len());
        let mut piece = 64 * 1024;
        loop {
            let begin = length.saturating_sub(piece);
            let mut bytes = Vec::new();
            let read =
                file.seek(SeekFrom::Start(begin)).and_then(|_| file.by_ref().take(piece).read_to_end(&mut bytes));
            if read.is_err() {
                return Vec::new();
            }
            // The first line of a piece from the middle is only the end of one.
            let whole = if begin == 0 {
                0
            } else {
                bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1)
            };
            let lines = bytes[whole..].iter().filter(|byte| **byte == b'\n').count();
            if begin == 0 || lines >= count {
                self.unfinished.clear();
                let mut lines = self.lines(&bytes[whole..]);
                return lines.split_off(lines.len().saturating_sub(count));
            }
            piece *= 4;
        }
    }

    /// What was written since; a file that was put aside is read to its end first.
    fn next(&mut self) -> Vec<LogLine> {
        let mut lines = Vec::new();
        loop {
            if self.file.is_none() {
                self.file = File::open(self.folder.join(CURRENT)).ok();
            }
            let Some(file) = &mut self.file else { return lines };
            // Asked before reading: what is written to the old file comes before it is put aside.
            let turned = is_another(file, &self.folder.join(CURRENT));
            let mut bytes = Vec::new();
            let read = file.by_ref().take(AT_ONCE).read_to_end(&mut bytes).unwrap_or(0);
            lines.extend(self.lines(&bytes));
            if read as u64 == AT_ONCE {
                return lines;
            }
            if !turned {
                return lines;
            }
            self.file = None;
        }
    }

    fn lines(&mut self, bytes: &[u8]) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.unfinished.extend_from_slice(piece);
            if self.unfinished.last() == Some(&b'\n') {
                self.unfinished.pop();
                let line = std::mem::take(&mut self.unfinished);
                lines.extend(parse_line(&line).map(|(at, source, line)| LogLine {
                    at,
                    release: self.spec.release.clone(),
                    instance: self.spec.id.clone(),
                    source: match source {
                        Source::Stdout => LogSource::Stdout,
                        Source::Stderr => LogSource::Stderr,
                    },
                    line,
                }));
            }
        }
        lines
    }
}

/// Whether the path now names another file than the open one.
fn is_another(file: &File, path: &Path) -> bool {
    let same = || -> io::Result<bool> {
        let (open, named) = (file.metadata()?, std::fs::metadata(path)?);
        Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
    };
    // Between two names there is none: look again next time.
    !same().unwrap_or(true)
}
