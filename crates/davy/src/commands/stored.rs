//! A rollout as the journal of a data folder has it, read without a server.

use crate::{
    database::Database,
    exit::{Exit, Failure},
    home::Home,
};
use davy_core::{
    RolloutId, Timestamp,
    rollout::{Event, Request},
};
use davy_ports::{Batch, Journal, JournalError, Record};
use std::path::Path;

/// One rollout, its service's stream, and its evidence.
pub(crate) struct Stored {
    pub request: Request,
    pub records: Vec<Record>,
    pub batches: Vec<Batch>,
}

/// The rollout of this id; without one the last.
pub(crate) async fn find(data: Option<&Path>, rollout: Option<String>) -> Result<Stored, Failure> {
    let home = Home::find(data)?;
    let database = Database::of(&home)?;
    let unread = |error: &dyn std::fmt::Display| database.unread(error);
    let journal = database.read().await?;
    let wanted = rollout.map(RolloutId::new);
    let mut found: Option<(Timestamp, Request, Vec<Record>)> = None;
    for key in journal.streams().await.map_err(|error| unread(&error))? {
        let records = journal.stream(&key, 0).await.map_err(|error| unread(&error))?;
        let requested = records.iter().rev().find_map(|record| match &record.entry.event {
            Event::RolloutRequested { request } if wanted.as_ref().is_none_or(|wanted| request.rollout == *wanted) => {
                Some((record.entry.at, request.clone()))
            }
            _ => None,
        });
        if let Some((at, request)) = requested
            && found.as_ref().is_none_or(|(latest, ..)| at > *latest)
        {
            found = Some((at, *request, records));
        }
    }
    let Some((_, request, records)) = found else {
        let failure = Failure::new(Exit::Usage, "D062", "the journal knows no such rollout");
        return Err(failure.hint("`davy history` lists them"));
    };
    let batches = journal.evidence(&request.rollout).await.map_err(|error| match error {
        JournalError::LetGo { .. } => Failure::new(Exit::Usage, "D064", error.to_string())
            .hint("name one whose evidence is kept; `davy doctor` says how long that is"),
        error => unread(&error),
    })?;
    Ok(Stored { request, records, batches })
}
