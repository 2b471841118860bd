//! One server asked over one connection: bounded in time and size, certificates checked, nothing followed.

use bytes::Bytes;
use davy_ports::{Error, SecretValue};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1::SendRequest, header};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::{sync::Arc, time::Duration};
use tokio::net::TcpStream;

/// The longest wait for a connection, and for each answer.
const ANSWER: Duration = Duration::from_secs(5);
/// The longest answer.
const LARGEST: usize = 8 * 1024 * 1024;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    secure: bool,
    host: String,
    port: u16,
    /// Before every path.
    prefix: String,
}

impl Server {
    /// Reads `http://HOST:PORT/PREFIX`; none for anything else.
    pub(crate) fn new(address: &str) -> Option<Self> {
        let (secure, rest) = match (address.strip_prefix("http://"), address.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return None,
        };
        let (authority, prefix) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(if secure { 443 } else { 80 }), str::parse).ok()?;
        let prefix = prefix.trim_end_matches('/').to_owned();
        (!host.is_empty()).then(|| Self { secure, host: host.to_owned(), port, prefix })
    }

    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{host}:{}", self.port)
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

/// What this machine trusts; loaded once.
pub(crate) fn trusted() -> Result<Arc<ClientConfig>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("this machine trusts no authority for certificates; install ca-certificates".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(Arc::new(config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth()))
}

/// One connection, made again where the server ends it after each answer.
pub(crate) struct Session {
    server: Server,
    tls: Option<Arc<ClientConfig>>,
    sender: SendRequest<Empty<Bytes>>,
}

impl Session {
    pub(crate) async fn open(server: &Server, tls: Option<Arc<ClientConfig>>) -> Result<Self, Error> {
        let sender = connect(server, tls.as_ref()).await?;
        Ok(Self { server: server.clone(), tls, sender })
    }

    /// The body of an answer with a status of 200, or of a refusal that says why.
    pub(crate) async fn get(&mut self, path: &str, token: Option<&SecretValue>) -> Result<Bytes, Error> {
        let tried = format!("ask the metrics' server {}", self.server);
        let mut request = Request::get(format!("{}{path}", self.server.prefix))
            .header(header::HOST, self.server.authority())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("davy/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = token {
            let mut value = zeroize::Zeroizing::new(b"Bearer ".to_vec());
            value.extend_from_slice(token.bytes().trim_ascii());
            let value = header::HeaderValue::from_bytes(&value);
            let mut value = value.map_err(|_| Error::never(&tried, "the token cannot stand in a header"))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Empty::new()).map_err(|error| Error::never(&tried, error))?;
        let ready = tokio::time::timeout(ANSWER, self.sender.ready()).await;
        if !matches!(ready, Ok(Ok(()))) {
            self.sender = connect(&self.server, self.tls.as_ref()).await?;
        }
        let asking = async {
            let response = self.sender.send_request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LARGEST).collect().await;
            let body = body.map_err(|error| format!("its answer broke off or is longer than 8 MiB: {error}"))?;
            Ok::<_, String>((status, body.to_bytes()))
        };
        match tokio::time::timeout(ANSWER, asking).await {
            // A query that it does not understand is answered with 400 or 422 and the reason.
            Ok(Ok((StatusCode::OK | StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY, body))) => Ok(body),
            Ok(Ok((StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _))) => {
                let error = Error::later(tried, "it wants another token");
                Err(error.hint("set the secret that `token` names, and deploy again"))
            }
            Ok(Ok((status, _))) => Err(Error::later(tried, format!("it answered {status}"))),
            Ok(Err(why)) => Err(Error::later(tried, why)),
            Err(_) => Err(Error::later(tried, format!("no answer within {ANSWER:?}"))),
        }
    }
}

async fn connect(server: &Server, tls: Option<&Arc<ClientConfig>>) -> Result<SendRequest<Empty<Bytes>>, Error> {
    let tried = || format!("ask the metrics' server {server}");
    let opening = async {
        let socket = TcpStream::connect((server.host.as_str(), server.port)).await;
        let socket = socket.map_err(|error| error.to_string())?;
        socket.set_nodelay(true).ok();
        let Some(tls) = tls.filter(|_| server.secure) else { return shake(socket).await };
        let name = ServerName::try_from(server.host.clone()).map_err(|error| error.to_string())?;
        let secured = tokio_rustls::TlsConnector::from(Arc::clone(tls)).connect(name, socket).await;
        shake(secured.map_err(|error| error.to_string())?).await
    };
    match tokio::time::timeout(ANSWER, opening).await {
        Ok(Ok(sender)) => Ok(sender),
        Ok(Err(why)) => Err(Error::later(tried(), why)),
        Err(_) => Err(Error::later(tried(), format!("no connection within {ANSWER:?}"))),
    }
}

async fn shake<S>(socket: S) -> Result<SendRequest<Empty<Bytes>>, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await;
    let (sender, connection) = shaken.map_err(|error| error.to_string())?;
    // It ends with the sender.
    tokio::spawn(connection);
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::Server;

    #[test]
    fn addresses_of_servers() {
        let told = |address: &str| Server::new(address).map(|server| server.to_string());
        assert_eq!(told("http://prometheus:9090").as_deref(), Some("http://prometheus:9090"));
        assert_eq!(
            told("https://prometheus.example.com/prom/").as_deref(),
            Some("https://prometheus.example.com:443/prom")
        );
        assert_eq!(told("http://[::1]:9090").as_deref(), Some("http://[::1]:9090"));
        assert_eq!((told("prometheus:9090"), told("http://a:b"), told("http:///x")), (None, None, None));
    }
}
