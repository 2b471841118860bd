//! Certificates from folders: `NAME.crt` (the chain, PEM) beside `NAME.key`; chosen by the names in them, taken up anew when
//! the files change. A pair that cannot be used is said and the one before serves on.

use crate::{
    meters::Meters,
    pair::{Files, Pair, Stamp},
};
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

/// The pair of this name is for clients that name no host that is known.
const DEFAULT: &str = "default";

/// All that are served.
#[derive(Debug)]
pub(crate) struct Certificates {
    folders: Vec<PathBuf>,
    served: RwLock<Arc<Served>>,
    files: Mutex<BTreeMap<PathBuf, File>>,
    unreadable: Mutex<BTreeSet<PathBuf>>,
    /// Why an authority gave none, by host.
    trouble: Mutex<BTreeMap<String, String>>,
    meters: Arc<Meters>,
}

#[derive(Debug, Default)]
struct Served {
    /// By name, in lower case; a wildcard by what follows its star.
    names: HashMap<String, Arc<CertifiedKey>>,
    wildcards: HashMap<String, Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
}

/// A pair of files.
#[derive(Debug)]
struct File {
    stamp: Stamp,
    pair: Option<Pair>,
    trouble: Option<String>,
}

/// Where the certificate of a host comes from.
pub(crate) enum From {
    Nowhere,
    Elsewhere,
    /// The folder that was asked about, and its time in seconds since the Unix epoch.
    Here {
        begins: i64,
        ends: i64,
    },
}

/// What is known of one certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The names in it, or the host that has none.
    pub names: Vec<String>,
    /// When it ends, in seconds since the Unix epoch; none where there is none.
    pub ends: Option<i64>,
    /// Why its file cannot be used, or none can be had.
    pub trouble: Option<String>,
}

impl Certificates {
    /// Reads the folders; an earlier one goes before a later one.
    pub(crate) fn open(folders: Vec<PathBuf>, meters: Arc<Meters>) -> Self {
        let certificates = Self {
            folders,
            served: RwLock::default(),
            files: Mutex::default(),
            unreadable: Mutex::default(),
            trouble: Mutex::default(),
            meters,
        };
        certificates.look();
        certificates
    }

    /// Takes up what changed.
    pub(crate) fn look(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<PathBuf> = Vec::new();
        for folder in &self.folders {
            match pairs(folder) {
                Ok(pairs) => {
                    found.extend(pairs);
                    self.unreadable(folder, None);
                }
                // A folder that is away for a moment takes no certificate away.
                Err(error) => {
                    found.extend(files.keys().filter(|path| path.starts_with(folder)).cloned());
                    self.unreadable(folder, Some(&error));
                }
            }
        }
        let mut changed = false;
        files.retain(|path, _| {
            let is_there = found.contains(path);
            changed |= !is_there;
            is_there
        });
        for path in &found {
            let pair = Files { chain: file(path, "crt"), key: file(path, "key") };
            let Ok(stamp) = pair.stamp() else { continue };
            let known = files.get(path);
            if known.is_some_and(|known| known.stamp == stamp) {
                continue;
            }
            let before = known.and_then(|known| known.pair.clone());
            let mut trouble = None;
            let pair = match pair.read() {
                Ok(pair) => {
                    tracing::info!(path = %path.display(), names = ?pair.names, "a certificate is served");
                    changed = true;
                    Some(pair)
                }
                Err(why) => {
                    self.meters.certificates_refused.add();
                    let instead = if before.is_some() { "the one before serves on" } else { "it is left out" };
                    tracing::error!(path = %path.display(), "a certificate cannot be used, {instead}: {why}");
                    trouble = Some(why);
                    before
                }
            };
            files.insert(path.clone(), File { stamp, pair, trouble });
        }
        if changed {
            let served = Arc::new(self.serve(&files));
            *self.served.write().unwrap_or_else(PoisonError::into_inner) = served;
        }
    }

    /// Says it once.
    fn unreadable(&self, folder: &Path, why: Option<&io::Error>) {
        let mut said = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            None => {
                said.remove(folder);
            }
            Some(error) if said.insert(folder.to_owned()) => {
                tracing::error!(folder = %folder.display(), %error, "the folder of certificates cannot be read");
            }
            Some(_) => {}
        }
    }

    fn serve(&self, files: &BTreeMap<PathBuf, File>) -> Served {
        let mut served = Served::default();
        let mut all: Vec<(usize, &PathBuf, &Pair)> = Vec::new();
        for (path, file) in files {
            let folder = self.folders.iter().position(|folder| path.starts_with(folder)).unwrap_or(usize::MAX);
            all.extend(file.pair.as_ref().map(|pair| (folder, path, pair)));
        }
        // Of two with the same name, the one that ends later.
        all.sort_by_key(|(folder, _, pair)| (*folder, std::cmp::Reverse(pair.ends)));
        for (_, _, pair) in &all {
            for name in &pair.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut served.wildcards, parent),
                    None => (&mut served.names, name.as_str()),
                };
                map.entry(name.to_owned()).or_insert_with(|| pair.key.clone());
            }
        }
        let named = all.iter().find(|(_, path, _)| path.file_name().is_some_and(|name| name == DEFAULT));
        let only = if all.len() == 1 { all.first() } else { None };
        served.default = named.or(only).map(|(_, _, pair)| pair.key.clone());
        served
    }

    fn served(&self) -> Arc<Served> {
        self.served.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a certificate has this name.
    pub(crate) fn covers(&self, host: &str) -> bool {
        self.served().of(host).is_some()
    }

    /// What is known of each.
    pub(crate) fn all(&self) -> Vec<Certificate> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let of_files = files.iter().map(|(path, file)| {
            let unnamed = || vec![path.file_name().unwrap_or_default().to_string_lossy().into_owned()];
            Certificate {
                names: file.pair.as_ref().map_or_else(unnamed, |pair| pair.names.clone()),
                ends: file.pair.as_ref().map(|pair| pair.ends),
                trouble: file.trouble.clone(),
            }
        });
        let of_hosts = trouble.iter().map(|(host, why)| Certificate {
            names: vec![host.clone()],
            ends: None,
            trouble: Some(why.clone()),
        });
        of_files.chain(of_hosts).collect()
    }

    /// For which hosts an authority gave none, and why.
    pub(crate) fn trouble(&self, trouble: BTreeMap<String, String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Where the certificate of a host comes from.
    pub(crate) fn lifetime(&self, host: &str, folder: &Path) -> From {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let is_for = |pair: &Pair| {
            let parent = host.split_once('.').map_or("", |(_, parent)| parent);
            pair.names.iter().any(|name| name == host || name.strip_prefix("*.") == Some(parent))
        };
        let mut found = From::Nowhere;
        for (path, pair) in files.iter().filter_map(|(path, file)| Some((path, file.pair.as_ref()?))) {
            match is_for(pair) {
                true if !path.starts_with(folder) => return From::Elsewhere,
                true => found = From::Here { begins: pair.begins, ends: pair.ends },
                false => {}
            }
        }
        found
    }
}

impl Served {
    fn of(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.of(&host.to_ascii_lowercase());
        }
        let by_wildcard = || host.split_once('.').and_then(|(_, parent)| self.wildcards.get(parent));
        self.names.get(host).or_else(by_wildcard)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let served = self.served();
        let named = hello.server_name().and_then(|name| served.of(name).cloned());
        named.or_else(|| served.default.clone())
    }
}

/// The pairs of a folder, without their extensions.
fn pairs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let chains = paths.filter(|path| path.extension().is_some_and(|extension| extension == "crt"));
    Ok(chains.map(|path| path.with_extension("")).collect())
}

/// `NAME` and an extension: a name's own last label is none.
pub(crate) fn file(name: &Path, extension: &str) -> PathBuf {
    let mut path = name.as_os_str().to_owned();
    path.push(".");
    path.push(extension);
    path.into()
}
