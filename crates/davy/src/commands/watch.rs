//! A rollout followed to its end: repainted on a terminal, a line for each change off it, JSON when asked.

use crate::{
    cli::Watching,
    client::Client,
    exit::{DONE, Exit, Failure},
    output, view,
};
use davy_core::{RolloutId, rollout::Outcome};
use davy_server::wire::Rollout;
use std::time::Duration;
use tokio::time::Instant;

const EVERY: Duration = Duration::from_millis(400);
/// How long an unreachable server is asked again: it may be restarting.
const PATIENCE: Duration = Duration::from_secs(20);

/// Follows a rollout until it is promoted, put back, or waits (when asked to end there).
pub(crate) async fn rollout(client: &Client, id: &RolloutId, watching: &Watching, json: bool) -> Result<Exit, Failure> {
    let until = watching.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let following = follow(client, id, watching.exit_on_pause, json);
    let limit = async {
        match until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = following => ended,
        () = limit => {
            output::say(&format!("stopped watching; rollout {id} goes on: `davy rollout watch {id}`"));
            Ok(Exit::TimedOut)
        }
        _ = tokio::signal::ctrl_c() => {
            output::say(&format!("\ndetached; rollout {id} goes on: `davy rollout watch {id}`, `davy rollout abort {id}`"));
            Ok(Exit::Detached)
        }
    }
}

async fn follow(client: &Client, id: &RolloutId, exit_on_pause: bool, json: bool) -> Result<Exit, Failure> {
    let path = format!("/api/rollouts/{id}");
    let mut client = client.clone();
    let (mut painted, mut told, mut lost) = (0, String::new(), None::<Instant>);
    loop {
        let seen: Rollout = match client.get(&path).await {
            Ok(seen) => seen,
            Err(failure) if failure.exit == Exit::Unreachable => {
                let since = *lost.get_or_insert_with(|| {
                    output::say("the server cannot be reached; trying again");
                    painted = 0;
                    Instant::now()
                });
                if since.elapsed() > PATIENCE {
                    return Err(failure);
                }
                tokio::time::sleep(EVERY).await;
                client = client.again();
                continue;
            }
            Err(failure) => return Err(failure),
        };
        lost = None;
        if json {
            output::json(&seen);
        } else if output::repaints() {
            painted = output::repaint(painted, &view::lines(&seen, columns()));
        } else {
            let now = told_of(&seen);
            if now != told {
                output::data(&view::line(&seen));
                told = now;
            }
        }
        if let Some(exit) = ended(&seen, exit_on_pause, json) {
            return Ok(exit);
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What must change for a new line off a terminal.
fn told_of(seen: &Rollout) -> String {
    format!("{} {} {:?} {:?}", seen.state, seen.step, seen.verdict, seen.weight.intended)
}

fn columns() -> usize {
    let from_terminal = rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col));
    from_terminal.filter(|columns| *columns >= 20).unwrap_or(100)
}

fn ended(seen: &Rollout, exit_on_pause: bool, json: bool) -> Option<Exit> {
    let held = exit_on_pause && seen.state == "paused";
    let over = ["promoted", "rolled-back", "aborted", "superseded", "removed"].contains(&seen.state.as_str());
    let (word, exit) = match seen.outcome {
        Some(Outcome::Promoted) => ("promoted", DONE),
        Some(Outcome::Removed) if over => ("removed", DONE),
        Some(outcome) if over => {
            (outcome.as_str(), if outcome == Outcome::RolledBack { Exit::RolledBack } else { Exit::Ended })
        }
        _ if held => ("held", Exit::Held),
        _ => return None,
    };
    match json {
        true => output::json(&serde_json::json!({ "type": "outcome", "rollout": seen.id, "outcome": word })),
        false => {
            output::data(&format!("{word}: {}", view::because(seen)));
            output::say(&format!("  `davy rollout explain {}` has every decision with its evidence", seen.id));
        }
    }
    Some(exit)
}
