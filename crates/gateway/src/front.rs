//! What comes before a request is routed, in either HTTP: one form of it, what is refused, what the gateway answers itself.

use crate::{
    access::Note,
    headers,
    pace::Busy,
    peer::Peer,
    proxy::{Body, last, without_port},
    stall,
    worker::Worker,
};
use bytes::Bytes;
use hyper::{
    Request, Response, StatusCode, Version,
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    header::{self, HeaderValue},
};
use std::{
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

impl Worker {
    /// Answers one request.
    pub(crate) async fn serve(
        self: &Rc<Self>,
        mut request: Request<Incoming>,
        peer: &Peer,
        busy: Busy,
    ) -> Result<Response<Whole>, Infallible> {
        let is_http2 = request.version() == Version::HTTP_2;
        if is_http2 {
            headers::as_http1(&mut request);
        }
        let began = Instant::now();
        let mut note = self.log.as_ref().map(|log| Box::new(Note::of(log, &request, peer, began)));
        let mut response = match self.refused(&request, peer) {
            Some(refusal) => refusal,
            None => self.answer(request, peer, began, &mut note).await,
        };
        // One that was routed has taken its note along.
        if let Some(mut note) = note {
            note.code = response.body().code();
            note.bytes = response.body().size_hint().lower();
            note.write(Some(response.status().as_u16()), &[]);
        }
        if is_http2 {
            response.headers_mut().remove(header::CONNECTION);
        } else if self.is_ending.get() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| Whole { body, _busy: busy }))
    }

    /// The answer to what goes to no instance.
    fn refused(&self, request: &Request<Incoming>, peer: &Peer) -> Option<Response<Body>> {
        if let Some(why) = headers::ambiguous(request) {
            self.meters.malformed.add();
            return Some(last(StatusCode::BAD_REQUEST, "G400", why));
        }
        if self.limits.body.is_some_and(|limit| request.body().size_hint().lower() > limit) {
            self.meters.long_bodies.add();
            return Some(last(StatusCode::PAYLOAD_TOO_LARGE, "G413", "the request's body is longer than allowed"));
        }
        if peer.is_secure { None } else { self.promised(request).or_else(|| self.redirected(request)) }
    }
}

impl Worker {
    /// What an authority was promised that it asks for now.
    fn promised(&self, request: &Request<Incoming>) -> Option<Response<Body>> {
        let answer = self.tls.as_ref()?.challenges.answer(request.uri().path())?;
        let mut response = Response::new(Body::Own(Some(Bytes::from(answer)), ""));
        let kind = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Some(response)
    }

    /// Where a plain request for a host that has a certificate is sent.
    fn redirected(&self, request: &Request<Incoming>) -> Option<Response<Body>> {
        let tls = self.tls.as_ref()?;
        let host = request.headers().get(header::HOST)?.to_str().ok()?;
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let instead = HeaderValue::try_from(tls.instead(without_port(host), path)?).ok()?;
        self.meters.redirects.add();
        let mut redirect = Response::new(Body::empty());
        *redirect.status_mut() = StatusCode::PERMANENT_REDIRECT;
        redirect.headers_mut().insert(header::LOCATION, instead);
        Some(redirect)
    }
}

/// An answer's body; its request is under way until it is gone.
pub(crate) struct Whole {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        stall::asks();
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
