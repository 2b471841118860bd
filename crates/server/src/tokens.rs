//! Tokens over the API, and the record of what was done to the server.

use crate::{
    Shared,
    listed::{self, Page},
    openapi::{Malformed, Unwritten, Wrong},
    problem::Problem,
    routes::Answer,
    take::{Body, Nothing, Path},
    wire,
};
use axum::{Extension, Json, extract::State, http::StatusCode, response::Response};
use davy_core::{EnvironmentName, Millis};
use davy_engine::{Caller, DeedRecord, EngineError, NewToken, Token, now};

/// Gives out a token. This is the only time that it is seen.
#[utoipa::path(post, path = "/api/tokens", operation_id = "createToken", tag = "tokens", request_body = wire::CreateToken,
    responses((status = 200, description = "The token.", body = wire::TokenCreated), Malformed, Wrong))]
pub(crate) async fn create(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::CreateToken>,
) -> Answer<wire::TokenCreated> {
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

/// Every token that was given out, without what it is.
#[utoipa::path(get, path = "/api/tokens", operation_id = "listTokens", tag = "tokens", params(listed::Asked),
    responses((status = 200, description = "A page of them.", body = Vec<wire::Token>), Malformed))]
pub(crate) async fn list(State(shared): State<Shared>, page: Page) -> Result<Response, Problem> {
    let sequence = *shared.engine.written().borrow();
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
    let name = |one: &wire::Token| format!("{}/{:020}", one.name, one.created.0);
    let mut all: Vec<_> = shared.access.list().into_iter().map(shown).collect();
    all.sort_by_key(name);
    page.rising(all, name, sequence)
}

/// From now on the token is worth nothing.
#[utoipa::path(post, path = "/api/tokens/{name}/revoke", operation_id = "revokeToken", tag = "tokens",
    responses((status = 200, description = "It is revoked.", body = wire::Done), Malformed, Wrong))]
pub(crate) async fn revoke(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    _: Nothing,
) -> Answer<wire::Done> {
    shared.access.revoke(&name, &caller.actor).await.map_err(EngineError::Place)?;
    Ok(Json(wire::Done::told()))
}

/// Signs where everything stands, and tells the head to be kept elsewhere; none when nothing was ever written.
#[utoipa::path(post, path = "/api/checkpoint", operation_id = "signCheckpoint", tag = "server",
    responses((status = 200, description = "The head.", body = wire::Checkpoint), Malformed, Unwritten))]
pub(crate) async fn checkpoint(State(shared): State<Shared>, _: Nothing) -> Answer<wire::Checkpoint> {
    let (journal, signer) = &shared.journal;
    let signed = journal.checkpoint(signer, now()).await.map_err(EngineError::Journal)?;
    let head = match signed {
        Some(head) => Some(head),
        None => journal.head().await.map_err(EngineError::Journal)?,
    };
    Ok(Json(wire::Checkpoint { head: head.map(|head| head.to_string()) }))
}

/// What was done to the server itself, in order.
#[utoipa::path(get, path = "/api/deeds", operation_id = "listDeeds", tag = "server", params(listed::Asked),
    responses((status = 200, description = "A page of it.", body = Vec<DeedRecord>), Malformed, Unwritten))]
pub(crate) async fn deeds(State(shared): State<Shared>, page: Page) -> Result<Response, Problem> {
    let sequence = *shared.engine.written().borrow();
    let (records, _) = shared.journal.0.deeds().await.map_err(EngineError::Journal)?;
    // So many digits that names and numbers are in the same order.
    page.rising(records, |record| format!("{:020}", record.number), sequence)
}
