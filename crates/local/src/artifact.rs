//! What is to run, made immutable: the program, the files that its command names and those that the workload lists,
//! copied once to `releases/<service>/<digest>`.
//!
//! A program of the system (`/usr`, or found in `PATH`) stays where it is; its path and content enter the digest.

use crate::folders::Folders;
use davy_core::{Digest, Process, Run, ServiceKey, Source, Workload};
use davy_place::{
    disk::{io_error, make, write},
    known, substitute,
};
use davy_ports::Error;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

/// The folder of the copies in a release.
const FILES: &str = "files";
const MANIFEST: &str = "manifest.json";
/// How the name of a copy begins until it is whole.
const UNFINISHED: &str = ".new-";
/// Where a program from outside the source's folder is copied to.
const PROGRAMS: &str = ".davy/bin";
/// Programs below these belong to the system: they change with its packages and need what lies around them.
const SYSTEM: [&str; 9] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/nix", "/snap", "/etc"];
/// Folders deeper than this are a loop of symbolic links.
const DEEPEST: usize = 64;

#[derive(Serialize, Deserialize)]
struct Manifest {
    /// The words to execute: those of the workload, with the program and absolute paths as they are in the copy.
    command: Vec<String>,
}

struct Plan<'a> {
    root: PathBuf,
    data: &'a Path,
    tried: String,
    /// From the place in the copy to the file.
    files: BTreeMap<PathBuf, PathBuf>,
    command: Vec<String>,
    /// A program that is not copied.
    system_program: Option<PathBuf>,
}

/// Copies what is new and names it.
pub(crate) fn prepare(
    folders: &Folders,
    key: &ServiceKey,
    source: &Source,
    workload: &Workload,
) -> Result<Digest, Error> {
    let plan = Plan::make(folders.data(), source, workload)?;
    let digest = plan.digest(&plan.root, |from, _| Ok(from.to_owned()))?;
    if folders.release(key, &digest).join(MANIFEST).exists() {
        return Ok(digest);
    }
    let parent = folders.releases_of(key);
    make(&parent).map_err(|error| io_error(&plan.tried, &parent, &error))?;
    let temporary = parent.join(format!("{UNFINISHED}{}", uuid::Uuid::now_v7().simple()));
    let kept = plan.keep(folders, key, &temporary);
    if kept.is_err() || temporary.exists() {
        let _ = fs::remove_dir_all(&temporary);
    }
    kept
}

/// What would be run, and how many files would be copied; nothing is.
pub(crate) fn glance(folders: &Folders, source: &Source, workload: &Workload) -> Result<(String, usize), Error> {
    let plan = Plan::make(folders.data(), source, workload)?;
    let program = match (&plan.system_program, plan.command.first()) {
        (Some(program), _) => program.display().to_string(),
        (None, first) => plan
            .root
            .join(first.map(String::as_str).unwrap_or_default())
            .components()
            .collect::<PathBuf>()
            .display()
            .to_string(),
    };
    Ok((program, plan.files.len()))
}

/// The words that a prepared release executes.
pub(crate) fn command(release: &Path) -> io::Result<Vec<String>> {
    let manifest: Manifest = serde_json::from_slice(&fs::read(release.join(MANIFEST))?)?;
    Ok(manifest.command)
}

/// Gives an instance copies of its own: what a process does to them changes no release.
pub(crate) fn unpack(release: &Path, into: &Path) -> io::Result<()> {
    make(into)?;
    copy_folder(&release.join(FILES), into)
}

/// Removes the copies that nobody finished.
pub(crate) fn remove_unfinished(folders: &Folders) {
    let folders = fs::read_dir(folders.releases()).into_iter().flatten().flatten();
    for copy in folders.filter_map(|of| fs::read_dir(of.path()).ok()).flatten().flatten() {
        if copy.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            let _ = fs::remove_dir_all(copy.path());
        }
    }
}

fn copy_folder(from: &Path, into: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = into.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            make(&target)?;
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

impl<'a> Plan<'a> {
    fn make(data: &'a Path, source: &Source, workload: &Workload) -> Result<Self, Error> {
        let Run::Process(Process { command: words, files }) = &workload.run else {
            let what = workload.run.words().join(" ");
            return Err(Error::never(format!("prepare `{what}`"), "it is no process").hint("`local` runs a `command`"));
        };
        let first = words.first().cloned().unwrap_or_default();
        let tried = format!("prepare `{first}`");
        if first.is_empty() {
            return Err(Error::never(tried, "the command is empty").hint("say in `command` what to run"));
        }
        let root = fs::canonicalize(&source.folder).map_err(|error| io_error(&tried, &source.folder, &error))?;
        let mut plan = Self { root, data, tried, files: BTreeMap::new(), command: words.clone(), system_program: None };
        let values = known(&workload.env, None);
        plan.add_program(&substitute(&first, &values))?;
        for (index, word) in words.iter().enumerate().skip(1) {
            plan.add_word(index, &substitute(word, &values))?;
        }
        for path in files {
            let relative = relative(path).ok_or_else(|| {
                plan.refuse(format!("`files` lists `{path}`, which leaves the folder {}", plan.root.display()))
                    .hint("list paths inside the folder of the file, relative to it")
            })?;
            if !plan.root.join(&relative).exists() {
                let missing = plan.root.join(&relative);
                return Err(plan
                    .refuse(format!("`files` lists `{path}`, but {} does not exist", missing.display()))
                    .hint("create it or take it off the list"));
            }
            plan.add(&relative, 0)?;
        }
        Ok(plan)
    }

    fn refuse(&self, happened: String) -> Error {
        Error::never(self.tried.clone(), happened)
    }

    fn add_program(&mut self, word: &str) -> Result<(), Error> {
        let found = if word.contains('/') {
            // Components leave out `.`: the path is shown to people.
            self.root.join(word).components().collect()
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let found = std::env::split_paths(&path).map(|folder| folder.join(word)).find(|file| is_program(file));
            found.ok_or_else(|| {
                self.refuse(format!("no program `{word}` in PATH ({})", path.display()))
                    .hint(format!("install it, or write `./{word}` if it lies beside the file"))
            })?
        };
        let real = fs::canonicalize(&found).map_err(|error| {
            self.refuse(format!("{}: {error}", found.display()))
                .hint(format!("{} was tried: build the program first, or correct `command`", found.display()))
        })?;
        if !real.is_file() {
            return Err(self.refuse(format!("{} is not a file", found.display())).hint("correct `command`"));
        }
        if !is_program(&real) {
            let hint = format!("make it executable: chmod +x {}", found.display());
            return Err(self.refuse(format!("{} is not executable", found.display())).hint(hint));
        }
        if let Ok(inside) = real.strip_prefix(&self.root) {
            let inside = inside.to_owned();
            self.command[0] = format!("./{}", inside.display());
            self.files.insert(inside, real);
        } else if !word.contains('/') || SYSTEM.iter().any(|system| real.starts_with(system)) {
            // As found, not as resolved: a program may look at the name it was called by.
            self.command[0] = found.display().to_string();
            self.system_program = Some(real);
        } else {
            let name = real.file_name().unwrap_or_default();
            let kept = Path::new(PROGRAMS).join(name);
            self.command[0] = format!("./{}", kept.display());
            self.files.insert(kept, real);
        }
        Ok(())
    }

    /// A word, or what follows its `=`, may name something in the folder.
    fn add_word(&mut self, index: usize, word: &str) -> Result<(), Error> {
        let (before, path) = match word.split_once('=') {
            Some((before, path)) if before.starts_with('-') => (format!("{before}="), path),
            _ => (String::new(), word),
        };
        let absolute = Path::new(path).strip_prefix(&self.root).ok();
        let Some(relative) = absolute.map(Path::to_owned).or_else(|| relative(path)) else { return Ok(()) };
        if relative.as_os_str().is_empty() || !self.root.join(&relative).exists() {
            return Ok(());
        }
        if absolute.is_some() {
            self.command[index] = format!("{before}{}", relative.display());
        }
        self.add(&relative, 0)
    }

    fn add(&mut self, relative: &Path, depth: usize) -> Result<(), Error> {
        let path = self.root.join(relative);
        let real = fs::canonicalize(&path).map_err(|error| io_error(&self.tried, &path, &error))?;
        if !real.starts_with(&self.root) {
            let happened = format!("{} leads out of the folder, to {}", path.display(), real.display());
            return Err(self.refuse(happened).hint("copy what it leads to into the folder"));
        }
        if real.starts_with(self.data) {
            return Ok(());
        }
        if real.is_file() {
            self.files.insert(relative.to_owned(), real);
            return Ok(());
        }
        if !real.is_dir() {
            return Err(self.refuse(format!("{} is neither a file nor a folder", path.display())));
        }
        if depth > DEEPEST {
            let happened = format!("{} is more than {DEEPEST} folders deep", path.display());
            return Err(self.refuse(happened).hint("look for a symbolic link that leads back to its own folder"));
        }
        let entries = fs::read_dir(&real).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for entry in entries.map_err(|error| io_error(&self.tried, &real, &error))? {
            self.add(&relative.join(entry.file_name()), depth + 1)?;
        }
        Ok(())
    }

    /// Hashes the command and every file, by the path that `locate` gives for it.
    fn digest(&self, near: &Path, locate: impl Fn(&Path, &Path) -> Result<PathBuf, Error>) -> Result<Digest, Error> {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(b"davy-local 1");
        part(&(self.command.len() as u64).to_be_bytes());
        for word in &self.command {
            part(word.as_bytes());
        }
        if let Some(program) = &self.system_program {
            part(program.as_os_str().as_encoded_bytes());
            part(&content(program).map_err(|error| io_error(&self.tried, program, &error))?);
        }
        for (to, from) in &self.files {
            let path = locate(from, to)?;
            let mode = fs::metadata(&path).map_err(|error| io_error(&self.tried, near, &error))?.permissions().mode();
            part(to.as_os_str().as_encoded_bytes());
            part(&(mode & 0o777).to_be_bytes());
            part(&content(&path).map_err(|error| io_error(&self.tried, &path, &error))?);
        }
        let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Digest::new(format!("sha256:{hex}")))
    }

    /// Copies everything, names the copy by what it holds, and puts it in place in one step.
    fn keep(&self, folders: &Folders, key: &ServiceKey, temporary: &Path) -> Result<Digest, Error> {
        let files = temporary.join(FILES);
        make(&files).map_err(|error| io_error(&self.tried, &files, &error))?;
        for (to, from) in &self.files {
            let target = files.join(to);
            let copied = target.parent().map_or(Ok(()), make).and_then(|()| copy_durably(from, &target));
            copied.map_err(|error| match error.kind() {
                io::ErrorKind::StorageFull => io_error(&self.tried, &target, &error),
                _ => io_error(&self.tried, from, &error),
            })?;
        }
        // A file that changed since it was hashed is named by what was kept of it.
        let digest = self.digest(&files, |_, to| Ok(files.join(to)))?;
        let manifest = Manifest { command: self.command.clone() };
        let place = folders.release(key, &digest);
        serde_json::to_vec_pretty(&manifest)
            .map_err(io::Error::from)
            .and_then(|bytes| write(&temporary.join(MANIFEST), &bytes))
            .and_then(|()| match fs::rename(temporary, &place) {
                Err(_) if place.join(MANIFEST).exists() => Ok(()),
                done => done,
            })
            .map_err(|error| io_error(&self.tried, &place, &error))?;
        Ok(digest)
    }
}

/// A path without `..` and without a root, `.` taken out.
fn relative(path: &str) -> Option<PathBuf> {
    let mut kept = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => kept.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(kept)
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

fn content(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hash.finalize().into()),
            Ok(length) => hash.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn copy_durably(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mode = source.metadata()?.permissions().mode() & 0o777;
    let mut target = File::create_new(to)?;
    io::copy(&mut source, &mut target)?;
    target.flush()?;
    target.set_permissions(fs::Permissions::from_mode(mode))?;
    target.sync_all()
}
