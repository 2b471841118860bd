//! Requests that change something, asked again: the same `idempotency-key` from the same person is done once, and answered as it was.
//!
//! What was answered is kept in memory for a day. What a restart forgets the journal still knows: a release that is on its way or serves
//! is refused (`A010`), and so is every action that has been done.

use crate::{Shared, problem::Problem, take};
use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use davy_engine::Caller;
use sha2::{Digest, Sha256};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// So many answers are kept; the oldest go first.
const MOST: usize = 10_000;
/// A larger answer is none of a request that changes something.
const LARGEST: usize = 1024 * 1024;
/// The longest key.
const LONGEST: usize = 255;
const NAME: &str = "idempotency-key";
/// Their answers are secrets themselves, which nothing keeps; a name is given once in any case.
const SECRET: [&str; 2] = ["/api/tokens", "/api/session"];

/// Whose request, which one, and under which key.
type Key = (String, String, String);
type Answer = (StatusCode, HeaderMap, Bytes);

struct Kept {
    /// Of the body: another one under the same key is another request.
    digest: [u8; 32],
    answer: watch::Receiver<Option<Answer>>,
}

#[derive(Default)]
struct Held {
    kept: HashMap<Key, Kept>,
    order: VecDeque<(Instant, Key)>,
}

/// What was asked under a key, and answered.
#[derive(Clone, Default)]
pub(crate) struct Once(Arc<Mutex<Held>>);

/// What is known of a request.
enum Known {
    /// Nothing: the answer goes here.
    New(watch::Sender<Option<Answer>>),
    /// It is answered, or is being.
    Same(watch::Receiver<Option<Answer>>),
    /// The key stands for something else.
    Other,
}

impl Once {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, key: &Key, digest: [u8; 32]) -> Known {
        let mut held = self.held();
        while held.order.front().is_some_and(|(since, _)| since.elapsed() >= KEPT || held.order.len() >= MOST) {
            if let Some((_, oldest)) = held.order.pop_front() {
                held.kept.remove(&oldest);
            }
        }
        match held.kept.get(key) {
            Some(kept) if kept.digest == digest => Known::Same(kept.answer.clone()),
            Some(_) => Known::Other,
            None => {
                let (sender, answer) = watch::channel(None);
                held.kept.insert(key.clone(), Kept { digest, answer });
                held.order.push_back((Instant::now(), key.clone()));
                Known::New(sender)
            }
        }
    }

    /// What could not be done may be tried again.
    fn forget(&self, key: &Key) {
        let mut held = self.held();
        held.kept.remove(key);
        held.order.retain(|(_, other)| other != key);
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(NAME) else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=LONGEST).contains(&key.len()) && key.bytes().all(|b| b > b' '));
    match key {
        Some(key) => Ok(Some(key.to_owned())),
        None => {
            let why = format!("`{NAME}` is not 1 to {LONGEST} visible characters");
            Err(Problem::new(StatusCode::BAD_REQUEST, "A035", why).hint("a random UUID is one"))
        }
    }
}

pub(crate) async fn check(State(shared): State<Shared>, request: Request, next: Next) -> Result<Response, Problem> {
    let is_plain = SECRET.iter().any(|path| request.uri().path().starts_with(path));
    let caller = request.extensions().get::<Caller>().map(|caller| caller.actor.to_string());
    let (Some(caller), false, false) = (caller, is_plain, request.method().is_safe()) else {
        return Ok(next.run(request).await);
    };
    let Some(name) = key(request.headers())? else { return Ok(next.run(request).await) };
    let asked = format!("{} {}", request.method(), request.uri());
    let (mut head, body) = request.into_parts();
    let bytes = take::read(Request::from_parts(head.clone(), body), &()).await?;
    let key = (caller, asked, name);
    let (known, sender) = match shared.once.take(&key, Sha256::digest(&bytes).into()) {
        Known::Other => {
            let why = format!("this `{NAME}` was used for another request");
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "A036", why);
            return Err(problem.hint("use a new one for each thing to be done"));
        }
        Known::Same(known) => (known, None),
        Known::New(sender) => (sender.subscribe(), Some(sender)),
    };
    let repeated = sender.is_none();
    if let Some(sender) = sender {
        // An answer line by line could not be given again.
        head.headers.remove(header::ACCEPT);
        let request = Request::from_parts(head, Body::from(bytes));
        let (once, key) = (shared.once.clone(), key.clone());
        // It goes on though whoever asked has gone: that is when it is asked again.
        tokio::spawn(async move {
            let (head, body) = next.run(request).await.into_parts();
            let body = to_bytes(body, LARGEST).await;
            if head.status.is_server_error() || body.is_err() {
                once.forget(&key);
            }
            if let Ok(body) = body {
                sender.send_replace(Some((head.status, head.headers, body)));
            }
        });
    }
    answered(known, repeated).await
}

async fn answered(mut known: watch::Receiver<Option<Answer>>, repeated: bool) -> Result<Response, Problem> {
    let answer = known.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
    let Some((status, headers, body)) = answer else {
        return Err(crate::problem::inside(&"the request ended without an answer"));
    };
    let mut response = (status, body).into_response();
    *response.headers_mut() = headers;
    if repeated {
        response.headers_mut().insert("davy-repeated", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Whether a request of this method may carry a key.
pub(crate) fn takes(method: &Method) -> bool {
    !method.is_safe()
}
