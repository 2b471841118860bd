//! What a reconciler shows of itself.

use super::Reconciler;
use crate::{
    clock::now,
    evidence::{Collector, MetricSeen, Seen},
    rate::Rate,
};
use davy_core::{
    Instance, ServiceKey, Serving, Weight,
    rollout::{Outcome, Phase, Sight, State},
};
use davy_judge::Verdict;
use std::sync::Arc;

/// A service as it was last seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// Which service.
    pub key: ServiceKey,
    /// Where it stands.
    pub state: Arc<State>,
    /// The instances last seen.
    pub instances: Arc<Vec<Instance>>,
    /// What the router serves, when it could be asked.
    pub serving: Option<Arc<Serving>>,
    /// Why the router could not be asked.
    pub unseen: Option<String>,
    /// The verdict now, on trial.
    pub verdict: Option<Arc<Verdict>>,
    /// The canary's observed share in the present epoch, with the requests it rests on.
    pub observed: Option<(Weight, u64)>,
    /// What was seen of canary and stable in the rollout, and of the canary aside: matched requests and copies.
    pub seen: (Seen, Seen, Seen),
    /// What was read of the service's own metrics in the rollout.
    pub metrics: Vec<MetricSeen>,
    /// How busy it was in the last minute, by what the router has counted; none where that is not known.
    pub traffic: Option<Rate>,
    /// Why nothing can be written, while nothing can.
    pub stuck: Option<String>,
    /// The last record's sequence number.
    pub sequence: u64,
}

impl Live {
    /// A service that was not looked at yet.
    pub(crate) fn unseen(key: ServiceKey, state: State, sequence: u64) -> Self {
        Self {
            key,
            state: Arc::new(state),
            instances: Arc::default(),
            serving: None,
            unseen: Some("not looked at yet".to_owned()),
            verdict: None,
            observed: None,
            seen: Default::default(),
            metrics: Vec::new(),
            traffic: None,
            stuck: None,
            sequence,
        }
    }

    /// Whether both show the same. What they share is not compared: nobody changes it.
    fn is(&self, other: &Self) -> bool {
        let Self { key, state, instances, serving, unseen, verdict, observed, seen, metrics, traffic, stuck, sequence } =
            self;
        same(Some(state), Some(&other.state))
            && same(Some(instances), Some(&other.instances))
            && same(serving.as_ref(), other.serving.as_ref())
            && same(verdict.as_ref(), other.verdict.as_ref())
            && (key, unseen, observed, seen) == (&other.key, &other.unseen, &other.observed, &other.seen)
            && (metrics, traffic, stuck, sequence) == (&other.metrics, &other.traffic, &other.stuck, &other.sequence)
    }
}

fn same<T: PartialEq>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    one.map(Arc::as_ptr) == other.map(Arc::as_ptr) || one == other
}

impl Reconciler {
    /// How things stand now.
    pub(super) fn seen(&self) -> Live {
        let traffic = self.collector.as_ref().map(|collector| collector.traffic(self.state.routed, now()));
        let routed = traffic.map(|traffic| (traffic.canary, traffic.canary + traffic.stable));
        let on_trial = self.state.rollout.as_ref().is_some_and(|rollout| {
            matches!(rollout.phase, Phase::Holding { .. } | Phase::Shifting { .. } | Phase::Baking { .. })
        });
        Live {
            key: self.key.clone(),
            state: self.state.clone(),
            instances: self.instances.seen().cloned().unwrap_or_default(),
            serving: self.router.seen().cloned().flatten(),
            unseen: match &self.router {
                Sight::Unseen { why } => Some(why.clone()),
                Sight::Seen(_) => None,
            },
            verdict: self.collector.as_deref().and_then(Collector::verdict),
            observed: routed
                .filter(|(_, all)| on_trial && *all > 0)
                .map(|(canary, all)| (Weight::share(canary, all), all)),
            seen: self.collector.as_deref().map(Collector::seen).unwrap_or_default(),
            metrics: self.collector.as_deref().map(Collector::metrics).unwrap_or_default(),
            traffic: self.busy.rate(),
            stuck: self.unwritten.why().or_else(|| self.unkept.why()),
            sequence: self.sequence,
        }
    }

    pub(super) fn publish(&self) {
        let live = self.seen();
        // Whoever watches is woken only by what is new.
        self.live.send_if_modified(|shown| {
            let is_new = !shown.is(&live);
            if is_new {
                *shown = live;
            }
            is_new
        });
    }
}

/// The word of an outcome that a rollout has reached for those who wait for it: promotion ends the wait, not the bake.
#[must_use]
pub fn reached(state: &State) -> Option<Outcome> {
    state.rollout.as_ref().filter(|rollout| rollout.promoted).map(|_| Outcome::Promoted)
}
