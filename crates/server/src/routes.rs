//! The API's addresses.

use crate::{Shared, Stop, access::reach, forecast, guard, notify, patience, problem::Problem, secrets, tokens, wire};
use axum::{
    Extension, Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    middleware,
    response::{IntoResponse, Response, Sse, sse},
    routing::{get, post},
};
use davy_core::{Given, ReleaseId, RolloutId, Secret, ServiceKey, Source};
use davy_engine::{Action, Caller, Deploy, Engine, now};
use davy_ports::{LogQuery, Record};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use std::{convert::Infallible, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// Above the file's own limit, so that the file's own message is seen.
pub(crate) const BODY: usize = 16 * 1024 * 1024;

pub(crate) fn app(shared: Shared) -> Router {
    Router::new()
        .route("/api/health", get(health))
        .route("/api/deploy", post(deploy))
        .route("/api/rollouts", get(rollouts))
        .route("/api/rollouts/{id}", get(rollout))
        .route("/api/rollouts/{id}/events", get(records))
        .route("/api/deploy/check", post(deployable))
        .route("/api/rollouts/{id}/report", post(report))
        .route("/api/rollouts/{id}/promote", post(promote))
        .route("/api/rollouts/{id}/pause", post(pause))
        .route("/api/rollouts/{id}/resume", post(resume))
        .route("/api/rollouts/{id}/abort", post(abort))
        .route("/api/services", get(services))
        .route("/api/services/{environment}/{service}", get(service))
        .route("/api/services/{environment}/{service}/remove", post(remove))
        .route("/api/services/{environment}/{service}/rollback", post(rollback))
        .route("/api/services/{environment}/{service}/logs", get(logs))
        .route("/api/services/{environment}/{service}/traffic", get(traffic))
        .route("/api/secrets", get(secrets::list).post(secrets::set))
        .route("/api/secrets/remove", post(secrets::remove))
        .route("/api/notify", get(notify::standing))
        .route("/api/notify/test", post(notify::test))
        .route("/api/tokens", get(tokens::list).post(tokens::create))
        .route("/api/tokens/{name}/revoke", post(tokens::revoke))
        .route("/api/checkpoint", post(tokens::checkpoint))
        .route("/api/deeds", get(tokens::deeds))
        .route("/api/events", get(events))
        .route("/api/shutdown", post(shutdown))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "A003", "there is nothing at this address") })
        .layer(middleware::from_fn_with_state(shared.clone(), guard::check))
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(shared)
}

pub(crate) type Answer<T> = Result<Json<T>, Problem>;

pub(crate) fn body<T: serde::de::DeserializeOwned>(bytes: &Bytes) -> Result<T, Problem> {
    let bad = |error| Problem::new(StatusCode::BAD_REQUEST, "A004", format!("the body is not as expected: {error}"));
    serde_json::from_slice(bytes).map_err(bad)
}

async fn health() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "type": "health", "version": env!("CARGO_PKG_VERSION") }))
}

/// What a file says of one service in one environment, its secrets pinned.
pub(crate) async fn asked(
    shared: &Shared,
    caller: &Caller,
    bytes: &Bytes,
) -> Result<(PathBuf, davy_config::Deployment), Problem> {
    let asked: wire::Deploy = body(bytes)?;
    let folder = PathBuf::from(&asked.folder);
    if !folder.is_absolute() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "A005", "`folder` is not an absolute path"));
    }
    let wrong = |errors: Vec<davy_config::Diagnostic>| {
        let errors = errors.iter().filter_map(|error| serde_json::to_value(error).ok()).collect();
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "A006", "the file has errors").errors(errors)
    };
    let file = davy_config::parse(asked.file.as_bytes()).map_err(wrong)?;
    let file = match &asked.image {
        Some(image) => file.with_image(image).map_err(wrong)?,
        None => file,
    };
    let mut found = file.resolve(asked.environment.as_deref(), asked.service.as_deref()).map_err(wrong)?;
    reach(caller, found.key.environment.as_str())?;
    shared.vault.pin(&found.key, &mut found.workload.secrets).await.map_err(davy_engine::EngineError::Place)?;
    if let Some(token) = found.policy.analysis.source.as_mut().and_then(|source| source.token.as_mut()) {
        let pinned = shared.vault.pin(&found.key, std::slice::from_mut(token)).await;
        pinned.map_err(davy_engine::EngineError::Place)?;
    }
    // Those are read when something is told, as they are then; that they are set is known now.
    let names = found.policy.notify.iter().flat_map(davy_core::Channel::secrets);
    let mut needed: Vec<Secret> =
        names.map(|name| Secret { name: name.clone(), given: Given::File, pin: None }).collect();
    shared.vault.pin(&found.key, &mut needed).await.map_err(davy_engine::EngineError::Place)?;
    Ok((folder, found))
}

/// Whether it could be deployed, as far as the server alone knows: the caller may, and its secrets are set.
async fn deployable(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    bytes: Bytes,
) -> Answer<serde_json::Value> {
    asked(&shared, &caller, &bytes).await?;
    Ok(Json(serde_json::json!({ "type": "done" })))
}

async fn deploy(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let (folder, found) = asked(&shared, &caller, &bytes).await?;
    let deploy = Deploy {
        key: found.key,
        source: Source { folder },
        workload: found.workload,
        policy: found.policy,
        by: caller.actor,
    };
    let (engine, key) = (shared.engine.clone(), deploy.key.clone());
    let work = async move {
        let mut notices = forecast::check(&shared.engine, &deploy).await?;
        let taken = shared.engine.deploy(deploy).await?;
        notices.extend(taken.notices);
        Ok(wire::Taken { rollout: taken.rollout, notices })
    };
    Ok(patience::answer(&headers, move || engine.fetching(&key), work).await)
}

/// The requests of the last minute.
async fn traffic(
    State(shared): State<Shared>,
    Path((environment, service)): Path<(String, String)>,
) -> Answer<wire::Traffic> {
    let rate = shared.engine.rate(&key(&environment, &service)?).await;
    Ok(Json(wire::Traffic { requests: rate.map(|rate| rate.requests), seconds: rate.map(|rate| rate.seconds) }))
}

#[derive(Deserialize)]
struct Which {
    service: Option<String>,
    environment: Option<String>,
}

async fn rollouts(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Query(which): Query<Which>,
) -> Answer<Vec<wire::Rollout>> {
    let all = shared.engine.history(None);
    let fits = |name: &str, wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| wanted == name);
    let list = all
        .iter()
        .filter(|summary| {
            fits(summary.key.service.as_str(), &which.service)
                && fits(summary.key.environment.as_str(), &which.environment)
                && caller.reaches(summary.key.environment.as_str())
        })
        .map(|summary| view(&shared.engine, summary))
        .collect();
    Ok(Json(list))
}

/// The one under way; what it waits for first is what comes next.
fn present(engine: &Engine, id: &RolloutId) -> Option<wire::Rollout> {
    let live = engine.under_way(id)?;
    let mut rollout = wire::Rollout::present(&live, now())?;
    if let (true, Some(fetching), Some(next)) =
        (rollout.state == "starting", engine.fetching(&live.key), &mut rollout.next)
    {
        (next.what, next.at) = (format!("{fetching}; then {}", next.what), None);
    }
    Some(rollout)
}

fn view(engine: &Engine, summary: &davy_engine::Summary) -> wire::Rollout {
    present(engine, &summary.rollout).unwrap_or_else(|| wire::Rollout::past(summary, now()))
}

async fn rollout(State(shared): State<Shared>, Path(id): Path<String>) -> Answer<wire::Rollout> {
    let id = RolloutId::new(id);
    if let Some(view) = present(&shared.engine, &id) {
        return Ok(Json(view));
    }
    Ok(Json(view(&shared.engine, &shared.engine.rollout(&id)?)))
}

async fn records(State(shared): State<Shared>, Path(id): Path<String>) -> Answer<Vec<Record>> {
    Ok(Json(shared.engine.records(&RolloutId::new(id)).await?))
}

async fn report(State(shared): State<Shared>, Path(id): Path<String>) -> Answer<serde_json::Value> {
    let path = shared.engine.report(&RolloutId::new(id)).await?;
    Ok(Json(serde_json::json!({ "type": "report", "path": path })))
}

async fn act(shared: Shared, id: String, action: Action, caller: Caller) -> Answer<serde_json::Value> {
    shared.engine.act(&RolloutId::new(id), action, caller.actor).await?;
    Ok(Json(serde_json::json!({ "type": "done" })))
}

/// One address for each action: each needs a role of its own.
macro_rules! actions {
    ($($name:ident $action:ident),*) => {
        $(async fn $name(
            State(shared): State<Shared>,
            Extension(caller): Extension<Caller>,
            Path(id): Path<String>,
        ) -> Answer<serde_json::Value> {
            act(shared, id, Action::$action, caller).await
        })*
    };
}

actions!(promote Promote, pause Pause, resume Resume, abort Abort);

/// Ends once the token was revoked or has expired: at the next item, or soon when there is none.
fn while_admitted<T>(items: impl Stream<Item = T>, shared: Shared, caller: Caller) -> impl Stream<Item = T> {
    const LOOK: Duration = Duration::from_secs(1);
    let (access, again) = (shared.access, caller.clone());
    let known = access.clone();
    let ended = async move {
        while known.holds(&again) {
            tokio::time::sleep(LOOK).await;
        }
    };
    items.take_while(move |_| std::future::ready(access.holds(&caller))).take_until(ended)
}

async fn services(State(shared): State<Shared>, Extension(caller): Extension<Caller>) -> Json<Vec<wire::Service>> {
    let reached = |key: &ServiceKey| caller.reaches(key.environment.as_str());
    let all = shared.engine.live();
    let mut services: Vec<_> = all.iter().filter(|live| reached(&live.key)).map(wire::Service::of).collect();
    let aside = shared.engine.set_aside();
    services.extend(aside.iter().filter(|(key, _)| reached(key)).map(|(key, why)| wire::Service::aside(key, why)));
    Json(services)
}

/// The rollouts that are told of a service at once.
const ROLLOUTS: usize = 5;

async fn service(
    State(shared): State<Shared>,
    Path((environment, service)): Path<(String, String)>,
) -> Answer<wire::ServiceDetail> {
    let key = key(&environment, &service)?;
    let live = shared.engine.service(&key).ok_or(davy_engine::EngineError::NoService(key.clone()))?;
    let last = shared.engine.history(Some(&key));
    let rollouts = last.iter().take(ROLLOUTS).map(|summary| view(&shared.engine, summary)).collect();
    Ok(Json(wire::ServiceDetail::of(&live, rollouts)))
}

async fn remove(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((environment, service)): Path<(String, String)>,
) -> Answer<wire::Taken> {
    let rollout = shared.engine.remove(&key(&environment, &service)?, caller.actor).await?;
    Ok(Json(wire::Taken { rollout, notices: Vec::new() }))
}

fn key(environment: &str, service: &str) -> Result<ServiceKey, Problem> {
    wire::key(environment, service).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "A007", error.to_string()))
}

async fn rollback(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((environment, service)): Path<(String, String)>,
    bytes: Bytes,
) -> Answer<wire::Taken> {
    let asked: wire::Rollback = if bytes.is_empty() { wire::Rollback::default() } else { body(&bytes)? };
    let rollout = shared.engine.rollback(&key(&environment, &service)?, asked.to, caller.actor).await?;
    Ok(Json(wire::Taken { rollout, notices: Vec::new() }))
}

#[derive(Deserialize)]
struct Logs {
    release: Option<String>,
    #[serde(default)]
    canary: bool,
    #[serde(default)]
    follow: bool,
    tail: Option<usize>,
}

async fn logs(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((environment, service)): Path<(String, String)>,
    Query(asked): Query<Logs>,
) -> Result<Response, Problem> {
    let key = key(&environment, &service)?;
    let live = shared.engine.service(&key).ok_or(davy_engine::EngineError::NoService(key.clone()))?;
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

#[derive(Deserialize)]
struct After {
    after: Option<u64>,
}

/// Everything after a sequence number, then everything as it happens.
async fn events(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<After>,
    headers: HeaderMap,
) -> Response {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let from = last.or(asked.after).unwrap_or(0);
    let engine = shared.engine.clone();
    let written = engine.written();
    let records =
        stream::unfold((engine, written, from), |(engine, mut written, from): (Arc<Engine>, _, u64)| async move {
            loop {
                let records = engine.after(from, 256).await.ok()?;
                if let Some(last) = records.last().map(|record| record.sequence) {
                    return Some((stream::iter(records), (engine, written, last)));
                }
                written.changed().await.ok()?;
            }
        });
    let reached = caller.clone();
    let records =
        records.flatten().filter(move |record| std::future::ready(reached.reaches(record.stream.environment.as_str())));
    let events = while_admitted(records, shared, caller).filter_map(|record| async move {
        let data = serde_json::to_string(&record).ok()?;
        Some(Ok::<_, Infallible>(sse::Event::default().id(record.sequence.to_string()).event("journal").data(data)))
    });
    Sse::new(events).keep_alive(sse::KeepAlive::new().interval(Duration::from_secs(10))).into_response()
}

async fn shutdown(State(shared): State<Shared>, bytes: Bytes) -> Answer<serde_json::Value> {
    let asked: wire::Shutdown = if bytes.is_empty() { wire::Shutdown::default() } else { body(&bytes)? };
    let (told, stopped) = oneshot::channel();
    shared.stop.send((Stop { keep_traffic: asked.keep_traffic }, told)).ok();
    match stopped.await {
        Ok(Err(error)) => {
            let detail = format!("the server ends, and instances may run on: {error}");
            let hint = match error.hint.as_str() {
                "" => "see what keeps them, then `davy down` again".to_owned(),
                hint => format!("{hint}; then `davy down` again"),
            };
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "A018", detail).hint(hint))
        }
        // Without an answer, somebody else had asked before.
        Ok(Ok(())) | Err(_) => Ok(Json(serde_json::json!({ "type": "stopping" }))),
    }
}
