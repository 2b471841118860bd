//! Machines that each break one rule: a search that cannot find what is wrong with them would prove nothing.

use super::{scopes::small, search::search, world::Scope};
use davy_core::{
    Millis, Rolling, Strategy, Timestamp,
    rollout::{Cause, Command, Event, Input, PauseReason, Phase, Refusal, Rollout, Sight, Split, State, step},
};
use davy_judge::Kind;
use std::sync::Arc;

type Decided = Result<Vec<Event>, Refusal>;

/// The real machine, told something else than what was seen.
fn told(state: &State, at: Timestamp, input: &Input, change: impl FnOnce(&mut davy_core::rollout::Look)) -> Decided {
    let mut input = input.clone();
    if let Input::Look(look) = &mut input {
        change(look);
    }
    step(state, at, &input)
}

/// The real machine, some of whose events are left out or others.
fn but(state: &State, at: Timestamp, input: &Input, change: impl FnOnce(&mut Vec<Event>)) -> Decided {
    let mut events = step(state, at, input)?;
    change(&mut events);
    Ok(events)
}

fn silence_is_proof(state: &State, at: Timestamp, input: &Input) -> Decided {
    told(state, at, input, |look| {
        let silent = |kind| matches!(kind, Kind::Blind | Kind::NoTraffic);
        let verdict = look.verdict.iter_mut().filter(|verdict| silent(verdict.kind));
        verdict.for_each(|verdict| Arc::make_mut(verdict).kind = Kind::Safe);
    })
}

fn time_is_proof(state: &State, at: Timestamp, input: &Input) -> Decided {
    told(state, at, input, |look| {
        let undecided = look.verdict.iter_mut().filter(|verdict| verdict.kind == Kind::Undecided);
        undecided.for_each(|verdict| Arc::make_mut(verdict).kind = Kind::Safe);
    })
}

fn old_verdicts_count(state: &State, at: Timestamp, input: &Input) -> Decided {
    told(state, at, input, |look| {
        look.verdict.iter_mut().for_each(|verdict| Arc::make_mut(verdict).epoch = state.routed.0);
    })
}

fn asking_is_having(state: &State, at: Timestamp, input: &Input) -> Decided {
    told(state, at, input, |look| {
        look.traffic.generation = state.routed;
        look.traffic.canary += 1;
    })
}

fn harm_is_ignored(state: &State, at: Timestamp, input: &Input) -> Decided {
    told(state, at, input, |look| look.verdict = look.verdict.take().filter(|verdict| verdict.kind != Kind::Harmful))
}

fn all_are_healthy(state: &State, at: Timestamp, input: &Input) -> Decided {
    told(state, at, input, |look| {
        if let Sight::Seen(instances) = &mut look.instances {
            let healthy = |instance: &mut davy_core::Instance| instance.health = davy_core::Health::Healthy;
            Arc::make_mut(instances).iter_mut().for_each(healthy);
        }
    })
}

fn nothing_is_lost(state: &State, at: Timestamp, input: &Input) -> Decided {
    if *input == Input::Restarted { Ok(Vec::new()) } else { step(state, at, input) }
}

fn an_abort_is_forgotten(state: &State, at: Timestamp, input: &Input) -> Decided {
    but(state, at, input, |events| {
        let aborts = |event: &Event| matches!(event, Event::RevertRequested { cause: Cause::Person { .. }, .. });
        events.retain(|event| !aborts(event));
    })
}

fn no_pause_ends(state: &State, at: Timestamp, input: &Input) -> Decided {
    but(state, at, input, |events| {
        let limit = |event: &Event| match event {
            Event::RevertRequested { cause, .. } => *cause == Cause::PauseLimit,
            Event::Reverted { cause, .. } => *cause == Some(Cause::PauseLimit),
            _ => false,
        };
        if events.iter().any(limit) {
            events.clear();
        }
    })
}

fn a_pause_holds_nothing(state: &State, at: Timestamp, input: &Input) -> Decided {
    let mut unpaused = state.clone();
    if let (Input::Look(_), Some(rollout)) = (input, &mut unpaused.rollout) {
        rollout.pause = None;
    }
    step(&unpaused, at, input)
}

fn the_bake_is_left_out(state: &State, at: Timestamp, input: &Input) -> Decided {
    but(state, at, input, |events| {
        if events.contains(&Event::Promoted) {
            events.push(Event::BakeEnded);
        }
    })
}

fn leaving_is_not_confirmed(state: &State, at: Timestamp, input: &Input) -> Decided {
    if let (Input::Look(_), Some(rollout)) = (input, &state.rollout)
        && let Phase::Settling { leaving, .. } = &rollout.phase
    {
        let generation = state.generation.next();
        return Ok(vec![Event::RemovalRequested { generation, release: leaving.clone() }]);
    }
    step(state, at, input)
}

fn stable_is_removed(state: &State, at: Timestamp, input: &Input) -> Decided {
    but(state, at, input, |events| {
        for event in events {
            if let (Event::RemovalRequested { release, .. }, Some(stable)) = (event, &state.stable) {
                release.clone_from(&stable.id);
            }
        }
    })
}

fn generations_stand_still(state: &State, at: Timestamp, input: &Input) -> Decided {
    but(state, at, input, |events| {
        for event in events {
            if let Event::WeightRequested { generation, .. } = event {
                *generation = state.generation;
            }
        }
    })
}

fn two_rollouts_at_once(state: &State, at: Timestamp, input: &Input) -> Decided {
    if let (Input::Command(Command::Request(request)), Some(_)) = (input, &state.rollout) {
        return Ok(vec![Event::RolloutRequested { request: Box::new(request.clone()) }]);
    }
    step(state, at, input)
}

fn answers_are_believed_twice(state: &State, at: Timestamp, input: &Input) -> Decided {
    match input {
        Input::Done { generation } => Ok(vec![Event::WeightApplied { generation: *generation }]),
        _ => step(state, at, input),
    }
}

fn what_is_put_back_rises(state: &State, at: Timestamp, input: &Input) -> Decided {
    but(state, at, input, |events| {
        let canary = state.rollout.as_ref().map(Rollout::weight).unwrap_or_default();
        for event in events {
            if let Event::WeightRequested { split, .. } = event
                && matches!(split, Split::Only { .. })
                && state.rollout.as_ref().is_some_and(|rollout| rollout.ending.is_some())
            {
                *split = Split::Trial { canary, without: Vec::new() };
            }
        }
    })
}

fn a_lapse_goes_unnoticed(state: &State, at: Timestamp, input: &Input) -> Decided {
    told(state, at, input, |look| {
        if let Sight::Seen(Some(serving)) = &mut look.router {
            Arc::make_mut(serving).mode = davy_core::Mode::Split;
        }
    })
}

fn old_instances_end_while_served(state: &State, at: Timestamp, input: &Input) -> Decided {
    but(state, at, input, |events| {
        let out = |event: &Event| matches!(event, Event::WeightRequested { split: Split::Trial { without, .. }, .. } if !without.is_empty());
        if let (Some(at), Some(stable)) = (events.iter().position(out), &state.stable)
            && let Event::WeightRequested { generation, split: Split::Trial { without, .. }, .. } = &events[at]
        {
            let (generation, spare) = (*generation, without.clone());
            let count = stable.replicas() - u32::try_from(spare.len()).unwrap_or(0);
            events[at] = Event::InstancesRequested { generation, release: stable.id.clone(), count, spare };
        }
    })
}

fn a_revert_that_cannot_be_is_asked_for_ever(state: &State, at: Timestamp, input: &Input) -> Decided {
    but(state, at, input, |events| {
        let reverting = state.rollout.as_ref().is_some_and(|rollout| matches!(rollout.phase, Phase::Reverting { .. }));
        if reverting && matches!(input, Input::Look(_)) {
            events.retain(|event| !matches!(event, Event::Reverted { .. }));
        }
    })
}

fn silence_is_no_traffic(state: &State, at: Timestamp, input: &Input) -> Decided {
    told(state, at, input, |look| {
        if look.traffic.canary + look.traffic.stable == 0 {
            look.traffic.idle = Millis::seconds(60);
        }
    })
}

fn an_unused_release_is_kept_for_ever(state: &State, at: Timestamp, input: &Input) -> Decided {
    told(state, at, input, |look| look.traffic.idle = Millis(0))
}

fn what_nobody_uses_goes_unconfirmed(state: &State, at: Timestamp, input: &Input) -> Decided {
    let unused = matches!(input, Input::Look(look) if look.traffic.idle >= Millis::seconds(60));
    let baked = state.rollout.as_ref().is_some_and(|rollout| {
        matches!(rollout.phase, Phase::Baking { since } if at.since(since) >= rollout.request.policy.pause_limit)
    });
    if unused && baked { Ok(vec![Event::BakeEnded]) } else { step(state, at, input) }
}

fn a_cut_goes_unnoticed(state: &State, at: Timestamp, input: &Input) -> Decided {
    told(state, at, input, |look| {
        if let Sight::Seen(Some(serving)) = &mut look.router {
            Arc::make_mut(serving).cut = None;
        }
    })
}

fn what_was_interrupted_has_no_deadline(state: &State, at: Timestamp, input: &Input) -> Decided {
    but(state, at, input, |events| {
        let recovering = |rollout: &Rollout| matches!(rollout.phase, Phase::Recovering { .. });
        if state.rollout.as_ref().is_some_and(recovering) {
            events.retain(|event| !matches!(event, Event::Paused { why: PauseReason::Deadline { .. } }));
        }
    })
}

fn time_that_went_back_counts(state: &State, at: Timestamp, input: &Input) -> Decided {
    let since = state.rollout.as_ref().map_or(at, |rollout| rollout.began);
    step(state, if at < since { since.plus(since.since(at)) } else { at }, input)
}

fn a_router_that_refuses_is_asked_for_ever(state: &State, at: Timestamp, input: &Input) -> Decided {
    but(state, at, input, |events| {
        events.retain(|event| !matches!(event, Event::Paused { why: PauseReason::Router { .. } }));
    })
}

#[test]
fn a_machine_that_breaks_a_rule_is_found_out() {
    let calm = Scope { faults: 0, ..small() };
    let faulty = Scope { nudges: 0, ..small() };
    let rolling = Strategy::Rolling(Rolling { min_healthy: 50, max: 100 });
    let in_place = Scope { strategy: rolling, replicas: 2, ..calm.clone() };
    let twice = Scope { requests: 2, ..calm.clone() };
    let refused = Scope { refusals: 3, nudges: 0, ..calm.clone() };
    let mutants: [(&str, Scope); 27] = [
        ("moves", Scope { machine: silence_is_proof, ..calm.clone() }),
        ("only what is proven", Scope { machine: time_is_proof, ..calm.clone() }),
        ("another epoch", Scope { machine: old_verdicts_count, ..calm.clone() }),
        ("was seen to carry", Scope { machine: asking_is_having, ..calm.clone() }),
        ("harm ends", Scope { machine: harm_is_ignored, ..calm.clone() }),
        ("are healthy", Scope { machine: all_are_healthy, ..calm.clone() }),
        ("before a restart", Scope { machine: nothing_is_lost, ..faulty.clone() }),
        ("an abort ends", Scope { machine: an_abort_is_forgotten, ..calm.clone() }),
        ("an end comes", Scope { machine: no_pause_ends, ..calm.clone() }),
        ("an end comes", Scope { machine: a_pause_holds_nothing, ..calm.clone() }),
        ("a bake lasts", Scope { machine: the_bake_is_left_out, ..calm.clone() }),
        ("that the router serves", Scope { machine: leaving_is_not_confirmed, ..calm.clone() }),
        ("never removed", Scope { machine: stable_is_removed, ..calm.clone() }),
        ("generations rise", Scope { machine: generations_stand_still, ..calm.clone() }),
        ("one rollout", Scope { machine: two_rollouts_at_once, ..twice }),
        ("nobody waits for", Scope { machine: answers_are_believed_twice, ..calm.clone() }),
        ("gets nothing more", Scope { machine: what_is_put_back_rises, ..calm.clone() }),
        ("serve the fallback", Scope { machine: a_lapse_goes_unnoticed, ..faulty.clone() }),
        ("while the router serves it", Scope { machine: old_instances_end_while_served, ..in_place }),
        ("an end comes", Scope { machine: a_revert_that_cannot_be_is_asked_for_ever, ..calm.clone() }),
        ("or nobody uses the service", Scope { machine: silence_is_no_traffic, ..calm.clone() }),
        ("an end comes", Scope { machine: an_unused_release_is_kept_for_ever, ..calm.clone() }),
        ("or nobody uses the service", Scope { machine: what_nobody_uses_goes_unconfirmed, ..calm.clone() }),
        ("at the first look", Scope { machine: a_cut_goes_unnoticed, ..faulty.clone() }),
        ("an end comes", Scope { machine: what_was_interrupted_has_no_deadline, ..faulty }),
        ("moves nothing forward", Scope { machine: time_that_went_back_counts, ..calm }),
        ("refuses thrice", Scope { machine: a_router_that_refuses_is_asked_for_ever, ..refused }),
    ];
    let mut wrong = Vec::new();
    for (number, (law, scope)) in mutants.into_iter().enumerate() {
        let found = search(&scope, usize::MAX);
        let said = found.broken.as_ref().and_then(|broken| broken.lines().next()).unwrap_or("nothing");
        if !said.contains(law) {
            wrong.push(format!("mutant {number} is to break `{law}` and breaks, in {} states: {said}", found.states));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
