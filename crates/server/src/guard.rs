//! Who asks: host names of the server only (against DNS rebinding), then the token, then what it may do.

use crate::{KnownAs, Shared, access, problem::Problem, site};
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
    known_as: KnownAs,
}

impl Guard {
    pub(crate) fn new(address: SocketAddr, known_as: KnownAs) -> Self {
        Self { address, known_as }
    }

    /// Refuses a host name that is not the server's own.
    pub(crate) fn knows(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
        if host.is_some_and(|host| self.is_ours(host)) {
            return Ok(());
        }
        let why = "this server is not known by that host name";
        let hint = "use a name of its certificate, or start it with `--behind-proxy NAME`";
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "A002", why).hint(hint))
    }

    fn admits(&self, known: &Access, headers: &HeaderMap) -> Result<Caller, Problem> {
        self.knows(headers)?;
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
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
        let ip = host.parse::<SocketAddr>().map(|address| address.ip());
        let ip = ip.or_else(|_| host.trim_matches(['[', ']']).parse::<IpAddr>());
        let name = match ip {
            Ok(ip) if ip.is_loopback() || ip == self.address.ip() => return true,
            Ok(ip) => ip.to_string(),
            Err(_) => host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned(),
        };
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip == self.address.ip())
            || (self.known_as)(&name)
    }
}

pub(crate) async fn check(State(shared): State<Shared>, mut request: Request, next: Next) -> Result<Response, Problem> {
    if !site::is_api(request.uri().path()) {
        shared.guard.knows(request.headers())?;
        return Ok(next.run(request).await);
    }
    let caller = shared.guard.admits(&shared.access, request.headers())?;
    // Without a pattern there is nothing at the address, which is told to whoever has a token.
    if let Some(matched) = request.extensions().get::<MatchedPath>().cloned() {
        access::check(&shared, &caller, request.method(), matched.as_str(), request.uri().path()).await?;
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}
