//! What makes two states of a world the same: names by their first appearance, generations by their order, times by their age,
//! and ages only as far as something waits for them.
//!
//! That two states with one key really go on alike is checked while the search goes (`search::Search::alike`).

use super::world::{Flight, Node, TICK};
use davy_core::{
    FallbackCause, Generation, InstanceId, Mode, ReleaseId, RolloutId, Timestamp, Weight,
    rollout::{Effect, Outcome, Phase, RequestKind, Split},
};
use std::hash::{DefaultHasher, Hasher};

/// The longest wait, in ticks, that anything compares an age with: a grace that began with a drain.
const LONGEST: u64 = 3;

struct Key<'a> {
    bytes: Vec<u8>,
    node: &'a Node,
    releases: Vec<&'a ReleaseId>,
    rollouts: Vec<&'a RolloutId>,
    routes: Vec<Generation>,
}

/// Two hashes of everything that matters: 128 bits, so that no two states are taken for one.
pub(crate) fn key(node: &Node) -> u128 {
    let bytes = bytes(node);
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(salt);
        hasher.write(&bytes);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

fn bytes(node: &Node) -> Vec<u8> {
    let mut routes: Vec<Generation> = vec![node.state.routed];
    routes.extend(node.router.as_ref().map(|held| held.snapshot.generation));
    for flight in node.flights.iter().chain(&node.late) {
        if matches!(flight.effect, Effect::Route { .. }) {
            routes.push(flight.effect.generation());
        }
    }
    if let Some(rollout) = &node.state.rollout
        && let Phase::Shifting { generation, .. } | Phase::Holding { generation, .. } = rollout.phase
    {
        routes.push(generation);
    }
    routes.sort_unstable();
    routes.dedup();
    let key = Key { bytes: Vec::with_capacity(160), node, releases: Vec::new(), rollouts: Vec::new(), routes };
    key.whole()
}

impl<'a> Key<'a> {
    fn put(&mut self, byte: usize) {
        self.bytes.push(u8::try_from(byte.min(255)).unwrap_or(255));
    }

    fn flag(&mut self, flag: bool) {
        self.bytes.push(u8::from(flag));
    }

    fn release(&mut self, id: &'a ReleaseId) {
        let at = self.releases.iter().position(|known| *known == id).unwrap_or_else(|| {
            self.releases.push(id);
            self.releases.len() - 1
        });
        self.put(at);
    }

    fn rollout(&mut self, id: &'a RolloutId) {
        let at = self.rollouts.iter().position(|known| *known == id).unwrap_or_else(|| {
            self.rollouts.push(id);
            self.rollouts.len() - 1
        });
        self.put(at);
    }

    fn age(&mut self, since: Timestamp, longest: u64) {
        let ticks = (self.node.now.since(since).0 / TICK.0).min(longest);
        self.put(usize::try_from(ticks).unwrap_or(255));
    }

    fn routed(&mut self, generation: Generation) {
        let at = self.routes.iter().position(|known| *known == generation).unwrap_or(254);
        self.put(at);
    }

    fn instance(&mut self, id: &InstanceId) {
        let number = id.as_str()[1..].parse().unwrap_or(u32::MAX);
        let here = self.node.instances.iter().position(|(there, _)| *there == number);
        self.put(here.unwrap_or(200));
    }

    fn split(&mut self, split: &'a Split) {
        match split {
            Split::Trial { canary, without } => {
                self.put(1);
                self.bytes.extend(canary.basis_points().to_be_bytes());
                for id in without {
                    self.instance(id);
                }
                self.put(254);
            }
            Split::Bake => self.put(2),
            Split::Only { release } => {
                self.put(3);
                self.release(release);
            }
            Split::Nothing => self.put(4),
        }
    }

    fn flight(&mut self, flight: &'a Flight) {
        let generation = flight.effect.generation();
        match &flight.effect {
            Effect::Run { release, count, spare, .. } => {
                self.put(10);
                self.release(release);
                self.put(*count as usize);
                spare.iter().for_each(|id| self.instance(id));
                self.put(254);
                self.flag(generation < self.node.fence);
            }
            Effect::Route { split, .. } => {
                self.put(11);
                self.split(split);
                self.routed(generation);
                self.snapshot(flight.snapshot.as_deref());
            }
            Effect::Revert { .. } => self.put(12),
            Effect::Remove { release, .. } => {
                self.put(13);
                self.release(release);
                self.flag(generation < self.node.fence);
            }
        }
        self.put(flight.answer.map_or(0, |took| 1 + usize::from(took)));
    }

    fn snapshot(&mut self, snapshot: Option<&'a davy_core::Snapshot>) {
        let Some(snapshot) = snapshot else { return self.put(0) };
        self.put(1);
        self.routed(snapshot.generation);
        match &snapshot.rollout {
            Some(rollout) => self.rollout(rollout),
            None => self.put(254),
        }
        for target in &snapshot.serve {
            self.release(&target.release);
            self.bytes.extend(target.weight.basis_points().to_be_bytes());
            target.instances.iter().for_each(|backend| self.instance(&backend.id));
            self.put(254);
        }
        self.flag(snapshot.fallback.is_some());
    }

    /// The order in which the fences of what is on its way stand to each other.
    fn fences(&mut self) {
        let node = self.node;
        let mut all: Vec<Generation> = node.flights.iter().chain(&node.late).map(|f| f.effect.generation()).collect();
        let latest = node.late.as_ref().map(|late| late.effect.generation());
        all.sort_unstable();
        let at = latest.and_then(|latest| all.iter().position(|generation| *generation == latest));
        self.put(at.unwrap_or(254));
    }

    fn whole(mut self) -> Vec<u8> {
        let node = self.node;
        let state = &node.state;
        self.bytes.extend([node.requests, node.nudges, node.faults, node.refusals, node.crashes]);
        if let Some(stable) = &state.stable {
            self.release(&stable.id);
        }
        match &state.rollout {
            None => self.put(250),
            Some(rollout) => self.under_way(rollout),
        }
        match &state.queued {
            None => self.put(250),
            Some(queued) => {
                self.release(&queued.release.id);
                self.put(queued.kind as usize);
                self.rollout(&queued.rollout);
            }
        }
        match &state.split {
            None => self.put(250),
            Some(split) => self.split(split),
        }
        self.routed(state.routed);
        self.age(
            state.routed_at,
            match &state.split {
                Some(Split::Nothing) => LONGEST,
                Some(Split::Trial { without, .. }) if !without.is_empty() => LONGEST,
                _ => 1,
            },
        );
        for (release, at) in &state.ordered {
            if state.release(release).is_some() {
                self.release(release);
                self.age(*at, 1);
                self.flag(*at < state.routed_at);
            }
        }
        self.put(251);
        let waits = |flight: &Flight| {
            let generation = flight.effect.generation();
            state.pending.iter().any(|pending| pending.effect.generation() == generation)
        };
        for flight in &node.flights {
            self.flight(flight);
            self.flag(waits(flight));
        }
        self.put(252);
        if let Some(late) = &node.late {
            self.flight(late);
        }
        self.fences();
        for (_, release) in &node.instances {
            self.release(release);
        }
        self.put(253);
        match &node.router {
            None => self.put(250),
            Some(held) => {
                self.snapshot(Some(&held.snapshot));
                self.put(match held.mode {
                    Mode::Split => 0,
                    Mode::Fallback { cause: FallbackCause::Revert, .. } => 1,
                    Mode::Fallback { cause: FallbackCause::Lapse, .. } => 2,
                    Mode::Fallback { cause: FallbackCause::Restart, .. } => 3,
                    Mode::Fallback { cause: FallbackCause::Guard, .. } => 4,
                });
                // One of a rollout that is over cuts nothing off any more.
                let under_way = state.rollout_id();
                self.flag(held.cut.as_ref().is_some_and(|(rollout, _)| Some(rollout) == under_way));
            }
        }
        self.flag(node.witnessed);
        self.flag(node.carried);
        self.bytes
    }

    fn under_way(&mut self, rollout: &'a davy_core::rollout::Rollout) {
        self.release(&rollout.request.release.id);
        self.rollout(&rollout.request.rollout);
        match &rollout.from {
            None => self.put(250),
            Some(from) => self.release(&from.id),
        }
        self.put(match rollout.request.kind {
            RequestKind::Deploy => 0,
            RequestKind::Rollback => 1,
            RequestKind::Remove => 2,
        });
        self.put(rollout.step);
        self.bytes.extend(rollout.intended.basis_points().to_be_bytes());
        self.put(rollout.observed.map_or(2, |observed| usize::from(observed == Weight::ALL)));
        self.flag(rollout.fewer);
        self.flag(rollout.promoted);
        self.flag(rollout.cleared);
        self.put(rollout.ending.as_ref().map_or(250, |(outcome, _)| match outcome {
            Outcome::Removed => 1,
            _ => 0,
        }));
        if rollout.is_forward() {
            // What is put back, or promoted, has no step to pass and nothing to wait for a person with.
            let starts = matches!(rollout.phase, Phase::Starting { .. });
            if !starts && rollout.pause.is_none() {
                self.age(rollout.step_since, 2);
            }
            let shrinks = rollout.from.as_ref().is_some_and(|old| rollout.current().stable < old.replicas());
            if starts && rollout.pause.is_none() && shrinks {
                // A deadline, and for each wave a drain and a grace.
                self.age(rollout.step_since, 2 + 3 * (rollout.step as u64 + 1));
            }
            if starts && rollout.is_automatic() && rollout.step == 0 && rollout.step_since == rollout.began {
                self.age(rollout.began, 1);
            }
            if let Phase::Starting { since } = rollout.phase {
                // What an order takes is not the instances' own time: their age once it is answered.
                for pending in &self.node.state.pending {
                    if matches!(&pending.effect, Effect::Run { release, .. } if *release == rollout.request.release.id)
                    {
                        let ticks = (pending.since.since(since).0 / TICK.0).min(LONGEST);
                        self.put(usize::try_from(ticks).unwrap_or(255));
                    }
                }
            }
            self.put(rollout.refusals as usize);
            self.flag(rollout.forced);
            match &rollout.pause {
                None => self.put(250),
                Some(pause) => self.age(pause.since, 2),
            }
        }
        let (at, since) = match &rollout.phase {
            Phase::Starting { since } => (0, since),
            Phase::Shifting { generation, since } => {
                self.routed(*generation);
                (1, since)
            }
            Phase::Holding { generation, since, seen } => {
                self.routed(*generation);
                self.flag(*seen);
                (2, since)
            }
            Phase::Recovering { since } => (3, since),
            Phase::Baking { since } => (4, since),
            Phase::Reverting { since } => (5, since),
            Phase::Settling { leaving, since } => {
                self.release(leaving);
                (6, since)
            }
            Phase::Draining { leaving, since } => {
                self.release(leaving);
                (7, since)
            }
            Phase::Removing { leaving, since } => {
                self.release(leaving);
                (8, since)
            }
        };
        self.put(at);
        // The longest wait of each: what is shifted waits for an answer, and not for a time.
        self.age(
            *since,
            match at {
                0 => LONGEST,
                1 => 0,
                3 | 6 | 8 => 2,
                4 if rollout.observed != Some(Weight::ALL) => 2,
                _ => 1,
            },
        );
    }
}
