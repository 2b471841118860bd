//! Which cuts are tried. Any choice is valid (see the [guard](super)); this one is good and cheap.

use super::{Book, Finding, Frozen, Guard, Row};
use crate::counts::WHOLE;

/// The alternatives that a cut is chosen by: 5, 30, 170 and 1000 times.
const PROBES: [usize; 4] = [4, 9, 14, 19];

impl Guard {
    /// The counts up to each cut that is worth a try, with how many failed requests of the canary came after it; the latest first.
    #[must_use]
    pub fn cuts(&self, book: &Book) -> Vec<(Vec<Row>, u64)> {
        let slices = book.slices();
        let mut best = [(f64::NEG_INFINITY, 0); PROBES.len()];
        let mut sums = [0.0; PROBES.len()];
        let (mut weight, mut costs) = (0, [0.0; PROBES.len()]);
        for (slice, until) in slices.iter().zip(1..) {
            if book.weight(slice) != weight {
                weight = book.weight(slice);
                let share = self.share(weight);
                costs = PROBES.map(|k| libm::log1p((self.ratios[k] - 1.0) * share));
            }
            if weight < WHOLE {
                let (canary, stable) = (slice.canary.failed as f64, (slice.stable.failed + slice.waiting) as f64);
                for (sum, (k, cost)) in sums.iter_mut().zip(PROBES.iter().zip(costs)) {
                    *sum += canary * self.ln_ratios[*k] - (canary + stable) * cost;
                }
            }
            for (best, sum) in best.iter_mut().zip(sums) {
                if sum > best.0 {
                    *best = (sum, until);
                }
            }
        }
        let mut cuts: Vec<usize> = best.iter().map(|best| best.1).chain([slices.len()]).collect();
        cuts.sort_unstable_by(|one, other| other.cmp(one));
        cuts.dedup();
        let later = |cut: usize| slices.iter().skip(cut).map(|slice| slice.canary.failed).sum();
        cuts.into_iter().map(|cut| (book.up_to(cut), later(cut))).collect()
    }

    /// The crossing at one of these [cuts](Self::cuts), if there is one.
    #[must_use]
    pub fn search(&self, cuts: &[(Vec<Row>, u64)], frozen: Option<&Frozen>) -> Option<Finding> {
        let find = |(rows, later): &(Vec<Row>, u64)| Some(Finding { later: *later, ..self.find(rows, frozen)? });
        cuts.iter().find_map(find)
    }
}
