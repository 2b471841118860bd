//! The API as the commands use it: one request on one connection.

use crate::{
    cli::Server,
    exit::{Exit, Failure},
    home, output,
};
use anyhow::Context;
use bytes::Bytes;
use davy_server::wire;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(40);
const LARGEST: usize = 64 * 1024 * 1024;

/// A server and the right to ask it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    authority: String,
    token: String,
}

impl Client {
    pub(crate) fn find(server: &Server) -> Result<Self, Failure> {
        let last = home::last_up();
        let url = server.server.clone().or_else(|| last.as_ref().map(|last| last.url.clone()));
        let url = url.ok_or_else(|| {
            Failure::new(Exit::Unreachable, "D020", "no server is known")
                .hint("start one with `davy up`, or give --server")
        })?;
        let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/').to_owned());
        let authority = authority.ok_or_else(|| {
            Failure::new(Exit::Usage, "D021", format!("`{url}` is not an address of the form http://HOST:PORT"))
        })?;
        let file =
            server.token_file.clone().or_else(|| last.filter(|last| last.url == url).map(|last| last.token_file));
        let file = file.ok_or_else(|| {
            Failure::new(Exit::Denied, "D022", "the server's token is not known").hint("give --token-file FILE")
        })?;
        let token = std::fs::read_to_string(&file).map_err(|error| {
            let message = format!("cannot read the token file {}: {error}", file.display());
            Failure::new(Exit::Denied, "D023", message).hint("run as the user who ran `davy up`, or give --token-file")
        })?;
        Ok(Self { authority, token: token.trim().to_owned() })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).context("write the request")?;
        self.ask(Method::POST, path, body.into()).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, Failure> {
        let asking = async {
            let response = self.open(method, path, body).await?;
            let status = response.status();
            let whole = Limited::new(response.into_body(), LARGEST).collect().await;
            let bytes = whole.map_err(|error| self.unreachable(&error))?.to_bytes();
            Ok::<_, Failure>((status, bytes))
        };
        let (status, bytes) =
            tokio::time::timeout(ANSWER, asking).await.map_err(|_| self.unreachable(&"no answer in time"))??;
        if status.is_success() {
            return Ok(serde_json::from_slice(&bytes).context("read the server's answer")?);
        }
        Err(refusal(status, &bytes))
    }

    /// The response as it comes.
    pub(crate) async fn open(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, Failure> {
        let connecting = tokio::time::timeout(CONNECT, tokio::net::TcpStream::connect(&self.authority)).await;
        let socket = match connecting {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return Err(self.unreachable(&error)),
            Err(_) => return Err(self.unreachable(&"no answer in time")),
        };
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await;
        let (mut sender, connection) = shaken.map_err(|error| self.unreachable(&error))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .context("write the request")?;
        sender.send_request(request).await.map_err(|error| self.unreachable(&error))
    }

    pub(crate) fn unreachable(&self, why: &dyn std::fmt::Display) -> Failure {
        let message = format!("cannot reach the server at http://{}: {why}", self.authority);
        Failure::new(Exit::Unreachable, "D024", message).hint("is it running? `davy up` starts it, `davy doctor` looks")
    }
}

/// A problem as a failure. The errors of a file are printed as they are.
pub(crate) fn refusal(status: StatusCode, bytes: &[u8]) -> Failure {
    let Ok(problem) = serde_json::from_slice::<wire::Problem>(bytes) else {
        return Failure::new(Exit::Internal, "D025", format!("the server answered {status}"));
    };
    for error in &problem.errors {
        let text = |name: &str| error.get(name).and_then(|value| value.as_str()).unwrap_or_default();
        output::say(&format!("error[{}]: {}", text("code"), text("message")));
    }
    let exit = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::Denied,
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::CONFLICT => {
            Exit::Usage
        }
        _ => Exit::Internal,
    };
    Failure::new(exit, &problem.code, problem.detail).hint(problem.hint)
}
