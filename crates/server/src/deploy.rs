//! Deployments: what a file asks for, checked and begun.

use crate::{
    Shared,
    access::reach,
    forecast,
    openapi::{Gone, Malformed, Unfit, Unwritten, Wrong},
    patience,
    problem::Problem,
    routes::Answer,
    take::Body,
    wire,
};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use davy_core::{Given, Secret, Source};
use davy_engine::{Caller, Deploy, EngineError};
use std::path::PathBuf;

/// What a file says of one service in one environment, its secrets pinned.
pub(crate) async fn asked(
    shared: &Shared,
    caller: &Caller,
    asked: &wire::Deploy,
) -> Result<(PathBuf, davy_config::Deployment), Problem> {
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
    shared.vault.pin(&found.key, &mut found.workload.secrets).await.map_err(EngineError::Place)?;
    if let Some(token) = found.policy.analysis.source.as_mut().and_then(|source| source.token.as_mut()) {
        let pinned = shared.vault.pin(&found.key, std::slice::from_mut(token)).await;
        pinned.map_err(EngineError::Place)?;
    }
    // Those are read when something is told, as they are then; that they are set is known now.
    let names = found.policy.notify.iter().flat_map(davy_core::Channel::secrets);
    let mut needed: Vec<Secret> =
        names.map(|name| Secret { name: name.clone(), given: Given::File, pin: None }).collect();
    shared.vault.pin(&found.key, &mut needed).await.map_err(EngineError::Place)?;
    Ok((folder, found))
}

/// Whether it could be deployed, as far as the server alone knows: the caller may, and its secrets are set.
#[utoipa::path(post, path = "/api/deploy/check", operation_id = "checkDeployment", tag = "rollouts", request_body = wire::Deploy,
    responses((status = 200, description = "It could.", body = wire::Done), Malformed, Wrong))]
pub(crate) async fn check(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(body): Body<wire::Deploy>,
) -> Answer<wire::Done> {
    asked(&shared, &caller, &body).await?;
    Ok(Json(wire::Done::told()))
}

/// Asks for a rollout of what a file says. With `accept: application/x-ndjson` an answer that takes long comes in lines that say
/// what is worked on; the last one has the answer, or the problem.
#[utoipa::path(post, path = "/api/deploy", operation_id = "deploy", tag = "rollouts", request_body = wire::Deploy,
    responses((status = 200, description = "The rollout that does it.",
            content((wire::Taken = "application/json"), (wire::Line = "application/x-ndjson"))),
        Malformed, Wrong, Unfit, Unwritten, Gone))]
pub(crate) async fn deploy(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Body(body): Body<wire::Deploy>,
) -> Result<Response, Problem> {
    let (folder, found) = asked(&shared, &caller, &body).await?;
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
