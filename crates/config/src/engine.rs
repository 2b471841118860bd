//! The Docker engine of an environment.

use crate::{codes, diagnostic::quote, reader::Reader, tree::Node};
use davy_core::Place;

impl Reader {
    /// `ssh://deploy@host`: its address, as the place takes it.
    pub(crate) fn engine(&mut self, node: &Node, place: Place) -> Option<String> {
        let text = self.text(node, "`engine`")?;
        if place == Place::Local {
            let hint = "write `image`, or remove `engine`";
            return self.fail(node.span, codes::PLACE, "a process does not run on a Docker engine", hint);
        }
        match read(text) {
            Ok(address) => Some(address.to_owned()),
            Err(hint) => {
                self.fail(node.span, codes::ENGINE, format!("{} is no address of an engine", shown(text)), hint)
            }
        }
    }
}

/// What may be repeated of an address: a password is not.
fn shown(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((user, host)) if user.trim_start_matches("ssh://").contains(':') => {
            format!("an address at {}", quote(host))
        }
        _ => quote(text),
    }
}

/// An address without a slash at its end, which says nothing.
fn read(text: &str) -> Result<&str, &'static str> {
    const FORMS: &str = "write ssh://USER@HOST, tcp://HOST:2376 or unix:///PATH";
    let (scheme, rest) = text.split_once("://").ok_or(FORMS)?;
    let plain = |text: &str| !text.is_empty() && !text.starts_with('-') && text.chars().all(|c| c.is_ascii_graphic());
    if scheme == "unix" {
        return match rest.starts_with('/') && plain(rest) {
            true => Ok(text),
            false => Err("the path of the engine's socket is absolute, such as unix:///var/run/docker.sock"),
        };
    }
    let (user, address) = rest.rsplit_once('@').map_or((None, rest), |(user, address)| (Some(user), address));
    let address = address.strip_suffix('/').unwrap_or(address);
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (address, None),
    };
    if !plain(host) || host.contains(['/', '?', '#', '%']) {
        return Err(FORMS);
    }
    if port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
        return Err("the port is a number from 1 to 65535");
    }
    match (scheme, user) {
        ("ssh", Some(user)) if user.contains(':') => {
            Err("leave the password out: `davy up` logs in with the keys of its user")
        }
        ("ssh", Some(user)) if !plain(user) => Err(FORMS),
        ("ssh", _) => Ok(text.strip_suffix('/').unwrap_or(text)),
        ("tcp", Some(_)) => Err("leave the user out: by TCP, certificates say who it is"),
        ("tcp", None) => Ok(text.strip_suffix('/').unwrap_or(text)),
        _ => Err(FORMS),
    }
}
