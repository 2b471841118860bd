//! Who may ask: the token, compared by digest, and host names of this machine only (against DNS rebinding).

use crate::{Shared, problem::Problem};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::Response,
};
use sha2::{Digest, Sha256};
use std::net::{IpAddr, SocketAddr};

pub(crate) struct Guard {
    token: [u8; 32],
    address: SocketAddr,
}

impl Guard {
    pub(crate) fn new(token: &str, address: SocketAddr) -> Self {
        Self { token: Sha256::digest(token.as_bytes()).into(), address }
    }

    fn knows(&self, token: &str) -> bool {
        // Digests are compared, so the time says nothing about the token.
        <[u8; 32]>::from(Sha256::digest(token.as_bytes())) == self.token
    }

    fn admits(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if !header(header::HOST).is_some_and(|host| self.is_ours(host)) {
            let why = "this server is not known by that host name";
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "A002", why));
        }
        let token = header(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        if !token.is_some_and(|token| self.knows(token.trim())) {
            let problem =
                Problem::new(StatusCode::UNAUTHORIZED, "A001", "the token is missing or is not this server's");
            return Err(problem.hint("give --token-file, or run `davy` as the user who ran `davy up`"));
        }
        Ok(())
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

pub(crate) async fn check(State(shared): State<Shared>, request: Request, next: Next) -> Result<Response, Problem> {
    shared.guard.admits(request.headers())?;
    Ok(next.run(request).await)
}
