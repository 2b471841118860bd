//! Who may ask: tokens and sessions, of which only digests are kept. They are checked from memory, so that an abort works while the
//! database is locked.

mod codes;
mod session;
mod standing;

pub use session::{Grant, Refused, Session, SignedIn};

use crate::{
    clock::wall,
    deed::{Deed, Role},
    ledger::Ledger,
    store::Change,
    vault::key::draw,
};
use codes::Codes;
use davy_core::{Actor, EnvironmentName, Millis, Timestamp};
use davy_ports::{Error, JournalError};
use sha2::{Digest, Sha256};
use standing::Standing;
use std::sync::{Arc, Mutex, PoisonError};
use subtle::ConstantTimeEq;

/// The server's own token acts under this name.
const OWN: &str = "admin";
/// So that programs that look for leaked secrets know one.
const PREFIX: &str = "davy_";

/// Who may ask for what.
pub struct Access {
    ledger: Arc<Ledger>,
    own: [u8; 32],
    standing: Mutex<Standing>,
    codes: Codes,
    turn: tokio::sync::Mutex<()>,
    /// Held while a session is kept for longer.
    keeping: tokio::sync::Mutex<()>,
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

impl Token {
    fn is_active(&self, at: Timestamp) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|end| end > at)
    }
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
    /// The session by which he asks; none with a token.
    pub session: Option<Session>,
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
    /// There is no such session, or not any more.
    #[error("nobody is signed in here, or not any more")]
    Ended,
}

impl Caller {
    /// Whether everything is in reach.
    #[must_use]
    pub const fn is_everywhere(&self) -> bool {
        self.environments.is_empty()
    }

    /// What tells him from all others, and says nothing about what he asks with.
    #[must_use]
    pub const fn digest(&self) -> [u8; 32] {
        self.hash
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
        let (standing, codes) = (Mutex::default(), Codes::default());
        Self { ledger, own: digest(own), standing, codes, turn: Default::default(), keeping: Default::default() }
    }

    /// What tells this server's cookies from those of another one: it says nothing about the token.
    #[must_use]
    pub fn mark(&self) -> String {
        hex(&digest(&format!("cookies of {}", hex(&self.own))))[..8].to_owned()
    }

    /// The record that tokens are a fold over.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What stands at this time.
    fn standing<T>(&self, at: Timestamp, read: impl FnOnce(&Standing) -> T) -> T {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody who can write rows but not their hashes gives himself no token and no session.
        if self.ledger.is_sound() {
            self.ledger.fold(|records| standing.keep_up(records, at));
        }
        read(&standing)
    }

    /// Every token that was given out, the newest of each name.
    #[must_use]
    pub fn list(&self) -> Vec<Token> {
        self.standing(wall(), |standing| standing.tokens.values().filter_map(|tokens| tokens.last().cloned()).collect())
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
        match &caller.session {
            Some(session) => self.admit_session_hash(&session.hash, wall()).is_ok(),
            None => self.admit_hash(caller.hash).is_ok(),
        }
    }

    fn admit_hash(&self, hash: [u8; 32]) -> Result<Caller, Rejected> {
        let asked = hex(&hash);
        let own = bool::from(hash.ct_eq(&self.own));
        let at = wall();
        let found = self.standing(at, |standing| {
            let mut found = None;
            // All are compared, each in constant time: how long it takes says nothing.
            for token in standing.tokens.values().flatten() {
                if bool::from(token.hash.as_bytes().ct_eq(asked.as_bytes())) {
                    found = Some(token);
                }
            }
            found.cloned()
        });
        if own {
            let (actor, environments) = (Actor::new(OWN), Vec::new());
            return Ok(Caller { actor, role: Role::Admin, environments, session: None, hash });
        }
        let token = found.ok_or(Rejected::Unknown)?;
        match (token.revoked, token.expires) {
            (Some(_), _) => Err(Rejected::Revoked { name: token.name }),
            (None, Some(end)) if end <= at => Err(Rejected::Expired { name: token.name }),
            _ => {
                let actor = Actor::new(token.name);
                Ok(Caller { actor, role: token.role, environments: token.environments, session: None, hash })
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
        if self.list().iter().any(|token| token.name == name && token.is_active(at)) {
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
        self.write_all(by, vec![deed], tried).await
    }

    async fn write_all(&self, by: &Actor, deeds: Vec<Deed>, tried: String) -> Result<(), Error> {
        let change = Change { deeds, ..Change::default() };
        let failed = |error: JournalError| Error::later(tried, error);
        self.ledger.write(by, change).await.map_err(failed)
    }
}
