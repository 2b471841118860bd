//! Which events of the journal people are told, and what of the rollout's story so far goes with them.

use davy_core::{
    Actor, Occasion, ReleaseId, RolloutId, ServiceKey, Timestamp, Weight,
    rollout::{Cause, Event, Outcome, Request},
};
use davy_ports::{Record, Tries};

/// What people are told of one event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Story {
    /// The same whenever it is told: rollout and place in the stream.
    pub(crate) id: String,
    pub(crate) occasion: Occasion,
    pub(crate) at: Timestamp,
    pub(crate) key: ServiceKey,
    pub(crate) rollout: RolloutId,
    pub(crate) release: ReleaseId,
    pub(crate) by: Actor,
    pub(crate) why: String,
    pub(crate) numbers: Option<Numbers>,
    pub(crate) request: Request,
}

/// What the last verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) weight: Weight,
    pub(crate) canary: Tries,
    pub(crate) stable: Tries,
}

/// The rollout that an event may be told of; none for most events.
pub(crate) fn subject(record: &Record) -> Option<&RolloutId> {
    match &record.entry.event {
        Event::RolloutRequested { request } => Some(&request.rollout),
        Event::RolloutFinished { rollout, .. } | Event::RolloutDropped { rollout, .. } => Some(rollout),
        Event::Paused { .. } | Event::Promoted | Event::Reverted { .. } => record.entry.rollout.as_ref(),
        _ => None,
    }
}

const fn occasion(outcome: Outcome) -> Occasion {
    match outcome {
        Outcome::Promoted => Occasion::Promoted,
        Outcome::RolledBack => Occasion::RolledBack,
        Outcome::Aborted => Occasion::Aborted,
        Outcome::Superseded => Occasion::Superseded,
        Outcome::Removed => Occasion::Removed,
    }
}

/// What is told of an event, given every event of its rollout. An outcome is told as soon as users feel it, when traffic is
/// where it stays, and not again when the rollout has been cleared away.
pub(crate) fn story(record: &Record, own: &[Record]) -> Option<Story> {
    let rollout = subject(record)?;
    let own: Vec<&Record> = own.iter().filter(|other| other.position <= record.position).collect();
    let request = own.iter().find_map(|other| match &other.entry.event {
        Event::RolloutRequested { request } | Event::RolloutQueued { request } if request.rollout == *rollout => {
            Some(request)
        }
        _ => None,
    })?;
    let (mut cause, mut told, mut now, mut forced, mut verdict) = (None, None, None, None, None);
    for other in own {
        told = now.clone().or(told);
        now = None;
        match &other.entry.event {
            Event::RolloutRequested { request } => now = Some((Occasion::Started, asked(request))),
            Event::Paused { why } => now = Some((Occasion::Waiting, why.sentence())),
            Event::PromoteRequested { by } => forced = Some(by),
            Event::VerdictReached { verdict: reached, .. } => verdict = Some(reached),
            Event::RevertRequested { cause: asked, .. } => cause = Some(asked),
            Event::Reverted { cause: own, .. } => {
                cause = own.as_ref().or(cause);
                now = cause.map(|cause: &Cause| (occasion(cause.outcome()), cause.sentence()));
            }
            Event::Promoted => {
                let why = match (forced, &verdict) {
                    (Some(by), _) => format!("{by} promoted it without waiting for proof of the remaining steps"),
                    (None, Some(verdict)) => request.policy.analysis.named(&verdict.because),
                    (None, None) => "every step was passed".to_owned(),
                };
                now = Some((Occasion::Promoted, why));
            }
            Event::RolloutFinished { outcome, why, .. } => now = Some((occasion(*outcome), why.clone())),
            Event::RolloutDropped { by, .. } => {
                now = Some((Occasion::Superseded, format!("rollout {by} took its place before it began")));
            }
            _ => {}
        }
    }
    let (occasion, why) = now?;
    let ends = !matches!(occasion, Occasion::Started | Occasion::Waiting);
    if ends && told.is_some_and(|(told, _)| told == occasion) {
        return None;
    }
    let numbers = verdict.map(|verdict| {
        let pair = &verdict.evidence.rollout;
        Numbers {
            weight: Weight::new(verdict.weight).unwrap_or(Weight::NONE),
            canary: Tries { of: pair.canary.n, failed: pair.canary.x },
            stable: Tries { of: pair.stable.n, failed: pair.stable.x },
        }
    });
    Some(Story {
        id: format!("{rollout}-{}", record.position),
        occasion,
        at: record.entry.at,
        key: record.stream.clone(),
        rollout: rollout.clone(),
        release: request.release.id.clone(),
        by: request.by.clone(),
        why: shortened(why),
        numbers,
        request: Request::clone(request),
    })
}

/// What a place said may be long; a message is read at a glance.
fn shortened(why: String) -> String {
    const LONGEST: usize = 1_000;
    match why.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &why[..at]),
        None => why,
    }
}

fn asked(request: &Request) -> String {
    use davy_core::rollout::RequestKind::{Deploy, Remove, Rollback};
    let what = match request.kind {
        Deploy => "a new release is to serve",
        Rollback => "an earlier release is to serve again",
        Remove => "the service is to be removed",
    };
    format!("{} asked for it: {what}", request.by)
}
