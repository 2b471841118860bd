//! `davy simulate`: what a policy would do to assumed traffic, or would have done to a rollout of the journal.

use crate::{
    cli::Simulate,
    commands::{config, stored, stored::Stored},
    exit::{DONE, Exit, Failure},
    output,
};
use davy_core::{
    Analysis, Canary, CanaryStep, Millis, Policy, Role, Strategy, Weight,
    rollout::{Cause, Event, Passes, Request, RequestKind, Step, guard, plan},
};
use davy_judge::{
    Kind,
    guard::{Finding, Guard},
};
use davy_simulation::{
    Comparison, End, Machine, Named, Outcome, Summary, Traffic,
    named::percent,
    recorded,
    rules::{checks::Checks, peeking::Peeking, rank::Rank},
    summary::interval,
    traffic::Second,
};
use std::path::Path;

/// More requests a second than this would take longer to draw than to serve.
const MOST_RATE: f64 = 1e6;
/// More rollouts than this nobody waits for.
const MOST_RUNS: u64 = 10_000_000;

pub(crate) async fn run(asked: &Simulate, json: bool) -> Result<Exit, Failure> {
    let policies = match asked.policies.as_slice() {
        [] => vec!["davy".to_owned()],
        given => given.to_vec(),
    };
    let named = policies.iter().map(|text| text.parse::<Named>().map_err(|error| usage(error.to_string())));
    let named = named.collect::<Result<Vec<_>, _>>()?;
    let policies: Vec<(String, Named)> = policies.into_iter().zip(named).collect();
    match &asked.rollout {
        None => assumed(asked, &policies, json),
        Some(id) => {
            let id = Some(id.clone()).filter(|id| id != "last");
            let stored = stored::find(asked.data.data.as_deref(), id).await?;
            past(asked, &policies, &stored, json)
        }
    }
}

fn usage(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, "D095", message)
}

/// The policy, how many instances it is for, and where it is from.
fn policy(asked: &Simulate) -> Result<(Policy, u32, String), Failure> {
    let here = Path::new("davy.yaml");
    let path = asked.file.as_deref().or_else(|| here.exists().then_some(here));
    let (mut policy, replicas, from) = match path {
        None => (Policy::default(), 1, "the defaults".to_owned()),
        Some(path) => {
            let (bytes, parsed) = config::read(path)?;
            let file = parsed.map_err(|errors| {
                config::show(&errors, &bytes, path, false);
                Failure::new(Exit::Usage, "D080", format!("{} has errors", path.display()))
            })?;
            let first = file.environments().first().map(|name| name.as_str().to_owned());
            let deployment = file
                .resolve(first.as_deref(), None)
                .map_err(|_| Failure::new(Exit::Usage, "D080", format!("{} has no environment", path.display())))?;
            (deployment.policy, deployment.workload.replicas, deployment.key.to_string())
        }
    };
    change(asked, &mut policy)?;
    Ok((policy, replicas, from))
}

/// What the flags say in place of the file.
fn change(asked: &Simulate, policy: &mut Policy) -> Result<(), Failure> {
    match asked.steps.as_deref() {
        Some("auto") => {
            policy.strategy = Strategy::Canary(Canary::auto(Canary::HOLDBACK));
            policy.hold = Canary::HOLD;
        }
        Some(steps) => {
            policy.strategy = Strategy::Canary(Canary { steps: weights(steps)?, sticky: false, auto: false });
        }
        None => {}
    }
    for (text, name, time) in
        [(&asked.hold, "--hold", &mut policy.hold), (&asked.deadline, "--deadline", &mut policy.deadline)]
    {
        if let Some(text) = text {
            *time = davy_config::duration(text).map_err(|hint| usage(format!("{name} {text}: {hint}")))?;
        }
    }
    if policy.deadline < policy.hold {
        let message = format!("a hold of {} is longer than the deadline of {}", policy.hold, policy.deadline);
        return Err(usage(message).hint("give --deadline a longer time, or --hold a shorter one"));
    }
    policy.analysis.alpha = asked.alpha.unwrap_or(policy.analysis.alpha);
    policy.analysis.beta = asked.beta.unwrap_or(policy.analysis.beta);
    policy.judge().check().map_err(|error| usage(error.to_string()))
}

/// `10%,25%,50%`, to which 100 % is added.
fn weights(text: &str) -> Result<Vec<CanaryStep>, Failure> {
    let wrong =
        |why: &str| usage(format!("--steps {text}: {why}")).hint("rising percentages, such as 10%,25%,50%; or auto");
    let mut steps: Vec<Weight> = Vec::new();
    for part in text.split(',') {
        let share = percent(part.trim()).map_err(|why| wrong(&why))?;
        let basis_points = (share * 10_000.0).round() as u16;
        let weight = Weight::new(basis_points).ok().filter(|weight| *weight > Weight::NONE);
        let weight = weight.ok_or_else(|| wrong("a weight is from 0.01% to 100%"))?;
        if steps.last().is_some_and(|last| *last >= weight) {
            return Err(wrong("each weight is above the one before"));
        }
        steps.push(weight);
    }
    if steps.last() != Some(&Weight::ALL) {
        steps.push(Weight::ALL);
    }
    Ok(steps.into_iter().map(CanaryStep::at).collect())
}

/// The weights of other tools beside steps that the judge chooses, in basis points.
const OTHERS: [u16; 4] = [100, 500, 2_500, 5_000];

/// The weights of a plan before the new version has everything: what another tool would go through.
fn ramp(plan: &[Step]) -> Vec<u16> {
    let mut ramp: Vec<u16> = plan.iter().map(|step| step.weight.basis_points()).filter(|bp| *bp > 0).collect();
    ramp.dedup();
    if ramp.len() > 1 {
        ramp.retain(|bp| *bp < 10_000);
    }
    if ramp.is_empty() { vec![10_000] } else { ramp }
}

fn assumed(asked: &Simulate, policies: &[(String, Named)], json: bool) -> Result<Exit, Failure> {
    let baseline = percent(&asked.baseline).map_err(|why| usage(format!("--baseline: {why}")))?;
    let canary = percent(&asked.canary).map_err(|why| usage(format!("--canary: {why}")))?;
    if !(asked.rate > 0.0 && asked.rate <= MOST_RATE) {
        return Err(usage(format!("--rate {}: give requests a second, above 0 and at most {MOST_RATE}", asked.rate)));
    }
    if !(1..=MOST_RUNS).contains(&asked.runs) {
        return Err(usage(format!("--runs {}: give a number from 1 to {MOST_RUNS}", asked.runs)));
    }
    let (policy, replicas, from) = policy(asked)?;
    let plan = plan(&policy, RequestKind::Deploy, replicas, Some(replicas));
    let traffic = Traffic { rate: asked.rate, baseline, canary, ..Traffic::default() };
    let comparison = Comparison {
        traffic,
        steps: if policy.strategy.is_automatic() { OTHERS.to_vec() } else { ramp(&plan) },
        hold_s: policy.hold.0.div_ceil(1_000),
        alpha: policy.analysis.alpha,
        davy: Machine::new(replicas, policy.clone()).map_err(|error| usage(error.to_string()))?,
    };
    if !json {
        let shares = plan.iter().map(|step| step.weight.to_string()).collect::<Vec<_>>().join(", ");
        output::data(&format!(
            "{from}: {} ({shares}), hold {}, deadline {}; {} requests/s, stable fails {}, the canary {}; {} rollouts each, seed {}",
            policy.strategy.as_str(),
            policy.hold,
            policy.deadline,
            asked.rate,
            asked.baseline,
            asked.canary,
            asked.runs,
            asked.seed
        ));
        head(policies);
    }
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    for (name, named) in policies {
        tell(policies, name, &comparison.summary(*named, asked.runs, asked.seed, threads), json);
    }
    if !json {
        output::data(
            "harm: failed canary requests until traffic is back, of a promoted canary in the first hour; ranges hold with 95 %",
        );
    }
    Ok(DONE)
}

fn head(policies: &[(String, Named)]) {
    let wide = width(policies);
    output::data(&format!(
        "{:<wide$}  {:<23} {:<23} {:<23} {:>8} {:>8} {:>11} {:>8}",
        "policy", "rolled back", "promoted", "undecided", "harm p50", "p90", "seconds p50", "p95"
    ));
}

fn width(policies: &[(String, Named)]) -> usize {
    policies.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default().max(6)
}

fn tell(policies: &[(String, Named)], name: &str, summary: &Summary, json: bool) {
    let Summary { runs, rolled_back, promoted, undecided, harm, seconds } = summary;
    if json {
        return output::json(&serde_json::json!({
            "type": "summary", "policy": name, "runs": runs, "rolled_back": rolled_back, "promoted": promoted,
            "undecided": undecided, "harm": { "p50": harm.0, "p90": harm.1 },
            "seconds": { "p50": seconds.0, "p95": seconds.1 },
        }));
    }
    let wide = width(policies);
    let share = |count: u64| {
        let (low, high) = interval(count, *runs);
        let percent = 100.0 * count as f64 / *runs as f64;
        format!("{percent:.2}% ({:.2}–{:.2})", 100.0 * low, 100.0 * high)
    };
    output::data(&format!(
        "{name:<wide$}  {:<23} {:<23} {:<23} {:>8} {:>8} {:>11.1} {:>8.1}",
        share(*rolled_back),
        share(*promoted),
        share(*undecided),
        harm.0,
        harm.1,
        seconds.0,
        seconds.1
    ));
}

fn past(asked: &Simulate, policies: &[(String, Named)], stored: &Stored, json: bool) -> Result<Exit, Failure> {
    let mut theirs = stored.request.policy.clone();
    let mut analysis = None;
    if asked.file.is_some() {
        let (given, ..) = policy(asked)?;
        analysis = Some(given.analysis.clone());
        theirs = given;
    } else {
        change(asked, &mut theirs)?;
        if asked.alpha.is_some() || asked.beta.is_some() {
            analysis = Some(theirs.analysis.clone());
        }
    }
    let replicas = stored.request.release.workload.replicas;
    let plan = plan(&theirs, RequestKind::Deploy, replicas, Some(replicas));
    let (steps, hold_s) = (ramp(&plan).len(), theirs.hold.0.div_ceil(1_000));
    let seconds = seconds_of(stored);
    if !json {
        let sum = |count: fn(&Second) -> u64| seconds.iter().map(count).sum::<u64>();
        let failed = sum(|second| second.canary_failed.len() as u64);
        output::data(&format!(
            "rollout {}: {} recorded, in which {failed} of the canary's {} requests failed",
            stored.request.rollout,
            Millis::seconds(seconds.len() as u64),
            sum(|second| second.canary)
        ));
        head(policies);
    }
    let mut outcomes = Vec::new();
    for (name, named) in policies {
        let outcome = match named {
            Named::Davy => judged(stored, &theirs, analysis.as_ref(), &plan),
            Named::Checks { kind, interval_s } => {
                recorded::replay(&seconds, &mut Checks::new(*kind, *interval_s), steps, hold_s)
            }
            Named::Rank(points) => recorded::replay(&seconds, &mut Rank::new(*points), steps, hold_s),
            Named::Peeking => recorded::replay(&seconds, &mut Peeking::default(), steps, hold_s),
            Named::Oracle => {
                let failure = usage("the oracle knows the true rates, and of a rollout that was nobody does");
                return Err(failure.hint("leave it out, or give --baseline and --canary in place of --rollout"));
            }
        };
        tell(policies, name, &Summary::of(&[outcome]), json);
        outcomes.push((name, outcome));
    }
    if !json {
        for (name, Outcome { end, seconds, harm }) in outcomes {
            let after = Millis((seconds * 1_000.0) as u64);
            output::data(&match end {
                End::RolledBack => {
                    format!("{name} would have put traffic back after {after}, when {harm} canary requests had failed.")
                }
                End::Promoted => {
                    format!("{name} would have promoted it after {after}; {harm} canary requests failed in all.")
                }
                End::Undecided => format!("{name} would not have decided by the end of the record, after {after}."),
            });
        }
        output::data(
            "The counts are those of the weights that were served. What would have failed at other weights cannot be known,\n\
             nor in what order within a second: the gateway's guard is heard only where it cut the canary off.",
        );
    }
    Ok(DONE)
}

/// Where the gateway's guard cut the canary off, and would have under this policy, too.
fn cut_off(stored: &Stored, policy: &Policy) -> Option<Outcome> {
    let cut = stored.records.iter().find_map(|record| match &record.entry.event {
        Event::Reverted { cause: Some(Cause::Guard { cut, .. }), .. } => Some(cut),
        _ => None,
    })?;
    let Finding { run, rows, past, .. } = &cut.finding;
    let order = guard(&Request { policy: policy.clone(), ..stored.request.clone() })?;
    let found = Guard::recompute(&order, *run, rows, *past).ok()?;
    let seconds = cut.at.since(stored.batches.first()?.origin).duration().as_secs_f64();
    let (canary, _) = cut.finding.counts();
    (found >= -order.alpha_of(*run).ln()).then_some(Outcome { end: End::RolledBack, seconds, harm: canary.failed })
}

/// What the judge says to the stored batches, in their order, and the guard to the counts it cut the canary off for.
fn judged(stored: &Stored, policy: &Policy, analysis: Option<&Analysis>, plan: &[Step]) -> Outcome {
    let id = &stored.request.rollout;
    let verdicts = davy_engine::replay(&stored.records, id, &stored.batches, analysis);
    let verdicts = verdicts.map(|replay| replay.verdicts).unwrap_or_default();
    let harmful = verdicts.iter().find(|told| told.verdict.kind == Kind::Harmful);
    let counted = stored.batches.iter().filter(|batch| harmful.is_none_or(|told| batch.number <= told.batch));
    let (mut harm, mut end_ms) = (0, 0);
    for batch in counted {
        end_ms = batch.window.to.since(batch.origin).0;
        let failed = batch.window.cells.iter().filter(|cell| cell.role == Role::Canary);
        harm += failed.map(|cell| cell.failures.total()).sum::<u64>();
    }
    // It would have been promoted if it was seen at its last weight and every weight to be proven was.
    let last = plan.last().is_some_and(|last| stored.batches.iter().any(|batch| batch.weight == last.weight));
    let proven = |step: &&Step| {
        let at = step.weight.basis_points();
        verdicts.iter().any(|told| told.verdict.kind == Kind::Safe && told.verdict.weight == at)
    };
    if let (None, Some(outcome)) = (harmful, cut_off(stored, policy)) {
        return outcome;
    }
    let end = match harmful {
        Some(_) => End::RolledBack,
        None if last
            && plan
                .iter()
                .filter(|step| step.passes == Passes::Proven && step.weight < Weight::ALL)
                .all(|step| proven(&step)) =>
        {
            End::Promoted
        }
        None => End::Undecided,
    };
    Outcome { end, seconds: end_ms as f64 / 1_000.0, harm }
}

/// The record second by second, for rules that know only time; what of a second failed is known, not which request.
fn seconds_of(stored: &Stored) -> Vec<Second> {
    let mut seconds: Vec<Second> = Vec::new();
    for batch in stored.batches.iter().filter(|batch| batch.evidence) {
        let at = batch.window.from.since(batch.origin).0 / 1_000;
        // A clock that jumped must not fill the memory.
        if at > seconds.len() as u64 + 30 * 86_400 {
            continue;
        }
        while seconds.len() as u64 <= at {
            let last = seconds.last().map(|last| (last.epoch, last.weight)).unwrap_or_default();
            let from_s = seconds.len() as u64;
            seconds.push(Second { from_s, epoch: last.0, weight: last.1, ..Second::default() });
        }
        let Some(second) = usize::try_from(at).ok().and_then(|at| seconds.get_mut(at)) else { continue };
        (second.epoch, second.weight) = (batch.generation.0, batch.weight.basis_points());
        for cell in &batch.window.cells {
            let (n, failed) = match cell.role {
                Role::Canary => (&mut second.canary, &mut second.canary_failed),
                Role::Stable => (&mut second.stable, &mut second.stable_failed),
                Role::Mirrored | Role::Matched => continue,
            };
            failed.extend((0..cell.failures.total()).map(|at| *n + at));
            *n += cell.answered + cell.client_gone;
        }
    }
    seconds
}
