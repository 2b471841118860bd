//! `davy audit verify`: the journal's hash chains recomputed, with or without a server.

use crate::{
    cli::Audit,
    exit::{DONE, Exit, Failure},
    home::Home,
    output,
};
use davy_engine::store::Sqlite;
use davy_ports::Journal;

pub(crate) async fn run(command: Audit, json: bool) -> Result<Exit, Failure> {
    let Audit::Verify(asked) = command else { return Ok(DONE) };
    let home = Home::find(asked.data.as_deref())?;
    let path = home.journal();
    if !path.exists() {
        let message = format!("there is no journal at {}", path.display());
        return Err(Failure::new(Exit::Usage, "D060", message).hint("give the server's folder with --data"));
    }
    let fail = |error| Failure::new(Exit::Internal, "D061", format!("cannot read {}: {error}", path.display()));
    let journal = Sqlite::open_read_only(&path).await.map_err(fail)?;
    let found = journal.verify().await.map_err(fail)?;
    if json {
        let mut value = serde_json::to_value(&found).unwrap_or_default();
        if let Some(object) = value.as_object_mut() {
            object.insert("type".to_owned(), "verified".into());
        }
        output::json(&value);
    } else {
        for broken in &found.broken {
            output::data(&format!("broken: stream {} at {}: {}", broken.stream, broken.position, broken.why));
        }
        let all = format!("{} streams, {} events, {} batches of evidence", found.streams, found.events, found.batches);
        match found.broken.len() {
            0 => output::data(&format!("every chain holds: {all}")),
            n => output::data(&format!("{n} places do not hold: {all}")),
        }
    }
    Ok(if found.broken.is_empty() { DONE } else { Exit::Internal })
}
