//! Secrets over the API: set, listed without their values, removed.

use crate::{
    Shared,
    access::{denied, reach},
    listed::{self, Page},
    openapi::{Malformed, Wrong},
    problem::Problem,
    routes::Answer,
    take::Body,
    wire,
};
use axum::{Extension, Json, extract::State, http::StatusCode, response::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use davy_core::{EnvironmentName, InvalidName, Scope, SecretName, ServiceName};
use davy_engine::{Caller, EngineError};
use davy_ports::SecretValue;

fn scope(service: Option<String>, environment: Option<String>) -> Result<Scope, Problem> {
    let wrong = |error: InvalidName| Problem::new(StatusCode::BAD_REQUEST, "A007", error.to_string());
    Ok(Scope {
        service: service.map(ServiceName::new).transpose().map_err(wrong)?,
        environment: environment.map(EnvironmentName::new).transpose().map_err(wrong)?,
    })
}

fn name(name: String) -> Result<SecretName, Problem> {
    SecretName::new(name).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "A007", error.to_string()))
}

/// Who changes what is every environment's has to reach every one.
fn covers(caller: &Caller, scope: &Scope) -> Result<(), Problem> {
    match &scope.environment {
        Some(environment) => reach(caller, environment.as_str()),
        None if caller.is_everywhere() => Ok(()),
        None => {
            Err(denied(caller, "a secret for every environment needs a token for every one: name yours with --env"))
        }
    }
}

/// Shorter ones cannot be hidden in output.
const HIDEABLE: usize = 4;

/// Sets a secret. Its value is told to nobody again.
#[utoipa::path(post, path = "/api/secrets", operation_id = "setSecret", tag = "secrets", request_body = wire::SetSecret,
    responses((status = 200, description = "It is set.", body = wire::SecretSet), Malformed, Wrong))]
pub(crate) async fn set(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::SetSecret>,
) -> Answer<wire::SecretSet> {
    let scope = scope(asked.service, asked.environment)?;
    covers(&caller, &scope)?;
    let name = name(asked.name)?;
    let value = STANDARD.decode(asked.value).map_err(|_| {
        Problem::new(StatusCode::BAD_REQUEST, "A004", "the body is not as expected: `value` is not base64")
    })?;
    let length = value.len();
    let set = shared.vault.set(&name, &scope, SecretValue::new(value), &caller.actor).await;
    let (version, changed) = set.map_err(EngineError::Place)?;
    let mut notice = Vec::new();
    if length < HIDEABLE {
        notice.push(format!("it is too short to be hidden in output: {HIDEABLE} bytes at least can be"));
    }
    let services = shared.engine.live();
    let known = |fits: &dyn Fn(&davy_core::ServiceKey) -> bool| services.iter().any(|live| fits(&live.key));
    match (&scope.service, &scope.environment) {
        (_, Some(environment)) if !known(&|key| key.environment == *environment) => {
            notice.push(format!("nothing is deployed in the environment `{environment}` yet"));
        }
        (Some(service), _) if !known(&|key| key.service == *service) => {
            notice.push(format!("no service called `{service}` is deployed yet"));
        }
        _ => {}
    }
    Ok(Json(wire::SecretSet { version, changed, notice: notice.join("; ") }))
}

/// Removes a secret: new releases are not given it any more.
#[utoipa::path(post, path = "/api/secrets/remove", operation_id = "removeSecret", tag = "secrets", request_body = wire::RemoveSecret,
    responses((status = 200, description = "It is removed.", body = wire::Done), Malformed, Wrong))]
pub(crate) async fn remove(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::RemoveSecret>,
) -> Answer<wire::Done> {
    let scope = scope(asked.service, asked.environment)?;
    covers(&caller, &scope)?;
    shared.vault.remove(&name(asked.name)?, &scope, &caller.actor).await.map_err(EngineError::Place)?;
    Ok(Json(wire::Done::told()))
}

/// The secrets in reach, without their values.
#[utoipa::path(get, path = "/api/secrets", operation_id = "listSecrets", tag = "secrets", params(listed::Asked),
    responses((status = 200, description = "A page of them.", body = Vec<wire::Secret>), Malformed))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    page: Page,
) -> Result<Response, Problem> {
    let sequence = *shared.engine.written().borrow();
    // What is every environment's is in everybody's reach.
    let seen = |scope: &Scope| scope.environment.as_ref().is_none_or(|one| caller.reaches(one.as_str()));
    let reached = shared.vault.list().into_iter().filter(|listed| seen(&listed.scope));
    let listed = reached.map(|listed| wire::Secret {
        kind: "secret".to_owned(),
        name: listed.name.into(),
        service: listed.scope.service.map(Into::into),
        environment: listed.scope.environment.map(Into::into),
        version: listed.version,
        at: listed.at,
        by: listed.by.to_string(),
        set: listed.set,
        kept: listed.kept.into_iter().collect(),
    });
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let name = |one: &wire::Secret| format!("{}/{}/{}", one.name, part(&one.environment), part(&one.service));
    let mut all: Vec<_> = listed.collect();
    all.sort_by_key(name);
    page.rising(all, name, sequence)
}
