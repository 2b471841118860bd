//! Sees to it that a gateway runs: adopts the one that does, starts one that does not, and starts it again when it dies.

use crate::{Client, Features, Hello, Options};
use davy_ports::Error;
use std::{
    fs::{self, OpenOptions},
    net::SocketAddr,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The longest wait for a new gateway to answer.
const START: Duration = Duration::from_secs(5);
/// The time between two looks at it.
const LOOK: Duration = Duration::from_millis(100);

/// What a keeper needs.
#[derive(Clone, Debug)]
pub struct KeeperOptions {
    /// The executable; its subcommand `gateway` is the porter with the gateway.
    pub exe: PathBuf,
    /// Where the gateway listens for traffic.
    pub listen: SocketAddr,
    /// Its control socket.
    pub control: PathBuf,
    /// The folder of its snapshots.
    pub state: PathBuf,
    /// What it writes goes here.
    pub log: PathBuf,
    /// What it does beyond plain HTTP; none for one that somebody else keeps: it is adopted as it is.
    pub features: Option<Features>,
}

/// Keeps one gateway running.
#[derive(Debug)]
pub struct Keeper {
    options: KeeperOptions,
    client: Client,
    address: SocketAddr,
    tls: Option<SocketAddr>,
    child: Mutex<Option<Child>>,
}

impl Keeper {
    /// Adopts the gateway that answers, else starts one, detached: it outlives this process.
    ///
    /// # Errors
    /// When one runs elsewhere than asked, or none can be started.
    pub async fn start(options: KeeperOptions) -> Result<Self, Error> {
        let client = Client::new(options.control.clone());
        let since = Instant::now();
        let running = loop {
            match client.hello().await {
                Ok(hello) => break Some(hello),
                // Its porter is just starting it again.
                Err(_) if is_held(&options.state) && since.elapsed() < START => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(_) => break None,
            }
        };
        if let Some(hello) = running {
            let asked = options.listen;
            let fits = hello.listen.ip() == asked.ip() && (asked.port() == 0 || asked.port() == hello.listen.port());
            if !fits {
                let what = format!("this folder's gateway listens on {}, not on {asked}", hello.listen);
                return Err(
                    Error::never("adopt the gateway", what).hint("`davy down` stops it; or give the same --gateway")
                );
            }
            if hello.features.is_none() {
                tracing::warn!(
                    version = hello.version,
                    "the gateway that runs is too old to be taken over from; it serves on"
                );
            }
            let is_same = hello.build == build(&options.exe) && hello.features == options.features;
            if is_same || hello.features.is_none() || options.features.is_none() {
                return Ok(Self { options, client, address: hello.listen, tls: hello.tls, child: Mutex::new(None) });
            }
            // Another executable, or told something else: the new one takes over, and nobody's request is lost.
            let options = KeeperOptions { listen: hello.listen, ..options };
            let (child, hello) = start(&options, &client).await?;
            return Ok(Self { options, client, address: hello.listen, tls: hello.tls, child: Mutex::new(Some(child)) });
        }
        let (child, hello) = start(&options, &client).await?;
        Ok(Self { options, client, address: hello.listen, tls: hello.tls, child: Mutex::new(Some(child)) })
    }

    /// Where it listens for traffic.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for TLS.
    #[must_use]
    pub fn tls(&self) -> Option<SocketAddr> {
        self.tls
    }

    /// Starts the gateway again whenever it and its porter are gone, or another one that takes over if the porter is. Goes on for
    /// ever.
    pub async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.reap();
            let is_well = match self.client.hello().await {
                Ok(hello) => !hello.unheld,
                // It may be busy, or its porter is starting it again; what nobody holds is gone.
                Err(_) => is_held(&self.options.state),
            };
            if is_well {
                continue;
            }
            tracing::warn!("the gateway is gone, or what held its sockets; starting another one");
            let options = KeeperOptions { listen: self.address, ..self.options.clone() };
            match start(&options, &self.client).await {
                Ok((child, _)) => *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child),
                Err(error) => tracing::error!(%error, "the gateway could not be started; trying again"),
            }
        }
    }

    /// Tells the gateway to end, until it has.
    ///
    /// # Errors
    /// When it goes on.
    pub async fn end(&self) -> Result<(), Error> {
        let since = Instant::now();
        loop {
            // One that is just being started again cannot be told yet, one that was told cannot be told again.
            self.client.shutdown().await.ok();
            self.reap();
            let is_over = self.child.lock().unwrap_or_else(PoisonError::into_inner).is_none();
            if is_over && !is_held(&self.options.state) {
                return Ok(());
            }
            if since.elapsed() > START {
                return Err(Error::later("stop the gateway", format!("it has not ended within {START:?}"))
                    .hint(format!("see {}", self.options.log.display())));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether the process that was started here has ended.
    fn reap(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let died = child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
        if died {
            *child = None;
        }
        died
    }
}

/// Whether a gateway or a porter has this folder.
fn is_held(state: &Path) -> bool {
    // None there is held by nobody.
    fs::File::open(state.join("lock")).is_ok_and(|file| file.try_lock().is_err())
}

/// What another executable differs in: its size and when it was written.
pub(crate) fn build(exe: &Path) -> String {
    let described =
        |metadata: fs::Metadata| format!("{}-{}-{}", metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    fs::metadata(exe).map(described).unwrap_or_default()
}

async fn start(options: &KeeperOptions, client: &Client) -> Result<(Child, Hello), Error> {
    let tried = "start the gateway";
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&options.log);
    let log = log.map_err(|error| Error::never(format!("open {}", options.log.display()), error))?;
    let begins = log.metadata().map_or(0, |metadata| metadata.len());
    let copy = log.try_clone().map_err(|error| Error::later(tried, error))?;
    let words = Options {
        listen: options.listen,
        control: options.control.clone(),
        state: options.state.clone(),
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        features: options.features.clone().unwrap_or_default(),
        take_over: true,
        held: false,
    };
    let mut child = Command::new(&options.exe)
        .arg("gateway")
        .args(words.words())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(copy)
        .spawn()
        .map_err(|error| Error::never(format!("start {} gateway", options.exe.display()), error))?;
    let since = Instant::now();
    while since.elapsed() < START {
        if let Ok(hello) = client.hello().await
            && hello.is_of(child.id())
        {
            return Ok((child, hello));
        }
        if let Ok(Some(status)) = child.try_wait() {
            let text = fs::read(&options.log).unwrap_or_default();
            let begins = usize::try_from(begins).unwrap_or(0).min(text.len());
            let said = String::from_utf8_lossy(&text[begins..]).trim().to_owned();
            return Err(failure(&said, &status.to_string()));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    child.kill().ok();
    child.wait().ok();
    Err(Error::later(tried, format!("it did not answer within {START:?}"))
        .hint(format!("see {}", options.log.display())))
}

/// What a gateway that could not start said, without what its own command line put around it.
fn failure(said: &str, status: &str) -> Error {
    let (message, hint) = said.split_once("\n  help: ").unwrap_or((said, ""));
    let message =
        message.strip_prefix("error[").and_then(|rest| rest.split_once("]: ")).map_or(message, |(_, rest)| rest);
    let message = if message.is_empty() { status } else { message };
    Error::never("start the gateway", message).hint(hint.trim())
}
