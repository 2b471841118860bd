//! From a batch to what the judge is given of it: the same whenever it is done.

use davy_core::{Cell, Role, Window};
use davy_judge::{Cohort, Counts, Details, Instance, Latencies, Pair};
use std::collections::BTreeMap;

/// A window's counts by role, and what else is known of it.
pub(crate) struct Counted {
    pub(crate) counts: Pair,
    canary: Vec<(u8, u64)>,
    stable: Vec<(u8, u64)>,
    slow: Pair,
    instances: Vec<Instance>,
    cohorts: Vec<Cohort>,
    clients_forgotten: bool,
}

impl Counted {
    /// Integers first: they are added up before anything else is done with them.
    pub(crate) fn of(window: &Window) -> Self {
        let by = |role| cells(window, role).fold(Counts::default(), |sum, cell| sum.plus(counts(cell)));
        let instance = |cell: &Cell| Instance {
            id: cell.instance.number(),
            canary: cell.role == Role::Canary,
            counts: counts(cell),
        };
        Self {
            counts: Pair { canary: by(Role::Canary), stable: by(Role::Stable) },
            canary: latency(window, Role::Canary),
            stable: latency(window, Role::Stable),
            slow: Pair { canary: slow(window, Role::Canary), stable: slow(window, Role::Stable) },
            instances: window.cells.iter().filter(|cell| is_evidence(cell)).map(instance).collect(),
            cohorts: window.cohorts.iter().map(cohort).collect(),
            clients_forgotten: window.clients_forgotten,
        }
    }

    /// What is borrowed of it for the judge.
    pub(crate) fn details(&self) -> Details<'_> {
        Details {
            latency: Some(Latencies { canary: &self.canary, stable: &self.stable }),
            slow: Some(self.slow),
            instances: &self.instances,
            cohorts: &self.cohorts,
            clients_forgotten: self.clients_forgotten,
        }
    }
}

fn is_evidence(cell: &Cell) -> bool {
    matches!(cell.role, Role::Canary | Role::Stable)
}

fn cells(window: &Window, role: Role) -> impl Iterator<Item = &Cell> {
    window.cells.iter().filter(move |cell| cell.role == role)
}

fn counts(cell: &Cell) -> Counts {
    Counts {
        // Given up by the client is an end too: what is admitted and has not ended is in flight.
        n: cell.answered.saturating_add(cell.client_gone),
        x: cell.failures.total(),
        admitted: cell.routed,
        repeated: cell.repeated,
    }
}

fn cohort(of: &davy_core::Cohort) -> Cohort {
    let davy_core::Cohort { number, canary, routed, heard, failed, gone, latency } = of.clone();
    Cohort { number, canary, admitted: routed, heard, failed, gone, latency }
}

/// The histograms of a role's instances, added up.
fn latency(window: &Window, role: Role) -> Vec<(u8, u64)> {
    let mut sum: BTreeMap<u8, u64> = BTreeMap::new();
    for (bucket, count) in cells(window, role).flat_map(|cell| &cell.latency) {
        let sum: &mut u64 = sum.entry(*bucket).or_default();
        *sum = sum.saturating_add(*count);
    }
    sum.into_iter().collect()
}

/// Answers, and of these the slow ones; a timeout is slow and a failure, and counts once against a budget.
fn slow(window: &Window, role: Role) -> Counts {
    cells(window, role).fold(Counts::default(), |sum, cell| {
        let repeated = cell.failures.timeout.min(cell.slow);
        sum.plus(Counts { n: cell.answered, x: cell.slow, admitted: cell.answered, repeated })
    })
}

#[cfg(test)]
mod tests {
    use super::Counted;
    use davy_core::{
        Cell, EnvironmentName, Failures, Generation, InstanceId, ReleaseId, Role, ServiceKey, ServiceName, Timestamp,
        Weight, Window,
    };
    use davy_judge::{Counts, Latencies};

    fn cell(role: Role, instance: &str, answered: u64, failed: u64, latency: &[(u8, u64)]) -> Cell {
        serde_json::from_value(serde_json::json!({
            "release": ReleaseId::new("r"), "role": role, "instance": InstanceId::new(instance), "routed": answered + 2,
            "answered": answered, "failures": Failures { status: failed, ..Failures::default() }, "client_gone": 1,
            "latency": latency,
        }))
        .expect("a cell")
    }

    #[test]
    fn instances_are_added_up_and_kept_apart_and_copies_are_neither() {
        let key = ServiceKey {
            service: ServiceName::new("logo").expect("a name"),
            environment: EnvironmentName::new("production").expect("a name"),
        };
        let window = Window {
            key,
            boot: "b".to_owned(),
            sequence: 1,
            generation: Generation(2),
            weight: Weight::ALL,
            from: Timestamp(0),
            to: Timestamp(1000),
            cells: vec![
                cell(Role::Canary, "c-1", 10, 1, &[(3, 4), (9, 6)]),
                cell(Role::Canary, "c-2", 5, 0, &[(0, 1), (3, 4)]),
                cell(Role::Stable, "s-1", 100, 2, &[(3, 100)]),
                cell(Role::Mirrored, "c-1", 50, 50, &[(117, 50)]),
            ],
            unserved: 0,
            cohorts: Vec::new(),
            clients_forgotten: false,
        };
        let counted = Counted::of(&window);
        assert_eq!(counted.counts.canary, Counts { n: 17, x: 1, admitted: 19, repeated: 0 });
        assert_eq!(counted.counts.stable, Counts { n: 101, x: 2, admitted: 102, repeated: 0 });
        let details = counted.details();
        let latency = Latencies { canary: &[(0, 1), (3, 8), (9, 6)], stable: &[(3, 100)] };
        assert_eq!(details.latency, Some(latency));
        let seen: Vec<_> = details.instances.iter().map(|instance| (instance.canary, instance.counts.n)).collect();
        assert_eq!(seen, [(true, 11), (true, 6), (false, 101)]);
        // Stored for ever, by way of the verdicts that are computed from it.
        assert_eq!(details.instances[0].id, InstanceId::new("c-1").number());
        assert_eq!(InstanceId::new("c-1").number(), 12_031_348_021_767_555_146);
    }
}
