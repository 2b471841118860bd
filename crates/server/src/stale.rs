//! Acting on what one saw: an `etag` names how a rollout or a service stands, and `if-match` makes an action wait for nothing else.
//!
//! It changes with what a person decides on (the state, the step, the weight asked for, the verdict, a pause, the outcome) and not with
//! counts, which change all the time.

use crate::{problem::Problem, wire};
use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// How something stands.
pub(crate) trait Standing: Serialize {
    /// What it stands by, in order.
    fn stands(&self) -> Vec<String>;
}

impl Standing for wire::Rollout {
    fn stands(&self) -> Vec<String> {
        let Self { id, state, step, weight, verdict, paused, outcome, .. } = self;
        vec![
            id.to_string(),
            state.clone(),
            step.to_string(),
            weight.intended.to_string(),
            format!("{verdict:?}"),
            format!("{:?}", paused.as_ref().map(|pause| pause.since)),
            format!("{outcome:?}"),
        ]
    }
}

impl Standing for wire::ServiceDetail {
    fn stands(&self) -> Vec<String> {
        let wire::Service { service, environment, state, stable, rollout, .. } = &self.service;
        let id = |id: Option<&str>| id.unwrap_or_default().to_owned();
        let stable = id(stable.as_ref().map(davy_core::ReleaseId::as_str));
        let rollout = id(rollout.as_ref().map(davy_core::RolloutId::as_str));
        vec![environment.clone(), service.clone(), state.clone(), stable, rollout]
    }
}

/// Its tag.
fn tag(of: &impl Standing) -> String {
    let mut hash = Sha256::new();
    for part in of.stands() {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digits: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

/// The answer with its tag.
pub(crate) fn tagged(of: &impl Standing) -> Response {
    let mut response = Json(of).into_response();
    if let Ok(tag) = HeaderValue::try_from(tag(of)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Refuses an action on what has changed since it was seen; `now` is asked only where the request says what was.
pub(crate) fn check<T: Standing>(headers: &HeaderMap, now: impl FnOnce() -> Result<T, Problem>) -> Result<(), Problem> {
    let mut seen = headers.get_all(header::IF_MATCH).into_iter().peekable();
    if seen.peek().is_none() {
        return Ok(());
    }
    let tag = tag(&now()?);
    let fits = |one: &str| one.trim() == "*" || one.trim() == tag;
    if seen.any(|value| value.to_str().is_ok_and(|value| value.split(',').any(fits))) {
        return Ok(());
    }
    let why = "it has changed since it was looked at, and nothing was done";
    Err(Problem::new(StatusCode::CONFLICT, "A025", why).hint("look again, then decide again"))
}

#[cfg(test)]
mod tests {
    use super::{Standing, check, tag};
    use axum::http::{HeaderMap, HeaderValue, header};

    #[derive(serde::Serialize)]
    struct Stands(&'static str);

    impl Standing for Stands {
        fn stands(&self) -> Vec<String> {
            vec![self.0.to_owned()]
        }
    }

    #[test]
    fn what_was_seen_has_to_be_so_still() {
        let seen = tag(&Stands("holding"));
        let fits = |value: &str, now| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, HeaderValue::from_str(value).expect("a value"));
            check(&headers, || Ok(Stands(now))).is_ok()
        };
        assert!(fits(&seen, "holding") && fits(&format!("\"x\", {seen}"), "holding") && fits("*", "paused"));
        assert!(!fits(&seen, "paused") && !fits(&format!("W/{seen}"), "holding") && !fits("", "holding"));
        assert!(check(&HeaderMap::new(), || -> Result<Stands, _> { unreachable!("nobody asks") }).is_ok());
    }
}
