//! The API's addresses, and what belongs to the server itself.

use crate::{
    Shared, Stop, address, audit, deploy, events, guard, metrics, notify, once,
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
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter},
    routes,
};

/// Above the file's own limit, so that the file's own message is seen.
pub(crate) const BODY: usize = 16 * 1024 * 1024;

/// Every address of the API, with its description.
fn parts() -> Vec<UtoipaMethodRouter<Shared>> {
    vec![
        routes!(health),
        routes!(openapi::description),
        routes!(deploy::deploy),
        routes!(deploy::check),
        routes!(rollouts::list),
        routes!(rollouts::one),
        routes!(rollouts::records),
        routes!(rollouts::timeline),
        routes!(rollouts::changes),
        routes!(rollouts::report, rollouts::write_report),
        routes!(rollouts::promote),
        routes!(rollouts::pause),
        routes!(rollouts::resume),
        routes!(rollouts::abort),
        routes!(services::list),
        routes!(services::one),
        routes!(services::remove),
        routes!(services::rollback),
        routes!(services::logs),
        routes!(services::traffic),
        routes!(notify::test_deployed),
        routes!(metrics::check),
        routes!(secrets::list, secrets::set),
        routes!(secrets::remove),
        routes!(notify::standing),
        routes!(notify::test),
        routes!(tokens::list, tokens::create),
        routes!(tokens::revoke),
        routes!(session::whoami, session::sign_in, session::sign_out),
        routes!(session::code),
        routes!(session::elsewhere::ways),
        routes!(session::elsewhere::start),
        routes!(session::elsewhere::callback),
        routes!(session::list),
        routes!(session::end),
        routes!(tokens::checkpoint),
        routes!(tokens::deeds),
        routes!(audit::verify),
        routes!(setup::found),
        routes!(setup::draft),
        routes!(setup::review),
        routes!(setup::check),
        routes!(setup::forecast),
        routes!(events::follow),
        routes!(shutdown),
    ]
}

/// All of them together.
pub(crate) fn routes() -> OpenApiRouter<Shared> {
    parts().into_iter().fold(OpenApiRouter::default(), OpenApiRouter::routes)
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

#[cfg(test)]
mod tests {
    use super::parts;
    use std::collections::BTreeMap;

    /// Two types of one name would take each other's place in the description.
    #[test]
    fn a_name_in_the_description_is_one_types() {
        let mut known = BTreeMap::new();
        for (name, schema) in parts().into_iter().flat_map(|(schemas, ..)| schemas) {
            let schema = serde_json::to_value(schema).expect("JSON");
            let before = known.insert(name.clone(), schema.clone());
            assert!(
                before.is_none_or(|before| before == schema),
                "two types are called {name}: give one `schema(as = …)`"
            );
        }
        assert!(known.len() > 100, "{}", known.len());
    }
}
