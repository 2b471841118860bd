//! One request's way: checked, routed, counted, forwarded as a stream, counted again.

use crate::{
    access::Note,
    aside::Asked,
    count::{Outcome, Under},
    headers,
    limits::{self, Place},
    mirror::{Copy, Pieces},
    peer::Peer,
    shared::{self, Stream, Unanswered},
    table::{Chosen, Service},
    upstream::{self, Link, Sent, Upload},
    worker::Worker,
};
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper::{
    Method, Request, Response, StatusCode, Version,
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use std::{
    cell::Cell,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::{PoisonError, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

impl Worker {
    /// Routes a request whose head is not ambiguous, and answers it.
    pub(crate) async fn answer(
        self: &Rc<Self>,
        mut request: Request<Incoming>,
        peer: &Peer,
        began: Instant,
        note: &mut Option<Box<Note>>,
    ) -> Response<Body> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner).clone();
        let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let Some((service, is_canary)) = table.find(without_port(named), request.uri().path()) else {
            self.meters.unrouted.add();
            return own(StatusCode::NOT_FOUND, "G404", "no service has this host and path");
        };
        let (asked, cookie) = match &service.aside {
            None => (Asked::Draw(self.dice.borrow_mut().u16(0..10_000)), None),
            Some(aside) => aside.asked(request.headers(), is_canary, peer, &mut self.dice.borrow_mut()),
        };
        let Some(Chosen { mut address, mut under, by_stable }) = service.choose(asked, began) else {
            service.unserved.fetch_add(1, Relaxed);
            return own(StatusCode::SERVICE_UNAVAILABLE, "G503", "the service has no instance");
        };
        under.note = note.take();
        let timeout = service.timeout.duration();
        let speech = if shared::is_grpc(&request) { Speech::Grpc } else { Speech::Http };
        let protocol = headers::upgrade(request.headers());
        let upgraded = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
        prepare(&mut request, address, peer, protocol.as_ref());
        let due = began + timeout;
        let copy = service.aside.as_ref().filter(|aside| {
            by_stable && upgraded.is_none() && aside.copies(request.method(), &mut self.dice.borrow_mut())
        });
        let copy = copy.and_then(|_| service.copied());
        let pieces = copy.and_then(|(address, under)| self.mirror(Copy { address, under }, speech, &request, timeout));
        let mut way = Delivery { service, address: &mut address, speech, under: &mut under };
        // What nearly every request takes is held in place; what few need is held apart.
        let sent = if speech == Speech::Http && request.body().is_end_stream() {
            let mut forwarding = pin!(self.forward_alone(*way.address, request.map(Sent::Streamed)));
            match self.deadlines.until(due, forwarding.as_mut()).await {
                Some(Err(Refused::Connect(unsent))) => {
                    let elsewhere = Box::pin(self.elsewhere(&mut way, unsent));
                    self.deadlines.until(due, elsewhere).await.ok_or(Late::Instance)
                }
                Some(done) => Ok(done.map(|(response, link)| (response, Way::Own(link)))),
                None => Err(Late::Instance),
            }
        } else {
            Box::pin(self.upload(&mut way, request, pieces, timeout)).await
        };
        let (response, way) = match sent {
            Ok(Ok(sent)) => sent,
            Ok(Err(refused)) => return self.failed(under, &refused),
            Err(late) => return self.late(under, &late),
        };
        under.status = response.status().as_u16();
        let mut response = match (upgraded, way) {
            (Some(client), Way::Own(link)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                tunnel(client, response, link, under, peer.place.clone())
            }
            (_, way) => self.relay(address, response, way, under),
        };
        if let Some(cookie) = cookie {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        response
    }

    fn failed(&self, under: Under, refused: &Refused) -> Response<Body> {
        match refused {
            Refused::Connect(_) => {
                let answer = own(StatusCode::BAD_GATEWAY, "G502", "the instance refused the connection");
                ended(under, Outcome::Refused, answer)
            }
            Refused::Broken => {
                let answer = own(StatusCode::BAD_GATEWAY, "G502", "the instance broke the connection");
                ended(under, Outcome::Reset, answer)
            }
            Refused::Client => {
                let answer = last(StatusCode::BAD_REQUEST, "G400", "the request's body ended too soon");
                ended(under, Outcome::ClientGone, answer)
            }
            Refused::Long => {
                self.meters.long_bodies.add();
                let answer = last(StatusCode::PAYLOAD_TOO_LARGE, "G413", "the request's body is longer than allowed");
                ended(under, Outcome::ClientGone, answer)
            }
        }
    }

    fn late(&self, under: Under, late: &Late) -> Response<Body> {
        match late {
            Late::Client => {
                self.meters.slow_bodies.add();
                let answer = last(StatusCode::REQUEST_TIMEOUT, "G408", "the request's body did not come in time");
                ended(under, Outcome::ClientGone, answer)
            }
            Late::Instance => {
                let answer = own(StatusCode::GATEWAY_TIMEOUT, "G504", "the instance did not answer in time");
                ended(under, Outcome::Timeout, answer)
            }
        }
    }

    /// Forwards a request; elsewhere if nobody takes it.
    async fn deliver(
        &self,
        way: &mut Delivery<'_>,
        request: Request<Sent>,
    ) -> Result<(Response<Incoming>, Way), Refused> {
        match self.forward(*way.address, way.speech, request).await {
            Err(Refused::Connect(unsent)) => self.elsewhere(way, unsent).await,
            done => done,
        }
    }

    /// Forwards a request to another instance of its release: the one before could not be reached, and nothing of it was
    /// sent.
    async fn elsewhere(
        &self,
        way: &mut Delivery<'_>,
        mut unsent: Box<Request<Sent>>,
    ) -> Result<(Response<Incoming>, Way), Refused> {
        let mut tried = vec![*way.address];
        loop {
            let other = way.service.another(&tried, way.under.role()).filter(|_| tried.len() < TRIES);
            let Some((address, counter)) = other else { return Err(Refused::Connect(unsent)) };
            tried.push(address);
            self.meters.retries.add();
            way.under.retry(counter);
            *way.address = address;
            unsent = match self.forward(address, way.speech, *unsent).await {
                Err(Refused::Connect(unsent)) => unsent,
                done => return done,
            };
        }
    }

    /// As `forward`; the time counts from the last that moved of the request's body.
    async fn upload(
        &self,
        way: &mut Delivery<'_>,
        request: Request<Incoming>,
        pieces: Option<Pieces>,
        timeout: Duration,
    ) -> Result<Result<(Response<Incoming>, Way), Refused>, Late> {
        let speech = way.speech;
        let mut from = Instant::now();
        let limit = self.limits.body.unwrap_or(u64::MAX);
        let upload = Rc::new(Upload { moved: Cell::new(from), waits: Cell::new(false), bytes: Cell::new(0), limit });
        let watched = upload.clone();
        let request = request.map(|body| match pieces {
            None => Sent::Watched(body, watched),
            some => Sent::Copied(body, watched, some),
        });
        let mut forwarding = pin!(self.deliver(way, request));
        let (mut since, mut came) = (from, 0);
        loop {
            if let Some(done) = self.deadlines.until(from + timeout, forwarding.as_mut()).await {
                return Ok(done);
            }
            if speech == Speech::Grpc && upload.waits.get() {
                // A call that streams may be silent on both sides for as long as its client likes.
                from = Instant::now();
                continue;
            }
            if upload.waits.get() && since.elapsed() >= self.limits.half_slow() {
                if upload.bytes.get() - came < limits::UPLOAD {
                    return Err(Late::Client);
                }
                (since, came) = (Instant::now(), upload.bytes.get());
            }
            match upload.moved.get() {
                moved if moved > from => from = moved,
                _ if upload.waits.get() => return Err(Late::Client),
                _ => return Err(Late::Instance),
            }
        }
    }

    pub(crate) async fn forward(
        &self,
        address: SocketAddr,
        speech: Speech,
        request: Request<Sent>,
    ) -> Result<(Response<Incoming>, Way), Refused> {
        match speech {
            Speech::Http => {
                self.forward_alone(address, request).await.map(|(response, link)| (response, Way::Own(link)))
            }
            Speech::Grpc => Box::pin(self.forward_shared(address, request)).await,
        }
    }

    /// Over a connection to the instance that is shared.
    async fn forward_shared(
        &self,
        address: SocketAddr,
        mut request: Request<Sent>,
    ) -> Result<(Response<Incoming>, Way), Refused> {
        shared::as_http2(&mut request);
        let mut sent = self.shared.send(address, request).await;
        if let Err(Unanswered::Unsent(request)) = sent {
            // A connection may close just when it is used: the next one is new.
            sent = self.shared.send(address, *request).await;
        }
        match sent {
            Ok((response, stream)) => Ok((response, Way::Shared(stream))),
            Err(Unanswered::Unsent(request)) => Err(Refused::Connect(request)),
            Err(Unanswered::Broken(error)) => Err(Refused::by(&error)),
        }
    }

    /// Over a connection to the instance of its own.
    async fn forward_alone(
        &self,
        address: SocketAddr,
        request: Request<Sent>,
    ) -> Result<(Response<Incoming>, Link), Refused> {
        let may_repeat = upstream::may_repeat(&request);
        let Ok(lent) = self.pool.lend(address, may_repeat).await else {
            return Err(Refused::Connect(Box::new(request)));
        };
        let mut link = lent.link;
        let again = (may_repeat && lent.stale).then(|| upstream::again(&request));
        let mut error = match link.send(request).await {
            Ok(response) => return Ok((response, link)),
            Err(error) => error,
        };
        let unsent = error.take_message();
        let error = error.into_error();
        if error.is_user() {
            return Err(Refused::by(&error));
        }
        // Never sent, or sent on a connection that the instance was closing and safe to repeat.
        let request = unsent.or(again).ok_or(Refused::Broken)?;
        drop(link);
        Box::pin(self.forward_anew(address, request)).await
    }

    /// Over a connection that nobody has used.
    async fn forward_anew(
        &self,
        address: SocketAddr,
        request: Request<Sent>,
    ) -> Result<(Response<Incoming>, Link), Refused> {
        let Ok(lent) = self.pool.fresh(address).await else { return Err(Refused::Connect(Box::new(request))) };
        let mut link = lent.link;
        match link.send(request).await {
            Ok(response) => Ok((response, link)),
            Err(error) => Err(Refused::by(error.error())),
        }
    }

    /// The response as it comes, without what was meant for the connection to the instance.
    pub(crate) fn relay(
        self: &Rc<Self>,
        address: SocketAddr,
        response: Response<Incoming>,
        way: Way,
        mut under: Under,
    ) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        let refused = match parts.status {
            StatusCode::SWITCHING_PROTOCOLS => Some("it changes the protocol, and nobody asked for that"),
            _ => headers::ambiguous_answer(&parts.headers),
        };
        if let Some(why) = refused {
            // The connection goes with `way`: what comes next on it is not known to be an answer.
            let answer = own(StatusCode::BAD_GATEWAY, "G502", &format!("the instance's answer was refused: {why}"));
            return ended(under, Outcome::Reset, answer);
        }
        headers::strip(&mut parts.headers);
        // Its own version towards the client: in that of an old instance, an answer that is cut off would look whole.
        parts.version = Version::HTTP_11;
        let mut outcome = if parts.status.is_server_error() { Outcome::Status } else { Outcome::Answered };
        let mut trailers = Trailers::Any;
        if matches!(way, Way::Shared(_)) && outcome == Outcome::Answered {
            match parts.headers.get(GRPC_STATUS) {
                Some(status) if shared::is_fault(status) => outcome = Outcome::Status,
                Some(_) => {}
                None => trailers = Trailers::Awaited,
            }
        }
        if outcome == Outcome::Answered {
            under.answers();
        }
        if body.is_end_stream() {
            under.end(if trailers == Trailers::Awaited { Outcome::Status } else { outcome });
            if let Way::Own(link) = way {
                self.pool.keep(address, link);
            }
            return Response::from_parts(parts, Body::empty());
        }
        let back = match way {
            Way::Own(link) => Back::Own(self.clone(), address, link),
            Way::Shared(stream) => Back::Shared(stream),
        };
        Response::from_parts(parts, Body::Relayed(Relayed { body, under, outcome, trailers, back }))
    }
}

const GRPC_STATUS: header::HeaderName = header::HeaderName::from_static("grpc-status");

/// Instances that are tried for one request.
const TRIES: usize = 3;

/// Where a request goes; another instance when one cannot be reached.
struct Delivery<'a> {
    service: &'a Service,
    address: &'a mut SocketAddr,
    speech: Speech,
    under: &'a mut Under,
}

/// What an instance is spoken to in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// HTTP/1.1.
    Http,
    /// HTTP/2 with prior knowledge.
    Grpc,
}

/// The connection that an answer comes over.
pub(crate) enum Way {
    Own(Link),
    Shared(Stream),
}

pub(crate) enum Refused {
    /// Nobody took it: it can be given to another one as it is.
    Connect(Box<Request<Sent>>),
    Broken,
    Client,
    Long,
}

impl Refused {
    /// How it is counted.
    pub(crate) const fn outcome(&self) -> Outcome {
        match self {
            Self::Connect(_) => Outcome::Refused,
            Self::Broken => Outcome::Reset,
            Self::Client | Self::Long => Outcome::ClientGone,
        }
    }

    fn by(error: &hyper::Error) -> Self {
        let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<upstream::Cut>());
        match cause {
            Some(upstream::Cut::Long) => Self::Long,
            Some(upstream::Cut::Client(_) | upstream::Cut::Copy) => Self::Client,
            None if error.is_user() => Self::Client,
            None => Self::Broken,
        }
    }
}

/// Who was too slow.
enum Late {
    Instance,
    Client,
}

pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn prepare(request: &mut Request<Incoming>, instance: SocketAddr, peer: &Peer, protocol: Option<&HeaderValue>) {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if request.uri().authority().is_some() {
        *request.uri_mut() = path.parse().unwrap_or_default();
    }
    *request.version_mut() = Version::HTTP_11;
    let is_seldom = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_open = !request.body().is_end_stream() && !request.headers().contains_key(header::CONTENT_LENGTH);
    let headers = request.headers_mut();
    headers::strip(headers);
    if is_seldom && is_open {
        // Where a method seldom has a body, hyper sends one of unknown length only when it is said to be there.
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    // The body's first reading has answered it already.
    headers.remove(header::EXPECT);
    if !headers.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_str(&instance.to_string())
    {
        headers.insert(header::HOST, host);
    }
    headers::forwarded(headers, peer);
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
    }
}

/// Both sides change protocol, and bytes pass as they come.
fn tunnel(
    client: OnUpgrade,
    mut response: Response<Incoming>,
    link: Link,
    mut under: Under,
    place: Option<Rc<Place>>,
) -> Response<Body> {
    under.end(Outcome::Answered);
    let protocol = response.headers().get(header::UPGRADE).cloned();
    let instance = hyper::upgrade::on(&mut response);
    tokio::task::spawn_local(async move {
        // Held until the tunnel ends: it counts as under way, and as a connection.
        let _held = (under, place);
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
    Response::from_parts(parts, Body::empty())
}

/// A routed request that the gateway answers itself.
fn ended(mut under: Under, outcome: Outcome, answer: Response<Body>) -> Response<Body> {
    under.status = answer.status().as_u16();
    if let Some(note) = &mut under.note {
        note.code = answer.body().code();
    }
    under.end(outcome);
    answer
}

/// An answer to a request whose body will not be read to its end: the connection cannot go on.
pub(crate) fn last(status: StatusCode, code: &'static str, why: &str) -> Response<Body> {
    let mut response = own(status, code, why);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// An answer of the gateway's own.
pub(crate) fn own(status: StatusCode, code: &'static str, why: &str) -> Response<Body> {
    let mut response = Response::new(Body::Own(Some(Bytes::from(format!("{code} {why}\n"))), code));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A response's body.
pub(crate) enum Body {
    /// The gateway's own, with its code.
    Own(Option<Bytes>, &'static str),
    Relayed(Relayed),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Own(None, "")
    }

    /// The code of the gateway's own answer.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Own(_, code) => code,
            Self::Relayed(_) => "",
        }
    }
}

/// An instance's body on its way to the client.
pub(crate) struct Relayed {
    body: Incoming,
    under: Under,
    outcome: Outcome,
    trailers: Trailers,
    back: Back,
}

/// Where a connection goes when its answer is through.
enum Back {
    Own(Rc<Worker>, SocketAddr, Link),
    Shared(#[expect(dead_code, reason = "held until the answer is through")] Stream),
    Gone,
}

/// Whether what ends an answer says how it went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trailers {
    Any,
    /// They say how it went, and have not come.
    Awaited,
}

impl Relayed {
    fn complete(&mut self) {
        self.under.end(if self.trailers == Trailers::Awaited { Outcome::Status } else { self.outcome });
        if let Back::Own(worker, address, link) = std::mem::replace(&mut self.back, Back::Gone) {
            worker.pool.keep(address, link);
        }
    }

    fn end(&mut self, trailers: &hyper::HeaderMap) {
        if let (Trailers::Awaited, Some(status)) = (self.trailers, trailers.get(GRPC_STATUS)) {
            self.trailers = Trailers::Any;
            if shared::is_fault(status) {
                self.outcome = Outcome::Status;
            }
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
            Self::Own(bytes, _) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Relayed(relayed) => {
                let frame = if let Back::Own(_, _, link) = &mut relayed.back {
                    // It comes by driving only, and that wakes this task.
                    let mut unheard = Context::from_waker(Waker::noop());
                    let mut frame = Pin::new(&mut relayed.body).poll_frame(&mut unheard);
                    if frame.is_pending() {
                        link.drive(context);
                        frame = Pin::new(&mut relayed.body).poll_frame(&mut unheard);
                    }
                    frame
                } else {
                    Pin::new(&mut relayed.body).poll_frame(context)
                };
                let frame = std::task::ready!(frame);
                match &frame {
                    None => relayed.complete(),
                    Some(Err(_)) => {
                        relayed.back = Back::Gone;
                        relayed.under.end(Outcome::Reset);
                    }
                    Some(Ok(frame)) => {
                        if let (Some(note), Some(data)) = (&mut relayed.under.note, frame.data_ref()) {
                            note.bytes += data.len() as u64;
                        }
                        if let Some(trailers) = frame.trailers_ref() {
                            relayed.end(trailers);
                        }
                    }
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes, _) => bytes.is_none(),
            Self::Relayed(relayed) => relayed.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes, _) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Relayed(relayed) => relayed.body.size_hint(),
        }
    }
}
