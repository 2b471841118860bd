//! Services as the API shows them: each is written once, until something about it changes. A page of a thousand services that is asked
//! for a hundred times a second costs what changed, not what is there.

use crate::wire;
use axum::body::Bytes;
use davy_core::ServiceKey;
use davy_engine::{Engine, Watched};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// What was written.
#[derive(Clone, Default)]
pub(crate) struct Shown(Arc<Mutex<Written>>);

#[derive(Default)]
struct Written {
    watched: Watched,
    services: BTreeMap<ServiceKey, Bytes>,
}

impl Shown {
    /// At most so many services that fit, in order, as JSON.
    pub(crate) fn services(
        &self,
        engine: &Engine,
        fits: impl Fn(&ServiceKey) -> bool,
        most: usize,
    ) -> Vec<(ServiceKey, Bytes)> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Written { watched, services } = &mut *written;
        for live in engine.changed(watched) {
            let view = wire::Service::of(&live, engine.serves_since(&live.key));
            services.insert(live.key, json(&view));
        }
        let fitting = services.iter().filter(|(key, _)| fits(key));
        let mut found: Vec<_> = fitting.take(most).map(|(key, json)| (key.clone(), json.clone())).collect();
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
}

fn json(view: &wire::Service) -> Bytes {
    serde_json::to_vec(view).unwrap_or_default().into()
}
