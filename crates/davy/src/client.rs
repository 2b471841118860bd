//! The API as the commands use it: one request on one connection.

use crate::{
    cli::Server,
    exit::{Exit, Failure},
    home::{self, OwnTls},
    output,
    trust::{Trust, explain},
};
use anyhow::Context;
use bytes::Bytes;
use davy_server::wire;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, client::conn::http1, header, header::HeaderValue};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::{path::Path, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};

const CONNECT: Duration = Duration::from_secs(3);
/// The longest wait for an answer, or for the next line of one.
const ANSWER: Duration = Duration::from_secs(40);
/// An answer that comes line by line.
const LINES: &str = "application/x-ndjson";
/// So much of a list is asked for at once.
const PAGE: usize = 1_000;
const LARGEST: usize = 64 * 1024 * 1024;

/// A server and the right to ask it.
#[derive(Clone)]
pub(crate) struct Client {
    at: At,
    token: String,
    /// How it was found.
    found: Server,
}

/// Where a server is, and how it proves that it is that one.
#[derive(Clone)]
pub(crate) struct At {
    url: String,
    authority: String,
    /// Where the connection goes.
    address: String,
    trust: Option<Trust>,
}

impl Client {
    pub(crate) fn find(server: &Server) -> Result<Self, Failure> {
        let last = home::last_up();
        let url = server.server.clone().or_else(|| last.as_ref().map(|last| last.url.clone()));
        let url = url.ok_or_else(|| {
            Failure::new(Exit::Unreachable, "D020", "no server is known")
                .hint("start one with `davy up`, or give --server")
        })?;
        let url = url.trim_end_matches('/').to_owned();
        let last = last.filter(|last| last.url == url);
        let own = last.as_ref().and_then(|last| last.tls.as_ref());
        let at = At::of(url, server.ca_file.as_deref(), own)?;
        let file = server.token_file.clone().or_else(|| last.map(|last| last.token_file));
        let file = file.ok_or_else(|| {
            Failure::new(Exit::Denied, "D022", "the server's token is not known").hint("give --token-file FILE")
        })?;
        let token = std::fs::read_to_string(&file).map_err(|error| {
            let message = format!("cannot read the token file {}: {error}", file.display());
            Failure::new(Exit::Denied, "D023", message).hint("run as the user who ran `davy up`, or give --token-file")
        })?;
        Ok(Self { at, token: token.trim().to_owned(), found: server.clone() })
    }

    /// The server of this user as it is known now: another one may have taken over.
    pub(crate) fn again(&self) -> Self {
        Self::find(&self.found).unwrap_or_else(|_| self.clone())
    }

    pub(crate) fn unreachable(&self, why: &dyn std::fmt::Display) -> Failure {
        self.at.unreachable(why)
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// All of a list, page by page.
    pub(crate) async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Failure> {
        let late = |_| self.at.unreachable(&"no answer in time");
        let begins = if path.contains('?') { '&' } else { '?' };
        let (mut all, mut next) = (Vec::new(), Some(format!("{path}{begins}limit={PAGE}")));
        while let Some(path) = next {
            let asking = async {
                let response = self.open(Method::GET, &path, Bytes::new()).await?;
                let next = response.headers().get(header::LINK).and_then(|link| following(link.to_str().ok()?));
                Ok::<_, Failure>((self.read::<Vec<T>>(response).await?, next))
            };
            let (page, following) = tokio::time::timeout(ANSWER, asking).await.map_err(late)??;
            all.extend(page);
            next = following;
        }
        Ok(all)
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).context("write the request")?;
        self.ask(Method::POST, path, body.into()).await
    }

    /// The same where the answer may take long: `tell` hears what the server works on, as often as it says that it does.
    pub(crate) async fn post_patiently<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        mut tell: impl FnMut(&str),
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).context("write the request")?;
        let late = |_| self.at.unreachable(&"no answer in time");
        let opening = self.open_as(Method::POST, path, body.into(), LINES);
        let response = tokio::time::timeout(ANSWER, opening).await.map_err(late)??;
        let kind = response.headers().get(header::CONTENT_TYPE);
        if kind.is_none_or(|kind| kind != LINES) {
            return tokio::time::timeout(ANSWER, self.read(response)).await.map_err(late)?;
        }
        let (mut body, mut bytes) = (response.into_body(), Vec::new());
        loop {
            while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = bytes.drain(..=end).collect();
                match serde_json::from_slice(&line).context("read the server's answer")? {
                    wire::Line::Working { on } => on.iter().for_each(|on| tell(on)),
                    wire::Line::Done { answer } => {
                        return Ok(serde_json::from_value(answer).context("read the server's answer")?);
                    }
                    wire::Line::Failed { problem } => return Err(failure(problem)),
                }
            }
            match tokio::time::timeout(ANSWER, body.frame()).await.map_err(late)? {
                Some(Ok(frame)) => bytes.extend(frame.into_data().iter().flatten()),
                Some(Err(error)) => return Err(self.at.unreachable(&error)),
                None => return Err(self.at.unreachable(&"its answer has no end")),
            }
        }
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, Failure> {
        let asking = async { self.read(self.open(method, path, body).await?).await };
        tokio::time::timeout(ANSWER, asking).await.map_err(|_| self.at.unreachable(&"no answer in time"))?
    }

    async fn read<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, Failure> {
        let status = response.status();
        let whole = Limited::new(response.into_body(), LARGEST).collect().await;
        let bytes = whole.map_err(|error| self.at.unreachable(&error))?.to_bytes();
        if status.is_success() {
            return Ok(serde_json::from_slice(&bytes).context("read the server's answer")?);
        }
        Err(refusal(status, &bytes))
    }

    /// The response as it comes.
    pub(crate) async fn open(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, Failure> {
        self.open_as(method, path, body, "*/*").await
    }

    async fn open_as(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        accept: &'static str,
    ) -> Result<Response<Incoming>, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, accept)
            .body(Full::new(body))
            .context("write the request")?;
        self.at.send(request).await
    }
}

/// The address in a `link` header that leads to the next page.
fn following(link: &str) -> Option<String> {
    let (address, relation) = link.strip_prefix('<')?.split_once('>')?;
    relation.contains("rel=\"next\"").then(|| address.to_owned())
}

impl At {
    /// Refuses what is no address of a server.
    pub(crate) fn of(url: String, authority: Option<&Path>, own: Option<&OwnTls>) -> Result<Self, Failure> {
        let uri = url.parse::<http::Uri>().ok().filter(|uri| uri.path() == "/" && uri.query().is_none());
        let port = uri.as_ref().and_then(|uri| match (uri.scheme_str()?, uri.port_u16()) {
            ("http", port) => Some((false, port.unwrap_or(80))),
            ("https", port) => Some((true, port.unwrap_or(443))),
            _ => None,
        });
        let (Some(named), Some((secure, port))) = (uri.as_ref().and_then(http::Uri::authority), port) else {
            let message = format!("`{url}` is not an address of the form http://HOST:PORT or https://HOST:PORT");
            return Err(Failure::new(Exit::Usage, "D021", message));
        };
        let trust = match secure {
            true => Some(Trust::of(named.host(), authority, own.map(|own| &*own.certificate))?),
            false => None,
        };
        let address = own.map_or_else(|| format!("{}:{port}", named.host()), |own| own.address.to_string());
        let authority = named.to_string();
        Ok(Self { url, authority, address, trust })
    }

    /// Sends a request as it is, but for the host that it names; the answer as it comes.
    pub(crate) async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let authority = HeaderValue::from_str(&self.authority).context("write the request")?;
        request.headers_mut().insert(header::HOST, authority);
        let connecting = tokio::time::timeout(CONNECT, self.connect()).await;
        let mut sender = connecting.map_err(|_| self.unreachable(&"no answer in time"))??;
        sender.send_request(request).await.map_err(|error| self.unreachable(&error))
    }

    async fn connect(&self) -> Result<http1::SendRequest<Full<Bytes>>, Failure> {
        let connected = tokio::net::TcpStream::connect(&self.address).await;
        let socket = connected.map_err(|error| self.unreachable(&error))?;
        let Some(trust) = &self.trust else { return self.shake(socket).await };
        match trust.connect(socket).await {
            Ok(stream) => self.shake(stream).await,
            Err(error) => {
                let (why, hint) = explain(&error);
                let message = format!("cannot trust the server at {}: {why}", self.url);
                Err(Failure::new(Exit::Unreachable, "D027", message).hint(hint))
            }
        }
    }

    async fn shake(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<http1::SendRequest<Full<Bytes>>, Failure> {
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| self.unreachable(&error))?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn unreachable(&self, why: &dyn std::fmt::Display) -> Failure {
        let message = format!("cannot reach the server at {}: {why}", self.url);
        Failure::new(Exit::Unreachable, "D024", message).hint("is it running? `davy up` starts it, `davy doctor` looks")
    }
}

/// A problem as a failure. The errors of a file are printed as they are.
pub(crate) fn refusal(status: StatusCode, bytes: &[u8]) -> Failure {
    let Ok(problem) = serde_json::from_slice::<wire::Problem>(bytes) else {
        return Failure::new(Exit::Internal, "D025", format!("the server answered {status}"));
    };
    failure(problem)
}

fn failure(problem: wire::Problem) -> Failure {
    for error in &problem.errors {
        let text = |name: &str| error.get(name).and_then(|value| value.as_str()).unwrap_or_default();
        output::say(&format!("error[{}]: {}", text("code"), text("message")));
    }
    let exit = match StatusCode::from_u16(problem.status).unwrap_or_default() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::Denied,
        // A server that waits cannot ask the one that works: in a moment it works itself.
        StatusCode::SERVICE_UNAVAILABLE if problem.code == "A023" => Exit::Unreachable,
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::CONFLICT => {
            Exit::Usage
        }
        _ => Exit::Internal,
    };
    Failure::new(exit, &problem.code, problem.detail).hint(problem.hint)
}
