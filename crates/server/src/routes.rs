//! The API's addresses, and what belongs to the server itself.

use crate::{
    Shared, Stop, address, deploy, events, guard, notify, once,
    openapi::{self, Failed, Malformed},
    problem::Problem,
    rollouts, secrets, services, session, setup, site,
    take::Perhaps,
    tokens, wire,
};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::Response,
};
use davy_engine::Caller;
use futures_util::{Stream, StreamExt};
use std::time::Duration;
use tokio::sync::oneshot;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Above the file's own limit, so that the file's own message is seen.
pub(crate) const BODY: usize = 16 * 1024 * 1024;

/// Every address of the API, with its description.
pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default()
        .routes(routes!(health))
        .routes(routes!(openapi::description))
        .routes(routes!(deploy::deploy))
        .routes(routes!(deploy::check))
        .routes(routes!(rollouts::list))
        .routes(routes!(rollouts::one))
        .routes(routes!(rollouts::records))
        .routes(routes!(rollouts::timeline))
        .routes(routes!(rollouts::changes))
        .routes(routes!(rollouts::report, rollouts::write_report))
        .routes(routes!(rollouts::promote))
        .routes(routes!(rollouts::pause))
        .routes(routes!(rollouts::resume))
        .routes(routes!(rollouts::abort))
        .routes(routes!(services::list))
        .routes(routes!(services::one))
        .routes(routes!(services::remove))
        .routes(routes!(services::rollback))
        .routes(routes!(services::logs))
        .routes(routes!(services::traffic))
        .routes(routes!(secrets::list, secrets::set))
        .routes(routes!(secrets::remove))
        .routes(routes!(notify::standing))
        .routes(routes!(notify::test))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(session::whoami, session::sign_in, session::sign_out))
        .routes(routes!(session::code))
        .routes(routes!(session::elsewhere::ways))
        .routes(routes!(session::elsewhere::start))
        .routes(routes!(session::elsewhere::callback))
        .routes(routes!(session::list))
        .routes(routes!(session::end))
        .routes(routes!(tokens::checkpoint))
        .routes(routes!(tokens::deeds))
        .routes(routes!(setup::found))
        .routes(routes!(setup::draft))
        .routes(routes!(setup::review))
        .routes(routes!(setup::check))
        .routes(routes!(setup::forecast))
        .routes(routes!(events::follow))
        .routes(routes!(shutdown))
}

pub(crate) fn app(shared: Shared) -> Router {
    let (api, _) = routes().split_for_parts();
    api.fallback(site::serve)
        .layer(middleware::from_fn_with_state(shared.clone(), once::check))
        .layer(middleware::from_fn_with_state(shared.clone(), guard::check))
        .layer(middleware::from_fn(address::check))
        .layer(middleware::from_fn(said))
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(shared)
}

/// What every answer of the API says of itself: nothing keeps it, and it is what it says that it is.
async fn said(request: Request, next: Next) -> Response {
    let is_api = site::is_api(request.uri().path());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_api {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

pub(crate) type Answer<T> = Result<Json<T>, Problem>;

/// Which server answers, of which version.
#[utoipa::path(get, path = "/api/health", operation_id = "getHealth", tag = "server",
    responses((status = 200, description = "It answers.", body = wire::Health)))]
async fn health() -> Json<wire::Health> {
    Json(wire::Health { kind: "health".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() })
}

/// Ends once the token was revoked or has expired: at the next item, or soon when there is none.
pub(crate) fn while_admitted<T>(items: impl Stream<Item = T>, shared: Shared, caller: Caller) -> impl Stream<Item = T> {
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

/// Ends the server; gateway and instances with it, unless traffic is to be kept.
#[utoipa::path(post, path = "/api/shutdown", operation_id = "shutDown", tag = "server", request_body = Option<wire::Shutdown>,
    responses((status = 200, description = "It ends.", body = wire::Done), Malformed, Failed))]
async fn shutdown(State(shared): State<Shared>, Perhaps(asked): Perhaps<wire::Shutdown>) -> Answer<wire::Done> {
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
        Ok(Ok(())) | Err(_) => Ok(Json(wire::Done { kind: "stopping".to_owned() })),
    }
}
