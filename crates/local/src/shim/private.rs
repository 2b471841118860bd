//! The secrets of an instance: told to its shim through a pipe, given to its process, and as files kept in memory where
//! the machine has a file system for it.

use super::protocol::{Private, Spec};
use davy_core::InstanceId;
use davy_place::Given;
use davy_ports::SecretValue;
use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Files here are in memory and end with the machine.
const MEMORY: &str = "/dev/shm";
/// The number of that file system, from `linux/magic.h`.
const TMPFS: u64 = 0x0102_1994;

/// Where the files of an instance's secrets go: into memory, else into its own folder.
pub(crate) fn folder(instance: &Path, id: &InstanceId) -> PathBuf {
    let in_memory = rustix::fs::statfs(MEMORY).is_ok_and(|about| u64::try_from(about.f_type).ok() == Some(TMPFS));
    match in_memory && rustix::fs::access(MEMORY, rustix::fs::Access::WRITE_OK).is_ok() {
        true => Path::new(MEMORY).join(format!("davy-{id}")),
        false => instance.join("secrets"),
    }
}

/// What a shim is told.
pub(crate) fn said(given: &Given) -> io::Result<Zeroizing<Vec<u8>>> {
    if given.values().next().is_none() {
        return Ok(Zeroizing::default());
    }
    let bytes = |all: &std::collections::BTreeMap<String, SecretValue>| {
        all.iter().map(|(name, value)| (name.clone(), value.bytes().to_vec())).collect()
    };
    let private = Private { variables: bytes(&given.variables), files: bytes(&given.files) };
    Ok(Zeroizing::new(serde_json::to_vec(&private)?))
}

/// What a shim was told.
pub(super) fn given(private: Private) -> Given {
    let values = |all: std::collections::BTreeMap<String, Vec<u8>>| {
        all.into_iter().map(|(name, bytes)| (name, SecretValue::new(bytes))).collect()
    };
    Given { variables: values(private.variables), files: values(private.files) }
}

/// Writes the files into a folder that is made for them: one that is there already is somebody else's.
pub(super) fn write(folder: &Path, given: &Given) -> io::Result<()> {
    let failed = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot keep its secrets in {}: {error}", folder.display()))
    };
    DirBuilder::new().mode(0o700).create(folder).map_err(failed)?;
    for (name, value) in &given.files {
        let opened = OpenOptions::new().create_new(true).write(true).mode(0o400).open(folder.join(name));
        opened.and_then(|mut file| file.write_all(value.bytes())).map_err(failed)?;
    }
    Ok(())
}

/// Removes the files.
pub(crate) fn remove(spec: &Spec) {
    if let Some(folder) = &spec.secrets {
        let _ = fs::remove_dir_all(folder);
    }
}
