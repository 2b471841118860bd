//! Acting on what one saw: an `etag` names how a rollout or a service stands, and `if-match` makes an action wait for nothing else.
//!
//! It changes with what a person decides on (the state, the step, the weight asked for, the verdict, a pause, the outcome) and not with
//! counts, which change all the time. Whether it is so still is decided by the engine when the action's turn comes.

use crate::{problem::Problem, wire};
use axum::{
    Json,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use davy_engine::{EngineError, Live, Still};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::sync::Arc;

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
        self.service.stands()
    }
}

impl Standing for wire::Service {
    fn stands(&self) -> Vec<String> {
        let Self { service, environment, state, stable, rollout, .. } = self;
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

/// The tags of what somebody saw.
#[derive(Clone)]
pub(crate) struct Seen(Arc<[String]>);

impl Seen {
    /// What a request says that was seen; none where it says nothing, or takes whatever is there.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let values: Vec<_> = headers.get_all(header::IF_MATCH).into_iter().collect();
        let tags = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        let tags: Vec<String> = tags.map(|tag| tag.trim().to_owned()).collect();
        (!values.is_empty() && !tags.iter().any(|tag| tag == "*")).then(|| Self(tags.into()))
    }

    fn is(&self, now: &impl Standing) -> bool {
        self.0.contains(&tag(now))
    }

    /// Refuses at once what does not stand so any more: what is over has no turn.
    pub(crate) fn check(&self, now: &impl Standing) -> Result<(), Problem> {
        if self.is(now) { Ok(()) } else { Err(EngineError::Changed.into()) }
    }

    /// The same for the turn that comes.
    pub(crate) fn still<T: Standing>(self, view: impl Fn(&Live) -> Option<T> + Send + Sync + 'static) -> Still {
        Arc::new(move |live| view(live).is_some_and(|view| self.is(&view)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Seen, Standing, tag};
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
            Seen::of(&headers).is_none_or(|seen| seen.check(&Stands(now)).is_ok())
        };
        assert!(fits(&seen, "holding") && fits(&format!("\"x\", {seen}"), "holding") && fits("*", "paused"));
        assert!(!fits(&seen, "paused") && !fits(&format!("W/{seen}"), "holding") && !fits("", "holding"));
        assert!(Seen::of(&HeaderMap::new()).is_none());
    }
}
