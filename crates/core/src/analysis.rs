//! What the judge may spend and must heed: what `analysis:` in the file says.

use crate::{InstanceId, Millis, Secret};
pub use davy_judge::Budget;
use davy_judge::Verdict;
use serde::{Deserialize, Serialize};

/// The most metrics that a rollout may have besides errors and latency.
pub const METRICS: usize = 8;
/// An SLO is burnt this many times too fast when its month's budget would be gone in two days: the SRE Workbook's page.
const BURN: f64 = 14.4;
/// A limit above this is none.
const HARDLY_A_LIMIT: f64 = 0.9;

/// The judge's settings. What a rollout of an earlier version did not say stays absent: it is judged again as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Analysis {
    /// The chance of rolling a healthy canary back, at most, over the whole rollout.
    pub alpha: f64,
    /// The chance of passing a step with a canary worse by its margin, at most.
    pub beta: f64,
    /// The canary's failure rate is not to exceed this; a fraction of requests.
    pub max_error_rate: Option<f64>,
    /// Whether the canary is compared with stable.
    pub not_worse_than_stable: bool,
    /// The share of requests that is promised to succeed; a fraction. It limits the failure rate, too.
    #[serde(default)]
    pub slo: Option<f64>,
    /// The margin of every step, a difference of failure rates; without one, the weight says.
    #[serde(default)]
    pub margin: Option<f64>,
    /// How many failures in excess of stable's a rollout may cost.
    #[serde(default)]
    pub harm_budget: Option<Budget>,
    /// An absolute limit of the canary's latency.
    #[serde(default)]
    pub latency: Option<LatencyLimit>,
    /// How many times stable's latency the canary's may be, at least 1.
    #[serde(default)]
    pub not_slower_than: Option<f64>,
    /// How many requests one cause fails together.
    #[serde(default = "one")]
    pub burst: u32,
    /// Counts of the service's own, compared with stable's.
    #[serde(default)]
    pub metrics: Vec<Metric>,
    /// Where these are read.
    #[serde(default)]
    pub source: Option<MetricSource>,
}

const fn one() -> u32 {
    1
}

/// So many of the canary's requests may take longer than this, and no more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LatencyLimit {
    /// The percentile as it was written: 50, 90, 95, 99 or 99.9.
    pub percentile: f64,
    /// What it is not to exceed.
    pub most: Millis,
}

impl LatencyLimit {
    /// The share of requests that may be slower, as a fraction.
    #[must_use]
    pub fn share(&self) -> f64 {
        // Of tenths of a percent, so that 99.9 gives 0.001 and not what binary fractions make of it.
        (1_000.0 - self.percentile * 10.0).round() / 1_000.0
    }
}

/// A count of failures of a count of trials, both counters of the service's own instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = MetricNamed))]
pub struct Metric {
    /// Its name, a-z, 0-9 and -.
    pub name: String,
    /// The failures: a selector of counters, with `$release` in it.
    pub failures: String,
    /// What they are failures of: a selector of counters, with `$release` in it.
    pub of: String,
}

/// Where metrics are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MetricSource {
    /// The address of a Prometheus server: `http://HOST:PORT`, perhaps with a path.
    pub prometheus: String,
    /// The secret whose value is its bearer token.
    pub token: Option<Secret>,
    /// The time between two readings.
    pub interval: Millis,
}

impl Default for Analysis {
    /// α 1 %, β 5 %, compared with stable in errors, 50 excess failures; no limits, no metrics.
    fn default() -> Self {
        Self {
            alpha: 0.01,
            beta: 0.05,
            max_error_rate: None,
            not_worse_than_stable: true,
            slo: None,
            margin: None,
            harm_budget: Some(Budget::Excess(50.0)),
            latency: None,
            not_slower_than: None,
            burst: 1,
            metrics: Vec::new(),
            source: None,
        }
    }
}

impl Analysis {
    /// The limit of the canary's failure rate: the one given, and that of the SLO, whichever is lower.
    #[must_use]
    pub fn limit(&self) -> Option<f64> {
        let burnt = self.slo.map(|slo| BURN * (1.0 - slo)).filter(|limit| *limit < HARDLY_A_LIMIT);
        self.max_error_rate.into_iter().chain(burnt).reduce(f64::min)
    }

    /// What the judge is told; whether clients stay with a version is not in here.
    #[must_use]
    pub fn judge(&self) -> davy_judge::Policy {
        davy_judge::Policy {
            alpha: self.alpha,
            beta: self.beta,
            max_error_rate: self.limit(),
            margin: self.margin,
            relative: self.not_worse_than_stable,
            not_slower_than: self.not_slower_than,
            max_slow: self.latency.as_ref().map(LatencyLimit::share),
            metrics: u8::try_from(self.metrics.len()).unwrap_or(u8::MAX),
            budget: self.harm_budget,
            cluster: f64::from(self.burst),
            ..davy_judge::Policy::default()
        }
    }

    /// The judge's words with the names of metrics in them: it knows their numbers only, from 1.
    #[must_use]
    pub fn named(&self, words: &str) -> String {
        const WORD: &str = "metric ";
        let mut out = String::with_capacity(words.len());
        let mut rest = words;
        while let Some(at) = rest.find(WORD) {
            let (before, after) = rest.split_at(at + WORD.len());
            let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let number = after[..digits].parse::<usize>().ok();
            let metric = number.and_then(|number| self.metrics.get(number.checked_sub(1)?));
            out.push_str(before);
            out.push_str(metric.map_or(&after[..digits], |metric| &metric.name));
            rest = &after[digits..];
        }
        out + rest
    }

    /// A verdict's words with the names of metrics and of the one instance in them, if it is among these. The verdict itself is
    /// left as it was computed.
    #[must_use]
    pub fn told<'a>(&self, verdict: &Verdict, instances: impl IntoIterator<Item = &'a InstanceId>) -> String {
        let words = self.named(&verdict.because);
        let single = verdict.evidence.single_instance;
        let found = instances.into_iter().find(|instance| Some(instance.number()) == single);
        match (single, found) {
            (Some(number), Some(instance)) => words.replace(&format!("{number:016x}"), instance.as_str()),
            _ => words,
        }
    }

    /// Above so many milliseconds a request is slow, where there is such a limit.
    #[must_use]
    pub fn slow_over(&self) -> Option<Millis> {
        self.latency.map(|limit| limit.most)
    }
}

#[cfg(test)]
mod tests {
    use super::{Analysis, Metric};
    use crate::InstanceId;

    #[test]
    fn metrics_are_called_by_their_names() {
        let metric = |name: &str| Metric { name: name.to_owned(), failures: String::new(), of: String::new() };
        let analysis = Analysis { metrics: vec![metric("orders"), metric("metric-1")], ..Analysis::default() };
        let told = analysis.named("metric 1 and metric 2, not metric 3 or metric 12; a metric of its own, metric 1");
        assert_eq!(
            told,
            "metric orders and metric metric-1, not metric 3 or metric 12; a metric of its own, metric orders"
        );
    }

    #[test]
    fn the_one_instance_is_called_by_its_name_and_the_verdict_stays() {
        let judge = davy_judge::Judge::new(davy_judge::Policy::default()).expect("a policy");
        let (one, other) = (InstanceId::new("logo-2"), InstanceId::new("logo-1"));
        let mut verdict = judge.verdict();
        verdict.evidence.single_instance = Some(one.number());
        verdict.because = format!("One instance: without {:016x} there would be none.", one.number());
        let analysis = Analysis::default();
        assert_eq!(analysis.told(&verdict, [&other, &one]), "One instance: without logo-2 there would be none.");
        assert_eq!(
            analysis.told(&verdict, [&other]),
            verdict.because,
            "one that nobody knows any more keeps its number"
        );
    }

    #[test]
    fn an_analysis_of_an_earlier_version_stays_what_it_was() {
        let old = r#"{"alpha":0.01,"beta":0.05,"max_error_rate":null,"not_worse_than_stable":true}"#;
        let read: Analysis = serde_json::from_str(old).expect("it is read");
        let judge = read.judge();
        assert_eq!((judge.budget, judge.not_slower_than, judge.max_slow), (None, None, None));
        assert_eq!((judge.metrics, judge.cluster.to_bits()), (0, 1.0_f64.to_bits()));
    }
}
