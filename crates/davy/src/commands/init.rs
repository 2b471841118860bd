//! `davy init`: a file to start from.

use crate::{
    cli::Init,
    exit::{DONE, Exit, Failure},
    output,
};
use anyhow::Context;
use std::io::Write;

pub(crate) fn run(asked: &Init, json: bool) -> Result<Exit, Failure> {
    let service = match &asked.service {
        Some(name) => name.clone(),
        None => folder_name()?,
    };
    davy_core::ServiceName::new(&service).map_err(|error| {
        Failure::new(Exit::Usage, "D050", error.to_string()).hint("name the service: `davy init NAME`")
    })?;
    let command = asked.command.clone().unwrap_or_else(|| format!("./{service} --port $PORT"));
    let text = davy_config::template(&service, &command);
    let created = std::fs::OpenOptions::new().write(true).create_new(true).open(&asked.file);
    let mut file = created.map_err(|error| {
        Failure::new(Exit::Usage, "D051", format!("cannot create {}: {error}", asked.file.display()))
            .hint("remove it first, or write elsewhere with --file")
    })?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", asked.file.display()))?;
    match json {
        true => output::json(&serde_json::json!({ "type": "written", "file": asked.file, "service": service })),
        false => output::data(&format!(
            "{} written; next: `davy up` in one terminal, `davy deploy --watch` in another",
            asked.file.display()
        )),
    }
    Ok(DONE)
}

/// The folder's name as far as it can be a service's.
fn folder_name() -> Result<String, Failure> {
    let folder = std::env::current_dir().context("find the current folder")?;
    let name = folder.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Ok(name.trim_matches(|c: char| !c.is_ascii_alphabetic()).to_owned())
}
