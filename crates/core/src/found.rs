//! What runs at a place and is not Davy's: what a service may be set up from.

use crate::{Millis, Place};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

/// A container that somebody else started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// How its place names it, as long as it is there.
    pub id: String,
    /// As people call it.
    pub name: String,
    /// The address of its engine; the server's own when absent.
    pub engine: Option<String>,
    /// Its Compose project and its service there.
    pub compose: Option<(String, String)>,
    /// The image, as it was named when the container was made.
    pub image: String,
    /// What it runs, where that is not what its image says.
    pub command: Vec<String>,
    /// Who it runs as, where that is not what its image says.
    pub user: Option<String>,
    /// What asks it to end, where that is not what its image says.
    pub stop_signal: Option<String>,
    /// The TCP ports that it exposes, and who says so.
    pub ports: Vec<Said<u16>>,
    /// Its health check.
    pub check: Option<Said<Check>>,
    /// `SOURCE:/TARGET[:ro]`, those without a name left out.
    pub volumes: Vec<String>,
    /// Where data is kept that ends with the container.
    pub nameless: Vec<String>,
    /// The variables that are not its image's. Some may be secrets: they are not shown as they are here.
    pub env: BTreeMap<String, String>,
    /// Its share of processors in thousandths of one.
    pub cpu: Option<u32>,
    /// Its memory in bytes.
    pub memory: Option<u64>,
    /// Where this machine reaches its ports.
    pub reach: Reach,
}

/// Who says something of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The image that it was made from.
    Image,
    /// Whoever made it.
    Container,
}

/// Something that is said, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said<T> {
    /// What.
    pub value: T,
    /// By whom.
    pub by: Speaker,
}

/// A health check as an engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// `CMD` or `CMD-SHELL` and what follows.
    pub test: Vec<String>,
    /// Between two checks.
    pub interval: Option<Millis>,
    /// How long it may take to begin.
    pub start: Option<Millis>,
}

/// Where a container's ports are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Its own address, where this machine is on its network.
    pub ip: Option<IpAddr>,
    /// Its ports that are published, each with where.
    pub published: BTreeMap<u16, SocketAddr>,
}

impl Reach {
    /// Where a port is reached, if it can be.
    #[must_use]
    pub fn address(&self, port: u16) -> Option<SocketAddr> {
        let own = self.ip.map(|ip| SocketAddr::new(ip, port));
        own.or_else(|| self.published.get(&port).copied())
    }
}

/// What is to be found at one place, or one of its engines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Which place.
    pub place: Place,
    /// What it is called: `the Docker engine at unix:///var/run/docker.sock`.
    pub called: String,
    /// What runs there.
    pub found: Vec<Found>,
    /// Why nothing, or not all, can be said: what happened.
    pub trouble: String,
    /// What to do about that; may be empty.
    pub hint: String,
}

/// What a place says of a workload before it is deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: `image`, `command`, …
    pub what: String,
    /// Whether it is as it should be; none where nobody can say.
    pub well: Option<bool>,
    /// What was found.
    pub says: String,
    /// What to do; may be empty.
    pub hint: String,
}
