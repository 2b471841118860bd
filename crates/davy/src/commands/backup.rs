//! `davy backup`: what is needed to go on elsewhere, in one file. It reads the folder itself, so it needs no server and
//! disturbs none.

use crate::{
    archive::{self, Content, FORMAT, List},
    cli::Backup,
    database::Database,
    exit::{DONE, Exit, Failure},
    home::Home,
    output,
};
use davy_engine::{now, store::Store};
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

type Files = BTreeMap<String, (u32, Content)>;

/// Removes what was begun unless it was finished.
struct Begun(PathBuf);

impl Drop for Begun {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

pub(crate) async fn run(asked: &Backup, json: bool) -> Result<Exit, Failure> {
    let home = Home::find(asked.data.data.as_deref())?;
    let target = &asked.file;
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        let message = format!("cannot {what} for the backup {}: {error}", target.display());
        Failure::new(Exit::Internal, "D130", message)
            .hint("nothing was written; see that its folder exists and its disk has room")
    };
    if let database @ (Database::Server(_) | Database::Named(_)) = Database::of(&home)? {
        let message = format!("the journal of {} is in {database}", home.data.display());
        let hint = "dump that database with pg_dump, and copy the folder beside it: its keys, reports and releases";
        return Err(Failure::new(Exit::Usage, "D132", message).hint(hint));
    }
    if !home.journal().exists() {
        let message = format!("there is no journal at {}", home.journal().display());
        return Err(Failure::new(Exit::Usage, "D060", message).hint("give the server's folder with --data"));
    }
    if target.exists() {
        let message = format!("{} is there already", target.display());
        return Err(Failure::new(Exit::Usage, "D131", message).hint("give the name of a new file"));
    }
    let mut files = files(&home, asked.with_keys).map_err(|error| failed("read the data folder", &error))?;
    // The journal last: what it says is never older than what lies beside it.
    let beside = |end: &str| {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        target.with_file_name(format!(".{name}.{}.{end}", std::process::id()))
    };
    let private = |path: &Path| OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(path);
    let copy = Begun(beside("db"));
    private(&copy.0).map_err(|error| failed("begin the copy", &error))?;
    let journal = Store::open_read_only(&home.journal()).await.map_err(|error| failed("open the journal", &error))?;
    journal.copy(&copy.0).await.map_err(|error| failed("copy the journal", &error))?;
    files.insert("journal.db".to_owned(), (0o600, Content::At(copy.0.clone())));
    let written = Begun(beside("new"));
    let mut file = private(&written.0).map_err(|error| failed("begin the file", &error))?;
    let davy = env!("CARGO_PKG_VERSION").to_owned();
    let list = List { format: FORMAT, davy, made: now().0, keys: asked.with_keys, files: Vec::new() };
    let list = archive::write(&mut file, list, &files).map_err(|error| failed("write the file", &error))?;
    name(&written.0, target).map_err(|error| failed("name the file", &error))?;
    let bytes = file.metadata().map_or(0, |about| about.len());
    match json {
        true => output::json(&serde_json::json!({
            "type": "backup", "file": target, "bytes": bytes, "files": list.files.len(), "keys": list.keys,
        })),
        false => {
            output::data(&format!("{} holds {} files, {bytes} bytes", target.display(), list.files.len()));
            match asked.with_keys {
                true => output::say(
                    "whoever has it has the secrets and can act as this server: keep it where few can read it",
                ),
                false => output::say(
                    "the keys are not in it: secrets cannot be opened without secrets.key; --with-keys puts them in",
                ),
            }
        }
    }
    Ok(DONE)
}

/// Gives a finished file its name, never over a file that came meanwhile.
fn name(written: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(written, target) {
        // Some disks know no second name of a file.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !target.exists() => fs::rename(written, target),
        named => named,
    }
}

/// Everything but the journal.
fn files(home: &Home, keys: bool) -> io::Result<Files> {
    let mut files = Files::new();
    let data = &home.data;
    hold(data, Path::new("checkpoint.pub"), &mut files)?;
    // What stands still is read from where it is; what may change is held as it was.
    folder(data, Path::new("releases"), true, &mut files)?;
    folder(data, Path::new("fences"), false, &mut files)?;
    // Which releases are on an engine is left out: a restored server asks it.
    for engine in davy_docker::Engines::folders(&home.docker())? {
        let engine = engine.strip_prefix(data).unwrap_or(&engine);
        for name in ["home", "address"] {
            hold(data, &engine.join(name), &mut files)?;
        }
        for name in ["fences", "images"] {
            folder(data, &engine.join(name), false, &mut files)?;
        }
    }
    if keys {
        for name in ["token", "checkpoint.key"] {
            hold(data, Path::new(name), &mut files)?;
        }
        folder(data, Path::new("gateway"), false, &mut files)?;
        let key = home.secret_key();
        if key.path().exists() {
            files.insert("secrets.key".to_owned(), (0o600, Content::Held(fs::read(key.path())?)));
        }
    }
    Ok(files)
}

fn hold(data: &Path, path: &Path, files: &mut Files) -> io::Result<()> {
    let place = data.join(path);
    match fs::read(&place) {
        Ok(bytes) => {
            files.insert(path.to_string_lossy().into_owned(), (mode(&place)?, Content::Held(bytes)));
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn mode(path: &Path) -> io::Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}

fn folder(data: &Path, path: &Path, still: bool, files: &mut Files) -> io::Result<()> {
    let entries = match fs::read_dir(data.join(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let inner = path.join(entry.file_name());
        let about = entry.file_type()?;
        // A copy that is being made is nobody's yet.
        let begun = still && path.components().count() == 2 && entry.file_name().as_encoded_bytes().starts_with(b".");
        if about.is_dir() && !begun {
            folder(data, &inner, still, files)?;
        } else if about.is_file() && still {
            let name = inner.to_string_lossy().into_owned();
            files.insert(name, (mode(&entry.path())?, Content::At(entry.path())));
        } else if about.is_file() {
            hold(data, &inner, files)?;
        }
    }
    Ok(())
}
