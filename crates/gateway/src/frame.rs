//! What controller and gateway say to each other: length-prefixed (u32, big endian), versioned JSON frames.

use crate::{
    certificates::Certificate,
    handed::{Handed, HandedService},
    options::Features,
};
use davy_core::{Generation, ServiceKey, Serving, Snapshot, Window};
use davy_ports::{Cursor, Error};
use rustix::process::{Pid, getpgid};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{io, net::SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The version of the frames.
pub(crate) const VERSION: u32 = 1;
/// No frame is longer.
const LONGEST: usize = 16 * 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Framed<T> {
    pub version: u32,
    pub body: T,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    Hello,
    Serve(Box<Snapshot>),
    Renew {
        key: ServiceKey,
        generation: Generation,
    },
    Revert {
        key: ServiceKey,
    },
    Observe {
        key: ServiceKey,
    },
    Windows {
        key: ServiceKey,
        after: Option<Cursor>,
    },
    Metrics,
    Certificates,
    /// Gives the sockets, and on [`Request::Commit`] everything else.
    TakeOver,
    Commit,
    Shutdown,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Hello(Box<Hello>),
    Serving(Option<Box<Serving>>),
    Windows(Vec<Window>),
    Text(String),
    Certificates(Vec<Certificate>),
    Handed(Handed),
    HandedService(Box<HandedService>),
    Error(Error),
    Done,
}

/// Who a gateway is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its release.
    pub version: String,
    /// Names this run of its process.
    pub boot: String,
    /// Where it listens for traffic.
    pub listen: SocketAddr,
    /// Where it listens for TLS.
    #[serde(default)]
    pub tls: Option<SocketAddr>,
    /// Its executable, to know another one by.
    #[serde(default)]
    pub build: String,
    /// What it does beyond plain HTTP; none of a version that did not say.
    #[serde(default)]
    pub features: Option<Features>,
    /// Its process.
    pub pid: u32,
    /// Whether the porter that held its sockets is no more.
    #[serde(default)]
    pub unheld: bool,
}

impl Hello {
    /// Whether this is the gateway that a process of this machine is, or keeps as its porter.
    #[must_use]
    pub fn is_of(&self, process: u32) -> bool {
        let pid = |pid: u32| i32::try_from(pid).ok().and_then(Pid::from_raw);
        // A porter leads the group of its gateway.
        self.pid == process || pid(self.pid).is_some_and(|own| getpgid(Some(own)).ok() == pid(process))
    }
}

pub(crate) async fn write(to: &mut (impl AsyncWrite + Unpin), body: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(&Framed { version: VERSION, body })?;
    let length = u32::try_from(json.len()).ok().filter(|_| json.len() <= LONGEST);
    let length = length.ok_or_else(|| io::Error::other("the frame is too long"))?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(json);
    to.write_all(&bytes).await?;
    to.flush().await
}

pub(crate) async fn read<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let length = from.read_u32().await? as usize;
    if length > LONGEST {
        return Err(io::Error::other("the frame is too long"));
    }
    let mut json = vec![0; length];
    from.read_exact(&mut json).await?;
    // The body of another version may be anything: it is not looked at before the version is.
    let other = serde_json::from_slice::<Framed<serde::de::IgnoredAny>>(&json)?.version;
    if other != VERSION {
        return Err(io::Error::other(format!("the other side speaks version {other} of the frames, not {VERSION}")));
    }
    Ok(serde_json::from_slice::<Framed<T>>(&json)?.body)
}
