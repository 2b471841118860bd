//! The conversation between a gateway's process and the one that takes over: the sockets first, then, once the next one is
//! ready for it, everything held at one moment. Until that moment the first serves as if nothing were asked.

use crate::{
    control::{STALLED, Shared, WINDOW},
    frame::{self, Answer, Request},
    handed::{Counted, Follow, Handed, HandedService},
    manager::tell_manager,
    sockets::{self, Sockets},
    worker::Phase,
};
use davy_core::ServiceKey;
use davy_ports::Error;
use rustix::process::{Pid, getpgid};
use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::net::{
    UnixStream,
    unix::{OwnedReadHalf, OwnedWriteHalf},
};

/// How long the process before may take to finish what is under way.
const DRAIN: Duration = Duration::from_secs(600);
/// The same, once it is told to end.
const FINISH: Duration = Duration::from_secs(3);

/// A gateway that is ready to hand over.
pub(crate) struct Offer {
    socket: UnixStream,
    pub sockets: Sockets,
}

/// Asks the gateway that runs for its sockets; none when there is none.
pub(crate) async fn ask(control: &Path) -> Result<Option<Offer>, Error> {
    let tried = "take over from the gateway that runs";
    let Ok(mut socket) = UnixStream::connect(control).await else { return Ok(None) };
    let asking = async {
        frame::write(&mut socket, &Request::TakeOver).await?;
        sockets::receive(&socket).await
    };
    let received = tokio::time::timeout(STALLED, asking).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let received = received
        .map_err(|error| Error::never(tried, error).hint("`davy down` stops it; it may be of a version that cannot"))?;
    let sockets = received.ok_or_else(|| Error::never(tried, "it gave no sockets"))?;
    Ok(Some(Offer { socket, sockets }))
}

impl Offer {
    /// From now on this process is the gateway, and the other one follows. None: it does, but what it held cannot be read.
    pub(crate) async fn commit(&mut self) -> Result<Option<(Handed, Vec<HandedService>)>, Error> {
        let taking = tokio::time::timeout(STALLED, self.take());
        match taking.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(taken) => Ok(Some(taken)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::error!(%error, "what the other gateway held cannot be read: serving what is on disk");
                Ok(None)
            }
            Err(error) => Err(Error::later("take over from the gateway that runs", error)),
        }
    }

    async fn take(&mut self) -> io::Result<(Handed, Vec<HandedService>)> {
        frame::write(&mut self.socket, &Request::Commit).await?;
        let other = || io::Error::new(io::ErrorKind::InvalidData, "it answered something else");
        let Answer::Handed(handed) = frame::read(&mut self.socket).await? else { return Err(other()) };
        let mut services = Vec::new();
        for _ in 0..handed.services {
            let Answer::HandedService(service) = frame::read(&mut self.socket).await? else { return Err(other()) };
            services.push(*service);
        }
        Ok((handed, services))
    }

    /// Leads the other process until it is gone.
    pub(crate) async fn lead(self, shared: Shared) {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let Self { socket, sockets } = self;
        // Those that are listened on are this process's by now, and the others are to be closed.
        drop(sockets);
        let (reading, writing) = socket.into_split();
        let told = tokio::spawn(tell(writing, shared.clone()));
        let said = hear(reading, &shared, number).await;
        told.abort();
        shared.holder().gone(number, said.is_ok());
        match said {
            Ok(()) => tracing::info!("the gateway before has ended"),
            Err(error) => tracing::error!(%error, "the gateway before is gone with what it had under way"),
        }
    }
}

/// Tells what is served whenever that changes.
async fn tell(mut writing: OwnedWriteHalf, shared: Shared) -> io::Result<()> {
    let mut changed = shared.holder().changed();
    let ended = shared.ending();
    loop {
        let told = shared.holder().told();
        frame::write(&mut writing, &Follow::Serve(told)).await?;
        tokio::select! {
            changed = changed.changed() => changed.map_err(io::Error::other)?,
            () = ended.notified() => return frame::write(&mut writing, &Follow::End).await,
        }
    }
}

async fn hear(mut reading: OwnedReadHalf, shared: &Shared, number: u64) -> io::Result<()> {
    loop {
        match frame::read::<Counted>(&mut reading).await? {
            Counted::Service { key, windows, in_flight } => shared.holder().absorb(number, &key, windows, in_flight),
            Counted::Done => return Ok(()),
        }
    }
}

/// Hands this gateway over to whoever asked on this socket.
pub(crate) async fn give(shared: &Shared, mut socket: UnixStream) -> io::Result<()> {
    let sent = match &*shared.sockets() {
        Some(sockets) => sockets::send(&socket, Some(sockets)),
        None => Err(io::Error::other("it is handed over already")),
    };
    sent?;
    // It gets itself ready, and may still fail.
    let Request::Commit = tokio::time::timeout(Duration::from_secs(30), frame::read(&mut socket)).await?? else {
        return Err(io::Error::other("it asked something else"));
    };
    if !shared.let_go().await {
        return Err(io::Error::other("it is handed over already"));
    }
    // Before this process can end: to a service manager the other one is the gateway from now on, and not its end. Its main
    // process leads its group: the porter, where there is one.
    let other = socket.peer_cred().ok().and_then(|peer| peer.pid()).and_then(Pid::from_raw);
    if let Some(main) = other.and_then(|pid| getpgid(Some(pid)).ok()) {
        tell_manager(&format!("MAINPID={}", main.as_raw_nonzero()));
    }
    let (handed, services) = shared.holder().hand_over();
    let told = services.iter().map(HandedService::last).collect();
    tracing::warn!("another process takes over: this one finishes what is under way");
    // The ports are the other's now; what comes in between waits in their queues.
    shared.phase(Phase::Drain);
    // If the other one is gone already, what is under way is finished all the same.
    let telling = tokio::time::timeout(STALLED, tell_all(&mut socket, handed, services));
    if let Err(error) = telling.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        tracing::error!(%error, "the process that takes over does not take what is held");
    }
    follow(shared, socket, told).await;
    shared.ended.notify_one();
    Ok(())
}

async fn tell_all(socket: &mut UnixStream, handed: Handed, services: Vec<HandedService>) -> io::Result<()> {
    frame::write(socket, &Answer::Handed(handed)).await?;
    for service in services {
        frame::write(socket, &Answer::HandedService(Box::new(service))).await?;
    }
    Ok(())
}

/// Serves what it is told, tells what it counts, and ends when nothing is under way any more.
async fn follow(shared: &Shared, socket: UnixStream, mut told: BTreeMap<ServiceKey, u64>) {
    let (mut reading, writing) = socket.into_split();
    let mut writing = Some(writing);
    let following = shared.clone();
    let heard = tokio::spawn(async move {
        loop {
            match frame::read::<Follow>(&mut reading).await {
                Ok(Follow::Serve(told)) => following.holder().follow(told),
                Ok(Follow::End) => return FINISH,
                // Left alone: nobody would renew a lease.
                Err(_) => {
                    following.holder().abandoned();
                    return DRAIN;
                }
            }
        }
    });
    let mut heard = std::pin::pin!(heard);
    let mut due = Instant::now() + DRAIN;
    let earliest = Instant::now() + 5 * WINDOW;
    let mut is_led = true;
    loop {
        tokio::select! {
            () = tokio::time::sleep(WINDOW) => {}
            left = heard.as_mut(), if is_led => {
                is_led = false;
                due = Instant::now() + left.unwrap_or(FINISH);
            }
        }
        let is_idle = shared.connections() == 0 && shared.holder().under_way() == 0;
        let is_over = Instant::now() > due || (Instant::now() > earliest && is_idle);
        if is_over {
            // What ended until now is in a window.
            shared.holder().tick();
        }
        let mut counted = shared.holder().counted(&mut told);
        counted.extend(is_over.then_some(Counted::Done));
        // One that does not take it is gone, or as good as gone: it sees that something was not told.
        if let Some(to) = &mut writing
            && !matches!(tokio::time::timeout(STALLED, tell_counted(to, counted)).await, Ok(Ok(())))
        {
            writing = None;
        }
        if is_over {
            return;
        }
    }
}

async fn tell_counted(to: &mut OwnedWriteHalf, counted: Vec<Counted>) -> io::Result<()> {
    for counted in counted {
        frame::write(to, &counted).await?;
    }
    Ok(())
}
