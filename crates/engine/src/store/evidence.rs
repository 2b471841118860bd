//! How a batch of evidence is written and digested.
//!
//! A batch is one line of JSON made of lists (names of fields would be half of it), led by the number of its format.
//! Histograms stay sparse: bucket and count in turn. The digest covers these bytes, so a verdict's evidence can be
//! recomputed as long as the row is there.

use super::chain::{Hash, Hasher, hex};
use davy_core::{
    Cell, Cohort, EnvironmentName, Failures, Generation, InstanceId, ReleaseId, Role, RolloutId, ServiceKey,
    ServiceName, Timestamp, Weight, Window, rollout::Batches,
};
use davy_ports::{Batch, Interval, Measured, Tries};

const FORMAT: u8 = 1;
/// The same, and what was read of metrics after it. Batches without any stay in the first format.
const WITH_METRICS: u8 = 2;
/// The same, and after it what a window tells besides its cells.
const WITH_COHORTS: u8 = 3;
const BATCH: &[u8] = b"davy journal 1, batch";
const BATCHES: &[u8] = b"davy journal 1, batches";

type Written = (u8, Generation, Weight, Timestamp, bool, Option<String>, WrittenWindow);
type WrittenWindow =
    (EnvironmentName, ServiceName, String, u64, Generation, Weight, Timestamp, Timestamp, u64, Vec<WrittenCell>);
/// The failures are four kinds, then those that clients repeated and the slow answers, as far as there are any.
type WrittenCell = (ReleaseId, Role, InstanceId, u64, u64, Vec<u64>, u64, Vec<u64>);

type WrittenWithMetrics = (u8, Generation, Weight, Timestamp, bool, Option<String>, WrittenWindow, Vec<WrittenMetric>);
/// Which one, and why nothing is known of it; else epoch, weight, from, to, the canary's tries and failures, and stable's.
type WrittenMetric = (u8, Option<String>, Vec<u64>);

type WrittenWithCohorts = (
    u8,
    Generation,
    Weight,
    Timestamp,
    bool,
    Option<String>,
    WrittenWindow,
    Vec<WrittenMetric>,
    Vec<WrittenCohort>,
    bool,
);
/// Number, whether the canary's, then routed, heard, failed, gone, and the histogram.
type WrittenCohort = (u64, bool, [u64; 4], Vec<u64>);

/// The bytes that are stored and digested.
pub(crate) fn write(batch: &Batch) -> Result<String, serde_json::Error> {
    // Taken apart by name: a new field does not compile until it is stored.
    let Batch { rollout: _, number: _, generation, weight, origin, window, evidence, blind, metrics } = batch.clone();
    let Window {
        key,
        boot,
        sequence,
        generation: epoch,
        weight: configured,
        from,
        to,
        cells,
        unserved,
        cohorts,
        clients_forgotten,
    } = window;
    let ServiceKey { service, environment } = key;
    let cells: Vec<WrittenCell> = cells.into_iter().map(write_cell).collect();
    let window = (environment, service, boot, sequence, epoch, configured, from, to, unserved, cells);
    if !cohorts.is_empty() || clients_forgotten {
        let metrics = metrics.into_iter().map(write_metric).collect();
        let cohorts = cohorts.into_iter().map(write_cohort).collect();
        let head = (WITH_COHORTS, generation, weight, origin, evidence, blind, window);
        let (format, generation, weight, origin, evidence, blind, window) = head;
        let written: WrittenWithCohorts =
            (format, generation, weight, origin, evidence, blind, window, metrics, cohorts, clients_forgotten);
        return serde_json::to_string(&written);
    }
    if metrics.is_empty() {
        let written: Written = (FORMAT, generation, weight, origin, evidence, blind, window);
        return serde_json::to_string(&written);
    }
    let metrics = metrics.into_iter().map(write_metric).collect();
    let written: WrittenWithMetrics = (WITH_METRICS, generation, weight, origin, evidence, blind, window, metrics);
    serde_json::to_string(&written)
}

fn write_metric(Measured { metric, seen }: Measured) -> WrittenMetric {
    match seen {
        Err(why) => (metric, Some(why), Vec::new()),
        Ok(Interval { generation, weight, from, to, canary, stable }) => {
            let (epoch, weight) = (generation.0, u64::from(weight.basis_points()));
            (metric, None, vec![epoch, weight, from.0, to.0, canary.of, canary.failed, stable.of, stable.failed])
        }
    }
}

fn read_metric((metric, why, counts): WrittenMetric) -> Result<Measured, String> {
    let seen = match (why, counts.as_slice()) {
        (Some(why), []) => Err(why),
        (None, &[epoch, weight, from, to, canary_of, canary_failed, stable_of, stable_failed]) => Ok(Interval {
            generation: Generation(epoch),
            weight: u16::try_from(weight)
                .ok()
                .and_then(|weight| Weight::new(weight).ok())
                .ok_or("it has no such weight")?,
            from: Timestamp(from),
            to: Timestamp(to),
            canary: Tries { of: canary_of, failed: canary_failed },
            stable: Tries { of: stable_of, failed: stable_failed },
        }),
        _ => return Err("a metric has not eight numbers".to_owned()),
    };
    Ok(Measured { metric, seen })
}

fn write_cell(cell: Cell) -> WrittenCell {
    let Cell { release, role, instance, routed, answered, failures, repeated, client_gone, slow, latency } = cell;
    let Failures { status, timeout, refused, reset } = failures;
    let latency = flat(latency);
    let mut failures = vec![status, timeout, refused, reset];
    failures.extend((repeated > 0 || slow > 0).then_some(repeated));
    failures.extend((slow > 0).then_some(slow));
    (release, role, instance, routed, answered, failures, client_gone, latency)
}

fn write_cohort(Cohort { number, canary, routed, heard, failed, gone, latency }: Cohort) -> WrittenCohort {
    (number, canary, [routed, heard, failed, gone], flat(latency))
}

fn read_cohort((number, canary, [routed, heard, failed, gone], latency): WrittenCohort) -> Result<Cohort, String> {
    Ok(Cohort { number, canary, routed, heard, failed, gone, latency: pairs(&latency)? })
}

/// Bucket and count in turn.
fn flat(latency: Vec<(u8, u64)>) -> Vec<u64> {
    latency.into_iter().flat_map(|(bucket, count)| [u64::from(bucket), count]).collect()
}

fn pairs(flat: &[u64]) -> Result<Vec<(u8, u64)>, String> {
    let mut latency = Vec::with_capacity(flat.len() / 2);
    for pair in flat.chunks(2) {
        match *pair {
            [bucket, count] => latency.push((u8::try_from(bucket).map_err(|error| error.to_string())?, count)),
            _ => return Err("a histogram has a bucket without a count".to_owned()),
        }
    }
    Ok(latency)
}

/// What was written, or why it cannot be read.
pub(crate) fn read(rollout: &str, number: u64, bytes: &str) -> Result<Batch, String> {
    let format = bytes.trim_start_matches('[').split(',').next().unwrap_or_default();
    let damaged = |error: serde_json::Error| error.to_string();
    let none = (Vec::new(), false);
    let (generation, weight, origin, evidence, blind, window, metrics, (cohorts, clients_forgotten)) = match format {
        "1" => {
            let written: Written = serde_json::from_str(bytes).map_err(damaged)?;
            let (_, generation, weight, origin, evidence, blind, window) = written;
            (generation, weight, origin, evidence, blind, window, Vec::new(), none)
        }
        "2" => {
            let written: WrittenWithMetrics = serde_json::from_str(bytes).map_err(damaged)?;
            let (_, generation, weight, origin, evidence, blind, window, metrics) = written;
            (generation, weight, origin, evidence, blind, window, metrics, none)
        }
        "3" => {
            let written: WrittenWithCohorts = serde_json::from_str(bytes).map_err(damaged)?;
            let (_, generation, weight, origin, evidence, blind, window, metrics, cohorts, forgotten) = written;
            (generation, weight, origin, evidence, blind, window, metrics, (cohorts, forgotten))
        }
        _ => return Err(format!("it is written in format {format:?}, which this version does not know")),
    };
    let metrics = metrics.into_iter().map(read_metric).collect::<Result<_, _>>()?;
    let (environment, service, boot, sequence, epoch, configured, from, to, unserved, cells) = window;
    let cells = cells.into_iter().map(read_cell).collect::<Result<_, _>>()?;
    let key = ServiceKey { service, environment };
    let cohorts = cohorts.into_iter().map(read_cohort).collect::<Result<_, _>>()?;
    let window = Window {
        key,
        boot,
        sequence,
        generation: epoch,
        weight: configured,
        from,
        to,
        cells,
        unserved,
        cohorts,
        clients_forgotten,
    };
    let rollout = RolloutId::new(rollout);
    Ok(Batch { rollout, number, generation, weight, origin, window, evidence, blind, metrics })
}

fn read_cell(cell: WrittenCell) -> Result<Cell, String> {
    let (release, role, instance, routed, answered, failed, client_gone, flat) = cell;
    let [status, timeout, refused, reset, repeated, slow] = match *failed {
        [status, timeout, refused, reset] => [status, timeout, refused, reset, 0, 0],
        [status, timeout, refused, reset, repeated] => [status, timeout, refused, reset, repeated, 0],
        [status, timeout, refused, reset, repeated, slow] => [status, timeout, refused, reset, repeated, slow],
        _ => return Err("failures are not of four kinds".to_owned()),
    };
    let failures = Failures { status, timeout, refused, reset };
    let latency = pairs(&flat)?;
    Ok(Cell { release, role, instance, routed, answered, failures, repeated, client_gone, slow, latency })
}

/// The digest of one batch as it is stored.
pub(crate) fn digest(rollout: &str, number: u64, bytes: &str) -> Hash {
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
    fn format_2_is_frozen() {
        let text = r#"[2,7,500,1000,true,null,["production","logo","b",3,7,500,1000,2000,0,[]],[[0,null,[7,500,1000,6000,40,3,900,1]],[1,"it is gone",[]]]]"#;
        let batch = read("rollout", 12, text).unwrap();
        assert_eq!(write(&batch).unwrap(), text);
        let [Measured { seen: Ok(seen), .. }, Measured { metric: 1, seen: Err(why) }] = batch.metrics.as_slice() else {
            panic!("{batch:?}")
        };
        assert_eq!((seen.generation, seen.canary, seen.stable.failed), (Generation(7), Tries { of: 40, failed: 3 }, 1));
        assert_eq!(why, "it is gone");
        assert!(read("rollout", 12, &text.replace("40,3,", "40,")).is_err());
    }

    #[test]
    fn format_3_is_frozen() {
        let text = r#"[3,7,500,1000,true,null,["production","logo","b",3,7,500,1000,2000,0,[]],[],[[12,true,[10,9,2,1],[0,5,117,2]],[12,false,[90,90,0,0],[]]],true]"#;
        let batch = read("rollout", 12, text).unwrap();
        assert_eq!(write(&batch).unwrap(), text);
        let Window { cohorts, clients_forgotten, .. } = &batch.window;
        assert!(*clients_forgotten && cohorts[0].canary && cohorts[1].routed == 90);
        assert_eq!((cohorts[0].failed, &cohorts[0].latency[..]), (2, &[(0, 5), (117, 2)][..]));
        assert!(read("rollout", 12, &text.replace("[0,5,117,2]", "[0,5,117]")).is_err());
    }

    #[test]
    fn slow_answers_come_last_and_only_where_there_are_any() {
        for (counts, failed) in [((0, 0), "[1,0,0,0]"), ((1, 0), "[1,0,0,0,1]"), ((0, 3), "[1,0,0,0,0,3]")] {
            let text = format!(
                r#"[1,7,500,1000,true,null,["production","logo","b",3,7,500,1000,2000,0,[["r","canary","i",10,9,{failed},1,[]]]]]"#
            );
            let batch = read("rollout", 1, &text).unwrap();
            let cell = &batch.window.cells[0];
            assert_eq!((cell.repeated, cell.slow), counts);
            assert_eq!(write(&batch).unwrap(), text);
        }
    }

    #[test]
    fn another_format_is_refused() {
        assert!(read("rollout", 1, "[4,{}]").unwrap_err().contains("format \"4\""));
        assert!(read("rollout", 1, "[2,{}]").is_err());
        assert!(read("rollout", 1, "").is_err());
        assert!(read("rollout", 1, "[1,7").is_err());
    }
}
