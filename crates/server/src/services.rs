//! Services: what is deployed where, its output, going back, taking it away.

use crate::{
    Shared,
    access::reach,
    listed::{self, Page},
    openapi::{Gone, Malformed, Unfit, Unknown, Unread, Unwritten, Wrong},
    problem::Problem,
    rollouts::view,
    routes::{Answer, while_admitted},
    shown,
    stale::{self, Seen},
    take::{Nothing, Path, Perhaps, Query},
    wire,
};
use axum::{
    Extension, Json,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use davy_core::{ReleaseId, ServiceKey};
use davy_engine::{Caller, EngineError, Still, Summary};
use davy_ports::LogQuery;
use futures_util::StreamExt;
use serde::Deserialize;
use std::convert::Infallible;

/// Which services.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Those of one environment.
    environment: Option<String>,
}

/// Every service in reach, in order of its name.
#[utoipa::path(get, path = "/api/services", operation_id = "listServices", tag = "services",
    params(Which, listed::Asked), responses((status = 200, description = "A page of them.", body = Vec<wire::Service>), Malformed))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Query(which): Query<Which>,
    page: Page,
) -> Result<Response, Problem> {
    let sequence = *shared.engine.written().borrow();
    let after = match page.cursor.as_deref().map(named) {
        None => None,
        Some(Some(key)) => Some(key),
        Some(None) => return Err(crate::take::wrong("cursor", "it is none of this list")),
    };
    let environment = |key: &ServiceKey| {
        let name = key.environment.as_str();
        which.environment.as_ref().is_none_or(|wanted| wanted == name) && caller.reaches(name)
    };
    let fits = |key: &ServiceKey| environment(key) && after.as_ref().is_none_or(|after| key > after);
    let written = shared.shown.services(&shared.engine, fits, page.limit + 1);
    let (page_of, next) = page.of(written, |(key, _)| key.to_string());
    let body = shown::list(page_of.iter().map(|(_, json)| json));
    Ok(page.written(body, next.as_deref(), sequence))
}

/// The service that a cursor names.
fn named(cursor: &str) -> Option<ServiceKey> {
    let (environment, service) = cursor.split_once('/')?;
    wire::key(environment, service).ok()
}

/// The rollouts that are told of a service at once.
const ROLLOUTS: usize = 5;
/// The releases that are told of it.
const RELEASES: usize = 20;

fn detail(shared: &Shared, key: &ServiceKey) -> Result<wire::ServiceDetail, Problem> {
    let engine = &shared.engine;
    let live = engine.service(key).ok_or_else(|| EngineError::NoService(key.clone()))?;
    let last = engine.last_rollouts(ROLLOUTS, None, |summary| summary.key == *key, Summary::clone);
    let rollouts = last.iter().map(|summary| view(engine, summary)).collect();
    let returns_in = engine.returns_in(key).map(|length| length.duration().as_secs_f64());
    let served = engine.served(key);
    let releases = served.iter().take(RELEASES).map(|served| wire::Release::of(served, &live, returns_in));
    let releases = releases.collect();
    Ok(wire::ServiceDetail::of(&live, engine.serves_since(key), rollouts, releases))
}

/// One service with its last rollouts and releases.
#[utoipa::path(get, path = "/api/services/{environment}/{service}", operation_id = "getService", tag = "services",
    responses((status = 200, description = "The service.", body = wire::ServiceDetail, headers(("etag" = String, description = "How it stands."))), Malformed, Unknown))]
pub(crate) async fn one(
    State(shared): State<Shared>,
    Path((environment, service)): Path<(String, String)>,
) -> Result<Response, Problem> {
    Ok(stale::tagged(&detail(&shared, &key(&environment, &service)?)?))
}

/// The requests of the last minute.
#[utoipa::path(get, path = "/api/services/{environment}/{service}/traffic", operation_id = "getTraffic", tag = "services",
    responses((status = 200, description = "How busy it is.", body = wire::Traffic), Malformed))]
pub(crate) async fn traffic(
    State(shared): State<Shared>,
    Path((environment, service)): Path<(String, String)>,
) -> Answer<wire::Traffic> {
    Ok(Json(shared.engine.rate(&key(&environment, &service)?).await.into()))
}

/// Takes all traffic from a service, then its instances. Its history stays.
#[utoipa::path(post, path = "/api/services/{environment}/{service}/remove", operation_id = "removeService", tag = "services",
    responses((status = 200, description = "The rollout that does it.", body = wire::Taken), Malformed, Unknown, Unfit, Unwritten, Gone))]
pub(crate) async fn remove(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((environment, service)): Path<(String, String)>,
    headers: HeaderMap,
    _: Nothing,
) -> Answer<wire::Taken> {
    let key = key(&environment, &service)?;
    let rollout = shared.engine.remove(&key, caller.actor, still(&headers)).await?;
    Ok(Json(wire::Taken { rollout, notices: Vec::new() }))
}

/// That a service stands as the request says that it was seen, when the turn comes.
fn still(headers: &HeaderMap) -> Option<Still> {
    Seen::of(headers).map(|seen| seen.still(|live| Some(wire::Service::of(live, None))))
}

/// The service of two names in an address.
pub(crate) fn key(environment: &str, service: &str) -> Result<ServiceKey, Problem> {
    wire::key(environment, service).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "A007", error.to_string()))
}

/// An earlier release serves again: at once during a trial or a bake, else by a rollout.
#[utoipa::path(post, path = "/api/services/{environment}/{service}/rollback", operation_id = "rollbackService", tag = "services",
    request_body = Option<wire::Rollback>,
    responses((status = 200, description = "The rollout that does it.", body = wire::Taken), Malformed, Unknown, Unfit, Wrong, Unwritten, Gone))]
pub(crate) async fn rollback(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((environment, service)): Path<(String, String)>,
    headers: HeaderMap,
    Perhaps(asked): Perhaps<wire::Rollback>,
) -> Answer<wire::Taken> {
    let key = key(&environment, &service)?;
    let rollout = shared.engine.rollback(&key, asked.to, caller.actor, still(&headers)).await?;
    Ok(Json(wire::Taken { rollout, notices: Vec::new() }))
}

/// Which output.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Logs {
    /// Of one release; of every one when absent.
    release: Option<String>,
    /// Of the release on trial.
    #[serde(default)]
    canary: bool,
    /// Goes on with what comes.
    #[serde(default)]
    follow: bool,
    /// So many lines from the end of each instance's output first; 100 when absent.
    tail: Option<usize>,
}

/// What its instances wrote, an object a line.
#[utoipa::path(get, path = "/api/services/{environment}/{service}/logs", operation_id = "getLogs", tag = "services",
    params(Logs),
    responses((status = 200, description = "A line of JSON for each line of output.", body = davy_ports::LogLine, content_type = "application/x-ndjson"),
        Malformed, Unknown, Unfit, Wrong, Unread))]
pub(crate) async fn logs(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((environment, service)): Path<(String, String)>,
    Query(asked): Query<Logs>,
) -> Result<Response, Problem> {
    let key = key(&environment, &service)?;
    reach(&caller, key.environment.as_str())?;
    let live = shared.engine.service(&key).ok_or_else(|| EngineError::NoService(key.clone()))?;
    let canary = live.state.rollout.as_ref().filter(|rollout| !rollout.promoted);
    let release = match (asked.canary, canary) {
        (true, Some(rollout)) => Some(rollout.request.release.id.clone()),
        (true, None) => {
            return Err(Problem::new(StatusCode::CONFLICT, "A016", format!("{key} has no canary now")));
        }
        (false, _) => asked.release.map(ReleaseId::new),
    };
    let query = LogQuery { key, release, tail: asked.tail.unwrap_or(100), follow: asked.follow };
    let lines = shared.engine.logs(&query).await?;
    let lines = while_admitted(lines, shared, caller);
    let lines = lines.filter_map(|line| async move {
        let mut json = serde_json::to_vec(&line.ok()?).ok()?;
        json.push(b'\n');
        Some(Ok::<_, Infallible>(Bytes::from(json)))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}
