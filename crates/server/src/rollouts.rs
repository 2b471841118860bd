//! Rollouts: as they are, as they were, and what people may do to them.

use crate::{
    Shared,
    listed::{self, Page},
    openapi::{Gone, Malformed, Unfit, Unknown, Unread, Unwritten, Wrong},
    problem::Problem,
    routes::Answer,
    shown,
    stale::{self, Seen},
    take::{Nothing, Path, Query, wrong},
    wire,
};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use davy_core::RolloutId;
use davy_engine::{Action, Caller, Engine, Summary, now};
use davy_ports::Record;
use serde::Deserialize;
use utoipa::ToSchema;

/// Which rollouts.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Those of services of one name.
    service: Option<String>,
    /// Those in one environment.
    environment: Option<String>,
    /// Those under way or waiting, or those that are over.
    #[param(inline)]
    state: Option<Status>,
}

/// Whether a rollout is over.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    /// It is under way, or waits for its turn.
    Live,
    /// It is over and cleared away.
    Ended,
}

/// Every rollout in reach, the newest first.
#[utoipa::path(get, path = "/api/rollouts", operation_id = "listRollouts", tag = "rollouts",
    params(Which, listed::Asked), responses((status = 200, description = "A page of them.", body = Vec<wire::Rollout>), Malformed))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Query(which): Query<Which>,
    page: Page,
) -> Result<Response, Problem> {
    let sequence = *shared.engine.written().borrow();
    let before = page.cursor.clone().map(RolloutId::new);
    let fits = |name: &str, wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| wanted == name);
    let wanted = |summary: &Summary| {
        let environment = summary.key.environment.as_str();
        fits(summary.key.service.as_str(), &which.service)
            && fits(environment, &which.environment)
            && which.state.is_none_or(|state| (state == Status::Ended) == summary.ended.is_some())
            && caller.reaches(environment)
    };
    let found = shared.engine.last_rollouts(page.limit + 1, before.as_ref(), wanted, |one| one.rollout.clone());
    let (found, next) = page.of(found, ToString::to_string);
    let body = shown::list(shared.shown.rollouts(&shared.engine, &found).iter());
    Ok(page.written(body, next.as_deref(), sequence))
}

/// A rollout as it is now, or as it ended; what it waits for first is what comes next.
pub(crate) fn view(engine: &Engine, summary: &Summary) -> wire::Rollout {
    let live = engine.service(&summary.key).filter(|live| live.state.rollout_id() == Some(&summary.rollout));
    let present = live.as_ref().and_then(|live| wire::Rollout::present(live, now()));
    let Some(mut rollout) = present else { return over(engine, summary) };
    rollout.promoted = summary.promoted;
    if let (true, Some(fetching), Some(next)) =
        (rollout.state == "starting", engine.fetching(&summary.key), &mut rollout.next)
    {
        (next.what, next.at) = (format!("{fetching}; then {}", next.what), None);
    }
    rollout
}

/// One that ended or waits for its turn.
fn over(engine: &Engine, summary: &Summary) -> wire::Rollout {
    wire::Rollout::past(summary, engine.before(summary).as_ref(), now())
}

/// The one of an id; one that has just begun may not be among the past yet.
fn found(engine: &Engine, id: &RolloutId) -> Result<wire::Rollout, Problem> {
    Ok(view(engine, &engine.rollout(id)?))
}

/// A moment in the past.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct When {
    /// The sequence number of an event: as it was after it.
    at: Option<u64>,
}

/// A rollout as it is, as it ended, or as it was.
#[utoipa::path(get, path = "/api/rollouts/{id}", operation_id = "getRollout", tag = "rollouts", params(When),
    responses((status = 200, description = "The rollout.", body = wire::Rollout, headers(("etag" = String, description = "How it stands: `if-match` of an action takes it."))),
        Malformed, Unknown, Unread))]
pub(crate) async fn one(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(When { at }): Query<When>,
) -> Result<Response, Problem> {
    let (engine, id) = (&shared.engine, RolloutId::new(id));
    let Some(sequence) = at else { return Ok(stale::tagged(&found(engine, &id)?)) };
    let summary = engine.rollout(&id)?;
    let first = engine.records(&id).await?.first().map_or(0, |record| record.sequence);
    if sequence < first {
        return Err(wrong("at", format!("the rollout begins with event {first}")));
    }
    let then = engine.then(&id, sequence).await?;
    let view = then.and_then(|(live, at)| wire::Rollout::present(&live, at));
    Ok(Json(view.unwrap_or_else(|| over(engine, &summary))).into_response())
}

/// What was written of a rollout, in order.
#[utoipa::path(get, path = "/api/rollouts/{id}/events", operation_id = "listEvents", tag = "rollouts",
    params(listed::Asked), responses((status = 200, description = "A page of its events.", body = Vec<Record>), Malformed, Unknown, Unread))]
pub(crate) async fn records(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    page: Page,
) -> Result<Response, Problem> {
    let after = match page.cursor.as_deref().map(str::parse::<u64>) {
        None => 0,
        Some(Ok(sequence)) => sequence,
        Some(Err(_)) => return Err(wrong("cursor", "it is none of this list")),
    };
    let written = *shared.engine.written().borrow();
    let records = shared.engine.records(&RolloutId::new(id)).await?;
    let rest = records.into_iter().filter(|record| record.sequence > after);
    let (records, next) = page.of(rest, |record| record.sequence.to_string());
    Ok(page.tell(&records, next.as_deref(), written))
}

/// What was counted, judged and decided, from its begin to now or to a moment in the past.
#[utoipa::path(get, path = "/api/rollouts/{id}/timeline", operation_id = "getTimeline", tag = "rollouts", params(When),
    responses((status = 200, description = "Its course.", body = wire::Timeline), Malformed, Unknown, Unread))]
pub(crate) async fn timeline(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(When { at }): Query<When>,
) -> Answer<wire::Timeline> {
    Ok(Json(shared.engine.course(&RolloutId::new(id), at.unwrap_or(u64::MAX)).await?.into()))
}

/// In which settings what it brings differs from what served before.
#[utoipa::path(get, path = "/api/rollouts/{id}/changes", operation_id = "listChanges", tag = "rollouts",
    responses((status = 200, description = "The settings.", body = Vec<wire::Change>), Malformed, Unknown))]
pub(crate) async fn changes(State(shared): State<Shared>, Path(id): Path<String>) -> Answer<Vec<wire::Change>> {
    let summary = shared.engine.rollout(&RolloutId::new(id))?;
    Ok(Json(wire::changes(shared.engine.before(&summary).as_ref(), &summary.release)))
}

/// Its report as it stands, as text.
#[utoipa::path(get, path = "/api/rollouts/{id}/report", operation_id = "getReport", tag = "rollouts",
    responses((status = 200, description = "Markdown.", body = String, content_type = "text/markdown"), Malformed, Unknown, Wrong))]
pub(crate) async fn report(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Response, Problem> {
    let text = shared.engine.report_text(&RolloutId::new(id)).await?;
    Ok(([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], text).into_response())
}

/// Writes its report as it stands into a file of the server's machine.
#[utoipa::path(post, path = "/api/rollouts/{id}/report", operation_id = "writeReport", tag = "rollouts",
    responses((status = 200, description = "Where it is.", body = wire::Reported), Malformed, Unknown, Wrong))]
pub(crate) async fn write_report(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    _: Nothing,
) -> Answer<wire::Reported> {
    let path = shared.engine.report(&RolloutId::new(id)).await?;
    Ok(Json(wire::Reported { kind: "report".to_owned(), path: path.display().to_string() }))
}

async fn act(shared: &Shared, headers: &HeaderMap, id: String, action: Action, caller: Caller) -> Answer<wire::Done> {
    let id = RolloutId::new(id);
    let seen = Seen::of(headers);
    if let Some(seen) = &seen {
        seen.check(&found(&shared.engine, &id)?)?;
    }
    let still = seen.map(|seen| seen.still(|live| wire::Rollout::present(live, now())));
    shared.engine.act(&id, action, caller.actor, still).await?;
    Ok(Json(wire::Done::told()))
}

/// One address for each action: each needs a role of its own.
macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident $action:ident $path:literal $operation:literal),*) => {
        $($(#[$doc])*
        #[utoipa::path(post, path = $path, operation_id = $operation, tag = "rollouts",
            responses((status = 200, description = "It is done.", body = wire::Done), Malformed, Unknown, Unfit, Unwritten, Gone))]
        pub(crate) async fn $name(
            State(shared): State<Shared>,
            Extension(caller): Extension<Caller>,
            Path(id): Path<String>,
            headers: HeaderMap,
            _: Nothing,
        ) -> Answer<wire::Done> {
            act(&shared, &headers, id, Action::$action, caller).await
        })*
    };
}

actions!(
    /// Goes to its last weight without waiting for proof.
    promote Promote "/api/rollouts/{id}/promote" "promoteRollout",
    /// Stays at its weight.
    pause Pause "/api/rollouts/{id}/pause" "pauseRollout",
    /// Goes on.
    resume Resume "/api/rollouts/{id}/resume" "resumeRollout",
    /// All traffic goes back, at once.
    abort Abort "/api/rollouts/{id}/abort" "abortRollout"
);
