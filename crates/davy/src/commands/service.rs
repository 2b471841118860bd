//! `davy service` and `davy env`: what is deployed where, and taking it away.

use crate::{
    cli::{Env, Service as Asked},
    client::Client,
    commands::rollout::environment,
    exit::{DONE, Exit, Failure},
    output,
};
use davy_core::RolloutId;
use davy_server::wire::{self, Rollout, Service, ServiceDetail};
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    time::Duration,
};

/// Between two looks at a removal.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) async fn run(command: Asked, client: &Client, json: bool) -> Result<Exit, Failure> {
    match command {
        Asked::List { all } => {
            let services = list(client, all).await?;
            if services.is_empty() && !json {
                output::say("nothing is deployed: `davy deploy` begins");
            }
            services.iter().for_each(|service| show_one(service, json));
            Ok(DONE)
        }
        Asked::Show { service, env } => {
            let environment = environment(client, &service, env).await?;
            let detail: ServiceDetail = client.get(&format!("/api/services/{environment}/{service}")).await?;
            match json {
                true => output::json(&detail),
                false => lines(&detail).iter().for_each(|line| output::data(line)),
            }
            Ok(DONE)
        }
        Asked::Rm { service, env, yes } => {
            let environment = environment(client, &service, env).await?;
            let name = format!("{environment}/{service}");
            confirm(&name, &format!("{name} answers no more requests, and its instances are removed"), yes)?;
            remove(client, &environment, &service, json).await?;
            Ok(DONE)
        }
    }
}

pub(crate) async fn environments(command: Env, client: &Client, json: bool) -> Result<Exit, Failure> {
    let services = list(client, false).await?;
    let of = |name: &str| -> Result<Vec<Service>, Failure> {
        let found: Vec<Service> = services.iter().filter(|one| one.environment == name).cloned().collect();
        if found.is_empty() {
            let message = format!("nothing is deployed in an environment called `{name}`");
            return Err(Failure::new(Exit::Usage, "D120", message).hint("`davy env list` shows those there are"));
        }
        Ok(found)
    };
    match command {
        Env::List => {
            let mut all: BTreeMap<&str, Vec<&Service>> = BTreeMap::new();
            for service in &services {
                all.entry(&service.environment).or_default().push(service);
            }
            if all.is_empty() && !json {
                output::say("nothing is deployed: `davy deploy` begins");
            }
            for (name, services) in all {
                let names: Vec<&str> = services.iter().map(|service| service.service.as_str()).collect();
                let instances: usize = services.iter().map(|service| service.instances.len()).sum();
                match json {
                    true => output::json(&serde_json::json!({
                        "type": "environment", "environment": name, "services": names, "instances": instances,
                    })),
                    false => output::data(&format!("{name}  {}  {instances} instances", names.join(", "))),
                }
            }
        }
        Env::Show { env } => of(&env)?.iter().for_each(|service| show_one(service, json)),
        Env::Rm { env, yes } => {
            let services = of(&env)?;
            let names: Vec<&str> = services.iter().map(|service| service.service.as_str()).collect();
            let what =
                format!("{} in {env} answer no more requests, and their instances are removed", names.join(", "));
            confirm(&env, &what, yes)?;
            for service in &services {
                remove(client, &env, &service.service, json).await?;
            }
        }
    }
    Ok(DONE)
}

async fn list(client: &Client, all: bool) -> Result<Vec<Service>, Failure> {
    let mut services: Vec<Service> = client.list("/api/services").await?;
    services.retain(|service| all || service.state != "removed");
    services.sort_by(|a, b| (&a.environment, &a.service).cmp(&(&b.environment, &b.service)));
    Ok(services)
}

fn show_one(service: &Service, json: bool) {
    if json {
        return output::json(service);
    }
    let stable = service.stable.as_ref().map_or("nothing serves", |release| release.as_str());
    let weight = service.weight.map_or_else(String::new, |weight| format!("  new release at {weight}"));
    let healthy = service.instances.iter().filter(|instance| instance.health == "healthy").count();
    let instances = match &service.why {
        Some(why) => why.clone(),
        None => format!("{healthy} of {} instances healthy", service.instances.len()),
    };
    output::data(&format!(
        "{}/{}  {stable}  {}{weight}  {instances}",
        service.environment, service.service, service.state
    ));
}

fn lines(detail: &ServiceDetail) -> Vec<String> {
    let service = &detail.service;
    let stable = service.stable.as_ref().map_or("nothing", |release| release.as_str());
    let host = detail.host.as_deref().unwrap_or("every host");
    let mut lines = vec![
        format!("{}/{}: {}", service.environment, service.service, service.state),
        format!("  serves     {stable}"),
        format!("  command    {}", detail.command.join(" ")),
        format!("  route      {host} {}", detail.path.as_deref().unwrap_or_default()),
        format!("  router     {}", detail.router),
    ];
    if !detail.secrets.is_empty() {
        lines.push(format!("  secrets    {}", detail.secrets.join(", ")));
    }
    if let (Some(rollout), Some(weight)) = (&service.rollout, service.weight) {
        lines.push(format!("  rollout    {rollout}, new release at {weight}: `davy rollout status` says more"));
    }
    lines.push(format!("  instances  {} of {}", service.instances.len(), detail.replicas));
    for instance in &service.instances {
        let wire::Instance { id, release, address, health, restarts } = instance;
        lines.push(format!("    {id}  {release}  {address}  {health}  {restarts} restarts"));
    }
    lines.push("  last rollouts".to_owned());
    for rollout in &detail.rollouts {
        let Rollout { id, release, state, by, began, .. } = rollout;
        lines.push(format!("    {}  {id}  {release}  {state}  by {by}", output::time(*began)));
    }
    lines
}

/// A person at a terminal types the name; a script says `--yes`.
fn confirm(name: &str, what: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        let message = format!("nothing was removed: {what}, and nobody is here to confirm it");
        return Err(Failure::new(Exit::Usage, "D121", message).hint("say --yes"));
    }
    output::say(&format!("{what}. Its history stays; `davy rollback` brings a service back.\ntype `{name}` to go on:"));
    let mut typed = String::new();
    io::stdin().read_line(&mut typed).ok();
    match typed.trim() == name {
        true => Ok(()),
        false => Err(Failure::new(Exit::Usage, "D122", "nothing was removed: another name was typed")),
    }
}

/// Asks for the removal and waits until the service is gone.
async fn remove(client: &Client, environment: &str, service: &str, json: bool) -> Result<(), Failure> {
    let path = format!("/api/services/{environment}/{service}/remove");
    let taken: wire::Taken = client.post(&path, &serde_json::json!({})).await?;
    let mut told = String::new();
    loop {
        let rollout: Rollout = client.get(&format!("/api/rollouts/{}", taken.rollout)).await?;
        if rollout.outcome.is_some() && rollout.state == "removed" {
            break done(environment, service, &taken.rollout, json);
        }
        if rollout.state == "superseded" {
            let message = format!("{environment}/{service} is deployed again: it was not removed");
            return Err(Failure::new(Exit::Ended, "D123", message));
        }
        if rollout.state != told {
            output::say(&format!("{environment}/{service}: {}", rollout.state));
            told = rollout.state;
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn done(environment: &str, service: &str, rollout: &RolloutId, json: bool) {
    match json {
        true => output::json(&serde_json::json!({
            "type": "removed", "environment": environment, "service": service, "rollout": rollout,
        })),
        false => output::data(&format!("{environment}/{service} is removed; `davy rollback {service}` brings it back")),
    }
}
