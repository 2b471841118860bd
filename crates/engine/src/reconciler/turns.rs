//! What is to be decided, one thing after the other: a decision is appended before the next one is taken, and what it asks
//! for is done once it is written.

use super::{Beside, Declined, Message, Ports, Reconciler, Still, bounded, write};
use crate::{clock::now, past::Known, routes};
use davy_core::{
    Actor, Generation, Mode, ServiceKey, Timestamp,
    rollout::{Effect, Event, Input, step},
};
use davy_ports::{Entry, Error, Order, Record, Retry};
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::oneshot;

/// The longest wait for a router to serve or to revert.
pub(super) const ROUTE: Duration = Duration::from_secs(3);
/// The longest wait for a platform to take an order.
const ORDER: Duration = Duration::from_secs(20);
/// What a removal may take beyond its grace.
const REMOVE: Duration = Duration::from_secs(10);
/// How long a process may take to end when it is asked.
const GRACE: davy_core::Millis = davy_core::Millis::seconds(10);

/// One thing to decide on, and what follows from it.
pub(super) struct Turn {
    inputs: VecDeque<Input>,
    by: Actor,
    /// What has to hold for a command to be taken.
    still: Option<Still>,
    then: Then,
}

/// What is done when everything that follows has been decided and written.
pub(super) enum Then {
    Nothing,
    /// Somebody waits for the answer.
    Answer(oneshot::Sender<Result<(), Declined>>),
    /// Traffic was put back past the mailbox: from now on it may be routed again.
    RouteAgain,
}

/// A decision on its way into the journal.
pub(super) struct Writing {
    pub(super) task: Beside<write::Written>,
    /// What it was taken on.
    input: Input,
}

impl Turn {
    pub(super) fn new(input: Input, by: Actor, then: Then) -> Self {
        Self { inputs: VecDeque::from([input]), by, still: None, then }
    }

    pub(super) fn if_still(self, still: Option<Still>) -> Self {
        Self { still, ..self }
    }
}

impl Reconciler {
    /// Decides what waits, until something is to be written first or nothing is left.
    pub(super) async fn take_turns(&mut self) {
        while self.writing.is_none()
            && let Some(turn) = self.turns.front_mut()
        {
            let Some(input) = turn.inputs.pop_front() else {
                self.end_turn(Ok(())).await;
                continue;
            };
            // Whoever waits for the journal may have been overtaken: what holds is how it stands now.
            let still = if matches!(input, Input::Command(_)) { turn.still.clone() } else { None };
            let by = turn.by.clone();
            if let Some(still) = still
                && !still(&self.seen())
            {
                self.end_turn(Err(Declined::Changed)).await;
                continue;
            }
            // Harm is dated when it was found, also if it could not be written then.
            let found = if matches!(input, Input::Look(_)) { self.harmed.take() } else { None };
            let at = found.unwrap_or_else(now).max(self.decided);
            match step(&self.state, at, &input) {
                Ok(events) if events.is_empty() => {}
                Ok(events) => self.write(at, by, input, &events),
                Err(refusal) => self.end_turn(Err(Declined::Refused(refusal))).await,
            }
        }
    }

    async fn end_turn(&mut self, answer: Result<(), Declined>) {
        let Some(turn) = self.turns.pop_front() else { return };
        self.publish();
        match turn.then {
            Then::Nothing => {}
            Then::Answer(reply) => {
                reply.send(answer).ok();
                self.look().await;
            }
            Then::RouteAgain => {
                self.reverting.store(false, Ordering::SeqCst);
                self.look().await;
            }
        }
    }

    fn write(&mut self, at: Timestamp, by: Actor, input: Input, events: &[Event]) {
        let mut rollout = self.state.rollout_id().cloned();
        let entries = events.iter().map(|event| {
            if let Event::RolloutRequested { request } = event {
                rollout = Some(request.rollout.clone());
            }
            let own = match event {
                Event::RolloutQueued { request } => Some(request.rollout.clone()),
                Event::RolloutDropped { rollout, .. } => Some(rollout.clone()),
                _ => rollout.clone(),
            };
            Entry { at, by: by.clone(), rollout: own, event: event.clone() }
        });
        let (journal, key, entries) = (self.ports.journal.clone(), self.key.clone(), entries.collect());
        let task = Beside::begin(write::append(journal, key, self.position, entries, self.unwritten.clone()));
        self.decided = at;
        self.writing = Some(Writing { task, input });
    }

    /// The decision is written, or somebody else's was.
    pub(super) async fn written(&mut self, written: Option<write::Written>) {
        let Some(Writing { input, .. }) = self.writing.take() else { return };
        match written {
            Some(write::Written::Ours(records)) => {
                let events = self.adopt(records);
                for event in &events {
                    self.happened(event);
                    if let Some(effect) = Effect::of(event) {
                        let answer = self.act(effect).await;
                        if let Some(turn) = self.turns.front_mut() {
                            turn.inputs.extend(answer);
                        }
                    }
                }
            }
            Some(write::Written::Others(records)) => {
                let before = self.state.rollout_id().cloned();
                self.adopt(records);
                self.decide_again(input);
                match self.state.rollout_id() == before.as_ref() {
                    true => self.restart(),
                    false => self.take_up(),
                }
            }
            // Told apart before.
            Some(write::Written::Fenced) => {}
            None => {
                tracing::error!(service = %self.key, "a write was broken off; it is decided again");
                self.decide_again(input);
            }
        }
    }

    /// What was decided on is no longer so. A look is out of date, and the next one comes soon.
    fn decide_again(&mut self, input: Input) {
        if let Some(turn) = self.turns.front_mut()
            && !matches!(input, Input::Look(_))
        {
            turn.inputs.push_front(input);
        }
    }

    fn adopt(&mut self, records: Vec<Record>) -> Vec<Event> {
        let mut events = Vec::with_capacity(records.len());
        // Whoever asks for the past finds it without the journal.
        records.iter().for_each(|record| self.past.now().add(record));
        for Record { position, sequence, entry, .. } in records {
            Arc::make_mut(&mut self.state).apply(entry.at, &entry.event);
            (self.position, self.sequence) = (position, sequence);
            events.push(entry.event);
        }
        let last = self.sequence;
        self.written.send_if_modified(|seen| {
            let newer = last > *seen;
            *seen = last.max(*seen);
            newer
        });
        events
    }

    /// What follows from an event besides its effect.
    fn happened(&mut self, event: &Event) {
        let rollout = self.state.rollout_id().map_or_else(String::new, ToString::to_string);
        tracing::info!(service = %self.key, rollout, event = name(event), "journal");
        match event {
            Event::RolloutRequested { .. } => self.listen(&[]),
            Event::Paused { .. } => self.report(self.state.rollout_id().cloned()),
            Event::Promoted => {
                self.end_evidence();
                self.report(self.state.rollout_id().cloned());
            }
            Event::RolloutFinished { rollout, .. } => {
                self.end_evidence();
                self.report(Some(rollout.clone()));
                let (ports, past, key) = (self.ports.clone(), self.past.clone(), self.key.clone());
                tokio::spawn(async move {
                    if let Err(error) = prune(&ports, &past, &key).await {
                        tracing::warn!(service = %key, %error, "old artifacts are still there");
                    }
                });
                let queued = self.state.rollout.is_some();
                if !queued {
                    self.forget_counts();
                }
            }
            _ => {}
        }
    }

    async fn act(&mut self, effect: Effect) -> Option<Input> {
        let generation = effect.generation();
        match effect {
            Effect::Run { release, count, spare, .. } => {
                let release = self.state.release(&release)?.clone();
                let order = Order { key: self.key.clone(), release, count, spare, generation };
                let (platform, sender) = (self.ports.platform.clone(), self.sender.clone());
                tokio::spawn(async move {
                    let answer = loop {
                        match tokio::time::timeout(ORDER, platform.ensure(&order)).await {
                            Ok(answer) => break answer,
                            // What is being fetched still comes: the order joins it again.
                            Err(_) if platform.fetching(&order.key).is_some() => {}
                            Err(_) => {
                                break Err(Error::later("order instances", format!("no answer within {ORDER:?}")));
                            }
                        }
                    };
                    sender.send(Message::Answer(answered(generation, answer))).ok();
                });
                None
            }
            Effect::Route { split, .. } => {
                if self.reverting.load(Ordering::SeqCst) {
                    let why = "traffic is being put back".to_owned();
                    return Some(Input::Refused { generation, why });
                }
                let instances = self.instances.seen().cloned().unwrap_or_default();
                let served = self.router.seen().and_then(Option::as_ref).map(|serving| &serving.snapshot);
                let snapshot = match routes::snapshot(&self.key, &self.state, generation, &split, &instances, served) {
                    Ok(snapshot) => snapshot,
                    Err(why) => return Some(Input::Refused { generation, why }),
                };
                let router = self.ports.router.clone();
                let answer = bounded(ROUTE, "serve the new weights", router.serve(&snapshot)).await;
                self.renewed = Some(tokio::time::Instant::now());
                Some(answered(generation, answer))
            }
            Effect::Revert { .. } => {
                let router = self.ports.router.clone();
                let answer = bounded(ROUTE, "put traffic back", router.revert(&self.key)).await;
                Some(match answer {
                    Ok(serving) if matches!(serving.mode, Mode::Fallback { .. }) => Input::Done { generation },
                    Ok(_) => Input::Lost { generation, why: "the router did not fall back".to_owned() },
                    Err(error) => Input::Lost { generation, why: error.to_string() },
                })
            }
            Effect::Remove { release, .. } => {
                let (platform, sender, key) = (self.ports.platform.clone(), self.sender.clone(), self.key.clone());
                tokio::spawn(async move {
                    let limit = GRACE.duration() + REMOVE;
                    let removing = platform.remove(&key, &release, generation, GRACE);
                    let answer = bounded(limit, "remove instances", removing).await;
                    sender.send(Message::Answer(answered(generation, answer))).ok();
                });
                None
            }
        }
    }
}

fn answered<T>(generation: Generation, answer: Result<T, Error>) -> Input {
    match answer {
        Ok(_) => Input::Done { generation },
        Err(error) => {
            let why = match error.hint.is_empty() {
                true => error.to_string(),
                false => format!("{error}; {}", error.hint),
            };
            match error.retry {
                Retry::Never => Input::Refused { generation, why },
                Retry::Later => Input::Lost { generation, why },
            }
        }
    }
}

/// The event's name, as in the journal.
fn name(event: &Event) -> String {
    serde_json::to_value(event)
        .ok()
        .and_then(|value| value.get("type").and_then(|name| name.as_str().map(str::to_owned)))
        .unwrap_or_default()
}

/// Forgets the artifacts that a service needs no more.
async fn prune(ports: &Ports, past: &Known, key: &ServiceKey) -> Result<(), Error> {
    let tried = "forget old artifacts";
    let needed: Vec<_> = past.now().needed(key).into_iter().map(|release| release.digest).collect();
    bounded(ORDER, tried, ports.platform.prune(key, &needed)).await
}
