//! What the gateway tells of itself in Prometheus' text format: through its control socket, and on a loopback address where
//! one is given.

use crate::{
    certificates::Certificates,
    control::Shared,
    count::{EDGES, Traffic},
    limits::Gate,
    meters::Meters,
};
use bytes::Bytes;
use davy_core::{FallbackCause, Mode, ReleaseId, ServiceKey};
use http_body_util::Full;
use hyper::{Method, Response, StatusCode, header, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    fmt::{Display, Write},
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::net::TcpListener;

/// How one service is served.
pub(crate) struct Kept {
    pub key: ServiceKey,
    pub mode: Mode,
    pub generation: u64,
    /// How long until the lease lapses.
    pub lease: Option<Duration>,
    pub traffic: Vec<(ReleaseId, Arc<Traffic>)>,
}

/// What metrics are made of, beside what the control side has.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub meters: Arc<Meters>,
    pub gate: Arc<Gate>,
    pub certificates: Option<Arc<Certificates>>,
}

/// The text under construction: each name is described once, before its first value.
#[derive(Default)]
struct Text {
    written: String,
    described: Option<&'static str>,
}

impl Text {
    fn describe(&mut self, name: &'static str, kind: &str, help: &str) {
        let _ = writeln!(self.written, "# HELP davy_gateway_{name} {help}\n# TYPE davy_gateway_{name} {kind}");
        self.described = Some(name);
    }

    /// One value of what was described last.
    fn value(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.written, "davy_gateway_{}{suffix}", self.described.unwrap_or_default());
        for (index, (name, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.written, "{}{name}=\"{value}\"", if index == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.written, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn one(&mut self, name: &'static str, kind: &str, help: &str, value: impl Display) {
        self.describe(name, kind, help);
        self.value("", &[], value);
    }
}

impl Sources {
    /// Everything as text.
    pub(crate) fn tell(&self, boot: &str, services: &[Kept]) -> String {
        let mut text = Text::default();
        text.describe("info", "gauge", "Which gateway this is.");
        text.value("", &[("version", env!("CARGO_PKG_VERSION")), ("boot", boot)], 1);
        self.own(&mut text);
        tell_services(&mut text, services);
        text.written
    }

    fn own(&self, text: &mut Text) {
        let meters = &*self.meters;
        text.one("connections_open", "gauge", "Connections of clients that are open.", self.gate.open());
        text.describe("connections_total", "counter", "Connections of clients that were accepted.");
        let (all, tls) = (meters.connections.count(), meters.connections_tls.count());
        text.value("", &[("tls", "no")], all.saturating_sub(tls));
        text.value("", &[("tls", "yes")], tls);
        text.describe("connections_refused_total", "counter", "Connections beyond a limit.");
        text.value("", &[("limit", "all")], meters.full.count());
        text.value("", &[("limit", "client")], meters.full_client.count());
        text.describe("slow_total", "counter", "Clients that were let go for being slow.");
        text.value("", &[("what", "head")], meters.slow_heads.count());
        text.value("", &[("what", "body")], meters.slow_bodies.count());
        text.value("", &[("what", "reader")], meters.slow_readers.count());
        for (name, help, meter) in [
            ("long_bodies_total", "Requests whose body was longer than allowed.", &meters.long_bodies),
            ("malformed_total", "Requests and connections that broke the protocol.", &meters.malformed),
            ("unrouted_total", "Requests that no service has.", &meters.unrouted),
            ("redirects_total", "Plain requests sent to https.", &meters.redirects),
            ("retries_total", "Requests given to another instance after one could not be reached.", &meters.retries),
            ("handshakes_failed_total", "TLS handshakes that failed.", &meters.handshakes_failed),
            ("certificates_refused_total", "Certificate files that could not be used.", &meters.certificates_refused),
            ("access_log_dropped_total", "Lines of the access log that were dropped.", &meters.log_dropped),
        ] {
            text.one(name, "counter", help, meter.count());
        }
        if let Some(certificates) = &self.certificates {
            text.describe("certificate_ends_seconds", "gauge", "When a certificate ends, since the Unix epoch.");
            let all = certificates.all();
            for certificate in &all {
                if let (Some(name), Some(ends)) = (certificate.names.first(), certificate.ends) {
                    text.value("", &[("name", name)], ends);
                }
            }
            let troubled = all.iter().filter(|certificate| certificate.trouble.is_some()).count();
            let help = "Certificates that cannot be used or had: `davy doctor` says why.";
            text.one("certificates_troubled", "gauge", help, troubled);
        }
    }
}

fn tell_services(text: &mut Text, services: &[Kept]) {
    text.describe("generation", "gauge", "The generation of the snapshot that is held.");
    for Kept { key, generation, .. } in services {
        text.value("", &labels(key), generation);
    }
    text.describe("mode", "gauge", "Whether the split is served, or the fallback and why.");
    for Kept { key, mode, .. } in services {
        let mode = match mode {
            Mode::Split => "split",
            Mode::Fallback { cause: FallbackCause::Revert, .. } => "revert",
            Mode::Fallback { cause: FallbackCause::Lapse, .. } => "lapse",
            Mode::Fallback { cause: FallbackCause::Restart, .. } => "restart",
            Mode::Fallback { cause: FallbackCause::Guard, .. } => "guard",
        };
        let [service, environment] = labels(key);
        text.value("", &[service, environment, ("mode", mode)], 1);
    }
    text.describe("lease_seconds", "gauge", "How long until the lease lapses, where there is one.");
    for Kept { key, lease, .. } in services {
        if let Some(left) = lease {
            text.value("", &labels(key), left.as_secs_f64());
        }
    }
    let releases = || services.iter().flat_map(|kept| kept.traffic.iter().map(move |(id, of)| (&kept.key, id, of)));
    text.describe("requests_total", "counter", "Requests by the class of their status; none: nobody waited for it.");
    for (key, release, traffic) in releases() {
        let [service, environment] = labels(key);
        for (class, count) in ["none", "1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(&traffic.answers) {
            let labels = [service, environment, ("release", release.as_str()), ("class", class)];
            text.value("", &labels, count.load(Relaxed));
        }
    }
    text.describe("requests_in_flight", "gauge", "Requests under way.");
    for (key, release, traffic) in releases() {
        let [service, environment] = labels(key);
        let labels = [service, environment, ("release", release.as_str())];
        text.value("", &labels, traffic.in_flight.load(Relaxed));
    }
    text.describe("request_seconds", "histogram", "From the request's head to the answer's last byte.");
    for (key, release, traffic) in releases() {
        let [service, environment] = labels(key);
        let release = ("release", release.as_str());
        let mut sum = 0;
        for (index, count) in traffic.latency.iter().enumerate() {
            sum += count.load(Relaxed);
            #[expect(clippy::cast_precision_loss, reason = "round numbers")]
            let edge = EDGES.get(index).map_or("+Inf".to_owned(), |micros| (*micros as f64 / 1e6).to_string());
            text.value("_bucket", &[service, environment, release, ("le", &edge)], sum);
        }
        #[expect(clippy::cast_precision_loss, reason = "a sum of seconds")]
        let seconds = traffic.micros.load(Relaxed) as f64 / 1e6;
        text.value("_sum", &[service, environment, release], seconds);
        text.value("_count", &[service, environment, release], sum);
    }
}

fn labels(key: &ServiceKey) -> [(&'static str, &str); 2] {
    [("service", key.service.as_str()), ("environment", key.environment.as_str())]
}

/// Answers once the address is free.
pub(crate) async fn serve_later(address: SocketAddr, shared: Shared) {
    loop {
        if let Ok(listener) = crate::listen::listen(address).and_then(TcpListener::from_std) {
            return serve(listener, shared).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Answers `GET /metrics` until another process took over.
pub(crate) async fn serve(listener: TcpListener, shared: Shared) {
    while !shared.holder().follows {
        let accepting = tokio::time::timeout(Duration::from_millis(200), listener.accept());
        let Ok(Ok((socket, _))) = accepting.await else { continue };
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
                let is_asked = request.uri().path() == "/metrics" && request.method() == Method::GET;
                let told = is_asked.then(|| shared.metrics());
                async move {
                    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                    let mut response = Response::new(Full::new(Bytes::from(told.clone().unwrap_or_default())));
                    response.headers_mut().insert(header::CONTENT_TYPE, kind);
                    if told.is_none() {
                        *response.status_mut() = StatusCode::NOT_FOUND;
                    }
                    Ok::<_, Infallible>(response)
                }
            });
            let mut serving = http1::Builder::new();
            serving.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(75));
            serving.serve_connection(TokioIo::new(socket), service).await.ok();
        });
    }
}
