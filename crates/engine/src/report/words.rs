//! Events in words.

use super::format::{capital, code, counted, odds, sentence, text};
use davy_core::{
    InstanceId,
    rollout::{Batches, Event, Outcome, Request, RequestKind, Split},
};
use davy_judge::Verdict;
use std::collections::BTreeSet;

/// What happened, in a sentence. `own` is the request for the rollout that is reported.
pub(super) fn event(event: &Event, own: &Request, instances: &BTreeSet<InstanceId>) -> String {
    let (analysis, own) = (&own.policy.analysis, &own.rollout);
    match event {
        Event::RolloutRequested { request } => format!("The rollout begins: {}.", asked(request)),
        Event::RolloutQueued { request } if request.rollout == *own => {
            "The rollout was asked for; it waits until the one under way has been put back or cleared away.".to_owned()
        }
        Event::RolloutQueued { request } => format!("Rollout {} was asked for and waits.", code(request.rollout.as_str())),
        Event::RolloutDropped { rollout, by } => {
            let rollout = if rollout == own { "It".to_owned() } else { format!("Rollout {}", code(rollout.as_str())) };
            format!("{rollout} is replaced by {} before it began.", code(by.as_str()))
        }
        Event::InstancesRequested { release, count, spare, .. } if !spare.is_empty() => {
            let all: Vec<String> = spare.iter().map(|instance| code(instance.as_str())).collect();
            let left = counted(u64::from(*count), "instance");
            format!("Release {} goes down to {left}: {} are to end.", code(release.as_str()), all.join(", "))
        }
        Event::InstancesRequested { release, count, .. } => {
            let are = if *count == 1 { "is" } else { "are" };
            format!("{} of release {} {are} asked for.", counted(u64::from(*count), "instance"), code(release.as_str()))
        }
        Event::InstancesOrdered { .. } => "The platform took the order.".to_owned(),
        Event::InstancesRefused { why, .. } => format!("The platform could not take the order: {}", sentence(why)),
        Event::InstancesReady { release, instances } => {
            let all: Vec<String> = instances
                .iter()
                .map(|instance| format!("{} at {}", code(instance.id.as_str()), instance.address))
                .collect();
            format!("Release {} is healthy: {}.", code(release.as_str()), all.join(", "))
        }
        Event::WeightRequested { step, split, .. } => {
            let split = split_words(split);
            match step {
                Some(step) => format!("Step {}: {split} is asked for.", step.saturating_add(1)),
                None => format!("{} is asked for.", capital(&split)),
            }
        }
        Event::WeightApplied { .. } => "The router serves it.".to_owned(),
        Event::WeightRefused { why, .. } => format!("The router refused it: {}", sentence(why)),
        Event::WeightObserved { observed, .. } => {
            format!("Requests arrive at the canary: {observed} of what was routed so far.")
        }
        Event::EffectLost { effect, why, .. } => {
            format!("Nobody knows whether this was done: {}. {} What is observed decides.", text(effect), sentence(why))
        }
        Event::VerdictReached { verdict, batches } => verdict_words(&analysis.told(verdict, instances), verdict, batches.as_ref()),
        Event::StepPassed { step } => format!("Step {} is passed: it has shown what it had to, and its hold is over.", step.saturating_add(1)),
        Event::StepChosen { step, why } => format!("Step {} is **chosen**: {why}", step.saturating_add(1)),
        Event::LeaseLapsed { .. } => {
            "The router heard from nobody for a lease and went back to stable by itself; the step's weight is asked for again."
                .to_owned()
        }
        Event::RouterRestarted { .. } => {
            "The router was started anew and serves stable; the step's weight is asked for again.".to_owned()
        }
        Event::Paused { why } => format!("**Paused**: {}", sentence(&why.sentence())),
        Event::Resumed { by } => format!("**Resumed** by {}; the step's deadline starts anew.", text(by.as_str())),
        Event::PromoteRequested { by } => {
            format!("{} **promotes it without waiting for proof** of the remaining steps.", text(by.as_str()))
        }
        Event::RevertRequested { cause, .. } => {
            format!("**All traffic back to stable** is asked for: {}", sentence(&cause.sentence()))
        }
        Event::Reverted { cause: Some(cause), .. } => {
            format!("**All traffic is back on stable**: {}", sentence(&cause.sentence()))
        }
        Event::Reverted { cause: None, .. } => "**All traffic is back on stable.**".to_owned(),
        Event::Promoted => "**Promoted**: the new release serves.".to_owned(),
        Event::BakeEnded => "The bake is over.".to_owned(),
        Event::Draining { release } => {
            format!("Release {} takes no new requests; those in flight may end.", code(release.as_str()))
        }
        Event::RemovalRequested { release, .. } => format!("Release {} is to be removed.", code(release.as_str())),
        Event::Removed { release } => format!("Release {} is gone.", code(release.as_str())),
        Event::RolloutFinished { outcome, why, .. } => {
            format!("The rollout is over: **{}**. {}", outcome_words(*outcome), sentence(why))
        }
    }
}

/// Why something was decided, where an event says it: the events that follow say it again.
pub(super) fn reason(event: &Event, own: &Request, instances: &BTreeSet<InstanceId>) -> Option<String> {
    match event {
        Event::VerdictReached { verdict, .. } => Some(sentence(&own.policy.analysis.told(verdict, instances))),
        Event::RevertRequested { cause, .. } | Event::Reverted { cause: Some(cause), .. } => {
            Some(sentence(&cause.sentence()))
        }
        _ => None,
    }
}

fn asked(request: &Request) -> &'static str {
    match request.kind {
        RequestKind::Deploy => "a new release is to serve",
        RequestKind::Rollback => "an earlier release is to serve again",
        RequestKind::Remove => "the service is to be removed",
    }
}

fn split_words(split: &Split) -> String {
    match split {
        Split::Trial { canary, .. } => format!("{canary} of requests to the canary"),
        Split::Bake => "everything to the promoted release, the old one ready to take over,".to_owned(),
        Split::Only { release } => format!("everything to release {} alone", code(release.as_str())),
        Split::Nothing => "no release at all (the route answers 503)".to_owned(),
    }
}

/// An outcome as people say it.
pub(super) const fn outcome_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Promoted => "promoted",
        Outcome::RolledBack => "rolled back",
        Outcome::Aborted => "aborted",
        Outcome::Superseded => "superseded",
        Outcome::Removed => "removed",
    }
}

/// The e-values of a verdict against what they need.
pub(super) fn evidence(verdict: &Verdict) -> String {
    let evidence = &verdict.evidence;
    let harm = format!("evidence of harm {}, rolls back at {}", odds(evidence.ln_e), odds(evidence.ln_needed));
    match &evidence.promotion {
        None => harm,
        Some(proof) => {
            format!("{harm}; proof of the step {}, passes at {}", odds(proof.ln_e), odds(proof.ln_needed))
        }
    }
}

fn verdict_words(because: &str, verdict: &Verdict, batches: Option<&Batches>) -> String {
    let rests = match batches {
        None => String::new(),
        Some(Batches { first, last, .. }) if first == last => format!("; batch {first}"),
        Some(Batches { first, last, .. }) => format!("; batches {first} to {last}"),
    };
    format!("Verdict: {} ({}{rests}.)", sentence(because), evidence(verdict))
}
