//! One request to one receiver: bounded in time and size, to the address that was looked at, nothing followed.

use crate::guard::is_public;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::net::TcpStream;

/// The longest head of an answer; its body is not read.
const HEAD: usize = 16 * 1024;
/// The longest wait that a receiver may ask for.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Sends messages.
pub(crate) struct Client {
    /// Whether addresses inside the network may be told.
    private: bool,
    deadline: Duration,
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
}

/// Why a message did not arrive. It names no address: that may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) why: String,
    pub(crate) next: Next,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is sent again, not before this has passed.
    Again(Duration),
    /// The receiver does not take this message, now or later.
    GiveUp,
}

impl Failed {
    pub(crate) fn again(why: impl std::fmt::Display) -> Self {
        Self { why: why.to_string(), next: Next::Again(Duration::ZERO) }
    }
}

/// What is sent.
pub(crate) struct Letter<'a> {
    pub(crate) address: &'a str,
    pub(crate) body: Vec<u8>,
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Client {
    pub(crate) const fn new(private: bool, deadline: Duration) -> Self {
        Self { private, deadline, tls: OnceLock::new() }
    }

    /// Sends it once.
    pub(crate) async fn post(&self, letter: Letter<'_>) -> Result<(), Failed> {
        let deadline = self.deadline;
        let late = |_| Failed::again(format!("no answer within {deadline:?}"));
        tokio::time::timeout(deadline, self.posted(letter)).await.map_err(late)?
    }

    async fn posted(&self, letter: Letter<'_>) -> Result<(), Failed> {
        let none = || Failed::again("it is no address: https://HOST/PATH is needed");
        let uri: Uri = letter.address.trim().parse().map_err(|_| none())?;
        let (Some(authority), Some(scheme)) = (uri.authority(), uri.scheme_str()) else { return Err(none()) };
        if authority.as_str().contains('@') {
            return Err(Failed::again("its address has a user or a password, which are not sent"));
        }
        let secure = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(none()),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let socket = self.connect(host, port, secure).await?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path)
            .header(header::HOST, authority.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("davy/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close");
        for (name, value) in letter.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(letter.body))).map_err(|_| none())?;
        let answer = match secure {
            false => ask(socket, request).await?,
            true => {
                let tls = self.tls.get_or_init(trusted).clone().map_err(Failed::again)?;
                let name = ServerName::try_from(host.to_owned()).map_err(|_| none())?;
                let shaken = tokio_rustls::TlsConnector::from(tls).connect(name, socket).await;
                ask(shaken.map_err(|error| Failed::again(format!("TLS failed: {}", tls_words(&error))))?, request)
                    .await?
            }
        };
        judged(&answer)
    }

    /// A connection to an address that may be told: the name is resolved once, and what it gave is what is connected to.
    async fn connect(&self, host: &str, port: u16, secure: bool) -> Result<TcpStream, Failed> {
        let found = tokio::net::lookup_host((host, port)).await;
        let found: Vec<SocketAddr> = found.map_err(|_| Failed::again("its name could not be resolved"))?.collect();
        // One private address among others is refused, too: whoever answers so wants it to be tried.
        if !self.private && found.iter().any(|address| !is_public(address.ip())) {
            return Err(Failed::again(
                "it leads to a private address, which is not told unless the server is started with --notify-private",
            ));
        }
        if !secure && found.iter().any(|address| !address.ip().is_loopback()) {
            return Err(Failed::again("it begins with http://, and only this machine is told without TLS"));
        }
        let mut last = "its name has no address".to_owned();
        for address in found {
            match TcpStream::connect(address).await {
                Ok(socket) => {
                    socket.set_nodelay(true).ok();
                    return Ok(socket);
                }
                Err(error) => last = format!("no connection: {}", error.kind()),
            }
        }
        Err(Failed::again(last))
    }
}

/// What rustls says may name the host: of a certificate only that it is wrong is told.
fn tls_words(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => {
            "its certificate is not for its name, is over, or is not from an authority that this machine trusts"
                .to_owned()
        }
        Some(_) | None => error.kind().to_string(),
    }
}

async fn ask<S>(socket: S, request: Request<Full<Bytes>>) -> Result<hyper::Response<hyper::body::Incoming>, Failed>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| Failed::again(format!("the connection broke off: {error}"));
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(socket)).await.map_err(failed)?;
    // It ends with the sender; what the body would say is dropped unread.
    let driving = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(failed);
    driving.abort();
    answer
}

fn judged<B>(answer: &hyper::Response<B>) -> Result<(), Failed> {
    let status = answer.status();
    let why = match status {
        _ if status.is_success() => return Ok(()),
        _ if status.is_redirection() => format!("it answered {status}, and nothing is followed elsewhere"),
        _ => format!("it answered {status}"),
    };
    let next = match status {
        StatusCode::BAD_REQUEST
        | StatusCode::GONE
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Next::GiveUp,
        _ => {
            let wait = answer.headers().get(header::RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
            Next::Again(Duration::from_secs(wait.unwrap_or(0)).min(PATIENCE))
        }
    };
    Err(Failed { why, next })
}

/// What this machine trusts; loaded once.
fn trusted() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this machine trusts no authority for certificates; install ca-certificates".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(Arc::new(config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth()))
}
