//! Counts: where they come from, that they are stored before a step may rest on them, and that harm is acted on at once.

use super::{BACKLOG, Beside, Reconciler, turns::ROUTE, write};
use crate::{clock::now, evidence::Collector, store::BatchesDigest};
use davy_core::{
    ServiceKey, Window,
    rollout::{RequestKind, Rollout},
};
use davy_judge::Kind;
use davy_ports::{Batch, Error, Reading, Streamed, Watch};
use futures_util::StreamExt;

impl Reconciler {
    /// Takes up the evidence of the rollout under way where what is stored of it ends.
    pub(super) fn recall(&mut self) {
        self.forget_counts();
        let Some(rollout) = self.state.rollout_id().cloned() else { return };
        let recalled = write::recall(self.ports.journal.clone(), rollout.clone(), self.unkept.clone());
        self.recalling = Some((rollout, Beside::begin(recalled)));
    }

    pub(super) fn recalled(&mut self, batches: &[Batch]) {
        let recalled = self.recalling.take().map(|(rollout, _)| rollout);
        if recalled.as_ref() == self.state.rollout_id() {
            self.listen(batches);
        }
    }

    /// Begins to gather counts for the rollout under way, after what is stored of it.
    pub(super) fn listen(&mut self, stored: &[Batch]) {
        self.forget_counts();
        let Some(rollout) = &self.state.rollout else { return };
        let mut collector = Collector::new(rollout);
        self.digest = BatchesDigest::new();
        collector.recover(stored);
        stored.iter().for_each(|batch| self.digest.add(batch));
        self.readings = watch(&self.key, rollout).map(|watch| self.ports.signals.readings(watch));
        if rollout.promoted {
            collector.close();
            self.readings = None;
        }
        self.windows = Some(self.ports.telemetry.windows(&self.key, collector.cursor()));
        self.collector = Some(Box::new(collector));
        self.listening_since = now();
    }

    pub(super) fn forget_counts(&mut self) {
        (self.collector, self.windows, self.readings, self.recalling, self.harmed) = (None, None, None, None, None);
    }

    /// Takes a window. If it shows harm, traffic goes back before anything else.
    pub(super) async fn window(&mut self, window: Result<Window, Error>) {
        if self.unstored.len() >= BACKLOG {
            // What could never be stored is not judged: it is missing, and the judge is blind.
            return;
        }
        let (Some(collector), Ok(window)) = (&mut self.collector, window) else { return };
        let closed = collector.take(window, now());
        let Some(rollout) = self.state.rollout.as_ref().filter(|rollout| !rollout.promoted) else { return };
        if closed.is_empty() {
            return;
        }
        let forward = rollout.is_forward();
        for batch in closed {
            collector.feed(&batch);
            self.unstored.push_back(batch);
        }
        self.store();
        if forward && collector_is_harmful(self.collector.as_deref()) {
            // The one exception: traffic first, the journal after.
            self.harmed.get_or_insert_with(now);
            tokio::time::timeout(ROUTE, self.ports.router.revert(&self.key)).await.ok();
            self.look().await;
        }
    }

    /// Begins to store the next batch.
    pub(super) fn store(&mut self) {
        if self.storing.is_none()
            && let Some(batch) = self.unstored.front()
        {
            let storing = write::store(self.ports.journal.clone(), batch.clone(), self.unkept.clone());
            self.storing = Some(Beside::begin(storing));
        }
    }

    /// The first batch is stored: a verdict may rest on it.
    pub(super) async fn stored(&mut self) {
        self.storing = None;
        if let Some(batch) = self.unstored.pop_front()
            && Some(&batch.rollout) == self.state.rollout_id()
        {
            self.digest.add(&batch);
        }
        self.store();
        if self.unstored.is_empty() {
            self.look().await;
        }
    }

    /// Stores the rest of the evidence: what comes later is counted and shown, not kept.
    pub(super) fn end_evidence(&mut self) {
        if let Some(collector) = &mut self.collector {
            self.unstored.extend(collector.close());
        }
        self.readings = None;
        self.store();
    }
}

fn collector_is_harmful(collector: Option<&Collector>) -> bool {
    collector.and_then(Collector::verdict).is_some_and(|verdict| verdict.kind == Kind::Harmful)
}

pub(super) async fn next(windows: &mut Option<Streamed<'static, Result<Window, Error>>>) -> Result<Window, Error> {
    match windows {
        Some(stream) => match stream.next().await {
            Some(window) => window,
            None => {
                *windows = None;
                Err(Error::later("read counts", "the source ended"))
            }
        },
        None => std::future::pending().await,
    }
}

pub(super) async fn read(readings: &mut Option<Streamed<'static, Reading>>) -> Reading {
    if let Some(stream) = readings
        && let Some(reading) = stream.next().await
    {
        return reading;
    }
    std::future::pending().await
}

/// The counters to read during a rollout; none where there is nothing to compare.
fn watch(key: &ServiceKey, rollout: &Rollout) -> Option<Watch> {
    let (analysis, stable) = (&rollout.request.policy.analysis, rollout.from.as_ref()?);
    let source = analysis.source.clone().filter(|_| rollout.request.kind == RequestKind::Deploy)?;
    let (canary, stable, metrics) = (rollout.request.release.id.clone(), stable.id.clone(), analysis.metrics.clone());
    (!metrics.is_empty()).then(|| Watch { key: key.clone(), canary, stable, source, metrics })
}
