//! Whether all the evidence is one instance's: a bad host is not a bad version.
//!
//! Beside the process that compares the canary with stable runs one more for each instance of the canary, over everything
//! but that instance. An instance that comes later copies the whole process: until then the two were the same. At a
//! crossing, where at least three instances have a tenth of the canary's requests each, the evidence is put together
//! again without the one that fails most.
//!
//! The question asked is not whether it would have crossed the line without instance `i`: evidence that has just crossed
//! stands a failure or two above it, so without any third of a broken version's failures it would not have, and nearly every
//! rollback would be called one instance's. Two things are asked: that without `i` there is little evidence left
//! ([`LN_LITTLE`]), and that `i` fails more than the canary's other instances do: by the same process, `i` against the
//! others, with an average over all instances of at least [`LN_APART`].

use crate::absolute::{self, RATES};
use crate::blocks::Block;
use crate::counts::{Counts, Pair};
use crate::details::Instance;
use crate::evidence::{Evidence, Measure};
use crate::plain::{Plain, Worth};
use crate::policy::Policy;
use crate::relative::RATIOS;
use crate::sum::ln_mix;

/// So many instances are followed: those seen first; more than ten with a tenth each there cannot be. One that comes when all
/// places are taken gets that of an instance that had no request for [`GONE_MS`], else none.
const MOST: usize = 12;

/// Fewer instances, and one of them is too much of the canary to be called an exception.
const LEAST: usize = 3;

/// Each of at least this part of the canary's requests: one of so many.
const PART: u64 = 10;

/// An instance without a request for so long gives up its place.
const GONE_MS: u64 = 60_000;

/// `ln 2`: what is left without the one may be so much.
const LN_LITTLE: f64 = std::f64::consts::LN_2;

/// `ln 4`: of versions that are bad everywhere one in 25 or fewer is blamed on an instance; `ln 20` would miss half of the bad
/// hosts, since a crossing comes after four or five failures.
const LN_APART: f64 = 2.0 * std::f64::consts::LN_2;

/// What rolls back and can be told by instance.
#[derive(Clone, Debug, Default)]
struct Processes {
    relative: Plain,
    absolute: Plain<RATES>,
}

/// What one block adds to them.
#[derive(Clone, Copy, Debug)]
struct Worths {
    relative: Option<[f64; RATIOS]>,
    absolute: Option<[f64; RATES]>,
}

impl Processes {
    fn add(&mut self, from_ms: u64, worths: &Worths) {
        self.relative.reach(from_ms);
        if let Some(terms) = &worths.relative {
            self.relative.add(terms);
        }
        self.absolute.reach(from_ms);
        if let Some(terms) = &worths.absolute {
            self.absolute.add(terms);
        }
    }
}

#[derive(Clone, Debug)]
struct Followed {
    id: u64,
    /// In the open block.
    open: Counts,
    /// Requests in closed blocks.
    n: u64,
    seen_ms: u64,
    /// The processes over all but this one.
    others: Processes,
    /// This one against the canary's other instances.
    apart: Plain,
}

#[derive(Clone, Debug)]
pub(crate) struct LeaveOut {
    odds: f64,
    worth: Worth,
    /// Among instances of one version: every client meets them all.
    among: Worth,
    /// Under the user's limit, what a failure and what a success is worth.
    limit: Option<([f64; RATES], [f64; RATES])>,
    cluster: f64,
    whole: Processes,
    instances: Vec<Followed>,
}

impl LeaveOut {
    pub(crate) fn begin(policy: &Policy) -> Self {
        let one = |x| Counts { n: 1, x, admitted: 1, repeated: 0 };
        Self {
            odds: policy.odds,
            worth: Worth::of(policy),
            among: Worth::new(false, policy.cluster),
            limit: policy.max_error_rate.map(|limit| (absolute::ln_e(one(1), limit), absolute::ln_e(one(0), limit))),
            cluster: policy.cluster,
            whole: Processes::default(),
            instances: Vec::new(),
        }
    }

    pub(crate) fn drop_open(&mut self) {
        for instance in &mut self.instances {
            instance.open = Counts::default();
        }
    }

    /// Takes the counts of one instance of the canary in a window of the open block.
    pub(crate) fn see(&mut self, seen: &Instance, to_ms: u64) {
        if seen.counts.n == 0 && seen.counts.admitted == 0 {
            return;
        }
        if let Some(known) = self.instances.iter_mut().find(|known| known.id == seen.id) {
            known.open = known.open.plus(seen.counts);
            known.seen_ms = to_ms;
            return;
        }
        if self.instances.len() == MOST {
            let oldest = self.instances.iter().enumerate().min_by_key(|(_, known)| known.seen_ms);
            let Some(place) = oldest.filter(|(_, known)| to_ms.saturating_sub(known.seen_ms) >= GONE_MS) else {
                return;
            };
            let place = place.0;
            self.instances.remove(place);
        }
        let (others, apart) = (self.whole.clone(), Plain::default());
        self.instances.push(Followed { id: seen.id, open: seen.counts, n: 0, seen_ms: to_ms, others, apart });
    }

    /// Takes one closed block in which both versions had a share.
    pub(crate) fn close(&mut self, block: &Block) {
        let canary = block.counts.canary;
        let whole = self.worths(block, canary);
        self.whole.add(block.from_ms, &whole);
        for place in 0..self.instances.len() {
            let open = std::mem::take(&mut self.instances[place].open);
            let rest = canary.since(open);
            let without = if open == Counts::default() { whole } else { self.worths(block, rest) };
            let first = |counts: Counts| Counts { x: counts.first_failures(), ..counts };
            let apart = self.among.terms(block.weight, &Pair { canary: first(open), stable: first(rest) }, 1.0);
            let instance = &mut self.instances[place];
            instance.n = instance.n.saturating_add(open.n);
            instance.others.add(block.from_ms, &without);
            instance.apart.reach(block.from_ms);
            if let Some(terms) = apart {
                instance.apart.add(&terms);
            }
        }
    }

    /// What a block is worth with these counts of the canary.
    fn worths(&self, block: &Block, canary: Counts) -> Worths {
        let absolute = self.limit.map(|(failure, success)| {
            let (x, admitted) = (canary.first_failures() as f64, canary.admitted as f64);
            std::array::from_fn(|k| (x * failure[k] + (admitted - x) * success[k]) / self.cluster)
        });
        let counts = Pair { canary, ..block.counts };
        Worths { relative: self.worth.terms(block.weight, &counts, self.odds), absolute }
    }

    /// The one instance without which there is little evidence; `canary` is what all closed blocks have counted.
    pub(crate) fn single(&self, evidence: &Evidence, canary: Counts) -> Option<u64> {
        let large: Vec<&Followed> =
            self.instances.iter().filter(|instance| instance.n.saturating_mul(PART) >= canary.n).collect();
        if large.len() < LEAST {
            return None;
        }
        let without = |instance: &Followed| {
            // Other metrics are not known by instance: they stay as they are.
            let mut left = 1.0;
            let mut terms = Vec::with_capacity(evidence.metrics.len() + 1);
            for metric in &evidence.metrics {
                let ln_e = match metric.measure {
                    Measure::Relative => instance.others.relative.ln_e(),
                    Measure::Absolute if self.limit.is_some() => instance.others.absolute.ln_e(),
                    _ => metric.ln_e,
                };
                terms.push((libm::log(metric.share), ln_e));
                left -= metric.share;
            }
            if left > 0.0 {
                terms.push((libm::log(left), 0.0));
            }
            ln_mix(&terms)
        };
        let apart = LN_APART + libm::log(large.len() as f64);
        let most = large.into_iter().max_by(|a, b| a.apart.ln_e().total_cmp(&b.apart.ln_e()))?;
        (most.apart.ln_e() >= apart && without(most) < LN_LITTLE).then_some(most.id)
    }
}
