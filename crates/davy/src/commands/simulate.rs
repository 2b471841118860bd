//! `davy simulate`: what a rollout of the file would take and cost, before anything is deployed.

use crate::{
    cli::Simulate,
    commands::config,
    exit::{DONE, Exit, Failure},
    output,
    simulation::{End, Outcome, World, run as draw},
};

/// What is told where nothing is asked: as good as stable, and ever worse.
const CANARIES: [&str; 4] = ["1%", "5%", "20%", "100%"];

pub(crate) fn run(asked: &Simulate, json: bool) -> Result<Exit, Failure> {
    let path = &asked.file.file;
    let (bytes, parsed) = config::read(path)?;
    let file = parsed.map_err(|errors| {
        config::show(&errors, &bytes, path, json);
        Failure::new(Exit::Usage, "D080", format!("{} has errors", path.display()))
    })?;
    let first = file.environments().first().map(|name| name.as_str().to_owned());
    let deployment = file
        .resolve(first.as_deref(), None)
        .map_err(|_| Failure::new(Exit::Usage, "D080", format!("{} has no environment", path.display())))?;
    let stable = share(&asked.stable)?;
    let canaries = match asked.canary.as_slice() {
        [] => std::iter::once(asked.stable.as_str()).chain(CANARIES).map(str::to_owned).collect(),
        given => given.to_vec(),
    };
    let rate = u64::from(asked.rate);
    if !json {
        let strategy = deployment.policy.strategy.as_str();
        output::data(&format!(
            "{}: {strategy}, {rate} requests a second, stable fails {}; {} rollouts each, seed {}",
            deployment.key, asked.stable, asked.runs, asked.seed
        ));
    }
    for told in canaries {
        let canary = share(&told)?;
        let (key, workload, policy) = (deployment.key.clone(), deployment.workload.clone(), deployment.policy.clone());
        let world = World { key, workload, policy, rate, stable, canary };
        let outcomes: Vec<Outcome> = (0..asked.runs.max(1))
            .map(|number| draw(&world, asked.seed.wrapping_mul(1_000_003) + u64::from(number)))
            .collect();
        tell(&told, canary, &outcomes, json);
    }
    Ok(DONE)
}

/// `5%`, `0.1%`, as a fraction of 1.
fn share(text: &str) -> Result<f64, Failure> {
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    percent.filter(|percent| (0.0..=100.0).contains(percent)).map(|percent| percent / 100.0).ok_or_else(|| {
        let message = format!("`{text}` is no percentage from 0% to 100%");
        Failure::new(Exit::Usage, "D095", message).hint("with its unit, such as 0.1%")
    })
}

fn tell(told: &str, rate: f64, outcomes: &[Outcome], json: bool) {
    let count = |end: End| outcomes.iter().filter(|outcome| outcome.end == end).count();
    let (promoted, back, held) = (count(End::Promoted), count(End::RolledBack), count(End::Held));
    let seconds = middle(outcomes.iter().map(|outcome| outcome.seconds).collect());
    let failed = middle(outcomes.iter().map(|outcome| outcome.failed).collect());
    let requests = middle(outcomes.iter().map(|outcome| outcome.requests).collect());
    match json {
        true => output::json(&serde_json::json!({
            "type": "simulated", "canary": rate, "runs": outcomes.len(), "promoted": promoted, "rolled_back": back,
            "held": held, "median_seconds": seconds, "median_failed": failed, "median_canary_requests": requests,
        })),
        false => output::data(&format!(
            "  new version fails {told:>5}: promoted {promoted}, rolled back {back}, held for a person {held}; median {}, \
             {failed} failed of its {requests} requests",
            davy_core::Millis::seconds(seconds)
        )),
    }
}

fn middle(mut all: Vec<u64>) -> u64 {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}
