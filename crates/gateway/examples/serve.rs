//! Gives a running gateway one snapshot, for the benchmarks:
//! `serve --control SOCKET WEIGHT=ADDRESS …`, weights in basis points; the first is stable, the second the canary.
//! Then prints one line of JSON with the counts of each release at every line that it reads, and ends with its input.

use davy_core::{
    Backend, EnvironmentName, Generation, HealthCheck, InstanceId, Millis, ReleaseId, Role, Route, ServiceKey,
    ServiceName, Snapshot, Target, Weight,
};
use davy_gateway::Client;
use davy_ports::{Router, Telemetry};
use futures_util::StreamExt;
use std::{
    collections::BTreeMap,
    error::Error,
    io::{self, Write},
    time::Duration,
};

fn target(number: usize, word: &str) -> Result<Target, Box<dyn Error>> {
    let (weight, address) = word.split_once('=').ok_or("give WEIGHT=ADDRESS")?;
    let instances = vec![Backend { id: InstanceId::new(address), address: address.parse()? }];
    let role = if number == 0 { Role::Stable } else { Role::Canary };
    let release = ReleaseId::new(format!("v{}", number + 1));
    Ok(Target { release, role, weight: Weight::new(weight.parse()?)?, instances })
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some("--control"), Some(control)) = (words.next().as_deref(), words.next()) else {
        return Err("give --control SOCKET first".into());
    };
    let targets = words.enumerate().map(|(number, word)| target(number, &word)).collect::<Result<Vec<_>, _>>()?;
    let key = ServiceKey { service: ServiceName::new("bench")?, environment: EnvironmentName::new("bench")? };
    let snapshot = Snapshot {
        key: key.clone(),
        generation: Generation(1),
        rollout: None,
        route: Route { host: None, path: "/".to_owned() },
        serve: targets,
        fallback: None,
        lease: None,
        health: HealthCheck { path: None, grace: Millis::seconds(10), interval: Millis::seconds(1) },
        timeout: Millis::seconds(30),
        matches: Vec::new(),
        mirror: None,
        sticky: false,
        guard: None,
        slow_over: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(control.into());
    runtime.block_on(client.serve(&snapshot))?;
    writeln!(io::stdout(), "serving")?;
    let mut windows = client.windows(&key, None);
    let mut counts: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    for line in io::stdin().lines() {
        line?;
        // Everything that ended before the question is in the windows by then.
        let until = tokio::time::Instant::now() + Duration::from_millis(500);
        runtime.block_on(async {
            while let Ok(Some(window)) = tokio::time::timeout_at(until, windows.next()).await {
                for cell in window.into_iter().flat_map(|window| window.cells) {
                    let sum = counts.entry(cell.release.to_string()).or_default();
                    sum[0] += cell.routed;
                    sum[1] += cell.answered;
                    sum[2] += cell.failures.total();
                }
            }
        });
        let told = counts.iter().map(|(release, [routed, answered, failed])| {
            let counts = serde_json::json!({ "routed": routed, "answered": answered, "failed": failed });
            (release.clone(), counts)
        });
        writeln!(io::stdout(), "{}", serde_json::Value::Object(told.collect()))?;
    }
    Ok(())
}
