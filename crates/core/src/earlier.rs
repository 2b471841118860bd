//! How earlier versions wrote what the journal keeps for ever, where it was written otherwise: in the first formats a workload was
//! always a process, and a policy always a canary of bare weights.

use crate::{
    Analysis, Canary, CanaryStep, Channel, HealthCheck, Millis, OnDeadline, Policy, Process, Route, Run, Secret,
    Strategy, Weight, Workload,
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A workload as any version wrote it.
#[derive(Deserialize)]
pub(crate) struct AnyWorkload {
    run: Option<Run>,
    command: Option<Vec<String>>,
    #[serde(default)]
    files: Vec<String>,
    env: BTreeMap<String, String>,
    #[serde(default)]
    secrets: Vec<Secret>,
    replicas: u32,
    health: HealthCheck,
    route: Route,
}

impl TryFrom<AnyWorkload> for Workload {
    type Error = &'static str;

    fn try_from(any: AnyWorkload) -> Result<Self, Self::Error> {
        let AnyWorkload { run, command, files, env, secrets, replicas, health, route } = any;
        let process = |command| Run::Process(Process { command, files });
        let run = run.or(command.map(process)).ok_or("missing field `run`")?;
        Ok(Self { run, env, secrets, replicas, health, route })
    }
}

/// A policy as any version wrote it.
#[derive(Deserialize)]
pub(crate) struct AnyPolicy {
    strategy: Option<Strategy>,
    steps: Option<Vec<Weight>>,
    hold: Millis,
    deadline: Millis,
    on_deadline: OnDeadline,
    pause_limit: Millis,
    drain: Millis,
    bake: Millis,
    analysis: Analysis,
    #[serde(default)]
    notify: Vec<Channel>,
}

impl TryFrom<AnyPolicy> for Policy {
    type Error = &'static str;

    fn try_from(any: AnyPolicy) -> Result<Self, Self::Error> {
        let AnyPolicy { strategy, steps, hold, deadline, on_deadline, pause_limit, drain, bake, analysis, notify } =
            any;
        let canary = |steps: Vec<Weight>| {
            let steps = steps.into_iter().map(CanaryStep::at).collect();
            Strategy::Canary(Canary { steps, sticky: false, auto: false })
        };
        let strategy = strategy.or(steps.map(canary)).ok_or("missing field `strategy`")?;
        Ok(Self { strategy, hold, deadline, on_deadline, pause_limit, drain, bake, analysis, notify })
    }
}
