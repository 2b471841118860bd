//! The controller's side: one connection for each question, so that none waits behind another.

use crate::{
    certificates::Certificate,
    frame::{self, Answer, Hello, Request},
};
use davy_core::{Generation, ServiceKey, Serving, Snapshot, Window};
use davy_ports::{Boxed, Cursor, Error, Router, Streamed, Telemetry};
use futures_util::stream;
use std::{collections::VecDeque, path::PathBuf, time::Duration};
use tokio::net::UnixStream;

/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Windows come ten times a second; a source silent for so long is asked anew.
const SILENCE: Duration = Duration::from_secs(1);

/// Controls a gateway through its socket.
#[derive(Clone, Debug)]
pub struct Client {
    control: PathBuf,
}

impl Client {
    /// For the gateway at this control socket, whether or not it is there yet.
    #[must_use]
    pub fn new(control: PathBuf) -> Self {
        Self { control }
    }

    async fn ask(&self, tried: &str, request: Request) -> Result<Answer, Error> {
        let asking = async {
            let mut socket = UnixStream::connect(&self.control).await?;
            frame::write(&mut socket, &request).await?;
            frame::read::<Answer>(&mut socket).await
        };
        match tokio::time::timeout(ANSWER, asking).await {
            Ok(Ok(Answer::Error(error))) => Err(error),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Error::later(tried, format!("the gateway cannot be reached: {error}"))),
            Err(_) => Err(Error::later(tried, "the gateway did not answer in time")),
        }
    }

    async fn serving(&self, tried: &str, request: Request) -> Result<Serving, Error> {
        match self.ask(tried, request).await? {
            Answer::Serving(Some(serving)) => Ok(*serving),
            other => Err(unexpected(tried, &other)),
        }
    }

    /// Who the gateway is.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn hello(&self) -> Result<Hello, Error> {
        match self.ask("greet the gateway", Request::Hello).await? {
            Answer::Hello(hello) => Ok(*hello),
            other => Err(unexpected("greet the gateway", &other)),
        }
    }

    /// What the gateway tells of itself, in Prometheus' text format.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn metrics(&self) -> Result<String, Error> {
        match self.ask("ask for the gateway's metrics", Request::Metrics).await? {
            Answer::Text(text) => Ok(text),
            other => Err(unexpected("ask for the gateway's metrics", &other)),
        }
    }

    /// What is known of each certificate.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn certificates(&self) -> Result<Vec<Certificate>, Error> {
        match self.ask("ask for the gateway's certificates", Request::Certificates).await? {
            Answer::Certificates(all) => Ok(all),
            other => Err(unexpected("ask for the gateway's certificates", &other)),
        }
    }

    /// Ends the gateway.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.ask("stop the gateway", Request::Shutdown).await.map(|_| ())
    }
}

fn unexpected(tried: &str, answer: &Answer) -> Error {
    Error::never(tried, format!("the gateway answered something else: {answer:?}"))
}

impl Router for Client {
    fn serve<'a>(&'a self, snapshot: &'a Snapshot) -> Boxed<'a, Result<Serving, Error>> {
        Box::pin(self.serving("serve a snapshot", Request::Serve(Box::new(snapshot.clone()))))
    }

    fn renew<'a>(&'a self, key: &'a ServiceKey, generation: Generation) -> Boxed<'a, Result<Serving, Error>> {
        Box::pin(self.serving("renew the lease", Request::Renew { key: key.clone(), generation }))
    }

    fn revert<'a>(&'a self, key: &'a ServiceKey) -> Boxed<'a, Result<Serving, Error>> {
        Box::pin(self.serving("put traffic back", Request::Revert { key: key.clone() }))
    }

    fn observe<'a>(&'a self, key: &'a ServiceKey) -> Boxed<'a, Result<Option<Serving>, Error>> {
        Box::pin(async move {
            match self.ask("look at the router", Request::Observe { key: key.clone() }).await? {
                Answer::Serving(serving) => Ok(serving.map(|serving| *serving)),
                other => Err(unexpected("look at the router", &other)),
            }
        })
    }
}

/// A subscription that connects again whenever it breaks.
struct Subscription {
    client: Client,
    key: ServiceKey,
    after: Option<Cursor>,
    socket: Option<UnixStream>,
    ready: VecDeque<Window>,
}

impl Subscription {
    async fn next(&mut self) -> Result<Window, Error> {
        let tried = "read counts from the gateway";
        loop {
            if let Some(window) = self.ready.pop_front() {
                self.after = Some(Cursor { boot: window.boot.clone(), sequence: window.sequence });
                return Ok(window);
            }
            let reading = async {
                if self.socket.is_none() {
                    let mut socket = UnixStream::connect(&self.client.control).await?;
                    let request = Request::Windows { key: self.key.clone(), after: self.after.clone() };
                    frame::write(&mut socket, &request).await?;
                    self.socket = Some(socket);
                }
                match &mut self.socket {
                    Some(socket) => frame::read::<Answer>(socket).await,
                    None => Err(std::io::ErrorKind::NotConnected.into()),
                }
            };
            let why = match tokio::time::timeout(SILENCE, reading).await {
                Ok(Ok(Answer::Windows(windows))) => {
                    self.ready.extend(windows);
                    continue;
                }
                Ok(Ok(other)) => format!("it answered something else: {other:?}"),
                Ok(Err(error)) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    error.to_string()
                }
                Err(_) => "it is silent".to_owned(),
            };
            // A frame may have been read in part: the next begins on a new connection.
            self.socket = None;
            return Err(Error::later(tried, why));
        }
    }
}

impl Telemetry for Client {
    fn windows(&self, key: &ServiceKey, after: Option<Cursor>) -> Streamed<'static, Result<Window, Error>> {
        let subscription =
            Subscription { client: self.clone(), key: key.clone(), after, socket: None, ready: VecDeque::new() };
        Box::pin(stream::unfold(subscription, |mut subscription| async move {
            let next = subscription.next().await;
            Some((next, subscription))
        }))
    }
}
