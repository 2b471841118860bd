//! What is known at the door: how the page is reached, who asks how often, and how many wrong tries there were.

use super::cookie::Cookies;
use crate::{
    Reached,
    limits::{Asker, Limit},
    listen::Peer,
    problem::Problem,
};
use axum::{extract::Request, http::StatusCode};
use davy_identity::Identity;
use std::net::{IpAddr, Ipv4Addr};
use tokio::time::Instant;

/// So many requests of one asker at once, and so many a second: a page that is reloaded by hand or a script that waits is far below.
const ASKED: (f64, f64) = (2_000.0, 1_000.0);
/// Wrong codes and tokens from one address: five, and then one every twelve seconds.
const TRIES: (f64, f64) = (5.0, 5.0 / 60.0);
/// Wrong ones from all addresses together. In the ten minutes of a code these are some 600 of 2^40.
const ALL_TRIES: (f64, f64) = (50.0, 50.0 / 60.0);

pub(crate) struct Door {
    pub(crate) reached: Reached,
    pub(crate) cookies: Cookies,
    /// Who vouches for people.
    pub(crate) identity: Option<Identity>,
    pub(crate) askers: Limit<Asker>,
    tries: Limit<Asker>,
    all_tries: Limit<()>,
}

impl Door {
    pub(crate) fn new(reached: Reached, identity: Option<Identity>, mark: String) -> Self {
        let cookies = Cookies::new(reached.url.starts_with("https://"), mark);
        Self {
            reached,
            cookies,
            identity,
            askers: Limit::new(ASKED.0, ASKED.1),
            tries: Limit::new(TRIES.0, TRIES.1),
            all_tries: Limit::new(ALL_TRIES.0, ALL_TRIES.1),
        }
    }

    /// Where a request comes from. Behind a proxy, as the proxy says, which writes last what it has seen itself; whoever reaches the
    /// server past it may say what they like, and is held by what all may try together.
    pub(crate) fn address(&self, request: &Request) -> IpAddr {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
        let told = || {
            let lines = request.headers().get_all("x-forwarded-for");
            let last = lines.iter().next_back()?.to_str().ok()?.rsplit(',').next()?.trim();
            last.parse().ok()
        };
        let told = if self.reached.proxied { told() } else { None };
        told.or(peer).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// Whether somebody may try to sign in now. Right tries are refused, too, once there were too many wrong ones.
    pub(crate) fn may_try(&self, asker: Asker) -> Result<(), Problem> {
        let now = Instant::now();
        self.tries.allows(&asker, now).and(self.all_tries.allows(&(), now)).map_err(|after| {
            let why = "there were too many wrong tries to sign in";
            let hint = "wait for as long as `retry-after` says; tokens of programs go on";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "A026", why).hint(hint).again(after)
        })
    }

    /// Somebody tried in vain.
    pub(crate) fn tried(&self, asker: Asker) {
        let now = Instant::now();
        self.tries.take(asker, now).ok();
        self.all_tries.take((), now).ok();
    }
}
