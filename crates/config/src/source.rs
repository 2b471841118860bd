//! Where an environment's metrics are read.

use crate::{codes, diagnostic::quote, keys, reader::Reader, tree::Node};
use davy_core::{Given, MetricSource, Millis, Secret, SecretName};
use std::net::IpAddr;

/// The time between two readings.
const INTERVAL: Millis = Millis::seconds(5);

impl Reader {
    /// `{ prometheus: ADDRESS, token: SECRET, interval: 5s }`.
    pub(crate) fn source(&mut self, node: &Node) -> Option<MetricSource> {
        let map = self.map(node, &keys::SOURCE)?;
        let Some(named) = map.get("prometheus") else {
            let hint = "such as metrics: { prometheus: \"http://127.0.0.1:9090\" }";
            return self.fail(node.span, codes::SOURCE, "`metrics` names no server", hint);
        };
        let text = self.text(named, "`prometheus`")?;
        let address = text.trim_end_matches('/').to_owned();
        let secure = match host(&address) {
            Ok((secure, host)) => secure || is_here(host),
            Err(hint) => {
                let message = format!("{} is no address of a server", quote(text));
                return self.fail(named.span, codes::SOURCE, message, hint);
            }
        };
        let interval = match map.get("interval") {
            Some(node) => self.duration(node, "`interval`", Millis::seconds(1))?,
            None => INTERVAL,
        };
        if interval > Millis::seconds(300) {
            let at = map.get("interval").map_or(node.span, |node| node.span);
            return self.fail(at, codes::RANGE, format!("`interval` is {interval}"), "1s to 5m");
        }
        let token = match map.get("token") {
            None => None,
            Some(node) => {
                let text = self.text(node, "`token`")?;
                let Ok(name) = SecretName::new(text) else {
                    let hint =
                        "name a secret of `davy secret set`, such as PROMETHEUS_TOKEN; its value is never written here";
                    return self.fail(
                        node.span,
                        codes::SOURCE,
                        format!("{} is no name of a secret", quote(text)),
                        hint,
                    );
                };
                if !secure {
                    let hint = "write https://";
                    return self.fail(named.span, codes::SOURCE, "the token would be sent without TLS", hint);
                }
                Some(Secret { name, given: Given::Variable, pin: None })
            }
        };
        Some(MetricSource { prometheus: address, token, interval })
    }
}

/// Whether an address is one of HTTPS, and its host.
pub(crate) fn host(address: &str) -> Result<(bool, &str), &'static str> {
    let (secure, rest) = match (address.strip_prefix("http://"), address.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err("write http://HOST:PORT or https://HOST"),
    };
    if rest.contains('@') {
        return Err("leave user and password out: name a secret with `token`");
    }
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains(['?', '#', '"', '\\', '<', '>']) {
        return Err("write scheme, host, port and perhaps a path, such as http://127.0.0.1:9090");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err("write scheme, host and port, such as http://127.0.0.1:9090");
    }
    Ok((secure, host))
}

pub(crate) fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::{host, is_here};

    #[test]
    fn addresses() {
        assert_eq!(host("http://prometheus:9090"), Ok((false, "prometheus")));
        assert_eq!(host("https://[::1]:9090/prefix"), Ok((true, "::1")));
        assert!(is_here("::1") && is_here("127.0.0.1") && !is_here("10.0.0.1") && !is_here("prometheus"));
        for bad in [
            "prometheus:9090",
            "ftp://a",
            "http://",
            "http://a:b",
            "http://u:p@a",
            "http://a?x=1",
            "http://a b",
            "http://:1",
        ] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
