//! How a new version gets all traffic, or none: the analysis, and what is waited for. The strategy is read elsewhere.

use crate::{keys, reader::Reader, tree::Node};
use davy_core::{Analysis, Millis, OnDeadline, Policy};

impl Reader {
    pub(crate) fn policy(&mut self, node: Option<&Node>, replicas: u32) -> Policy {
        let mut policy = Policy::default();
        let Some(map) = node.and_then(|node| self.map(node, &keys::ROLLOUT)) else { return policy };
        self.strategy(&map, replicas, &mut policy);
        if let Some(node) = map.get("analysis") {
            self.analysis(node, &mut policy.analysis);
        }
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

    fn analysis(&mut self, node: &Node, analysis: &mut Analysis) {
        let Some(map) = self.map(node, &keys::ANALYSIS) else { return };
        if let Some(alpha) = map.get("alpha").and_then(|node| self.decimal(node, "`alpha`", 0.5)) {
            analysis.alpha = alpha;
        }
        let Some(node) = map.get("error-rate") else { return };
        let Some(map) = self.map(node, &keys::ERROR_RATE) else { return };
        if let Some(node) = map.get("max") {
            analysis.max_error_rate = self.share(node, "`max`");
        }
        let relative = map.get("not-worse-than-stable").copied();
        if let Some(flag) = relative.and_then(|node| self.flag(node, "`not-worse-than-stable`")) {
            analysis.not_worse_than_stable = flag;
        }
    }
}
