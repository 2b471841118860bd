//! The file of `davy up --sign-in`, and the secrets that it names.

use crate::{
    commands::show,
    exit::{Exit, Failure},
    home::is_private,
};
use davy_config::SignIn;
use davy_identity::Identity;
use std::{io::Read as _, path::Path};
use zeroize::Zeroizing;

/// Who vouches for people, with what this server proves itself by.
pub(crate) struct Vouching {
    file: SignIn,
    secrets: Vec<Option<Zeroizing<String>>>,
}

impl Vouching {
    /// Reads both.
    pub(crate) fn read(path: &Path, json: bool) -> Result<Self, Failure> {
        let unread = |error: std::io::Error| {
            let message = format!("cannot read the sign-in file {}: {error}", path.display());
            Failure::new(Exit::Usage, "D035", message).hint("give the file's path with --sign-in")
        };
        let mut bytes = Vec::new();
        let most = davy_config::LARGEST as u64 + 1;
        std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)).map_err(unread)?;
        let file = davy_config::sign_in(&bytes).map_err(|errors| {
            show(&errors, &bytes, path, json);
            let message = format!("the sign-in file {} has errors: {}", path.display(), errors.len());
            Failure::new(Exit::Usage, "D035", message).hint("`davy config explain E062` shows a whole file")
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let secret = |provider: &davy_config::Provider| {
            provider.secret_file.as_ref().map(|file| secret(&provider.name, &folder.join(file))).transpose()
        };
        let secrets = file.providers.iter().map(secret).collect::<Result<_, _>>()?;
        Ok(Self { file, secrets })
    }

    /// For a page at this address.
    pub(crate) fn at(&self, url: &str) -> Identity {
        Identity::new(self.file.clone(), self.secrets.clone(), url)
    }
}

fn secret(name: &str, path: &Path) -> Result<Zeroizing<String>, Failure> {
    let wrong = |why: String, hint: &str| {
        let message = format!("the secret of `{name}` in {} is of no use: {why}", path.display());
        Failure::new(Exit::Usage, "D036", message).hint(hint)
    };
    if is_private(path) == Some(false) {
        return Err(wrong("others can read it".to_owned(), "chmod 600, and have the provider make another one"));
    }
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text =
        text.map_err(|error| wrong(error.to_string(), "write what the provider gave into that file, mode 600"))?;
    let text = Zeroizing::new(text.trim().to_owned());
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(wrong("it is empty or more than one line".to_owned(), "write what the provider gave, alone"));
    }
    Ok(text)
}
