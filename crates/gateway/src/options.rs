//! What a gateway's process is told, as words of a command line.

use crate::{acme::Authority, limits::Limits};
use serde::{Deserialize, Serialize};
use std::{
    fmt::Display,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// What a gateway's process needs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens for traffic. Port 0: the port of the last time, else a free one.
    pub listen: SocketAddr,
    /// Its control socket, in a folder of mode 0700.
    pub control: PathBuf,
    /// The folder of its last good snapshots.
    pub state: PathBuf,
    /// How many threads serve traffic.
    pub threads: usize,
    /// Everything that may be left out.
    pub features: Features,
    /// Whether it takes over from a gateway that uses the folder.
    pub take_over: bool,
    /// Whether a porter holds its sockets: the process at the other end of its standard input.
    pub held: bool,
}

/// What a gateway does beyond plain HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// Where it listens for TLS.
    pub tls: Option<SocketAddr>,
    /// The folder of certificates: `NAME.crt` beside `NAME.key`.
    pub certificates: Option<PathBuf>,
    /// Whom certificates are asked of, for hosts of routes that have none in the folder.
    pub acme: Option<Authority>,
    /// Whether plain requests for hosts that have a certificate are sent to https, and to which port.
    pub redirect: Redirect,
    /// Where a line for each request goes; `-` is the standard output.
    pub access_log: Option<PathBuf>,
    /// Where metrics are answered, without a lock: a loopback address.
    pub metrics: Option<SocketAddr>,
    /// What one client may use.
    pub limits: Limits,
}

/// Where plain requests for a host that has a certificate are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Redirect {
    /// To the port of the TLS listener.
    #[default]
    On,
    /// They are served.
    Off,
    /// To this port, for a gateway behind one that maps ports.
    Port(u16),
}

impl Options {
    /// What follows `davy gateway`.
    pub const USAGE: &str = "--listen ADDRESS --control SOCKET --state FOLDER [--threads NUMBER] [--take-over] \
        [--tls ADDRESS] [--certificates FOLDER] \
        [--acme letsencrypt|URL] [--acme-contact EMAIL] [--acme-root FILE] [--redirect on|off|PORT] \
        [--access-log FILE|-] [--metrics ADDRESS] [--connections NUMBER] \
        [--connections-per-client NUMBER] [--body-limit SIZE] \
        [--head-timeout 15s] [--idle-timeout 75s] [--slow-timeout 60s]";

    /// Reads the words of a command line, see [`Self::USAGE`].
    ///
    /// # Errors
    /// Says which word is missing or cannot be read.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let (mut listen, mut control, mut state, mut threads) = (None, None, None, 1);
        let mut features = Features::default();
        let mut words = words.into_iter();
        let (mut take_over, mut held) = (false, false);
        while let Some(name) = words.next() {
            match name.as_str() {
                "--take-over" => {
                    take_over = true;
                    continue;
                }
                "--held" => {
                    held = true;
                    continue;
                }
                _ => {}
            }
            let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
            let unreadable = |why: &dyn Display| format!("{name} {value}: {why}");
            match name.as_str() {
                "--listen" => listen = Some(value.parse().map_err(|why| unreadable(&why))?),
                "--control" => control = Some(PathBuf::from(value)),
                "--state" => state = Some(PathBuf::from(value)),
                "--threads" => threads = value.parse().map_err(|why| unreadable(&why))?,
                _ => features.set(&name, &value)?,
            }
        }
        features.check()?;
        let missing = |name: &str| format!("{name} is missing");
        Ok(Self {
            listen: listen.ok_or_else(|| missing("--listen"))?,
            control: control.ok_or_else(|| missing("--control"))?,
            state: state.ok_or_else(|| missing("--state"))?,
            threads,
            features,
            take_over,
            held,
        })
    }

    /// The words by which [`Self::parse`] reads the same again, but that a porter holds its sockets.
    pub(crate) fn words(&self) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let mut words =
            vec!["--listen".to_owned(), self.listen.to_string(), "--control".to_owned(), path(&self.control)];
        words.extend(["--state".to_owned(), path(&self.state), "--threads".to_owned(), self.threads.to_string()]);
        words.extend(self.features.words());
        words.extend(self.take_over.then(|| "--take-over".to_owned()));
        words
    }
}

impl Features {
    /// Reads options by their names, as [`Options::parse`] does.
    ///
    /// # Errors
    /// Says which one cannot be read, or what does not go together.
    pub fn read<'a>(named: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut features = Self::default();
        for (name, value) in named {
            features.set(name, value)?;
        }
        features.check()?;
        Ok(features)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        fn read<T: std::str::FromStr<Err: Display>>(name: &str, value: &str) -> Result<T, String> {
            value.parse().map_err(|why| format!("{name} {value}: {why}"))
        }
        match name {
            "--tls" => self.tls = Some(read(name, value)?),
            "--certificates" => self.certificates = Some(value.into()),
            "--redirect" => {
                self.redirect = match value {
                    "on" => Redirect::On,
                    "off" => Redirect::Off,
                    port => Redirect::Port(read(name, port)?),
                }
            }
            "--acme" => self.authority().directory = value.to_owned(),
            "--acme-contact" => self.authority().contact = Some(value.to_owned()),
            "--acme-root" => self.authority().root = Some(value.into()),
            "--access-log" => self.access_log = Some(value.into()),
            "--metrics" => self.metrics = Some(read(name, value)?),
            "--connections" => self.limits.connections = read(name, value)?,
            "--connections-per-client" => self.limits.connections_per_client = read(name, value)?,
            "--body-limit" => self.limits.body = Some(size(value).map_err(|why| format!("{name} {value}: {why}"))?),
            "--head-timeout" => self.limits.head_timeout = read(name, seconds(value))?,
            "--idle-timeout" => self.limits.idle_timeout = read(name, seconds(value))?,
            "--slow-timeout" => self.limits.slow_timeout = read(name, seconds(value))?,
            _ => return Err(format!("{name} is not known")),
        }
        Ok(())
    }

    fn authority(&mut self) -> &mut Authority {
        self.acme.get_or_insert_with(|| Authority { directory: String::new(), contact: None, root: None })
    }

    /// Says what does not go together.
    fn check(&self) -> Result<(), String> {
        let said = match (&self.tls, &self.certificates, &self.acme) {
            (Some(_), None, None) => "a TLS listener needs a folder of certificates or an authority that gives some",
            (None, Some(_), _) => "certificates need a TLS listener",
            (None, None, Some(_)) => "an authority's certificates need a TLS listener",
            (_, _, Some(authority)) if authority.directory.is_empty() => "say which authority: --acme letsencrypt",
            _ => match self.metrics {
                Some(address) if !address.ip().is_loopback() => {
                    "the metrics would be told to everybody who reaches them: use an address of 127.0.0.1"
                }
                _ => return Ok(()),
            },
        };
        Err(said.to_owned())
    }

    /// The words by which [`Options::parse`] reads the same again.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let default = Self::default();
        let mut words = Vec::new();
        let mut say = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                words.extend([name.to_owned(), value]);
            }
        };
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        say("--tls", self.tls.map(|address| address.to_string()));
        say("--certificates", path(&self.certificates));
        say(
            "--redirect",
            match self.redirect {
                Redirect::On => None,
                Redirect::Off => Some("off".to_owned()),
                Redirect::Port(port) => Some(port.to_string()),
            },
        );
        if let Some(authority) = &self.acme {
            say("--acme", Some(authority.directory.clone()));
            say("--acme-contact", authority.contact.clone());
            say("--acme-root", path(&authority.root));
        }
        say("--access-log", path(&self.access_log));
        say("--metrics", self.metrics.map(|address| address.to_string()));
        let (limits, usual) = (self.limits, default.limits);
        say("--connections", (limits.connections != usual.connections).then(|| limits.connections.to_string()));
        let per_client = limits.connections_per_client;
        say("--connections-per-client", (per_client != usual.connections_per_client).then(|| per_client.to_string()));
        say("--body-limit", limits.body.map(|bytes| bytes.to_string()));
        let mut time = |name, seconds: u32, usual| say(name, (seconds != usual).then(|| format!("{seconds}s")));
        time("--head-timeout", limits.head_timeout, usual.head_timeout);
        time("--idle-timeout", limits.idle_timeout, usual.idle_timeout);
        time("--slow-timeout", limits.slow_timeout, usual.slow_timeout);
        words
    }
}

/// `15s`, or so many seconds.
fn seconds(text: &str) -> &str {
    text.strip_suffix('s').unwrap_or(text)
}

/// `64MiB`, or so many bytes.
fn size(text: &str) -> Result<u64, &'static str> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match &text[digits..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("write it with its unit, such as 64MiB (KiB, MiB, GiB)"),
    };
    text[..digits].parse::<u64>().ok().and_then(|amount| amount.checked_mul(factor)).ok_or("no number, or too large")
}
