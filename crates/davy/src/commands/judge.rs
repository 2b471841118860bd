//! `davy judge`: blocks of counts judged one by one, and a stored rollout judged again without a server.

use crate::{
    cli,
    commands::{config, stored, stored::Stored},
    exit::{DONE, Exit, Failure},
    output, view,
};
use davy_engine::Replay;
use std::path::Path;

pub(crate) async fn run(command: cli::Judge, json: bool) -> Result<Exit, Failure> {
    match command {
        cli::Judge::Replay(asked) => super::replay::run(&asked),
        cli::Judge::Rollout { rollout, data, file } => {
            let stored = stored::find(data.data.as_deref(), rollout).await?;
            again(&stored, file.as_deref(), json)
        }
    }
}

fn again(stored: &Stored, file: Option<&Path>, json: bool) -> Result<Exit, Failure> {
    let other = match file {
        None => None,
        Some(file) => {
            let (bytes, parsed) = config::read(file)?;
            let parsed = parsed.map_err(|errors| {
                config::show(&errors, &bytes, file, json);
                Failure::new(Exit::Usage, "D080", format!("{} has errors", file.display()))
            })?;
            Some(parsed.analysis().clone())
        }
    };
    let Stored { request, records, batches } = stored;
    let id = &request.rollout;
    let replay = davy_engine::replay(records, id, batches, other.as_ref());
    let replay = replay.unwrap_or(Replay { verdicts: Vec::new(), told: 0, same: 0 });
    for replayed in &replay.verdicts {
        let verdict = &replayed.verdict;
        match json {
            true => output::json(&serde_json::json!({
                "type": "replayed", "batch": replayed.batch, "at": replayed.at, "verdict": verdict,
            })),
            false => {
                let weight = f64::from(verdict.weight) / 100.0;
                let word = view::word(verdict.kind);
                output::data(&format!("batch {:>5}  at {weight:>5} %  {word}: {}", replayed.batch, verdict.because));
            }
        }
    }
    let Replay { told, same, .. } = replay;
    if json {
        let what_if = other.is_some();
        output::json(&serde_json::json!({
            "type": "replay", "rollout": id, "batches": batches.len(), "told": told, "same": same, "other_analysis": what_if,
        }));
    } else if other.is_some() {
        output::data(&format!("rollout {id}: {} batches, judged by another analysis", batches.len()));
    } else {
        output::data(&format!(
            "rollout {id}: {} batches; of {told} verdicts in the journal {same} come out the same, bit for bit",
            batches.len()
        ));
    }
    Ok(if other.is_none() && same < told { Exit::Internal } else { DONE })
}
