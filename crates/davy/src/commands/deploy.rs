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
use davy_server::wire;
use std::path::{Path, PathBuf};

pub(crate) async fn run(asked: &Deploy, client: &Client, json: bool) -> Result<Exit, Failure> {
    let (_, text) = read(asked, json)?;
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
    let needed = policy.steps.iter().filter(|step| step.basis_points() < 10_000).map(|step| {
        let margin = davy_judge::margin(step.basis_points());
        (*step, margin, davy_judge::forecast_requests(margin, policy.analysis.beta))
    });
    if json {
        let steps: Vec<_> = needed
            .map(|(step, margin, requests)| serde_json::json!({ "weight": step, "margin": margin, "canary_requests": requests }))
            .collect();
        output::json(&serde_json::json!({
            "type": "plan", "service": key.service, "environment": key.environment,
            "command": workload.run.words(), "replicas": workload.replicas, "steps": steps,
            "hold_ms": policy.hold, "deadline_ms": policy.deadline, "bake_ms": policy.bake,
        }));
        return Ok(DONE);
    }
    output::data(&format!("{key}: {} × `{}`", workload.replicas, workload.run.words().join(" ")));
    for (step, margin, requests) in needed {
        output::data(&format!(
            "  {step}: at least {} and {requests} canary requests without a failure (margin {:.1} %), deadline {}",
            policy.hold,
            margin * 100.0,
            policy.deadline
        ));
    }
    output::data(&format!(
        "  100 %: one whole hold of {}, observed; then the old release is kept for {}",
        policy.hold, policy.bake
    ));
    output::data("nothing was changed");
    Ok(DONE)
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
