//! TLS towards clients.

use crate::{acme::Challenges, certificates::Certificates, options::Redirect};
use davy_ports::Error;
use rustls::{ServerConfig, crypto::ring, server::ResolvesServerCert};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// How hands are shaken with clients.
pub(crate) fn config(certificates: Arc<dyn ResolvesServerCert>, protocols: &[&[u8]]) -> Result<ServerConfig, Error> {
    let failed = |error: rustls::Error| Error::never("set up TLS", error);
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // Sessions are resumed by tickets: nothing is held for a client that is gone.
    config.ticketer = ring::Ticketer::new().map_err(failed)?;
    Ok(config)
}

/// What workers need of TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    pub acceptor: TlsAcceptor,
    pub certificates: Arc<Certificates>,
    pub challenges: Challenges,
    /// Where plain requests for hosts with a certificate go.
    pub port: Option<u16>,
}

impl Tls {
    /// For clients that come to a port, with these certificates.
    pub(crate) fn new(certificates: Arc<Certificates>, port: u16, redirect: Redirect) -> Result<Self, Error> {
        let config = config(certificates.clone(), &[b"h2", b"http/1.1"])?;
        let port = match redirect {
            Redirect::On => Some(port),
            Redirect::Off => None,
            Redirect::Port(port) => Some(port),
        };
        Ok(Self { acceptor: Arc::new(config).into(), certificates, challenges: Challenges::default(), port })
    }

    /// Where a plain request for a host is sent instead.
    pub(crate) fn instead(&self, host: &str, path: &str) -> Option<String> {
        let port = self.port?;
        if !self.certificates.covers(host) {
            return None;
        }
        Some(match port {
            443 => format!("https://{host}{path}"),
            port => format!("https://{host}:{port}{path}"),
        })
    }
}
