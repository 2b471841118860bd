//! `davy deploy`: a rollout of what the file says.

use crate::{
    cli::{Deploy, Server},
    client::Client,
    commands::{config, watch},
    exit::{DONE, Exit, Failure},
    output,
};
use anyhow::Context;
use davy_config::{Deployment, Diagnostic, File};
use davy_core::{
    Policy, ServiceKey, Strategy, Weight,
    rollout::{Need, Passes, RequestKind, Step, TooSlow, about, interrupts, needs, plan, too_slow},
};
use davy_server::wire;
use std::path::{Path, PathBuf};

pub(crate) async fn run(asked: &Deploy, client: &Client, json: bool) -> Result<Exit, Failure> {
    let (deployment, text) = read(&asked.file.file, |file| resolve(asked, file), json)?;
    if deployment.policy.strategy == Strategy::Recreate {
        output::say(&format!("  strategy recreate: {INTERRUPTS}"));
    }
    let request = request(asked, text)?;
    let mut working = output::Working::default();
    let taken = client.post_patiently("/api/deploy", &request, |on| working.tell(on)).await;
    working.over();
    let taken: wire::Taken = match taken {
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
    for notice in &taken.notices {
        output::say(&format!("  note: {notice}"));
    }
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

fn request(asked: &Deploy, file: String) -> Result<wire::Deploy, Failure> {
    let folder = folder(&asked.file.file)?.to_string_lossy().into_owned();
    let (environment, service, image) = (asked.env.clone(), asked.service.clone(), asked.image.clone());
    Ok(wire::Deploy { file, folder, environment, service, image })
}

/// The deployment of the file that is asked for.
fn resolve(asked: &Deploy, file: File) -> Result<Deployment, Vec<Diagnostic>> {
    let file = match &asked.image {
        Some(image) => file.with_image(image)?,
        None => file,
    };
    file.resolve(asked.env.as_deref(), asked.service.as_deref())
}

/// What would be done, how long it takes where a server knows the service's traffic, and whether its secrets are set: only the
/// server knows that.
pub(crate) async fn dry_run(asked: &Deploy, server: &Server, json: bool) -> Result<Exit, Failure> {
    let (deployment, text) = read(&asked.file.file, |file| resolve(asked, file), json)?;
    let slow = tell(&deployment, rate(server, &deployment.key).await, json);
    let told = deployment.policy.notify.iter().flat_map(davy_core::Channel::secrets);
    if !deployment.workload.secrets.is_empty() || told.count() > 0 {
        let client = Client::find(server);
        let checking = async { client?.post::<serde_json::Value>("/api/deploy/check", &request(asked, text)?).await };
        checking.await.map_err(|failure| Failure {
            message: format!("whether its secrets are set: {}", failure.message),
            ..failure
        })?;
        if !json {
            output::say("  its secrets are set");
        }
    }
    match slow {
        Some(TooSlow { message, hint }) if deployment.policy.analysis.margin.is_some() => {
            let message = format!("the margin cannot be proven in time: {message}");
            Err(Failure::new(Exit::Usage, "A020", message).hint(hint))
        }
        slow => {
            if let Some(TooSlow { message, hint }) = slow {
                output::say(&format!("  note: {message}; {hint}"));
            }
            if !json {
                output::data("nothing was changed");
            }
            Ok(DONE)
        }
    }
}

/// Tells the steps; what would take too long at this many requests a second.
fn tell(deployment: &Deployment, rate: Option<f64>, json: bool) -> Option<TooSlow> {
    let Deployment { key, workload, policy, .. } = deployment;
    // What serves now is not asked for: as many old instances as new ones.
    let steps = plan(policy, RequestKind::Deploy, workload.replicas, Some(workload.replicas));
    let needs = needs(&policy.analysis, &steps);
    let need = |index: usize| needs.iter().find(|need| need.step == index);
    let interrupts = interrupts(&steps);
    let slow = rate.filter(|rate| *rate > 0.0).and_then(|rate| too_slow(policy, &steps, rate));
    if json {
        let steps: Vec<_> = steps
            .iter()
            .enumerate()
            .map(|(index, step)| {
                let mut told = serde_json::json!({
                    "weight": step.weight, "instances": step.canary, "stable_instances": step.stable, "hold_ms": step.hold,
                });
                if let Some(need) = need(index) {
                    told["margin"] = need.margin.into();
                    told["canary_requests"] = need.requests.into();
                    told["seconds"] = rate.map(|rate| need.seconds(rate)).into();
                }
                told
            })
            .collect();
        output::json(&serde_json::json!({
            "type": "plan", "service": key.service, "environment": key.environment,
            "strategy": policy.strategy.as_str(), "interrupts": interrupts,
            "command": workload.run.words(), "replicas": workload.replicas, "steps": steps,
            "hold_ms": policy.hold, "deadline_ms": policy.deadline, "bake_ms": policy.bake,
            "requests_per_second": rate, "too_slow": slow.as_ref().map(|slow| &slow.message),
        }));
    } else {
        let strategy = policy.strategy.as_str();
        output::data(&format!("{key}: {} × `{}`, {strategy}", workload.replicas, workload.run.words().join(" ")));
        for (index, step) in steps.iter().enumerate() {
            output::data(&format!("  {}", describe(step, policy, need(index), rate)));
        }
        output::data(&format!("  then the old release is kept for {}", policy.bake));
        if interrupts {
            output::data(&format!("  {INTERRUPTS}"));
        }
    }
    slow
}

/// The service's requests a second, if a server can be asked and knows them.
async fn rate(server: &Server, key: &ServiceKey) -> Option<f64> {
    let client = Client::find(server).ok()?;
    let path = format!("/api/services/{}/{}/traffic", key.environment, key.service);
    let wire::Traffic { requests, seconds } = client.get(&path).await.ok()?;
    #[expect(clippy::cast_precision_loss, reason = "shown to a person")]
    Some(requests? as f64 / seconds?)
}

/// What a strategy that ends the old instances first is to say.
const INTERRUPTS: &str = "requests fail from when the old instances end until the new ones are healthy";

/// A step in words.
fn describe(step: &Step, policy: &Policy, need: Option<&Need>, rate: Option<f64>) -> String {
    let instances = |count: u32| if count == 1 { "1 instance".to_owned() } else { format!("{count} instances") };
    let running = format!("{} of the new release, {} of the old", instances(step.canary), step.stable);
    let shown = match (step.passes, need) {
        _ if step.weight == Weight::ALL => "observed to carry all traffic".to_owned(),
        (Passes::Proven, Some(need)) => {
            let margin = format!("{:.4}", need.margin * 100.0);
            let margin = margin.trim_end_matches('0').trim_end_matches('.');
            let takes = match rate {
                Some(rate) => format!(", {} at today's {rate:.1} requests/s", about(need.seconds(rate))),
                None => String::new(),
            };
            format!("{} canary requests without a failure (margin {margin} %{takes})", need.requests)
        }
        (Passes::Proven | Passes::Observed, _) => "requests seen to succeed".to_owned(),
        (Passes::Measured, _) => "stable's past measured, to judge the new release against".to_owned(),
        (Passes::Tried, _) => "the new release tried aside".to_owned(),
    };
    format!("{}: {running}; at least {} and {shown}, deadline {}", step.weight, step.hold, policy.deadline)
}

/// What a file says of one service in one environment, with its text.
pub(crate) fn read(
    path: &Path,
    resolve: impl FnOnce(File) -> Result<Deployment, Vec<Diagnostic>>,
    json: bool,
) -> Result<(Deployment, String), Failure> {
    let (bytes, parsed) = config::read(path)?;
    let found = parsed.and_then(resolve);
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

pub(crate) fn folder(file: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(file).context("find the file's folder")?;
    Ok(absolute.parent().map(Path::to_owned).context("find the file's folder")?)
}
