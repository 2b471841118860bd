//! Where the journal of a data folder is kept: in a file of the folder, or in a database of a PostgreSQL server. A folder says
//! which once and for all, so that every command finds it.

use crate::{
    exit::{Exit, Failure},
    home::{self, Home},
};
use davy_engine::store::Store;
use davy_ports::JournalError;
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// Which database `davy up` is told.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(id = "journal")]
pub(crate) struct Asked {
    /// Keep the journal in a PostgreSQL database, postgres://user@host:5432/name; else in a file of the data folder. A
    /// password belongs in ~/.pgpass, PGPASSFILE or the file of --database-file
    #[arg(long, value_name = "URL", conflicts_with = "database_file")]
    pub database: Option<String>,
    /// The file with the database's address, readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub database_file: Option<PathBuf>,
}

/// Where a journal is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    /// A file of the folder.
    File(PathBuf),
    /// A PostgreSQL server, by its address.
    Server(String),
    /// A PostgreSQL server, by an address in a file.
    Named(PathBuf),
}

/// What a folder keeps of it: never a password.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Note {
    Url(String),
    File(PathBuf),
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(url) => url.fmt(f),
            Self::Named(path) => write!(f, "the database that {} names", path.display()),
        }
    }
}

impl Database {
    /// The database of a folder, as it was said before; a file where nothing was.
    pub(crate) fn of(home: &Home) -> Result<Self, Failure> {
        let note = note(home);
        let text = match fs::read_to_string(&note) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::File(home.journal())),
            Err(error) => return Err(unreadable(&note, &error)),
        };
        match serde_json::from_str(&text) {
            Ok(Note::Url(url)) => Ok(Self::Server(url)),
            Ok(Note::File(path)) => Ok(Self::Named(path)),
            Err(error) => Err(unreadable(&note, &error)),
        }
    }

    /// The database of a folder whose server is told one, or none.
    pub(crate) fn settle(home: &Home, asked: &Asked) -> Result<Self, Failure> {
        let known = Self::of(home)?;
        let wanted = match (&asked.database, &asked.database_file) {
            (Some(url), _) if has_password(url) => {
                let message = "the database's address has a password in it, which everybody on this machine can read";
                let hint =
                    "put the address in a file of mode 600 and give --database-file, or the password in ~/.pgpass";
                return Err(Failure::new(Exit::Usage, "D037", message).hint(hint));
            }
            (Some(url), _) => Self::Server(url.clone()),
            (None, Some(path)) => Self::Named(std::path::absolute(path).map_err(|error| unreadable(path, &error))?),
            (None, None) => return Ok(known),
        };
        if wanted == known {
            return Ok(known);
        }
        if home.journal().exists() || note(home).exists() {
            let message = format!("the journal of {} is kept in {known}, not in {wanted}", home.data.display());
            let hint = "leave --database away, or give a folder of its own with --data";
            return Err(Failure::new(Exit::Usage, "D038", message).hint(hint));
        }
        Ok(wanted)
    }

    /// Whether several servers may use it, one at a time.
    pub(crate) const fn is_shared(&self) -> bool {
        !matches!(self, Self::File(_))
    }

    /// Keeps in the folder where its journal is, once it was opened.
    pub(crate) fn remember(&self, home: &Home) -> Result<(), Failure> {
        let kept = match self {
            Self::File(_) => return Ok(()),
            Self::Server(url) => Note::Url(url.clone()),
            Self::Named(path) => Note::File(path.clone()),
        };
        let text = serde_json::to_string(&kept).map_err(anyhow::Error::new)?;
        home::private(&note(home), &text)
    }

    /// The journal, to append to.
    pub(crate) async fn open(&self) -> Result<Store, Failure> {
        let opened = match self {
            Self::File(path) => Store::open(path).await,
            Self::Server(url) => Store::connect(url).await,
            Self::Named(path) => Store::connect(&address(path)?).await,
        };
        opened.map_err(|error| self.failed(&error))
    }

    /// The journal, to read and verify it beside its server.
    pub(crate) async fn read(&self) -> Result<Store, Failure> {
        let opened = match self {
            Self::File(path) if !path.exists() => {
                let message = format!("there is no journal at {}", path.display());
                return Err(Failure::new(Exit::Usage, "D060", message).hint("give the server's folder with --data"));
            }
            Self::File(path) => Store::open_read_only(path).await,
            Self::Server(url) => Store::connect_read_only(url).await,
            Self::Named(path) => Store::connect_read_only(&address(path)?).await,
        };
        opened.map_err(|error| self.unread(&error))
    }

    /// What is said where nobody knows whether another server works.
    pub(crate) fn unheld(&self, error: &dyn fmt::Display) -> Failure {
        Failure::new(Exit::Internal, "D040", format!("cannot ask {self} which server works: {error}"))
    }

    /// What is said where the journal belongs to another folder.
    pub(crate) fn elsewhere(&self, home: &Home, name: &str) -> Failure {
        let data = home.data.display();
        let message = format!("what {self} tells of runs in another data folder, {name}, not in {data}");
        Failure::new(Exit::Usage, "D041", message).hint(format!(
            "give that folder with --data; if it is lost for ever, write its name into {data}/name: then everything is started anew there"
        ))
    }

    /// What is said where it cannot be opened.
    pub(crate) fn failed(&self, error: &JournalError) -> Failure {
        Failure::new(Exit::Internal, "D032", format!("cannot open the journal {self}: {error}"))
    }

    /// What is said where it cannot be read.
    pub(crate) fn unread(&self, error: &dyn fmt::Display) -> Failure {
        Failure::new(Exit::Internal, "D061", format!("cannot read {self}: {error}"))
    }
}

fn note(home: &Home) -> PathBuf {
    home.data.join("database")
}

fn unreadable(path: &Path, error: &dyn fmt::Display) -> Failure {
    let message = format!("cannot read {}: {error}", path.display());
    Failure::new(Exit::Usage, "D039", message).hint("it says where the journal is kept")
}

/// The address in a file. Others must not be able to read what may be a password.
fn address(path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    if home::is_private(path) == Some(false) {
        let message = format!("{} can be read by others, and may hold a password", path.display());
        return Err(Failure::new(Exit::Usage, "D039", message).hint(format!("chmod 600 {}", path.display())));
    }
    Ok(text.trim().to_owned())
}

fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let in_front = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    in_front
        || rest.split_once('?').is_some_and(|(_, query)| query.split('&').any(|pair| pair.starts_with("password=")))
}

#[cfg(test)]
mod tests {
    use super::has_password;

    #[test]
    fn a_password_in_an_address_is_seen() {
        for url in ["postgres://davy:x@host/d", "postgres://davy:@h", "postgres://davy@h/d?host=/run&password=x"] {
            assert!(has_password(url), "{url}");
        }
        for url in ["postgres://davy@host:5432/d", "postgres://host:5432/d", "postgres://davy@h/d?host=/run:x@y"] {
            assert!(!has_password(url), "{url}");
        }
    }
}
