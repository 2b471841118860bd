//! A certificate and its key, from two files; and one such pair served by itself, taken up anew when the files change.

use crate::tls;
use davy_ports::Error;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    fs, io,
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// One that ends sooner is told again and again.
const SOON: i64 = 14 * DAY;
const DAY: i64 = 24 * 3600;

/// What changes when a pair of files does: for each of them inode, size, time of the last change, mode.
pub(crate) type Stamp = [(u64, u64, i64, i64, u32); 2];

/// Where a pair is.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// The chain, PEM.
    pub(crate) chain: PathBuf,
    /// The key, PEM.
    pub(crate) key: PathBuf,
}

/// What is in the files.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) key: Arc<CertifiedKey>,
    /// In lower case.
    pub(crate) names: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    /// Seconds since the Unix epoch.
    pub(crate) begins: i64,
    pub(crate) ends: i64,
}

impl Files {
    pub(crate) fn stamp(&self) -> io::Result<Stamp> {
        let of = |path: &Path| {
            let metadata = fs::metadata(path)?;
            io::Result::Ok((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec(), metadata.mode()))
        };
        // A key that is not there yet is a change when it comes.
        Ok([of(&self.chain)?, of(&self.key).unwrap_or_default()])
    }

    pub(crate) fn read(&self) -> Result<Pair, String> {
        let unreadable = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let metadata = fs::metadata(&self.key).map_err(|why| unreadable(&self.key, &why))?;
        if metadata.mode() & 0o007 != 0 {
            return Err(format!("{} can be used by everybody: chmod 600 it", self.key.display()));
        }
        let chain = CertificateDer::pem_file_iter(&self.chain)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|why| unreadable(&self.chain, &why))?;
        let described = chain
            .first()
            .ok_or_else(|| unreadable(&self.chain, &"no certificate is in it"))
            .and_then(|certificate| described(certificate).map_err(|why| unreadable(&self.chain, &why)))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|why| unreadable(&self.key, &why))?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(|why| format!("{} does not fit {}: {why}", self.key.display(), self.chain.display()))?;
        let Described { names, addresses, begins, ends } = described;
        Ok(Pair { key: Arc::new(key), names, addresses, begins, ends })
    }
}

impl Pair {
    /// Why it would convince no client.
    fn useless(&self) -> Option<String> {
        let now = now();
        let day = |at: i64| {
            jiff::Timestamp::from_second(at).map_or_else(|_| at.to_string(), |at| at.strftime("%F %R UTC").to_string())
        };
        if self.ends <= now {
            return Some(format!("the certificate expired at {}", day(self.ends)));
        }
        if self.begins > now {
            return Some(format!("the certificate is not valid before {}", day(self.begins)));
        }
        let named = !self.names.is_empty() || !self.addresses.is_empty();
        (!named).then(|| "the certificate names no host: clients look at its subjectAltName".to_owned())
    }

    fn is_for(&self, host: &str) -> bool {
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.addresses.contains(&address);
        }
        let host = host.to_ascii_lowercase();
        let parent = host.split_once('.').map_or("", |(_, parent)| parent);
        self.names.iter().any(|name| *name == host || name.strip_prefix("*.") == Some(parent))
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

struct Described {
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    begins: i64,
    ends: i64,
}

/// The hosts in a certificate, and when it begins and ends.
fn described(certificate: &[u8]) -> Result<Described, String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|why| why.to_string())?;
    let alternatives = parsed.subject_alternative_name().map_err(|why| why.to_string())?;
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    for name in alternatives.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => {
                let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let sixteen = || <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
                addresses.extend(four.or_else(|_| sixteen()));
            }
            _ => {}
        }
    }
    let validity = parsed.validity();
    let (begins, ends) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    Ok(Described { names, addresses, begins, ends })
}

/// One pair for every client, whatever host it names: what an API is served with.
#[derive(Debug)]
pub struct Certified {
    files: Files,
    served: RwLock<Pair>,
    /// What the files were when they were read last, and when it was told that they end soon.
    seen: Mutex<(Option<Stamp>, i64)>,
}

impl Certified {
    /// Reads the files.
    ///
    /// # Errors
    /// In words: which file is missing or no use, that they do not fit, or that the certificate is not valid now.
    pub fn open(chain: &Path, key: &Path) -> Result<Self, String> {
        let files = Files { chain: chain.to_owned(), key: key.to_owned() };
        let stamp = files.stamp().ok();
        let pair = files.read()?;
        match pair.useless() {
            Some(why) => Err(format!("{}: {why}", chain.display())),
            None => Ok(Self { files, served: RwLock::new(pair), seen: Mutex::new((stamp, 0)) }),
        }
    }

    /// Takes up what changed; what is no use is said, and the pair before serves on.
    pub fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.files.chain.display();
        // A file that is away for a moment takes nothing away.
        let stamp = self.files.stamp().ok().or(seen.0);
        if stamp != seen.0 {
            seen.0 = stamp;
            let read = self.files.read().and_then(|pair| pair.useless().map_or(Ok(pair), Err));
            match read {
                Ok(pair) => {
                    tracing::info!(%path, "another certificate is served");
                    *self.served.write().unwrap_or_else(PoisonError::into_inner) = pair;
                    seen.1 = 0;
                }
                Err(why) => tracing::error!(%path, "the certificate cannot be used, the one before serves on: {why}"),
            }
        }
        let (left, now) = (self.served().ends - now(), now());
        if left < SOON && now - seen.1 >= DAY {
            seen.1 = now;
            tracing::warn!(%path, days = left / DAY, "the API's certificate ends soon: put a new one in its place");
        }
    }

    fn served(&self) -> Pair {
        self.served.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the certificate is for this host.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        self.served.read().unwrap_or_else(PoisonError::into_inner).is_for(host)
    }

    /// A host that it is for: a name rather than an address, and one that a wildcard stands for only if there is no other.
    #[must_use]
    pub fn host(&self) -> String {
        let pair = self.served();
        let whole = pair.names.iter().find(|name| !name.starts_with("*."));
        let address = || pair.addresses.first().map(ToString::to_string);
        let any = || pair.names.first().map(|name| name.replacen('*', "davy", 1));
        whole.cloned().or_else(address).or_else(any).unwrap_or_default()
    }

    /// What shakes hands with clients that speak HTTP/1.1.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn acceptor(self: Arc<Self>) -> Result<TlsAcceptor, Error> {
        Ok(Arc::new(tls::config(self, &[b"http/1.1"])?).into())
    }
}

impl ResolvesServerCert for Certified {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.served().key)
    }
}
