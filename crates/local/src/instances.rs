//! The instances on disk and their shims: found, started, asked, stopped.

use crate::{
    artifact,
    folders::Folders,
    shim::{
        self, CURRENT, Source, parse_line, private,
        protocol::{Phase, Request, SPEC, Spec, Status, WORK, now},
    },
    sweep::{marked, sweep},
};
use davy_core::{InstanceId, Millis};
use davy_place::{
    Given,
    disk::{io_error, make, write},
};
use davy_ports::{Error, Order};
use std::{
    fs, io,
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// How long a shim may take to answer what it is, and to be there at all.
const ANSWER: Duration = Duration::from_secs(2);
const APPEAR: Duration = Duration::from_secs(10);
/// How long after the grace a shim may take to end its instance by force.
const FORCE: Duration = Duration::from_secs(10);
/// A folder without a spec is left alone so long: somebody may be at it.
pub(crate) const HALF_MADE: Duration = Duration::from_secs(60);

/// What is behind a socket.
pub(crate) enum Answer {
    Status(Status),
    /// Somebody holds the socket but says nothing.
    Silent,
    /// Nobody is there.
    Gone,
}

/// Every finished instance folder.
pub(crate) fn list(folders: &Folders) -> Result<Vec<Spec>, Error> {
    let path = folders.instances();
    let tried = "list the instances";
    let entries = fs::read_dir(&path).map_err(|error| io_error(tried, &path, &error))?;
    let mut specs: Vec<Spec> = entries.flatten().filter_map(|entry| read(&entry.path())).collect();
    specs.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    Ok(specs)
}

fn read(folder: &Path) -> Option<Spec> {
    let bytes = fs::read(folder.join(SPEC)).ok()?;
    serde_json::from_slice(&bytes)
        .inspect_err(|error| tracing::warn!(folder = %folder.display(), %error, "an instance's spec cannot be read"))
        .ok()
}

/// Removes what a crash left before it was an instance, or when it was one no more; what is younger than `age` stays.
pub(crate) fn remove_half_made(folders: &Folders, age: Duration) {
    let Ok(entries) = fs::read_dir(folders.instances()) else { return };
    for entry in entries.flatten() {
        let is_old = |about: fs::Metadata| {
            about.modified().ok().and_then(|at| at.elapsed().ok()).is_some_and(|since| since >= age)
        };
        if !entry.path().join(SPEC).exists() && entry.metadata().is_ok_and(is_old) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Names a new instance of an order.
pub(crate) fn name(order: &Order) -> (InstanceId, String) {
    // The end of a version 7 identifier is random, its beginning is the time.
    let bytes = *uuid::Uuid::now_v7().as_bytes();
    let short: String = bytes[12..].iter().map(|byte| format!("{byte:02x}")).collect();
    (InstanceId::new(format!("{}-{short}", order.key.service)), short)
}

/// Makes the folder of an instance. On an error nothing of it is left.
pub(crate) fn create(
    folders: &Folders,
    order: &Order,
    id: InstanceId,
    short: &str,
    given: &Given,
) -> Result<Spec, Error> {
    let tried = format!("start an instance of {} {}", order.key, order.release.id);
    let release = folders.release(&order.key, &order.release.digest);
    let command = artifact::command(&release).map_err(|error| {
        Error::never(
            &tried,
            format!("the files of release {} are not at {}: {error}", order.release.id, release.display()),
        )
        .hint("deploy it again: its files are then copied anew")
    })?;
    let spec = Spec {
        command,
        socket: folders.socket(short),
        key: order.key.clone(),
        release: order.release.id.clone(),
        digest: order.release.digest.clone(),
        env: order.release.workload.env.clone(),
        health: order.release.workload.health.clone(),
        created: now(),
        secrets: (!given.files.is_empty()).then(|| private::folder(&folders.instance(&id), &id)),
        id,
    };
    let folder = folders.instance(&spec.id);
    let made = make(&folder).and_then(|()| artifact::unpack(&release, &folder.join(WORK))).and_then(|()| {
        let bytes = serde_json::to_vec_pretty(&spec)?;
        write(&folder.join(SPEC), &bytes)
    });
    made.map_err(|error| {
        let _ = fs::remove_dir_all(&folder);
        io_error(&tried, &folder, &error)
    })?;
    Ok(spec)
}

/// Starts the shim of an instance and waits until it answers. On an error nothing of the instance is left.
pub(crate) async fn start(folders: &Folders, program: &Path, spec: &Spec, given: &Given) -> Result<(), Error> {
    let folder = folders.instance(&spec.id);
    let tried = format!("start the shim of {}", spec.id);
    let failed = match launch(program, &folder, spec, given).await {
        Ok(()) => {
            let deadline = Instant::now() + APPEAR;
            loop {
                if let Answer::Status(_) = ask(spec).await {
                    return Ok(());
                }
                if Instant::now() >= deadline {
                    break Error::later(
                        &tried,
                        format!("it did not answer within {} s: {}", APPEAR.as_secs(), said(&folder)),
                    );
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
        Err(error) => Error::later(&tried, format!("{}: {error}; {}", program.display(), said(&folder))),
    };
    erase(folders, spec).await;
    Err(failed.hint("look whether processes can still be started on this machine"))
}

async fn launch(program: &Path, folder: &Path, spec: &Spec, given: &Given) -> io::Result<()> {
    let mut command = shim::command(program, folder, spec)?;
    let said = private::said(given)?;
    let status = blocking(move || {
        let mut starting = command.spawn()?;
        // A shim that ends before it has read everything says why in its log.
        let told = starting.stdin.take().map_or(Ok(()), |mut input| input.write_all(&said));
        let status = starting.wait()?;
        told.or_else(|error| if status.success() { Err(error) } else { Ok(()) }).map(|()| status)
    })
    .await?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

fn said(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join("shim.log")).unwrap_or_default();
    let last = text.lines().last().unwrap_or("it said nothing");
    last.to_owned()
}

/// Asks a shim what it is.
pub(crate) async fn ask(spec: &Spec) -> Answer {
    match tokio::time::timeout(ANSWER, exchange(&spec.socket, Request::Status)).await {
        Ok(Ok(status)) => Answer::Status(status),
        Ok(Err(error)) if is_gone(&error) => Answer::Gone,
        Ok(Err(_)) | Err(_) => Answer::Silent,
    }
}

fn is_gone(error: &io::Error) -> bool {
    // A reset or an end without an answer: it ended while it was asked.
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};
    matches!(error.kind(), NotFound | ConnectionRefused | ConnectionReset | BrokenPipe | UnexpectedEof)
}

async fn exchange(socket: &Path, request: Request) -> io::Result<Status> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&answer)?)
}

/// Stops an instance, first by asking, after `grace` by force, and removes everything of it.
pub(crate) async fn stop(folders: &Folders, spec: &Spec, grace: Millis) -> Result<(), Error> {
    let limit = grace.duration().saturating_add(FORCE);
    match tokio::time::timeout(limit, exchange(&spec.socket, Request::Stop { grace })).await {
        Ok(Ok(Status { phase: Phase::Stopped, .. })) => {}
        Ok(Err(error)) if is_gone(&error) => {}
        Ok(answer) => {
            tracing::warn!(instance = %spec.id, ?answer, "a shim did not stop as asked; it is ended by force");
        }
        Err(_) => tracing::warn!(instance = %spec.id, "a shim does not answer; it is ended by force"),
    }
    if erase(folders, spec).await {
        return Ok(());
    }
    let what = format!("processes marked {}={} are still there after SIGKILL", crate::sweep::MARK, spec.id);
    Err(Error::later(format!("stop {}", spec.id), what)
        .hint("they hang in the kernel, often on a disk; it is tried again"))
}

/// Ends what is left of an instance and removes its folder and socket. Whether nothing is left.
pub(crate) async fn erase(folders: &Folders, spec: &Spec) -> bool {
    let (folder, spec) = (folders.instance(&spec.id), spec.clone());
    blocking(move || {
        // An answer of `Stopped` comes a moment before the shim's own end; it is among those waited for.
        let clean = settle(&spec) || sweep(spec.id.as_str(), Duration::from_secs(5));
        if clean {
            // The spec goes last: while it is there, the instance is known and can be removed again.
            let _ = fs::remove_file(&spec.socket);
            private::remove(&spec);
            let _ = fs::remove_dir_all(folder.join(WORK));
            let removed = fs::remove_dir_all(&folder);
            return removed.is_ok() || !folder.exists();
        }
        clean
    })
    .await
}

/// Gives a shim that said `Stopped` a moment to end by itself.
fn settle(spec: &Spec) -> bool {
    if spec.socket.exists() {
        return false;
    }
    for _ in 0..20 {
        if marked(spec.id.as_str()).is_empty() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

/// The last lines that an instance whose shim is gone wrote to standard error.
pub(crate) fn last_words(folders: &Folders, spec: &Spec) -> String {
    let path = folders.instance(&spec.id).join(CURRENT);
    let Ok(mut file) = fs::File::open(path) else { return String::new() };
    let length = file.metadata().map_or(0, |about| about.len());
    let mut bytes = Vec::new();
    let read = file.seek(SeekFrom::Start(length.saturating_sub(8 * 1024))).and_then(|_| file.read_to_end(&mut bytes));
    if read.is_err() {
        return String::new();
    }
    let lines: Vec<String> = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(parse_line)
        .filter(|(_, source, _)| *source == Source::Stderr)
        .map(|(_, _, text)| text)
        .collect();
    lines[lines.len().saturating_sub(5)..].iter().map(|line| format!("\n{line}")).collect()
}

/// Runs file work where it does not hold up the runtime.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being shut down: nobody waits for the answer.
            Err(_) => std::future::pending().await,
        },
    }
}
