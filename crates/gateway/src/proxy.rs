//! One request's way: checked, routed, counted, forwarded as a stream, counted again.

use crate::{
    count::{Outcome, Under},
    deadlines::Deadlines,
    headers,
    table::{Chosen, Table},
    upstream::{self, Link, Pool, Sent, Upload},
};
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper::{
    Request, Response, StatusCode,
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::{Arc, PoisonError, RwLock, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// One worker thread's own things.
pub(crate) struct Worker {
    pub table: Arc<RwLock<Arc<Table>>>,
    pub pool: Pool,
    pub deadlines: Rc<Deadlines>,
    pub dice: RefCell<fastrand::Rng>,
}

impl Worker {
    pub(crate) async fn answer(
        self: &Rc<Self>,
        mut request: Request<Incoming>,
        client: &HeaderValue,
    ) -> Result<Response<Body>, Infallible> {
        if let Some(why) = headers::ambiguous(&request) {
            let mut refusal = own(StatusCode::BAD_REQUEST, "G400", why);
            refusal.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return Ok(refusal);
        }
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner).clone();
        let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let Some(service) = table.find(without_port(named), request.uri().path()) else {
            return Ok(own(StatusCode::NOT_FOUND, "G404", "no service has this host and path"));
        };
        let draw = self.dice.borrow_mut().u16(0..10_000);
        let Some(Chosen { address, under }) = service.choose(draw) else {
            service.unserved.fetch_add(1, Relaxed);
            return Ok(own(StatusCode::SERVICE_UNAVAILABLE, "G503", "the service has no instance"));
        };
        let timeout = service.timeout.duration();
        let protocol = headers::upgrade(request.headers());
        let upgraded = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
        prepare(&mut request, address, client, protocol.as_ref());
        let mut under = under;
        let sent = if request.body().is_end_stream() {
            let forwarding = self.forward(address, request.map(Sent::Streamed));
            self.deadlines.until(under.began() + timeout, forwarding).await.ok_or(Late::Instance)
        } else {
            Box::pin(self.upload(address, request, timeout)).await
        };
        let (response, link) = match sent {
            Ok(Ok(sent)) => sent,
            Ok(Err(Refused::Connect)) => {
                under.end(Outcome::Refused);
                return Ok(own(StatusCode::BAD_GATEWAY, "G502", "the instance refused the connection"));
            }
            Ok(Err(Refused::Broken)) => {
                under.end(Outcome::Reset);
                return Ok(own(StatusCode::BAD_GATEWAY, "G502", "the instance broke the connection"));
            }
            Ok(Err(Refused::Client)) => {
                under.end(Outcome::ClientGone);
                return Ok(own(StatusCode::BAD_REQUEST, "G400", "the request's body ended too soon"));
            }
            Err(Late::Client) => {
                under.end(Outcome::ClientGone);
                return Ok(own(StatusCode::REQUEST_TIMEOUT, "G408", "the request's body did not come in time"));
            }
            Err(Late::Instance) => {
                under.end(Outcome::Timeout);
                return Ok(own(StatusCode::GATEWAY_TIMEOUT, "G504", "the instance did not answer in time"));
            }
        };
        Ok(match (upgraded, response.status()) {
            (Some(client), StatusCode::SWITCHING_PROTOCOLS) => tunnel(client, response, link, under),
            _ => self.relay(address, response, link, under),
        })
    }

    /// As `forward`; the time counts from the last that moved of the request's body.
    async fn upload(
        &self,
        address: SocketAddr,
        request: Request<Incoming>,
        timeout: Duration,
    ) -> Result<Result<(Response<Incoming>, Link), Refused>, Late> {
        let mut from = Instant::now();
        let upload = Rc::new(Upload { moved: Cell::new(from), waits: Cell::new(false) });
        let watched = upload.clone();
        let mut forwarding = std::pin::pin!(self.forward(address, request.map(|body| Sent::Watched(body, watched))));
        loop {
            if let Some(done) = self.deadlines.until(from + timeout, forwarding.as_mut()).await {
                return Ok(done);
            }
            match upload.moved.get() {
                moved if moved > from => from = moved,
                _ if upload.waits.get() => return Err(Late::Client),
                _ => return Err(Late::Instance),
            }
        }
    }

    async fn forward(
        &self,
        address: SocketAddr,
        request: Request<Sent>,
    ) -> Result<(Response<Incoming>, Link), Refused> {
        let may_repeat = upstream::may_repeat(&request);
        let lent = self.pool.lend(address, may_repeat).await.map_err(|_| Refused::Connect)?;
        let mut link = lent.link;
        let again = (may_repeat && lent.stale).then(|| upstream::again(&request));
        let mut error = match link.send(request).await {
            Ok(response) => return Ok((response, link)),
            Err(error) => error,
        };
        let unsent = error.take_message();
        let error = error.into_error();
        if error.is_user() {
            return Err(Refused::Client);
        }
        // Never sent, or sent on a connection that the instance was closing and safe to repeat.
        let request = unsent.or(again).ok_or(Refused::Broken)?;
        drop(link);
        let mut link = self.pool.fresh(address).await.map_err(|_| Refused::Connect)?.link;
        match link.send(request).await {
            Ok(response) => Ok((response, link)),
            Err(error) if error.error().is_user() => Err(Refused::Client),
            Err(_) => Err(Refused::Broken),
        }
    }

    /// The response as it comes, without what was meant for the connection to the instance.
    fn relay(
        self: &Rc<Self>,
        address: SocketAddr,
        response: Response<Incoming>,
        link: Link,
        mut under: Under,
    ) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        headers::strip(&mut parts.headers);
        let outcome = if parts.status.is_server_error() { Outcome::Status } else { Outcome::Answered };
        if body.is_end_stream() {
            under.end(outcome);
            self.pool.keep(address, link);
            return Response::from_parts(parts, Body::Own(None));
        }
        let back = Some((self.clone(), address, link));
        Response::from_parts(parts, Body::Relayed(Relayed { body, under, outcome, back }))
    }
}

enum Refused {
    Connect,
    Broken,
    Client,
}

/// Who was too slow.
enum Late {
    Instance,
    Client,
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn prepare(
    request: &mut Request<Incoming>,
    instance: SocketAddr,
    client: &HeaderValue,
    protocol: Option<&HeaderValue>,
) {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if request.uri().authority().is_some() {
        *request.uri_mut() = path.parse().unwrap_or_default();
    }
    *request.version_mut() = hyper::Version::HTTP_11;
    let headers = request.headers_mut();
    headers::strip(headers);
    // The body's first reading has answered it already.
    headers.remove(header::EXPECT);
    if !headers.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_str(&instance.to_string())
    {
        headers.insert(header::HOST, host);
    }
    headers::forwarded(headers, client.clone());
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
    }
}

/// Both sides change protocol, and bytes pass as they come.
fn tunnel(client: OnUpgrade, mut response: Response<Incoming>, link: Link, mut under: Under) -> Response<Body> {
    under.end(Outcome::Answered);
    let protocol = response.headers().get(header::UPGRADE).cloned();
    let instance = hyper::upgrade::on(&mut response);
    tokio::task::spawn_local(async move {
        // Held until the tunnel ends: it counts as under way.
        let _under = under;
        if let Some(driver) = link.into_driver() {
            driver.await;
        }
        if let (Ok(client), Ok(instance)) = (client.await, instance.await) {
            tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(instance)).await.ok();
        }
    });
    let (mut parts, _) = response.into_parts();
    headers::strip(&mut parts.headers);
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        parts.headers.insert(header::UPGRADE, protocol);
    }
    Response::from_parts(parts, Body::Own(None))
}

/// An answer of the gateway's own.
fn own(status: StatusCode, code: &str, why: &str) -> Response<Body> {
    let mut response = Response::new(Body::Own(Some(Bytes::from(format!("{code} {why}\n")))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A response's body.
pub(crate) enum Body {
    Own(Option<Bytes>),
    Relayed(Relayed),
}

/// An instance's body on its way to the client.
pub(crate) struct Relayed {
    body: Incoming,
    under: Under,
    outcome: Outcome,
    back: Option<(Rc<Worker>, SocketAddr, Link)>,
}

impl Relayed {
    fn complete(&mut self) {
        self.under.end(self.outcome);
        if let Some((worker, address, link)) = self.back.take() {
            worker.pool.keep(address, link);
        }
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        // The last frame may be known to be the last: then nobody asks for another.
        if self.body.is_end_stream() {
            self.complete();
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Relayed(relayed) => {
                // It comes by driving only, and that wakes this task.
                let mut unheard = Context::from_waker(Waker::noop());
                let mut frame = Pin::new(&mut relayed.body).poll_frame(&mut unheard);
                if frame.is_pending()
                    && let Some((_, _, link)) = &mut relayed.back
                {
                    link.drive(context);
                    frame = Pin::new(&mut relayed.body).poll_frame(&mut unheard);
                }
                let frame = std::task::ready!(frame);
                match &frame {
                    None => relayed.complete(),
                    Some(Err(_)) => {
                        relayed.back = None;
                        relayed.under.end(Outcome::Reset);
                    }
                    Some(Ok(_)) => {}
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Relayed(relayed) => relayed.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Relayed(relayed) => relayed.body.size_hint(),
        }
    }
}
