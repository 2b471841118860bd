//! A backup as a file: a tar archive that begins with a list of what is in it, each with its SHA-256, and ends with that of
//! the list.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
};

/// The format that this version writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 1;
const LIST: &str = "davy-backup.json";
const END: &str = "davy-backup.sha256";
/// A list longer than this is none of ours.
const LONGEST_LIST: u64 = 256 * 1024 * 1024;

/// What is in a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct List {
    pub format: u32,
    /// The version of Davy that wrote it.
    pub davy: String,
    /// When, in milliseconds since the Unix epoch.
    pub made: u64,
    /// Whether the keys are in it.
    pub keys: bool,
    pub files: Vec<Entry>,
}

/// One file of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Relative to the data folder.
    pub path: String,
    pub size: u64,
    pub mode: u32,
    pub sha256: String,
}

/// What a file of a backup is made of.
pub(crate) enum Content {
    /// It may change at any time: as it was read.
    Held(Vec<u8>),
    /// It does not change.
    At(PathBuf),
}

/// Why a file is no backup that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is no backup of Davy's: {0}")]
    Foreign(String),
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error("it was made by a newer Davy ({davy}, format {format}; this one knows up to {FORMAT})")]
    Newer { format: u32, davy: String },
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Copies and digests; how many bytes, and their SHA-256.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<(u64, String)> {
    let (mut hash, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok((size, hex(&hash.finalize()))),
            Ok(length) => {
                hash.update(&buffer[..length]);
                to.write_all(&buffer[..length])?;
                size += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes a backup. The list's `files` are filled in.
pub(crate) fn write(to: &mut File, mut list: List, files: &BTreeMap<String, (u32, Content)>) -> io::Result<List> {
    for (path, (mode, content)) in files {
        let (size, sha256) = match content {
            Content::Held(bytes) => copy(&mut bytes.as_slice(), &mut io::sink())?,
            Content::At(place) => copy(&mut File::open(place)?, &mut io::sink())?,
        };
        list.files.push(Entry { path: path.clone(), size, mode: *mode, sha256 });
    }
    let bytes = serde_json::to_vec(&list)?;
    let mut archive = tar::Builder::new(to);
    let header = |size: u64, mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(mode);
        header.set_mtime(list.made / 1000);
        header
    };
    archive.append_data(&mut header(bytes.len() as u64, 0o600), LIST, bytes.as_slice())?;
    for entry in &list.files {
        let (mode, content) = &files[&entry.path];
        let mut header = header(entry.size, *mode);
        let path = format!("data/{}", entry.path);
        match content {
            Content::Held(bytes) => archive.append_data(&mut header, path, bytes.as_slice())?,
            Content::At(place) => archive.append_data(&mut header, path, File::open(place)?.take(entry.size))?,
        }
    }
    let end = hex(&Sha256::digest(&bytes));
    archive.append_data(&mut header(end.len() as u64, 0o600), END, end.as_bytes())?;
    archive.into_inner()?.sync_all()?;
    Ok(list)
}

/// Unpacks a backup into an empty folder; every byte is checked.
pub(crate) fn unpack(from: &File, into: &Path) -> Result<List, Unusable> {
    let damaged = |error: io::Error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Unusable::Io(error),
        _ => Unusable::Damaged(error.to_string()),
    };
    let mut archive = tar::Archive::new(from);
    let mut entries = archive.entries()?;
    let foreign = || Unusable::Foreign("it does not begin with the list of what is in it".to_owned());
    let first = entries.next().ok_or_else(foreign)?.map_err(|_| foreign())?;
    if first.path_bytes().as_ref() != LIST.as_bytes() {
        return Err(foreign());
    }
    let mut bytes = Vec::new();
    first.take(LONGEST_LIST).read_to_end(&mut bytes).map_err(damaged)?;
    // Of a newer list, only this much may be understood.
    let told: serde_json::Value = serde_json::from_slice(&bytes).map_err(|_| foreign())?;
    let format = told["format"].as_u64().and_then(|format| u32::try_from(format).ok()).ok_or_else(foreign)?;
    if format > FORMAT {
        return Err(Unusable::Newer { format, davy: told["davy"].as_str().unwrap_or_default().to_owned() });
    }
    let list: List = serde_json::from_value(told).map_err(|error| Unusable::Damaged(error.to_string()))?;
    let mut missing: BTreeMap<&str, &Entry> = list.files.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    let mut end = None;
    for entry in entries {
        let mut entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if name == END {
            let mut text = String::new();
            entry.read_to_string(&mut text).map_err(damaged)?;
            end = Some(text);
            break;
        }
        let path = name.strip_prefix("data/").unwrap_or_default();
        let listed = missing.remove(path).filter(|_| entry.header().entry_type().is_file() && is_inside(path));
        let listed = listed.ok_or_else(|| Unusable::Damaged(format!("{name} does not belong in it")))?;
        let target = into.join(path);
        let folder = target.parent().unwrap_or(into);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mode = listed.mode & 0o777;
        let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&target)?;
        let (size, sha256) = copy(&mut entry, &mut file).map_err(damaged)?;
        if (size, &sha256) != (listed.size, &listed.sha256) {
            return Err(Unusable::Damaged(format!("{path} is not as it was when it was backed up")));
        }
        file.sync_all()?;
    }
    if let Some(path) = missing.keys().next() {
        return Err(Unusable::Damaged(format!("{path} is missing: the file ends too soon")));
    }
    match end {
        Some(end) if end == hex(&Sha256::digest(&bytes)) => Ok(list),
        Some(_) => Err(Unusable::Damaged("its list was changed".to_owned())),
        None => Err(Unusable::Damaged("it ends too soon".to_owned())),
    }
}

/// Whether a path stays where it is put.
fn is_inside(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}
