//! What a trial may ask for besides its weights: requests that belong to the canary, clients that stay with a release, and
//! copies. A service without these pays nothing for them.

use crate::{
    peer::Peer,
    sticky::{Client, Sticky},
};
use davy_core::{Match, Mirror};
use hyper::{
    HeaderMap, Method,
    header::{self, HeaderValue},
};

/// The canary of a service, and what goes to it besides its share.
#[derive(Debug)]
pub(crate) struct Aside {
    /// Which of the service's targets it is.
    pub canary: usize,
    pub matches: Vec<Match>,
    pub mirror: Option<Mirror>,
    pub sticky: Option<Sticky>,
}

/// How a request's release is found.
pub(crate) enum Asked {
    /// By weight, with a draw below 10,000.
    Draw(u16),
    /// By weight, with the draw of a client that stays.
    Client(Client),
    /// It belongs to the canary.
    Matched,
}

impl Aside {
    /// How a request's release is found, and the cookie that a client who is new here is given. `named` says that it was for the
    /// canary's own host.
    pub(crate) fn asked(
        &self,
        headers: &HeaderMap,
        named: bool,
        peer: &Peer,
        dice: &mut fastrand::Rng,
    ) -> (Asked, Option<HeaderValue>) {
        if named || self.matches.iter().any(|wanted| fits(wanted, headers)) {
            return (Asked::Matched, None);
        }
        match &self.sticky {
            None => (Asked::Draw(dice.u16(0..10_000)), None),
            Some(sticky) => {
                let known = cookies(headers).find_map(|(name, value)| sticky.read(name, value));
                let (client, cookie) = match known {
                    Some(client) => (client, None),
                    None => sticky.admit(dice.u64(..), peer),
                };
                (Asked::Client(client), cookie)
            }
        }
    }

    /// Whether a request that stable answers is copied.
    pub(crate) fn copies(&self, method: &Method, dice: &mut fastrand::Rng) -> bool {
        self.mirror.is_some_and(|mirror| {
            (mirror.unsafe_methods || method.is_safe()) && dice.u16(0..10_000) < mirror.share.basis_points()
        })
    }
}

fn fits(wanted: &Match, headers: &HeaderMap) -> bool {
    let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    match wanted {
        Match::Header { name, value } => {
            headers.get_all(name).iter().any(|found| found.to_str().is_ok_and(|found| is(value, found.trim())))
        }
        Match::Cookie { name, value } => cookies(headers).any(|(found, said)| found == name && is(value, said)),
        // Those come by a route of their own.
        Match::Host(_) => false,
    }
}

/// Names and values (RFC 6265 §4.2).
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='))
}
