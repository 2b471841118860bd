//! `davy config`: the file checked, its schema, its error codes.

use crate::{
    cli::Config,
    exit::{DONE, Exit, Failure},
    output,
};
use davy_config::{Diagnostic, File};
use std::{io::Read, path::Path};

pub(crate) fn run(command: Config, json: bool) -> Result<Exit, Failure> {
    match command {
        Config::Check(asked) => {
            let (bytes, parsed) = read(&asked.file)?;
            let (notes, errors) = match parsed {
                Ok(file) => (file.notes().to_vec(), Vec::new()),
                Err(errors) => (Vec::new(), errors),
            };
            show(&errors, &bytes, &asked.file, json);
            tell(&notes, &bytes, &asked.file, json, "note");
            if json {
                output::json(&serde_json::json!({ "type": "checked", "errors": errors.len() }));
            } else if errors.is_empty() {
                output::data(&format!("{}: no errors", asked.file.display()));
            }
            Ok(if errors.is_empty() { DONE } else { Exit::Usage })
        }
        Config::Schema => {
            let text = serde_json::to_string_pretty(&davy_config::schema()).unwrap_or_default();
            output::data(&text);
            Ok(DONE)
        }
        Config::Explain { code } => {
            let known = davy_config::explain(&code).ok_or_else(|| {
                Failure::new(Exit::Usage, "D040", format!("`{code}` is not a code of the file's errors"))
                    .hint("codes look like E014; `davy config check` shows them")
            })?;
            match json {
                true => output::json(&serde_json::json!({
                    "type": "explanation", "code": known.code, "title": known.title, "text": known.text,
                })),
                false => output::data(&format!("{}: {}\n\n{}", known.code, known.title, known.text)),
            }
            Ok(DONE)
        }
    }
}

type Parsed = Result<File, Vec<Diagnostic>>;

/// The file's bytes and what they say.
pub(crate) fn read(path: &Path) -> Result<(Vec<u8>, Parsed), Failure> {
    let mut bytes = Vec::new();
    let most = davy_config::LARGEST as u64 + 1;
    std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)).map_err(|error| {
        Failure::new(Exit::Usage, "D041", format!("cannot read {}: {error}", path.display()))
            .hint("`davy init` writes one, --file names another")
    })?;
    let parsed = davy_config::parse(&bytes);
    Ok((bytes, parsed))
}

/// Prints every error, for a program or a person.
pub(crate) fn show(errors: &[Diagnostic], bytes: &[u8], path: &Path, json: bool) {
    tell(errors, bytes, path, json, "error");
}

/// Prints each `error`, or each `note` on what is allowed and should be known.
fn tell(all: &[Diagnostic], bytes: &[u8], path: &Path, json: bool, kind: &str) {
    let render = if kind == "note" { davy_config::note } else { davy_config::render };
    let text = String::from_utf8_lossy(bytes);
    let name = path.display().to_string();
    for one in all {
        if json {
            let mut value = serde_json::to_value(one).unwrap_or_default();
            if let Some(object) = value.as_object_mut() {
                object.insert("type".to_owned(), kind.into());
                object.insert("file".to_owned(), name.clone().into());
            }
            output::json(&value);
        } else {
            output::say(&render(one, &text, &name));
        }
    }
}
