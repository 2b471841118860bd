//! `davy audit`: the journal's chains and signatures checked, and heads to be kept elsewhere; with or without a server.

use crate::{
    cli::{Audit, Data, Server},
    client::Client,
    database::Database,
    exit::{DONE, Exit, Failure},
    home::Home,
    output,
};
use davy_engine::store::{Head, Store, Trust};
use davy_server::wire;

pub(crate) async fn run(command: Audit, server: &Server, json: bool) -> Result<Exit, Failure> {
    match command {
        Audit::Verify { data, head } => verify(&data, &head, server, json).await,
        Audit::Head(data) => head(&data, server, json).await,
        Audit::Log => Ok(DONE),
    }
}

async fn open(data: &Data) -> Result<(Home, Database, Store), Failure> {
    let home = Home::find(data.data.as_deref())?;
    let database = Database::of(&home)?;
    let journal = database.read().await?;
    Ok((home, database, journal))
}

/// A server that was named checks its own journal; else it is read here, and whoever has the server's machine need not believe the server.
async fn verify(data: &Data, saved: &[String], server: &Server, json: bool) -> Result<Exit, Failure> {
    let heads = saved.iter().map(|saved| read_heads(saved)).collect::<Result<Vec<_>, _>>()?.concat();
    let found = match (&data.data, &server.server) {
        (None, Some(_)) => {
            let asked = wire::Verify { heads: heads.iter().map(ToString::to_string).collect() };
            let mut working = output::Working::default();
            let found = Client::find(server)?.post_patiently("/api/audit/verify", &asked, |on| working.tell(on)).await;
            working.over();
            found?
        }
        _ => {
            let (home, database, journal) = open(data).await?;
            let mut trust = Trust::of(&home.checkpoint_public()).map_err(|error| database.unread(&error))?;
            trust.heads = heads;
            let found = journal.verify_with(&trust).await.map_err(|error| database.unread(&error))?;
            wire::Verified::of(found, trust.heads.len())
        }
    };
    if json {
        output::json(&found);
    } else {
        for broken in &found.broken {
            output::data(&format!("broken: {} at {}: {}", broken.stream, broken.position, broken.why));
        }
        let heads = match found.heads {
            0 => String::new(),
            count => format!(", {count} saved heads"),
        };
        let let_go = match found.let_go {
            0 => String::new(),
            count => format!(" (that of {count} rollouts was let go)"),
        };
        let packed = match found.packed {
            0 => String::new(),
            count => format!(" ({count} of them packed)"),
        };
        let all = format!(
            "{} streams, {} events{packed}, {} batches of evidence{let_go}, {} deeds, {} checkpoints{heads}",
            found.streams, found.events, found.batches, found.deeds, found.checkpoints
        );
        match found.broken.len() {
            0 => output::data(&format!("every chain holds: {all}")),
            n => output::data(&format!("{n} places do not hold: {all}")),
        }
        if found.heads == 0 {
            output::say(
                "note: whoever can write the whole folder could write all of it anew; keep `davy audit head` elsewhere and check with --head",
            );
        }
    }
    Ok(if found.broken.is_empty() { DONE } else { Exit::Internal })
}

/// The heads of a line, or of a file with one on each.
fn read_heads(saved: &str) -> Result<Vec<Head>, Failure> {
    if let Some(head) = Head::parse(saved) {
        return Ok(vec![head]);
    }
    let wrong = |why: String| {
        let message = format!("--head is neither a head nor a file of heads: {why}");
        Failure::new(Exit::Usage, "D062", message).hint("give what `davy audit head` printed, or a file with it")
    };
    let text = std::fs::read_to_string(saved).map_err(|error| wrong(format!("{saved}: {error}")))?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let heads: Option<Vec<Head>> = lines.iter().map(|line| Head::parse(line)).collect();
    heads.filter(|heads| !heads.is_empty()).ok_or_else(|| wrong(format!("{saved} holds something else")))
}

/// A server signs where everything stands now; without one, or for another folder, the last checkpoint is told.
async fn head(data: &Data, server: &Server, json: bool) -> Result<Exit, Failure> {
    let asked = match data.data {
        Some(_) => None,
        None => match Client::find(server)?.post::<wire::Checkpoint>("/api/checkpoint", &serde_json::json!({})).await {
            Ok(told) => Some(told.head.as_deref().and_then(Head::parse)),
            Err(failure) if failure.exit == Exit::Unreachable => None,
            Err(failure) => return Err(failure),
        },
    };
    let head = match asked {
        Some(head) => head,
        None => {
            let (_, database, journal) = open(data).await?;
            journal.head().await.map_err(|error| database.unread(&error))?
        }
    };
    let Some(head) = head else {
        let message = "there is no checkpoint yet: nothing was written, or no server has signed it";
        return Err(Failure::new(Exit::Internal, "D063", message));
    };
    match json {
        true => output::json(&serde_json::json!({
            "type": "head", "number": head.number, "hash": head.hash, "key": head.key, "signature": head.signature,
            "line": head.to_string(),
        })),
        false => output::data(&head.to_string()),
    }
    Ok(DONE)
}
