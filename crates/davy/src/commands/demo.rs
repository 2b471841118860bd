//! `davy demo`: a real canary over real HTTP on this machine, from nothing to its end, leaving nothing behind.

use crate::{
    api::Api,
    cli::{Demo, Scenario},
    exit::{DONE, Exit, Failure},
    home::Home,
    load::Load,
    output,
    packing::Packing,
    retention::Retention,
    server::{self, Base, Server},
    view,
};
use anyhow::Context;
use davy_core::{
    RolloutId, ServiceKey, Source, Timestamp, Window,
    rollout::{Cause, Event, Outcome},
};
use davy_engine::{Deploy, Engine};
use davy_ports::{Cursor, Error, Streamed, Telemetry};
use davy_server::wire::Rollout;
use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// The version on trial, as its answers name it.
const CANARY: &str = "v2";
/// Longer than every step's deadline together: something is wrong by then.
const LONGEST: Duration = Duration::from_secs(600);

/// A source whose counts never arrive.
struct Silent;

impl Telemetry for Silent {
    fn windows(&self, _: &ServiceKey, _: Option<Cursor>) -> Streamed<'static, Result<Window, Error>> {
        Box::pin(futures_util::stream::pending())
    }
}

struct Plan {
    rate: u32,
    stable: String,
    canary: String,
    /// How much longer the new version takes to answer, as a word of its command.
    slower: &'static str,
    steps: String,
    deadline: &'static str,
    seed: Option<u64>,
}

impl Plan {
    fn of(asked: &Demo) -> Self {
        let (rate, canary, deadline) = match asked.scenario {
            Scenario::Good | Scenario::Slow => (1_000, "0.1%", "10m"),
            Scenario::Errors => (1_000, "5%", "10m"),
            Scenario::Quiet => (1, "0.1%", "20s"),
            Scenario::Blind => (1_000, "0.1%", "20s"),
        };
        Self {
            rate: asked.rate.unwrap_or(rate),
            stable: "0.1%".to_owned(),
            canary: asked.error_rate.clone().unwrap_or_else(|| canary.to_owned()),
            slower: if asked.scenario == Scenario::Slow { " --latency 20ms" } else { "" },
            steps: match &asked.weight {
                Some(weight) => format!("{weight}, 100%"),
                None => "1%, 5%, 25%, 50%, 100%".to_owned(),
            },
            deadline,
            seed: asked.seed,
        }
    }

    fn file(&self, exe: &str, version: &str) -> String {
        let (rate, slower, offset) = match version {
            CANARY => (&self.canary, self.slower, 1),
            _ => (&self.stable, "", 0),
        };
        let seed = self.seed.map_or_else(String::new, |seed| format!(" --seed {}", seed.wrapping_add(offset)));
        format!(
            "service: logo\n\
             command: '\"{exe}\" logo --port $PORT --version {version} --error-rate {rate}{slower}{seed}'\n\
             health: {{ path: /healthz, grace: 20s, interval: 1s }}\n\
             rollout:\n  canary:\n    steps: [{}]\n    hold: 3s\n    deadline: {}\n  drain: 2s\n  bake: 5s\n",
            self.steps, self.deadline
        )
    }
}

pub(crate) async fn run(asked: &Demo, json: bool) -> Result<Exit, Failure> {
    server::log();
    let began = Instant::now();
    let folder = Folder::create()?;
    let home = Home::find(Some(&folder.0.join("data")))?;
    let blind: Option<Arc<dyn Telemetry>> = (asked.scenario == Scenario::Blind).then(|| Arc::new(Silent) as _);
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let base = Base::take(home, Api::at(any), &Default::default(), Retention::FOREVER, Packing::NEVER).await?;
    let base = Arc::new(base);
    let journal = base.open().await?;
    let server = Server::start(base, journal, any, Some(Default::default()), blind).await?;
    let (url, code) = server.page()?;
    output::say(&format!("see it at {url}; sign in there with {code}"));
    let interrupted = |why: &str| {
        let message = format!("{why}: everything that the demo started is stopped");
        Failure::new(Exit::Detached, "D100", message)
    };
    let showing = async {
        tokio::select! {
            shown = show(asked, &server, &folder, began, json) => shown,
            _ = tokio::signal::ctrl_c() => Err(interrupted("interrupted")),
            served = server.serve(std::future::pending()) => Err(served.err().unwrap_or_else(|| interrupted("somebody stopped it"))),
        }
    };
    let shown = showing.await;
    // Whoever has the page open wants to look at the end, too.
    let stays = !json && output::repaints() && server.is_looked_at();
    if let (Ok((_, outcome)), true) = (&shown, stays) {
        output::data(&summary(outcome));
        output::say(&format!("somebody is signed in at {url}: ctrl-c ends it"));
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = server.serve(std::future::pending()) => {}
        }
    }
    let told = shown.is_ok() && stays;
    let stopped = server.stop(false).await;
    let (exit, outcome) = shown?;
    stopped?;
    drop(folder);
    match json {
        true => output::json(&outcome),
        false if told => {}
        false => output::data(&summary(&outcome)),
    }
    Ok(exit)
}

async fn show(
    asked: &Demo,
    server: &Server,
    folder: &Folder,
    began: Instant,
    json: bool,
) -> Result<(Exit, serde_json::Value), Failure> {
    let plan = Plan::of(asked);
    let exe = std::env::current_exe().context("find the davy executable")?.to_string_lossy().into_owned();
    let engine = &server.engine;
    say(json, "starting the stable version; nothing to compare it with yet");
    let first = deploy(engine, folder, &plan.file(&exe, "v1")).await?;
    let first = until(engine, &first, json, |rollout| rollout.outcome.is_some()).await?;
    if first.outcome != Some(Outcome::Promoted) {
        let why = first.why.unwrap_or_default();
        return Err(Failure::new(Exit::Internal, "D101", format!("the stable version did not start: {why}")));
    }
    say(json, &format!("load: {} requests/s to http://{}", plan.rate, server.gateway));
    let load = Load::start(server.gateway, plan.rate, CANARY);
    let canary = deploy(engine, folder, &plan.file(&exe, CANARY)).await?;
    let seen = until(engine, &canary, json, |rollout| {
        rollout.outcome == Some(Outcome::Promoted) || rollout.state == "paused" || is_over(rollout)
    })
    .await?;
    let held = seen.state == "paused";
    let seconds = began.elapsed().as_secs_f64();
    let reason = view::because(&seen);
    if held {
        say(json, &format!("held: {reason}; putting traffic back"));
        let aborted = engine.act(&canary, davy_engine::Action::Abort, Engine::actor(), None).await;
        aborted.map_err(|error| Failure::new(Exit::Internal, "D102", error.to_string()))?;
        until(engine, &canary, json, is_over).await?;
    }
    let tally = load.stop().await;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::SeqCst);
    let cut = cut(engine, &canary, Timestamp(count(&tally.last_canary))).await?;
    let report = keep(engine, &canary).await?;
    let (word, exit) = match (held, seen.outcome) {
        (true, _) => ("held", Exit::Held),
        (false, Some(Outcome::Promoted)) => ("promoted", DONE),
        (false, _) => ("rolled-back", Exit::RolledBack),
    };
    let outcome = serde_json::json!({
        "type": "outcome",
        "outcome": word,
        "why": reason,
        "verdict": seen.verdict,
        "seconds": (seconds * 10.0).round() / 10.0,
        "requests": count(&tally.sent),
        "canary_requests": count(&tally.canary),
        "canary_failed": count(&tally.canary_failed),
        "stable_failed": count(&tally.stable_failed),
        "dropped": count(&tally.dropped),
        "cut_ms": cut,
        "report": report,
    });
    Ok((exit, outcome))
}

async fn deploy(engine: &Engine, folder: &Folder, text: &str) -> Result<RolloutId, Failure> {
    let wrong = |errors: Vec<davy_config::Diagnostic>| {
        let all: Vec<String> = errors.iter().map(|error| error.message.clone()).collect();
        Failure::new(Exit::Usage, "D103", format!("the demo's file has errors: {}", all.join("; ")))
            .hint("rates are percentages, such as --error-rate 5%")
    };
    let file = davy_config::parse(text.as_bytes()).map_err(wrong)?;
    let found = file.resolve(None, None).map_err(wrong)?;
    let deploy = Deploy {
        key: found.key,
        source: Source { folder: folder.0.clone() },
        workload: found.workload,
        policy: found.policy,
        by: Engine::actor(),
    };
    let taken = engine.deploy(deploy).await;
    Ok(taken.map_err(|error| Failure::new(Exit::Internal, "D104", error.to_string()))?.rollout)
}

fn is_over(rollout: &Rollout) -> bool {
    ["promoted", "rolled-back", "aborted", "superseded"].contains(&rollout.state.as_str())
}

/// Shows a rollout until something is so.
async fn until(
    engine: &Engine,
    id: &RolloutId,
    json: bool,
    done: impl Fn(&Rollout) -> bool,
) -> Result<Rollout, Failure> {
    let (mut painted, mut told, began) = (0, String::new(), Instant::now());
    let mut last: Option<Rollout> = None;
    loop {
        let live = engine.under_way(id).and_then(|live| Rollout::present(&live, davy_engine::now()));
        let seen = match live {
            Some(seen) => seen,
            None => {
                let summary = engine.rollout(id);
                let summary = summary.map_err(|error| Failure::new(Exit::Internal, "D105", error.to_string()))?;
                let past = Rollout::past(&summary, engine.before(&summary).as_ref(), davy_engine::now());
                // What was seen while it went on is worth more than what its end alone tells.
                last.map_or(past.clone(), |last| Rollout {
                    state: past.state,
                    outcome: past.outcome,
                    why: past.why,
                    next: None,
                    ..last
                })
            }
        };
        let ended = done(&seen);
        if !json && output::repaints() {
            painted = output::repaint(painted, &view::lines(&seen, 110));
        } else {
            let now = format!("{} {} {:?}", seen.state, seen.step, seen.verdict);
            if now != told {
                say(json, &view::line(&seen));
                told = now;
            }
        }
        if ended {
            return Ok(seen);
        }
        if began.elapsed() > LONGEST {
            return Err(Failure::new(Exit::Internal, "D106", format!("the rollout is still {}", seen.state)));
        }
        last = Some(seen);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// From the decision to the last request that the canary was sent; none when it was not taken back.
async fn cut(engine: &Engine, id: &RolloutId, last: Timestamp) -> Result<Option<u64>, Failure> {
    let records = engine.records(id).await.map_err(|error| Failure::new(Exit::Internal, "D107", error.to_string()))?;
    let decided = records.iter().find_map(|record| match &record.entry.event {
        Event::Reverted { cause: Some(Cause::Guard { cut, .. }), .. } => Some(cut.at),
        Event::RevertRequested { .. } | Event::Reverted { .. } => Some(record.entry.at),
        _ => None,
    });
    Ok(decided.map(|decided| last.since(decided).0))
}

/// The report outlives the demo's folder.
async fn keep(engine: &Engine, id: &RolloutId) -> Result<PathBuf, Failure> {
    let written = engine.report(id).await.map_err(|error| Failure::new(Exit::Internal, "D108", error.to_string()))?;
    let kept = std::env::temp_dir().join(format!("davy-demo-{id}.md"));
    std::fs::copy(&written, &kept).with_context(|| format!("keep the report as {}", kept.display()))?;
    Ok(kept)
}

fn summary(outcome: &serde_json::Value) -> String {
    let text = |name: &str| match outcome.get(name) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    format!(
        "\n{} after {} s: {}\n  {} requests, {} to the new version, {} of them failed; {} failed on stable; {} dropped by Davy\n  report: {}",
        text("outcome"),
        text("seconds"),
        text("why"),
        text("requests"),
        text("canary_requests"),
        text("canary_failed"),
        text("stable_failed"),
        text("dropped"),
        text("report"),
    )
}

/// Progress: to stderr when stdout is for a program.
fn say(json: bool, line: &str) {
    match json {
        true => output::say(line),
        false => output::data(line),
    }
}

/// A folder that vanishes with the demo.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("davy-demo-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
