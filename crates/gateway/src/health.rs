//! Active checks: an instance that does not answer is not chosen until it does again.

use crate::control::Shared;
use bytes::Bytes;
use davy_core::HealthCheck;
use http_body_util::Empty;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// The longest wait for one check.
const LIMIT: Duration = Duration::from_secs(2);
/// One failed check may be chance; so many in a row are not.
const FAILURES: u32 = 2;

/// Checks every instance at its interval, for ever.
pub(crate) async fn watch(shared: Shared) {
    let mut due: BTreeMap<SocketAddr, Instant> = BTreeMap::new();
    let failures: Arc<std::sync::Mutex<BTreeMap<SocketAddr, u32>>> = Arc::default();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        let instances = shared.instances();
        due.retain(|address, _| instances.iter().any(|(known, ..)| known == address));
        for (address, check, healthy) in instances {
            let at = due.entry(address).or_insert_with(Instant::now);
            if *at > Instant::now() {
                continue;
            }
            *at = Instant::now() + check.interval.duration().max(Duration::from_millis(100));
            let failures = failures.clone();
            tokio::spawn(async move {
                let well = tokio::time::timeout(LIMIT, answers(address, &check)).await == Ok(true);
                let mut failures = failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let row = failures.entry(address).or_insert(0);
                *row = if well { 0 } else { row.saturating_add(1) };
                judge(address, &healthy, well, *row);
                if well {
                    failures.remove(&address);
                }
            });
        }
    }
}

fn judge(address: SocketAddr, healthy: &AtomicBool, well: bool, failures: u32) {
    if well && !healthy.swap(true, Relaxed) {
        tracing::info!(%address, "the instance answers again");
    }
    if failures >= FAILURES && healthy.swap(false, Relaxed) {
        tracing::warn!(%address, "the instance does not answer its health check");
    }
}

async fn answers(address: SocketAddr, check: &HealthCheck) -> bool {
    let Ok(socket) = TcpStream::connect(address).await else { return false };
    let Some(path) = &check.path else { return true };
    let Ok((mut sender, connection)) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await else {
        return false;
    };
    let driving = tokio::spawn(connection);
    let request = Request::get(path.as_str()).header(header::HOST, address.to_string()).body(Empty::<Bytes>::new());
    let Ok(request) = request else { return false };
    let well =
        sender.send_request(request).await.is_ok_and(|response| (200..400).contains(&response.status().as_u16()));
    driving.abort();
    well
}
