//! Recorded traffic: what a policy would have said to the counts of a rollout that was.
//!
//! The counts of each second are given to the rule as they were, at the weight that was served. What cannot be known is what
//! would have happened at a weight that was not served: so the weights stay those of the record, a rule that puts traffic back
//! ends it there, and one that does not has promoted if, by the record's end, its own steps would all have been over. The order
//! of the requests within a second is not recorded: the guard is left out.

use crate::{
    rules::{Rule, Ruling},
    traffic::Second,
    world::{End, Outcome},
};

/// Judges recorded seconds, in order, by a rule whose rollout has this many steps of this hold.
pub fn replay(record: &[Second], rule: &mut impl Rule, steps: usize, hold_s: u64) -> Outcome {
    let begin = record.first().map_or(0, |second| second.from_s);
    let (mut harm, mut passed, mut since) = (0, 0, begin);
    for second in record {
        harm += second.canary_failed.len() as u64;
        let now = second.from_s + 1;
        let seconds = (now - begin) as f64;
        match rule.second(second) {
            Ruling::Back => return Outcome { end: End::RolledBack, seconds, harm },
            Ruling::Forward if now - since >= hold_s.max(rule.patience_s()) => {
                passed += 1;
                since = now;
                if passed == steps {
                    // What failed later failed after the promotion.
                    let later = record.iter().filter(|later| later.from_s >= now);
                    harm += later.map(|later| later.canary_failed.len() as u64).sum::<u64>();
                    return Outcome { end: End::Promoted, seconds, harm };
                }
            }
            _ => {}
        }
    }
    let end = record.last().map_or(0, |second| second.from_s + 1);
    Outcome { end: End::Undecided, seconds: (end - begin) as f64, harm }
}
