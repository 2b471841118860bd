//! Whether people can be told: what waits to be, and tests.

use crate::{
    Shared, deploy,
    listed::{self, Page},
    openapi::{Malformed, Unfit, Unknown, Unread, Wrong},
    problem::Problem,
    routes::Answer,
    services::key,
    take::{Body, Nothing, Path},
    wire,
};
use axum::{Extension, Json, extract::State, response::Response};
use davy_core::{Channel, ServiceKey};
use davy_engine::Caller;

/// What was not told yet, as far as the caller may see.
#[utoipa::path(get, path = "/api/notify", operation_id = "listUntold", tag = "server", params(listed::Asked),
    responses((status = 200, description = "A page of it.", body = Vec<wire::Untold>), Malformed))]
pub(crate) async fn standing(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    page: Page,
) -> Result<Response, Problem> {
    let sequence = *shared.engine.written().borrow();
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
    let name = |one: &wire::Untold| format!("{}/{}/{}", one.environment, one.service, one.channel);
    let mut told: Vec<_> = told.collect();
    told.sort_by_key(name);
    page.rising(told, name, sequence)
}

/// Sends each channel of what is deployed a message that says that it is a test.
#[utoipa::path(post, path = "/api/services/{environment}/{service}/notify/test", operation_id = "testServiceNotifications", tag = "services",
    responses((status = 200, description = "What came of it, channel by channel.", body = Vec<wire::Tested>), Malformed, Unknown, Unfit, Unread))]
pub(crate) async fn test_deployed(
    State(shared): State<Shared>,
    Path((environment, service)): Path<(String, String)>,
    _: Nothing,
) -> Answer<Vec<wire::Tested>> {
    let key = key(&environment, &service)?;
    let policy = shared.engine.policy(&key).await?;
    Ok(Json(tested(&shared, &key, &policy.notify).await))
}

/// Sends each channel of a file a message that says that it is a test.
#[utoipa::path(post, path = "/api/notify/test", operation_id = "testNotifications", tag = "server", request_body = wire::Deploy,
    responses((status = 200, description = "What came of it, channel by channel.", body = Vec<wire::Tested>), Malformed, Wrong))]
pub(crate) async fn test(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(body): Body<wire::Deploy>,
) -> Answer<Vec<wire::Tested>> {
    let (_, found) = deploy::asked(&shared, &caller, &body).await?;
    Ok(Json(tested(&shared, &found.key, &found.policy.notify).await))
}

async fn tested(shared: &Shared, key: &ServiceKey, channels: &[Channel]) -> Vec<wire::Tested> {
    let tested = shared.notifier.test(key, channels).await;
    let told = tested.into_iter().map(|one| wire::Tested {
        kind: "tested".to_owned(),
        channel: one.channel,
        ok: one.trouble.is_none(),
        trouble: one.trouble,
    });
    told.collect()
}
