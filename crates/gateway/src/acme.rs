//! Certificates from an authority (RFC 8555), for the hosts of routes that have none from a file. The gateway asks for them
//! itself: it goes on while the server is down, and answers the authority's challenges (HTTP-01) on its own plain port.

use crate::{
    certificates::{self, Certificates},
    control::Shared,
};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, OrderStatus,
    RetryPolicy,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// Where an authority asks for what it was promised (RFC 8555 §8.3).
pub(crate) const WELL_KNOWN: &str = "/.well-known/acme-challenge/";
/// The time between two looks at what is needed.
const LOOK: Duration = Duration::from_secs(2);
/// The longest time for one certificate.
const PATIENCE: Duration = Duration::from_secs(120);
/// After a failure it is tried again so much later, and doubly so after each: authorities let few failures pass in an hour.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(12 * 3600));

/// What is asked of which authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The address of its directory, or `letsencrypt`, `letsencrypt-staging`.
    pub directory: String,
    /// Whom it may write to.
    pub contact: Option<String>,
    /// The certificate that its own address is checked by, where that is no public one.
    pub root: Option<PathBuf>,
}

/// What the authority may ask for just now, by token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Challenges(Arc<RwLock<HashMap<String, String>>>);

impl Challenges {
    /// The answer to a path, if it is one that the authority was promised.
    pub(crate) fn answer(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(WELL_KNOWN)?;
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    fn promise(&self, token: String, answer: String) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(token, answer);
    }

    fn forget(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// How a host fared that an authority was asked for; kept on disk, so that a restart asks no more often.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Tried {
    failures: u32,
    /// Seconds since the Unix epoch.
    again: i64,
    why: String,
}

/// Gets certificates and renews them.
pub(crate) struct Acme {
    authority: Authority,
    folder: PathBuf,
    certificates: Arc<Certificates>,
    challenges: Challenges,
    tried: BTreeMap<String, Tried>,
    account: Option<Account>,
}

/// The folder of what an authority gave, in a gateway's own.
pub(crate) fn folder(state: &Path) -> io::Result<PathBuf> {
    let folder = state.join("acme");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(folder)
}

impl Acme {
    pub(crate) fn new(
        authority: Authority,
        folder: PathBuf,
        certificates: Arc<Certificates>,
        challenges: Challenges,
    ) -> Self {
        let tried = fs::read(folder.join("tried.json")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { authority, folder, certificates, challenges, tried: tried.unwrap_or_default(), account: None }
    }

    /// Goes on for as long as this process is the gateway.
    pub(crate) async fn watch(mut self, shared: Shared) {
        self.tell();
        while !shared.holder().follows {
            let hosts = shared.holder().hosts();
            if let Some(host) = hosts.into_iter().find(|host| self.is_due(host)) {
                self.attempt(&host).await;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether a certificate is to be asked for now.
    fn is_due(&self, host: &str) -> bool {
        let now = now();
        if self.tried.get(host).is_some_and(|tried| now < tried.again) || !is_name(host) {
            return false;
        }
        match self.certificates.lifetime(host, &self.folder) {
            // One from a file: that is a person's to renew.
            certificates::From::Elsewhere => false,
            certificates::From::Nowhere => true,
            // The last third of its time is left for what may go wrong.
            certificates::From::Here { begins, ends } => now >= ends - (ends - begins) / 3,
        }
    }

    async fn attempt(&mut self, host: &str) {
        tracing::info!(host, "a certificate is asked for");
        let got = tokio::time::timeout(PATIENCE, self.get(host)).await;
        self.challenges.forget();
        let failed = match got {
            Ok(Ok(())) => {
                self.tried.remove(host);
                tracing::info!(host, "a certificate was issued");
                None
            }
            Ok(Err(why)) => Some(why),
            Err(_) => Some(format!("it was not issued within {PATIENCE:?}")),
        };
        if let Some(why) = failed {
            let tried = self.tried.entry(host.to_owned()).or_default();
            let wait = BACK_OFF.0.saturating_mul(1 << tried.failures.min(16)).min(BACK_OFF.1);
            tracing::error!(host, "no certificate was issued, trying again in {wait:?}: {why}");
            *tried = Tried { failures: tried.failures + 1, again: now() + seconds(wait), why };
        }
        self.tell();
        let kept = serde_json::to_vec(&self.tried).map_err(io::Error::other);
        if let Err(error) = kept.and_then(|json| private(&self.folder.join("tried.json"), &json)) {
            tracing::error!(%error, "what was tried with the authority cannot be kept");
        }
    }

    fn tell(&self) {
        self.certificates.trouble(self.tried.iter().map(|(host, tried)| (host.clone(), tried.why.clone())).collect());
    }

    async fn get(&mut self, host: &str) -> Result<(), String> {
        let account = self.account().await?;
        let told = |error: instant_acme::Error| error.to_string();
        let names = [Identifier::Dns(host.to_owned())];
        let mut order = account.new_order(&NewOrder::new(&names)).await.map_err(told)?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(told)?;
            match authorization.status {
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Valid => continue,
                other => return Err(format!("the authorization is {other:?}")),
            }
            let challenge = authorization.challenge(ChallengeType::Http01);
            let mut challenge = challenge.ok_or("the authority offers no HTTP-01 challenge")?;
            self.challenges.promise(challenge.token.clone(), challenge.key_authorization().as_str().to_owned());
            challenge.set_ready().await.map_err(told)?;
        }
        let policy = RetryPolicy::default();
        match order.poll_ready(&policy).await.map_err(told)? {
            OrderStatus::Ready => {}
            _ => return Err(why(&mut order).await),
        }
        let key = order.finalize().await.map_err(told)?;
        let chain = order.poll_certificate(&policy).await.map_err(told)?;
        let name = self.folder.join(host);
        let written = private(&certificates::file(&name, "key"), key.as_bytes())
            .and_then(|()| private(&certificates::file(&name, "crt"), chain.as_bytes()));
        written.map_err(|error| format!("it cannot be written to {}: {error}", self.folder.display()))?;
        self.certificates.look();
        Ok(())
    }

    /// The account with the authority, made at the first time.
    async fn account(&mut self) -> Result<Account, String> {
        if let Some(account) = &self.account {
            return Ok(account.clone());
        }
        let told = |error: instant_acme::Error| error.to_string();
        let builder = || match &self.authority.root {
            Some(root) => Account::builder_with_root(root).map_err(|error| format!("{}: {error}", root.display())),
            None => Account::builder().map_err(told),
        };
        let directory = match self.authority.directory.as_str() {
            "letsencrypt" => instant_acme::LetsEncrypt::Production.url(),
            "letsencrypt-staging" => instant_acme::LetsEncrypt::Staging.url(),
            url => url,
        };
        let path = self.folder.join("account.json");
        let kept = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let account = match kept.filter(|kept| kept.directory == directory) {
            Some(kept) => builder()?.from_credentials(kept.credentials).await.map_err(told)?,
            None => {
                let contact = self.authority.contact.as_ref().map(|address| format!("mailto:{address}"));
                let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
                let asked =
                    NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
                let made = builder()?.create(&asked, directory.to_owned(), None).await;
                let (account, credentials) = made.map_err(told)?;
                let kept = Kept { directory: directory.to_owned(), credentials };
                let kept = serde_json::to_vec(&kept).map_err(io::Error::other);
                let kept = kept.and_then(|json| private(&path, &json));
                kept.map_err(|error| format!("the account cannot be kept in {}: {error}", path.display()))?;
                account
            }
        };
        self.account = Some(account.clone());
        Ok(account)
    }
}

/// An account as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    directory: String,
    credentials: AccountCredentials,
}

/// What the authority says against an order.
async fn why(order: &mut instant_acme::Order) -> String {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Ok(state) = authorization.refresh().await
            && let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref())
        {
            return format!("the authority could not validate it: {problem}");
        }
    }
    "the authority refused the order".to_owned()
}

/// Whether an authority can be asked for it: a name of several labels, no address.
fn is_name(host: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    host.contains('.') && !host.starts_with('.') && !host.contains("..") && host.bytes().all(is_plain) && !is_address
}

/// Replaces a file that only this user can read.
fn private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = certificates::file(path, "new");
    fs::remove_file(&temporary).ok();
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
