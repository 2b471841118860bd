//! Who is signed in on the page. A session is a secret in a cookie, of which only a digest is kept, and a fold over deeds: so it goes
//! on after a restart, and on another server that takes over. It is written when it begins, at most twice a day while it is used,
//! and when somebody ends it.

use super::{Access, Caller, OWN, Rejected, codes::Code, digest, draw, hex, standing::Standing};
use crate::{
    clock::{now, wall},
    deed::{Deed, Role, Way},
};
use davy_core::{Actor, EnvironmentName, Millis, Timestamp};
use davy_ports::Error;
use subtle::ConstantTimeEq;

/// A session that is not used for so long is over; and so is one of a person whom somebody else vouches for, since what they may do
/// is asked again only when they sign in.
const IDLE: Millis = Millis::seconds(12 * 3600);
/// No session lasts longer, however much it is used.
const LONGEST: Millis = Millis::seconds(7 * 24 * 3600);

/// What somebody gets who signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Under which name he acts.
    pub actor: Actor,
    /// What he may do.
    pub role: Role,
    /// Where; everywhere when empty.
    pub environments: Vec<EnvironmentName>,
    /// The digest of the token or the session that it rests on, hexadecimal: it is worth nothing when that is not.
    pub(crate) behind: Option<String>,
}

impl Grant {
    /// What somebody gets for whom others vouch: it rests on nothing of this server's.
    #[must_use]
    pub const fn vouched(actor: Actor, role: Role, environments: Vec<EnvironmentName>) -> Self {
        Self { actor, role, environments, behind: None }
    }
}

/// Somebody who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Under which name he acts.
    pub actor: Actor,
    /// What he may do.
    pub role: Role,
    /// Where; everywhere when empty.
    pub environments: Vec<EnvironmentName>,
    /// How he signed in.
    pub way: Way,
    /// When.
    pub began: Timestamp,
    /// Until when, unless it is used.
    pub expires: Timestamp,
    /// Until when at the longest.
    pub ends: Timestamp,
    pub(super) behind: Option<String>,
    pub(super) hash: String,
}

/// A session that has just begun.
pub struct SignedIn {
    /// What the cookie holds. This is the only time that it is known.
    pub secret: String,
    /// The session.
    pub session: Session,
}

/// Why nobody was signed in.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// The code is none.
    #[error("this is no sign-in code of this server, or it was used, or it is older than ten minutes")]
    Code,
    /// The token is none.
    #[error("{0}")]
    Token(Rejected),
    /// It could not be written.
    #[error("{0}")]
    Unwritten(Error),
}

impl Session {
    /// What it is called where it is told of: enough of its digest to find its deeds.
    #[must_use]
    pub fn called(&self) -> &str {
        self.hash.get(..8).unwrap_or(&self.hash)
    }

    /// Whether it is worth something, with what it rests on.
    fn stands(&self, standing: &Standing, own: &[u8; 32], at: Timestamp) -> bool {
        let Some(behind) = &self.behind else { return self.expires > at };
        self.expires > at
            && (bool::from(hex(own).as_bytes().ct_eq(behind.as_bytes()))
                || standing.tokens.values().flatten().any(|token| token.hash == *behind && token.is_active(at))
                || standing.sessions.iter().any(|one| {
                    // What it rests on was there before: this ends.
                    one.hash == *behind
                        && one.hash != self.hash
                        && one.began <= self.began
                        && one.stands(standing, own, at)
                }))
    }

    fn caller(&self) -> Caller {
        let hash = digest_of(&self.hash);
        let (actor, role, environments) = (self.actor.clone(), self.role, self.environments.clone());
        Caller { actor, role, environments, hash, session: Some(self.clone()) }
    }
}

/// The bytes of a digest that was written by `hex`.
fn digest_of(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok()).unwrap_or(0);
    }
    bytes
}

impl Access {
    /// Makes a code by which somebody may sign in once, on behalf of the caller; or of the server's own token.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn code(&self, grant: Grant) -> Result<(String, Timestamp), Error> {
        self.codes.make(grant, now())
    }

    /// What a code of the server's own gives: all.
    #[must_use]
    pub fn own_grant(&self) -> Grant {
        let behind = Some(hex(&self.own));
        Grant { actor: Actor::new(OWN), role: Role::Admin, environments: Vec::new(), behind }
    }

    /// What somebody gets from a caller who may give it.
    ///
    /// # Errors
    /// When the name is another one's.
    pub fn grant(
        &self,
        caller: &Caller,
        name: Option<String>,
        role: Role,
        environments: Vec<EnvironmentName>,
    ) -> Result<Grant, Error> {
        let actor = match name {
            None => caller.actor.clone(),
            Some(name) => {
                let tried = format!("make a sign-in code for `{name}`");
                if let Err(error) = EnvironmentName::new(name.as_str()) {
                    return Err(Error::never(tried, error).hint("such as lena, or meeting-room"));
                }
                if name == OWN || name == "davy" {
                    let why = "the server itself acts under this name";
                    return Err(Error::never(tried, why).hint("give another name"));
                }
                Actor::new(name)
            }
        };
        Ok(Grant { actor, role, environments, behind: Some(hex(&caller.hash)) })
    }

    /// Signs somebody in by a code, which is then used.
    ///
    /// # Errors
    /// When it is none; or when it cannot be written: then the code is as good as before.
    pub async fn sign_in_by_code(&self, typed: &str) -> Result<SignedIn, Refused> {
        let code: Code = self.codes.take(typed, now()).ok_or(Refused::Code)?;
        let signed = self.sign_in(code.grant.clone(), Way::Code).await;
        if signed.is_err() {
            self.codes.put_back(code);
        }
        signed.map_err(Refused::Unwritten)
    }

    /// Signs in whoever has a token.
    ///
    /// # Errors
    /// When it is unknown, expired or revoked, or when it cannot be written.
    pub async fn sign_in_by_token(&self, token: &str) -> Result<SignedIn, Refused> {
        let Caller { actor, role, environments, hash, .. } = self.admit(token).map_err(Refused::Token)?;
        let grant = Grant { actor, role, environments, behind: Some(hex(&hash)) };
        self.sign_in(grant, Way::Token).await.map_err(Refused::Unwritten)
    }

    /// Signs somebody in.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn sign_in(&self, grant: Grant, way: Way) -> Result<SignedIn, Error> {
        let tried = "sign in".to_owned();
        let secret = hex(&*draw(&tried)?);
        let at = wall();
        let Grant { actor, role, environments, behind } = grant;
        let ends = at.plus(if way.is_vouched() { IDLE } else { LONGEST });
        let session = Session {
            actor,
            role,
            environments,
            way,
            began: at,
            expires: at.plus(IDLE),
            ends,
            behind,
            hash: hex(&digest(&secret)),
        };
        let deed = Deed::SignedIn {
            session: session.hash.clone(),
            role,
            environments: session.environments.clone(),
            way: session.way.clone(),
            behind: session.behind.clone(),
            expires: session.expires,
            ends,
        };
        self.write(&session.actor, deed, tried).await?;
        Ok(SignedIn { secret, session })
    }

    /// Who asks with this secret of a session.
    ///
    /// # Errors
    /// When it is none, or over.
    pub fn admit_session(&self, secret: &str) -> Result<Caller, Rejected> {
        self.admit_session_hash(&hex(&digest(secret)), wall())
    }

    pub(super) fn admit_session_hash(&self, hash: &str, at: Timestamp) -> Result<Caller, Rejected> {
        self.standing(at, |standing| {
            let mut found = None;
            for session in &standing.sessions {
                if bool::from(session.hash.as_bytes().ct_eq(hash.as_bytes())) {
                    found = Some(session);
                }
            }
            let session = found.filter(|session| session.stands(standing, &self.own, at));
            session.map(Session::caller).ok_or(Rejected::Ended)
        })
    }

    /// Whether the session is to be kept for longer, since it is used and half of its time is over.
    #[must_use]
    pub fn is_to_be_kept(&self, session: &Session) -> bool {
        session.kept_until(wall()).is_some()
    }

    /// Keeps a session for longer. Only one such write is under way at a time: the next request asks again.
    ///
    /// # Errors
    /// When it cannot be written: then it lasts as long as it did.
    pub async fn keep(&self, session: &Session) -> Result<(), Error> {
        self.keep_at(session, wall()).await
    }

    async fn keep_at(&self, session: &Session, at: Timestamp) -> Result<(), Error> {
        let Ok(_turn) = self.keeping.try_lock() else { return Ok(()) };
        let now = self.standing(at, |standing| {
            standing.sessions.iter().find(|known| known.hash == session.hash).and_then(|known| known.kept_until(at))
        });
        let Some(expires) = now else { return Ok(()) };
        let deed = Deed::SessionKept { session: session.hash.clone(), expires };
        self.write(&session.actor, deed, "keep a session".to_owned()).await
    }

    /// Everybody who is signed in, the last to come first.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        let at = wall();
        self.standing(at, |standing| {
            let stand = standing.sessions.iter().filter(|session| session.stands(standing, &self.own, at));
            stand.rev().cloned().collect()
        })
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn sign_out(&self, session: &Session) -> Result<(), Error> {
        let deed = Deed::SignedOut { session: session.hash.clone() };
        self.write(&session.actor, deed, "sign out".to_owned()).await
    }

    /// Ends every session of somebody; how many there were.
    ///
    /// # Errors
    /// When there is none, or when it cannot be written.
    pub async fn end_sessions(&self, name: &str, by: &Actor) -> Result<usize, Error> {
        let tried = format!("end the sessions of `{name}`");
        let found: Vec<Session> = self.sessions().into_iter().filter(|one| one.actor.as_str() == name).collect();
        if found.is_empty() {
            let hint = "`davy sign-in list` shows who is";
            return Err(Error::never(tried, "nobody of this name is signed in").hint(hint));
        }
        let deeds = found.iter().map(|one| Deed::SignedOut { session: one.hash.clone() }).collect();
        self.write_all(by, deeds, tried).await?;
        Ok(found.len())
    }
}

impl Session {
    /// Until when it is to be kept from now on, if that is to be written.
    fn kept_until(&self, at: Timestamp) -> Option<Timestamp> {
        let until = at.plus(IDLE).min(self.ends);
        (self.expires.since(at).0 < IDLE.0 / 2 && until > self.expires).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::{Grant, IDLE, LONGEST, Refused, Session, SignedIn};
    use crate::{
        Access, Ledger, NewToken, Rejected, Role,
        deed::{Deed, Way},
        store::{Change, Store},
    };
    use davy_core::{Actor, EnvironmentName, Millis};
    use std::{path::Path, sync::Arc};
    use tempfile::TempDir;

    const HOUR: Millis = Millis::seconds(3600);
    const OWN: &str = "own";

    async fn open(folder: &Path) -> Access {
        let store = Store::open(&folder.join("journal.db")).await.unwrap();
        Access::new(Arc::new(Ledger::open(store).await.unwrap()), OWN)
    }

    async fn house() -> (TempDir, Access) {
        let folder = TempDir::new().unwrap();
        let access = open(folder.path()).await;
        (folder, access)
    }

    fn hours(session: &Session, hours: u64) -> davy_core::Timestamp {
        session.began.plus(Millis(hours * HOUR.0))
    }

    fn admits(access: &Access, session: &Session, after: u64) -> bool {
        access.admit_session_hash(&session.hash, hours(session, after)).is_ok()
    }

    async fn by_code(access: &Access) -> SignedIn {
        let (code, _) = access.code(access.own_grant()).unwrap();
        access.sign_in_by_code(&code).await.unwrap()
    }

    fn count(access: &Access) -> usize {
        access.ledger().records().len()
    }

    #[tokio::test]
    async fn a_session_lasts_as_long_as_it_is_used_and_a_week_at_most() {
        let (folder, access) = house().await;
        let session = by_code(&access).await.session;
        assert!(admits(&open(folder.path()).await, &session, 11), "after a restart, too");
        assert!(!admits(&open(folder.path()).await, &session, 12), "nobody used it");
        let mut after = 0;
        let mut written = count(&access);
        // A request each hour: written twice a day.
        while admits(&access, &session, after) {
            access.keep_at(&session, hours(&session, after)).await.unwrap();
            after += 1;
        }
        assert_eq!(Millis(after * HOUR.0), LONGEST);
        written = count(&access) - written;
        assert!((13..=24).contains(&written), "{written} deeds in a week");
        assert!(!admits(&open(folder.path()).await, &session, after));
    }

    #[tokio::test]
    async fn whom_others_vouch_for_is_asked_again() {
        let (_folder, access) = house().await;
        let grant = Grant::vouched(Actor::new("lena@example.com"), Role::Deployer, Vec::new());
        let SignedIn { secret, session } = access.sign_in(grant, Way::Oidc("company".to_owned())).await.unwrap();
        let caller = access.admit_session(&secret).unwrap();
        assert_eq!((caller.actor.as_str(), caller.role), ("lena@example.com", Role::Deployer));
        let before = count(&access);
        access.keep_at(&session, hours(&session, 11)).await.unwrap();
        assert_eq!(count(&access), before);
        assert!(admits(&access, &session, 11) && !admits(&access, &session, 12));
        assert_eq!(session.ends, session.began.plus(IDLE));
    }

    #[tokio::test]
    async fn a_session_is_worth_no_more_than_what_it_rests_on() {
        let (folder, access) = house().await;
        let admin = access.admit(OWN).unwrap();
        let new = NewToken { name: "lena".to_owned(), role: Role::Admin, environments: Vec::new(), expires: None };
        let (token, _) = access.create(new, &admin.actor).await.unwrap();
        let first = access.sign_in_by_token(&token).await.unwrap();
        assert_eq!(first.session.actor.as_str(), "lena");
        let caller = access.admit_session(&first.secret).unwrap();
        let staging = vec![EnvironmentName::new("staging").unwrap()];
        let grant = access.grant(&caller, Some("guest".to_owned()), Role::Viewer, staging.clone()).unwrap();
        for name in ["admin", "davy", "A B", ""] {
            assert!(access.grant(&caller, Some(name.to_owned()), Role::Viewer, Vec::new()).is_err(), "{name}");
        }
        let (code, _) = access.code(grant.clone()).unwrap();
        let guest = access.sign_in_by_code(&code).await.unwrap();
        let (later, _) = access.code(grant).unwrap();
        let known = access.admit_session(&guest.secret).unwrap();
        assert_eq!((known.actor.as_str(), known.role, known.environments), ("guest", Role::Viewer, staging));
        let own = by_code(&access).await;
        access.revoke("lena", &admin.actor).await.unwrap();
        // What a code of hers gives is worth nothing now.
        let late = access.sign_in_by_code(&later).await.unwrap();
        let again = open(folder.path()).await;
        for access in [&access, &again] {
            for one in [&first, &guest, &late] {
                assert_eq!(access.admit_session(&one.secret), Err(Rejected::Ended));
            }
            assert!(access.admit_session(&own.secret).is_ok());
            assert_eq!(access.sessions().len(), 1);
        }
        assert!(matches!(access.sign_in_by_token(&token).await, Err(Refused::Token(Rejected::Revoked { .. }))));
        // Another token of the server's own: nothing that rested on the one before is left.
        let store = Store::open(&folder.path().join("journal.db")).await.unwrap();
        let other = Access::new(Arc::new(Ledger::open(store).await.unwrap()), "other");
        assert_eq!(other.admit_session(&own.secret), Err(Rejected::Ended));
    }

    #[tokio::test]
    async fn signing_out_is_at_once_and_a_backup_signs_nobody_in_again() {
        let (_folder, access) = house().await;
        let (one, other) = (by_code(&access).await, by_code(&access).await);
        let caller = access.admit_session(&one.secret).unwrap();
        assert!(access.holds(&caller));
        access.sign_out(&one.session).await.unwrap();
        assert!(!access.holds(&caller));
        assert!(access.admit_session(&other.secret).is_ok());
        assert_eq!(access.admit_session(&other.session.hash), Err(Rejected::Ended), "a digest is no secret");
        assert_eq!(access.end_sessions("admin", &Actor::new("admin")).await.unwrap(), 1);
        assert!(access.admit_session(&other.secret).is_err());
        assert!(access.end_sessions("admin", &Actor::new("admin")).await.is_err());
        let last = by_code(&access).await;
        let deeds = vec![Deed::Restored { made: last.session.began }];
        access.ledger().write(&Actor::new("davy"), Change { deeds, ..Change::default() }).await.unwrap();
        assert!(access.admit_session(&last.secret).is_err());
    }
}
