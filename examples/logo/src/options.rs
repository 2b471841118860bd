//! What the service is told on its command line.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

/// Which logo, and whether it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Black and white.
    V1,
    /// In colour.
    V2,
    /// In colour, and failing at random unless told otherwise.
    V3,
}

impl Version {
    /// As on the command line: `v1`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
        }
    }

    /// The fraction of requests that fail when nothing else is said.
    #[must_use]
    pub const fn default_error_rate(self) -> f64 {
        match self {
            Self::V1 | Self::V2 => 0.0,
            Self::V3 => 0.2,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How to serve.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The address it listens on: loopback; in a container, 0.0.0.0.
    pub host: IpAddr,
    /// The port.
    pub port: u16,
    /// Which version to be.
    pub version: Version,
    /// The fraction of requests, 0 to 1, answered with 500; `/healthz` never is.
    pub error_rate: f64,
    /// The fraction of requests, 0 to 1, answered with 200 and the wrong lamp: only `/metrics` tells.
    pub spoiled: f64,
    /// The time every answer but `/healthz` takes at least.
    pub latency: Duration,
    /// Makes the failures repeatable.
    pub seed: Option<u64>,
}

/// A command line that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidOptions(String);

impl fmt::Display for InvalidOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nusage: {}", self.0, Options::USAGE)
    }
}

impl std::error::Error for InvalidOptions {}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Options {
    /// What the command line may say.
    pub const USAGE: &str = "logo --port N [--host ADDRESS] [--version v1|v2|v3] [--error-rate 5%] [--spoiled 5%] [--latency 20ms] [--seed N]";

    /// Serves this version as it is by default.
    #[must_use]
    pub const fn new(port: u16, version: Version) -> Self {
        Self {
            host: LOOPBACK,
            port,
            version,
            error_rate: version.default_error_rate(),
            spoiled: 0.0,
            latency: Duration::ZERO,
            seed: None,
        }
    }

    /// Reads the words after the program's name; `--port N` and `--port=N` are the same.
    ///
    /// # Errors
    /// An unknown option, a value that is missing or has no unit, no port.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, InvalidOptions> {
        let (mut host, mut port, mut version, mut error_rate, mut latency, mut seed) =
            (LOOPBACK, None, Version::V1, None, Duration::ZERO, None);
        let mut spoiled = 0.0;
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let (name, inline) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let known = ["--host", "--port", "--version", "--error-rate", "--spoiled", "--latency", "--seed"];
            if !known.contains(&name.as_str()) {
                return Err(InvalidOptions(format!("`{name}` is not an option")));
            }
            let value =
                inline.or_else(|| words.next()).ok_or_else(|| InvalidOptions(format!("{name} needs a value")))?;
            let wrong = |expected: &str| InvalidOptions(format!("{name} is {expected}, not `{value}`"));
            match name.as_str() {
                "--host" => host = value.parse().map_err(|_| wrong("an address such as 0.0.0.0"))?,
                "--port" => port = Some(value.parse().map_err(|_| wrong("a number from 0 to 65535"))?),
                "--version" => {
                    let versions = [Version::V1, Version::V2, Version::V3];
                    version = versions.into_iter().find(|v| v.name() == value).ok_or_else(|| wrong("v1, v2 or v3"))?;
                }
                "--error-rate" => {
                    error_rate = Some(percentage(&value).ok_or_else(|| wrong("0% to 100%, with its unit"))?);
                }
                "--spoiled" => spoiled = percentage(&value).ok_or_else(|| wrong("0% to 100%, with its unit"))?,
                "--latency" => latency = duration(&value).ok_or_else(|| wrong("like 20ms or 2s, with its unit"))?,
                _ => seed = Some(value.parse().map_err(|_| wrong("a whole number"))?),
            }
        }
        let port = port.ok_or_else(|| InvalidOptions("--port is missing".to_owned()))?;
        let error_rate = error_rate.unwrap_or(version.default_error_rate());
        Ok(Self { host, port, version, error_rate, spoiled, latency, seed })
    }
}

fn percentage(text: &str) -> Option<f64> {
    let percent: f64 = text.strip_suffix('%')?.trim_end().parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

fn duration(text: &str) -> Option<Duration> {
    if let Some(milliseconds) = text.strip_suffix("ms") {
        return milliseconds.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s')?.parse().ok().map(Duration::from_secs)
}
