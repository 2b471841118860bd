//! What the deeds say of tokens and sessions, kept up with them: a request folds only what was done since the last one.

use super::{Session, Token};
use crate::deed::{Deed, DeedRecord};
use davy_core::Timestamp;
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Standing {
    /// So many records are in it.
    read: usize,
    /// By their names, the newest of each last.
    pub(super) tokens: BTreeMap<String, Vec<Token>>,
    /// Those that have not ended, the newest last.
    pub(super) sessions: Vec<Session>,
}

impl Standing {
    /// Adds what is new, and lets go of what is over at this time.
    pub(super) fn keep_up(&mut self, records: &[DeedRecord], at: Timestamp) {
        for record in records.get(self.read..).unwrap_or_default() {
            self.add(record);
        }
        self.read = records.len();
        self.sessions.retain(|session| session.expires > at);
    }

    fn add(&mut self, record: &DeedRecord) {
        match &record.deed {
            Deed::TokenCreated { name, role, environments, expires, hash } => {
                self.tokens.entry(name.clone()).or_default().push(Token {
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
                if let Some(token) = self.tokens.get_mut(name).and_then(|tokens| tokens.last_mut()) {
                    token.revoked = Some(record.at);
                }
            }
            Deed::SignedIn { session, role, environments, way, behind, expires, ends } => {
                self.sessions.push(Session {
                    actor: record.by.clone(),
                    role: *role,
                    environments: environments.clone(),
                    way: way.clone(),
                    began: record.at,
                    expires: *expires,
                    ends: *ends,
                    behind: behind.clone(),
                    hash: session.clone(),
                });
            }
            Deed::SessionKept { session, expires } => {
                if let Some(known) = self.sessions.iter_mut().find(|known| known.hash == *session) {
                    known.expires = (*expires).min(known.ends);
                }
            }
            Deed::SignedOut { session } => self.sessions.retain(|known| known.hash != *session),
            // Whoever signed out after the backup was made is not signed in again by it.
            Deed::Restored { .. } => self.sessions.clear(),
            _ => {}
        }
    }
}
