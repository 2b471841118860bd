//! The last good snapshot of each service on disk, so that a gateway that starts again serves at once.

use davy_core::{Cut, ServiceKey, Snapshot};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// A snapshot, and whether traffic was put back since.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stored {
    pub snapshot: Snapshot,
    pub reverted: bool,
    /// How many gateways have guarded its rollout, this one included.
    #[serde(default)]
    pub runs: u32,
    /// What a guard has cut off in its rollout.
    #[serde(default)]
    pub cut: Option<Cut>,
}

/// What to write, and its place among everything that is written.
pub(crate) struct Writing {
    pub ticket: u64,
    pub stored: Stored,
}

/// The folder of snapshots. Slow or full, it holds nobody up but him who waits for it.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    written: Mutex<BTreeMap<ServiceKey, u64>>,
}

impl Disk {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, written: Mutex::default() }
    }

    /// Signs the cookies of clients. Made once, so that a gateway that starts again knows its clients.
    pub(crate) fn secret(&self) -> io::Result<[u8; 32]> {
        let path = self.folder.join("cookies.key");
        if let Some(known) = fs::read(&path).ok().and_then(|known| known.try_into().ok()) {
            return Ok(known);
        }
        let mut secret = [0; 32];
        io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut secret)?;
        if let Err(error) = replace(&path, &secret) {
            tracing::warn!(%error, "the key of cookies is not kept: clients get new ones after a restart");
        }
        Ok(secret)
    }

    /// Everything stored. What cannot be read is left out and said.
    pub(crate) fn read(&self) -> io::Result<Vec<Stored>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?)) {
                Ok(stored) => all.push(stored),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "a stored snapshot cannot be read; it is left out");
                }
            }
        }
        Ok(all)
    }

    /// Writes, unless something later was written of the service meanwhile: then the later one stays.
    pub(crate) fn write(&self, writing: &Writing) -> io::Result<()> {
        let key = &writing.stored.snapshot.key;
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.get(key).is_some_and(|ticket| *ticket > writing.ticket) {
            return Ok(());
        }
        let path = self.folder.join(format!("{}_{}.json", key.environment, key.service));
        replace(&path, &serde_json::to_vec(&writing.stored)?)?;
        written.insert(key.clone(), writing.ticket);
        Ok(())
    }
}

/// Replaces a file whole: after a crash it is the old or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).inspect_err(|_| {
        fs::remove_file(&temporary).ok();
    })?;
    fs::rename(&temporary, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
