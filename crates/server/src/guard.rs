//! Who asks: host names of this machine only (against DNS rebinding), then the token, then what it may do.

use crate::{Shared, access, problem::Problem};
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::Response,
};
use davy_engine::{Access, Caller, Rejected};
use std::net::{IpAddr, SocketAddr};

pub(crate) struct Guard {
    address: SocketAddr,
}

impl Guard {
    pub(crate) const fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    fn admits(&self, known: &Access, headers: &HeaderMap) -> Result<Caller, Problem> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if !header(header::HOST).is_some_and(|host| self.is_ours(host)) {
            let why = "this server is not known by that host name";
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "A002", why));
        }
        let token = header(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        known.admit(token.unwrap_or_default().trim()).map_err(|rejected| {
            let problem = Problem::new(StatusCode::UNAUTHORIZED, "A001", rejected.to_string());
            problem.hint(match rejected {
                Rejected::Unknown => "give --token-file, or run `davy` as the user who ran `davy up`",
                _ => "an admin makes another with `davy token create`",
            })
        })
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = match host.parse::<SocketAddr>() {
            Ok(address) => return address.ip().is_loopback() || address.ip() == self.address.ip(),
            Err(_) => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let ip = name.trim_matches(['[', ']']).parse::<IpAddr>();
        name.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback() || ip == self.address.ip())
    }
}

pub(crate) async fn check(State(shared): State<Shared>, mut request: Request, next: Next) -> Result<Response, Problem> {
    let caller = shared.guard.admits(&shared.access, request.headers())?;
    // Without a pattern there is nothing at the address, which is told to whoever has a token.
    if let Some(matched) = request.extensions().get::<MatchedPath>().cloned() {
        access::check(&shared, &caller, request.method(), matched.as_str(), request.uri().path()).await?;
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}
