//! Who may ask: tokens, of which only digests are kept. They are checked from memory, so that an abort works while the
//! database is locked.

use crate::{
    clock::wall,
    deed::{Deed, Role},
    ledger::Ledger,
    store::Change,
    vault::key::draw,
};
use davy_core::{Actor, EnvironmentName, Millis, Timestamp};
use davy_ports::{Error, JournalError};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc};
use subtle::ConstantTimeEq;

/// The server's own token acts under this name.
const OWN: &str = "admin";
/// So that programs that look for leaked secrets know one.
const PREFIX: &str = "davy_";

/// Who may ask for what.
pub struct Access {
    ledger: Arc<Ledger>,
    own: [u8; 32],
    turn: tokio::sync::Mutex<()>,
}

/// A token as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Where; everywhere when empty.
    pub environments: Vec<EnvironmentName>,
    /// When it was given out.
    pub created: Timestamp,
    /// By whom.
    pub by: Actor,
    /// Until when; for ever when absent.
    pub expires: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked: Option<Timestamp>,
    hash: String,
}

/// What a new token is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// Its name: who acts by it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Where; everywhere when empty.
    pub environments: Vec<EnvironmentName>,
    /// How long; for ever when absent.
    pub expires: Option<Millis>,
}

/// Whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// By which name.
    pub actor: Actor,
    /// What he may do.
    pub role: Role,
    /// Where; everywhere when empty.
    pub environments: Vec<EnvironmentName>,
    hash: [u8; 32],
}

/// Why a token is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It is none of this server's.
    #[error("the token is missing or is not this server's")]
    Unknown,
    /// Its time is over.
    #[error("the token `{name}` has expired")]
    Expired {
        /// Which.
        name: String,
    },
    /// An admin took it back.
    #[error("the token `{name}` was revoked")]
    Revoked {
        /// Which.
        name: String,
    },
}

impl Caller {
    /// Whether everything is in reach.
    #[must_use]
    pub const fn is_everywhere(&self) -> bool {
        self.environments.is_empty()
    }

    /// Whether an environment is in reach.
    #[must_use]
    pub fn reaches(&self, environment: &str) -> bool {
        self.is_everywhere() || self.environments.iter().any(|one| one.as_str() == environment)
    }

    /// What he is, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let names: Vec<&str> = self.environments.iter().map(EnvironmentName::as_str).collect();
        let place = if names.is_empty() { String::new() } else { format!(" in {}", names.join(", ")) };
        format!("`{}` is {}{place}", self.actor, self.role.with_article())
    }
}

impl Role {
    /// Its name as it stands in a sentence.
    #[must_use]
    pub const fn with_article(self) -> &'static str {
        match self {
            Self::Viewer => "a viewer",
            Self::Deployer => "a deployer",
            Self::Approver => "an approver",
            Self::Admin => "an admin",
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl Access {
    /// With the server's own token, which may do everything.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>, own: &str) -> Self {
        Self { ledger, own: digest(own), turn: tokio::sync::Mutex::default() }
    }

    /// The record that tokens are a fold over.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn all(&self) -> BTreeMap<String, Vec<Token>> {
        // Somebody who can write rows but not their hashes gives himself no token.
        if !self.ledger.is_sound() {
            return BTreeMap::new();
        }
        self.ledger.fold(|records| {
            let mut all: BTreeMap<String, Vec<Token>> = BTreeMap::new();
            for record in records {
                match &record.deed {
                    Deed::TokenCreated { name, role, environments, expires, hash } => {
                        all.entry(name.clone()).or_default().push(Token {
                            name: name.clone(),
                            role: *role,
                            environments: environments.clone(),
                            created: record.at,
                            by: record.by.clone(),
                            expires: *expires,
                            revoked: None,
                            hash: hash.clone(),
                        });
                    }
                    Deed::TokenRevoked { name } => {
                        if let Some(token) = all.get_mut(name).and_then(|tokens| tokens.last_mut()) {
                            token.revoked = Some(record.at);
                        }
                    }
                    _ => {}
                }
            }
            all
        })
    }

    /// Every token that was given out, the newest of each name.
    #[must_use]
    pub fn list(&self) -> Vec<Token> {
        self.all().into_values().filter_map(|mut tokens| tokens.pop()).collect()
    }

    /// Who asks with this token.
    ///
    /// # Errors
    /// When it is unknown, expired or revoked.
    pub fn admit(&self, token: &str) -> Result<Caller, Rejected> {
        self.admit_hash(digest(token))
    }

    /// Whether what was admitted would be admitted now.
    #[must_use]
    pub fn holds(&self, caller: &Caller) -> bool {
        self.admit_hash(caller.hash).is_ok()
    }

    fn admit_hash(&self, hash: [u8; 32]) -> Result<Caller, Rejected> {
        let asked = hex(&hash);
        let own = bool::from(hash.ct_eq(&self.own));
        let mut found = None;
        // All are compared, each in constant time: how long it takes says nothing.
        for token in self.all().into_values().flatten() {
            if bool::from(token.hash.as_bytes().ct_eq(asked.as_bytes())) {
                found = Some(token);
            }
        }
        if own {
            return Ok(Caller { actor: Actor::new(OWN), role: Role::Admin, environments: Vec::new(), hash });
        }
        let token = found.ok_or(Rejected::Unknown)?;
        match (token.revoked, token.expires) {
            (Some(_), _) => Err(Rejected::Revoked { name: token.name }),
            (None, Some(at)) if at <= wall() => Err(Rejected::Expired { name: token.name }),
            _ => {
                let actor = Actor::new(token.name);
                Ok(Caller { actor, role: token.role, environments: token.environments, hash })
            }
        }
    }

    /// Gives out a token. This is the only time that it is known.
    ///
    /// # Errors
    /// When the name is none or is in use, or when it cannot be written.
    pub async fn create(&self, new: NewToken, by: &Actor) -> Result<(String, Option<Timestamp>), Error> {
        let NewToken { name, role, environments, expires } = new;
        let tried = format!("create the token `{name}`");
        if let Err(error) = EnvironmentName::new(name.as_str()) {
            return Err(Error::never(tried, error).hint("such as ci, or lena-laptop"));
        }
        if name == OWN || name == "davy" {
            return Err(Error::never(tried, "the server itself acts under this name").hint("give it another name"));
        }
        if !self.ledger.is_sound() {
            let hint = "see `davy audit verify`; only the server's own token is taken until a backup is in its place";
            return Err(Error::never(tried, "the record of tokens was changed").hint(hint));
        }
        let _turn = self.turn.lock().await;
        let at = wall();
        let active = |token: &Token| token.revoked.is_none() && token.expires.is_none_or(|end| end > at);
        if self.list().iter().any(|token| token.name == name && active(token)) {
            let hint = format!("give it another name, or `davy token revoke {name}` first");
            return Err(Error::never(tried, "there is a token of this name").hint(hint));
        }
        let token = format!("{PREFIX}{}", hex(&*draw(&tried)?));
        let (hash, expires) = (hex(&digest(&token)), expires.map(|length| at.plus(length)));
        let deed = Deed::TokenCreated { name, role, environments, expires, hash };
        self.write(by, deed, tried).await?;
        Ok((token, expires))
    }

    /// Takes a token back, at once.
    ///
    /// # Errors
    /// When there is none of this name that could be used, or when it cannot be written.
    pub async fn revoke(&self, name: &str, by: &Actor) -> Result<(), Error> {
        let tried = format!("revoke the token `{name}`");
        let _turn = self.turn.lock().await;
        let found = self.list().into_iter().find(|token| token.name == name);
        match found {
            None => Err(Error::never(tried, "there is no token of this name").hint("`davy token list` shows them")),
            Some(token) if token.revoked.is_some() => Err(Error::never(tried, "it is revoked already")),
            Some(_) => self.write(by, Deed::TokenRevoked { name: name.to_owned() }, tried).await,
        }
    }

    async fn write(&self, by: &Actor, deed: Deed, tried: String) -> Result<(), Error> {
        let change = Change { deeds: vec![deed], ..Change::default() };
        let failed = |error: JournalError| Error::later(tried, error);
        self.ledger.write(by, change).await.map_err(failed)
    }
}
