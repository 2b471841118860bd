//! What the judge may spend and must heed, and whether the traffic of this world could ever prove it.

use crate::{
    codes,
    diagnostic::quote,
    keys,
    reader::{Map, Reader},
    selector,
    tree::{Node, Span, Value},
    units,
};
use davy_core::{
    Analysis, Budget, LatencyLimit, METRICS, Metric, Millis, Policy, Strategy, Weight,
    rollout::{Need, RequestKind, about, needs, plan, provable},
};

/// No service is busier, in requests a second.
const BUSIEST: f64 = 100_000.0;
/// Where latency is looked at, so many times stable's it may be, if nothing else is said.
const NOT_SLOWER: f64 = 1.1;
/// Percentiles that a limit can be for.
const PERCENTILES: [(&str, f64); 5] = [("p50", 50.0), ("p90", 90.0), ("p95", 95.0), ("p99", 99.0), ("p99.9", 99.9)];
/// The chances that are told of a hard budget are for a stable version that fails so often.
const HEALTHY: f64 = 0.001;

/// Where things stand that are checked once everything is read.
pub(crate) struct Spans {
    margin: Option<Span>,
    deadline: Option<Span>,
    rollout: Span,
}

impl Spans {
    pub(crate) fn of(map: &Map<'_>, rollout: Span) -> Self {
        let inside = |of: &str, key: &str| match &map.get(of)?.value {
            Value::Map(pairs) => pairs.iter().find(|(name, _)| name.scalar() == Some(key)).map(|(_, node)| node.span),
            _ => None,
        };
        Self { margin: inside("analysis", "margin"), deadline: inside("canary", "deadline"), rollout }
    }
}

impl Reader {
    pub(crate) fn analysis(&mut self, node: &Node, policy: &mut Policy) {
        let Some(map) = self.map(node, &keys::ANALYSIS) else { return };
        let analysis = &mut policy.analysis;
        if let Some(alpha) = map.get("alpha").and_then(|node| self.decimal(node, "`alpha`", 0.5)) {
            analysis.alpha = alpha;
        }
        if let Some(beta) = map.get("beta").and_then(|node| self.decimal(node, "`beta`", 0.5)) {
            analysis.beta = beta;
        }
        if let Some(margin) = map.get("margin").and_then(|node| self.share(node, "`margin`")) {
            analysis.margin = Some(margin);
        }
        if let Some(slo) = map.get("slo").and_then(|node| self.share(node, "`slo`")) {
            analysis.slo = Some(slo);
        }
        if let Some(burst) = map.get("burst").and_then(|node| self.whole(node, "`burst`", 1, 1_000)) {
            analysis.burst = u32::try_from(burst).unwrap_or(1);
        }
        if let Some(node) = map.get("harm-budget") {
            analysis.harm_budget = self.budget(node).unwrap_or(analysis.harm_budget);
        }
        if let Some(map) = map.get("error-rate").and_then(|node| self.map(node, &keys::ERROR_RATE)) {
            if let Some(node) = map.get("max") {
                analysis.max_error_rate = self.share(node, "`max`");
            }
            let relative = map.get("not-worse-than-stable").copied();
            if let Some(flag) = relative.and_then(|node| self.flag(node, "`not-worse-than-stable`")) {
                analysis.not_worse_than_stable = flag;
            }
        }
        if let Some(map) = map.get("latency").and_then(|node| self.map(node, &keys::LATENCY)) {
            self.latency(&map, analysis);
        }
        if let Some(node) = map.get("metrics") {
            policy.analysis.metrics = self.metrics(node);
            self.comparable(node, policy);
        }
        let Some(budget @ Budget::Hard(_)) = policy.analysis.harm_budget else { return };
        let at = map.get("harm-budget").map_or(node.span, |node| node.span);
        self.notes.push(at.error(
            codes::BUDGET,
            hard(budget, policy),
            "a number alone counts failures in excess of stable's",
        ));
    }

    /// `50`, `{ hard: 50 }`, `off`.
    #[expect(clippy::option_option, reason = "there may be no budget, and there may be none to read")]
    fn budget(&mut self, node: &Node) -> Option<Option<Budget>> {
        const MOST: u64 = 1_000_000_000;
        match &node.value {
            Value::Map(_) => {
                let map = self.map(node, &keys::HARD)?;
                let Some(node) = map.get("hard") else {
                    let hint = "such as harm-budget: { hard: 50 }";
                    return self.fail(node.span, codes::MISSING, "`harm-budget` names no number", hint);
                };
                Some(Some(Budget::Hard(self.whole(node, "`hard`", 1, MOST)?)))
            }
            _ if node.scalar() == Some("off") => Some(None),
            _ => {
                let budget = self.whole(node, "`harm-budget`", 1, MOST)?;
                Some(Some(Budget::Excess(budget as f64)))
            }
        }
    }

    fn latency(&mut self, map: &Map<'_>, analysis: &mut Analysis) {
        let slower = map.get("not-slower-than").and_then(|node| self.times(node));
        analysis.not_slower_than = slower.unwrap_or(Some(NOT_SLOWER));
        let mut limits = PERCENTILES.iter().filter_map(|(name, of)| map.get(name).map(|node| (*name, *of, *node)));
        let Some((name, percentile, node)) = limits.next() else { return };
        if let Some((other, _, node)) = limits.next() {
            let message = format!("there are `{name}` and `{other}`");
            let hint = "keep one: requests above one limit are counted exactly";
            self.fail::<()>(node.span, codes::LATENCY, message, hint);
            return;
        }
        if let Some(most) = self.duration(node, &format!("`{name}`"), Millis(1)) {
            analysis.latency = Some(LatencyLimit { percentile, most });
        }
    }

    /// `1.1x`, at least 1x; `off`.
    #[expect(clippy::option_option, reason = "it may be switched off, and there may be none to read")]
    fn times(&mut self, node: &Node) -> Option<Option<f64>> {
        let what = "`not-slower-than`";
        let text = self.text(node, what)?;
        if text == "off" {
            return Some(None);
        }
        match text.strip_suffix('x').and_then(units::number) {
            Some(times) if (1.0..=1_000.0).contains(&times) => Some(Some(times)),
            Some(_) => {
                let hint = "1x to 1000x: 1.1x allows a tenth more than stable's latency";
                self.fail(node.span, codes::RANGE, format!("{what} is {}", quote(text)), hint)
            }
            None => {
                let hint = "write how many times stable's latency it may be, such as 1.1x, or off";
                self.fail(node.span, codes::UNIT, format!("{what} is {}", quote(text)), hint)
            }
        }
    }

    fn metrics(&mut self, node: &Node) -> Vec<Metric> {
        let mut metrics: Vec<Metric> = Vec::new();
        let Value::List(list) = &node.value else {
            let hint = "such as metrics: [{ name: failures, prometheus: ..., of: ... }]";
            self.kind::<()>(node, "`metrics`", "a list", hint);
            return metrics;
        };
        for item in list {
            let Some(metric) = self.metric(item) else { continue };
            if metrics.iter().any(|other| other.name == metric.name) {
                let message = format!("there are two metrics called `{}`", metric.name);
                self.fail::<()>(item.span, codes::METRIC, message, "give each a name of its own");
                continue;
            }
            metrics.push(metric);
        }
        if list.len() > METRICS {
            let message = format!("there are {} metrics", list.len());
            let hint = format!("keep at most {METRICS}: each finds harm later for each that is added");
            self.fail::<()>(node.span, codes::METRIC, message, hint);
        }
        metrics
    }

    fn metric(&mut self, item: &Node) -> Option<Metric> {
        let map = self.map(item, &keys::METRIC)?;
        let mut given = |key: &str, hint: &str| match map.get(key) {
            Some(node) => self.text(node, &format!("`{key}`")).map(|text| (*node, text.to_owned())),
            None => self.fail(item.span, codes::METRIC, format!("the metric has no `{key}`"), hint),
        };
        let name = given("name", "such as name: checkout-failures");
        let failures = given("prometheus", "a counter of failures: 'failures_total{release=\"$release\"}'");
        let of = given("of", "a counter of what they are failures of: 'requests_total{release=\"$release\"}'");
        let ((named, name), (counted, failures), (tried, of)) = (name?, failures?, of?);
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 63 || !name.bytes().all(plain) {
            let hint = "1 to 63 of a-z, 0-9 and -, such as checkout-failures";
            return self.fail(named.span, codes::METRIC, format!("{} is no name of a metric", quote(&name)), hint);
        }
        let mut good = true;
        for (node, text) in [(counted, &failures), (tried, &of)] {
            if let Err((why, hint)) = selector::check(text) {
                self.fail::<()>(node.span, codes::METRIC, format!("{}: {why}", quote(text)), hint);
                good = false;
            }
        }
        good.then_some(Metric { name, failures, of })
    }

    /// Whether there is a time at which canary and stable can be compared by what they count themselves.
    fn comparable(&mut self, node: &Node, policy: &Policy) {
        if policy.analysis.metrics.is_empty() {
            return;
        }
        let wrong = match &policy.strategy {
            Strategy::BlueGreen(_) | Strategy::Recreate => {
                let message = "there is no time at which both versions serve, so that their metrics could be compared";
                Some((message, "use a canary or a rolling update, or remove the metrics"))
            }
            Strategy::Canary(canary) => canary
                .steps
                .iter()
                .any(|step| step.weight > Weight::NONE && (step.mirror.is_some() || !step.matches.is_empty()))
                .then_some((
                    "a step with a weight also matches or mirrors: the version's own counts would hold those requests, too",
                    "match and mirror in a step of 0% before it, or remove the metrics",
                )),
            Strategy::Rolling(_) => None,
        };
        if let Some((message, hint)) = wrong {
            self.fail::<()>(node.span, codes::METRIC, message, hint);
        }
    }

    /// Refuses what no traffic can prove before the deadline.
    pub(crate) fn provable(&mut self, spans: &Spans, replicas: u32, policy: &Policy) {
        let steps = plan(policy, RequestKind::Deploy, replicas, Some(replicas));
        let late = |need: &Need| need.seconds(BUSIEST) > policy.deadline.0 as f64 / 1_000.0;
        let Some(need) = needs(&policy.analysis, &steps).into_iter().find(late) else { return };
        let Need { weight, margin, requests, .. } = need;
        let message = format!(
            "a margin of {}% at {weight} needs {requests} canary requests: even at 100,000 requests/s that is {}, and the \
             deadline is {}",
            units::decimals(margin * 100.0),
            about(need.seconds(BUSIEST)),
            policy.deadline
        );
        let hint = match provable(&policy.analysis, weight, BUSIEST, policy.deadline) {
            Some(margin) => format!(
                "at least {}% can be proven by then; or give a longer deadline",
                units::decimals(margin * 100.0)
            ),
            None => "give a longer deadline, or a larger weight".to_owned(),
        };
        let at = spans.margin.or(spans.deadline).unwrap_or(spans.rollout);
        self.fail::<()>(at, codes::MARGIN, message, hint);
    }
}

/// What a hard budget costs the healthy: failures that stable would have had, too, use it up.
fn hard(budget: Budget, policy: &Policy) -> String {
    let Budget::Hard(most) = budget else { return String::new() };
    let steps = plan(policy, RequestKind::Deploy, 1, Some(1));
    let proven = needs(&policy.analysis, &steps);
    let chances = [10.0, 100.0, 1_000.0].map(|rate| {
        let requests = proven.iter().map(|need| {
            let hold = policy.hold.0 as f64 / 1_000.0;
            rate * f64::from(need.weight.basis_points()) / 10_000.0 * hold.max(need.seconds(rate))
        });
        let chance = at_least(most, requests.sum::<f64>() * HEALTHY);
        format!("{} at {rate} requests/s", percent(chance))
    });
    format!(
        "a hard budget counts failures that stable has, too: a version as good as a stable one that fails 0.1 % is rolled back \
         with a chance of {}, if each step below 100 % takes no longer than it must",
        chances.join(", ")
    )
}

/// The chance that a Poisson count of this mean is at least `most`.
fn at_least(most: u64, mean: f64) -> f64 {
    // Far above its mean nothing is left, and far below it everything is there; between, the sum is short enough.
    let spread = 12.0 * mean.sqrt() + 40.0;
    if most as f64 > mean + spread {
        return 0.0;
    }
    if (most as f64) < mean - spread {
        return 1.0;
    }
    let (mut ln, mut below) = (-mean, 0.0);
    for count in 0..most {
        below += ln.exp();
        ln += mean.ln() - ((count + 1) as f64).ln();
    }
    (1.0 - below).clamp(0.0, 1.0)
}

fn percent(chance: f64) -> String {
    match chance * 100.0 {
        none if none < 0.01 => "less than 0.01 %".to_owned(),
        all if all > 99.9 => "more than 99.9 %".to_owned(),
        some if some < 1.0 => format!("{some:.2} %"),
        some => format!("{some:.0} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::{at_least, percent};

    #[test]
    fn chances_of_a_count() {
        assert!((at_least(1, 1.0) - 0.632_120_56).abs() < 1e-8);
        assert!((at_least(50, 48.6) - 0.4393).abs() < 0.01);
        assert_eq!((at_least(1_000_000_000, 5.0), at_least(1, 1e9)), (0.0, 1.0));
        assert_eq!(percent(0.0), "less than 0.01 %");
    }
}
