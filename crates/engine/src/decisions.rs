//! What was decided in a rollout, in plain words: of its events those that moved it, kept it or took it back.

use crate::then::Decision;
use davy_core::{
    InstanceId, RolloutId,
    rollout::{Event, Outcome, Request, RequestKind, Split},
};
use davy_judge::Kind;
use davy_ports::Record;
use std::collections::BTreeSet;

/// The decisions of a rollout, in order.
pub(crate) fn decisions(records: &[Record], rollout: &RolloutId) -> Vec<Decision> {
    let own = records.iter().find_map(|record| match &record.entry.event {
        Event::RolloutRequested { request } | Event::RolloutQueued { request } if request.rollout == *rollout => {
            Some(request)
        }
        _ => None,
    });
    let Some(own) = own else { return Vec::new() };
    let mut instances: BTreeSet<InstanceId> = BTreeSet::new();
    let (mut told, mut before): (Vec<Decision>, Before) = (Vec::new(), Before::default());
    for record in records {
        let event = &record.entry.event;
        if let Event::InstancesReady { instances: ready, .. } = event {
            instances.extend(ready.iter().map(|instance| instance.id.clone()));
        }
        if let Some((what, why)) = words(event, own, &instances) {
            let follows = before.is_followed_by(event);
            told.push(Decision { sequence: record.sequence, at: record.entry.at, what, why, follows });
        }
    }
    told
}

/// What was told so far, as far as something may follow it.
#[derive(Default)]
struct Before {
    /// The last verdict.
    verdict: Option<Kind>,
    /// Whether that stands as the last decision.
    stands: bool,
    goes_back: bool,
}

impl Before {
    /// Whether an event only comes of what was decided, or is done again because the router or the platform stumbled.
    fn is_followed_by(&mut self, event: &Event) -> bool {
        let follows = match event {
            Event::InstancesRefused { .. }
            | Event::WeightRefused { .. }
            | Event::LeaseLapsed { .. }
            | Event::RouterRestarted { .. } => true,
            // Only where it takes nothing back that was said before.
            Event::VerdictReached { verdict, .. } => {
                verdict.kind == Kind::Undecided && matches!(self.verdict, None | Some(Kind::Undecided))
            }
            Event::RevertRequested { .. } => self.stands && self.verdict == Some(Kind::Harmful),
            Event::Reverted { .. } | Event::RolloutFinished { .. } => self.goes_back,
            _ => false,
        };
        if let Event::VerdictReached { verdict, .. } = event {
            self.verdict = Some(verdict.kind);
        }
        if !follows {
            self.stands = matches!(event, Event::VerdictReached { .. });
        }
        self.goes_back |= matches!(event, Event::RevertRequested { .. } | Event::Reverted { .. });
        follows
    }
}

/// What was decided and why; none where the event is no decision but what came of one.
fn words(event: &Event, own: &Request, instances: &BTreeSet<InstanceId>) -> Option<(String, Option<String>)> {
    let only = |what: &str| Some((what.to_owned(), None));
    let because = |what: String, why: &str| Some((what, Some(why.to_owned())));
    match event {
        Event::RolloutRequested { request } => {
            let what = match request.kind {
                RequestKind::Deploy => "it begins: a new release is to serve",
                RequestKind::Rollback => "it begins: an earlier release is to serve again",
                RequestKind::Remove => "it begins: the service is to be removed",
            };
            Some((what.to_owned(), Some(format!("{} asked", request.by))))
        }
        Event::RolloutQueued { request } if request.rollout == own.rollout => {
            only("it waits until the rollout under way is cleared away")
        }
        Event::RolloutDropped { rollout, by } if *rollout == own.rollout => {
            Some((format!("rollout {by} takes its place before it began"), None))
        }
        Event::InstancesRefused { why, .. } => because("the platform could not take the order".to_owned(), why),
        Event::WeightRefused { why, .. } => because("the router refused the weight".to_owned(), why),
        Event::WeightRequested { step: Some(step), split: Split::Trial { canary, .. }, .. } => {
            Some((format!("step {}: {canary} of requests to the canary", step.saturating_add(1)), None))
        }
        Event::VerdictReached { verdict, .. } => {
            let kind = match verdict.kind {
                Kind::Harmful => "the canary is harmful",
                Kind::Safe => "the canary is safe at this weight",
                Kind::Undecided => "neither harm nor safety is shown",
                Kind::NoTraffic => "no request comes to the canary",
                Kind::Blind => "nothing can be seen",
            };
            because(kind.to_owned(), &own.policy.analysis.told(verdict, instances))
        }
        Event::StepPassed { step } => because(
            format!("step {} is passed", step.saturating_add(1)),
            "its hold is over, and it has shown what it had to",
        ),
        Event::StepChosen { step, why } => because(format!("step {} is chosen", step.saturating_add(1)), why),
        Event::LeaseLapsed { .. } => because(
            "the router went back to stable by itself; the weight is asked for again".to_owned(),
            "it heard from nobody for a lease",
        ),
        Event::RouterRestarted { .. } => {
            because("the weight is asked for again".to_owned(), "the router was started anew and serves stable")
        }
        Event::Paused { why } => because("it waits for a person".to_owned(), &why.sentence()),
        Event::Resumed { by } => Some((format!("{by} lets it go on"), None)),
        Event::PromoteRequested { by } => Some((format!("{by} promotes it without waiting for proof"), None)),
        Event::RevertRequested { cause, .. } => {
            because("all traffic is to go back to stable".to_owned(), &cause.sentence())
        }
        Event::Reverted { cause: Some(cause), .. } => {
            because("all traffic is back on stable".to_owned(), &cause.sentence())
        }
        Event::Reverted { cause: None, .. } => only("all traffic is back on stable"),
        Event::Promoted => only("promoted: the new release serves"),
        Event::BakeEnded => only("the bake is over: the release before is removed"),
        Event::RolloutFinished { outcome, why, .. } => {
            let outcome = match outcome {
                Outcome::Promoted => "it is over: promoted",
                Outcome::RolledBack => "it is over: rolled back",
                Outcome::Aborted => "it is over: aborted",
                Outcome::Superseded => "it is over: superseded",
                Outcome::Removed => "it is over: removed",
            };
            because(outcome.to_owned(), why)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Before, decisions};
    use davy_core::{
        Actor, Digest, EnvironmentName, Generation, HealthCheck, Millis, Policy, Process, Release, RolloutId, Route,
        Run, ServiceKey, ServiceName, Timestamp, Weight, Workload,
        rollout::{Cause, Event, Outcome, PauseReason, Request, RequestKind, Split},
    };
    use davy_judge::Kind;
    use davy_ports::{Entry, Record};
    use std::collections::BTreeMap;

    #[test]
    fn what_comes_of_a_decision_follows_it() {
        let key = ServiceKey {
            service: ServiceName::new("logo").expect("a name"),
            environment: EnvironmentName::new("production").expect("a name"),
        };
        let workload = Workload {
            run: Run::Process(Process { command: vec!["./logo".to_owned()], files: Vec::new() }),
            env: BTreeMap::new(),
            secrets: Vec::new(),
            replicas: 1,
            health: HealthCheck { path: None, grace: Millis(1), interval: Millis(1) },
            route: Route { host: None, path: "/".to_owned() },
        };
        let (rollout, by) = (RolloutId::new("r"), Actor::new("mira"));
        let request = Request {
            rollout: rollout.clone(),
            release: Release::new(&key, Digest::new("sha256:1"), workload),
            policy: Policy::default(),
            by: by.clone(),
            kind: RequestKind::Deploy,
        };
        let (generation, cause) = (Generation(1), Cause::Person { by: by.clone() });
        let split = Split::Trial { canary: Weight::new(1_000).expect("a weight"), without: Vec::new() };
        let over =
            |outcome| Event::RolloutFinished { rollout: rollout.clone(), outcome, why: cause.sentence(), cause: None };
        let paused = Event::Paused { why: PauseReason::Person { by: by.clone() } };
        let begins = [
            (false, Event::RolloutRequested { request: Box::new(request) }),
            (true, Event::InstancesRefused { generation, why: "no room".to_owned() }),
            (false, Event::WeightRequested { generation, step: Some(0), split }),
            (true, Event::WeightRefused { generation, why: "no room".to_owned() }),
            (true, Event::RouterRestarted { generation }),
            // Whoever aborts after a pause of his own decides anew.
            (false, paused),
        ];
        let asked = [
            (false, Event::RevertRequested { generation, cause: cause.clone() }),
            (true, Event::Reverted { generation, cause: None }),
            (true, over(Outcome::Aborted)),
        ];
        // Past the journal first.
        let unasked =
            [(false, Event::Reverted { generation, cause: Some(cause.clone()) }), (true, over(Outcome::Aborted))];
        let promoted = [(false, Event::Promoted), (false, over(Outcome::Promoted))];
        let ends: [&[(bool, Event)]; 3] = [&asked, &unasked, &promoted];
        for end in ends {
            let events: Vec<_> = begins.iter().chain(end).collect();
            let records = (1u64..).zip(&events).map(|(sequence, (_, event))| Record {
                sequence,
                stream: key.clone(),
                position: sequence,
                entry: Entry {
                    at: Timestamp(sequence),
                    by: by.clone(),
                    rollout: Some(rollout.clone()),
                    event: event.clone(),
                },
                hash: String::new(),
            });
            let told = decisions(&records.collect::<Vec<_>>(), &rollout);
            let follows: Vec<_> = told.iter().map(|decision| decision.follows).collect();
            assert_eq!(follows, events.iter().map(|(follows, _)| *follows).collect::<Vec<_>>(), "{told:#?}");
        }
    }

    #[test]
    fn a_verdict_that_takes_something_back_stands_for_itself() {
        let verdict =
            |kind| Event::VerdictReached { verdict: Box::new(davy_judge::Verdict { kind, ..judged() }), batches: None };
        let mut before = Before::default();
        let kinds = [
            (true, Kind::Undecided),
            (false, Kind::Safe),
            (false, Kind::Undecided),
            (true, Kind::Undecided),
            (false, Kind::Blind),
            (false, Kind::Undecided),
            (false, Kind::Harmful),
        ];
        for (follows, kind) in kinds {
            assert_eq!(before.is_followed_by(&verdict(kind)), follows, "{kind:?}");
        }
        let cause = Cause::Person { by: Actor::new("mira") };
        let revert = Event::RevertRequested { generation: Generation(1), cause };
        assert!(before.is_followed_by(&revert), "it comes of the harm");
    }

    fn judged() -> davy_judge::Verdict {
        davy_judge::Judge::new(davy_judge::Policy::default()).expect("a policy").verdict()
    }
}
