//! The access log: one line of JSON for each request, written by a thread of its own. Whoever serves traffic never waits for
//! the disk: what it cannot take in time is dropped and counted.

use crate::{meters::Meters, peer::Peer};
use hyper::{Request, Version, header, http::uri::PathAndQuery};
use jiff::Timestamp;
use serde::Serialize;
use std::{
    cell::RefCell,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

/// Batches that may wait for the disk.
const WAITING: usize = 256;
/// A batch is handed on when it is as long, else ten times a second: the writer wakes seldom.
const BATCH: usize = 64 * 1024;
/// A file that is longer is put aside as `FILE.1`.
const LONGEST: u64 = 256 * 1024 * 1024;
/// How long a batch may wait for more.
const FLUSH: Duration = Duration::from_millis(500);

/// Lines of one thread on their way to the writer.
#[derive(Debug, Default)]
struct Batch {
    text: Vec<u8>,
    lines: u64,
}

thread_local! {
    static BATCH_OF_THREAD: RefCell<Batch> = RefCell::default();
}

/// What the writer is asked.
enum Asked {
    Write(Batch),
    /// Says when everything before is out.
    Flush(SyncSender<()>),
}

/// Where lines go.
#[derive(Debug)]
pub(crate) struct Log {
    batches: SyncSender<Asked>,
    reopen: Arc<AtomicBool>,
    meters: Arc<Meters>,
}

impl Log {
    /// To a file, or to the standard output for `-`.
    pub(crate) fn open(path: &Path, meters: Arc<Meters>) -> io::Result<Self> {
        let (batches, waiting) = mpsc::sync_channel(WAITING);
        let reopen = Arc::new(AtomicBool::new(false));
        let mut sink = Sink::open(path)?;
        let (asked, counted) = (reopen.clone(), meters.clone());
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || sink.write(&waiting, &asked, &counted))?;
        Ok(Self { batches, reopen, meters })
    }

    /// The file may have been moved: goes on in a new one.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Relaxed);
    }

    /// Puts a line into this thread's batch.
    fn line(&self, line: &[u8]) {
        BATCH_OF_THREAD.with_borrow_mut(|batch| {
            batch.text.extend_from_slice(line);
            batch.lines += 1;
            if batch.text.len() >= BATCH {
                self.hand_on(batch);
            }
        });
    }

    fn hand_on(&self, batch: &mut Batch) {
        if batch.lines == 0 {
            return;
        }
        let lines = batch.lines;
        let room = Batch { text: Vec::with_capacity(batch.text.len()), lines: 0 };
        let full = std::mem::replace(batch, room);
        if self.batches.try_send(Asked::Write(full)).is_err() {
            self.meters.log_dropped.add_many(lines);
        }
    }

    /// Hands on what this thread has.
    pub(crate) fn flush(&self) {
        BATCH_OF_THREAD.with_borrow_mut(|batch| self.hand_on(batch));
    }

    /// Waits a little until everything that was handed on is written.
    pub(crate) fn finish(&self) {
        let (done, written) = mpsc::sync_channel(1);
        if self.batches.try_send(Asked::Flush(done)).is_ok() {
            written.recv_timeout(Duration::from_secs(1)).ok();
        }
    }
}

/// A request's line, with what is known when it comes.
#[derive(Debug)]
pub(crate) struct Note {
    log: Arc<Log>,
    line: Vec<u8>,
    began: Instant,
    /// Of the answer's body.
    pub bytes: u64,
    /// What the gateway answered itself.
    pub code: &'static str,
}

impl Note {
    pub(crate) fn of<B>(log: &Arc<Log>, request: &Request<B>, peer: &Peer, began: Instant) -> Self {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let protocol: &[u8] = match request.version() {
            Version::HTTP_10 => b"HTTP/1.0",
            Version::HTTP_2 => b"HTTP/2",
            _ => b"HTTP/1.1",
        };
        let mut line = Vec::with_capacity(COMMON);
        line.extend_from_slice(br#"{"time":""#);
        Second::write(began, &mut line);
        line.extend_from_slice(br#"","client":""#);
        line.extend_from_slice(peer.text.as_bytes());
        line.extend_from_slice(br#"","host":"#);
        value(&mut line, host);
        line.extend_from_slice(br#","method":"#);
        value(&mut line, request.method().as_str());
        line.extend_from_slice(br#","path":"#);
        // A query may carry what nobody else should read.
        value(&mut line, request.uri().path_and_query().map_or("/", PathAndQuery::path));
        line.extend_from_slice(br#","protocol":""#);
        line.extend_from_slice(protocol);
        line.extend_from_slice(if peer.is_secure { br#"","tls":true"# } else { br#"","tls":false"# });
        Self { log: log.clone(), line, began, bytes: 0, code: "" }
    }

    /// The request is over; without a status the client was gone before there was an answer. `went` says where it went, as [`member`]
    /// writes it.
    pub(crate) fn write(mut self, status: Option<u16>, went: &[&str]) {
        let line = &mut self.line;
        line.extend_from_slice(br#","status":"#);
        value(line, &status);
        line.extend_from_slice(br#","bytes":"#);
        value(line, &self.bytes);
        // Until the last byte of the answer was handed on.
        line.extend_from_slice(br#","duration_us":"#);
        value(line, &u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX));
        went.iter().for_each(|part| line.extend_from_slice(part.as_bytes()));
        if !self.code.is_empty() {
            line.extend_from_slice(member("gateway", self.code).as_bytes());
        }
        line.extend_from_slice(b"}\n");
        self.log.line(line);
    }
}

/// The room that most lines need.
const COMMON: usize = 320;

/// A name and its value within a line.
pub(crate) fn member(name: &str, text: &str) -> String {
    format!(",{}:{}", serde_json::Value::from(name), serde_json::Value::from(text))
}

fn value(line: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(line, value).expect("numbers and text are written to memory");
}

/// A second of the wall clock as text: what a thread logs differs in the fraction, until a second is over.
struct Second {
    since: Instant,
    text: String,
}

thread_local! {
    static SECOND: RefCell<Option<Second>> = RefCell::default();
}

impl Second {
    fn of(instant: Instant, wall: Timestamp) -> Self {
        let fraction = Duration::from_nanos(u64::try_from(wall.subsec_nanosecond()).unwrap_or_default());
        let whole = Timestamp::from_second(wall.as_second()).unwrap_or_default();
        Self { since: instant.checked_sub(fraction).unwrap_or(instant), text: whole.to_string() }
    }

    /// How far it has gone; none when it is over.
    fn past(&self, instant: Instant) -> Option<Duration> {
        Some(instant.saturating_duration_since(self.since)).filter(|past| *past < Duration::from_secs(1))
    }

    /// Writes the time of day to the microsecond (RFC 3339).
    fn write(instant: Instant, line: &mut Vec<u8>) {
        SECOND.with_borrow_mut(|second| {
            let held = second.take().filter(|second| second.past(instant).is_some());
            second.insert(held.unwrap_or_else(|| Self::of(instant, Timestamp::now()))).put(instant, line);
        });
    }

    fn put(&self, instant: Instant, line: &mut Vec<u8>) {
        let mut fraction = *b".000000Z";
        let mut left = self.past(instant).unwrap_or_default().subsec_micros();
        for digit in fraction[1..7].iter_mut().rev() {
            *digit += (left % 10) as u8;
            left /= 10;
        }
        line.extend_from_slice(self.text.trim_end_matches('Z').as_bytes());
        line.extend_from_slice(&fraction);
    }
}

/// The writer's side.
struct Sink {
    /// None: the standard output.
    path: Option<PathBuf>,
    file: Option<File>,
    length: u64,
    held: Vec<u8>,
    is_failing: bool,
}

impl Sink {
    fn open(path: &Path) -> io::Result<Self> {
        let path = (path != Path::new("-")).then(|| path.to_owned());
        let mut sink = Self { path, file: None, length: 0, held: Vec::new(), is_failing: false };
        sink.begin()?;
        Ok(sink)
    }

    fn begin(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
            self.length = file.metadata()?.len();
            self.file = Some(file);
        }
        Ok(())
    }

    fn write(&mut self, waiting: &Receiver<Asked>, reopen: &AtomicBool, meters: &Meters) {
        let mut lines = 0;
        let mut due = Instant::now() + FLUSH;
        loop {
            let next = waiting.recv_timeout(due.saturating_duration_since(Instant::now()));
            if reopen.swap(false, Relaxed) {
                self.file = None;
            }
            let mut told = None;
            match next {
                Ok(Asked::Write(batch)) => {
                    self.held.extend(batch.text);
                    lines += batch.lines;
                    if self.held.len() < BATCH && Instant::now() < due {
                        continue;
                    }
                }
                Ok(Asked::Flush(done)) => told = Some(done),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            due = Instant::now() + FLUSH;
            if let Err(error) = self.flush() {
                meters.log_dropped.add_many(lines);
                // Said once, until it works again.
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::error!(%error, "the access log cannot be written; its lines are dropped");
                }
                self.file = None;
            } else {
                self.is_failing = false;
            }
            self.held.clear();
            lines = 0;
            if let Some(done) = told {
                done.try_send(()).ok();
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let Some(path) = self.path.clone() else {
            let mut out = io::stdout().lock();
            return out.write_all(&self.held).and_then(|()| out.flush());
        };
        if self.length > LONGEST {
            let mut aside = path.clone().into_os_string();
            aside.push(".1");
            fs::rename(&path, aside)?;
            self.file = None;
        }
        if self.file.is_none() {
            self.begin()?;
        }
        self.length += self.held.len() as u64;
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(&self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_to_the_microsecond_until_its_second_is_over() {
        let (start, wall) = (Instant::now(), "2026-11-29T09:59:59.99999856Z".parse().unwrap());
        let second = Second::of(start, wall);
        let told = |micros| {
            let (mut line, instant) = (Vec::new(), start + Duration::from_micros(micros));
            second.put(instant, &mut line);
            second.past(instant).map(|_| String::from_utf8(line).unwrap())
        };
        assert_eq!(told(0).as_deref(), Some("2026-11-29T09:59:59.999998Z"));
        assert_eq!(told(1).as_deref(), Some("2026-11-29T09:59:59.999999Z"));
        assert_eq!(told(2), None);
        let mut line = Vec::new();
        Second::of(start, "2026-11-29T10:00:00Z".parse().unwrap()).put(start, &mut line);
        assert_eq!(line, b"2026-11-29T10:00:00.000000Z");
    }
}
