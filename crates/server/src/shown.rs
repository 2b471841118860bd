//! Services and rollouts as lists show them: each is written once, until something about it changes. A page of a thousand services that is
//! asked for hundreds of times a second costs what changed, not what is there.

use crate::{rollouts::view, wire};
use axum::body::Bytes;
use davy_core::{RolloutId, ServiceKey};
use davy_engine::{Engine, Watched, now};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// So many rollouts that are over are kept as they were written.
const ENDED: usize = 10_000;

/// What was written.
#[derive(Clone, Default)]
pub(crate) struct Shown(Arc<Mutex<Written>>);

#[derive(Default)]
struct Written {
    watched: Watched,
    services: BTreeMap<ServiceKey, Bytes>,
    /// The rollouts under way, and those that are over; without the time, which is never the same.
    live: HashMap<RolloutId, Bytes>,
    under_way: BTreeMap<ServiceKey, RolloutId>,
    ended: HashMap<RolloutId, Bytes>,
}

impl Shown {
    fn written(&self, engine: &Engine) -> MutexGuard<'_, Written> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Written { watched, services, live, under_way, .. } = &mut *written;
        for seen in engine.changed(watched) {
            let view = wire::Service::of(&seen, engine.serves_since(&seen.key));
            services.insert(seen.key.clone(), json(&view));
            if let Some(before) = under_way.remove(&seen.key) {
                live.remove(&before);
            }
            if let Some(id) = seen.state.rollout_id() {
                under_way.insert(seen.key.clone(), id.clone());
            }
        }
        written
    }

    /// At most so many services that fit, in order, as JSON.
    pub(crate) fn services(
        &self,
        engine: &Engine,
        fits: impl Fn(&ServiceKey) -> bool,
        most: usize,
    ) -> Vec<(ServiceKey, Bytes)> {
        let written = self.written(engine);
        let fitting = written.services.iter().filter(|(key, _)| fits(key));
        let mut found: Vec<_> = fitting.take(most).map(|(key, json)| (key.clone(), json.clone())).collect();
        drop(written);
        let aside: Vec<_> = engine.set_aside().into_iter().filter(|(key, _)| fits(key)).collect();
        if !aside.is_empty() {
            found.extend(aside.into_iter().map(|(key, why)| {
                let view = json(&wire::Service::aside(&key, &why));
                (key, view)
            }));
            found.sort_by(|one, other| one.0.cmp(&other.0));
            found.truncate(most);
        }
        found
    }

    /// Rollouts as JSON; one that is not known is left out.
    pub(crate) fn rollouts(&self, engine: &Engine, wanted: &[RolloutId]) -> Vec<Bytes> {
        let mut written = self.written(engine);
        let Written { live, under_way, ended, .. } = &mut *written;
        let at = format!("{}}}", now().0);
        let mut found = Vec::with_capacity(wanted.len());
        for id in wanted {
            let known = live.get(id).or_else(|| ended.get(id)).cloned();
            let json = known.or_else(|| {
                let summary = engine.rollout(id).ok()?;
                let json = timeless(view(engine, &summary));
                match (&summary.ended, under_way.get(&summary.key) == Some(id)) {
                    (Some(_), false) => {
                        if ended.len() >= ENDED {
                            ended.clear();
                        }
                        ended.insert(id.clone(), json.clone());
                    }
                    // Known until the service is seen to change.
                    (None, true) => drop(live.insert(id.clone(), json.clone())),
                    _ => {}
                }
                Some(json)
            });
            found.extend(json.map(|json| Bytes::from([&json, at.as_bytes()].concat())));
        }
        found
    }
}

/// A list of what is JSON already.
pub(crate) fn list<'a>(items: impl Iterator<Item = &'a Bytes>) -> Vec<u8> {
    let mut body = vec![b'['];
    for (index, json) in items.enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(json);
    }
    body.push(b']');
    body
}

fn json(view: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(view).unwrap_or_default().into()
}

/// A rollout but for its last field, the time.
fn timeless(mut view: wire::Rollout) -> Bytes {
    view.now.0 = 0;
    let mut json = serde_json::to_vec(&view).unwrap_or_default();
    json.truncate(json.len().saturating_sub("0}".len()));
    json.into()
}
