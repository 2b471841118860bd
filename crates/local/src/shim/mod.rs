//! The shim: one small process for each instance, in a session of its own, that outlives the server.
//!
//! It starts the instance's process, starts it again when it ends, keeps its output and answers on a Unix socket. If
//! the shim itself is killed, the kernel kills the process: `--exec` asks for that before it becomes the service.

mod output;
mod port;
pub(crate) mod private;
pub(crate) mod protocol;
mod serve;

pub(crate) use output::{CURRENT, PREVIOUS, Source, parse_line};

use crate::sweep::MARK;
use protocol::Spec;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal, setsid};
use std::{
    ffi::OsString,
    fs, io,
    io::Read,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

/// The program that runs: the link outlives its replacement on disk, so a restart after an upgrade still works.
fn own_program() -> PathBuf {
    let link = PathBuf::from("/proc/self/exe");
    if link.exists() { link } else { std::env::current_exe().unwrap_or(link) }
}

/// What the hidden subcommand `shim` does with the words after it. Call it on the main thread before any runtime is
/// made: the kernel ties the service's life to the thread that started it.
///
/// `DIR` starts a detached shim for an instance's folder and returns at once. The other forms are the shim's own.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = words.into_iter().collect();
    let done = match words.as_slice() {
        [mode, parent, program, arguments @ ..] if mode == "--exec" => Err(become_service(parent, program, arguments)),
        [mode, folder] if mode == "--serve" => run(Path::new(folder)),
        [folder] => detach(Path::new(folder)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "usage: shim DIR")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(127)
        }
    }
}

#[expect(clippy::print_stderr, reason = "a shim's own errors go to the file that is its standard error")]
fn say(text: &str) {
    eprintln!("davy shim: {text}");
}

/// Starts the shim as a child of nobody, so that it is no zombie of a server that lives on.
fn detach(folder: &Path) -> io::Result<()> {
    let mut shim = Command::new(own_program());
    // The name that a list of processes shows.
    shim.arg0("davy").args(["shim", "--serve"]).arg(folder).stdin(Stdio::inherit());
    shim.spawn().map(drop)
}

fn run(folder: &Path) -> io::Result<()> {
    setsid().map_err(io::Error::from)?;
    std::env::set_current_dir("/")?;
    let spec: Spec = serde_json::from_slice(&fs::read(folder.join(protocol::SPEC))?)?;
    let mut said = zeroize::Zeroizing::new(Vec::new());
    io::stdin().lock().read_to_end(&mut said)?;
    let private = if said.is_empty() { protocol::Private::default() } else { serde_json::from_slice(&said)? };
    serve::Shim::open(folder, spec, private)?.run()
}

/// Asks to die with the shim, then becomes the service. Returns only what went wrong.
fn become_service(parent: &OsString, program: &OsString, arguments: &[OsString]) -> io::Error {
    let expected = parent.to_str().and_then(|parent| parent.parse().ok()).and_then(Pid::from_raw);
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    if getppid() != expected {
        return io::Error::other("the shim ended before the service began");
    }
    let error = Command::new(program).args(arguments).exec();
    io::Error::new(error.kind(), format!("cannot execute {}: {error}", program.display()))
}

/// The command that starts a shim for an instance's folder, with nothing of the caller's environment but what a service
/// may have.
pub(crate) fn command(program: &Path, folder: &Path, spec: &Spec) -> io::Result<Command> {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("shim.log"))?;
    let mut command = Command::new(program);
    command.arg("shim").arg(folder).env_clear().envs(inherited()).env(MARK, spec.id.as_str());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
    Ok(command)
}

/// What a service gets of the environment around it: nothing that could be a secret.
fn inherited() -> impl Iterator<Item = (&'static str, OsString)> {
    ["PATH", "HOME", "LANG", "TZ"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)))
}
