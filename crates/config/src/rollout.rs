//! How a new version gets all traffic, or none: the steps, the analysis, and what is waited for.

use crate::{
    codes,
    diagnostic::quote,
    keys,
    reader::Reader,
    tree::{Node, Value},
    units,
};
use davy_core::{Analysis, Millis, OnDeadline, Policy, Weight};

/// Steps for a hint.
const EXAMPLE: &str = "[1%, 10%, 50%, 100%]";

impl Reader {
    pub(crate) fn policy(&mut self, node: Option<&Node>) -> Policy {
        let mut policy = Policy::default();
        let Some(map) = node.and_then(|node| self.map(node, &keys::ROLLOUT)) else { return policy };
        if let Some(node) = map.get("canary") {
            self.canary(node, &mut policy);
        }
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

    fn canary(&mut self, node: &Node, policy: &mut Policy) {
        if node.scalar() == Some("auto") {
            let hint = format!("name the steps: canary: {{ steps: {EXAMPLE} }}");
            return self.automatic(node, hint);
        }
        let Some(map) = self.map(node, &keys::CANARY) else { return };
        if let Some(steps) = map.get("steps").and_then(|node| self.steps(node)) {
            policy.steps = steps;
        }
        let hold = map.get("hold").map(|node| self.duration(node, "`hold`", Millis(100)));
        let deadline = map.get("deadline").map(|node| self.duration(node, "`deadline`", Millis::seconds(1)));
        if hold == Some(None) || deadline == Some(None) {
            return;
        }
        policy.hold = hold.flatten().unwrap_or(policy.hold);
        policy.deadline = deadline.flatten().unwrap_or(policy.deadline);
        if policy.hold >= policy.deadline {
            let at = map.get("deadline").or_else(|| map.get("hold")).map_or(node.span, |node| node.span);
            let message = format!("the deadline of {} is not after the hold of {}", policy.deadline, policy.hold);
            let hint = match (hold, deadline) {
                (None, _) => "60s is the hold where none is given: give a shorter one, or a longer deadline",
                (_, None) => "30m is the deadline where none is given: give a longer one, or a shorter hold",
                _ => "both are for each step: give a longer deadline, or a shorter hold",
            };
            self.fail::<()>(at, codes::DEADLINE, message, hint);
        }
    }

    fn automatic(&mut self, node: &Node, hint: String) {
        let message = "`auto` is known, but not in this version";
        self.fail::<()>(node.span, codes::NOT_ENFORCED, message, hint);
    }

    fn steps(&mut self, node: &Node) -> Option<Vec<Weight>> {
        if node.scalar() == Some("auto") {
            self.automatic(node, format!("name the weights: {EXAMPLE}"));
            return None;
        }
        let Value::List(list) = &node.value else {
            return self.kind(node, "`steps`", "a list", format!("such as steps: {EXAMPLE}"));
        };
        let before = self.errors.len();
        let mut steps: Vec<Weight> = Vec::new();
        for item in list {
            if let Value::Map(_) = item.value {
                let hint = format!("write weights only: {EXAMPLE}");
                self.fail::<()>(item.span, codes::NOT_ENFORCED, "options of a step are not in this version", hint);
                continue;
            }
            let Some(text) = self.text(item, "a step") else { continue };
            let weight = match units::weight(text) {
                Ok(weight) => weight,
                Err(wrong) => {
                    self.fail::<()>(item.span, wrong.code, format!("{} is not a weight", quote(text)), wrong.hint);
                    continue;
                }
            };
            if let Some(last) = steps.last().filter(|last| weight <= **last) {
                let message = format!("the weights do not rise: {weight} follows {last}");
                let hint = "write each weight once, the smallest first";
                self.fail::<()>(item.span, codes::STEPS, message, hint);
                break;
            }
            steps.push(weight);
        }
        if self.errors.len() > before {
            return None;
        }
        let last = list.last().map_or(node.span, |item| item.span);
        match steps.as_slice() {
            [] => self.fail(node.span, codes::STEPS, "there is no step", format!("such as steps: {EXAMPLE}")),
            [.., weight] if *weight != Weight::ALL => {
                let message = format!("the last weight is {weight}, not 100 %");
                self.fail(last, codes::STEPS, message, "end with 100%: that is the promotion")
            }
            [_] => {
                let message = "there is no step below 100 %: nothing would be compared";
                self.fail(last, codes::STEPS, message, "begin with a small weight, such as 1%")
            }
            _ => Some(steps),
        }
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
