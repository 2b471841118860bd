//! Tokens over the API, and the record of what was done to the server.

use crate::{
    Shared,
    problem::Problem,
    routes::{Answer, body},
    wire,
};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use davy_core::{EnvironmentName, Millis};
use davy_engine::{Caller, DeedRecord, EngineError, NewToken, Token, now};

pub(crate) async fn create(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    bytes: Bytes,
) -> Answer<wire::TokenCreated> {
    let asked: wire::CreateToken = body(&bytes)?;
    let environments = asked.environments.into_iter().map(EnvironmentName::new).collect::<Result<Vec<_>, _>>();
    let environments =
        environments.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "A007", error.to_string()))?;
    let known: Vec<_> = shared.engine.live().into_iter().map(|live| live.key.environment).collect();
    let unknown: Vec<_> =
        environments.iter().filter(|one| !known.contains(one)).map(|one| format!("`{one}`")).collect();
    let notice = match unknown.is_empty() {
        true => String::new(),
        false => format!("nothing is deployed in the environment {} yet", unknown.join(", ")),
    };
    let expires = asked.expires.map(Millis);
    let new = NewToken { name: asked.name, role: asked.role, environments, expires };
    let (token, expires) = shared.access.create(new, &caller.actor).await.map_err(EngineError::Place)?;
    Ok(Json(wire::TokenCreated { token, expires, notice }))
}

pub(crate) async fn list(State(shared): State<Shared>) -> Json<Vec<wire::Token>> {
    let at = now();
    let shown = |token: Token| wire::Token {
        kind: "token".to_owned(),
        state: match (token.revoked, token.expires) {
            (Some(_), _) => "revoked",
            (None, Some(end)) if end <= at => "expired",
            _ => "active",
        }
        .to_owned(),
        name: token.name,
        role: token.role,
        environments: token.environments.into_iter().map(Into::into).collect(),
        created: token.created,
        by: token.by.to_string(),
        expires: token.expires,
    };
    Json(shared.access.list().into_iter().map(shown).collect())
}

pub(crate) async fn revoke(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Answer<serde_json::Value> {
    shared.access.revoke(&name, &caller.actor).await.map_err(EngineError::Place)?;
    Ok(Json(serde_json::json!({ "type": "done" })))
}

/// Signs where everything stands, and tells the head to be kept elsewhere; none when nothing was ever written.
pub(crate) async fn checkpoint(State(shared): State<Shared>) -> Answer<wire::Checkpoint> {
    let (journal, signer) = &shared.journal;
    let signed = journal.checkpoint(signer, now()).await.map_err(EngineError::Journal)?;
    let head = match signed {
        Some(head) => Some(head),
        None => journal.head().await.map_err(EngineError::Journal)?,
    };
    Ok(Json(wire::Checkpoint { head: head.map(|head| head.to_string()) }))
}

pub(crate) async fn deeds(State(shared): State<Shared>) -> Answer<Vec<DeedRecord>> {
    let (records, _) = shared.journal.0.deeds().await.map_err(EngineError::Journal)?;
    Ok(Json(records))
}
