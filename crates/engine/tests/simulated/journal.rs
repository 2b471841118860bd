//! A journal in memory, with the chains of a real one.

use davy_core::{RolloutId, ServiceKey};
use davy_ports::{Batch, Boxed, Broken, Entry, Journal, JournalError, Record, Streamed, Verified};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

/// Kept by the world, whoever writes to it.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    records: Vec<Record>,
    streams: HashMap<ServiceKey, Vec<usize>>,
    rollouts: HashMap<RolloutId, Vec<usize>>,
    evidence: HashMap<RolloutId, BTreeMap<u64, Batch>>,
    /// So many events were read by who reads those of all streams.
    read_of_all: usize,
    /// So many read evidence now, and so many at most did at once.
    readers: (usize, usize),
}

impl Kept {
    fn pick(&self, indices: Option<&Vec<usize>>) -> Vec<Record> {
        indices.into_iter().flatten().map(|index| self.records[*index].clone()).collect()
    }
}

impl Memory {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything, in order.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.kept().records.clone()
    }

    /// So many events were read by who reads those of all streams.
    #[cfg(test)]
    pub(crate) fn read_of_all(&self) -> usize {
        self.kept().read_of_all
    }

    /// So many at most read evidence at once.
    #[cfg(test)]
    pub(crate) fn readers_at_once(&self) -> usize {
        self.kept().readers.1
    }

    /// Writes without waiting.
    pub(crate) fn write(
        &self,
        stream: &ServiceKey,
        expected: u64,
        entries: &[Entry],
    ) -> Result<Vec<Record>, JournalError> {
        for entry in entries {
            let text = serde_json::to_string(&entry.event).unwrap_or_default();
            if serde_json::from_str::<davy_core::rollout::Event>(&text).ok().as_ref() != Some(&entry.event) {
                return Err(JournalError::Damaged { why: "an event could not be read again".to_owned() });
            }
        }
        let mut kept = self.kept();
        let stands_at = kept.streams.get(stream).map_or(0, Vec::len) as u64;
        if stands_at != expected {
            return Err(JournalError::Conflict { expected, stands_at });
        }
        let mut appended = Vec::new();
        for entry in entries {
            let index = kept.records.len();
            let own = kept.streams.entry(stream.clone()).or_default();
            let before = own.last().copied();
            own.push(index);
            let (sequence, position) = (index as u64 + 1, own.len() as u64);
            let before = before.map(|index| kept.records[index].hash.clone()).unwrap_or_default();
            let hash = link(&before, sequence, stream, position, entry);
            if let Some(rollout) = &entry.rollout {
                kept.rollouts.entry(rollout.clone()).or_default().push(index);
            }
            let record = Record { sequence, stream: stream.clone(), position, entry: entry.clone(), hash };
            kept.records.push(record.clone());
            appended.push(record);
        }
        Ok(appended)
    }

    /// Stores without waiting.
    pub(crate) fn keep(&self, batch: &Batch) -> Result<(), JournalError> {
        let mut kept = self.kept();
        let known = kept.evidence.entry(batch.rollout.clone()).or_default().entry(batch.number);
        match *known.or_insert_with(|| batch.clone()) == *batch {
            true => Ok(()),
            false => Err(JournalError::Damaged { why: format!("batch {} is another one", batch.number) }),
        }
    }
}

/// Somebody who reads evidence.
struct Reader<'a>(&'a Memory);

impl<'a> Reader<'a> {
    fn begin(memory: &'a Memory) -> Self {
        let mut kept = memory.kept();
        kept.readers.0 += 1;
        kept.readers.1 = kept.readers.1.max(kept.readers.0);
        Self(memory)
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.0.kept().readers.0 -= 1;
    }
}

fn link(before: &str, sequence: u64, stream: &ServiceKey, position: u64, entry: &Entry) -> String {
    let text = serde_json::to_string(&(before, sequence, stream, position, entry)).unwrap_or_default();
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Journal for Memory {
    fn append<'a>(
        &'a self,
        stream: &'a ServiceKey,
        expected: u64,
        entries: &'a [Entry],
    ) -> Boxed<'a, Result<Vec<Record>, JournalError>> {
        Box::pin(async move { self.write(stream, expected, entries) })
    }

    fn stream<'a>(&'a self, stream: &'a ServiceKey, after: u64) -> Boxed<'a, Result<Vec<Record>, JournalError>> {
        Box::pin(async move {
            let kept = self.kept();
            let mut records = kept.pick(kept.streams.get(stream));
            records.drain(..records.len().min(usize::try_from(after).unwrap_or(usize::MAX)));
            Ok(records)
        })
    }

    fn rollout<'a>(&'a self, rollout: &'a RolloutId) -> Boxed<'a, Result<Vec<Record>, JournalError>> {
        Box::pin(async move {
            let kept = self.kept();
            Ok(kept.pick(kept.rollouts.get(rollout)))
        })
    }

    fn after(&self, sequence: u64, limit: usize) -> Boxed<'_, Result<Vec<Record>, JournalError>> {
        Box::pin(async move {
            let mut kept = self.kept();
            let from = usize::try_from(sequence).unwrap_or(usize::MAX).min(kept.records.len());
            let page: Vec<Record> = kept.records[from..].iter().take(limit).cloned().collect();
            kept.read_of_all += page.len();
            Ok(page)
        })
    }

    fn since(&self, sequence: u64) -> Streamed<'_, Result<Record, JournalError>> {
        Box::pin(stream::once(self.after(sequence, usize::MAX)).map_ok(|page| stream::iter(page).map(Ok)).try_flatten())
    }

    fn streams(&self) -> Boxed<'_, Result<Vec<ServiceKey>, JournalError>> {
        Box::pin(async move {
            let mut streams: Vec<ServiceKey> = self.kept().streams.keys().cloned().collect();
            streams.sort();
            Ok(streams)
        })
    }

    fn store<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Result<(), JournalError>> {
        Box::pin(async move { self.keep(batch) })
    }

    fn evidence<'a>(&'a self, rollout: &'a RolloutId) -> Boxed<'a, Result<Vec<Batch>, JournalError>> {
        Box::pin(async move {
            let _reader = Reader::begin(self);
            tokio::task::yield_now().await;
            let kept = self.kept();
            Ok(kept.evidence.get(rollout).into_iter().flat_map(BTreeMap::values).cloned().collect())
        })
    }

    fn verify(&self) -> Boxed<'_, Result<Verified, JournalError>> {
        Box::pin(async move {
            let kept = self.kept();
            let mut broken = Vec::new();
            for (stream, indices) in &kept.streams {
                let mut before = String::new();
                for (at, index) in indices.iter().enumerate() {
                    let record = &kept.records[*index];
                    let position = at as u64 + 1;
                    if record.hash != link(&before, record.sequence, stream, position, &record.entry) {
                        let (stream, why) = (stream.to_string(), "the chain does not hold".to_owned());
                        broken.push(Broken { stream, position, why });
                    }
                    before.clone_from(&record.hash);
                }
            }
            Ok(Verified {
                streams: kept.streams.len() as u64,
                events: kept.records.len() as u64,
                packed: 0,
                batches: kept.evidence.values().map(|batches| batches.len() as u64).sum(),
                let_go: 0,
                deeds: 0,
                checkpoints: 0,
                broken,
            })
        })
    }
}

#[tokio::test]
async fn it_keeps_the_laws_of_a_journal() {
    davy_ports::conformance::journal(async || Memory::default()).await;
}
