//! `davy restore`: a backup put into an empty folder, whole or not at all. `davy up` then looks at the world before it acts.

use crate::{
    archive::{self, List, Unusable},
    cli::Restore,
    exit::{DONE, Exit, Failure},
    home::Home,
    output,
};
use davy_core::{Actor, Timestamp};
use davy_engine::{
    Deed, now,
    store::{Change, Store, Trust},
};
use std::{
    fs::{self, DirBuilder, File},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// Removes what was begun unless it was finished.
struct Begun(PathBuf);

impl Drop for Begun {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

pub(crate) async fn run(asked: &Restore, json: bool) -> Result<Exit, Failure> {
    let home = Home::find(Some(&asked.data))?;
    is_free(&home)?;
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        let message = format!("cannot {what} {}: {error}", home.data.display());
        Failure::new(Exit::Internal, "D141", message).hint("nothing was restored; see that its disk has room")
    };
    let file = File::open(&asked.file).map_err(|error| {
        Failure::new(Exit::Usage, "D140", format!("cannot read the backup {}: {error}", asked.file.display()))
    })?;
    let name = home.data.file_name().unwrap_or_default().to_string_lossy();
    let begun = Begun(home.data.with_file_name(format!(".{name}.{}.restoring", std::process::id())));
    let folder = DirBuilder::new().recursive(true).mode(0o700).create(&begun.0);
    folder.map_err(|error| failed("make the folder beside", &error))?;
    let list = archive::unpack(&file, &begun.0).map_err(|error| unusable(&asked.file, &error))?;
    let (broken, secrets) = settle(&begun.0, &list).await?;
    if home.data.exists() {
        fs::remove_dir(&home.data).map_err(|error| failed("replace the empty folder", &error))?;
    }
    fs::rename(&begun.0, &home.data).map_err(|error| failed("put the folder in place as", &error))?;
    let made = Timestamp(list.made);
    if json {
        output::json(&serde_json::json!({
            "type": "restored", "data": home.data, "made": made, "keys": list.keys, "broken": broken,
        }));
    } else {
        output::data(&format!("{} is as it was at {}", home.data.display(), output::time(made)));
    }
    if broken > 0 {
        output::say(&format!(
            "warning: its journal does not hold in {broken} places, as it did not when it was backed up: `davy audit verify`"
        ));
    }
    if secrets && !list.keys {
        output::say(
            "warning: it has secrets and not their key: put secrets.key into the folder before anything that needs one is started",
        );
    }
    output::say(&format!("next: davy up --data {}", home.data.display()));
    output::say(
        "what was done since is not in it: tokens and secrets that were taken back since are worth something again",
    );
    Ok(DONE)
}

fn is_free(home: &Home) -> Result<(), Failure> {
    let mut entries = match fs::read_dir(&home.data) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            let message = format!("cannot look into {}: {error}", home.data.display());
            return Err(Failure::new(Exit::Usage, "D142", message));
        }
        Ok(entries) => entries,
    };
    if entries.next().is_none() {
        return Ok(());
    }
    if home.data.join("lock").exists() {
        // Says so when a server uses it.
        drop(home.lock(crate::home::Held::Alone)?);
    }
    let message = format!("the folder {} is not empty: nothing is ever restored over something", home.data.display());
    Err(Failure::new(Exit::Usage, "D143", message).hint("give a new folder, or move this one away"))
}

fn unusable(file: &Path, error: &Unusable) -> Failure {
    let failure = Failure::new(Exit::Usage, "D144", format!("cannot restore {}: {error}", file.display()));
    match error {
        Unusable::Newer { .. } => failure.hint("restore it with that version"),
        Unusable::Io(_) => failure.hint("nothing was restored; see that the disk has room"),
        Unusable::Foreign(_) | Unusable::Damaged(_) => failure.hint("nothing was restored; take another backup"),
    }
}

/// Checks the journal that was unpacked and records in it what was done; in how many places it does not hold, and whether
/// it has secrets.
async fn settle(folder: &Path, list: &List) -> Result<(usize, bool), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        let message = format!("the backup's journal cannot be used: {error}");
        Failure::new(Exit::Usage, "D145", message).hint("nothing was restored; take another backup")
    };
    let journal = Store::open(&folder.join("journal.db")).await.map_err(|error| failed(&error))?;
    let trust = Trust::of(&folder.join("checkpoint.pub")).map_err(|error| failed(&error))?;
    let found = journal.verify_with(&trust).await.map_err(|error| failed(&error))?;
    let secrets = !journal.keys().await.map_err(|error| failed(&error))?.is_empty();
    let deed = Deed::Restored { made: Timestamp(list.made) };
    let change = Change { deeds: vec![deed], ..Change::default() };
    let recorded = journal.change(now(), &Actor::new("davy restore"), change).await;
    recorded.map_err(|error| failed(&error))?;
    journal.close().await;
    Ok((found.broken.len(), secrets))
}
