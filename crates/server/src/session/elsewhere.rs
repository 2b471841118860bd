//! Signing in by others who vouch: the browser goes there and comes back.

use super::{cookie::Kept, shown, word};
use crate::{
    Shared,
    problem::Problem,
    take::{Path, Query},
    wire,
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use davy_core::{Actor, Millis};
use davy_engine::{Grant, Role, SignedIn, Way};
use davy_identity::{Identity, Person, Refused, Returned, Started};
use serde::Deserialize;

/// Where the page says what went wrong, by its word.
const PROBLEM: &str = "/sign-in?problem=";

/// Who vouches for people here, and who is signed in already in the browser that asks.
#[utoipa::path(get, path = "/api/session/ways", operation_id = "listWays", tag = "session",
    responses((status = 200, description = "The ways besides a code or a token.", body = wire::Ways)))]
pub(crate) async fn ways(State(shared): State<Shared>, headers: HeaderMap) -> Json<wire::Ways> {
    let ways = shared.door.identity.as_ref().map(Identity::ways).unwrap_or_default();
    let way = |way: davy_identity::Way| wire::Way {
        start: format!("/api/session/start/{}", way.name),
        kind: way.kind.to_owned(),
        name: way.title,
    };
    let mut secrets = shared.door.cookies.of(Kept::Session, &headers);
    let caller = secrets.find_map(|secret| shared.access.admit_session(secret).ok());
    let session = caller.and_then(|caller| caller.session).as_ref().map(shown);
    Json(wire::Ways { kind: "ways".to_owned(), ways: ways.into_iter().map(way).collect(), session })
}

/// Sends the browser on. What it is told says nothing to whom it goes to.
fn go(to: &str, cookies: impl IntoIterator<Item = HeaderValue>) -> Response {
    let Ok(to) = HeaderValue::from_str(to) else { return StatusCode::BAD_GATEWAY.into_response() };
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::LOCATION, to),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    let mut response = (StatusCode::SEE_OTHER, headers).into_response();
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn refused(shared: &Shared, name: &str, why: &Refused) -> Response {
    tracing::warn!(provider = name, %why, "nobody was signed in");
    go(&format!("{PROBLEM}{}", why.word()), [shared.door.cookies.clear(Kept::Elsewhere)])
}

#[derive(Deserialize)]
pub(crate) struct Begun {
    #[serde(default)]
    again: bool,
}

/// Begins to sign in elsewhere: the browser goes to whoever vouches.
#[utoipa::path(get, path = "/api/session/start/{name}", operation_id = "startSignIn", tag = "session",
    responses((status = 303, description = "To the provider; or to the page with a word on what is wrong.")))]
pub(crate) async fn start(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    begun: Result<Query<Begun>, Problem>,
    headers: HeaderMap,
) -> Response {
    let Some(identity) = &shared.door.identity else { return refused(&shared, &name, &Refused::NoProvider) };
    // It comes back to the name that the provider knows, and shows there what it was given here.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let known = identity.url().split_once("://").map(|(_, authority)| authority);
    let is_known = identity.ways().iter().any(|way| way.name == name);
    let again = begun.is_ok_and(|Query(begun)| begun.again);
    if is_known && !again && host != known {
        return go(&format!("{}/api/session/start/{name}?again=true", identity.url()), []);
    }
    match identity.start(&name).await {
        Ok(Started { location, kept, length }) => {
            let length = Millis::seconds(length.as_secs());
            go(&location, [shared.door.cookies.set(Kept::Elsewhere, &kept, length)])
        }
        Err(why) => refused(&shared, &name, &why),
    }
}

/// Ends to sign in elsewhere: the browser comes back from whoever vouches. The answer sets the session's cookie.
#[utoipa::path(get, path = "/api/session/callback/{name}", operation_id = "endSignIn", tag = "session",
    responses((status = 303, description = "To the page, signed in; or with a word on what is wrong.")))]
pub(crate) async fn callback(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    returned: Result<Query<Returned>, Problem>,
    headers: HeaderMap,
) -> Response {
    let Some(identity) = &shared.door.identity else { return refused(&shared, &name, &Refused::NoProvider) };
    let Ok(Query(returned)) = returned else { return refused(&shared, &name, &Refused::Stale) };
    let kept: Vec<&str> = shared.door.cookies.of(Kept::Elsewhere, &headers).collect();
    let Person { name: called, role, environments, kind } = match identity.end(&name, &returned, kept.into_iter()).await
    {
        Ok(person) => person,
        Err(why) => return refused(&shared, &name, &why),
    };
    let role = Role::ALL.into_iter().find(|known| known.as_str() == role).unwrap_or(Role::Viewer);
    let way = if kind == word(&Way::Github(String::new())) { Way::Github } else { Way::Oidc };
    let grant = Grant::vouched(Actor::new(called), role, environments);
    match shared.access.sign_in(grant, way(name.clone())).await {
        Ok(SignedIn { secret, session }) => {
            let cookies = &shared.door.cookies;
            let length = session.ends.since(session.began);
            go("/", [cookies.set(Kept::Session, &secret, length), cookies.clear(Kept::Elsewhere)])
        }
        Err(error) => refused(&shared, &name, &Refused::Unwritten(error.to_string())),
    }
}
