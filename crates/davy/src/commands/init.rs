//! `davy init`: a file to start from, guessed from a Dockerfile or a Compose file where there is one.

use crate::{
    cli::Init,
    exit::{DONE, Exit, Failure},
    output,
};
use anyhow::Context;
use davy_config::draft::{self, Compose, Dockerfile, Draft, Refusal, Service};
use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

/// Where they are looked for, in this order: as Compose does, then as Docker does.
const COMPOSE: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
const OVERRIDES: [&str; 4] =
    ["compose.override.yaml", "compose.override.yml", "docker-compose.override.yaml", "docker-compose.override.yml"];
const DOCKERFILES: [&str; 2] = ["Dockerfile", "Containerfile"];

pub(crate) fn run(asked: &Init, json: bool) -> Result<Exit, Failure> {
    // Before anything is said: what is there is never overwritten.
    if asked.file.symlink_metadata().is_ok() {
        return Err(in_the_way(&asked.file, "it is there already"));
    }
    let draft = draft(asked)?;
    write(&asked.file, &draft.text)?;
    for note in &draft.notes {
        match json {
            true => output::json(&serde_json::json!({
                "type": "note", "file": note.file, "line": note.line, "message": note.message,
            })),
            false => output::say(&format!("{}:{}: {}", note.file, note.line, note.message)),
        }
    }
    match json {
        true => output::json(&serde_json::json!({ "type": "written", "file": asked.file, "service": draft.service })),
        false => output::data(&format!(
            "{} written; next: read it, then `davy up` in one terminal, `davy deploy --watch` in another",
            asked.file.display()
        )),
    }
    Ok(DONE)
}

fn draft(asked: &Init) -> Result<Draft, Failure> {
    let found = |names: &[&str]| names.iter().map(PathBuf::from).find(|path| path.is_file());
    match (&asked.from, &asked.command) {
        (None, Some(command)) => template(asked, command),
        (Some(path), None) => {
            let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            match is_yaml {
                true => compose(asked, path, None),
                false => dockerfile(asked, path),
            }
        }
        _ => match (found(&COMPOSE), found(&DOCKERFILES)) {
            (Some(path), other) => compose(asked, &path, other.as_deref()),
            (None, Some(path)) => dockerfile(asked, &path),
            (None, None) => {
                let service = name(asked)?;
                template(asked, &format!("./{service} --port $PORT"))
            }
        },
    }
}

fn template(asked: &Init, command: &str) -> Result<Draft, Failure> {
    let service = name(asked)?;
    Ok(Draft::template(&service, command))
}

fn dockerfile(asked: &Init, path: &Path) -> Result<Draft, Failure> {
    let service = name(asked)?;
    Ok(read_dockerfile(path, None)?.draft(&service))
}

fn compose(asked: &Init, path: &Path, other: Option<&Path>) -> Result<Draft, Failure> {
    let shown = path.display().to_string();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let compose = Compose::read(&shown, &read(path)?, folder).map_err(|refusal| refused(path, &refusal))?;
    let all: Vec<&Service> = compose.services().iter().collect();
    let likely: Vec<&Service> = all.iter().copied().filter(|service| service.is_likely).collect();
    let list = || {
        let one = |service: &Service| format!("{} ({})", service.name, service.what);
        compose.services().iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let service = match (&asked.service, likely.as_slice(), all.as_slice(), other) {
        (Some(wanted), ..) => {
            let found = all.iter().find(|service| service.name == *wanted);
            *found.ok_or_else(|| {
                let message = format!("there is no service `{wanted}` in {shown}: there are {}", list());
                let hint = "name one of them; `--from Dockerfile` or `--command` leaves that file aside";
                Failure::new(Exit::Usage, "D053", message).hint(hint)
            })?
        }
        (None, [only], ..) | (None, [], [only], None) => *only,
        // It only has what this project needs: the project itself is in the Dockerfile.
        (None, [], _, Some(own)) => return dockerfile(asked, own),
        (None, ..) => {
            let message = format!("{shown} has several services, and davy.yaml is about one: {}", list());
            let hint = "`davy init SERVICE` takes one of them; a second goes to a file of its own with --file";
            return Err(Failure::new(Exit::Usage, "D054", message).hint(hint));
        }
    };
    let built = service.dockerfile.as_ref().filter(|(path, _)| path.is_file());
    let built = built.map(|(path, target)| read_dockerfile(path, target.as_deref())).transpose()?;
    let mut draft = compose.draft(service, built.as_ref());
    let others: Vec<&str> = all.iter().map(|one| one.name.as_str()).filter(|name| *name != service.name).collect();
    if asked.service.is_none() && !others.is_empty() {
        let stay = if others.len() == 1 { "stays" } else { "stay" };
        let message = format!("{} was taken; {} {stay} with Compose", service.name, others.join(", "));
        draft.notes.insert(0, draft::Note { file: shown.clone(), line: 1, message });
    }
    if let Some(over) = OVERRIDES.iter().map(|name| folder.join(name)).find(|path| path.is_file()) {
        let over = over.strip_prefix(".").unwrap_or(&over).display().to_string();
        let message =
            "it was not read: what Compose changes by it on this machine is usually for development".to_owned();
        draft.notes.push(draft::Note { file: over, line: 1, message });
    }
    if let Some((missing, _)) = service.dockerfile.as_ref().filter(|_| built.is_none()) {
        let message = format!("{} is not there: what it says of ports and health is not known", missing.display());
        draft.notes.push(draft::Note { file: shown, line: 1, message });
    }
    Ok(draft)
}

fn read_dockerfile(path: &Path, target: Option<&str>) -> Result<Dockerfile, Failure> {
    let name = path.strip_prefix(".").unwrap_or(path).display().to_string();
    let read = Dockerfile::read(&name, &read(path)?, target);
    read.map_err(|refusal| refused(path, &refusal))
}

/// No more of a file than can be a good one, and one byte, which tells that there is more.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let most = u64::try_from(davy_config::LARGEST).unwrap_or(u64::MAX) + 1;
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.map_err(|error| {
        Failure::new(Exit::Usage, "D055", format!("cannot read {}: {error}", path.display()))
            .hint("name a Dockerfile or a Compose file with --from")
    })?;
    Ok(bytes)
}

fn refused(path: &Path, refusal: &Refusal) -> Failure {
    let message = format!("{}:{}: {}", path.display(), refusal.line, refusal.message);
    Failure::new(Exit::Usage, "D052", message).hint(refusal.hint.clone())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let created = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = created.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => in_the_way(path, "it is there already"),
        _ => in_the_way(path, &error.to_string()),
    })?;
    Ok(file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))?)
}

fn in_the_way(path: &Path, why: &str) -> Failure {
    Failure::new(Exit::Usage, "D051", format!("cannot create {}: {why}", path.display()))
        .hint("remove it first, or write elsewhere with --file")
}

/// The service's name: as given, else the folder's as far as it can be one.
fn name(asked: &Init) -> Result<String, Failure> {
    let name = match &asked.service {
        Some(name) => name.clone(),
        None => {
            let folder = std::env::current_dir().context("find the current folder")?;
            draft::service_name(&folder.file_name().unwrap_or_default().to_string_lossy())
        }
    };
    davy_core::ServiceName::new(&name).map_err(|error| {
        Failure::new(Exit::Usage, "D050", error.to_string()).hint("name the service: `davy init NAME`")
    })?;
    Ok(name)
}
