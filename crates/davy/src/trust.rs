//! Whom a client believes that it speaks to the server: the system's authorities and those it is given by file. Nothing skips it.

use crate::exit::{Exit, Failure};
use rustls::{
    CertificateError, ClientConfig, Error, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{io, path::Path, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// How one server has to prove itself.
#[derive(Clone)]
pub(crate) struct Trust {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Trust {
    /// By the system's authorities, one of a file, and what the chain of a server of this user's own says of itself.
    pub(crate) fn of(host: &str, authority: Option<&Path>, own: Option<&Path>) -> Result<Self, Failure> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        let name = name.map_err(|_| Failure::new(Exit::Usage, "D021", format!("`{host}` is no host name")))?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = authority {
            let wrong = |why: &dyn std::fmt::Display| {
                let message = format!("cannot read the authority in {}: {why}", path.display());
                Failure::new(Exit::Usage, "D026", message).hint("give the file with its certificate, PEM")
            };
            let all = certificates(path).map_err(|why| wrong(&why))?;
            let (read, _) = roots.add_parsable_certificates(all);
            if read == 0 {
                return Err(wrong(&"no certificate is in it"));
            }
        }
        if let Some(path) = own {
            roots.add_parsable_certificates(certificates(path).unwrap_or_default());
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(anyhow::Error::new)?;
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { config: Arc::new(config), name })
    }

    pub(crate) async fn connect(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(self.config.clone()).connect(self.name.clone(), socket).await
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect)
}

/// What went wrong and what to do.
pub(crate) fn explain(error: &io::Error) -> (String, &'static str) {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            let why = "no authority that is known stands behind its certificate";
            (why.to_owned(), "give the authority's certificate with --ca-file FILE")
        }
        // As `openssl req -x509` makes one unless it is told otherwise.
        Some(Error::InvalidCertificate(CertificateError::Other(other)))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            let why = "its certificate is an authority's own";
            (why.to_owned(), "make one for the server, such as with `openssl req -addext basicConstraints=CA:FALSE`")
        }
        Some(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            ("its certificate expired".to_owned(), "put another in place of the server's --tls-cert and --tls-key")
        }
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => (format!("{error}"), "use a name of the certificate"),
        Some(Error::InvalidMessage(_)) => {
            ("it does not speak TLS on this port".to_owned(), "use http:// if this is the server's own address")
        }
        _ => (error.to_string(), "is it running, and is this its port? `davy doctor` looks"),
    }
}
