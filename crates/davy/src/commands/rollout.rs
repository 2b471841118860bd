//! `davy rollout`, `davy rollback`, `davy history`: looking at rollouts and acting on them.

use crate::{
    cli::{Rollback, Rollout as Asked, Target},
    client::Client,
    commands::watch,
    exit::{DONE, Exit, Failure},
    output, view,
};
use davy_core::ReleaseId;
use davy_ports::Record;
use davy_server::wire::{self, Rollout, Service};

pub(crate) async fn run(command: Asked, client: &Client, json: bool) -> Result<Exit, Failure> {
    match command {
        Asked::Status(target) => status(client, &target, json).await,
        Asked::Watch { target, watching } => {
            let rollout = find(client, &target).await?;
            watch::rollout(client, &rollout.id, &watching, json).await
        }
        Asked::Explain(target) => explain(client, &target, json).await,
        Asked::Promote(target) => act(client, &target, "promote", "goes to its last weight, unproven", json).await,
        Asked::Pause(target) => act(client, &target, "pause", "stays at its weight", json).await,
        Asked::Resume(target) => act(client, &target, "resume", "goes on", json).await,
        Asked::Abort(target) => act(client, &target, "abort", "is aborted: all traffic is on stable", json).await,
    }
}

/// The rollout that is meant: named, or of a service, or the newest under way, or the newest.
async fn find(client: &Client, target: &Target) -> Result<Rollout, Failure> {
    let all: Vec<Rollout> = client.list("/api/rollouts").await?;
    let named = |rollout: &&Rollout| match &target.rollout {
        Some(name) => rollout.id.as_str() == name || rollout.service == *name,
        None => true,
    };
    let mut fits: Vec<Rollout> = all.iter().filter(named).cloned().collect();
    fits.sort_by_key(|rollout| (is_over(rollout), std::cmp::Reverse(rollout.id.clone())));
    fits.into_iter().next().ok_or_else(|| {
        let message = match &target.rollout {
            Some(name) => format!("there is no rollout or service called `{name}`"),
            None => "there has been no rollout yet".to_owned(),
        };
        Failure::new(Exit::Usage, "D090", message).hint("`davy history` lists them, `davy deploy` begins one")
    })
}

/// Whether it is under way no more; a bake is.
fn is_over(rollout: &Rollout) -> bool {
    ["promoted", "rolled-back", "aborted", "superseded", "removed"].contains(&rollout.state.as_str())
}

async fn status(client: &Client, target: &Target, json: bool) -> Result<Exit, Failure> {
    let rollout = find(client, target).await?;
    match json {
        true => output::json(&rollout),
        false => view::lines(&rollout, usize::MAX).iter().for_each(|line| output::data(line)),
    }
    Ok(DONE)
}

async fn act(client: &Client, target: &Target, action: &str, done: &str, json: bool) -> Result<Exit, Failure> {
    let rollout = find(client, target).await?;
    let path = format!("/api/rollouts/{}/{action}", rollout.id);
    let _: serde_json::Value = client.post(&path, &serde_json::json!({})).await?;
    match json {
        true => output::json(&serde_json::json!({ "type": "done", "rollout": rollout.id, "action": action })),
        false => output::data(&format!("rollout {} {done}", rollout.id)),
    }
    Ok(DONE)
}

async fn explain(client: &Client, target: &Target, json: bool) -> Result<Exit, Failure> {
    let rollout = find(client, target).await?;
    if json {
        let records: Vec<Record> = client.list(&format!("/api/rollouts/{}/events", rollout.id)).await?;
        records.iter().for_each(output::json);
        return Ok(DONE);
    }
    let path = format!("/api/rollouts/{}/report", rollout.id);
    let written: serde_json::Value = client.post(&path, &serde_json::json!({})).await?;
    let file = written.get("path").and_then(|path| path.as_str()).unwrap_or_default().to_owned();
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Failure::new(Exit::Internal, "D091", format!("cannot read the report {file}: {error}")))?;
    output::data(text.trim_end());
    output::say(&format!("\n{file}"));
    Ok(DONE)
}

/// The only environment of a service, or the one that was named.
pub(crate) async fn environment(client: &Client, service: &str, named: Option<String>) -> Result<String, Failure> {
    if let Some(name) = named {
        return Ok(name);
    }
    let services: Vec<Service> = client.list("/api/services").await?;
    let found: Vec<&str> =
        services.iter().filter(|other| other.service == service).map(|other| other.environment.as_str()).collect();
    match found.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => {
            let message = format!("there is no service called `{service}`");
            Err(Failure::new(Exit::Usage, "D092", message).hint("`davy history` lists what this server knows"))
        }
        several => {
            let message = format!("`{service}` is in several environments: {}", several.join(", "));
            Err(Failure::new(Exit::Usage, "D093", message).hint("name one with --env"))
        }
    }
}

pub(crate) async fn rollback(asked: Rollback, client: &Client, json: bool) -> Result<Exit, Failure> {
    let environment = environment(client, &asked.service, asked.env).await?;
    let body = wire::Rollback { to: asked.to.map(ReleaseId::new) };
    let path = format!("/api/services/{environment}/{}/rollback", asked.service);
    let taken: wire::Taken = client.post(&path, &body).await?;
    match json {
        true => output::json(&serde_json::json!({ "type": "taken", "rollout": taken.rollout })),
        false => output::data(&format!(
            "{} goes back; rollout {}: `davy rollout watch` shows it",
            asked.service, taken.rollout
        )),
    }
    Ok(DONE)
}

pub(crate) async fn history(service: Option<String>, client: &Client, json: bool) -> Result<Exit, Failure> {
    let path = service.map_or_else(|| "/api/rollouts".to_owned(), |service| format!("/api/rollouts?service={service}"));
    let rollouts: Vec<Rollout> = client.list(&path).await?;
    if !json && rollouts.is_empty() {
        output::say("no rollouts yet");
    }
    for rollout in &rollouts {
        match json {
            true => output::json(rollout),
            false => output::data(&format!(
                "{}  {}  {}/{}  {}  {}  {}",
                jiff::Timestamp::from_millisecond(i64::try_from(rollout.began.0).unwrap_or(i64::MAX))
                    .map_or_else(|_| String::new(), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()),
                rollout.id,
                rollout.environment,
                rollout.service,
                rollout.release,
                rollout.state,
                rollout.why.as_deref().unwrap_or_default(),
            )),
        }
    }
    Ok(DONE)
}
