//! The shim's loop: one thread that waits for output, for the process's end, for requests and for the time to restart.

use super::{
    inherited,
    output::{Output, Source},
    own_program, port, private,
    protocol::{Phase, Private, Request, SPEC, Spec, Status, WORK, now},
};
use crate::sweep::sweep;
use davy_core::Timestamp;
use davy_place::{Given, Mask, known, myself, substitute};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};
use std::{
    ffi::OsStr,
    fs,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            net::{UnixListener, UnixStream},
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// The first wait before a restart; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait before a restart.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A process that lived so long starts the waits anew.
const LIVED_LONG: Duration = Duration::from_secs(30);
/// How often the shim looks whether its folder and its socket are still there.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// A request longer than this is none of ours.
const LONGEST_REQUEST: usize = 4096;

pub(super) struct Shim {
    spec: Spec,
    given: Given,
    folder: PathBuf,
    listener: UnixListener,
    clients: Vec<Client>,
    output: Output,
    state: State,
    port: Option<u16>,
    restarts: u32,
    since: Timestamp,
    ended: Option<String>,
    wait: Duration,
    stopping: Option<Stopping>,
    housekeeping: Instant,
}

enum State {
    Running(Process),
    Down { why: String, again: Instant },
}

struct Process {
    child: Child,
    group: Pid,
    end: OwnedFd,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    began: Instant,
}

struct Client {
    stream: UnixStream,
    request: Vec<u8>,
}

struct Stopping {
    by_force: Instant,
    waiting: Vec<UnixStream>,
}

impl Shim {
    pub(super) fn open(folder: &Path, spec: Spec, private: Private) -> io::Result<Self> {
        let given = private::given(private);
        if let Some(secrets) = &spec.secrets {
            private::write(secrets, &given)?;
        }
        let listener = listen(&spec.socket)?;
        let mut shim = Self {
            output: Output::open(folder, Mask::new(given.values())),
            given,
            folder: folder.to_owned(),
            listener,
            clients: Vec::new(),
            state: State::Down { why: String::new(), again: Instant::now() },
            port: None,
            restarts: 0,
            since: now(),
            ended: None,
            wait: FIRST_WAIT,
            stopping: None,
            housekeeping: Instant::now() + HOUSEKEEPING,
            spec,
        };
        shim.start();
        Ok(shim)
    }

    /// Until it is told to stop.
    pub(super) fn run(mut self) -> io::Result<()> {
        loop {
            self.wait_for_anything()?;
            self.read_output();
            self.look_after_process();
            self.answer_clients();
            self.keep_house();
            if self.stopping.is_some() && matches!(self.state, State::Down { .. }) {
                return self.end();
            }
        }
    }

    fn wait_for_anything(&self) -> io::Result<()> {
        let mut watched = vec![PollFd::new(&self.listener, PollFlags::IN)];
        watched.extend(self.clients.iter().map(|client| PollFd::new(&client.stream, PollFlags::IN)));
        let mut until = self.housekeeping;
        match &self.state {
            State::Running(process) => {
                watched.push(PollFd::new(&process.end, PollFlags::IN));
                let pipes = process.stdout.iter().chain(&process.stderr);
                watched.extend(pipes.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
                until = self.stopping.as_ref().map_or(until, |stopping| until.min(stopping.by_force));
            }
            State::Down { again, .. } => until = until.min(*again),
        }
        let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let left = Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(1), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut watched, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn read_output(&mut self) {
        let State::Running(process) = &mut self.state else { return };
        drain(&mut process.stdout, Source::Stdout, &mut self.output);
        drain(&mut process.stderr, Source::Stderr, &mut self.output);
    }

    fn look_after_process(&mut self) {
        let now = Instant::now();
        match &mut self.state {
            State::Down { again, .. } => {
                if *again <= now && self.stopping.is_none() {
                    self.restarts += 1;
                    self.start();
                }
            }
            State::Running(process) => {
                if self.stopping.as_ref().is_some_and(|stopping| stopping.by_force <= now) {
                    let _ = kill_process_group(process.group, Signal::KILL);
                }
                if process.has_ended() {
                    self.bury();
                }
            }
        }
    }

    /// Collects what is left of a process that ended, and plans the next.
    fn bury(&mut self) {
        let State::Running(process) = &mut self.state else { return };
        // Its own children go with it. The leader is not waited for yet, so its number is nobody else's.
        let _ = kill_process_group(process.group, Signal::KILL);
        let status = process.child.wait();
        drain(&mut process.stdout, Source::Stdout, &mut self.output);
        drain(&mut process.stderr, Source::Stderr, &mut self.output);
        self.output.flush();
        if process.began.elapsed() >= LIVED_LONG {
            self.wait = FIRST_WAIT;
        }
        let mut why = status.map_or_else(|error| format!("it ended: {error}"), describe);
        for line in self.output.last_lines() {
            why.push('\n');
            why.push_str(&line);
        }
        self.down(why);
    }

    fn down(&mut self, why: String) {
        self.ended = Some(why.clone());
        self.state = State::Down { why, again: Instant::now() + self.wait };
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }

    fn start(&mut self) {
        self.since = now();
        self.output.forget();
        let started = port::choose(self.port).and_then(|port| {
            self.port = Some(port);
            Process::start(&self.spec, &self.given, &self.folder.join(WORK), port)
        });
        match started {
            Ok(process) => self.state = State::Running(process),
            Err(error) => self.down(format!("it could not be started: {error}")),
        }
    }

    fn answer_clients(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                self.clients.push(Client { stream, request: Vec::new() });
            }
        }
        for mut client in std::mem::take(&mut self.clients) {
            match client.read() {
                Received::Nothing => self.clients.push(client),
                Received::Gone => {}
                Received::Request(Request::Status) => say(&client.stream, &self.status()),
                Received::Request(Request::Stop { grace }) => self.stop(client.stream, grace.duration()),
            }
        }
    }

    fn stop(&mut self, client: UnixStream, grace: Duration) {
        let by_force =
            Instant::now().checked_add(grace).unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
        let first = self.stopping.is_none();
        let stopping = self.stopping.get_or_insert(Stopping { by_force, waiting: Vec::new() });
        stopping.by_force = stopping.by_force.min(by_force);
        stopping.waiting.push(client);
        if let State::Running(process) = &self.state
            && first
        {
            let _ = kill_process_group(process.group, Signal::TERM);
        }
    }

    fn end(mut self) -> io::Result<()> {
        // What left the process group is found by its mark.
        let clean = sweep(self.spec.id.as_str(), Duration::from_secs(5));
        if !clean {
            super::say("some processes of the instance could not be ended");
        }
        let _ = fs::remove_file(&self.spec.socket);
        private::remove(&self.spec);
        let status = Status { phase: Phase::Stopped, ..self.status() };
        for client in self.stopping.take().map(|stopping| stopping.waiting).unwrap_or_default() {
            say(&client, &status);
        }
        Ok(())
    }

    /// A folder that is gone means that the instance is not wanted; a socket that is gone is made again.
    fn keep_house(&mut self) {
        let now = Instant::now();
        if self.housekeeping > now {
            return;
        }
        self.housekeeping = now + HOUSEKEEPING;
        if !self.folder.join(SPEC).exists() {
            if self.stopping.is_none() {
                self.stopping = Some(Stopping { by_force: now, waiting: Vec::new() });
            }
        } else if !self.spec.socket.exists()
            && let Ok(listener) = listen(&self.spec.socket)
        {
            self.listener = listener;
        }
    }

    fn status(&self) -> Status {
        let phase = match &self.state {
            _ if self.stopping.is_some() => Phase::Stopping,
            State::Running(_) => Phase::Running,
            State::Down { why, .. } => Phase::Down { why: why.clone() },
        };
        let port = self.port.unwrap_or_default();
        let ended = self.ended.clone();
        Status { shim: std::process::id(), port, restarts: self.restarts, since: self.since, ended, phase }
    }
}

impl Process {
    fn start(spec: &Spec, given: &Given, work: &Path, port: u16) -> io::Result<Self> {
        let known = known(&spec.env, Some(port));
        let mut command = Command::new(own_program());
        command.args(["shim", "--exec", &std::process::id().to_string()]);
        command.args(spec.command.iter().map(|word| substitute(word, &known)));
        command.current_dir(work).process_group(0);
        command.env_clear().envs(inherited()).envs(&known);
        command.envs(given.variables.iter().map(|(name, value)| (name, OsStr::from_bytes(value.bytes()))));
        if let Some(secrets) = &spec.secrets {
            command.envs(given.paths(&secrets.to_string_lossy()));
        }
        // Last: no variable of the file's or the secrets' takes its place.
        command.envs(myself(&spec.key, &spec.release, &spec.id));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let prepared = group.ok_or_else(|| io::Error::other("the process has no number")).and_then(|group| {
            let end = pidfd_open(group, PidfdFlags::empty())?;
            let stdout = child.stdout.take().map(|pipe| not_blocking(pipe.into())).transpose()?;
            let stderr = child.stderr.take().map(|pipe| not_blocking(pipe.into())).transpose()?;
            Ok((group, end, stdout, stderr))
        });
        match prepared {
            Ok((group, end, stdout, stderr)) => Ok(Self { child, group, end, stdout, stderr, began: Instant::now() }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Whether it ended; it is not waited for.
    fn has_ended(&self) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.end, PollFlags::IN)], Some(&at_once)).is_ok_and(|ready| ready > 0)
    }
}

enum Received {
    Nothing,
    Gone,
    Request(Request),
}

impl Client {
    fn read(&mut self) -> Received {
        let mut buffer = [0; 512];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Received::Gone,
                Ok(length) => self.request.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Received::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Received::Gone,
            }
            if let Some(end) = self.request.iter().position(|byte| *byte == b'\n') {
                return serde_json::from_slice(&self.request[..end]).map_or(Received::Gone, Received::Request);
            }
            if self.request.len() > LONGEST_REQUEST {
                return Received::Gone;
            }
        }
    }
}

/// An answer is smaller than a socket's buffer; a client that went away is its own affair.
fn say(mut client: &UnixStream, status: &Status) {
    if let Ok(mut line) = serde_json::to_vec(status) {
        line.push(b'\n');
        let _ = client.write_all(&line);
    }
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(socket).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("{} is served by another shim", socket.display()),
        ));
    }
    let _ = fs::remove_file(socket);
    let listener = UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn not_blocking(pipe: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&pipe, true)?;
    Ok(pipe)
}

/// Reads what is there, at most a megabyte, so that a flood of output does not keep the shim from its other work.
fn drain(pipe: &mut Option<OwnedFd>, source: Source, output: &mut Output) {
    let mut buffer = [0_u8; 16 * 1024];
    for _ in 0..64 {
        let Some(open) = pipe else { return };
        match rustix::io::read(open.as_fd(), &mut buffer) {
            Ok(0) => *pipe = None,
            Ok(length) => output.take(source, &buffer[..length]),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return,
            Err(_) => *pipe = None,
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "it ended by itself with exit status 0".to_owned(),
        (Some(code), _) => format!("it ended with exit status {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => format!("it ended: {status}"),
    }
}
