//! The access log: one line of JSON for each request, written by a thread of its own. Whoever serves traffic never waits for
//! the disk: what it cannot take in time is dropped and counted.

use crate::meters::Meters;
use hyper::{Method, Request, Version, header};
use jiff::Timestamp;
use serde::Serialize;
use std::{
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

/// Lines that may wait for the disk.
const WAITING: usize = 16 * 1024;
/// A file that is longer is put aside as `FILE.1`.
const LONGEST: u64 = 256 * 1024 * 1024;
/// How long a line may wait in memory.
const FLUSH: Duration = Duration::from_secs(1);

/// Where lines go.
#[derive(Debug)]
pub(crate) struct Log {
    lines: SyncSender<Vec<u8>>,
    reopen: Arc<AtomicBool>,
    meters: Arc<Meters>,
}

impl Log {
    /// To a file, or to the standard output for `-`.
    pub(crate) fn open(path: &Path, meters: Arc<Meters>) -> io::Result<Self> {
        let (lines, waiting) = mpsc::sync_channel(WAITING);
        let reopen = Arc::new(AtomicBool::new(false));
        let mut sink = Sink::open(path)?;
        let (asked, counted) = (reopen.clone(), meters.clone());
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || sink.write(&waiting, &asked, &counted))?;
        Ok(Self { lines, reopen, meters })
    }

    /// The file may have been moved: goes on in a new one.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Relaxed);
    }

    fn send(&self, line: Vec<u8>) {
        if self.lines.try_send(line).is_err() {
            self.meters.log_dropped.add();
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
    host: String,
    method: Method,
    path: String,
    protocol: &'static str,
    is_secure: bool,
    /// Of the answer's body.
    pub bytes: u64,
    /// What the gateway answered itself.
    pub code: &'static str,
}

/// Where a request went.
pub(crate) struct Went<'a> {
    pub service: &'a dyn std::fmt::Display,
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
    service: Option<String>,
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
        let host =
            request.headers().get(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
        Box::new(Self {
            log: log.clone(),
            time: Timestamp::now(),
            began: Instant::now(),
            client,
            host: host.unwrap_or_default(),
            method: request.method().clone(),
            // A query may carry what nobody else should read.
            path: request.uri().path().to_owned(),
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
            time: self.time.round(jiff::Unit::Microsecond).unwrap_or(self.time),
            client: self.client,
            host: &self.host,
            method: self.method.as_str(),
            path: &self.path,
            protocol: self.protocol,
            tls: self.is_secure,
            status,
            bytes: self.bytes,
            duration_us: u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            service: went.map(|went| went.service.to_string()),
            release: went.map(|went| went.release),
            instance: went.map(|went| went.instance),
            gateway: self.code,
        };
        if let Ok(mut json) = serde_json::to_vec(&line) {
            json.push(b'\n');
            self.log.send(json);
        }
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

    fn write(&mut self, waiting: &Receiver<Vec<u8>>, reopen: &AtomicBool, meters: &Meters) {
        let mut lines = 0;
        let mut due = Instant::now() + FLUSH;
        loop {
            let next = waiting.recv_timeout(due.saturating_duration_since(Instant::now()));
            if reopen.swap(false, Relaxed) {
                self.file = None;
            }
            match next {
                Ok(line) => {
                    self.held.extend(line);
                    lines += 1;
                    if self.held.len() < 64 * 1024 && Instant::now() < due {
                        continue;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            due = Instant::now() + FLUSH;
            if let Err(error) = self.flush() {
                (0..lines).for_each(|_| meters.log_dropped.add());
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
