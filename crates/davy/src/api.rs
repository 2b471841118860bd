//! Under which address, names and certificate the API is served.

use crate::{
    exit::{Exit, Failure},
    home::OwnTls,
    sign_in::Vouching,
};
use clap::Args;
use davy_gateway::Certified;
use davy_identity::Identity;
use davy_server::KnownAs;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio_rustls::TlsAcceptor;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// What `davy up` is told about its API beyond where it listens.
#[derive(Clone, Debug, Default, Args)]
#[group(id = "api")]
pub(crate) struct Asked {
    /// The API's certificate with its chain, PEM: it is served by TLS, and known by the certificate's names
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The key of that certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// A proxy in front of the API does TLS, and passes on requests for this host
    #[arg(long, value_name = "HOST", conflicts_with = "tls_cert")]
    pub behind_proxy: Option<String>,
    /// Who vouches for people on the page, and what those may do: a file for OpenID Connect and GitHub
    #[arg(long, value_name = "FILE")]
    pub sign_in: Option<PathBuf>,
    /// What `notify` names may be inside the network: private, loopback and link-local addresses
    #[arg(long)]
    pub notify_private: bool,
}

/// An API that may listen.
pub(crate) struct Api {
    listen: SocketAddr,
    tls: Option<(Arc<Certified>, PathBuf)>,
    proxy: Option<String>,
    notify_private: bool,
    vouching: Option<Vouching>,
}

impl Api {
    /// On this machine alone, in the clear.
    pub(crate) fn at(listen: SocketAddr) -> Self {
        Self { listen, tls: None, proxy: None, notify_private: false, vouching: None }
    }

    /// Refuses what would show tokens to the network, and files that are no use.
    pub(crate) fn of(listen: SocketAddr, asked: &Asked, json: bool) -> Result<Self, Failure> {
        let tls = match (&asked.tls_cert, &asked.tls_key) {
            (Some(chain), Some(key)) => {
                let certified = Certified::open(chain, key).map_err(|why| {
                    let message = format!("the API cannot be served by TLS: {why}");
                    Failure::new(Exit::Usage, "D034", message)
                        .hint("give a certificate with its chain and its key, both PEM: --tls-cert and --tls-key")
                })?;
                Some((Arc::new(certified), std::path::absolute(chain).unwrap_or_else(|_| chain.clone())))
            }
            _ => None,
        };
        let proxy = asked.behind_proxy.clone();
        if !listen.ip().is_loopback() && tls.is_none() && proxy.is_none() {
            let message = format!("the API would listen on {listen}, which is not a loopback address, without TLS");
            return Err(Failure::new(Exit::Usage, "D030", message).hint(
                "give --tls-cert and --tls-key; or --behind-proxy HOST, if a proxy in front does TLS; or use 127.0.0.1 and SSH",
            ));
        }
        let vouching = asked.sign_in.as_ref().map(|file| Vouching::read(file, json)).transpose()?;
        Ok(Self { listen, tls, proxy, notify_private: asked.notify_private, vouching })
    }

    /// Whether people inside the network may be told.
    pub(crate) const fn notifies_private(&self) -> bool {
        self.notify_private
    }

    /// The address by which others know the server, if they do.
    pub(crate) fn link(&self, url: &str) -> Option<String> {
        let proxy = self.proxy.as_ref().map(|host| format!("https://{host}"));
        proxy.or_else(|| self.tls.as_ref().map(|_| url.to_owned()))
    }

    /// Who vouches for people on a page at this address.
    pub(crate) fn identity(&self, url: &str) -> Option<Identity> {
        self.vouching.as_ref().map(|vouching| vouching.at(url))
    }

    /// Whether a proxy passes requests on.
    pub(crate) const fn is_proxied(&self) -> bool {
        self.proxy.is_some()
    }

    pub(crate) const fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// What shakes hands, and takes up files that change, as long as the server runs.
    pub(crate) fn acceptor(&self) -> Result<Option<TlsAcceptor>, Failure> {
        let Some((certified, _)) = &self.tls else { return Ok(None) };
        let looking = Arc::downgrade(certified);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let Some(certified) = looking.upgrade() else { return };
                tokio::task::spawn_blocking(move || certified.look()).await.ok();
            }
        });
        Ok(Some(certified.clone().acceptor()?))
    }

    /// The names that clients may use.
    pub(crate) fn known_as(&self) -> KnownAs {
        let certified = self.tls.as_ref().map(|(certified, _)| certified.clone());
        let proxy = self.proxy.clone();
        Arc::new(move |host| {
            certified.as_ref().is_some_and(|certified| certified.is_for(host))
                || proxy.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(host))
        })
    }

    /// Its address for the clients of this machine, once it is bound; with TLS by a name of its certificate.
    pub(crate) fn url(&self, bound: SocketAddr) -> (String, Option<OwnTls>) {
        let ip = match bound.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let address = SocketAddr::new(ip, bound.port());
        let Some((certified, certificate)) = &self.tls else { return (format!("http://{address}"), None) };
        let host = match certified.host() {
            host if host.contains(':') => format!("[{host}]"),
            host => host,
        };
        let own = OwnTls { address, certificate: certificate.clone() };
        (format!("https://{host}:{}", bound.port()), Some(own))
    }
}
