//! Checking that nothing was changed, removed or moved: every hash is computed again from what is stored.
//!
//! Rows are read from the tables and not through an index, in the order in which they were appended; that the two
//! agree is SQLite's own check, which runs first (PostgreSQL's is `pg_amcheck`). What is packed takes its place among them: a chain
//! is computed again over all of its events.

use super::{
    chain::{self, Fields, Hash, hex},
    checkpoint::{Expected, Trust},
    evidence::{self, BatchesDigest},
    given::{Numbered, given_then},
    let_go::Gone,
    pack::{self, Packed},
    read,
    sql::{Pool, Row, Snapshot, sql},
};
use davy_core::rollout::{Batches, Cause, Event};
use davy_ports::{Broken, Verified};
use futures_util::TryStreamExt as _;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// What one pass over a snapshot finds.
pub(super) async fn verify(pool: &Pool, trust: &Trust) -> Result<Verified, sqlx::Error> {
    // One snapshot: what is appended meanwhile is not seen in one table and missed in another.
    let mut snapshot = pool.snapshot().await?;
    let mut broken = file(&mut snapshot).await?;
    let mut chains = chains(&mut snapshot).await?;
    let mut expected = Expected::read(&mut snapshot, trust, &mut broken).await?;
    let claims = events(&mut snapshot, &mut chains, &mut expected, &mut broken).await?;
    let (deeds, gone) = expected.deeds(&mut snapshot, trust, &mut broken).await?;
    let (streams, events, packed) = ends(&chains, &mut broken);
    gone.compare(&mut snapshot, &mut broken).await?;
    let batches = proofs(&mut snapshot, claims, &gone, &mut broken).await?;
    snapshot.end().await?;
    let checkpoints = expected.checkpoints;
    expected.end(&mut broken);
    Ok(Verified { streams, events, packed, batches, let_go: gone.count(), deeds, checkpoints, broken })
}

/// A stream's chain as far as it was followed.
struct Chain {
    name: String,
    /// How far it should go, and what its last hash should be; none for a stream that is not listed.
    listed: Option<(u64, Vec<u8>)>,
    position: u64,
    hash: Hash,
    /// How many of its events are packed.
    packed: u64,
    /// Whether the last one is, and the hash that is kept of its end was not seen yet.
    open: bool,
}

/// The evidence that a verdict names.
pub(super) struct Claim {
    pub(super) stream: String,
    pub(super) position: u64,
    pub(super) batches: Batches,
}

/// SQLite's own check of the file.
async fn file(snapshot: &mut Snapshot) -> Result<Vec<Broken>, sqlx::Error> {
    if !matches!(snapshot, Snapshot::Sqlite(_)) {
        return Ok(Vec::new());
    }
    let rows = sql("PRAGMA integrity_check(20)").fetch_all(snapshot).await?;
    let mut broken = Vec::new();
    for row in rows {
        let said: String = row.try_get(0)?;
        if said != "ok" {
            broken.push(Broken { stream: "the file".to_owned(), position: 0, why: format!("SQLite says: {said}") });
        }
    }
    Ok(broken)
}

async fn chains(snapshot: &mut Snapshot) -> Result<BTreeMap<i64, Chain>, sqlx::Error> {
    let text = snapshot.either(
        "SELECT id, environment, service, events, head FROM stream NOT INDEXED",
        "SELECT id, environment, service, events, head FROM stream",
    );
    let rows = sql(text).fetch_all(snapshot).await?;
    rows.iter()
        .map(|row| {
            let (environment, service) = (row.try_get::<&str>(1)?, row.try_get::<&str>(2)?);
            let chain = Chain {
                name: format!("{environment}/{service}"),
                listed: Some((row.try_get::<i64>(3)?.cast_unsigned(), row.try_get(4)?)),
                position: 0,
                hash: chain::seed(environment, service),
                packed: 0,
                open: false,
            };
            Ok((row.try_get(0)?, chain))
        })
        .collect()
}

/// Events, packs and the ends of what is packed, which are told apart by their third column: a position, nothing, the opposite of
/// one. Packs come by their first event, before their ends.
const SQLITE: &str = "SELECT sequence, stream, position, at, by, rollout, event, hash FROM event NOT INDEXED \
     UNION ALL SELECT first, stream, 0, 0, '', rollout, '', bytes FROM pack NOT INDEXED \
     UNION ALL SELECT sequence, stream, -until, 0, '', NULL, '', hash FROM run ORDER BY 1, 3 DESC";
const POSTGRES: &str = "SELECT sequence, stream, position, at, by, rollout, event, hash FROM event \
     UNION ALL SELECT first, stream, 0, 0, '', rollout, '', bytes FROM pack \
     UNION ALL SELECT sequence, stream, -until, 0, '', NULL, '', hash FROM run ORDER BY 1, 3 DESC";

/// Follows every chain through all events, in order.
async fn events(
    snapshot: &mut Snapshot,
    chains: &mut BTreeMap<i64, Chain>,
    expected: &mut Expected,
    broken: &mut Vec<Broken>,
) -> Result<HashMap<String, Vec<Claim>>, sqlx::Error> {
    let mut following =
        Following { chains, expected, broken, claims: HashMap::new(), waiting: BTreeMap::new(), last: 0 };
    let text = snapshot.either(SQLITE, POSTGRES);
    let mut rows = sql(text).fetch(snapshot);
    while let Some(row) = rows.try_next().await? {
        following.row(&row)?;
    }
    following.packed_until(u64::MAX);
    drop(rows);
    let Following { claims, last, .. } = following;
    let given = given_then(snapshot, Numbered::Events).await?;
    if given != last {
        let why = format!("{given} sequence numbers were given, but the last event has number {last}");
        broken.push(Broken { stream: "the file".to_owned(), position: 0, why });
    }
    Ok(claims)
}

/// All chains on the way through all events.
struct Following<'a> {
    chains: &'a mut BTreeMap<i64, Chain>,
    expected: &'a mut Expected,
    broken: &'a mut Vec<Broken>,
    claims: HashMap<String, Vec<Claim>>,
    /// Packed events, with their stream and their rollout, until it is their turn.
    waiting: BTreeMap<u64, (i64, Arc<str>, Packed)>,
    /// The last sequence number.
    last: u64,
}

impl Following<'_> {
    fn row(&mut self, row: &Row) -> Result<(), sqlx::Error> {
        let (sequence, stream) = (row.try_get::<i64>(0)?.cast_unsigned(), row.try_get::<i64>(1)?);
        let (rollout, bytes): (Option<&str>, &[u8]) = (row.try_get(5)?, row.try_get(7)?);
        match row.try_get::<i64>(2)? {
            0 => self.pack(stream, rollout.unwrap_or_default(), bytes),
            until @ ..0 => self.end(stream, sequence, until.unsigned_abs(), bytes),
            position => {
                self.packed_until(sequence.saturating_sub(1));
                let (position, at) = (position.cast_unsigned(), row.try_get::<i64>(3)?.cast_unsigned());
                let (by, event) = (row.try_get(4)?, row.try_get(6)?);
                self.event(stream, &Fields { sequence, position, at, by, rollout, event }, Some(bytes));
            }
        }
        Ok(())
    }

    fn chain(&mut self, stream: i64) -> &mut Chain {
        self.chains.entry(stream).or_insert_with(|| Chain {
            name: format!("stream {stream}, which is not listed"),
            listed: None,
            position: 0,
            hash: Hash::default(),
            packed: 0,
            open: false,
        })
    }

    fn found(&mut self, stream: i64, position: u64, why: String) {
        let stream = self.chain(stream).name.clone();
        self.broken.push(Broken { stream, position, why });
    }

    /// Opens a pack: its events come in their turn.
    fn pack(&mut self, stream: i64, rollout: &str, bytes: &[u8]) {
        let events = match pack::unpack(bytes) {
            Ok(events) => events,
            Err(why) => {
                return self.found(stream, 0, format!("what was packed of rollout {rollout} cannot be read: {why}"));
            }
        };
        let rollout: Arc<str> = rollout.into();
        for event in events {
            let (sequence, position) = (event.sequence, event.position);
            if let Some((stream, ..)) = self.waiting.insert(sequence, (stream, rollout.clone(), event)) {
                self.found(stream, position, format!("sequence number {sequence} is packed twice"));
            }
        }
    }

    /// Follows what is packed up to a sequence number.
    fn packed_until(&mut self, sequence: u64) {
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() <= sequence) {
            let (stream, rollout, Packed { sequence, position, at, by, event }) = first.remove();
            let fields = Fields { sequence, position, at, by: &by, rollout: Some(&rollout), event: &event };
            self.event(stream, &fields, None);
        }
    }

    /// Compares the hash that is kept of the end of what is packed with what it was computed to be.
    fn end(&mut self, stream: i64, sequence: u64, until: u64, hash: &[u8]) {
        self.packed_until(sequence);
        let chain = self.chain(stream);
        let why = match (chain.position == until && chain.open, chain.hash == hash) {
            (true, true) => None,
            (true, false) => {
                Some(format!("what is packed was changed: its hash is {}, {} is kept", hex(&chain.hash), hex(hash)))
            }
            (false, _) => Some(format!("events up to {until} were packed, and are not there")),
        };
        chain.open = false;
        chain.hash = hash.try_into().unwrap_or(chain.hash);
        if let Some(why) = why {
            self.found(stream, until, why);
        }
    }

    /// Follows one event; of one that is packed no hash is stored.
    fn event(&mut self, stream: i64, fields: &Fields<'_>, stored: Option<&[u8]>) {
        let before = std::mem::replace(&mut self.last, fields.sequence);
        let chain = self.chain(stream);
        if stored.is_none() {
            chain.packed += 1;
        } else if std::mem::take(&mut chain.open) {
            let (position, why) =
                (chain.position, "it is packed, and the hash that was kept of it is not there".to_owned());
            self.found(stream, position, why);
        }
        let chain = self.chain(stream);
        chain.open = stored.is_none();
        let (name, hash) = (chain.name.clone(), chain::link(&chain.hash, fields));
        follow(fields, (hash, stored), (&name, chain.position, before), self.broken, &mut self.claims);
        let chain = self.chain(stream);
        chain.position = fields.position;
        // Goes on from what is stored, so that one change is reported once and not for every event after it.
        chain.hash = stored.and_then(|stored| stored.try_into().ok()).unwrap_or(hash);
        let hash = chain.hash;
        self.expected.event(&name, fields.position, stored.unwrap_or(&hash), self.broken);
    }
}

/// Checks one event: its numbers, its hash, and what can be computed of what it says.
fn follow(
    Fields { sequence, position, rollout, event, .. }: &Fields<'_>,
    (hash, stored): (Hash, Option<&[u8]>),
    (name, after, before): (&str, u64, u64),
    broken: &mut Vec<Broken>,
    claims: &mut HashMap<String, Vec<Claim>>,
) {
    let position = *position;
    let mut found = |position: u64, why: String| broken.push(Broken { stream: name.to_owned(), position, why });
    if *sequence != before.saturating_add(1) {
        found(position, format!("sequence number {sequence} follows {before}: what was between is missing"));
    }
    match after.saturating_add(1) {
        next if next == position => {}
        next if next < position => found(next, format!("event {next} is missing: {position} follows {}", next - 1)),
        next => found(position, format!("event {position} is out of order: {next} should follow")),
    }
    if let Some(stored) = stored.filter(|stored| hash != *stored) {
        let (hash, stored) = (hex(&hash), hex(stored));
        found(position, format!("the event or the one before it was changed: its hash is {hash}, {stored} is stored"));
    }
    match read::event(event) {
        Err(error) => found(position, format!("the event cannot be read: {error}")),
        Ok(Event::VerdictReached { batches: Some(batches), .. }) => match rollout {
            None => found(position, "the verdict names evidence but no rollout".to_owned()),
            Some(rollout) => {
                let claim = Claim { stream: name.to_owned(), position, batches };
                claims.entry((*rollout).to_owned()).or_default().push(claim);
            }
        },
        Ok(Event::Reverted { cause: Some(Cause::Guard { cut, recomputed, .. }), .. }) => {
            if cut.finding.holds() != recomputed {
                let (was, is) = if recomputed { ("did", "do not") } else { ("did not", "do") };
                let why = format!("the guard's counts {was} give its numbers when it was written, but {is} now");
                found(position, why);
            }
        }
        Ok(_) => {}
    }
}

/// Whether every chain ends where it should; how many streams and events there are, and how many of these are packed.
fn ends(chains: &BTreeMap<i64, Chain>, broken: &mut Vec<Broken>) -> (u64, u64, u64) {
    let (mut events, mut packed) = (0_u64, 0);
    for chain in chains.values() {
        let mut found = |position: u64, why: String| broken.push(Broken { stream: chain.name.clone(), position, why });
        events = chain.position.saturating_add(events);
        packed += chain.packed;
        if chain.open {
            found(chain.position, "the last event is packed, and the hash that was kept of it is not there".to_owned());
        }
        match &chain.listed {
            None => found(0, "it has events but is not listed".to_owned()),
            Some((count, _)) if *count != chain.position => {
                let (last, next) = (chain.position, chain.position.saturating_add(1));
                found(next, format!("the stream ends at event {last}, but {count} were appended"));
            }
            Some((_, head)) if head.as_slice() != chain.hash => {
                found(chain.position, "the last event is not the one that was appended last".to_owned());
            }
            Some(_) => {}
        }
    }
    (chains.len() as u64, events, packed)
}

/// Digests all evidence again and compares it with what verdicts name; how many batches there are.
async fn proofs(
    snapshot: &mut Snapshot,
    mut claims: HashMap<String, Vec<Claim>>,
    gone: &Gone,
    broken: &mut Vec<Broken>,
) -> Result<u64, sqlx::Error> {
    let mut count = 0;
    let mut proof: Option<Proof> = None;
    let mut rows =
        sql("SELECT o.rollout, e.number, e.batch, e.digest FROM evidence e JOIN observed o ON o.id = e.rollout \
         ORDER BY e.rollout, e.number")
        .fetch(snapshot);
    while let Some(row) = rows.try_next().await? {
        count += 1;
        let rollout: &str = row.try_get(0)?;
        if proof.as_ref().is_none_or(|proof| proof.rollout != rollout) {
            let next = Proof::new(rollout, claims.remove(rollout).unwrap_or_default(), gone.of(rollout));
            if let Some(done) = proof.replace(next) {
                done.end(broken);
            }
        }
        if let Some(proof) = &mut proof {
            proof.batch(row.try_get::<i64>(1)?.cast_unsigned(), row.try_get(2)?, row.try_get(3)?, broken);
        }
    }
    if let Some(done) = proof {
        done.end(broken);
    }
    for (rollout, claims) in claims {
        Proof::new(&rollout, claims, gone.of(&rollout)).end(broken);
    }
    Ok(count)
}

/// The evidence of one rollout as far as it was read.
pub(super) struct Proof {
    rollout: String,
    /// What there was before it was let go; what is left of it is being removed.
    gone: Option<Batches>,
    last: u64,
    /// Sorted by where the evidence ends, latest first: the next to be compared is the last one.
    claims: Vec<Claim>,
    /// One running digest for each place where a claim begins.
    running: BTreeMap<u64, BatchesDigest>,
}

impl Proof {
    pub(super) fn new(rollout: &str, mut claims: Vec<Claim>, gone: Option<&Batches>) -> Self {
        claims.sort_by_key(|claim| std::cmp::Reverse(claim.batches.last));
        let running = claims.iter().map(|claim| (claim.batches.first, BatchesDigest::new())).collect();
        Self { rollout: rollout.to_owned(), gone: gone.cloned(), last: 0, claims, running }
    }

    pub(super) fn batch(&mut self, number: u64, bytes: &str, stored: &[u8], broken: &mut Vec<Broken>) {
        let stream = format!("evidence of rollout {}", self.rollout);
        let mut found = |position: u64, why: String| broken.push(Broken { stream: stream.clone(), position, why });
        if let Some(gone) = &self.gone {
            if number > gone.last {
                found(number, format!("batch {number} came after all of it, up to {}, was let go", gone.last));
            }
        } else if number != self.last + 1 {
            found(self.last + 1, format!("batch {} is missing: {number} follows {}", self.last + 1, self.last));
        }
        let digest = evidence::digest(&self.rollout, number, bytes);
        if digest != stored {
            let (digest, stored) = (hex(&digest), hex(stored));
            found(number, format!("the batch was changed: its digest is {digest}, {stored} is stored"));
        } else if let Err(why) = evidence::read(&self.rollout, number, bytes) {
            found(number, format!("the batch cannot be read: {why}"));
        }
        self.last = number;
        if self.gone.is_some() {
            return;
        }
        for (_, running) in self.running.range_mut(..=number) {
            running.add_digest(&self.rollout, number, &digest);
        }
        while self.claims.last().is_some_and(|claim| claim.batches.last <= number)
            && let Some(claim) = self.claims.pop()
        {
            let found = self.running.get(&claim.batches.first).and_then(BatchesDigest::batches);
            self.compare(&claim, found, broken);
        }
        // A digest that no claim needs any more is not carried on.
        if self.running.len() > 1 {
            let claims = &self.claims;
            self.running.retain(|first, _| claims.iter().any(|claim| claim.batches.first == *first));
        }
    }

    fn compare(&self, claim: &Claim, found: Option<Batches>, broken: &mut Vec<Broken>) {
        if found.as_ref() == Some(&claim.batches) {
            return;
        }
        let Batches { first, last, digest } = &claim.batches;
        let stored = found.map_or_else(|| "missing".to_owned(), |found| format!("of digest {}", found.digest));
        let why = format!(
            "the verdict rests on batches {first} to {last} of rollout {} with digest {digest}, but what is stored is {stored}",
            self.rollout
        );
        broken.push(Broken { stream: claim.stream.clone(), position: claim.position, why });
    }

    /// What is still claimed was not there, unless it was let go: it held then.
    pub(super) fn end(self, broken: &mut Vec<Broken>) {
        for claim in &self.claims {
            let Batches { first, last, .. } = claim.batches;
            match &self.gone {
                Some(gone) if (first, last) == (gone.first, gone.last) => {
                    self.compare(claim, Some(gone.clone()), broken);
                }
                Some(gone) if gone.first <= first && first <= last && last <= gone.last => {}
                _ => self.compare(claim, None, broken),
            }
        }
    }
}
