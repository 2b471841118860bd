//! Live events: the journal as it is written, and on request how rollouts and services look whenever that changes.

use crate::{
    Shared,
    openapi::Malformed,
    problem::Problem,
    rollouts::view,
    routes::while_admitted,
    take::{Query, wrong},
    wire,
};
use axum::{
    Extension,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response, Sse, sse},
};
use davy_core::{RolloutId, ServiceKey};
use davy_engine::{Caller, Engine, Live, Watched};
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Interval, MissedTickBehavior};

/// From where on, and what besides.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// Events after this sequence number; all of them when absent. `last-event-id` comes before it.
    after: Option<u64>,
    /// Also how rollouts and services look, whenever that changes.
    #[serde(default)]
    live: bool,
}

/// Between two looks at how things are.
const LOOK: Duration = Duration::from_millis(250);
/// Between two signs of life.
const ALIVE: Duration = Duration::from_secs(10);

/// Everything after a sequence number, then everything as it happens, as server-sent events. `journal`: an event of the journal; its id is
/// the sequence number, and a client that comes back with it as `last-event-id` misses and repeats nothing. With `live`, besides and
/// without ids: `rollout` and `service`, each a whole one whenever it looks otherwise, at most four a second of each; first all
/// that are under way, and the services that changed since.
#[utoipa::path(get, path = "/api/events", operation_id = "followEvents", tag = "events",
    params(Asked, ("last-event-id" = Option<u64>, Header, description = "The id of the last event that was seen.")),
    responses((status = 200, description = "Events, for as long as they are listened to.", body = String, content_type = "text/event-stream"), Malformed))]
pub(crate) async fn follow(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last = match headers.get("last-event-id") {
        None => None,
        Some(value) => match value.to_str().ok().and_then(|value| value.parse().ok()) {
            Some(last) => Some(last),
            None => return Err(wrong("last-event-id", "it is no sequence number")),
        },
    };
    let from: u64 = last.or(asked.after).unwrap_or(0);
    let journal = journal(shared.engine.clone(), caller.clone(), from);
    let events = match asked.live {
        false => journal.boxed(),
        true => stream::select(journal, views(shared.engine.clone(), caller.clone(), from)).boxed(),
    };
    let events = while_admitted(events, shared, caller).map(Ok::<_, std::convert::Infallible>);
    Ok(Sse::new(events).keep_alive(sse::KeepAlive::new().interval(ALIVE)).into_response())
}

fn journal(engine: Arc<Engine>, caller: Caller, from: u64) -> impl Stream<Item = sse::Event> + Send + 'static {
    let written = engine.written();
    let records = stream::unfold((engine, written, from), |(engine, mut written, from)| async move {
        loop {
            // What is written after this is seen as a change.
            written.mark_unchanged();
            let records = engine.after(from, 256).await.ok()?;
            if let Some(last) = records.last().map(|record| record.sequence) {
                return Some((stream::iter(records), (engine, written, last)));
            }
            written.changed().await.ok()?;
        }
    });
    let reached = move |record: &davy_ports::Record| caller.reaches(record.stream.environment.as_str());
    records.flatten().filter(move |record| std::future::ready(reached(record))).filter_map(|record| async move {
        let data = serde_json::to_string(&record).ok()?;
        Some(sse::Event::default().id(record.sequence.to_string()).event("journal").data(data))
    })
}

/// How things look, for one who listens.
struct Looking {
    engine: Arc<Engine>,
    caller: Caller,
    from: u64,
    tick: Interval,
    watched: Watched,
    /// What was told last, as far as it matters.
    told: BTreeMap<(ServiceKey, Option<RolloutId>), u64>,
    /// The rollout that was under way when each was looked at.
    under_way: BTreeMap<ServiceKey, RolloutId>,
    known: BTreeSet<ServiceKey>,
    waiting: VecDeque<sse::Event>,
}

fn views(engine: Arc<Engine>, caller: Caller, from: u64) -> impl Stream<Item = sse::Event> + Send + 'static {
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looking = Looking {
        engine,
        caller,
        from,
        tick,
        watched: Watched::default(),
        told: BTreeMap::new(),
        under_way: BTreeMap::new(),
        known: BTreeSet::new(),
        waiting: VecDeque::new(),
    };
    stream::unfold(looking, |mut looking| async move {
        loop {
            if let Some(event) = looking.waiting.pop_front() {
                return Some((event, looking));
            }
            looking.tick.tick().await;
            looking.look();
        }
    })
}

impl Looking {
    fn look(&mut self) {
        for live in self.engine.clone().changed(&mut self.watched) {
            if self.caller.reaches(live.key.environment.as_str()) {
                self.tell(&live);
            }
        }
    }

    fn tell(&mut self, live: &Live) {
        let key = &live.key;
        let present = live.state.rollout_id().cloned();
        let before = match &present {
            Some(id) => self.under_way.insert(key.clone(), id.clone()),
            None => self.under_way.remove(key),
        };
        // The one that is over now is told once more, as it ended.
        let over = before.filter(|before| Some(before) != present.as_ref());
        for id in over.iter().chain(&present) {
            if let Ok(summary) = self.engine.rollout(id) {
                let mut shown = view(&self.engine, &summary);
                let now = std::mem::take(&mut shown.now);
                let is_new = self.is_new((key.clone(), Some(id.clone())), &shown);
                shown.now = now;
                self.waiting.extend(event("rollout", &shown).filter(|_| is_new));
            }
        }
        if let Some(id) = over {
            self.told.remove(&(key.clone(), Some(id)));
        }
        let service = wire::Service::of(live, self.engine.serves_since(key));
        let is_new = self.is_new((key.clone(), None), &service);
        let is_known = !self.known.insert(key.clone()) || present.is_some() || live.sequence > self.from;
        self.waiting.extend(event("service", &service).filter(|_| is_new && is_known));
    }

    fn is_new(&mut self, what: (ServiceKey, Option<RolloutId>), shown: &impl Serialize) -> bool {
        let mut hasher = DefaultHasher::new();
        serde_json::to_vec(shown).unwrap_or_default().hash(&mut hasher);
        let hash = hasher.finish();
        self.told.insert(what, hash) != Some(hash)
    }
}

fn event(name: &str, shown: &impl Serialize) -> Option<sse::Event> {
    let data = serde_json::to_string(shown).ok()?;
    Some(sse::Event::default().event(name).data(data))
}
