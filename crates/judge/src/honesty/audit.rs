//! Stable against itself: whether requests fail one by one.
//!
//! Some instances of stable play the canary: as many as its weight asks for, `clamp(round(w k), 1, k − 2)` of `k ≥ 4`, chosen
//! by a hash of their number from those seen in the block before, so never by what they count. The process of
//! [`crate::relative`] runs both ways, players against the rest and the rest against players; the average is an e-process for
//! "stable's instances fail alike, request by request". At 100 the alarm is raised, for good: in at most 1 % of rollouts
//! where it is true.
//!
//! Instances, never a random half of the requests: what fails together on one instance would be dealt out evenly, and
//! look like chance.

use crate::blocks::Block;
use crate::counts::{Counts, Pair, WHOLE};
use crate::details::Instance;
use crate::plain::{Plain, Worth};
use crate::sum::ln_mix;

use super::Calibration;

/// Fewer instances cannot be told from one bad one.
const LEAST: usize = 4;

/// With more instances those of the smallest hashes are audited: a random sample of this size.
const MOST: usize = 64;

/// `ln 100`.
const LN_ALARM: f64 = 4.605_170_185_988_092;

#[derive(Clone, Debug)]
pub(crate) struct Audit {
    worth: Worth,
    forth: Plain,
    back: Plain,
    weight: u16,
    /// Hashes of the instances of the last closed block, rising.
    known: Vec<u64>,
    /// Those of the open block so far.
    seen: Vec<u64>,
    /// The largest hash that plays in the open block; nothing with too few instances.
    last_player: Option<u64>,
    players: Counts,
    rest: Counts,
    audited: bool,
    alarm: bool,
}

/// The finisher of SplitMix64 (Steele, Lea, Flood 2014): numbers that follow one another are far apart.
fn hash(id: u64) -> u64 {
    let mut z = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How many of `k` instances play the canary at a weight in basis points.
fn players(weight: u16, k: usize) -> usize {
    let rounded = (usize::from(weight) * k + usize::from(WHOLE) / 2) / usize::from(WHOLE);
    rounded.clamp(1, k - 2)
}

impl Audit {
    pub(crate) fn begin(cluster: f64) -> Self {
        Self {
            // Clients are not told apart here: each one's first failure is one among all requests.
            worth: Worth::new(false, cluster),
            forth: Plain::default(),
            back: Plain::default(),
            weight: 0,
            known: Vec::new(),
            seen: Vec::new(),
            last_player: None,
            players: Counts::default(),
            rest: Counts::default(),
            audited: false,
            alarm: false,
        }
    }

    pub(crate) fn enter(&mut self, weight: u16) {
        self.weight = weight;
        self.seen.clear();
        self.open();
    }

    fn open(&mut self) {
        let k = self.known.len();
        self.last_player = (k >= LEAST).then(|| self.known[players(self.weight, k) - 1]);
        self.players = Counts::default();
        self.rest = Counts::default();
    }

    /// Takes the counts of one instance of stable in a window of the open block.
    pub(crate) fn see(&mut self, instance: &Instance) {
        let Counts { n, admitted, .. } = instance.counts;
        if n == 0 && admitted == 0 {
            return;
        }
        let hash = hash(instance.id);
        if let Err(place) = self.seen.binary_search(&hash) {
            if place == MOST {
                return;
            }
            self.seen.truncate(MOST - 1);
            self.seen.insert(place, hash);
        }
        let side = if self.last_player.is_some_and(|last| hash <= last) { &mut self.players } else { &mut self.rest };
        *side = side.plus(instance.counts);
    }

    pub(crate) fn close(&mut self, block: &Block) {
        if self.last_player.is_some() {
            let alone = |counts: Counts| Counts { x: counts.first_failures(), ..counts };
            let (players, rest) = (alone(self.players), alone(self.rest));
            self.audited |= players.n > 0 && rest.n > 0;
            self.run(block.from_ms, Pair { canary: players, stable: rest });
        }
        std::mem::swap(&mut self.known, &mut self.seen);
        self.seen.clear();
        self.open();
    }

    fn run(&mut self, from_ms: u64, forth: Pair) {
        let back = Pair { canary: forth.stable, stable: forth.canary };
        for (plain, counts) in [(&mut self.forth, forth), (&mut self.back, back)] {
            plain.reach(from_ms);
            if let Some(terms) = self.worth.terms(self.weight, &counts, 1.0) {
                plain.add(&terms);
            }
        }
        if !self.alarm && (self.forth.may_reach(LN_ALARM) || self.back.may_reach(LN_ALARM)) {
            let half = -libm::log(2.0);
            self.alarm = ln_mix(&[(half, self.forth.ln_e()), (half, self.back.ln_e())]) >= LN_ALARM;
        }
    }

    pub(crate) fn calibration(&self) -> Calibration {
        match (self.alarm, self.audited) {
            (true, _) => Calibration::Uncalibrated,
            (false, true) => Calibration::Audited,
            (false, false) => Calibration::Unaudited,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::players;

    #[test]
    fn as_many_players_as_the_weight_asks_for() {
        assert_eq!(
            [(100, 4), (1_000, 20), (5_000, 7), (9_000, 10), (10_000, 4)].map(|(w, k)| players(w, k)),
            [1, 2, 4, 8, 2]
        );
    }
}
