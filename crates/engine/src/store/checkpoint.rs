//! Signed checkpoints: where every chain stands, under a key that is outside the database. Each names the one before it,
//! and of the streams those that moved since. A chain that was written anew with new hashes does not fit them.

use super::{
    chain::{self, Hash, Hasher, hex},
    given::{Numbered, given_then},
    journal::Writer,
    let_go::Gone,
    place::Place,
    sql::{Connection, Pool, Snapshot, sql},
    write::{Failure, Turn},
};
use crate::vault::key::KeyFile;
use davy_core::Timestamp;
use davy_ports::{Broken, Error, JournalError};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt, fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

const CHECKPOINT: &[u8] = b"davy journal 1, checkpoint";
/// The first word of a head as it is written down.
const FORMAT: &str = "davy1";

/// What is signed, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Statement {
    /// From 1, without gaps.
    number: u64,
    at: Timestamp,
    /// The hash of the one before; empty for the first.
    before: String,
    /// Who signs: the public key.
    key: String,
    /// Environment, service, events and last hash of each stream that moved.
    streams: Vec<(String, String, u64, String)>,
    /// How many deeds there are, and the hash of the last.
    deeds: (u64, String),
}

/// A checkpoint in one line, to be kept elsewhere: whoever has it finds out whether what came before it was rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which checkpoint.
    pub number: u64,
    /// Its hash, which covers all before it.
    pub hash: String,
    /// Whose signature it is.
    pub key: String,
    /// The signature of the hash.
    pub signature: String,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, hash, key, signature } = self;
        write!(f, "{FORMAT}:{number}:{hash}:{key}:{signature}")
    }
}

impl Head {
    /// Reads a line; none when it is no head.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut parts = line.trim().split(':');
        let mut next = || parts.next().map(str::to_owned);
        let (format, number, hash, key, signature) = (next()?, next()?, next()?, next()?, next()?);
        let sizes = bytes(&hash)?.len() == 32 && bytes(&key)?.len() == 32 && bytes(&signature)?.len() == 64;
        let head = Self { number: number.parse().ok()?, hash, key, signature };
        (format == FORMAT && sizes && parts.next().is_none()).then_some(head)
    }

    fn is_signed(&self) -> bool {
        bytes(&self.hash).is_some_and(|hash| is_signed(&self.key, &hash, &self.signature))
    }
}

/// Whether a signature under a hash is that of a key, both hexadecimal.
pub(super) fn is_signed(key: &str, hash: &[u8], signature: &str) -> bool {
    let (Some(key), Some(signature)) = (bytes(key), bytes(signature)) else { return false };
    UnparsedPublicKey::new(&ED25519, key).verify(hash, &signature).is_ok()
}

/// What a check may rest on besides the database.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// The public keys whose checkpoints count; all when absent.
    pub keys: Option<Vec<String>>,
    /// Heads that were kept elsewhere.
    pub heads: Vec<Head>,
}

impl Trust {
    /// The keys that a data folder knows.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn of(public: &Path) -> std::io::Result<Self> {
        let text = match fs::read_to_string(public) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        Ok(Self { keys: Some(text.split_whitespace().map(str::to_owned).collect()), heads: Vec::new() })
    }
}

/// Signs checkpoints.
pub struct Signer {
    pair: Ed25519KeyPair,
    key: String,
    /// Where the keys are listed that the folder knows.
    public: PathBuf,
    signed: tokio::sync::Mutex<Option<Signed>>,
}

/// How far everything was when it was last signed.
#[derive(Default)]
struct Signed {
    /// Events by environment and service.
    streams: BTreeMap<(String, String), u64>,
    deeds: u64,
}

impl Signer {
    /// Opens the key, or makes it, and lists its public half among those that the folder knows.
    ///
    /// # Errors
    /// When it can be read by others or is no key, or when the list cannot be written.
    pub fn open(file: &KeyFile, public: &Path) -> Result<Self, Error> {
        let tried = format!("open the key {}", file.path().display());
        let seed = match file.read()? {
            Some(seed) => seed,
            None => file.make()?,
        };
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed);
        let pair = pair.map_err(|error| Error::never(&tried, format!("it is no key: {error}")))?;
        let key = hex(pair.public_key().as_ref());
        let failed = |error: std::io::Error| Error::later(format!("write {}", public.display()), error);
        let listed = Trust::of(public).map_err(failed)?.keys.is_some_and(|keys| keys.contains(&key));
        if !listed {
            let opened = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(public);
            let written = opened.and_then(|mut file| writeln!(file, "{key}").and_then(|()| file.sync_all()));
            written.map_err(failed)?;
        }
        Ok(Self { pair, key, public: public.to_owned(), signed: tokio::sync::Mutex::default() })
    }

    /// The keys whose checkpoints count here.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn trust(&self) -> std::io::Result<Trust> {
        Trust::of(&self.public)
    }

    /// The public key, and its signature under a hash; both hexadecimal.
    pub(super) fn sign(&self, hash: &Hash) -> (String, String) {
        (self.key.clone(), hex(self.pair.sign(hash).as_ref()))
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

fn hash(statement: &str) -> Hash {
    let mut hasher = Hasher::new(CHECKPOINT);
    hasher.bytes(statement.as_bytes());
    hasher.finish()
}

fn damaged(why: String) -> Failure {
    Failure::Answer(JournalError::Damaged { why })
}

/// Signs where everything stands; none when nothing moved since the last time.
pub(super) async fn sign(
    writer: Writer,
    place: Place,
    signer: Arc<Signer>,
    at: Timestamp,
) -> Result<Option<Head>, JournalError> {
    let mut turn = Turn::begin(writer, place, "sign a checkpoint").await?;
    let mut signed = signer.signed.lock().await;
    let result = sign_in(&mut turn.connection, &signer, &mut signed, at).await;
    let result = turn.end(result).await;
    if result.is_err() {
        // What was signed is read again: nobody knows how far it got.
        *signed = None;
    }
    result
}

async fn sign_in(
    connection: &mut Connection,
    signer: &Signer,
    signed: &mut Option<Signed>,
    at: Timestamp,
) -> Result<Option<Head>, Failure> {
    if signed.is_none() {
        let mut known = Signed::default();
        let rows = sql("SELECT statement FROM checkpoint ORDER BY number").fetch_all(&mut *connection).await?;
        for row in rows {
            let statement: Statement = serde_json::from_str(row.try_get(0)?)
                .map_err(|error| damaged(format!("a checkpoint cannot be read: {error}")))?;
            let streams = statement.streams.into_iter();
            known.streams.extend(streams.map(|(environment, service, events, _)| ((environment, service), events)));
            known.deeds = statement.deeds.0;
        }
        *signed = Some(known);
    }
    let known = signed.get_or_insert_default();
    let rows = sql("SELECT environment, service, events, head FROM stream WHERE events > 0 ORDER BY id")
        .fetch_all(&mut *connection)
        .await?;
    let mut streams = Vec::new();
    for row in &rows {
        let (environment, service): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let events = row.try_get::<i64>(2)?.cast_unsigned();
        let name = (environment, service);
        if known.streams.get(&name) != Some(&events) {
            streams.push((name.0, name.1, events, hex(row.try_get(3)?)));
        }
    }
    let last =
        sql("SELECT number, hash FROM deed ORDER BY number DESC LIMIT 1").fetch_optional(&mut *connection).await?;
    let deeds = match last {
        Some(row) => (row.try_get::<i64>(0)?.cast_unsigned(), hex(row.try_get(1)?)),
        None => (0, hex(&chain::deeds())),
    };
    if streams.is_empty() && deeds.0 == known.deeds {
        return Ok(None);
    }
    let before = sql("SELECT number, statement FROM checkpoint ORDER BY number DESC LIMIT 1")
        .fetch_optional(&mut *connection)
        .await?;
    let (number, before) = match &before {
        Some(row) => (row.try_get::<i64>(0)?.cast_unsigned() + 1, hex(&hash(row.try_get(1)?))),
        None => (1, String::new()),
    };
    known.streams.extend(
        streams.iter().map(|(environment, service, events, _)| ((environment.clone(), service.clone()), *events)),
    );
    known.deeds = deeds.0;
    let statement = Statement { number, at, before, key: signer.key.clone(), streams, deeds };
    let statement = serde_json::to_string(&statement).map_err(|error| damaged(error.to_string()))?;
    let hash = hash(&statement);
    let signature = signer.pair.sign(&hash);
    sql("INSERT INTO checkpoint (number, statement, signature) VALUES ($1, $2, $3)")
        .bind(number.cast_signed())
        .bind(statement)
        .bind(signature.as_ref())
        .execute(&mut *connection)
        .await?;
    Ok(Some(Head { number, hash: hex(&hash), key: signer.key.clone(), signature: hex(signature.as_ref()) }))
}

/// The last checkpoint, if there is one.
pub(super) async fn head(pool: &Pool, place: &Place) -> Result<Option<Head>, JournalError> {
    let failed = |error: sqlx::Error| place.explain("read the checkpoints", &error);
    let row = sql("SELECT number, statement, signature FROM checkpoint ORDER BY number DESC LIMIT 1")
        .fetch_optional(pool)
        .await
        .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let text: &str = row.try_get(1).map_err(failed)?;
    let statement: Statement = serde_json::from_str(text).map_err(|error| JournalError::Damaged {
        why: format!("the last checkpoint cannot be read ({error}); see what `davy audit verify` finds"),
    })?;
    Ok(Some(Head {
        number: row.try_get::<i64>(0).map_err(failed)?.cast_unsigned(),
        hash: hex(&hash(text)),
        key: statement.key,
        signature: hex(row.try_get(2).map_err(failed)?),
    }))
}

/// What the checkpoints say of the chains, to be compared with them.
#[derive(Default)]
pub(super) struct Expected {
    pub(super) checkpoints: u64,
    /// By stream: after so many events its hash was this, as a checkpoint says.
    streams: BTreeMap<String, BTreeMap<u64, (String, u64)>>,
    deeds: BTreeMap<u64, (String, u64)>,
}

/// Where the deeds' chain is told.
const DEEDS: &str = "deeds";

fn found(stream: impl Into<String>, position: u64, why: String) -> Broken {
    Broken { stream: stream.into(), position, why }
}

impl Expected {
    /// Reads and checks the checkpoints themselves.
    pub(super) async fn read(
        snapshot: &mut Snapshot,
        trust: &Trust,
        broken: &mut Vec<Broken>,
    ) -> Result<Self, sqlx::Error> {
        let mut expected = Self::default();
        let mut hashes: BTreeMap<u64, String> = BTreeMap::new();
        let mut before = String::new();
        let rows = sql("SELECT number, statement, signature FROM checkpoint ORDER BY number")
            .fetch_all(&mut *snapshot)
            .await?;
        for row in &rows {
            let number = row.try_get::<i64>(0)?.cast_unsigned();
            let text: &str = row.try_get(1)?;
            let mut wrong = |why: String| broken.push(found("checkpoints", number, why));
            if number != expected.checkpoints + 1 {
                wrong(format!("checkpoint {} is missing: {number} follows", expected.checkpoints + 1));
            }
            expected.checkpoints = number;
            let hash = hex(&hash(text));
            hashes.insert(number, hash.clone());
            let statement: Statement = match serde_json::from_str(text) {
                Ok(statement) => statement,
                Err(error) => {
                    wrong(format!("it cannot be read: {error}"));
                    before = hash;
                    continue;
                }
            };
            if statement.before != before || statement.number != number {
                wrong("it does not follow the one before: one of them was changed, removed or put in".to_owned());
            }
            before.clone_from(&hash);
            let signature = hex(row.try_get(2)?);
            if !(Head { number, hash, key: statement.key.clone(), signature }).is_signed() {
                wrong("its signature does not hold: it was changed or forged".to_owned());
            }
            if trust.keys.as_ref().is_some_and(|keys| !keys.contains(&statement.key)) {
                wrong(format!("it is signed with {}, which is no key of this server", statement.key));
            }
            for (environment, service, events, hash) in statement.streams {
                let stream = expected.streams.entry(format!("{environment}/{service}")).or_default();
                stream.insert(events, (hash, number));
            }
            if statement.deeds.0 > 0 {
                expected.deeds.insert(statement.deeds.0, (statement.deeds.1, number));
            }
        }
        for head in &trust.heads {
            let mut wrong = |why: String| broken.push(found("saved head", head.number, why));
            match hashes.get(&head.number) {
                _ if !head.is_signed() => wrong("its own signature does not hold: it was changed".to_owned()),
                None => wrong(format!(
                    "checkpoint {} is missing: what came after it was taken away, or all was written anew",
                    head.number
                )),
                Some(hash) if *hash != head.hash => {
                    wrong(format!(
                        "checkpoint {} is another one than was saved: history was written anew",
                        head.number
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(expected)
    }

    /// Compares one event of a stream.
    pub(super) fn event(&mut self, stream: &str, position: u64, hash: &[u8], broken: &mut Vec<Broken>) {
        let said = self.streams.get_mut(stream).and_then(|said| said.remove(&position));
        compare(said, stream, position, hash, broken);
    }

    /// Follows the deeds; how many there are, and what evidence they let go.
    pub(super) async fn deeds(
        &mut self,
        snapshot: &mut Snapshot,
        trust: &Trust,
        broken: &mut Vec<Broken>,
    ) -> Result<(u64, Gone), sqlx::Error> {
        let mut previous = chain::deeds();
        let (mut count, mut gone) = (0, Gone::default());
        let rows = sql("SELECT number, at, by, deed, hash FROM deed ORDER BY number").fetch_all(&mut *snapshot).await?;
        for row in &rows {
            let number = row.try_get::<i64>(0)?.cast_unsigned();
            let at = row.try_get::<i64>(1)?.cast_unsigned();
            let stored: &[u8] = row.try_get(4)?;
            if number != count + 1 {
                broken.push(found(DEEDS, count + 1, format!("deed {} is missing: {number} follows", count + 1)));
            }
            count = number;
            if chain::deed(&previous, number, at, row.try_get(2)?, row.try_get(3)?) != stored {
                broken.push(found(DEEDS, number, "the deed or the one before it was changed".to_owned()));
            }
            previous = stored.try_into().unwrap_or_default();
            compare(self.deeds.remove(&number), DEEDS, number, stored, broken);
            if let Err(why) = gone.take(number, row.try_get(3)?, trust) {
                broken.push(found(DEEDS, number, why));
            }
        }
        let given = given_then(snapshot, Numbered::Deeds).await?;
        if given != count {
            broken.push(found(DEEDS, count + 1, format!("{given} deeds were recorded, {count} are there")));
        }
        Ok((count, gone))
    }

    /// What the checkpoints saw and nobody has any more.
    pub(super) fn end(self, broken: &mut Vec<Broken>) {
        let streams = self.streams.into_iter().chain([(DEEDS.to_owned(), self.deeds)]);
        for (stream, said) in streams {
            // The last says it all.
            if let Some((position, (_, number))) = said.into_iter().next_back() {
                let why = format!("checkpoint {number} saw {position} of them, which are no longer there");
                broken.push(found(stream, position, why));
            }
        }
    }
}

fn compare(said: Option<(String, u64)>, stream: &str, position: u64, hash: &[u8], broken: &mut Vec<Broken>) {
    if let Some((said, number)) = said
        && said != hex(hash)
    {
        let why = format!("checkpoint {number} saw another one here: the chain was written anew");
        broken.push(found(stream, position, why));
    }
}
