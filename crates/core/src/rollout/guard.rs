//! The guard in the router: what it is asked for, and what follows once it has cut a canary off.

use super::{Cause, Event, Look, Phase, Request, RequestKind, step::Decision};
use crate::Cut;
use davy_judge::guard::Order;

/// The guards' part of α, shared among the gateways.
const SHARE: f64 = 0.3;
/// How many gateways serve one service.
const GATEWAYS: f64 = 1.0;

/// What the router's guard holds a rollout to; none where nothing is on trial, or there is nothing to hold it to.
#[must_use]
pub fn guard(request: &Request) -> Option<Order> {
    let analysis = &request.policy.analysis;
    let order = Order {
        alpha: SHARE * analysis.alpha / GATEWAYS,
        odds: 1.0,
        relative: analysis.not_worse_than_stable,
        limits: analysis.limit().into_iter().collect(),
        past: true,
        cluster: f64::from(analysis.burst),
    };
    (request.kind == RequestKind::Deploy && order.check().is_ok()).then_some(order)
}

impl Decision<'_> {
    /// A router whose guard has cut the canary off: the rollout is over, also when that is heard of only after its promotion. The numbers are computed again; what does not come out the
    /// same is said, and traffic stays back.
    pub(super) fn notice_guard(&mut self, look: &Look) {
        let Some(Some(serving)) = look.router.seen() else { return };
        let Some(rollout) = self.state.rollout.as_ref() else { return };
        let Some(cut) = serving.cut.as_ref().filter(|cut| cut.rollout == rollout.request.rollout) else { return };
        // As long as the old release is there to serve again.
        let back = matches!(rollout.phase, Phase::Baking { .. } | Phase::Settling { .. });
        let under_way = rollout.is_forward() || (rollout.ending.is_none() && back);
        if !under_way {
            return;
        }
        let ordered = guard(&rollout.request);
        let recomputed = cut.finding.holds() && ordered.as_ref() == Some(&cut.finding.order);
        let generation = serving.snapshot.generation;
        let cause = Cause::Guard { why: why(cut, recomputed), cut: cut.clone(), recomputed };
        self.push(Event::Reverted { generation, cause: Some(cause) });
    }
}

fn why(cut: &Cut, recomputed: bool) -> String {
    let because = cut.finding.because();
    match recomputed {
        true => because,
        false => format!("{because}; computed again, these counts do not give this: traffic is back to be safe"),
    }
}
