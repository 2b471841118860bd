//! Where the counts come from that instances keep themselves.

use crate::{Boxed, Error, Streamed};
use davy_core::{Metric, MetricSource, ReleaseId, ServiceKey, Timestamp};
use serde::{Deserialize, Serialize};

/// Reads counters of two releases side by side.
pub trait Signals: Send + Sync {
    /// Readings of every metric, about every interval of the source, for as long as it is listened to: a reading of what was
    /// counted since the one before, or why there is none. What cannot be told apart from nonsense (a counter that began anew)
    /// is left out; a source that fails gives an error for each metric, every time.
    fn readings(&self, watch: Watch) -> Streamed<'static, Reading>;

    /// What every counter stands at now, metric by metric: for a person who wants to know whether it could be read. Where both
    /// releases are the same one, only of that.
    ///
    /// # Errors
    /// When the source cannot be asked.
    fn look<'a>(&'a self, watch: &'a Watch) -> Boxed<'a, Result<Vec<Looked>, Error>>;
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Failures.
    Failures,
    /// What they are failures of.
    Tries,
}

/// One counter, looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Of which metric, from 0.
    pub metric: u8,
    /// What it counts.
    pub of: Of,
    /// Of which release.
    pub release: ReleaseId,
    /// What the source was asked for.
    pub query: String,
    /// What there is of it; nothing where there is no series.
    pub count: Option<Count>,
    /// Why a rollout could not read it.
    pub trouble: Option<Error>,
}

/// What a counter stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// How many series there are.
    pub series: usize,
    /// What they stand at together.
    pub value: u64,
    /// When the newest sample is of.
    pub at: Timestamp,
}

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Of which service.
    pub key: ServiceKey,
    /// The release on trial.
    pub canary: ReleaseId,
    /// The release that served before.
    pub stable: ReleaseId,
    /// Where.
    pub source: MetricSource,
    /// Which counters.
    pub metrics: Vec<Metric>,
}

/// What was read of one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Which one, from 0.
    pub metric: u8,
    /// What was counted, or why that is not known.
    pub span: Result<Span, Error>,
}

/// What was counted of both releases over a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// From the reading before.
    pub from: Timestamp,
    /// To this one.
    pub to: Timestamp,
    /// The time of the oldest sample that went into it: what was counted may have happened since then.
    pub since: Timestamp,
    /// The release on trial.
    pub canary: Tries,
    /// The release that served before.
    pub stable: Tries,
}

/// Failures, and what they are failures of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Tries {
    /// How many were tried.
    pub of: u64,
    /// Of these, how many failed.
    pub failed: u64,
}

/// Where no metrics can be read: every one is blind.
#[derive(Clone, Copy, Debug)]
pub struct NoSignals;

impl Signals for NoSignals {
    fn readings(&self, watch: Watch) -> Streamed<'static, Reading> {
        let metrics = (0..u8::try_from(watch.metrics.len()).unwrap_or(u8::MAX)).collect::<Vec<_>>().into_iter();
        Box::pin(Told(metrics))
    }

    fn look<'a>(&'a self, _: &'a Watch) -> Boxed<'a, Result<Vec<Looked>, Error>> {
        Box::pin(async { Err(Error::never("read metrics", "nothing here reads metrics")) })
    }
}

/// Says once of each metric that it cannot be read, and is silent then.
struct Told(std::vec::IntoIter<u8>);

impl futures_core::Stream for Told {
    type Item = Reading;
    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Reading>> {
        match self.0.next() {
            Some(metric) => {
                let span = Err(Error::never("read a metric", "nothing here reads metrics"));
                std::task::Poll::Ready(Some(Reading { metric, span }))
            }
            None => std::task::Poll::Pending,
        }
    }
}
