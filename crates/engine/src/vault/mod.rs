//! The secrets: which are set is a fold over the ledger, their values are sealed in the journal's file under a key that is
//! outside it.

pub(crate) mod key;
mod seal;

use crate::{
    deed::Deed,
    ledger::Ledger,
    store::{Change, Sealed},
};
use davy_core::{Actor, Given, Pin, Scope, Secret, SecretName, ServiceKey, Timestamp};
use davy_ports::{Boxed, Error, JournalError, SecretValue};
use key::{Key, KeyFile};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The longest value.
const LONGEST: usize = 64 * 1024;

/// Keeps the values of secrets.
pub struct Vault {
    ledger: Arc<Ledger>,
    file: KeyFile,
    key: Mutex<Option<Key>>,
    opened: Mutex<HashMap<(SecretName, Pin), SecretValue>>,
    /// One change at a time.
    turn: tokio::sync::Mutex<()>,
}

/// A secret as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: SecretName,
    /// For whom it is set.
    pub scope: Scope,
    /// The newest version.
    pub version: u64,
    /// When that was set.
    pub at: Timestamp,
    /// By whom.
    pub by: Actor,
    /// Whether new releases are given it; else it is only kept for those that have it.
    pub set: bool,
    /// The versions whose values are kept.
    pub kept: BTreeSet<u64>,
    /// When each version that is kept but no longer given was replaced or removed.
    replaced: BTreeMap<u64, Timestamp>,
}

type All = BTreeMap<(Scope, SecretName), Listed>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unwritten(tried: String, error: &JournalError) -> Error {
    Error::later(tried, error)
}

impl Vault {
    /// Opens the vault. Its key is made when the first secret is set.
    ///
    /// # Errors
    /// When the key can be read by others or is no key.
    pub fn open(ledger: Arc<Ledger>, file: KeyFile) -> Result<Self, Error> {
        let key = file.read()?;
        let (key, opened, turn) = (Mutex::new(key), Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { ledger, file, key, opened, turn })
    }

    /// Why secrets cannot be opened, if they cannot; nothing is wrong while there are none.
    pub async fn trouble(&self) -> Option<Error> {
        let tried = "open the secrets";
        let keys = match self.ledger.store().keys().await {
            Ok(keys) => keys,
            Err(error) => return Some(unwritten(tried.to_owned(), &error)),
        };
        keys.iter().find_map(|sealed_by| self.key_for(sealed_by, tried.to_owned()).err())
    }

    fn key_for(&self, sealed_by: &[u8], tried: String) -> Result<Key, Error> {
        let path = self.file.path().display();
        let hint = format!(
            "put the right key back as {path} and start the server again; if it is lost, `davy secret rm` and set each secret again"
        );
        match &*lock(&self.key) {
            None => Err(Error::never(tried, format!("the key {path} is missing")).hint(hint)),
            Some(key) if seal::fingerprint(key) != sealed_by => {
                Err(Error::never(tried, format!("{path} is not the key that it was encrypted with")).hint(hint))
            }
            Some(key) => Ok(key.clone()),
        }
    }

    fn all(&self) -> All {
        self.ledger.fold(|records| {
            let mut all = All::new();
            for record in records {
                match &record.deed {
                    Deed::SecretSet { name, scope, version } => {
                        let listed = all.entry((scope.clone(), name.clone())).or_insert_with(|| Listed {
                            name: name.clone(),
                            scope: scope.clone(),
                            version: 0,
                            at: record.at,
                            by: record.by.clone(),
                            set: false,
                            kept: BTreeSet::new(),
                            replaced: BTreeMap::new(),
                        });
                        if listed.set {
                            listed.replaced.insert(listed.version, record.at);
                        }
                        (listed.version, listed.at, listed.by, listed.set) =
                            (*version, record.at, record.by.clone(), true);
                        listed.kept.insert(*version);
                    }
                    Deed::SecretRemoved { name, scope } => {
                        if let Some(listed) = all.get_mut(&(scope.clone(), name.clone())) {
                            listed.set = false;
                            listed.replaced.insert(listed.version, record.at);
                        }
                    }
                    Deed::SecretShredded { name, scope, version } => {
                        if let Some(listed) = all.get_mut(&(scope.clone(), name.clone())) {
                            listed.kept.remove(version);
                            listed.replaced.remove(version);
                        }
                    }
                    _ => {}
                }
            }
            all
        })
    }

    /// Every secret that is set, or whose values are still kept for a release.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        self.all().into_values().filter(|listed| listed.set || !listed.kept.is_empty()).collect()
    }

    /// Sets a value; the version it has now. The same value again changes nothing.
    ///
    /// # Errors
    /// When it is empty or too long, when the key is missing or wrong, or when it cannot be written.
    pub async fn set(
        &self,
        name: &SecretName,
        scope: &Scope,
        value: SecretValue,
        by: &Actor,
    ) -> Result<(u64, bool), Error> {
        let tried = format!("set the secret {name}");
        let length = value.bytes().len();
        if length == 0 {
            return Err(Error::never(tried, "its value is empty").hint("`davy secret rm` removes a secret"));
        }
        if length > LONGEST {
            let happened = format!("its value has {length} bytes, and {LONGEST} are allowed");
            return Err(
                Error::never(tried, happened).hint("put large data where the service can fetch it with a secret")
            );
        }
        let _turn = self.turn.lock().await;
        let before = self.all().remove(&(scope.clone(), name.clone()));
        if let Some(before) = before.as_ref().filter(|before| before.set) {
            let pin = Pin { scope: scope.clone(), version: before.version };
            if self.value(name, &pin).await.is_ok_and(|stored| stored == value) {
                return Ok((before.version, false));
            }
        }
        let key = self.key_to_seal(&tried).await?;
        let version = before.map_or(1, |before| before.version + 1);
        let pin = Pin { scope: scope.clone(), version };
        let bytes = seal::seal(&key, name, &pin, &value)?;
        let sealed = Sealed { name: name.clone(), pin: pin.clone(), key: seal::fingerprint(&key), bytes };
        let deed = Deed::SecretSet { name: name.clone(), scope: scope.clone(), version };
        let change = Change { deeds: vec![deed], seal: vec![sealed], shred: Vec::new() };
        self.ledger.write(by, change).await.map_err(|error| unwritten(tried, &error))?;
        lock(&self.opened).insert((name.clone(), pin), value);
        Ok((version, true))
    }

    /// The key, made if there is none and nothing was ever sealed with one that is missing.
    async fn key_to_seal(&self, tried: &str) -> Result<Key, Error> {
        let keys = self.ledger.store().keys().await.map_err(|error| unwritten(tried.to_owned(), &error))?;
        for sealed_by in keys {
            self.key_for(&sealed_by, tried.to_owned())?;
        }
        let mut held = lock(&self.key);
        match &*held {
            Some(key) => Ok(key.clone()),
            None => Ok(held.insert(self.file.make()?).clone()),
        }
    }

    /// Gives it to no new release. Values that a release may still need are kept until none does, unless nobody can open
    /// them any more.
    ///
    /// # Errors
    /// When it is not set, or when it cannot be written.
    pub async fn remove(&self, name: &SecretName, scope: &Scope, by: &Actor) -> Result<(), Error> {
        let tried = format!("remove the secret {name}");
        let _turn = self.turn.lock().await;
        let found = self.all().remove(&(scope.clone(), name.clone()));
        let found = found.filter(|found| found.set || !found.kept.is_empty()).ok_or_else(|| {
            let happened = format!("it is not set for {scope}");
            Error::never(&tried, happened)
                .hint("`davy secret list` shows for whom it is: name them by --service and --env")
        })?;
        let (name, scope) = (name.clone(), scope.clone());
        let mut change = Change::default();
        if found.set {
            change.deeds.push(Deed::SecretRemoved { name: name.clone(), scope: scope.clone() });
        }
        for version in found.kept {
            let pin = Pin { scope: scope.clone(), version };
            if let Ok(Some(sealed)) = self.ledger.store().sealed(&name, &pin).await
                && self.key_for(&sealed.key, String::new()).is_err()
            {
                change.deeds.push(Deed::SecretShredded { name: name.clone(), scope: scope.clone(), version });
                change.shred.push((name.clone(), pin));
            }
        }
        if change.deeds.is_empty() {
            let happened = "it is removed already; its values are kept for the releases that have it";
            return Err(
                Error::never(tried, happened).hint("deploy a release without it; they go once none may need them")
            );
        }
        self.ledger.write(by, change).await.map_err(|error| unwritten(tried, &error))
    }

    /// Forgets the values that no release needs and that were replaced before a time; how many.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn shred(
        &self,
        needed: &BTreeSet<(SecretName, Pin)>,
        before: Timestamp,
        by: &Actor,
    ) -> Result<usize, JournalError> {
        let _turn = self.turn.lock().await;
        let mut change = Change::default();
        for listed in self.all().into_values() {
            for (version, at) in &listed.replaced {
                let pin = Pin { scope: listed.scope.clone(), version: *version };
                let key = (listed.name.clone(), pin.clone());
                if *at < before && listed.kept.contains(version) && !needed.contains(&key) {
                    let (name, scope) = (listed.name.clone(), listed.scope.clone());
                    change.deeds.push(Deed::SecretShredded { name, scope, version: *version });
                    change.shred.push(key);
                }
            }
        }
        let gone = change.shred.clone();
        if gone.is_empty() {
            return Ok(0);
        }
        self.ledger.write(by, change).await?;
        lock(&self.opened).retain(|key, _| !gone.contains(key));
        Ok(gone.len())
    }

    /// Says which values a service's new release is given: those set for it most narrowly.
    ///
    /// # Errors
    /// When one is not set, cannot be opened, or cannot be given as it is asked for.
    pub async fn pin(&self, key: &ServiceKey, secrets: &mut [Secret]) -> Result<(), Error> {
        let tried = format!("give {key} its secrets");
        let all = self.all();
        let mut missing = Vec::new();
        for secret in &mut *secrets {
            let found = Scope::of(key).into_iter().find_map(|scope| {
                let listed = all.get(&(scope.clone(), secret.name.clone())).filter(|listed| listed.set)?;
                Some(Pin { scope, version: listed.version })
            });
            match found {
                Some(pin) => secret.pin = Some(pin),
                None => missing.push(secret.name.as_str()),
            }
        }
        if let Some(first) = missing.first() {
            let happened = match missing.len() {
                1 => format!("{first} is not set"),
                _ => format!("{} are not set", missing.join(", ")),
            };
            let hint = format!("davy secret set {first} --service {} --env {}", key.service, key.environment);
            return Err(Error::never(tried, happened).hint(hint));
        }
        for secret in &*secrets {
            let value = self.given(secret).await?;
            let plain = std::str::from_utf8(value.bytes()).is_ok_and(|text| !text.contains('\0'));
            if secret.given == Given::Variable && !plain {
                let happened = format!("{} is not text without NUL, as a variable has to be", secret.name);
                let hint = format!("give it as a file: secrets: [{{ name: {}, file: true }}]", secret.name);
                return Err(Error::never(tried, happened).hint(hint));
            }
        }
        Ok(())
    }

    async fn given(&self, secret: &Secret) -> Result<SecretValue, Error> {
        match &secret.pin {
            Some(pin) => self.value(&secret.name, pin).await,
            None => {
                Err(Error::never(format!("open the secret {}", secret.name), "the release does not say which value"))
            }
        }
    }

    async fn value(&self, name: &SecretName, pin: &Pin) -> Result<SecretValue, Error> {
        let known = (name.clone(), pin.clone());
        if let Some(value) = lock(&self.opened).get(&known) {
            return Ok(value.clone());
        }
        let tried = format!("open version {} of the secret {name} ({})", pin.version, pin.scope);
        let sealed = self.ledger.store().sealed(name, pin).await.map_err(|error| unwritten(tried.clone(), &error))?;
        let sealed = sealed.ok_or_else(|| {
            Error::never(&tried, "its value is no longer kept").hint("deploy again: the release gets the present value")
        })?;
        let key = self.key_for(&sealed.key, tried.clone())?;
        let value = seal::open(&key, name, pin, &sealed.bytes).ok_or_else(|| {
            let hint = "it was changed in the database, or moved from another secret: see `davy audit verify`, and set it again";
            Error::never(&tried, "it does not decrypt").hint(hint)
        })?;
        lock(&self.opened).insert(known, value.clone());
        Ok(value)
    }
}

impl davy_ports::Vault for Vault {
    fn open<'a>(&'a self, secrets: &'a [Secret]) -> Boxed<'a, Result<Vec<SecretValue>, Error>> {
        Box::pin(async move {
            let mut values = Vec::with_capacity(secrets.len());
            for secret in secrets {
                values.push(self.given(secret).await?);
            }
            Ok(values)
        })
    }

    fn current<'a>(&'a self, key: &'a ServiceKey, name: &'a SecretName) -> Boxed<'a, Result<SecretValue, Error>> {
        Box::pin(async move {
            let mut secret = [Secret { name: name.clone(), given: Given::File, pin: None }];
            self.pin(key, &mut secret).await?;
            self.given(&secret[0]).await
        })
    }

    fn known<'a>(&'a self, key: &'a ServiceKey) -> Boxed<'a, Vec<SecretValue>> {
        Box::pin(async move {
            let mut values = Vec::new();
            for listed in self.all().into_values().filter(|listed| listed.scope.covers(key)) {
                for version in listed.kept {
                    values.extend(self.value(&listed.name, &Pin { scope: listed.scope.clone(), version }).await);
                }
            }
            values
        })
    }
}
