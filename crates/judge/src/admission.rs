//! A step's proof by when requests were admitted: what has not ended is not taken for good.
//!
//! A canary that hangs answers its good requests at once and fails the others only at the timeout. Counted as they end, its
//! failures are missing from every block until then, and `E_prom` may pass `1/β` on good answers alone. So where the source tells
//! cohorts, a proof's block is made of requests that were **admitted** together, and until a block is settled its value is the
//! least that it can still come to: the canary's requests that wait are taken for failures, stable's for successes.
//!
//! That keeps β exactly. Let `M_k` be the product over the first `k` blocks with every request as it ends at last. Which requests
//! are in a block, and the alternative that it is weighed by, are fixed by totals and by what had ended before the first of
//! them was admitted, so each factor has an expectation of at most 1 given the blocks before (see [`crate::promotion`]), and `M` is a
//! nonnegative supermartingale: it ever reaches `1/β` with probability at most β (Ville's inequality). A factor never rises with
//! a failure of the canary (`p_c* ≤ θ_c`) and never falls with one of stable (`p_b* ≥ θ_b`), so what is computed for `k` blocks is at
//! most `M_k`, whenever it is computed; and a step is proven only when one of these lower bounds reaches `1/β`. In whatever order and
//! however late requests end, that happens with no more than β. `E_prom` shown is the largest over `k` that leave out only
//! blocks not yet settled: a healthy canary's proof is behind by the time that its answers take, and by nothing else.
//!
//! An answer that began well is good until it breaks off: else no service with streams of an hour could prove anything.

use std::collections::VecDeque;

use crate::blocks::is_enough;
use crate::counts::{Counts, Pair};
use crate::details::Cohort;
use crate::promotion::{FRACTIONS, Product, Sample, ln_mean};

/// So many blocks may wait, about two minutes and longer than any timeout by default. Beyond that the first is settled as it is: what
/// waits has failed.
const WAITING: usize = 128;

/// What is known of one version's requests of a block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Side {
    pub(crate) admitted: u64,
    /// Those whose outcome is known; what is left out is among them.
    pub(crate) known: u64,
    pub(crate) failed: u64,
    /// Of no account, such as what a client gave up.
    pub(crate) left_out: u64,
}

impl Side {
    fn add(&mut self, other: Self) {
        self.admitted = self.admitted.saturating_add(other.admitted);
        self.known = self.known.saturating_add(other.known);
        self.failed = self.failed.saturating_add(other.failed);
        self.left_out = self.left_out.saturating_add(other.left_out);
    }

    fn waiting(self) -> u64 {
        self.admitted.saturating_sub(self.known)
    }

    fn counts(self, waiting: u64) -> Counts {
        let n = self.admitted.saturating_sub(self.left_out);
        Counts::answered(n, self.failed.saturating_add(waiting).min(n))
    }
}

/// Whether a proof's requests wait until they end, or only for a time after which each has an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settles {
    /// When all have ended, or are heard.
    Ended,
    /// So many milliseconds after the last was admitted: who is not back by then is too slow.
    After(u64),
}

/// Requests admitted together.
#[derive(Clone, Debug)]
struct Block {
    epoch: u64,
    /// Its cohorts.
    first: u64,
    last: u64,
    /// All its requests had been admitted by then.
    admitted_ms: u64,
    canary: Side,
    stable: Side,
    /// Stable's rate in what had ended before it began.
    past: f64,
    growth: [f64; FRACTIONS.len()],
    /// Whether something came since `growth` was computed.
    stale: bool,
}

impl Block {
    fn holds(&self, epoch: u64, number: u64) -> bool {
        self.epoch == epoch && (self.first..=self.last).contains(&number)
    }

    fn take(&mut self, cohort: &Cohort, side: Side) {
        let of = if cohort.canary { &mut self.canary } else { &mut self.stable };
        of.add(side);
        self.stale = true;
    }

    fn is_enough(&self, weight: u16, needed: u64) -> bool {
        is_enough(u128::from(self.canary.admitted) + u128::from(self.stable.admitted), weight, needed)
    }

    /// The least that it can come to.
    fn least(&self) -> Pair {
        Pair { canary: self.canary.counts(self.canary.waiting()), stable: self.stable.counts(0) }
    }

    /// The same once all that wait are too late.
    fn late(&self) -> Pair {
        Pair { stable: self.stable.counts(self.stable.waiting()), ..self.least() }
    }

    fn is_settled(&self) -> bool {
        self.canary.waiting() == 0 && self.stable.waiting() == 0
    }
}

/// Where a window stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) epoch: u64,
    /// In basis points.
    pub(crate) weight: u16,
    pub(crate) to_ms: u64,
    /// Stable's rate in closed blocks, of what the proof counts.
    pub(crate) past: f64,
    pub(crate) ln_safe: f64,
}

/// A step's proof, and its blocks that are not settled.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    pub(crate) product: Product,
    /// What `(n_c + n_b) w (1 − w)` of a block must reach.
    needed: u64,
    epoch: u64,
    /// The highest number of a cohort in this epoch.
    highest: u64,
    forming: Option<Block>,
    waiting: VecDeque<Block>,
    /// Counts in settled blocks.
    pub(crate) settled: Pair,
}

impl Proof {
    pub(crate) fn begin(product: Product, needed: u64) -> Self {
        Self {
            product,
            needed,
            epoch: 0,
            highest: 0,
            forming: None,
            waiting: VecDeque::new(),
            settled: Pair::default(),
        }
    }

    /// Lets cohorts pass before there is anything to prove of them.
    pub(crate) fn pass(&mut self, epoch: u64, cohorts: &[Cohort]) {
        self.reach(epoch);
        self.highest = cohorts.iter().map(|cohort| cohort.number).fold(self.highest, u64::max);
    }

    /// Takes what a window of the present epoch tells, each cohort with what it is to this proof.
    pub(crate) fn take(&mut self, place: Place, cohorts: &[Cohort], side: impl Fn(&Cohort) -> Side, settles: Settles) {
        self.reach(place.epoch);
        for cohort in cohorts {
            if cohort.number > self.highest {
                self.open(place, cohort.number);
            }
            let forming = self.forming.as_mut().filter(|block| block.holds(place.epoch, cohort.number));
            match forming {
                Some(block) => block.take(cohort, side(cohort)),
                None => self.settle(place.epoch, cohort, &side, settles),
            }
        }
        self.weigh(place.to_ms, place.ln_safe, settles);
    }

    /// Takes what became of requests of an epoch that is over.
    pub(crate) fn take_late(
        &mut self,
        (epoch, to_ms): (u64, u64),
        ln_safe: f64,
        cohorts: &[Cohort],
        side: impl Fn(&Cohort) -> Side,
        settles: Settles,
    ) {
        for cohort in cohorts {
            if let Some(block) = self.waiting.iter_mut().rfind(|block| block.holds(epoch, cohort.number)) {
                block.take(cohort, side(cohort));
            }
        }
        self.weigh(to_ms, ln_safe, settles);
    }

    /// The unfinished block of an epoch that is over is dropped.
    fn reach(&mut self, epoch: u64) {
        if epoch != self.epoch {
            (self.epoch, self.highest, self.forming) = (epoch, 0, None);
        }
    }

    /// A new cohort: all before it have been admitted.
    fn open(&mut self, place: Place, number: u64) {
        self.highest = number;
        match self.forming.take() {
            Some(block) if block.is_enough(place.weight, self.needed) => {
                self.waiting.push_back(Block { admitted_ms: place.to_ms, ..block });
            }
            Some(block) => {
                self.forming = Some(Block { last: number, ..block });
                return;
            }
            None => {}
        }
        self.forming = Some(Block {
            epoch: place.epoch,
            first: number,
            last: number,
            admitted_ms: place.to_ms,
            canary: Side::default(),
            stable: Side::default(),
            past: place.past,
            growth: Default::default(),
            stale: true,
        });
    }

    fn settle(&mut self, epoch: u64, cohort: &Cohort, side: impl Fn(&Cohort) -> Side, settles: Settles) {
        let side = side(cohort);
        if let Some(block) = self.waiting.iter_mut().rfind(|block| block.holds(epoch, cohort.number)) {
            block.take(cohort, side);
        } else if settles == Settles::Ended && cohort.canary {
            // An answer that broke off after its block was settled: wherever a failure of the canary is put, the product falls.
            if let Some(block) = self.forming.as_mut().or(self.waiting.back_mut()) {
                block.take(cohort, Side { failed: side.failed, ..Side::default() });
            }
        }
    }

    /// Weighs what came, and settles the first blocks as far as they are.
    fn weigh(&mut self, now_ms: u64, ln_safe: f64, settles: Settles) {
        self.product.ahead = Default::default();
        while let Some(first) = self.waiting.front() {
            let counts = match settles {
                Settles::Ended if first.is_settled() => first.least(),
                Settles::After(ms) if first.admitted_ms.saturating_add(ms) <= now_ms => first.late(),
                _ if self.waiting.len() > WAITING => first.least(),
                _ => break,
            };
            self.product.add_sample(sample(counts), first.past, ln_safe);
            self.settled = self.settled.plus(counts);
            self.waiting.pop_front();
        }
        let base = self.product.now();
        let mut best = self.product.ln_e();
        let mut more = [0.0; FRACTIONS.len()];
        for block in &mut self.waiting {
            if block.stale {
                block.growth = self.product.growth(sample(block.least()), block.past);
                block.stale = false;
            }
            for (sum, growth) in more.iter_mut().zip(block.growth) {
                *sum += growth;
            }
            let ln_e = ln_mean(std::array::from_fn(|k| base[k] + more[k]));
            if ln_e > best {
                (best, self.product.ahead) = (ln_e, more);
            }
        }
        self.product.proven |= best >= ln_safe;
    }
}

fn sample(Pair { canary, stable }: Pair) -> Sample {
    Sample { n_c: canary.n as f64, x_c: canary.x as f64, n_b: stable.n as f64, x_b: stable.x as f64 }
}

/// What a cohort is to the proof of errors.
pub(crate) fn errors(cohort: &Cohort) -> Side {
    Side { admitted: cohort.admitted, known: cohort.heard, failed: cohort.failed, left_out: 0 }
}
