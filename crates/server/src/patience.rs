//! Answers that may take long: as long as the server works on one it says so, line by line, to a client that takes lines.

use crate::{problem::Problem, wire::Line};
use axum::{
    Json,
    body::{Body, Bytes},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde::Serialize;
use std::{convert::Infallible, pin::Pin, time::Duration};

/// Between two lines.
const EVERY: Duration = Duration::from_secs(1);
/// What a client says that it takes.
const LINES: &str = "application/x-ndjson";

type Working<T> = Pin<Box<dyn Future<Output = Result<T, Problem>> + Send>>;

/// The answer of `work` when it comes soon or the client takes no lines; else a line each second with what `on` says, and the
/// answer, or the problem, in the last one.
pub(crate) async fn answer<T: Serialize + Send + 'static>(
    headers: &HeaderMap,
    on: impl Fn() -> Option<String> + Send + 'static,
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Response {
    let mut work: Working<T> = Box::pin(work);
    let taken = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let soon = match taken.is_some_and(|taken| taken.contains(LINES)) {
        true => tokio::time::timeout(EVERY, &mut work).await,
        false => Ok((&mut work).await),
    };
    if let Ok(answer) = soon {
        return answer.map(Json).into_response();
    }
    let lines = stream::unfold(Some((work, on)), |going| async move {
        let (mut work, on) = going?;
        let (line, going) = match tokio::time::timeout(EVERY, &mut work).await {
            Err(_) => (Line::Working { on: on() }, Some((work, on))),
            Ok(Ok(answer)) => (Line::Done { answer: serde_json::to_value(answer).unwrap_or_default() }, None),
            Ok(Err(problem)) => (Line::Failed { problem: problem.body() }, None),
        };
        let mut json = serde_json::to_vec(&line).ok()?;
        json.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(json)), going))
    });
    ([(header::CONTENT_TYPE, LINES)], Body::from_stream(lines)).into_response()
}
