//! What must never be so, whatever happens.

use super::{
    actions::advances,
    looks::{Scene, WELL},
    world::{Node, Scope},
};
use davy_core::{
    Generation, Millis, Mode, Timestamp, Weight,
    rollout::{Command, Effect, Event, Input, Passes, Phase, RequestKind, Rollout, Split, State},
};
use davy_judge::{Kind, Standing};
use std::borrow::Cow;

fn law(holds: bool, says: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(says.to_owned()) }
}

/// Whether a look shows a request on the new release, and all of them there; or that long after its promotion there are none, and
/// whatever comes goes there.
fn shows(node: &Node, input: &Input) -> (bool, bool) {
    let (Input::Look(look), Some(rollout)) = (input, &node.state.rollout) else { return (false, false) };
    let seen = look.traffic.generation == node.state.routed && look.traffic.canary > 0;
    let whole = seen && look.traffic.stable == 0 && rollout.intended == Weight::ALL;
    let waited =
        matches!(rollout.phase, Phase::Baking { since } if node.now.since(since) >= rollout.request.policy.pause_limit);
    let there = node.share(&rollout.request.release.id) == Weight::ALL && look.router.seen().is_some();
    (seen, whole || waited && there && look.traffic.idle >= Millis::seconds(60))
}

/// Whether a look shows what was not seen before.
pub(crate) fn witnesses(node: &Node, input: &Input) -> bool {
    let (seen, whole) = shows(node, input);
    seen && !node.witnessed || whole && !node.carried
}

/// Keeps what a look has shown of the traffic.
pub(crate) fn witness(node: &mut Node, input: &Input) {
    let (seen, whole) = shows(node, input);
    node.witnessed |= seen;
    node.carried |= whole;
}

/// What was witnessed belongs to one epoch, and to one rollout.
pub(crate) fn events(node: &mut Node, events: &[Event]) {
    for event in events {
        match event {
            Event::WeightRequested { .. } => node.witnessed = false,
            Event::RolloutRequested { .. } => (node.witnessed, node.carried) = (false, false),
            _ => {}
        }
    }
}

fn since(rollout: &Rollout) -> Option<Timestamp> {
    match rollout.phase {
        Phase::Holding { since, .. } | Phase::Baking { since } => Some(since),
        _ => None,
    }
}

/// Each event, where it is decided; the state after them, if it is another one.
pub(crate) fn decided(node: &Node, input: &Input, events: &[Event]) -> Result<Option<State>, String> {
    let look = match input {
        Input::Look(look) => Some(&**look),
        _ => None,
    };
    let verdict = look.and_then(|look| look.verdict.as_ref());
    let mut state = Cow::Borrowed(&*node.state);
    for event in events {
        let rollout = state.rollout.as_ref();
        if let Some(effect) = Effect::of(event) {
            law(effect.generation() > state.generation, "generations rise with every effect")?;
        }
        if advances(event) {
            let rollout = rollout.ok_or("a step without a rollout")?;
            law(rollout.pause.is_none(), "what is paused does not advance")?;
            law(rollout.ending.is_none(), "what is being put back does not advance")?;
            let trial = !rollout.is_first() && rollout.request.kind == RequestKind::Deploy;
            if trial {
                proven(node, rollout, look, event)?;
            }
        }
        match event {
            Event::RolloutRequested { .. } => law(rollout.is_none(), "one rollout at a time")?,
            Event::WeightRequested { step, split, .. } => {
                weight(&state, rollout, step.as_ref(), split, look)?;
            }
            Event::BakeEnded => {
                let rollout = rollout.ok_or("a bake without a rollout")?;
                law(rollout.promoted && rollout.ending.is_none(), "only what is promoted ends its bake")?;
                let baked = since(rollout).is_some_and(|since| node.now.since(since) >= rollout.request.policy.bake);
                law(
                    baked || state.queued.is_some(),
                    "a bake lasts as long as the policy says, or until the next rollout",
                )?;
                law(
                    node.carried || shows(node, input).1 || state.queued.is_some(),
                    "a bake ends once the new release was seen to carry all traffic, or nobody uses the service",
                )?;
            }
            Event::RemovalRequested { release, .. } => {
                let rollout = rollout.ok_or("a removal without a rollout")?;
                let stable = state.stable.as_ref().map(|stable| &stable.id);
                law(stable != Some(release), "the release that serves is never removed")?;
                law(
                    !node.serves(release) || node.count(release) == 0,
                    "nothing that the router serves is asked to go",
                )?;
                if rollout.promoted {
                    let seen = node.carried || state.queued.is_some();
                    law(seen, "the old release goes once the new one was seen to carry all traffic")?;
                }
            }
            Event::InstancesRequested { release, count, spare, .. } => {
                let kept = rollout.and_then(|rollout| rollout.from.as_ref()).filter(|old| old.id == *release);
                if let (Some(_), Some(rollout)) = (kept, rollout)
                    && rollout.is_forward()
                {
                    law(*count >= rollout.current().stable, "no more of the old release ends than its step says")?;
                    let new = &rollout.request.release.id;
                    let seen =
                        look.and_then(|look| look.instances.seen()).map_or(&[][..], |instances| instances.as_slice());
                    let healthy = seen.iter().filter(|one| one.release == *new && one.health.is_healthy()).count();
                    let wave = rollout.plan.iter().position(|step| step.stable <= *count).unwrap_or_default();
                    let there = wave == 0 || healthy >= rollout.plan[wave - 1].canary as usize;
                    law(
                        spare.is_empty() || there,
                        "old instances end once the new ones that replace them are healthy",
                    )?;
                }
            }
            Event::VerdictReached { verdict, .. } if verdict.kind == Kind::Harmful => {
                let ended = |event: &Event| matches!(event, Event::RevertRequested { .. } | Event::Reverted { .. });
                law(events.iter().any(ended), "harm ends the rollout at once")?;
            }
            _ => {}
        }
        state.to_mut().apply(node.now, event);
    }
    if verdict.is_some_and(|verdict| verdict.kind == Kind::Harmful) {
        let rollout = state.rollout.as_ref();
        let trial = |rollout: &Rollout| !rollout.is_first() && rollout.request.kind == RequestKind::Deploy;
        let on = rollout.is_some_and(|rollout| trial(rollout) && rollout.is_forward());
        law(!on, "harm ends the rollout at once")?;
    }
    if let Some(cut) = look.and_then(|look| look.router.seen()?.as_ref()?.cut.as_ref()) {
        let rollout = state.rollout.as_ref().filter(|rollout| rollout.request.rollout == cut.rollout);
        let on = |rollout: &Rollout| rollout.is_forward() || matches!(rollout.phase, Phase::Baking { .. });
        law(!rollout.is_some_and(on), "what the guard cut off is put back at the first look")?;
    }
    match input {
        Input::Command(Command::Abort { .. }) => {
            law(state.rollout.as_ref().is_none_or(|rollout| rollout.ending.is_some()), "an abort ends the rollout")?;
        }
        Input::Restarted => law(state.pending.is_empty(), "nothing that was asked before a restart is waited for")?,
        _ => {}
    }
    Ok(match state {
        Cow::Owned(state) => Some(state),
        Cow::Borrowed(_) => None,
    })
}

/// What lets a step of a trial pass, read from the look alone.
fn proven(
    node: &Node,
    rollout: &Rollout,
    look: Option<&davy_core::rollout::Look>,
    event: &Event,
) -> Result<(), String> {
    let look = look.ok_or("a step passes on a look and on nothing else")?;
    let held = since(rollout).is_some_and(|since| node.now.since(since) >= rollout.current().hold);
    law(held, "a step passes once its hold is over")?;
    if let Some(Some(serving)) = look.router.seen() {
        law(serving.mode == Mode::Split, "nothing advances while the router is seen to serve the fallback")?;
    }
    let passes = if matches!(event, Event::Promoted) { Passes::Observed } else { rollout.current().passes };
    if passes == Passes::Tried {
        // It has no share: there is nothing to judge yet.
        return Ok(());
    }
    let verdict = look.verdict.as_ref().ok_or("missing data moves nothing forward")?;
    law(verdict.epoch == node.state.routed.0, "a verdict of another epoch moves nothing forward")?;
    match passes {
        Passes::Proven => law(verdict.kind == Kind::Safe, "only what is proven moves a canary forward")?,
        _ => law(matches!(verdict.kind, Kind::Safe | Kind::Undecided), "missing data moves nothing forward")?,
    }
    if matches!(passes, Passes::Proven | Passes::Observed) {
        law(node.witnessed, "a share passes once a request was seen under it")?;
    }
    if matches!(event, Event::Promoted) {
        law(node.carried, "promoted once it was seen to carry all traffic")?;
        let clean = verdict.evidence.limit.as_ref().map(|limit| limit.standing == Standing::Clean);
        law(clean.unwrap_or(rollout.forced), "promoted within the limits")?;
    }
    Ok(())
}

/// What may be asked of the router.
fn weight(
    state: &State,
    rollout: Option<&Rollout>,
    step: Option<&usize>,
    split: &Split,
    look: Option<&davy_core::rollout::Look>,
) -> Result<(), String> {
    let Some(rollout) = rollout else {
        let stable = state.stable.as_ref().map(|stable| Split::Only { release: stable.id.clone() });
        return law(Some(split) == stable.as_ref() || *split == Split::Nothing, "without a rollout stable is served");
    };
    law(step.is_none_or(|step| *step == rollout.step), "a step is entered before its weight is asked for")?;
    match split {
        Split::Trial { canary, without } => {
            law(rollout.is_forward(), "after harm or an abort the canary gets nothing more")?;
            law(*canary <= rollout.weight(), "a canary gets its step's share and no more")?;
            let rises = *canary > rollout.intended;
            law(!rises || rollout.pause.is_none(), "the share of what is paused does not rise")?;
            if rises {
                let Some(instances) = look.and_then(|look| look.instances.seen()) else {
                    return Err("a share rises once its instances were seen to be there".to_owned());
                };
                let new = &rollout.request.release.id;
                let ours = instances.iter().filter(|instance| instance.release == *new && instance.health.is_healthy());
                // Where old instances make room for the last new ones, those that are there carry all of it.
                let carry = if without.is_empty() { rollout.step } else { rollout.step.saturating_sub(1) };
                let enough = ours.count() >= rollout.plan[carry].canary as usize;
                law(enough, "a share rises once all of its instances are healthy")?;
            }
        }
        Split::Bake => law(rollout.promoted && rollout.ending.is_none(), "only what is promoted bakes")?,
        Split::Only { release } if *release == rollout.request.release.id => {
            let may = rollout.is_first() || rollout.promoted;
            law(may && rollout.ending.is_none(), "after harm or an abort the canary gets nothing more")?;
        }
        Split::Only { .. } => {
            let same = state.split.as_ref() == Some(split);
            law(same || rollout.ending.is_some(), "the old release alone serves before a trial and at the end of one")?;
        }
        Split::Nothing => {}
    }
    Ok(())
}

/// The state and the world, wherever they stand.
pub(crate) fn standing(scope: &Scope, node: &Node, scene: &mut Scene) -> Result<(), String> {
    let state = &node.state;
    let waited: Vec<Generation> = state.pending.iter().map(|pending| pending.effect.generation()).collect();
    let mut asked: Vec<Generation> = node.flights.iter().map(|flight| flight.effect.generation()).collect();
    asked.sort_unstable();
    let mut sorted = waited.clone();
    sorted.sort_unstable();
    // An adopted revert answers every other that is on its way.
    let reverts =
        |flight: &&super::world::Flight| matches!(flight.effect, Effect::Revert { .. } | Effect::Remove { .. });
    let open = asked.iter().all(|generation| {
        waited.contains(generation)
            || node.flights.iter().filter(reverts).any(|flight| flight.effect.generation() == *generation)
    });
    law(open && sorted.iter().all(|generation| asked.contains(generation)), "what is waited for was asked for")?;
    if let Some(rollout) = &state.rollout {
        if rollout.is_forward() {
            let out = (scope.machine)(state, node.now, &Input::Command(Command::Abort { by: super::world::by() }));
            law(out.is_ok(), "a person can end whatever moves or waits")?;
        }
        law(rollout.ending.is_none() || rollout.pause.is_none(), "what is being put back does not wait for a person")?;
        let refused = rollout.is_forward() && rollout.refusals >= 3;
        law(!refused || rollout.pause.is_some(), "a router that refuses thrice is shown to a person")?;
    }
    // An answer to something that nobody asked, or that was given up, changes nothing.
    let stray = node.late.as_ref().map_or(state.generation.next(), |late| late.effect.generation());
    let why = String::new;
    for input in [
        Input::Done { generation: stray },
        Input::Done { generation: Generation(0) },
        Input::Refused { generation: stray, why: why() },
        Input::Lost { generation: stray, why: why() },
    ] {
        let events = (scope.machine)(state, node.now, &input).map_err(|refusal| refusal.to_string())?;
        law(events.is_empty(), "an answer that nobody waits for changes nothing")?;
    }
    // Nothing is over sooner by a clock that was set back, however well all looks.
    let trial = |rollout: &Rollout| !rollout.is_first() && rollout.request.kind == RequestKind::Deploy;
    if state.rollout.as_ref().is_some_and(trial) {
        let events =
            (scope.machine)(state, Timestamp(0), scene.show(node, WELL)).map_err(|refusal| refusal.to_string())?;
        let moves = |event: &Event| advances(event) || *event == Event::BakeEnded;
        law(!events.iter().any(moves), "time that went back moves nothing forward")?;
    }
    Ok(())
}

/// An answer that comes twice is heard once.
pub(crate) fn answered(scope: &Scope, node: &Node, input: &Input) -> Result<(), String> {
    if !matches!(input, Input::Done { .. } | Input::Refused { .. } | Input::Lost { .. }) {
        return Ok(());
    }
    let again = (scope.machine)(&node.state, node.now, input).map_err(|refusal| refusal.to_string())?;
    law(again.is_empty(), "an answer that comes twice is heard once")
}
