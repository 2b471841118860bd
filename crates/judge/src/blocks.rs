//! From windows to blocks: what every formula takes.

use serde::{Deserialize, Serialize};

use crate::counts::{Pair, WHOLE, Window};

/// A block is at least this long, in milliseconds: failures of one moment belong together.
pub const BLOCK_MS: u64 = 1_000;

/// A block is closed once `(n_c + n_b) w (1 − w)` has reached this, so that both versions are usually in it.
pub const BLOCK_REQUESTS: u64 = 2;

/// Where `φ` requests fail together, so many times `φ` in place of [`BLOCK_REQUESTS`]: a block of few clusters says more
/// than it knows.
const BLOCK_CLUSTERS: f64 = 20.0;

/// A closed block: counts of both versions of requests routed under one epoch. Evidence changes only by closed blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The epoch all its requests were routed in.
    pub epoch: u64,
    /// The canary's configured share, in basis points.
    pub weight: u16,
    /// Begin of its first window, in milliseconds since the rollout began.
    pub from_ms: u64,
    /// End of its last window.
    pub to_ms: u64,
    /// The counts, merged as integers.
    pub counts: Pair,
}

impl Block {
    /// Whether both versions were given a share, so that they can be compared.
    pub(crate) fn compares(&self) -> bool {
        compares(self.weight)
    }

    fn begin(window: &Window) -> Self {
        Self {
            epoch: window.epoch,
            weight: window.weight,
            from_ms: window.from_ms,
            to_ms: window.to_ms,
            counts: window.pair(),
        }
    }

    /// The rule sees the time, the weight and the sum of all requests: never which version, never the outcome. At 0 %
    /// and 100 % there is nothing to compare, and time alone closes.
    fn is_full(&self, needed: u64) -> bool {
        if self.to_ms.saturating_sub(self.from_ms) < BLOCK_MS {
            return false;
        }
        if !self.compares() {
            return true;
        }
        is_enough(u128::from(self.counts.canary.n) + u128::from(self.counts.stable.n), self.weight, needed)
    }
}

/// Whether `requests w (1 − w)` has reached `needed`.
pub(crate) fn is_enough(requests: u128, weight: u16, needed: u64) -> bool {
    let (share, whole) = (u128::from(weight), u128::from(WHOLE));
    requests * share * (whole - share) >= u128::from(needed) * whole * whole
}

/// How the windows now coming were routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) epoch: u64,
    pub(crate) weight: u16,
}

/// How a window stands to those counted before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// It is to be counted.
    Next,
    /// Its epoch is over.
    Late,
    /// Its time has been counted.
    Duplicate,
}

impl Order {
    pub(crate) fn of(window: &Window, route: Option<Route>, counted_to_ms: u64) -> Self {
        match route {
            Some(route) if window.epoch < route.epoch => Self::Late,
            Some(route) if window.epoch == route.epoch && window.from_ms < counted_to_ms => Self::Duplicate,
            _ => Self::Next,
        }
    }
}

/// Whether a weight gives both versions a share.
pub(crate) fn compares(weight: u16) -> bool {
    0 < weight && weight < WHOLE
}

/// What `(n_c + n_b) w (1 − w)` of a block must reach where requests fail `cluster` together.
pub(crate) fn needed(cluster: f64) -> u64 {
    if cluster > 1.0 { libm::ceil(BLOCK_CLUSTERS * cluster) as u64 } else { BLOCK_REQUESTS }
}

/// Gathers the windows of one epoch into blocks.
#[derive(Clone, Debug)]
pub(crate) struct Gathering {
    open: Option<Block>,
    /// What `(n_c + n_b) w (1 − w)` must reach.
    needed: u64,
}

impl Default for Gathering {
    fn default() -> Self {
        Self { open: None, needed: BLOCK_REQUESTS }
    }
}

impl Gathering {
    /// Blocks for requests that fail `cluster` together.
    pub(crate) fn of_clusters(cluster: f64) -> Self {
        Self { open: None, needed: needed(cluster) }
    }

    /// Drops what is unfinished, and gives it: its epoch is over.
    pub(crate) fn drop_open(&mut self) -> Pair {
        self.open.take().map(|block| block.counts).unwrap_or_default()
    }

    /// Counts in the unfinished block.
    pub(crate) fn open(&self) -> Pair {
        self.open.map(|block| block.counts).unwrap_or_default()
    }

    /// Adds a window of the same epoch and weight as what is open; gives the block it closes.
    pub(crate) fn add(&mut self, window: &Window) -> Option<Block> {
        let block = match self.open.take() {
            None => Block::begin(window),
            Some(open) => Block { to_ms: window.to_ms, counts: open.counts.plus(window.pair()), ..open },
        };
        if block.is_full(self.needed) {
            return Some(block);
        }
        self.open = Some(block);
        None
    }
}
