//! `davy judge replay`: a rollout judged again from its stored evidence, without a server.

use crate::{
    cli::Judge,
    commands::config,
    exit::{DONE, Exit, Failure},
    home::Home,
    output, view,
};
use davy_core::{RolloutId, Timestamp, rollout::Event};
use davy_engine::{Replay, store::Sqlite};
use davy_ports::{Journal, Record};

pub(crate) async fn run(command: Judge, json: bool) -> Result<Exit, Failure> {
    let Judge::Replay { rollout, data, file } = command;
    let home = Home::find(data.data.as_deref())?;
    let path = home.journal();
    if !path.exists() {
        let message = format!("there is no journal at {}", path.display());
        return Err(Failure::new(Exit::Usage, "D060", message).hint("give the server's folder with --data"));
    }
    let unread = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Internal, "D061", format!("cannot read {}: {error}", path.display()))
    };
    let other = match &file {
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
    let journal = Sqlite::open_read_only(&path).await.map_err(|error| unread(&error))?;
    let wanted = rollout.map(RolloutId::new);
    let mut found: Option<(Timestamp, RolloutId, Vec<Record>)> = None;
    for key in journal.streams().await.map_err(|error| unread(&error))? {
        let records = journal.stream(&key).await.map_err(|error| unread(&error))?;
        let requested = records.iter().rev().find_map(|record| match &record.entry.event {
            Event::RolloutRequested { request } if wanted.as_ref().is_none_or(|wanted| request.rollout == *wanted) => {
                Some((record.entry.at, request.rollout.clone()))
            }
            _ => None,
        });
        if let Some((at, id)) = requested
            && found.as_ref().is_none_or(|(latest, ..)| at > *latest)
        {
            found = Some((at, id, records));
        }
    }
    let Some((_, id, records)) = found else {
        let failure = Failure::new(Exit::Usage, "D062", "the journal knows no such rollout");
        return Err(failure.hint("`davy history` lists them"));
    };
    let batches = journal.evidence(&id).await.map_err(|error| unread(&error))?;
    let replay = davy_engine::replay(&records, &id, &batches, other.as_ref());
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
