//! `davy deploy`: a rollout of what the file says.

use crate::{
    cli::Deploy,
    client::Client,
    commands::{config, watch},
    exit::{DONE, Exit, Failure},
    output,
};
use anyhow::Context;
use davy_config::Deployment;
use davy_core::{
    Policy, Strategy, Weight,
    rollout::{Passes, RequestKind, Step, interrupts, plan},
};
use davy_server::wire;
use std::path::{Path, PathBuf};

pub(crate) async fn run(asked: &Deploy, client: &Client, json: bool) -> Result<Exit, Failure> {
    let (deployment, text) = read(asked, json)?;
    if deployment.policy.strategy == Strategy::Recreate {
        output::say(&format!("  strategy recreate: {INTERRUPTS}"));
    }
    let request = wire::Deploy {
        file: text,
        folder: folder(&asked.file.file)?.to_string_lossy().into_owned(),
        environment: asked.env.clone(),
        service: asked.service.clone(),
    };
    let taken: wire::Taken = match client.post("/api/deploy", &request).await {
        Ok(taken) => taken,
        Err(failure) if failure.message.contains("serves already") => {
            output::say(&failure.message);
            if json {
                output::json(&serde_json::json!({ "type": "outcome", "rollout": null, "outcome": "promoted" }));
            }
            return Ok(DONE);
        }
        Err(failure) => return Err(failure),
    };
    if asked.watch {
        return watch::rollout(client, &taken.rollout, &asked.watching, json).await;
    }
    match json {
        true => output::json(&serde_json::json!({ "type": "taken", "rollout": taken.rollout })),
        false => {
            output::data(&format!("rollout {} begins", taken.rollout));
            output::say("  `davy rollout watch` shows it, `davy rollout abort` ends it");
        }
    }
    Ok(DONE)
}

/// What would be done.
pub(crate) fn dry_run(asked: &Deploy, json: bool) -> Result<Exit, Failure> {
    let (deployment, _) = read(asked, json)?;
    let Deployment { key, workload, policy, .. } = &deployment;
    // What serves now is not asked for: as many old instances as new ones.
    let steps = plan(policy, RequestKind::Deploy, workload.replicas, Some(workload.replicas));
    let needed = |step: &Step| {
        let margin = davy_judge::margin(step.weight.basis_points());
        (margin, davy_judge::forecast_requests(margin, policy.analysis.beta))
    };
    let interrupts = interrupts(&steps);
    if json {
        let steps: Vec<_> = steps
            .iter()
            .map(|step| {
                let mut told = serde_json::json!({
                    "weight": step.weight, "instances": step.canary, "stable_instances": step.stable, "hold_ms": step.hold,
                });
                if step.passes == Passes::Proven && step.weight < Weight::ALL {
                    let (margin, requests) = needed(step);
                    told["margin"] = margin.into();
                    told["canary_requests"] = requests.into();
                }
                told
            })
            .collect();
        output::json(&serde_json::json!({
            "type": "plan", "service": key.service, "environment": key.environment,
            "strategy": policy.strategy.as_str(), "interrupts": interrupts,
            "command": workload.run.words(), "replicas": workload.replicas, "steps": steps,
            "hold_ms": policy.hold, "deadline_ms": policy.deadline, "bake_ms": policy.bake,
        }));
        return Ok(DONE);
    }
    let strategy = policy.strategy.as_str();
    output::data(&format!("{key}: {} × `{}`, {strategy}", workload.replicas, workload.run.words().join(" ")));
    for step in &steps {
        output::data(&format!("  {}", describe(step, policy, needed)));
    }
    output::data(&format!("  then the old release is kept for {}", policy.bake));
    if interrupts {
        output::data(&format!("  {INTERRUPTS}"));
    }
    output::data("nothing was changed");
    Ok(DONE)
}

/// What a strategy that ends the old instances first is to say.
const INTERRUPTS: &str = "requests fail from when the old instances end until the new ones are healthy";

/// A step in words.
fn describe(step: &Step, policy: &Policy, needed: impl Fn(&Step) -> (f64, u64)) -> String {
    let instances = |count: u32| if count == 1 { "1 instance".to_owned() } else { format!("{count} instances") };
    let running = format!("{} of the new release, {} of the old", instances(step.canary), step.stable);
    let shown = match step.passes {
        _ if step.weight == Weight::ALL => "observed to carry all traffic".to_owned(),
        Passes::Proven => {
            let (margin, requests) = needed(step);
            format!("{requests} canary requests without a failure (margin {:.1} %)", margin * 100.0)
        }
        Passes::Observed => "requests seen to succeed".to_owned(),
        Passes::Measured => "stable's past measured, to judge the new release against".to_owned(),
        Passes::Tried => "the new release tried aside".to_owned(),
    };
    format!("{}: {running}; at least {} and {shown}, deadline {}", step.weight, step.hold, policy.deadline)
}

fn read(asked: &Deploy, json: bool) -> Result<(Deployment, String), Failure> {
    let path = &asked.file.file;
    let (bytes, parsed) = config::read(path)?;
    let found = parsed.and_then(|file| file.resolve(asked.env.as_deref(), asked.service.as_deref()));
    let deployment = found.map_err(|errors| {
        config::show(&errors, &bytes, path, json);
        let message = format!(
            "{} has {} error{}; nothing was changed",
            path.display(),
            errors.len(),
            if errors.len() == 1 { "" } else { "s" }
        );
        Failure::new(Exit::Usage, "D080", message)
    })?;
    let text = String::from_utf8(bytes).context("read the file as UTF-8")?;
    Ok((deployment, text))
}

fn folder(file: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(file).context("find the file's folder")?;
    Ok(absolute.parent().map(Path::to_owned).context("find the file's folder")?)
}
