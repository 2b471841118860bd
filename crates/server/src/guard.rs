//! Who asks: host names of the server only (against DNS rebinding), then the token or the session, how often, then what it may do.

use crate::{
    KnownAs, Shared, access, limits,
    limits::Asker,
    problem::Problem,
    session::{cookie::Kept, door::Door, origin},
    site,
};
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::Response,
};
use davy_engine::{Access, Caller, Rejected};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::time::Instant;

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

/// Whose token it is; without one, whose session.
fn admits(known: &Access, door: &Door, headers: &HeaderMap) -> Result<Caller, Problem> {
    let token = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    let mut secrets = door.cookies.of(Kept::Session, headers).peekable();
    let admitted = match (token, secrets.peek()) {
        (None, Some(_)) => secrets.find_map(|secret| known.admit_session(secret).ok()).ok_or(Rejected::Ended),
        (token, _) => known.admit(token.and_then(|token| token.strip_prefix("Bearer ")).unwrap_or_default().trim()),
    };
    admitted.map_err(|rejected| {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "A001", rejected.to_string());
        problem.hint(match rejected {
            Rejected::Unknown => "give --token-file, or run `davy` as the user who ran `davy up`",
            Rejected::Ended => "sign in again; `davy sign-in` prints a code for it",
            Rejected::Expired { .. } | Rejected::Revoked { .. } => "an admin makes another with `davy token create`",
        })
    })
}

fn asks_too_often(after: Duration) -> Problem {
    let why = "you ask more often than 1,000 times a second";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "A028", why).hint("wait for as long as `retry-after` says").again(after)
}

pub(crate) async fn check(State(shared): State<Shared>, mut request: Request, next: Next) -> Result<Response, Problem> {
    shared.guard.knows(request.headers())?;
    if !site::is_api(request.uri().path()) {
        return Ok(next.run(request).await);
    }
    let (door, now) = (&shared.door, Instant::now());
    let at = limits::at(door.address(&request));
    let matched = request.extensions().get::<MatchedPath>().cloned();
    if matched.as_ref().is_some_and(|matched| access::is_open(request.method(), matched.as_str())) {
        door.askers.take(at, now).map_err(asks_too_often)?;
        request.extensions_mut().insert(at);
        return Ok(next.run(request).await);
    }
    let admitted = admits(&shared.access, door, request.headers());
    let asker = admitted.as_ref().map_or(at, |caller| Asker::Known(caller.digest()));
    door.askers.take(asker, now).map_err(asks_too_often)?;
    let caller = admitted?;
    if caller.session.is_some() && !origin::is_safe(request.method()) {
        origin::check(request.headers())?;
    }
    // Without a pattern there is nothing at the address, which is told to whoever has a token.
    if let Some(matched) = matched {
        access::check(&shared, &caller, request.method(), matched.as_str(), request.uri().path()).await?;
    }
    if let Some(session) = caller.session.as_ref().filter(|session| shared.access.is_to_be_kept(session)) {
        let (access, session) = (shared.access.clone(), session.clone());
        tokio::spawn(async move { access.keep(&session).await.ok() });
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}
