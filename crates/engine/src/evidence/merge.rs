//! Windows of one epoch, added up. Sums end at the largest number: what comes near it is refused by whoever reads it.

use davy_core::{Cell, Cohort, Failures, Window};
use std::collections::BTreeMap;

/// Adds a later window of the same epoch.
pub(super) fn merge(into: &mut Window, window: &Window) {
    into.sequence = window.sequence;
    into.to = into.to.max(window.to);
    into.unserved = into.unserved.saturating_add(window.unserved);
    into.clients_forgotten |= window.clients_forgotten;
    for cell in &window.cells {
        let same = |other: &&mut Cell| {
            other.instance == cell.instance && other.release == cell.release && other.role == cell.role
        };
        match into.cells.iter_mut().find(same) {
            Some(sum) => add(sum, cell),
            None => into.cells.push(cell.clone()),
        }
    }
    for cohort in &window.cohorts {
        let same = |other: &&mut Cohort| other.number == cohort.number && other.canary == cohort.canary;
        match into.cohorts.iter_mut().find(same) {
            Some(sum) => add_cohort(sum, cohort),
            None => into.cohorts.push(cohort.clone()),
        }
    }
}

fn add(sum: &mut Cell, cell: &Cell) {
    plus(&mut sum.routed, cell.routed);
    plus(&mut sum.answered, cell.answered);
    plus(&mut sum.client_gone, cell.client_gone);
    plus(&mut sum.repeated, cell.repeated);
    plus(&mut sum.slow, cell.slow);
    let Failures { status, timeout, refused, reset } = cell.failures;
    plus(&mut sum.failures.status, status);
    plus(&mut sum.failures.timeout, timeout);
    plus(&mut sum.failures.refused, refused);
    plus(&mut sum.failures.reset, reset);
    add_latency(&mut sum.latency, &cell.latency);
}

fn add_cohort(sum: &mut Cohort, cohort: &Cohort) {
    plus(&mut sum.routed, cohort.routed);
    plus(&mut sum.heard, cohort.heard);
    plus(&mut sum.failed, cohort.failed);
    plus(&mut sum.gone, cohort.gone);
    add_latency(&mut sum.latency, &cohort.latency);
}

fn add_latency(into: &mut Vec<(u8, u64)>, more: &[(u8, u64)]) {
    let mut sums: BTreeMap<u8, u64> = into.iter().copied().collect();
    for (bucket, count) in more {
        plus(sums.entry(*bucket).or_default(), *count);
    }
    *into = sums.into_iter().collect();
}

fn plus(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}
