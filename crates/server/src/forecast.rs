//! Whether a service has the traffic that a rollout needs: said before it begins.

use crate::problem::Problem;
use axum::http::StatusCode;
use davy_core::rollout::{RequestKind, TooSlow, plan, too_slow};
use davy_engine::{Deploy, Engine};

/// Refuses a margin of the user's own that cannot be proven in time; where the margins are Davy's, says so and goes on: a
/// repair must not wait for traffic.
pub(crate) async fn check(engine: &Engine, deploy: &Deploy) -> Result<Vec<String>, Problem> {
    let Deploy { key, workload, policy, .. } = deploy;
    let Some(old) =
        engine.service(key).and_then(|live| live.state.stable.as_ref().map(|stable| stable.workload.replicas))
    else {
        return Ok(Vec::new());
    };
    let steps = plan(policy, RequestKind::Deploy, workload.replicas, Some(old));
    let Some(rate) = engine.rate(key).await else { return Ok(Vec::new()) };
    let Some(TooSlow { message, hint }) = too_slow(policy, &steps, rate.per_second()) else { return Ok(Vec::new()) };
    if rate.requests == 0 {
        let seconds = rate.seconds.round();
        return Ok(vec![format!(
            "no request came in the last {seconds}s: without traffic no step is proven, and it waits for a person"
        )]);
    }
    match policy.analysis.margin {
        Some(_) => {
            let message = format!("the margin cannot be proven in time: {message}");
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "A020", message).hint(hint))
        }
        None => Ok(vec![format!("{message}; {hint}")]),
    }
}
