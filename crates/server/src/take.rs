//! What is taken out of a request. What cannot be is told as a problem, never as bare text.

use crate::problem::Problem;
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request, path::ErrorKind, rejection::PathRejection},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;

/// What the variable parts of an address say.
pub(crate) struct Path<T>(pub(crate) T);

/// What comes after the question mark.
pub(crate) struct Query<T>(pub(crate) T);

/// A body of JSON.
pub(crate) struct Body<T>(pub(crate) T);

/// A body of JSON, or none.
pub(crate) struct Perhaps<T>(pub(crate) T);

/// No body, or an empty object.
pub(crate) struct Nothing;

fn malformed(why: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "A031", format!("the address is not as expected: {why}"))
}

/// A header or a query that is not as it has to be.
pub(crate) fn wrong(what: &str, why: impl std::fmt::Display) -> Problem {
    malformed(format!("{what}: {why}"))
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(found)) => Ok(Self(found)),
            Err(PathRejection::FailedToDeserializePathParams(failed)) => Err(match failed.kind() {
                ErrorKind::InvalidUtf8InPathParam { .. } => malformed("it is not UTF-8"),
                kind => malformed(kind),
            }),
            Err(other) => Err(malformed(other.body_text())),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = axum::extract::Query::from_request_parts(parts, state).await;
        found.map(|axum::extract::Query(found)| Self(found)).map_err(|error| malformed(error.body_text()))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        parse(&read(request, state).await?).map(Self)
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for Perhaps<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = read(request, state).await?;
        if bytes.is_empty() { Ok(Self(T::default())) } else { parse(&bytes).map(Self) }
    }
}

impl<S: Send + Sync> FromRequest<S> for Nothing {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        #[derive(Default, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Empty {}
        let Perhaps(Empty {}) = Perhaps::from_request(request, state).await?;
        Ok(Self)
    }
}

/// The bytes of a body, as many as are taken.
pub(crate) async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    let is_json = is_json(request.headers());
    let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "A034", "the body is larger than 16 MiB");
        }
        let why = format!("the body could not be read: {}", rejection.body_text());
        Problem::new(StatusCode::BAD_REQUEST, "A004", why)
    })?;
    if !is_json && !bytes.is_empty() {
        let why = "the body is not said to be JSON";
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "A033", why);
        return Err(problem.hint("send `content-type: application/json`"));
    }
    Ok(bytes)
}

/// Whether the body is JSON, as far as the request says anything about it.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return true };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

fn parse<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Problem> {
    let bad = |error| Problem::new(StatusCode::BAD_REQUEST, "A004", format!("the body is not as expected: {error}"));
    serde_json::from_slice(bytes).map_err(bad)
}
