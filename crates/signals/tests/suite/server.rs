//! What is asked of a server.

use davy_core::{EnvironmentName, Metric, MetricSource, Millis, ReleaseId, ServiceKey, ServiceName};
use davy_ports::{NoVault, Reading, Signals, Streamed, Watch};
use davy_signals::Prometheus;
use futures_util::StreamExt;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// One metric of two releases, read once a second.
pub(crate) fn watch(url: &str, token: Option<davy_core::Secret>) -> Watch {
    let metric = Metric {
        name: "checkout-failures".to_owned(),
        failures: "checkout_failures_total{release=\"$release\"}".to_owned(),
        of: "checkout_total{release=\"$release\"}".to_owned(),
    };
    Watch {
        key: ServiceKey {
            service: ServiceName::new("shop").expect("a name"),
            environment: EnvironmentName::new("production").expect("a name"),
        },
        canary: ReleaseId::new("new"),
        stable: ReleaseId::new("old"),
        source: MetricSource { prometheus: url.to_owned(), token, interval: Millis::seconds(1) },
        metrics: vec![metric],
    }
}

/// What it stands at now.
pub(crate) async fn look(url: &str) -> Result<Vec<davy_ports::Looked>, davy_ports::Error> {
    Prometheus::new(Arc::new(NoVault)).look(&watch(url, None)).await
}

/// The readings of one metric, once a second.
pub(crate) struct Readings(Streamed<'static, Reading>);

impl Readings {
    pub(crate) fn of(url: &str) -> Self {
        Self::told(url, None, Arc::new(NoVault))
    }

    pub(crate) fn told(url: &str, token: Option<davy_core::Secret>, vault: Arc<dyn davy_ports::Vault>) -> Self {
        Self(Prometheus::new(vault).readings(watch(url, token)))
    }

    pub(crate) async fn next(&mut self) -> Reading {
        let next = tokio::time::timeout(Duration::from_secs(30), self.0.next()).await;
        next.expect("a reading in time").expect("it never ends")
    }

    /// Readings until one is as it should be.
    pub(crate) async fn until(&mut self, what: &str, mut is: impl FnMut(&Reading) -> bool) -> Reading {
        let since = Instant::now();
        loop {
            let reading = self.next().await;
            if is(&reading) {
                return reading;
            }
            assert!(since.elapsed() < Duration::from_secs(60), "never {what}: {reading:?}");
        }
    }

    /// The next error's words.
    pub(crate) async fn fails(&mut self, words: &str) -> String {
        let says = |reading: &Reading| reading.span.as_ref().is_err_and(|error| error.to_string().contains(words));
        self.until(words, says).await.span.expect_err("an error").to_string()
    }
}
