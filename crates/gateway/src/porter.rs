//! Holds what a gateway listens on in a process of its own, which is not in the way of traffic: when the gateway is killed, new
//! connections wait in the kernel until another one has the same sockets, and none is refused.

use crate::{
    control::STALLED,
    options::Options,
    sockets::{self, Sockets},
};
use davy_ports::Error;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream as Channel, process::CommandExt},
    },
    process::{Child, Command},
    time::{Duration, Instant},
};
use tokio::{
    net::UnixStream,
    signal::unix::{SignalKind, signal},
    time::{sleep_until, timeout},
};

/// The longest that clients wait for a gateway: if none is there by then, they are refused.
const BOUND: Duration = Duration::from_secs(10);
/// The least time between the starts of two gateways.
const PACE: Duration = Duration::from_millis(100);
/// How long a gateway waits until its porter has let go. It has nothing else to do.
const PROMPT: Duration = Duration::from_secs(1);

/// Runs a gateway as a process of its own and starts it again whenever it is killed, until it ends by itself; whether it ended
/// well. If not, it has said why. Becomes the leader of a session of its own, which the gateway belongs to.
///
/// # Errors
/// When no process can be started, or none that holds on.
pub fn keep(options: &Options) -> Result<bool, Error> {
    // Fails only for a process that leads a group already: then nobody's terminal ends it either.
    rustix::process::setsid().ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.and_then(|runtime| runtime.block_on(run(options))).map_err(|error| Error::later("keep a gateway", error))
}

async fn run(options: &Options) -> io::Result<bool> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut held: Option<Sockets> = None;
    // When the next gateway has to have taken what is held.
    let mut due: Option<Instant> = None;
    loop {
        let began = Instant::now();
        let (mut child, channel) = match start(options) {
            Ok(started) => started,
            // There may be memory for one again.
            Err(_) if due.is_some_and(|due| began < due) => {
                tokio::time::sleep(PACE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        sockets::send(&channel, held.as_ref()).ok();
        let (mut is_ready, mut is_told) = (false, false);
        loop {
            let late = due.unwrap_or_else(|| Instant::now() + BOUND);
            tokio::select! {
                passed = sockets::receive(&channel) => match passed {
                    Ok(Some(sockets)) => (held, due, is_ready) = (Some(sockets), None, true),
                    // It ends, or another one has taken over: it waits until nothing is held here.
                    Ok(None) => {
                        held = None;
                        sockets::send(&channel, None).ok();
                    }
                    // It is no more.
                    Err(_) => break,
                },
                _ = terminated.recv() => {
                    (held, is_told) = (None, true);
                    tell(&child, Signal::TERM);
                }
                // One that is not ready yet would end by it.
                _ = hung_up.recv(), if is_ready => tell(&child, Signal::HUP),
                () = sleep_until(late.into()), if due.is_some() => {
                    held = None;
                    child.kill().ok();
                    break;
                }
            }
        }
        let status = child.wait()?;
        let late = *due.get_or_insert_with(|| Instant::now() + BOUND);
        if held.is_none() || Instant::now() >= late {
            return Ok(status.success() || is_told);
        }
        tracing::error!(%status, "the gateway is gone; another one is started, and new connections wait for it");
        tokio::select! {
            () = sleep_until((began + PACE).into()) => {}
            _ = terminated.recv() => return Ok(true),
        }
    }
}

/// A gateway that has the other end of the channel as its standard input.
fn start(options: &Options) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = Channel::pair()?;
    ours.set_nonblocking(true)?;
    // The file that this process is of, also when another one has taken its place.
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command.args(["gateway", "--held"]).args(options.words()).stdin(OwnedFd::from(theirs));
    let child = command.spawn()?;
    Ok((child, UnixStream::from_std(ours)?))
}

fn tell(child: &Child, signal: Signal) {
    // One that has ended already needs to be told nothing.
    kill_process(Pid::from_child(child), signal).ok();
}

/// A gateway's end of the channel.
#[derive(Debug)]
pub(crate) struct Porter {
    channel: UnixStream,
}

impl Porter {
    /// The process that started this one, and what it held for the gateway before.
    pub(crate) async fn meet() -> io::Result<(Self, Option<Sockets>)> {
        let channel = Channel::from(io::stdin().as_fd().try_clone_to_owned()?);
        channel.set_nonblocking(true)?;
        let porter = Self { channel: UnixStream::from_std(channel)? };
        let held = porter.receive(STALLED).await?;
        Ok((porter, held))
    }

    /// Has these held from now on.
    pub(crate) fn hold(&self, sockets: &Sockets) -> io::Result<()> {
        sockets::send(&self.channel, Some(sockets))
    }

    /// Has nothing held any more, and returns when that is so.
    pub(crate) async fn let_go(&self) {
        if sockets::send(&self.channel, None).is_ok()
            && let Err(error) = self.receive(PROMPT).await
        {
            tracing::warn!(%error, "the porter does not say that it has let go");
        }
    }

    /// Whether it is no more.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.channel.try_read(&mut [0]), Ok(0))
    }

    async fn receive(&self, within: Duration) -> io::Result<Option<Sockets>> {
        timeout(within, sockets::receive(&self.channel)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
