//! Readings of a Prometheus server: every interval, four queries for each metric, on one connection.

use crate::{
    answer::{self, Series},
    counter::{ALL, Counter, Of},
    http::{Server, Session, trusted},
};
use davy_core::{Metric, Millis, Timestamp};
use davy_ports::{Boxed, Count, Error, Looked, Reading, Retry, SecretValue, Signals, Span, Streamed, Vault, Watch};
use futures_util::stream;
use rustls::ClientConfig;
use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::SystemTime,
};
use tokio::time::{Interval, MissedTickBehavior};

/// Samples are asked for so far back at least: two and a half scrapes a minute apart.
const RANGE: Millis = Millis::seconds(150);

/// Reads counters from Prometheus servers.
#[derive(Clone)]
pub struct Prometheus {
    vault: Arc<dyn Vault>,
    tls: Arc<OnceLock<Result<Arc<ClientConfig>, String>>>,
}

impl Prometheus {
    /// Bearer tokens come from the vault.
    #[must_use]
    pub fn new(vault: Arc<dyn Vault>) -> Self {
        Self { vault, tls: Arc::default() }
    }

    async fn open(&self, watch: &Watch) -> Result<(Session, Option<SecretValue>), Error> {
        let address = &watch.source.prometheus;
        let tried = || format!("ask the metrics' server {address}");
        let server = Server::new(address).ok_or_else(|| Error::never(tried(), "it is no address of a server"))?;
        let tls = match address.starts_with("https://") {
            false => None,
            true => Some(self.tls.get_or_init(trusted).clone().map_err(|why| Error::later(tried(), why))?),
        };
        let token = match &watch.source.token {
            None => None,
            Some(token) => self.vault.open(std::slice::from_ref(token)).await?.pop(),
        };
        Ok((Session::open(&server, tls).await?, token))
    }
}

impl Signals for Prometheus {
    fn readings(&self, watch: Watch) -> Streamed<'static, Reading> {
        let mut tick = tokio::time::interval(watch.source.interval.duration());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let interval = watch.source.interval;
        let range = range(&watch);
        let counters = watch.metrics.iter().map(|_| Counter::new(interval, range)).collect();
        let reader = Reader { source: self.clone(), watch, tick, counters, ready: VecDeque::new() };
        Box::pin(stream::unfold(reader, |mut reader| async move {
            let reading = reader.next().await;
            Some((reading, reader))
        }))
    }

    fn look<'a>(&'a self, watch: &'a Watch) -> Boxed<'a, Result<Vec<Looked>, Error>> {
        Box::pin(self.looked(watch))
    }
}

/// How far back samples are asked for.
fn range(watch: &Watch) -> Millis {
    Millis(RANGE.0.max(watch.source.interval.0 * 3))
}

impl Prometheus {
    async fn looked(&self, watch: &Watch) -> Result<Vec<Looked>, Error> {
        let (now, range) = (wall_clock(), range(watch));
        let (mut session, token) = self.open(watch).await?;
        let (counter, mut all) = (Counter::new(watch.source.interval, range), Vec::new());
        for index in 0..watch.metrics.len() {
            // Of one release there is one of each.
            for of in ALL.into_iter().filter(|of| !of.is_canary() || watch.canary != watch.stable) {
                let tried = || tried(watch, index, Some(of));
                let read = series(&mut session, token.as_ref(), (watch, index, of), now).await;
                let (count, trouble) = match read {
                    Err(failed @ Error { retry: Retry::Later, .. }) => return Err(failed),
                    Err(wrong) => (None, Some(wrong.hint("see what the server says to this query"))),
                    Ok(series) => {
                        let lacks = counter.lacks(&series, now).map(|why| {
                            let hint = "does the service count it under this name with the label of its release, and is it scraped?";
                            Error::never(tried(), why).hint(hint)
                        });
                        (count(&series), lacks)
                    }
                };
                all.push(Looked {
                    metric: u8::try_from(index).unwrap_or(u8::MAX),
                    of: if of.are_failures() { davy_ports::Of::Failures } else { davy_ports::Of::Tries },
                    release: if of.is_canary() { watch.canary.clone() } else { watch.stable.clone() },
                    query: selector(watch, index, of),
                    count,
                    trouble,
                });
            }
        }
        Ok(all)
    }
}

/// What some series stand at together.
fn count(series: &[Series]) -> Option<Count> {
    let last = || series.iter().filter_map(|series| series.samples.last());
    let at = last().map(|(at, _)| *at).max()?;
    Some(Count { series: series.len(), value: last().map(|(_, value)| value).sum(), at })
}

/// The samples of one counter.
///
/// # Errors
/// With [`Retry::Later`] if the server failed, else if its answer makes no sense.
async fn series(
    session: &mut Session,
    token: Option<&SecretValue>,
    (watch, index, of): (&Watch, usize, Of),
    now: Timestamp,
) -> Result<Vec<Series>, Error> {
    let query = format!("{}[{}ms]", selector(watch, index, of), range(watch).0);
    let at = format!("{}.{:03}", now.0 / 1000, now.0 % 1000);
    let body = session.get(&format!("/api/v1/query?query={}&time={at}", encoded(&query)), token).await?;
    answer::read(&body).map_err(|why| Error::never(tried(watch, index, Some(of)), why))
}

fn tried(watch: &Watch, index: usize, of: Option<Of>) -> String {
    let Metric { name, .. } = &watch.metrics[index];
    match of {
        None => format!("read the metric {name}"),
        Some(of) => {
            let version = if of.is_canary() { "the new version" } else { "stable" };
            format!("read the metric {name}, {} of {version}", selector(watch, index, of))
        }
    }
}

/// A selector with its placeholders replaced. The values are made of a-z, 0-9 and -: they need no escape in a label's
/// value, nor in a regular expression.
fn selector(watch: &Watch, index: usize, of: Of) -> String {
    let Watch { key, canary, stable, metrics, .. } = watch;
    let Metric { failures, of: tries, .. } = &metrics[index];
    let text = if of.are_failures() { failures } else { tries };
    text.replace("$release", if of.is_canary() { canary.as_str() } else { stable.as_str() })
        .replace("$service", key.service.as_str())
        .replace("$environment", key.environment.as_str())
}

struct Reader {
    source: Prometheus,
    watch: Watch,
    tick: Interval,
    counters: Vec<Counter>,
    ready: VecDeque<Reading>,
}

impl Reader {
    async fn next(&mut self) -> Reading {
        loop {
            if let Some(reading) = self.ready.pop_front() {
                return reading;
            }
            self.tick.tick().await;
            self.read().await;
        }
    }

    /// Reads every metric once. What one connection or answer lacks is not asked for again before the next time: a server
    /// that hangs costs one wait, not one for each query.
    async fn read(&mut self) {
        let now = wall_clock();
        let mut session = self.source.open(&self.watch).await;
        for index in 0..self.watch.metrics.len() {
            let metric = u8::try_from(index).unwrap_or(u8::MAX);
            let read = match &mut session {
                Err(error) => Err(error.clone()),
                Ok((session, token)) => self.samples(session, token.as_ref(), index, now).await,
            };
            if let Err(failed @ Error { retry: Retry::Later, .. }) = &read
                && session.is_ok()
            {
                session = Err(failed.clone());
            }
            let span = read.and_then(|samples| self.count(index, &samples, now));
            if let Some(span) = span.transpose() {
                self.ready.push_back(Reading { metric, span });
            }
        }
    }

    /// The samples of the four counters of a metric.
    ///
    /// # Errors
    /// With [`Retry::Later`] if the server failed, else if its answer makes no sense.
    async fn samples(
        &self,
        session: &mut Session,
        token: Option<&SecretValue>,
        index: usize,
        now: Timestamp,
    ) -> Result<[Vec<Series>; 4], Error> {
        let mut all: [Vec<Series>; 4] = Default::default();
        for (of, into) in ALL.iter().zip(&mut all) {
            *into = series(session, token, (&self.watch, index, *of), now).await?;
        }
        Ok(all)
    }

    fn count(&mut self, index: usize, samples: &[Vec<Series>; 4], now: Timestamp) -> Result<Option<Span>, Error> {
        let counted = self.counters[index].take(samples, now);
        counted.map_err(|(of, why)| Error::never(tried(&self.watch, index, of), why))
    }
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A part of a query (RFC 3986): what is not unreserved is written in hexadecimal.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
