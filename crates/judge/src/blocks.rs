//! From windows to blocks: what every formula takes.

use serde::{Deserialize, Serialize};

use crate::counts::{Pair, WHOLE, Window};

/// A block is at least this long, in milliseconds: failures of one moment belong together.
pub const BLOCK_MS: u64 = 1_000;

/// A block is closed once `(n_c + n_b) w (1 − w)` has reached this, so that both versions are usually in it.
pub const BLOCK_REQUESTS: u64 = 2;

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
    fn is_full(&self) -> bool {
        if self.to_ms.saturating_sub(self.from_ms) < BLOCK_MS {
            return false;
        }
        if !self.compares() {
            return true;
        }
        let share = u128::from(self.weight);
        let whole = u128::from(WHOLE);
        let requests = u128::from(self.counts.canary.n) + u128::from(self.counts.stable.n);
        requests * share * (whole - share) >= u128::from(BLOCK_REQUESTS) * whole * whole
    }
}

/// Whether a weight gives both versions a share.
pub(crate) fn compares(weight: u16) -> bool {
    0 < weight && weight < WHOLE
}

/// Gathers the windows of one epoch into blocks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gathering {
    open: Option<Block>,
}

impl Gathering {
    /// Drops what is unfinished: its epoch is over.
    pub(crate) fn drop_open(&mut self) {
        self.open = None;
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
        if block.is_full() {
            return Some(block);
        }
        self.open = Some(block);
        None
    }
}
