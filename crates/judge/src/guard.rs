//! The guard: the rollback evidence weighed at each failed request, where the requests are.
//!
//! A router that counts cannot wait for blocks when a canary fails everything. Its guard needs none: it takes each request as one
//! observation, in the order of **admission**. Null: each request would fail at the canary with at most `ω0 ≥ 1` times the odds
//! that it has at stable. The draw that sends a request to the canary with the configured weight `w` knows nothing of it, so a
//! failure is the canary's with a chance of at most
//!
//! ```text
//! θ1 = ω0 w / (ω0 w + 1 − w)          (p_c/p_b ≤ ω0 follows from the odds where ω0 ≥ 1)
//! e(r) = r / (1 + (r − 1) θ1)          a failure of the canary
//!        1 / (1 + (r − 1) θ1)          a failure of stable
//! E_rel = Σ_s ν_s Σ_k κ_k Π_{requests admitted at or after s} e(r_k)
//! ```
//!
//! with the starts and ratios of [`crate::relative`]. `w` is the weight of the epoch in which the request was routed. An absolute
//! limit `p0` is fed by request, too: each of the canary's counts as a success when it is admitted, and as a failure when it
//! fails ([`crate::absolute`]); it holds its peace while stable's own rate is above the limit. Without a limit, one is derived from
//! stable's past when the weight first passes 75 % ([`absolute::derived_limit`]) and holds for what is admitted above that
//! weight. `E` is the mean of both by the shares 0.4 and 0.2, fixed at the start, and the canary is cut off at `E ≥ 1/α`.
//!
//! **Age.** A canary that fails at once beside a stable version that fails after 30 s looks worse than it is for 30 s, when
//! failures are taken as they come. So the guard weighs only what was admitted up to a **cut**, and of that every request of
//! stable that still waits for its answer **as if it had failed** ([`Row::waiting`]), and none of the canary's. Once all of
//! it has ended, the product in the order of admission will be at least what was weighed, at that very index: a failure of the
//! canary that comes late can only raise it, and one of stable was in it already. So a crossing at any cut, chosen in any
//! way, is a crossing of that one product, and Ville's inequality holds for it: however many cuts are tried, however long
//! requests take, and however their times depend on the version. Several are tried ([`Guard::cuts`]), so that a canary that
//! fails at once is hidden only until stable has answered what came with its first failures, not for as long as
//! anything of stable is under way. Only what fails after the head of its answer came (a body that breaks, a status in trailers) is no
//! longer waited for: of such failures the guard assumes that both versions show them equally late.
//!
//! **Runs.** A guard that begins anew in the same rollout (its process crashed, or another one took over) is another process: run
//! 1 has 7/8 of α, run `i ≥ 2` has `(1/8)/((i − 1) i)`. Together that is α, so nothing has to outlive a crash but the number of runs.
//!
//! Where clients stay with a version, each client counts by its first failure only, as in [`crate::relative`].
//!
//! The counts per epoch and start up to the cut say everything: [`Guard::recompute`] gives the same value from them, bit for bit.

mod book;
mod cuts;

pub use book::{Book, Seat};

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::absolute;
use crate::counts::{ABSURD, Counts, WHOLE};
use crate::mixture::{nu, nu_from, start_ms};
use crate::relative::{RATIOS, ratio};
use crate::sum::{Sum, ln_mix};
use crate::wording;

/// A guard knows this many starts; the last opens after 128 days.
pub const STARTS: usize = 20;

/// Shares of both processes where both are asked for.
const RELATIVE: f64 = 0.4;
const ABSOLUTE: f64 = 0.2;

/// Above this weight, in basis points, little of stable is left to compare with, and a limit from its past is frozen.
pub const FREEZE_ABOVE: u16 = 7_500;

/// The first run's part of α.
const FIRST_RUN: f64 = 0.875;

/// What a guard holds a rollout to. Fixed when it begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = GuardOrder))]
pub struct Order {
    /// `α_g`: the chance of cutting off a canary that keeps its limits, over the whole rollout and all runs. Above 0 and below 1.
    pub alpha: f64,
    /// How many times stable's odds of failure the canary's may be, at least 1.
    pub odds: f64,
    /// Whether the canary is compared with stable.
    pub relative: bool,
    /// Limits of the canary's failure rate, as fractions between 0 and 1.
    pub limits: Vec<f64>,
    /// Whether one is derived from stable's past where none is given.
    #[serde(default)]
    pub past: bool,
    /// How many requests fail together, at least 1: it divides all evidence.
    #[serde(default = "alone")]
    pub cluster: f64,
}

fn alone() -> f64 {
    1.0
}

/// Which part of an [`Order`] cannot be promised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InvalidOrder {
    /// α is not above 0 and below 1.
    Alpha(f64),
    /// The odds are below 1 (the process would not be valid) or not finite.
    Odds(f64),
    /// A limit is not between 0 and 1.
    Limit(f64),
    /// The size of a cluster is below 1 or not finite.
    Cluster(f64),
    /// There is nothing to hold the canary to.
    Nothing,
}

impl fmt::Display for InvalidOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alpha(value) => {
                write!(f, "the guard's alpha is {value}; give a number between 0 and 1, such as 0.003")
            }
            Self::Odds(value) => {
                write!(f, "the guard's odds are {value}; give 1 or more: below 1 nothing can be promised")
            }
            Self::Limit(value) => {
                write!(f, "the guard's limit is {value}; give a fraction between 0 and 1, such as 0.01")
            }
            Self::Cluster(value) => write!(f, "the guard's cluster size is {value}; give 1 or more"),
            Self::Nothing => {
                write!(f, "the guard has nothing to hold the canary to: compare with stable or give a limit")
            }
        }
    }
}

impl std::error::Error for InvalidOrder {}

impl Order {
    /// Refuses what cannot be promised.
    ///
    /// # Errors
    ///
    /// The first part that is out of its range.
    pub fn check(&self) -> Result<(), InvalidOrder> {
        if !(self.alpha >= f64::MIN_POSITIVE && self.alpha < 1.0) {
            return Err(InvalidOrder::Alpha(self.alpha));
        }
        if !(1.0..=1e6).contains(&self.odds) {
            return Err(InvalidOrder::Odds(self.odds));
        }
        if let Some(limit) = self.limits.iter().find(|limit| !(1e-9..=1.0 - 1e-9).contains(*limit)) {
            return Err(InvalidOrder::Limit(*limit));
        }
        if !(1.0..=1e9).contains(&self.cluster) {
            return Err(InvalidOrder::Cluster(self.cluster));
        }
        if !self.relative && self.limits.is_empty() && !self.past {
            return Err(InvalidOrder::Nothing);
        }
        Ok(())
    }

    /// The part of α of the `run`-th guard in this rollout, from 1.
    #[must_use]
    pub fn alpha_of(&self, run: u32) -> f64 {
        let run = f64::from(run.max(1));
        self.alpha * if run == 1.0 { FIRST_RUN } else { (1.0 - FIRST_RUN) / ((run - 1.0) * run) }
    }
}

/// Counts of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = GuardSide))]
pub struct Side {
    /// Requests drawn for it, counted when they were admitted.
    pub routed: u64,
    /// Of these, failures so far; of clients that stay with a version the first of each only.
    pub failed: u64,
}

impl Side {
    fn plus(self, other: Self) -> Self {
        let routed = self.routed.saturating_add(other.routed);
        Self { routed, failed: self.failed.saturating_add(other.failed) }
    }
}

/// What was counted of the requests that were admitted in one epoch after one start and before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = GuardRow))]
pub struct Row {
    /// The first epoch that had this weight: epochs of one weight are counted together.
    pub epoch: u64,
    /// The canary's configured share, in basis points.
    pub weight: u16,
    /// Which start, from 0.
    pub start: u8,
    /// The version on trial.
    pub canary: Side,
    /// The version that serves.
    pub stable: Side,
    /// Requests of stable that still wait for their answer: weighed as failures. To count more of them is safe.
    pub waiting: u64,
}

impl Row {
    fn is_sound(&self) -> bool {
        let sides = [self.canary, self.stable];
        let counts = sides.iter().flat_map(|side| [side.routed, side.failed]).chain([self.waiting]);
        counts.max().is_some_and(|count| count <= ABSURD)
            && sides.iter().all(|side| side.failed <= side.routed)
            && self.weight <= WHOLE
            && usize::from(self.start) < STARTS
    }
}

/// Which start is the latest, so long after the guard began.
#[must_use]
pub fn start_after(elapsed_ms: u64) -> u8 {
    let reached = (1..STARTS).take_while(|index| start_ms(*index).is_some_and(|start| start <= elapsed_ms)).count();
    u8::try_from(reached).unwrap_or(u8::MAX)
}

/// A canary that was cut off, with all that it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = GuardFinding))]
pub struct Finding {
    /// What the guard held it to.
    pub order: Order,
    /// The guard's run in this rollout, from 1.
    pub run: u32,
    /// The counts at the crossing, of what was admitted up to the cut.
    pub rows: Vec<Row>,
    /// Failed requests of the canary that were admitted after it: not weighed.
    #[serde(default)]
    pub later: u64,
    /// Stable's counts that a limit was derived from, when the weight had passed [`FREEZE_ABOVE`].
    #[serde(default)]
    pub past: Option<Side>,
    /// `ln E` on them.
    pub ln_e: f64,
    /// `ln(1/α)` of this run.
    pub ln_needed: f64,
}

impl Finding {
    /// Whether the counts give these numbers again, bit for bit, and these are a crossing.
    #[must_use]
    pub fn holds(&self) -> bool {
        let is_sound = self.rows.iter().all(Row::is_sound);
        let past = self.past.is_none_or(|past| past.failed <= past.routed && past.routed <= ABSURD);
        (is_sound && past).then(|| self.guard()).flatten().is_some_and(|(guard, frozen)| {
            let ln_e = guard.weigh(&self.rows, frozen.as_ref());
            ln_e.to_bits() == self.ln_e.to_bits()
                && guard.ln_needed.to_bits() == self.ln_needed.to_bits()
                && ln_e >= guard.ln_needed
        })
    }

    fn guard(&self) -> Option<(Guard, Option<Frozen>)> {
        let guard = Guard::begin(self.order.clone(), self.run).ok()?;
        let frozen = self.past.map(|past| guard.freeze(past));
        Some((guard, frozen))
    }

    /// The canary's counts and stable's, all rows together.
    #[must_use]
    pub fn counts(&self) -> (Side, Side) {
        sum(self.rows.iter())
    }

    /// What was found, in one sentence for a person.
    #[must_use]
    pub fn because(&self) -> String {
        let rows = self.rows.iter().copied().filter(Row::is_sound).collect::<Vec<_>>();
        let guard = self.guard();
        let parts = guard.as_ref().map(|(guard, frozen)| guard.parts(&rows, frozen.as_ref())).unwrap_or_default();
        let leading =
            parts.iter().max_by(|one, other| (one.ln_share + one.ln_e).total_cmp(&(other.ln_share + other.ln_e)));
        let heard = |row: &&Row| leading.is_none_or(|part| part.hears(row));
        let (canary, stable) = sum(rows.iter().filter(heard));
        let told = |side: Side| wording::failed(Counts::answered(side.routed, side.failed));
        let against = match leading.and_then(|part| part.limit) {
            Some(limit) if self.past.is_some() => format!(" where stable's past allows {}", wording::percent(limit)),
            Some(limit) => format!(" where the limit allows {}", wording::percent(limit)),
            None => format!(", stable {}", told(stable)),
        };
        let waiting = rows.iter().filter(heard).fold(0_u64, |sum, row| sum.saturating_add(row.waiting));
        let waiting = match waiting {
            0 => String::new(),
            _ if leading.is_some_and(|part| part.limit.is_some()) => String::new(),
            count => format!(" ({} more under way, taken for failures)", wording::grouped(count)),
        };
        let later = match self.later {
            0 => String::new(),
            count => format!(" ({} more failed that came later)", wording::grouped(count)),
        };
        format!(
            "the gateway's guard cut the canary off after {} failed request{}{later}: the canary failed {}{against}{waiting}; the \
             evidence is {}, and {} is the line that a canary within its limits crosses in at most {} of rollouts",
            wording::grouped(canary.failed),
            if canary.failed == 1 { "" } else { "s" },
            told(canary),
            wording::odds(self.ln_e),
            wording::odds(self.ln_needed),
            wording::percent(self.order.alpha_of(self.run)),
        )
    }
}

fn sum<'a>(rows: impl Iterator<Item = &'a Row>) -> (Side, Side) {
    let none = (Side::default(), Side::default());
    rows.fold(none, |(canary, stable), row| (canary.plus(row.canary), stable.plus(row.stable)))
}

/// A limit from stable's past, if there is one.
#[derive(Clone, Debug)]
pub struct Frozen {
    past: Side,
    limit: Option<Limit>,
}

/// One process in `E`.
struct Part {
    ln_share: f64,
    ln_e: f64,
    /// The start of its largest component.
    since: usize,
    /// Of a process against a limit.
    limit: Option<f64>,
    /// The least weight of the rows that it hears.
    above: u16,
}

impl Part {
    fn hears(&self, row: &Row) -> bool {
        usize::from(row.start) >= self.since && row.weight > self.above && (self.limit.is_some() || row.weight < WHOLE)
    }
}

/// One limit: what a request that succeeds and one that fails add to each alternative.
#[derive(Clone, Debug)]
struct Limit {
    rate: f64,
    success: Vec<f64>,
    failure: Vec<f64>,
}

impl Limit {
    fn new(rate: f64) -> Self {
        let one = |x| absolute::ln_e(Counts::answered(1, x), rate).to_vec();
        Self { rate, success: one(0), failure: one(1) }
    }
}

/// One run of a guard. It holds no counts: whoever counts gives them whole, each time that something speaks against the canary.
#[derive(Clone, Debug)]
pub struct Guard {
    order: Order,
    run: u32,
    ratios: [f64; RATIOS],
    ln_ratios: [f64; RATIOS],
    limits: Vec<Limit>,
    ln_needed: f64,
}

impl Guard {
    /// The `run`-th guard of a rollout, from 1.
    ///
    /// # Errors
    ///
    /// What in the order cannot be promised.
    pub fn begin(order: Order, run: u32) -> Result<Self, InvalidOrder> {
        order.check()?;
        let ratios = std::array::from_fn(ratio);
        Ok(Self {
            ratios,
            ln_ratios: ratios.map(libm::log),
            limits: order.limits.iter().map(|rate| Limit::new(*rate)).collect(),
            ln_needed: -libm::log(order.alpha_of(run)),
            run,
            order,
        })
    }

    /// `ln E` of what was counted, as a guard weighs it; `past` is what a limit was derived from, if one was.
    ///
    /// # Errors
    ///
    /// What in the order cannot be promised.
    pub fn recompute(order: &Order, run: u32, rows: &[Row], past: Option<Side>) -> Result<f64, InvalidOrder> {
        let guard = Self::begin(order.clone(), run)?;
        let frozen = past.map(|past| guard.freeze(past));
        Ok(guard.weigh(rows, frozen.as_ref()))
    }

    /// Derives a limit from what was counted of stable so far, when the weight first passes [`FREEZE_ABOVE`].
    #[must_use]
    pub fn freeze(&self, past: Side) -> Frozen {
        let rate = absolute::derived_limit(Counts::answered(past.routed, past.failed));
        let rate = rate.filter(|_| self.order.past && self.order.limits.is_empty());
        Frozen { past, limit: rate.map(Limit::new) }
    }

    /// `ln(1/α)` of this run.
    #[must_use]
    pub const fn ln_needed(&self) -> f64 {
        self.ln_needed
    }

    /// The crossing, if these counts are one.
    #[must_use]
    pub fn find(&self, rows: &[Row], frozen: Option<&Frozen>) -> Option<Finding> {
        let ln_e = self.weigh(rows, frozen);
        (ln_e >= self.ln_needed).then(|| Finding {
            order: self.order.clone(),
            run: self.run,
            rows: rows.to_vec(),
            later: 0,
            past: frozen.map(|frozen| frozen.past),
            ln_e,
            ln_needed: self.ln_needed,
        })
    }

    /// `θ1`.
    fn share(&self, weight: u16) -> f64 {
        let share = f64::from(weight) / f64::from(WHOLE);
        share * self.order.odds / (share * self.order.odds + 1.0 - share)
    }

    /// `ln E` of what was counted.
    #[must_use]
    pub fn weigh(&self, rows: &[Row], frozen: Option<&Frozen>) -> f64 {
        let parts = self.parts(rows, frozen);
        let terms: Vec<(f64, f64)> = parts.iter().map(|part| (part.ln_share, part.ln_e)).collect();
        ln_mix(&terms)
    }

    fn parts(&self, rows: &[Row], frozen: Option<&Frozen>) -> Vec<Part> {
        let given = self.limits.len();
        let limits = given.max(usize::from(self.order.past));
        let (relative_share, absolute_share) = match (self.order.relative, limits) {
            (true, 0) => (1.0, 0.0),
            (true, _) => (RELATIVE / (RELATIVE + ABSOLUTE), ABSOLUTE / (RELATIVE + ABSOLUTE)),
            (false, _) => (0.0, 1.0),
        };
        let mut parts = Vec::with_capacity(1 + limits);
        if self.order.relative {
            let (ln_e, since) = self.relative(rows);
            parts.push(Part { ln_share: libm::log(relative_share), ln_e, since, limit: None, above: 0 });
        }
        let ln_share = libm::log(absolute_share / limits as f64);
        for limit in &self.limits {
            let (ln_e, since) = self.absolute(limit, rows, 0);
            parts.push(Part { ln_share, ln_e, since, limit: Some(limit.rate), above: 0 });
        }
        if given == 0 && limits > 0 {
            let limit = frozen.and_then(|frozen| frozen.limit.as_ref());
            let (ln_e, since) = limit.map_or((0.0, 0), |limit| self.absolute(limit, rows, FREEZE_ABOVE));
            parts.push(Part { ln_share, ln_e, since, limit: limit.map(|limit| limit.rate), above: FREEZE_ABOVE });
        }
        parts
    }

    fn relative(&self, rows: &[Row]) -> (f64, usize) {
        let mut parts = [[Sum::default(); RATIOS]; STARTS];
        for row in rows.iter().filter(|row| 0 < row.weight && row.weight < WHOLE) {
            let share = self.share(row.weight);
            let (canary, stable) = (row.canary.failed as f64, (row.stable.failed + row.waiting) as f64);
            if canary + stable == 0.0 {
                continue;
            }
            for (part, (ratio, ln_ratio)) in
                parts[usize::from(row.start)].iter_mut().zip(self.ratios.iter().zip(&self.ln_ratios))
            {
                part.add(canary * ln_ratio - (canary + stable) * libm::log1p((ratio - 1.0) * share));
            }
        }
        self.mix(rows, &parts.map(|part| part.map(|sum| sum.value())))
    }

    /// The value against one limit at weights above another, at most 1 while stable's own rate is above the limit.
    fn absolute(&self, limit: &Limit, rows: &[Row], above: u16) -> (f64, usize) {
        let heard = || rows.iter().filter(|row| row.weight > above);
        let mut counted = [Side::default(); STARTS];
        for row in heard() {
            counted[usize::from(row.start)].routed += row.canary.routed;
            counted[usize::from(row.start)].failed += row.canary.failed;
        }
        let parts = counted.map(|side| {
            let (failed, kept) = (side.failed as f64, side.routed.saturating_sub(side.failed) as f64);
            let alternatives = limit.failure.iter().zip(&limit.success);
            alternatives.map(|(failure, success)| failed * failure + kept * success).collect::<Vec<_>>()
        });
        let (ln_e, since) = self.mix(rows, &parts);
        let (_, stable) = sum(heard().filter(|row| usize::from(row.start) >= since));
        let fails_too = stable.routed > 0 && stable.failed as f64 / stable.routed as f64 > limit.rate;
        (if fails_too { ln_e.min(0.0) } else { ln_e }, since)
    }

    /// The mixture over starts and alternatives of what each start's own requests give, and the start of the largest component.
    fn mix<P: AsRef<[f64]>>(&self, rows: &[Row], parts: &[P; STARTS]) -> (f64, usize) {
        let last = rows.iter().map(|row| usize::from(row.start)).max().unwrap_or(0);
        let count = parts[0].as_ref().len();
        let mut sums = vec![Sum::default(); count];
        let mut terms = Vec::with_capacity((last + 1) * count + 1);
        let (mut largest, mut since) = (f64::NEG_INFINITY, 0);
        for start in (0..=last).rev() {
            let ln_weight = libm::log(nu(start) / count as f64);
            for (sum, part) in sums.iter_mut().zip(parts[start].as_ref()) {
                sum.add(*part);
                let ln_product = sum.value() / self.order.cluster;
                terms.push((ln_weight, ln_product));
                if ln_weight + ln_product > largest {
                    (largest, since) = (ln_weight + ln_product, start);
                }
            }
        }
        terms.push((libm::log(nu_from(last + 1)), 0.0));
        (ln_mix(&terms), since)
    }
}
