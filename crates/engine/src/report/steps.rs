//! What happened at each weight: the events that delimit it, the requests that were counted in it.

use super::{format::text, words::outcome_words};
use davy_core::{
    Failures, Generation, ReleaseId, Role, Timestamp, Weight,
    rollout::{Cause, Event, Split},
};
use davy_judge::Verdict;
use davy_ports::{Batch, Record};

/// Requests of one version.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) routed: u64,
    pub(super) answered: u64,
    pub(super) failures: Failures,
}

impl Counts {
    pub(super) const fn failed(&self) -> u64 {
        self.failures.total()
    }

    /// Whether there are any.
    pub(super) const fn is_empty(&self) -> bool {
        self.routed == 0 && self.answered == 0
    }

    /// Adds some. What is stored is told whatever it says: sums end at the largest number.
    pub(super) const fn add(&mut self, routed: u64, answered: u64, failures: &Failures) {
        let Failures { status, timeout, refused, reset } = *failures;
        self.routed = self.routed.saturating_add(routed);
        self.answered = self.answered.saturating_add(answered);
        self.failures.status = self.failures.status.saturating_add(status);
        self.failures.timeout = self.failures.timeout.saturating_add(timeout);
        self.failures.refused = self.failures.refused.saturating_add(refused);
        self.failures.reset = self.failures.reset.saturating_add(reset);
    }
}

/// One stretch of a rollout under one weight.
pub(super) struct Step {
    /// Of the ramp, from 0; none for the bake and what follows.
    pub(super) index: Option<usize>,
    pub(super) weight: Weight,
    pub(super) name: &'static str,
    pub(super) began: Timestamp,
    pub(super) ended: Option<Timestamp>,
    /// How it ended, in a few words.
    pub(super) how: String,
    /// The last one that was noted, and when.
    pub(super) verdict: Option<(Timestamp, Verdict)>,
    pub(super) canary: Counts,
    pub(super) stable: Counts,
    /// Requests that a match sent to the new release, and copies for it: no evidence.
    pub(super) matched: Counts,
    pub(super) mirrored: Counts,
    first: Generation,
    told: Option<Weight>,
    /// Requests while the weight was really served, and the new release's part of them.
    served: (u64, u64),
}

impl Step {
    /// The new release's share of what was routed while the weight was served, and not the fallback; what was noted at
    /// the time when nothing was stored.
    pub(super) fn observed(&self) -> Option<Weight> {
        match self.served {
            (0, _) => self.told,
            (routed, canary) => Some(Weight::share(canary, routed)),
        }
    }

    /// Failures above what stable's rate lets expect; none where there is nothing to compare with.
    #[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
    pub(super) fn excess(&self) -> Option<f64> {
        let expected = self.stable.failed() as f64 / self.stable.answered as f64;
        (self.stable.answered > 0 && self.canary.answered > 0)
            .then(|| self.canary.failed() as f64 - self.canary.answered as f64 * expected)
    }

    fn end(&mut self, at: Timestamp, how: String) {
        if self.ended.is_none() {
            self.ended = Some(at);
            self.how = how;
        }
    }
}

/// Every stretch of a rollout, in order, with its requests.
pub(super) fn steps(records: &[Record], release: &ReleaseId, batches: &[Batch]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut back = false;
    for record in records {
        let at = record.entry.at;
        back |= matches!(record.entry.event, Event::RevertRequested { .. } | Event::Reverted { .. });
        let last = steps.last_mut();
        match (&record.entry.event, last) {
            (Event::WeightRequested { generation, step, split }, last) => {
                let next = begin(at, *generation, *step, (split, back), release);
                match last {
                    // Asked for again after a lapse, a restart or a refusal.
                    Some(last) if last.ended.is_none() && (last.index, last.name) == (next.index, next.name) => {
                        continue;
                    }
                    Some(last) => last.end(at, "left".to_owned()),
                    None => {}
                }
                steps.push(next);
            }
            (event, Some(last)) => follow(last, at, event),
            (_, None) => {}
        }
    }
    for batch in batches {
        // A generation belongs to the stretch that began with it or, asked for again, last before it.
        let Some(step) = steps.iter_mut().rev().find(|step| step.first <= batch.generation) else { continue };
        for cell in &batch.window.cells {
            // By release and not by role: once it serves alone, the new release is nobody's canary.
            let canary = cell.release == *release;
            let counts = match cell.role {
                Role::Matched => &mut step.matched,
                Role::Mirrored => &mut step.mirrored,
                Role::Stable | Role::Canary if canary => &mut step.canary,
                Role::Stable | Role::Canary => &mut step.stable,
            };
            counts.add(cell.routed, cell.answered, &cell.failures);
            if matches!(cell.role, Role::Matched | Role::Mirrored) {
                continue;
            }
            if batch.weight == step.weight || step.name != "trial" {
                step.served.0 = step.served.0.saturating_add(cell.routed);
                step.served.1 = step.served.1.saturating_add(if canary { cell.routed } else { 0 });
            }
        }
    }
    steps
}

fn begin(
    at: Timestamp,
    generation: Generation,
    step: Option<usize>,
    (split, back): (&Split, bool),
    new: &ReleaseId,
) -> Step {
    let (weight, name) = match split {
        // Old instances are taken out, or moved, while the next step's start.
        Split::Trial { canary, .. } if step.is_none() => (*canary, "between"),
        Split::Nothing if !back => (Weight::NONE, "interruption"),
        Split::Trial { canary, .. } => (*canary, "trial"),
        Split::Bake => (Weight::ALL, "bake"),
        Split::Only { .. } if step.is_some() => (Weight::ALL, "first"),
        Split::Only { release } if release == new => (Weight::ALL, "after"),
        Split::Only { .. } | Split::Nothing => (Weight::NONE, "after"),
    };
    Step {
        index: step,
        weight,
        name,
        began: at,
        ended: None,
        how: "goes on".to_owned(),
        verdict: None,
        canary: Counts::default(),
        stable: Counts::default(),
        matched: Counts::default(),
        mirrored: Counts::default(),
        first: generation,
        told: None,
        served: (0, 0),
    }
}

fn follow(step: &mut Step, at: Timestamp, event: &Event) {
    let back = |cause: &Cause| outcome_words(cause.outcome()).to_owned();
    match event {
        Event::WeightObserved { observed, .. } => step.told = Some(*observed),
        Event::VerdictReached { verdict, .. } if step.ended.is_none() => {
            step.verdict = Some((at, Verdict::clone(verdict)));
        }
        Event::StepPassed { .. } => step.end(at, "passed".to_owned()),
        Event::PromoteRequested { by } if step.weight < Weight::ALL => {
            step.end(at, format!("skipped by {}", text(by.as_str())));
        }
        Event::Promoted => step.end(at, "promoted".to_owned()),
        Event::BakeEnded => step.end(at, "over".to_owned()),
        Event::RevertRequested { cause, .. } | Event::Reverted { cause: Some(cause), .. } => step.end(at, back(cause)),
        Event::RolloutFinished { .. } if step.name == "after" => step.end(at, "cleared away".to_owned()),
        Event::RolloutFinished { outcome, .. } => step.end(at, outcome_words(*outcome).to_owned()),
        _ => {}
    }
}
