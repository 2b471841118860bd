//! Signing in on the page, and out.

pub(crate) mod cookie;
pub(crate) mod door;
pub(crate) mod elsewhere;
pub(crate) mod origin;

use crate::{
    Shared,
    limits::Asker,
    listed::{self, Page},
    openapi::{Foreign, Malformed, Refused as Denied, Unfit, Unwritten, Wrong},
    problem::Problem,
    routes::Answer,
    take::{Body, Nothing, Path, Perhaps},
    wire,
};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use cookie::Kept;
use davy_core::EnvironmentName;
use davy_engine::{Caller, EngineError, Refused, Role, Session, SignedIn, Way};

/// How, in a word.
const fn word(way: &Way) -> &'static str {
    match way {
        Way::Code => "code",
        Way::Token => "token",
        Way::Oidc(_) => "oidc",
        Way::Github(_) => "github",
    }
}

fn names(environments: &[EnvironmentName]) -> Vec<String> {
    environments.iter().map(ToString::to_string).collect()
}

fn shown(session: &Session) -> wire::Session {
    wire::Session {
        kind: "session".to_owned(),
        name: session.actor.to_string(),
        role: session.role,
        environments: names(&session.environments),
        expires: Some(session.expires),
        by: word(&session.way).to_owned(),
    }
}

/// Signs in by a code or a token: only the page itself may, with `davy-page: 1`. The answer sets the session's cookie.
#[utoipa::path(post, path = "/api/session", operation_id = "signIn", tag = "session", request_body = wire::SignIn,
    responses((status = 200, description = "Who is signed in.", body = wire::Session), Malformed, Denied, Foreign, Unwritten))]
pub(crate) async fn sign_in(
    State(shared): State<Shared>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    Body(asked): Body<wire::SignIn>,
) -> Result<Response, Problem> {
    origin::check(&headers)?;
    shared.door.may_try(asker)?;
    let signed = match (asked.code, asked.token) {
        (Some(code), None) => shared.access.sign_in_by_code(&code).await,
        (None, Some(token)) => shared.access.sign_in_by_token(token.trim()).await,
        _ => return Err(Problem::new(StatusCode::BAD_REQUEST, "A004", "either `code` or `token` is needed")),
    };
    let refused = |why: String, hint: &str| {
        shared.door.tried(asker);
        Problem::new(StatusCode::UNAUTHORIZED, "A029", why).hint(hint)
    };
    let SignedIn { secret, session } = signed.map_err(|error| match error {
        Refused::Code => refused(error.to_string(), "`davy sign-in` prints another"),
        Refused::Token(_) => refused(error.to_string(), "an admin makes another with `davy token create`"),
        Refused::Unwritten(error) => unwritten(error),
    })?;
    let cookie = shared.door.cookies.set(Kept::Session, &secret, session.ends.since(session.began));
    Ok(([(header::SET_COOKIE, cookie)], Json(shown(&session))).into_response())
}

/// It could not be written that somebody signs in or out.
fn unwritten(error: davy_ports::Error) -> Problem {
    let hint = "see that the disk is not full and that nothing else holds the database; tokens go on";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "A012", error.to_string()).hint(hint)
}

/// Who asks, and what he may do.
#[utoipa::path(get, path = "/api/session", operation_id = "getSession", tag = "session",
    responses((status = 200, description = "Who asks.", body = wire::Session)))]
pub(crate) async fn whoami(Extension(caller): Extension<Caller>) -> Json<wire::Session> {
    Json(match &caller.session {
        Some(session) => shown(session),
        None => wire::Session {
            kind: "session".to_owned(),
            name: caller.actor.to_string(),
            role: caller.role,
            environments: names(&caller.environments),
            expires: None,
            by: word(&Way::Token).to_owned(),
        },
    })
}

/// Signs out: the session is worth nothing any more, and its cookie is taken back.
#[utoipa::path(delete, path = "/api/session", operation_id = "signOut", tag = "session",
    responses((status = 204, description = "Nobody is signed in any more."), Malformed, Unfit, Unwritten))]
pub(crate) async fn sign_out(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    _: Nothing,
) -> Result<Response, Problem> {
    let Some(session) = &caller.session else {
        let hint = "`davy token revoke` takes a token back";
        return Err(Problem::new(StatusCode::CONFLICT, "A037", "a token asks, and no session").hint(hint));
    };
    shared.access.sign_out(session).await.map_err(unwritten)?;
    let cookie = shared.door.cookies.clear(Kept::Session);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// Makes a code that signs somebody in once, within ten minutes.
#[utoipa::path(post, path = "/api/session/codes", operation_id = "createCode", tag = "session", request_body = Option<wire::MakeCode>,
    responses((status = 200, description = "The code. This is the only time that it is seen.", body = wire::Code), Malformed, Wrong))]
pub(crate) async fn code(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Perhaps(asked): Perhaps<wire::MakeCode>,
) -> Answer<wire::Code> {
    let environments = asked.environments.into_iter().map(EnvironmentName::new).collect::<Result<Vec<_>, _>>();
    let environments =
        environments.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "A007", error.to_string()))?;
    let role = asked.role.unwrap_or(Role::Admin);
    let grant = shared.access.grant(&caller, asked.name, role, environments).map_err(EngineError::Place)?;
    let (code, expires) = shared.access.code(grant).map_err(EngineError::Place)?;
    Ok(Json(wire::Code { kind: "code".to_owned(), code, expires, url: shared.door.reached.url.clone() }))
}

/// Who is signed in, the first to come first.
#[utoipa::path(get, path = "/api/sessions", operation_id = "listSessions", tag = "session", params(listed::Asked),
    responses((status = 200, description = "A page of them.", body = Vec<wire::SignedIn>), Malformed))]
pub(crate) async fn list(State(shared): State<Shared>, page: Page) -> Result<Response, Problem> {
    let sequence = *shared.engine.written().borrow();
    let one = |session: Session| wire::SignedIn {
        kind: "signed-in".to_owned(),
        session: session.called().to_owned(),
        name: session.actor.to_string(),
        role: session.role,
        environments: names(&session.environments),
        by: word(&session.way).to_owned(),
        provider: match session.way {
            Way::Oidc(name) | Way::Github(name) => Some(name),
            Way::Code | Way::Token => None,
        },
        began: session.began,
        expires: session.expires,
    };
    let name = |one: &wire::SignedIn| format!("{:020}/{}", one.began.0, one.session);
    let mut all: Vec<_> = shared.access.sessions().into_iter().map(one).collect();
    all.sort_by_key(name);
    page.rising(all, name, sequence)
}

/// Ends all sessions of somebody.
#[utoipa::path(post, path = "/api/sessions/{name}/end", operation_id = "endSessions", tag = "session",
    responses((status = 200, description = "They are ended.", body = wire::SessionsEnded), Malformed, Wrong))]
pub(crate) async fn end(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    _: Nothing,
) -> Answer<wire::SessionsEnded> {
    let sessions = shared.access.end_sessions(&name, &caller.actor).await.map_err(EngineError::Place)?;
    Ok(Json(wire::SessionsEnded { kind: "sessions-ended".to_owned(), name, sessions }))
}
