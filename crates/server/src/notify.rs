//! Whether people can be told: what waits to be, and tests.

use crate::{
    Shared,
    routes::{Answer, asked},
    wire,
};
use axum::{Extension, Json, body::Bytes, extract::State};
use davy_engine::Caller;

/// What was not told yet, as far as the caller may see.
pub(crate) async fn standing(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Json<Vec<wire::Untold>> {
    let reached =
        shared.notifier.standing().into_iter().filter(|one| caller.reaches(one.lane.key.environment.as_str()));
    let told = reached.map(|one| wire::Untold {
        kind: "untold".to_owned(),
        service: one.lane.key.service.to_string(),
        environment: one.lane.key.environment.to_string(),
        channel: one.lane.channel,
        waiting: one.waiting,
        since: one.since,
        attempts: one.attempts,
        trouble: one.trouble,
    });
    Json(told.collect())
}

/// Sends each channel of a file a message that says that it is a test.
pub(crate) async fn test(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    bytes: Bytes,
) -> Answer<Vec<wire::Tested>> {
    let (_, found) = asked(&shared, &caller, &bytes).await?;
    let tested = shared.notifier.test(&found.key, &found.policy.notify).await;
    let told = tested.into_iter().map(|one| wire::Tested {
        kind: "tested".to_owned(),
        channel: one.channel,
        ok: one.trouble.is_none(),
        trouble: one.trouble,
    });
    Ok(Json(told.collect()))
}
