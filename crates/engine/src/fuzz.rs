//! What is fuzzed of the engine and is nobody else's to see.

use crate::{Past, evidence::Collector, store};
use davy_core::{
    Timestamp, Window,
    rollout::{Request, Rollout},
};
use davy_judge::Verdict;
use davy_ports::{Batch, Reading, Record};
use std::sync::Arc;

/// A stored batch, as it is read again; why it cannot be.
///
/// # Errors
/// When it is none, or of another format.
///
/// # Panics
/// When it is not read again as it is written.
pub fn batch(rollout: &str, number: u64, text: &str) -> Result<Batch, String> {
    let batch = store::read_batch(rollout, number, text)?;
    let written = store::write_batch(&batch).map_err(|error| error.to_string())?;
    assert_eq!(store::read_batch(rollout, number, &written).as_ref(), Ok(&batch), "{written} is another batch");
    let digest = store::digest(rollout, number, &written);
    assert_ne!(digest, store::digest(rollout, number.wrapping_add(1), &written), "a batch is one of its number");
    Ok(batch)
}

/// What is packed is read as it was, and what is none is refused.
///
/// # Panics
/// When it is not.
pub fn packed(bytes: &[u8]) {
    store::read_and_packed_again(bytes);
}

/// The past that these records tell.
#[must_use]
pub fn past(records: &[Record]) -> Past {
    let mut past = Past::default();
    records.iter().for_each(|record| past.add(record));
    past
}

/// What a reconciler hears while a rollout is under way.
#[derive(Clone, Debug)]
pub enum Heard {
    /// A window of the router.
    Window(Box<Window>),
    /// A reading of a metric.
    Reading(Reading),
    /// Nothing.
    Silence,
}

/// Gathers what is heard, as a reconciler does: the batches to be stored, and the verdict on all of it.
///
/// # Panics
/// When a stored batch does not tell what was judged.
pub fn gather(rollout: &Rollout, heard: impl IntoIterator<Item = (Timestamp, Heard)>) -> (Vec<Batch>, Option<Verdict>) {
    let Request { rollout: id, .. } = &rollout.request;
    let mut collector = Collector::new(rollout);
    let mut batches: Vec<Batch> = Vec::new();
    let mut now = rollout.began;
    let mut take = |collector: &mut Collector, closed: Vec<Batch>| {
        for closed in closed {
            assert_eq!(closed.number, batches.len() as u64 + 1, "batches are numbered without gaps");
            collector.feed(&closed);
            let text = store::write_batch(&closed).unwrap_or_else(|error| panic!("it cannot be stored: {error}"));
            assert_eq!(
                batch(id.as_str(), closed.number, &text).as_ref(),
                Ok(&closed),
                "what is stored is what was judged"
            );
            batches.push(closed);
        }
    };
    for (at, heard) in heard {
        now = now.max(at);
        match heard {
            Heard::Window(window) => {
                let closed = collector.take(*window, now);
                take(&mut collector, closed);
            }
            Heard::Reading(reading) => collector.read(reading),
            Heard::Silence => collector.mind_silence(rollout.began, now),
        }
        let _ = (collector.verdict(), collector.traffic(rollout.base, now));
    }
    let closed = collector.close();
    take(&mut collector, closed);
    let verdict = collector.verdict().map(Arc::unwrap_or_clone);
    let mut again = Collector::new(rollout);
    again.recover(&batches);
    assert_eq!(again.seen(), collector.seen(), "what is stored is counted again");
    (batches, verdict)
}
