//! Every reachable state of a world, nearest first; and from each of them the way to an end once faults stop.

use super::{
    actions::Action,
    key::key,
    laws,
    looks::{Flow, Healthy, Ill, Judged, Seen, WELL},
    world::{Node, Scope},
};
use davy_core::Weight;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

/// What a search has found.
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) transitions: u64,
    /// The law that is broken, and what happened up to there.
    pub(crate) broken: Option<String>,
    /// Whether every reachable state was visited.
    pub(crate) whole: bool,
}

/// Keys are hashes already: half of one is as good as another.
#[derive(Default)]
struct Half(u64);

impl Hasher for Half {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| sum << 8 | u64::from(*byte));
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

type Keys = BuildHasherDefault<Half>;

/// How things go when faults have stopped: whether an end has to come of it, and what is observed.
const CALM: [Seen; 6] = [
    WELL,
    // Never proven, however long one waits.
    Seen { judged: Judged::Undecided, flow: Flow::Both, ..WELL },
    // Nobody uses the service.
    Seen { judged: Judged::NoTraffic, flow: Flow::Idle, ..WELL },
    // Nothing is measured any more.
    Seen { judged: Judged::Nothing, flow: Flow::Nothing, ..WELL },
    // The new release is never healthy.
    Seen { health: Healthy::Canary(Ill::Starting), judged: Judged::Undecided, flow: Flow::Both, ..WELL },
    // It keeps crashing.
    Seen { health: Healthy::Canary(Ill::Crashing), judged: Judged::NoTraffic, flow: Flow::Idle, ..WELL },
];

struct Search<'a> {
    scope: &'a Scope,
    known: HashMap<u128, u32, Keys>,
    /// Where each state was first reached from, and by which of that state's actions.
    came: Vec<(u32, u16)>,
    queue: VecDeque<(u32, Node)>,
    /// The states from which an end is known to be reached, for each calm.
    ends: [HashSet<u128, Keys>; 6],
    /// What follows some states, to compare with what follows others of the same key.
    samples: HashMap<u32, Vec<u128>>,
    transitions: u64,
}

/// Searches a world, up to so many states.
pub(crate) fn search(scope: &Scope, most: usize) -> Found {
    let mut search = Search {
        scope,
        known: HashMap::default(),
        came: vec![(0, 0)],
        queue: VecDeque::new(),
        ends: Default::default(),
        samples: HashMap::default(),
        transitions: 0,
    };
    let root = scope.root();
    search.known.insert(key(&root), 0);
    search.queue.push_back((0, root));
    let mut broken = None;
    while let Some((at, node)) = search.queue.pop_front() {
        if let Err(law) = search.visit(at, &node) {
            broken = Some(law);
            break;
        }
        if search.came.len() > most {
            break;
        }
    }
    let whole = broken.is_none() && search.queue.is_empty();
    Found { states: search.came.len(), transitions: search.transitions, broken, whole }
}

impl Search<'_> {
    fn visit(&mut self, at: u32, node: &Node) -> Result<(), String> {
        let mut scene = node.scene();
        laws::standing(self.scope, node, &mut scene).map_err(|law| self.story(at, None, &law))?;
        let actions = node.actions(self.scope);
        let mut follows = Vec::new();
        for (number, action) in (0u16..).zip(actions) {
            let after = node.after(self.scope, action, &mut scene);
            let after = after.map_err(|law| self.story(at, Some(action), &law))?;
            let Some(after) = after else { continue };
            self.transitions += 1;
            let named = key(&after);
            follows.push(named);
            if let Some(&same) = self.known.get(&named) {
                self.alike(same, &after)?;
                continue;
            }
            let new = u32::try_from(self.came.len()).map_err(|_| "more states than numbers".to_owned())?;
            self.known.insert(named, new);
            self.came.push((at, number));
            self.ends(new, &after)?;
            self.queue.push_back((new, after));
        }
        if at.is_multiple_of(199) {
            self.samples.insert(at, sorted(follows));
        }
        Ok(())
    }

    /// Whether another state of the same key goes on as the one that was searched.
    fn alike(&mut self, same: u32, node: &Node) -> Result<(), String> {
        let Some(known) = self.samples.get(&same) else { return Ok(()) };
        let mut follows = Vec::new();
        let (mut other, mut scene) = (None, node.scene());
        for action in node.actions(self.scope) {
            let after = node.after(self.scope, action, &mut scene);
            if let Some(after) = after.map_err(|law| self.story(same, Some(action), &law))? {
                let named = key(&after);
                if !known.contains(&named) {
                    other = Some(action);
                }
                follows.push(named);
            }
        }
        match sorted(follows) == *known {
            true => Ok(()),
            false => {
                let law = format!("the checker itself: two states of one key go on differently at {other:?}");
                Err(self.story(same, other, &law))
            }
        }
    }

    /// Once faults stop, an end comes.
    fn ends(&mut self, at: u32, node: &Node) -> Result<(), String> {
        for (calm, seen) in CALM.into_iter().enumerate() {
            let mut way = Vec::new();
            let mut here = HashSet::new();
            let mut calmed = node.clone();
            calmed.calm_down();
            loop {
                let named = key(&calmed);
                if self.ends[calm].contains(&named) {
                    break;
                }
                way.push(named);
                // Where nothing is measured a bake lasts until something is: the old release is kept.
                let baked = seen.flow == Flow::Nothing
                    && calmed.flights.is_empty()
                    && calmed
                        .state
                        .rollout
                        .as_ref()
                        .is_some_and(|rollout| rollout.promoted && rollout.observed != Some(Weight::ALL));
                if calmed.is_final() || baked {
                    break;
                }
                if !here.insert(named) {
                    let phase = calmed.state.rollout.as_ref().map(|rollout| &rollout.phase);
                    let law = format!("an end comes once faults stop ({seen:?}); it stays at {phase:?}");
                    return Err(self.story(at, None, &law) + &self.calm_story(node, seen));
                }
                calmed = calmed.calmly(self.scope, seen, named).map_err(|law| self.story(at, None, &law))?;
            }
            self.ends[calm].extend(way);
        }
        Ok(())
    }

    /// What then happens for ever.
    fn calm_story(&self, node: &Node, seen: Seen) -> String {
        let mut node = node.clone();
        node.calm_down();
        let mut told = String::new();
        for _ in 0..20 {
            let Ok(after) = node.calmly(self.scope, seen, key(&node)) else { break };
            let state = &after.state;
            let phase = state.rollout.as_ref().map_or("nothing", |rollout| rollout.phase.name());
            let waits: Vec<String> = after.flights.iter().map(|flight| flight.effect.words()).collect();
            let line = format!("  then {phase}, {:?} of {}, {waits:?}\n", state.split, state.routed);
            if !told.ends_with(&line) {
                told.push_str(&line);
            }
            node = after;
        }
        told
    }

    /// What happened up to a state, and what is wrong there.
    fn story(&self, at: u32, then: Option<Action>, law: &str) -> String {
        let mut numbers = Vec::new();
        let mut here = at;
        while here != 0 {
            let (from, number) = self.came[here as usize];
            numbers.push(number);
            here = from;
        }
        let mut node = self.scope.root();
        let mut told = format!("{}: {law}\n", self.scope.name);
        let actions = numbers.into_iter().rev().map(|number| (Some(number), None)).chain([(None, then)]);
        for (number, last) in actions {
            let action = match (number, last) {
                (Some(number), _) => node.actions(self.scope)[number as usize],
                (None, Some(action)) => action,
                (None, None) => continue,
            };
            let phase = node.state.rollout.as_ref().map_or("nothing", |rollout| rollout.phase.name());
            told.push_str(&format!("  {phase}: {action:?}\n"));
            if let Ok(Some(after)) = node.after(self.scope, action, &mut node.scene()) {
                node = after;
            }
        }
        let rollout = node.state.rollout.as_ref().map(|rollout| (&rollout.phase, rollout.intended, &rollout.ending));
        let router = node.router.as_ref().map(|held| (held.snapshot.generation, &held.mode, &held.snapshot.serve));
        let flights: Vec<_> = node.flights.iter().map(|flight| (&flight.effect, flight.answer)).collect();
        told.push_str(&format!(
            "  at {rollout:?}\n  split {:?} routed {}\n  router {router:?}\n  flights {flights:?} late {:?}\n  instances {:?} fence {}\n",
            node.state.split, node.state.routed, node.late.as_ref().map(|late| &late.effect), node.instances, node.fence
        ));
        told
    }
}

fn sorted(mut follows: Vec<u128>) -> Vec<u128> {
    follows.sort_unstable();
    follows
}
