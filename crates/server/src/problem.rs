//! What goes wrong, as an RFC 9457 body.

use crate::wire;
use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use davy_engine::EngineError;
use std::time::Duration;

/// Of the body.
pub(crate) const KIND: &str = "application/problem+json";

#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    header: Option<(HeaderName, HeaderValue)>,
    body: Box<wire::Problem>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let body = Box::new(wire::Problem {
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            code: code.to_owned(),
            detail: detail.into(),
            hint: String::new(),
            errors: Vec::new(),
        });
        Self { status, header: None, body }
    }

    pub(crate) fn body(self) -> wire::Problem {
        *self.body
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.body.hint = hint.into();
        self
    }

    /// When it may be tried again.
    pub(crate) fn again(self, after: Duration) -> Self {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// A header that says what the status asks to be said.
    pub(crate) fn header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        self.header = value.try_into().ok().map(|value| (name, value));
        self
    }

    pub(crate) fn errors(mut self, errors: Vec<serde_json::Value>) -> Self {
        self.body.errors = errors;
        self
    }
}

/// Something that cannot go wrong did.
pub(crate) fn inside(error: &dyn std::fmt::Display) -> Problem {
    let detail = format!("something failed inside the server: {error}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "A024", detail).hint("see its log, and tell the maintainers")
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let (status, code) = match &error {
            EngineError::Refused(_) | EngineError::Over(_) | EngineError::Waiting(_) => (StatusCode::CONFLICT, "A010"),
            EngineError::Changed => (StatusCode::CONFLICT, "A025"),
            EngineError::Place(_) => (StatusCode::UNPROCESSABLE_ENTITY, "A011"),
            EngineError::Journal(_) => (StatusCode::SERVICE_UNAVAILABLE, "A012"),
            EngineError::NoRollout(_) | EngineError::NoService(_) => (StatusCode::NOT_FOUND, "A013"),
            EngineError::SetAside { .. } => (StatusCode::SERVICE_UNAVAILABLE, "A022"),
            EngineError::NoRelease { .. } => (StatusCode::CONFLICT, "A014"),
            EngineError::Slow => (StatusCode::GATEWAY_TIMEOUT, "A015"),
        };
        let problem = Self::new(status, code, error.to_string());
        match error {
            EngineError::Place(error) => problem.hint(error.hint),
            EngineError::Changed => problem.hint("look again, then decide again"),
            EngineError::Over(_) => problem.hint("`davy rollback SERVICE` goes back to an earlier release"),
            EngineError::NoService(_) => problem.hint("`davy history` lists what this server knows"),
            EngineError::Journal(_) => {
                problem.hint("see that the disk is not full and that nothing else holds the database")
            }
            _ => problem,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(KIND));
        response.headers_mut().extend(self.header);
        response
    }
}
