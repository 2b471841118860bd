//! How a new version takes over: one of four strategies, and the steps of a canary.

use crate::{
    codes,
    diagnostic::quote,
    keys,
    reader::{Map, Reader},
    tree::{Node, Span, Value},
    units,
};
use davy_core::{BlueGreen, Canary, CanaryStep, Match, Millis, Mirror, Policy, Rolling, Scale, Strategy, Weight};

/// Steps for a hint.
const EXAMPLE: &str = "[1%, 10%, 50%, 100%]";
/// The hold of a wave, where none is given: its instances are healthy already.
const WAVE: Millis = Millis::seconds(10);
/// How long a new version can be looked at before the switch, where nothing is given.
const PREVIEW: Millis = Millis::seconds(60);

/// What may stay with stable until the last step at most, in basis points.
const MOST: u16 = 5_000;

impl Reader {
    pub(crate) fn strategy(&mut self, map: &Map<'_>, replicas: u32, policy: &mut Policy) {
        let named = ["canary", "blue-green", "rolling", "recreate"].map(|name| map.get(name).map(|node| (name, *node)));
        let mut named = named.into_iter().flatten();
        let Some((name, node)) = named.next() else { return };
        if let Some((other, node)) = named.next() {
            let message = format!("there are `{name}` and `{other}`");
            return self.fail::<()>(node.span, codes::STRATEGY, message, "keep one of them").unwrap_or_default();
        }
        match name {
            "canary" => self.canary(node, replicas, policy),
            "blue-green" => self.blue_green(node, policy),
            "rolling" => self.rolling(node, policy),
            _ => self.recreate(node, policy),
        }
    }

    fn canary(&mut self, node: &Node, replicas: u32, policy: &mut Policy) {
        if node.scalar() == Some("auto") {
            policy.strategy = Strategy::Canary(Canary::auto(Canary::HOLDBACK));
            policy.hold = Canary::HOLD;
            return;
        }
        let Some(map) = self.map(node, &keys::CANARY) else { return };
        let by_weight = map.get("scale").and_then(|node| self.one_of(node, "`scale`", &["all", "weight"])) == Some(1);
        let auto = map.get("steps").is_some_and(|node| node.scalar() == Some("auto"));
        if let Some(node) = map.get("holdback") {
            self.holdback(node, auto);
        }
        if auto {
            let holdback = map.get("holdback").and_then(|node| self.weight(node)).unwrap_or(Canary::HOLDBACK);
            let mut canary = Canary::auto(holdback);
            canary.steps.iter_mut().for_each(|step| step.scale = scale(by_weight, step.weight));
            policy.strategy = Strategy::Canary(canary);
            policy.hold = Canary::HOLD;
        } else if let (Strategy::Canary(canary), Some(node)) = (&mut policy.strategy, map.get("steps"))
            && let Some(steps) = self.steps(node, replicas, by_weight)
        {
            canary.steps = steps;
        } else if let Strategy::Canary(canary) = &mut policy.strategy {
            canary.steps.iter_mut().for_each(|step| step.scale = scale(by_weight, step.weight));
        }
        if let Strategy::Canary(Canary { sticky, .. }) = &mut policy.strategy {
            *sticky = map.get("sticky").and_then(|node| self.flag(node, "`sticky`")).unwrap_or_default();
        }
        self.hold(node, &map, policy);
    }

    fn blue_green(&mut self, node: &Node, policy: &mut Policy) {
        let Some(map) = self.map(node, &keys::BLUE_GREEN) else { return };
        let preview = map.get("preview").and_then(|node| self.duration(node, "`preview`", Millis(100)));
        let host = map.get("host").and_then(|node| self.host(node));
        policy.strategy = Strategy::BlueGreen(BlueGreen { preview: preview.unwrap_or(PREVIEW), host });
        self.hold(node, &map, policy);
        if preview.unwrap_or(PREVIEW) >= policy.deadline {
            let at = map.get("preview").map_or(node.span, |node| node.span);
            let message = format!("the deadline of {} is not after the preview", policy.deadline);
            self.fail::<()>(at, codes::DEADLINE, message, "give a longer deadline, or a shorter preview");
        }
    }

    fn rolling(&mut self, node: &Node, policy: &mut Policy) {
        let Some(map) = self.map(node, &keys::ROLLING) else { return };
        let mut rolling = Rolling::default();
        if let Some(percent) = map.get("min-healthy").and_then(|node| self.percent(node, "`min-healthy`", 0, 100)) {
            rolling.min_healthy = percent;
        }
        if let Some(percent) = map.get("max").and_then(|node| self.percent(node, "`max`", 100, 1_000)) {
            rolling.max = percent;
        }
        policy.strategy = Strategy::Rolling(rolling);
        policy.hold = WAVE;
        self.hold(node, &map, policy);
    }

    fn recreate(&mut self, node: &Node, policy: &mut Policy) {
        let Some(map) = self.map(node, &keys::RECREATE) else { return };
        policy.strategy = Strategy::Recreate;
        self.hold(node, &map, policy);
    }

    /// `hold` and `deadline`, which every strategy has for each of its steps.
    fn hold(&mut self, node: &Node, map: &Map<'_>, policy: &mut Policy) {
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
                (None, _) => {
                    format!("{} is the hold where none is given: give a shorter one, or a longer deadline", policy.hold)
                }
                (_, None) => "30m is the deadline where none is given: give a longer one, or a shorter hold".to_owned(),
                _ => "both are for each step: give a longer deadline, or a shorter hold".to_owned(),
            };
            self.fail::<()>(at, codes::DEADLINE, message, hint);
        }
    }

    /// What stays with stable until the last step belongs to steps that the judge chooses.
    fn holdback(&mut self, node: &Node, auto: bool) {
        if !auto {
            let hint = "leave it out, or write `steps: auto`";
            self.fail::<()>(
                node.span,
                codes::STEPS,
                "`holdback` is for automatic steps; yours say it themselves",
                hint,
            );
        } else if let Some(weight) = self.weight(node)
            && weight.basis_points() > MOST
        {
            let message = format!("`holdback` is {weight}: the canary could not even begin");
            self.fail::<()>(node.span, codes::STEPS, message, "at most 50%, such as 10%");
        }
    }

    fn steps(&mut self, node: &Node, replicas: u32, by_weight: bool) -> Option<Vec<CanaryStep>> {
        let Value::List(list) = &node.value else {
            return self.kind(node, "`steps`", "a list or `auto`", format!("such as steps: {EXAMPLE}"));
        };
        let before = self.errors.len();
        let mut steps: Vec<CanaryStep> = Vec::new();
        for item in list {
            let Some(step) = self.step(item, by_weight) else { continue };
            if let Some(last) = steps.last() {
                if step.weight <= last.weight {
                    let message = format!("the weights do not rise: {} follows {}", step.weight, last.weight);
                    self.fail::<()>(item.span, codes::STEPS, message, "write each weight once, the smallest first");
                    break;
                }
                if step.scale.of(replicas) < last.scale.of(replicas) {
                    let (now, then) = (step.scale.of(replicas), last.scale.of(replicas));
                    let message = format!("the instances get fewer: {now} after {then}");
                    self.fail::<()>(item.span, codes::SCALE, message, "later steps have as many instances or more");
                }
            }
            if let Scale::Instances(count) = step.scale
                && count > replicas
            {
                let message = format!("{count} instances, of {replicas} replicas");
                self.fail::<()>(item.span, codes::SCALE, message, format!("at most {replicas}, or more `replicas`"));
            }
            steps.push(step);
        }
        if self.errors.len() > before {
            return None;
        }
        let last = list.last().map_or(node.span, |item| item.span);
        self.complete(node.span, last, &steps, replicas).then_some(steps)
    }

    /// Whether the steps begin below 100 % and end with all.
    fn complete(&mut self, list: Span, last: Span, steps: &[CanaryStep], replicas: u32) -> bool {
        let wrong = match steps {
            [] => Some((list, codes::STEPS, "there is no step".to_owned(), format!("such as steps: {EXAMPLE}"))),
            [.., step] if step.weight != Weight::ALL => {
                let message = format!("the last weight is {}, not 100 %", step.weight);
                Some((last, codes::STEPS, message, "end with 100%: that is the promotion".to_owned()))
            }
            [.., step] if step.scale.of(replicas) < replicas => {
                let message = "the last step has not all instances".to_owned();
                Some((last, codes::SCALE, message, "leave its `scale` out".to_owned()))
            }
            steps if !steps.iter().any(|step| Weight::NONE < step.weight && step.weight < Weight::ALL) => {
                let message = "there is no step between 0 and 100 %: nothing would be compared".to_owned();
                Some((last, codes::STEPS, message, "begin with a small weight, such as 1%".to_owned()))
            }
            _ => None,
        };
        let good = wrong.is_none();
        if let Some((at, code, message, hint)) = wrong {
            self.fail::<()>(at, code, message, hint);
        }
        good
    }

    fn step(&mut self, item: &Node, by_weight: bool) -> Option<CanaryStep> {
        let Value::Map(_) = item.value else {
            let weight = self.weight(item)?;
            return Some(CanaryStep { scale: scale(by_weight, weight), ..CanaryStep::at(weight) });
        };
        let map = self.map(item, &keys::STEP)?;
        let Some(node) = map.get("weight") else {
            return self.fail(item.span, codes::STEPS, "the step has no weight", "such as { weight: 5%, scale: 1 }");
        };
        let apart = map.contains_key("match") || map.contains_key("mirror");
        let weight = match node.scalar() {
            Some("0%") if apart => Weight::NONE,
            Some("0%") => {
                let hint = "a step of 0% has a `match` or a `mirror`";
                return self.fail(node.span, codes::STEPS, "nothing would happen at 0 %", hint);
            }
            _ => self.weight(node)?,
        };
        Some(CanaryStep {
            weight,
            scale: map.get("scale").and_then(|node| self.scale(node)).unwrap_or(scale(by_weight, weight)),
            matches: map.get("match").map(|node| self.matches(node)).unwrap_or_default(),
            mirror: map.get("mirror").and_then(|node| self.mirror(node)),
        })
    }

    fn weight(&mut self, node: &Node) -> Option<Weight> {
        let text = self.text(node, "a step")?;
        units::weight(text).map_or_else(
            |wrong| self.fail(node.span, wrong.code, format!("{} is not a weight", quote(text)), wrong.hint),
            Some,
        )
    }

    fn scale(&mut self, node: &Node) -> Option<Scale> {
        match node.scalar().filter(|text| text.ends_with('%')) {
            Some(_) => self.weight(node).map(Scale::Share),
            None => {
                let count = self.whole(node, "`scale`", 1, 100)?;
                u32::try_from(count).ok().map(Scale::Instances)
            }
        }
    }

    fn matches(&mut self, node: &Node) -> Vec<Match> {
        let Some(map) = self.map(node, &keys::MATCH) else { return Vec::new() };
        let mut matches = Vec::new();
        for (name, value) in self.pairs(&map, "header") {
            matches.push(Match::Header { name: name.to_ascii_lowercase(), value });
        }
        for (name, value) in self.pairs(&map, "cookie") {
            matches.push(Match::Cookie { name, value });
        }
        matches.extend(map.get("host").and_then(|node| self.host(node)).map(Match::Host));
        if map.is_empty() {
            let hint = "such as match: { header: { X-Canary: always } }";
            self.fail::<()>(node.span, codes::MATCH, "`match` names nothing", hint);
        }
        matches
    }

    /// Names and the values they must have; none for an empty one.
    fn pairs(&mut self, map: &Map<'_>, what: &str) -> Vec<(String, Option<String>)> {
        let Some(node) = map.get(what) else { return Vec::new() };
        let hint = format!("such as {what}: {{ X-Canary: always }}");
        let Value::Map(pairs) = &node.value else {
            self.fail::<()>(node.span, codes::MATCH, format!("`{what}` has no name and value"), hint);
            return Vec::new();
        };
        let mut found = Vec::new();
        for (key, value) in pairs {
            let name = key.scalar().unwrap_or_default();
            // RFC 9110 §5.6.2: a token, as names of headers and cookies are.
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.is_empty() || !name.bytes().all(token) {
                self.fail::<()>(key.span, codes::MATCH, format!("{} is no name of a {what}", quote(name)), &hint);
                continue;
            }
            let value = if value.is_null() { Some("") } else { self.text(value, "the value") };
            if let Some(value) = value {
                found.push((name.to_owned(), Some(value.to_owned()).filter(|value| !value.is_empty())));
            }
        }
        found
    }

    fn mirror(&mut self, node: &Node) -> Option<Mirror> {
        if !matches!(node.value, Value::Map(_)) {
            return Some(Mirror { share: self.weight(node)?, unsafe_methods: false });
        }
        let map = self.map(node, &keys::MIRROR)?;
        let share = map.get("share").map_or(Some(Weight::ALL), |node| self.weight(node))?;
        let unsafe_methods = map.get("unsafe").and_then(|node| self.flag(node, "`unsafe`")).unwrap_or_default();
        Some(Mirror { share, unsafe_methods })
    }

    /// A whole percentage from `least` to `most`.
    fn percent(&mut self, node: &Node, what: &str, least: u32, most: u32) -> Option<u32> {
        let text = self.text(node, what)?;
        let hint = format!("write a percentage from {least}% to {most}%, such as {most}%");
        match text.strip_suffix('%').and_then(|digits| digits.parse::<u32>().ok()) {
            Some(percent) if (least..=most).contains(&percent) => Some(percent),
            Some(_) => self.fail(node.span, codes::RANGE, format!("{what} is {}", quote(text)), hint),
            None => self.fail(node.span, codes::UNIT, format!("{what} is {}, no whole percentage", quote(text)), hint),
        }
    }
}

/// How many instances a step has that does not say.
const fn scale(by_weight: bool, weight: Weight) -> Scale {
    if by_weight { Scale::Share(weight) } else { Scale::All }
}
