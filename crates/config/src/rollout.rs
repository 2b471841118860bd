//! How a new version gets all traffic, or none: what is waited for. The strategy and the analysis are read elsewhere.

use crate::{
    analysis::Spans,
    keys,
    reader::Reader,
    tree::{self, Node},
};
use davy_core::{Millis, OnDeadline, Policy};

impl Reader {
    pub(crate) fn policy(&mut self, node: Option<&Node>, replicas: u32) -> Policy {
        let mut policy = Policy::default();
        let Some(map) = node.and_then(|node| self.map(node, &keys::ROLLOUT)) else { return policy };
        self.strategy(&map, replicas, &mut policy);
        if let Some(node) = map.get("analysis") {
            self.analysis(node, &mut policy);
        }
        let spans = Spans::of(&map, node.map_or(tree::TOP, |node| node.span));
        self.provable(&spans, replicas, &policy);
        let mut set = |name: &str, least: Millis, to: &mut Millis| {
            let length = map.get(name).and_then(|node| self.duration(node, &format!("`{name}`"), least));
            *to = length.unwrap_or(*to);
        };
        set("drain", Millis(0), &mut policy.drain);
        set("bake", Millis(0), &mut policy.bake);
        set("pause-limit", Millis::seconds(1), &mut policy.pause_limit);
        if let Some(node) = map.get("on-failure") {
            self.one_of(node, "`on-failure`", &["rollback"]);
        }
        match map.get("on-deadline").and_then(|node| self.one_of(node, "`on-deadline`", &["pause", "rollback"])) {
            Some(0) => policy.on_deadline = OnDeadline::Pause,
            Some(_) => policy.on_deadline = OnDeadline::Rollback,
            None => {}
        }
        policy
    }
}
