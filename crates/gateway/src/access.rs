//! The access log: one line of JSON for each request, written by a thread of its own. Whoever serves traffic never waits for
//! the disk: what it cannot take in time is dropped and counted.

use crate::meters::Meters;
use hyper::{
    Method, Request, Version,
    header::{self, HeaderValue},
    http::uri::PathAndQuery,
};
use jiff::Timestamp;
use serde::Serialize;
use std::{
    cell::RefCell,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    net::IpAddr,
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

    /// Writes a line into this thread's batch.
    fn line(&self, line: &Line<'_>) {
        BATCH_OF_THREAD.with_borrow_mut(|batch| {
            let length = batch.text.len();
            if serde_json::to_writer(&mut batch.text, line).is_err() {
                return batch.text.truncate(length);
            }
            batch.text.push(b'\n');
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

/// What is known of a request when it comes.
#[derive(Debug)]
pub(crate) struct Note {
    log: Arc<Log>,
    time: Timestamp,
    began: Instant,
    client: IpAddr,
    host: Option<HeaderValue>,
    method: Method,
    path: Option<PathAndQuery>,
    protocol: &'static str,
    is_secure: bool,
    /// Of the answer's body.
    pub bytes: u64,
    /// What the gateway answered itself.
    pub code: &'static str,
}

/// Where a request went.
pub(crate) struct Went<'a> {
    pub service: &'a str,
    pub release: &'a str,
    pub instance: &'a str,
}

#[derive(Serialize)]
struct Line<'a> {
    time: Timestamp,
    client: IpAddr,
    host: &'a str,
    method: &'a str,
    path: &'a str,
    protocol: &'a str,
    tls: bool,
    /// None: the client was gone before there was an answer.
    status: Option<u16>,
    bytes: u64,
    /// Until the last byte of the answer was handed on.
    duration_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    /// The code of an answer that is the gateway's own.
    #[serde(skip_serializing_if = "str::is_empty")]
    gateway: &'a str,
}

impl Note {
    pub(crate) fn of<B>(log: &Arc<Log>, request: &Request<B>, client: IpAddr, is_secure: bool) -> Box<Self> {
        Box::new(Self {
            log: log.clone(),
            time: Timestamp::now(),
            began: Instant::now(),
            client,
            host: request.headers().get(header::HOST).cloned(),
            method: request.method().clone(),
            path: request.uri().path_and_query().cloned(),
            protocol: match request.version() {
                Version::HTTP_10 => "HTTP/1.0",
                Version::HTTP_2 => "HTTP/2",
                _ => "HTTP/1.1",
            },
            is_secure,
            bytes: 0,
            code: "",
        })
    }

    /// The request is over.
    pub(crate) fn write(&self, status: Option<u16>, went: Option<&Went<'_>>) {
        let line = Line {
            time: Timestamp::from_microsecond(self.time.as_microsecond()).unwrap_or(self.time),
            client: self.client,
            host: self.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default(),
            method: self.method.as_str(),
            // A query may carry what nobody else should read.
            path: self.path.as_ref().map_or("/", PathAndQuery::path),
            protocol: self.protocol,
            tls: self.is_secure,
            status,
            bytes: self.bytes,
            duration_us: u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            service: went.map(|went| went.service),
            release: went.map(|went| went.release),
            instance: went.map(|went| went.instance),
            gateway: self.code,
        };
        self.log.line(&line);
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
