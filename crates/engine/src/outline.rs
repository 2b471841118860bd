//! An outline: what of a rollout is enough to know where its service stands and which rollouts it had. The rest of its events may
//! be packed away once nothing that is still open rests on them.

use crate::past::Past;
use davy_core::{
    Generation, ReleaseId, RolloutId,
    rollout::{Effect, Event},
};
use davy_ports::Record;
use std::collections::{BTreeMap, BTreeSet};

/// Whether an event belongs to the outline: it says what was asked for, what serves since, or how it ended.
pub(crate) const fn stays(event: &Event) -> bool {
    matches!(
        event,
        Event::RolloutRequested { .. }
            | Event::RolloutQueued { .. }
            | Event::RolloutDropped { .. }
            | Event::Promoted
            | Event::Reverted { .. }
            | Event::RolloutFinished { .. }
    )
}

/// One service's events as far as they were read, and which of its rollouts it can do without.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    past: Past,
    position: u64,
    /// Whose events are more than an outline.
    whole: BTreeSet<RolloutId>,
    /// Who asked for what is not answered yet.
    asked: BTreeMap<Generation, Option<RolloutId>>,
    /// Those that answered what another one had asked, and that one: neither is understood without the other.
    tied: BTreeSet<RolloutId>,
    /// Who asked for anything last, and before the last rollout began; who asked last for a split, for instances of each release;
    /// and whose event is the last.
    effect: Option<RolloutId>,
    base: Option<RolloutId>,
    split: Option<RolloutId>,
    ordered: BTreeMap<ReleaseId, Option<RolloutId>>,
    last: Option<RolloutId>,
}

impl Outline {
    /// Adds the next event of the stream.
    pub(crate) fn add(&mut self, record: &Record) {
        let (own, event) = (record.entry.rollout.as_ref(), &record.entry.event);
        if let Some(own) = own.filter(|own| !stays(event) && !self.whole.contains(own)) {
            self.whole.insert(own.clone());
        }
        if let Event::RolloutRequested { .. } = event {
            self.base.clone_from(&self.effect);
        }
        if let Some(effect) = Effect::of(event) {
            self.asked.insert(effect.generation(), own.cloned());
            self.effect = own.cloned();
            match effect {
                Effect::Route { .. } => self.split = own.cloned(),
                Effect::Run { release, .. } => drop(self.ordered.insert(release, own.cloned())),
                Effect::Revert { .. } | Effect::Remove { .. } => {}
            }
        }
        self.past.add(record);
        self.position = record.position;
        self.last = own.cloned();
        if self.asked.is_empty() {
            return;
        }
        let state = self.past.service(&record.stream).map(|service| &service.state);
        let open: BTreeSet<Generation> =
            state.map(|state| state.pending.iter().map(|open| open.effect.generation()).collect()).unwrap_or_default();
        let tied = &mut self.tied;
        self.asked.retain(|generation, asker| {
            let is_open = open.contains(generation);
            if !is_open && asker.as_ref() != own {
                tied.extend(asker.take());
                tied.extend(own.cloned());
            }
            is_open
        });
    }

    /// Up to which event of the stream it was read.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// Of these rollouts, which are over, those whose events may be packed: nothing rests on them but what stays.
    pub(crate) fn packable(&self, over: &BTreeSet<RolloutId>) -> BTreeSet<RolloutId> {
        let needed = self.needed();
        self.whole.iter().filter(|rollout| over.contains(rollout) && !needed.contains(rollout)).cloned().collect()
    }

    /// The rollouts that say what is not said again: the last generation, now and when the last rollout began, the split that is
    /// served, when the instances were ordered that run, what is asked for and not answered, and where the stream ends.
    fn needed(&self) -> BTreeSet<&RolloutId> {
        let mut services = self.past.services();
        let running = services.next().map(|(_, service)| &service.state.ordered);
        let ordered =
            self.ordered.iter().filter(|(release, _)| running.is_some_and(|known| known.contains_key(release)));
        let last = [&self.effect, &self.base, &self.split, &self.last].into_iter();
        let open = self.asked.values();
        last.chain(ordered.map(|(_, rollout)| rollout)).chain(open).flatten().chain(&self.tied).collect()
    }

    /// Whether the outline of the same events says the same: where the service stands, and every rollout that it had.
    pub(crate) fn says(&self, other: &Self) -> bool {
        self.past == other.past
    }
}
