//! What the limits of a form catch at the service's traffic: the machine, the judge and the guard in simulated rollouts.

use super::wire::{Fate, Forecast};
use crate::{Shared, problem::Problem};
use axum::http::StatusCode;
use davy_config::Deployment;
use davy_core::{
    Policy,
    rollout::{RequestKind, about, plan, too_slow},
};
use davy_simulation::{Comparison, Machine, Named, Summary, Traffic};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The most rollouts that are drawn for one figure.
const RUNS: u64 = 200;
/// The time for one figure, once it rests on [`LEAST`] rollouts.
const PATIENCE: Duration = Duration::from_millis(300);
/// Fewer rollouts say nothing, unless all figures together have taken longer than [`ENOUGH`]: a rollout with little traffic is long.
const LEAST: u64 = 3;
const ENOUGH: Duration = Duration::from_secs(4);
/// Stable is assumed to fail so often, as a fraction.
const BASELINE: f64 = 0.001;
/// Versions that fail so often, as fractions, the worst first.
const FAILS: [f64; 4] = [1.0, 0.05, 0.01, BASELINE];
/// Where nothing is measured and nothing is said.
const ASSUMED: f64 = 10.0;
/// More requests a second take longer to draw than anybody waits.
const MOST: f64 = 100_000.0;
/// One at a time: each takes a whole core.
static TURN: Semaphore = Semaphore::const_new(1);

pub(super) async fn tell(shared: &Shared, deployment: &Deployment, asked: Option<f64>) -> Result<Forecast, Problem> {
    let wrong = |why: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "A043", why);
    let seen = shared.engine.rate(&deployment.key).await.map(|rate| rate.per_second()).filter(|rate| *rate > 0.0);
    let (rate, measured) = match (asked, seen) {
        (Some(rate), _) => (rate, false),
        (None, Some(rate)) => (rate, true),
        (None, None) => (ASSUMED, false),
    };
    if !(rate > 0.0 && rate <= MOST) {
        let problem = wrong(format!("{rate} requests/s cannot be forecast"));
        return Err(problem.hint(format!("give a number above 0 and at most {MOST}")));
    }
    let (policy, replicas) = (deployment.policy.clone(), deployment.workload.replicas);
    let is_first = shared.engine.service(&deployment.key).is_none_or(|live| live.state.stable.is_none());
    let _turn = TURN.acquire().await;
    let drawn = tokio::task::spawn_blocking(move || draw(&policy, replicas, rate).map(|versions| (policy, versions)));
    let drawn = drawn.await.map_err(|error| wrong(format!("the rollouts could not be drawn: {error}")))?;
    let (policy, versions) = drawn.map_err(wrong)?;
    let mut sentences = Vec::new();
    if is_first {
        let first = "The first version serves at once: there is nothing to compare it with. What follows is about each later one.";
        sentences.push(first.to_owned());
    }
    sentences.extend(versions.iter().map(|fate| sentence(fate, rate)));
    let steps = plan(&policy, RequestKind::Deploy, replicas, Some(replicas));
    if let Some(slow) = too_slow(&policy, &steps, rate) {
        sentences.push(format!("That is little traffic: {}; {}.", slow.message, slow.hint));
    }
    sentences.push(format!(
        "Stable is assumed to fail 0.1 % of its requests. A version that is as good is taken back in at most {} % of rollouts.",
        policy.analysis.alpha * 100.0
    ));
    if policy.analysis.latency.is_some() || policy.analysis.not_slower_than.is_some() {
        sentences.push("Limits of latency are watched, too, and are not part of these figures.".to_owned());
    }
    Ok(Forecast { kind: "forecast".to_owned(), rate, measured, sentences, versions })
}

fn draw(policy: &Policy, replicas: u32, rate: f64) -> Result<Vec<Fate>, String> {
    let davy = Machine::new(replicas, policy.clone()).map_err(|error| error.to_string())?;
    let all = Instant::now();
    let drawn = FAILS.into_iter().map(|fails| {
        let traffic = Traffic { rate, baseline: BASELINE, canary: fails, ..Traffic::default() };
        let alpha = policy.analysis.alpha;
        let world = Comparison { traffic, davy: davy.clone(), steps: Vec::new(), hold_s: 0, alpha };
        let began = Instant::now();
        let mut outcomes = Vec::new();
        for seed in 0..RUNS {
            let least = if all.elapsed() < ENOUGH { LEAST } else { 1 };
            if seed >= least && began.elapsed() >= PATIENCE {
                break;
            }
            outcomes.push(world.run(Named::Davy, seed));
        }
        let Summary { runs, rolled_back, promoted, undecided, harm, seconds } = Summary::of(&outcomes);
        Fate { fails, rollouts: runs, rolled_back, promoted, undecided, failed: harm, seconds }
    });
    Ok(drawn.collect())
}

/// One version's fate in plain words.
fn sentence(fate: &Fate, rate: f64) -> String {
    let rate = if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") };
    let version = match fate.fails {
        1.0 => "that fails every request".to_owned(),
        BASELINE => "that is as good as stable".to_owned(),
        fails => format!("that fails {} % of its requests", fails * 100.0),
    };
    let all = fate.rollouts;
    let (median, nearly) = (about(fate.seconds.0.max(1.0)), about(fate.seconds.1.max(1.0)));
    let begin = format!("At {rate} requests/s, a version {version}");
    let most =
        [("is taken back", fate.rolled_back), ("takes over", fate.promoted), ("waits for a person", fate.undecided)];
    let (what, times) = most.into_iter().max_by_key(|(_, times)| *times).unwrap_or_default();
    let often = if times == all { String::new() } else { format!(" in {times} of {all} simulated rollouts") };
    let failed = match fate.failed.0 {
        1 => "1 failed request".to_owned(),
        failed => format!("{failed} failed requests"),
    };
    match what {
        "is taken back" => {
            // Of fewer rollouts nobody can say what one of twenty does.
            let most = if all < 20 || median == nearly {
                String::new()
            } else {
                format!(", {nearly} at most in 19 of 20 rollouts")
            };
            format!("{begin} is taken back{often} after about {failed}, within about {median}{most}.")
        }
        "takes over" => format!("{begin} takes all traffic{often} after about {median}."),
        _ => format!(
            "{begin} is neither proven nor refuted{often}: it waits for a person, and costs about {failed} in a day."
        ),
    }
}
