//! Health checks: one HTTP request, or a connection where no path is known, no more often than the check says.

use davy_core::{Health, HealthCheck, Timestamp};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// Between two checks of an instance that is not healthy.
const EAGER: Duration = Duration::from_millis(100);
/// How many checks in a row have to fail before a healthy instance is not.
const FAILURES: u32 = 2;
/// How long an observation waits for a check that is under way before it tells what was known.
const PATIENCE: Duration = Duration::from_millis(150);

/// What is known about the health of one instance.
#[derive(Default)]
pub struct Probe {
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// The process it is known of: another one starts anew.
    process: Option<(u32, Timestamp)>,
    was_healthy: bool,
    failures: u32,
    last: Option<(Instant, Result<(), String>)>,
    under_way: bool,
}

impl Probe {
    /// The health of a running process, named by its restarts and its beginning; asks it when a check is due.
    pub async fn health(&self, process: (u32, Timestamp), address: SocketAddr, check: &HealthCheck) -> Health {
        let timeout = check.interval.duration().clamp(Duration::from_secs(1), Duration::from_secs(5));
        let (due, stale) = {
            let mut known = lock(&self.known);
            if known.process != Some(process) {
                *known = Known { process: Some(process), ..Known::default() };
            }
            let interval = match known.last {
                Some((_, Ok(()))) => check.interval.duration(),
                _ => EAGER.min(check.interval.duration()),
            };
            let age = known.last.as_ref().map(|(at, _)| at.elapsed());
            let due = !known.under_way && age.is_none_or(|age| age >= interval);
            known.under_way |= due;
            (due, age.is_none_or(|age| age > 3 * check.interval.duration().max(timeout)))
        };
        if due {
            let (known, path) = (Arc::clone(&self.known), check.path.clone());
            let asking = tokio::spawn(async move {
                let result = tokio::time::timeout(timeout, ask(address, path.as_deref())).await;
                let result = result.unwrap_or_else(|_| Err(format!("no answer within {} ms", timeout.as_millis())));
                lock(&known).learn(process, result);
            });
            // What is known is too old to be told: wait for the answer itself.
            let patience = if stale { timeout + PATIENCE } else { PATIENCE };
            let _ = tokio::time::timeout(patience, asking).await;
        }
        lock(&self.known).health()
    }
}

impl Known {
    fn learn(&mut self, process: (u32, Timestamp), result: Result<(), String>) {
        if self.process != Some(process) {
            return;
        }
        self.under_way = false;
        self.was_healthy |= result.is_ok();
        self.failures = if result.is_ok() { 0 } else { self.failures.saturating_add(1) };
        self.last = Some((Instant::now(), result));
    }

    fn health(&self) -> Health {
        match &self.last {
            None => Health::Starting { why: "it has not been asked yet".to_owned() },
            Some((_, Ok(()))) => Health::Healthy,
            Some((_, Err(why))) if !self.was_healthy => Health::Starting { why: why.clone() },
            Some((_, Err(_))) if self.failures < FAILURES => Health::Healthy,
            Some((_, Err(why))) => Health::Unhealthy { why: why.clone() },
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn ask(address: SocketAddr, path: Option<&str>) -> Result<(), String> {
    let Some(path) = path else { return connect(address).await.map(|_| ()) };
    let Asked { status, .. } = request(address, path).await?;
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!("GET {path} on {address}: {status}"))
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| format!("connect to {address}: {error}"))
}

/// What a health check was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// 200 to 399 is healthy.
    pub status: StatusCode,
    /// Where it redirects to, if it does. Nobody follows.
    pub location: Option<String>,
}

/// One health check, as an instance is asked.
///
/// # Errors
/// What was tried, and why there is no answer.
pub async fn request(address: SocketAddr, path: &str) -> Result<Asked, String> {
    let stream = connect(address).await?;
    let failed = |error: hyper::Error| format!("GET {path} on {address}: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, "davy-health")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| format!("GET {path}: {error}"))?;
    // The connection needs somebody to drive it; it ends with the answer, or with this check.
    let _connection = AbortOnDrop(tokio::spawn(async move {
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = response.status();
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    // Read to its end, within reason, so that the service does not log a broken pipe.
    let _ = http_body_util::Limited::new(response.into_body(), 64 * 1024).collect().await;
    Ok(Asked { status, location })
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
