//! One question to a provider over one connection: bounded in time and size, certificates checked, nothing followed. The operator
//! names the provider, so it may be inside the network; without TLS only on this machine.

use crate::Refused;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::net::TcpStream;

/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The longest answer.
const LARGEST: usize = 1024 * 1024;

#[derive(Default)]
pub(crate) struct Client {
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
}

/// A question.
pub(crate) struct Asked<'a> {
    pub(crate) method: Method,
    pub(crate) address: &'a str,
    /// What stands in `Authorization`.
    pub(crate) authorization: Option<String>,
    pub(crate) form: Option<String>,
}

impl<'a> Asked<'a> {
    pub(crate) const fn get(address: &'a str) -> Self {
        Self { method: Method::GET, address, authorization: None, form: None }
    }

    pub(crate) fn by(mut self, authorization: String) -> Self {
        self.authorization = Some(authorization);
        self
    }
}

impl Client {
    /// The body of an answer that is JSON, and its status.
    pub(crate) async fn ask(&self, asked: Asked<'_>) -> Result<(StatusCode, serde_json::Value), Refused> {
        let place = place(asked.address);
        let failed = |why: String| Refused::Provider(format!("could not ask {place}: {why}"));
        let answer = tokio::time::timeout(ANSWER, self.answer(asked)).await;
        let (status, body) = answer.map_err(|_| failed(format!("no answer within {ANSWER:?}")))?.map_err(failed)?;
        let value = serde_json::from_slice(&body).map_err(|_| failed(format!("it answered {status}, and no JSON")))?;
        Ok((status, value))
    }

    /// The same where anything but success is a failure.
    pub(crate) async fn fetch(&self, asked: Asked<'_>) -> Result<serde_json::Value, Refused> {
        let place = place(asked.address);
        match self.ask(asked).await? {
            (status, value) if status.is_success() => Ok(value),
            (status, _) => Err(Refused::Provider(format!("could not ask {place}: it answered {status}"))),
        }
    }

    async fn answer(&self, asked: Asked<'_>) -> Result<(StatusCode, Bytes), String> {
        let none = "its address is none";
        let uri: Uri = asked.address.parse().map_err(|_| none.to_owned())?;
        let (Some(authority), Some(scheme)) = (uri.authority(), uri.scheme_str()) else { return Err(none.to_owned()) };
        let secure = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err("its address is neither https:// nor http://".to_owned()),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let found = tokio::net::lookup_host((host, port)).await.map_err(|error| error.to_string())?;
        let mut last = "its name has no address".to_owned();
        let mut socket = None;
        for address in found {
            if !secure && !address.ip().is_loopback() {
                return Err("it is asked without TLS, which is allowed on this machine only".to_owned());
            }
            match TcpStream::connect(address).await {
                Ok(connected) => {
                    socket = Some(connected);
                    break;
                }
                Err(error) => last = error.to_string(),
            }
        }
        let socket = socket.ok_or(last)?;
        let mut request = Request::builder()
            .method(asked.method)
            .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(header::HOST, authority.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("davy/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close");
        if let Some(text) = asked.authorization {
            let value = header::HeaderValue::from_str(&text);
            let mut value = value.map_err(|_| "what it gave cannot stand in a header".to_owned())?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        if asked.form.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let body = Full::new(Bytes::from(asked.form.unwrap_or_default()));
        let request = request.body(body).map_err(|error| error.to_string())?;
        if !secure {
            return ask(socket, request).await;
        }
        let tls = self.tls.get_or_init(trusted).clone()?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let shaken = tokio_rustls::TlsConnector::from(tls).connect(name, socket).await;
        ask(shaken.map_err(|error| error.to_string())?, request).await
    }
}

/// Where an address leads, without what it asks there.
fn place(address: &str) -> &str {
    address.split(['?', '#']).next().unwrap_or_default()
}

async fn ask<S>(socket: S, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await;
    let (mut sender, connection) = shaken.map_err(|error| error.to_string())?;
    // It ends with the sender.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    Ok((status, body.map_err(|error| format!("its answer broke off or is longer than 1 MiB: {error}"))?.to_bytes()))
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
