//! Sees to it that a gateway runs: adopts the one that does, starts one that does not, and starts it again when it dies.

use crate::{Client, Features, Hello};
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
    /// The executable; its subcommand `gateway` is the process.
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
        if let Ok(hello) = client.hello().await {
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

    /// Starts the gateway again whenever it is gone. Goes on for ever.
    pub async fn watch(&self) {
        let mut silent = 0_u32;
        loop {
            tokio::time::sleep(LOOK).await;
            let died = self.reap();
            silent = if self.client.hello().await.is_ok() { 0 } else { silent + 1 };
            // Another one may have taken over. One that does not answer may be busy; one whose socket is dead for a while is
            // gone.
            if silent == 0 || (!died && silent < 3) {
                continue;
            }
            tracing::warn!(died, "the gateway is gone; starting it again");
            let options = KeeperOptions { listen: self.address, ..self.options.clone() };
            match start(&options, &self.client).await {
                Ok((child, _)) => {
                    *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
                    silent = 0;
                }
                Err(error) => tracing::error!(%error, "the gateway could not be started; trying again"),
            }
        }
    }

    /// Waits until the gateway that was started here has ended, after it was told to.
    pub async fn ended(&self) {
        let since = Instant::now();
        let running = || self.child.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        while running() && !self.reap() && since.elapsed() < START {
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
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut child = Command::new(&options.exe)
        .args(["gateway", "--take-over"])
        .args(["--listen", &options.listen.to_string(), "--threads", &threads.to_string()])
        .arg("--control")
        .arg(&options.control)
        .arg("--state")
        .arg(&options.state)
        .args(options.features.iter().flat_map(Features::words))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(copy)
        .spawn()
        .map_err(|error| Error::never(format!("start {} gateway", options.exe.display()), error))?;
    let since = Instant::now();
    while since.elapsed() < START {
        if let Ok(hello) = client.hello().await
            && hello.pid == child.id()
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
