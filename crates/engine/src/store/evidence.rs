//! How a batch of evidence is written and digested.
//!
//! A batch is one line of JSON made of lists (names of fields would be half of it), led by the number of its format.
//! Histograms stay sparse: bucket and count in turn. The digest covers these bytes, so a verdict's evidence can be
//! recomputed as long as the row is there.

use super::chain::{Hash, Hasher, hex};
use davy_core::{
    Cell, EnvironmentName, Failures, Generation, InstanceId, ReleaseId, Role, RolloutId, ServiceKey, ServiceName,
    Timestamp, Weight, Window, rollout::Batches,
};
use davy_ports::Batch;

const FORMAT: u8 = 1;
const BATCH: &[u8] = b"davy journal 1, batch";
const BATCHES: &[u8] = b"davy journal 1, batches";

type Written = (u8, Generation, Weight, Timestamp, bool, Option<String>, WrittenWindow);
type WrittenWindow =
    (EnvironmentName, ServiceName, String, u64, Generation, Weight, Timestamp, Timestamp, u64, Vec<WrittenCell>);
/// The failures are four kinds, then those that clients repeated if there are any.
type WrittenCell = (ReleaseId, Role, InstanceId, u64, u64, Vec<u64>, u64, Vec<u64>);

/// The bytes that are stored and digested.
pub(super) fn write(batch: &Batch) -> Result<String, serde_json::Error> {
    // Taken apart by name: a new field does not compile until it is stored.
    let Batch { rollout: _, number: _, generation, weight, origin, window, evidence, blind } = batch.clone();
    let Window { key, boot, sequence, generation: epoch, weight: configured, from, to, cells, unserved } = window;
    let ServiceKey { service, environment } = key;
    let cells: Vec<WrittenCell> = cells.into_iter().map(write_cell).collect();
    let window = (environment, service, boot, sequence, epoch, configured, from, to, unserved, cells);
    let written: Written = (FORMAT, generation, weight, origin, evidence, blind, window);
    serde_json::to_string(&written)
}

fn write_cell(cell: Cell) -> WrittenCell {
    let Cell { release, role, instance, routed, answered, failures, repeated, client_gone, latency } = cell;
    let Failures { status, timeout, refused, reset } = failures;
    let latency = latency.into_iter().flat_map(|(bucket, count)| [u64::from(bucket), count]).collect();
    let mut failures = vec![status, timeout, refused, reset];
    failures.extend((repeated > 0).then_some(repeated));
    (release, role, instance, routed, answered, failures, client_gone, latency)
}

/// What was written, or why it cannot be read.
pub(super) fn read(rollout: &str, number: u64, bytes: &str) -> Result<Batch, String> {
    let format = bytes.trim_start_matches('[').split(',').next().unwrap_or_default();
    if format != "1" {
        return Err(format!("it is written in format {format:?}, which this version does not know"));
    }
    let (_, generation, weight, origin, evidence, blind, window): Written =
        serde_json::from_str(bytes).map_err(|error| error.to_string())?;
    let (environment, service, boot, sequence, epoch, configured, from, to, unserved, cells) = window;
    let cells = cells.into_iter().map(read_cell).collect::<Result<_, _>>()?;
    let key = ServiceKey { service, environment };
    let window = Window { key, boot, sequence, generation: epoch, weight: configured, from, to, cells, unserved };
    Ok(Batch { rollout: RolloutId::new(rollout), number, generation, weight, origin, window, evidence, blind })
}

fn read_cell(cell: WrittenCell) -> Result<Cell, String> {
    let (release, role, instance, routed, answered, failed, client_gone, flat) = cell;
    let (failures, repeated) = match *failed {
        [status, timeout, refused, reset] => (Failures { status, timeout, refused, reset }, 0),
        [status, timeout, refused, reset, repeated] => (Failures { status, timeout, refused, reset }, repeated),
        _ => return Err("failures are not of four kinds".to_owned()),
    };
    let mut latency = Vec::with_capacity(flat.len() / 2);
    for pair in flat.chunks(2) {
        match *pair {
            [bucket, count] => latency.push((u8::try_from(bucket).map_err(|error| error.to_string())?, count)),
            _ => return Err("a histogram has a bucket without a count".to_owned()),
        }
    }
    Ok(Cell { release, role, instance, routed, answered, failures, repeated, client_gone, latency })
}

/// The digest of one batch as it is stored.
pub(super) fn digest(rollout: &str, number: u64, bytes: &str) -> Hash {
    let mut hasher = Hasher::new(BATCH);
    hasher.bytes(rollout.as_bytes());
    hasher.number(number);
    hasher.bytes(bytes.as_bytes());
    hasher.finish()
}

/// The digest over the batches that a verdict rests on, kept while they come: adding one costs the same however many
/// there were before.
#[derive(Clone, Default)]
pub struct BatchesDigest {
    begun: Option<Running>,
}

#[derive(Clone)]
struct Running {
    first: u64,
    last: u64,
    hasher: Hasher,
}

impl BatchesDigest {
    /// Over nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next batch. They are to be added in order, without gaps, all of one rollout.
    pub fn add(&mut self, batch: &Batch) {
        let bytes = write(batch).unwrap_or_default();
        let rollout = batch.rollout.as_str();
        self.add_digest(rollout, batch.number, &digest(rollout, batch.number, &bytes));
    }

    pub(super) fn add_digest(&mut self, rollout: &str, number: u64, digest: &Hash) {
        let running = self.begun.get_or_insert_with(|| {
            let mut hasher = Hasher::new(BATCHES);
            hasher.bytes(rollout.as_bytes());
            hasher.number(number);
            Running { first: number, last: number, hasher }
        });
        running.last = number;
        running.hasher.bytes(digest);
    }

    /// What a verdict on them names; none when there are none.
    #[must_use]
    pub fn batches(&self) -> Option<Batches> {
        let Running { first, last, hasher } = self.begun.clone()?;
        Some(Batches { first, last, digest: hex(&hasher.finish()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored bytes are for ever: what format 1 looks like cannot change any more.
    #[test]
    fn format_1_is_frozen() {
        let text = r#"[1,7,500,1000,true,null,["production","logo","b",3,7,500,1000,2000,0,[["r","canary","i",10,9,[1,2,3,0],1,[0,5,117,4]]]]]"#;
        let batch = read("rollout", 12, text).unwrap();
        assert_eq!(batch.window.cells[0].latency, [(0, 5), (117, 4)]);
        assert_eq!(batch.window.cells[0].failures, Failures { status: 1, timeout: 2, refused: 3, reset: 0 });
        assert_eq!(write(&batch).unwrap(), text);
        assert_eq!(
            hex(&digest("rollout", 12, text)),
            "138d040a5c884fb3282265572a39916af12235b89201de9e933ce389b8684a27"
        );
        let mut all = BatchesDigest::new();
        all.add(&batch);
        let named = all.batches().unwrap();
        assert_eq!((named.first, named.last), (12, 12));
        assert_eq!(named.digest, "defb271b81e8845512038502d71b7101d685a84e49d67e5c5cde7776aa07d2b7");
    }

    #[test]
    fn another_format_is_refused() {
        assert!(read("rollout", 1, "[2,{}]").unwrap_err().contains("format \"2\""));
        assert!(read("rollout", 1, "").is_err());
        assert!(read("rollout", 1, "[1,7").is_err());
    }
}
