//! The laws of a journal.

use crate::{Batch, Entry, Journal, JournalError, Measured, Record};
use davy_core::{
    Actor, Cell, Cohort, EnvironmentName, Failures, Generation, InstanceId, ReleaseId, Role, RolloutId, ServiceKey,
    ServiceName, Timestamp, Weight, Window, rollout::Event,
};
use futures_util::{TryStreamExt as _, future::join_all};

/// Runs every law of a journal, each against a new and empty one from `make`.
///
/// # Panics
/// With the law that does not hold.
pub async fn journal<J: Journal>(make: impl AsyncFn() -> J) {
    empty(&make().await).await;
    appends(&make().await).await;
    conflicts(&make().await).await;
    all_or_none(&make().await).await;
    streams_apart(&make().await).await;
    paging(&make().await).await;
    of_a_rollout(&make().await).await;
    racing(&make().await).await;
    evidence(&make().await).await;
    unreadable(&make().await).await;
}

/// A key of a stream.
fn key(service: &str, environment: &str) -> ServiceKey {
    ServiceKey {
        service: ServiceName::new(service).expect("a name"),
        environment: EnvironmentName::new(environment).expect("a name"),
    }
}

fn applied(number: u64) -> Entry {
    Entry {
        at: Timestamp(1_700_000_000_000 + number),
        by: Actor::new("davy"),
        rollout: (!number.is_multiple_of(3)).then(|| RolloutId::new(format!("rollout-{}", number % 3))),
        event: Event::WeightApplied { generation: Generation(number) },
    }
}

fn entries(numbers: std::ops::Range<u64>) -> Vec<Entry> {
    numbers.map(applied).collect()
}

fn batch(rollout: &str, number: u64, answered: u64) -> Batch {
    let cell = |role, release: &str| Cell {
        release: ReleaseId::new(release),
        role,
        instance: InstanceId::new(format!("{release}-1")),
        routed: answered + 1,
        answered,
        failures: Failures { status: 1, timeout: 0, refused: 2, reset: u64::MAX / 4 },
        repeated: number % 2,
        client_gone: 1,
        slow: 2,
        latency: vec![(0, answered), (40, 1), (117, 3)],
    };
    let latency = vec![(0, answered), (117, 3)];
    let cohorts = std::iter::once(Cohort { number, canary: true, routed: 9, heard: 8, failed: 3, gone: 1, latency });
    Batch {
        rollout: RolloutId::new(rollout),
        number,
        generation: Generation(7),
        weight: Weight::new(500).expect("a weight"),
        origin: Timestamp(1_700_000_000_000),
        window: Window {
            key: key("logo", "production"),
            boot: "boot \"1\"".to_owned(),
            sequence: number * 10,
            generation: Generation(7),
            weight: Weight::new(500).expect("a weight"),
            from: Timestamp(1_700_000_000_000 + number * 1000),
            to: Timestamp(1_700_000_001_000 + number * 1000),
            cells: vec![cell(Role::Stable, "aaa"), cell(Role::Canary, "bbb")],
            unserved: 2,
            cohorts: cohorts.take(usize::from(number.is_multiple_of(2))).collect(),
            clients_forgotten: number.is_multiple_of(4),
        },
        evidence: !number.is_multiple_of(2),
        blind: number.is_multiple_of(3).then(|| "the gateway said nothing, for 2 s".to_owned()),
        metrics: vec![Measured { metric: 1, seen: Err("the server is away".to_owned()) }],
    }
}

async fn holds(journal: &impl Journal, events: u64, batches: u64) {
    let verified = journal.verify().await.expect("a journal can be verified");
    assert_eq!(verified.broken, [], "an untouched journal verifies");
    assert_eq!((verified.events, verified.batches), (events, batches), "all that was appended is counted");
}

fn follows(records: &[Record]) {
    for (index, record) in records.iter().enumerate() {
        assert_eq!(record.position, index as u64 + 1, "positions of a stream begin at 1 and have no gaps");
        assert_eq!(record.hash.len(), 64, "a hash is 64 hexadecimal digits");
    }
    for pair in records.windows(2) {
        assert!(pair[0].sequence < pair[1].sequence, "sequence numbers rise");
        assert_ne!(pair[0].hash, pair[1].hash, "each record has a hash of its own");
    }
}

async fn empty(journal: &impl Journal) {
    let nothing: [Record; 0] = [];
    assert_eq!(journal.stream(&key("logo", "production"), 0).await.expect("an unknown stream is empty"), nothing);
    assert_eq!(journal.after(0, 10).await.expect("nothing happened"), nothing);
    assert_eq!(journal.streams().await.expect("no streams"), []);
    assert_eq!(journal.evidence(&RolloutId::new("none")).await.expect("no evidence"), []);
    holds(journal, 0, 0).await;
}

async fn appends(journal: &impl Journal) {
    let key = key("logo", "production");
    let nothing = journal.append(&key, 0, &[]).await.expect("appending nothing is success");
    assert_eq!(nothing, []);
    let first = journal.append(&key, 0, &entries(0..3)).await.expect("the first append");
    let second = journal.append(&key, 3, &entries(3..4)).await.expect("the second append");
    let appended: Vec<Record> = first.into_iter().chain(second).collect();
    follows(&appended);
    assert_eq!(appended.iter().map(|record| record.entry.clone()).collect::<Vec<_>>(), entries(0..4));
    assert!(appended.iter().all(|record| record.stream == key));
    assert_eq!(journal.stream(&key, 0).await.expect("the stream"), appended, "what is read is what was appended");
    holds(journal, 4, 0).await;
}

async fn conflicts(journal: &impl Journal) {
    let key = key("logo", "production");
    let refused = journal.append(&key, 1, &entries(0..1)).await;
    assert_eq!(refused, Err(JournalError::Conflict { expected: 1, stands_at: 0 }), "an unknown stream stands at 0");
    journal.append(&key, 0, &entries(0..2)).await.expect("the first append");
    for expected in [0, 1, 3, u64::MAX] {
        let refused = journal.append(&key, expected, &entries(9..10)).await;
        assert_eq!(refused, Err(JournalError::Conflict { expected, stands_at: 2 }), "a conflict says where it stands");
    }
    let refused = journal.append(&key, 1, &[]).await;
    assert_eq!(refused, Err(JournalError::Conflict { expected: 1, stands_at: 2 }), "also when nothing is appended");
    journal.append(&key, 2, &entries(2..3)).await.expect("a conflict leaves the journal usable");
    holds(journal, 3, 0).await;
}

async fn all_or_none(journal: &impl Journal) {
    let key = key("logo", "production");
    let many = journal.append(&key, 0, &entries(0..500)).await.expect("many at once");
    follows(&many);
    journal.append(&key, 400, &entries(500..600)).await.expect_err("a conflict appends none of them");
    assert_eq!(journal.stream(&key, 0).await.expect("the stream"), many);
    holds(journal, 500, 0).await;
}

async fn streams_apart(journal: &impl Journal) {
    let keys = [key("logo", "production"), key("logo", "staging"), key("shop", "production")];
    for (index, key) in keys.iter().enumerate() {
        journal.append(key, 0, &entries(0..index as u64 + 1)).await.expect("each stream begins at 0");
    }
    let mut streams = journal.streams().await.expect("the streams");
    streams.sort();
    assert_eq!(streams, {
        let mut keys = keys.to_vec();
        keys.sort();
        keys
    });
    let mut hashes = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        let records = journal.stream(key, 0).await.expect("a stream");
        assert_eq!(records.len(), index + 1);
        follows(&records);
        hashes.push(records[0].hash.clone());
    }
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), keys.len(), "the same event in two streams has two hashes");
    holds(journal, 6, 0).await;
}

async fn of_a_rollout(journal: &impl Journal) {
    let (one, two) = (key("logo", "production"), key("shop", "staging"));
    let mut appended = journal.append(&one, 0, &entries(0..8)).await.expect("one");
    appended.extend(journal.append(&two, 0, &entries(8..12)).await.expect("two"));
    appended.extend(journal.append(&one, 8, &entries(12..20)).await.expect("one, again"));
    for name in ["rollout-1", "rollout-2", "none"] {
        let rollout = RolloutId::new(name);
        let own: Vec<Record> =
            appended.iter().filter(|record| record.entry.rollout.as_ref() == Some(&rollout)).cloned().collect();
        assert_eq!(own.is_empty(), name == "none");
        assert_eq!(journal.rollout(&rollout).await.expect("a rollout"), own, "all its events, in order, and no other");
    }
}

async fn paging(journal: &impl Journal) {
    let (one, two) = (key("logo", "production"), key("shop", "staging"));
    let mut appended = Vec::new();
    for number in 0..5 {
        appended.extend(journal.append(&one, number, &entries(number..number + 1)).await.expect("one"));
        appended.extend(journal.append(&two, number * 2, &entries(number * 2..number * 2 + 2)).await.expect("two"));
    }
    let all = journal.after(0, usize::MAX).await.expect("everything");
    assert_eq!(all, appended, "all events of all streams, in the order of appending");
    for limit in [1, 4, 15, 16] {
        let (mut paged, mut last) = (Vec::new(), 0);
        loop {
            let page = journal.after(last, limit).await.expect("a page");
            assert!(page.len() <= limit, "a page is at most the limit");
            let Some(record) = page.last() else { break };
            last = record.sequence;
            paged.extend(page);
        }
        assert_eq!(paged, all, "pages of {limit} give everything once, in order");
    }
    for from in [0, 1, 7, 14, 15, 16, u64::MAX] {
        let since: Vec<Record> = journal.since(from).try_collect().await.expect("everything since then");
        let later: Vec<Record> = all.iter().filter(|record| record.sequence > from).cloned().collect();
        assert_eq!(since, later, "all after {from}, once, in order");
    }
    assert_eq!(journal.after(0, 0).await.expect("an empty page"), []);
    assert_eq!(journal.after(u64::MAX, 10).await.expect("after the end"), []);
}

async fn racing(journal: &impl Journal) {
    const WRITERS: u64 = 4;
    const EACH: usize = 10;
    let key = key("logo", "production");
    let key = &key;
    let writers = (0..WRITERS).map(|writer| async move {
        let mut won = Vec::new();
        let mut expected = 0;
        while won.len() < EACH {
            match journal.append(key, expected, &[applied(writer * 1000 + expected)]).await {
                Ok(records) => {
                    expected = records[0].position;
                    won.extend(records);
                }
                Err(JournalError::Conflict { stands_at, .. }) => expected = stands_at,
                Err(error) => panic!("writers of one journal take turns: {error}"),
            }
        }
        won
    });
    let mut won: Vec<Record> = join_all(writers).await.into_iter().flatten().collect();
    won.sort_by_key(|record| record.position);
    follows(&won);
    assert_eq!(won.len() as u64, WRITERS * EACH as u64);
    assert_eq!(journal.stream(key, 0).await.expect("the stream"), won, "exactly one writer wins each position");
    holds(journal, WRITERS * EACH as u64, 0).await;
}

async fn evidence(journal: &impl Journal) {
    let rollout = RolloutId::new("r1");
    // Out of order: what is read is in order.
    for number in [1, 3, 2, 10, 4, 5, 6, 7, 8, 9] {
        journal.store(&batch("r1", number, number * 100)).await.expect("a batch is stored");
    }
    journal.store(&batch("r2", 1, 5)).await.expect("numbers are of their rollout");
    journal.store(&batch("r1", 2, 200)).await.expect("the same batch again is success");
    let refused = journal.store(&batch("r1", 2, 999)).await;
    assert!(
        matches!(refused, Err(JournalError::Damaged { .. })),
        "another batch under its number is refused: {refused:?}"
    );
    let stored = journal.evidence(&rollout).await.expect("the evidence");
    let expected: Vec<Batch> = (1..=10).map(|number| batch("r1", number, number * 100)).collect();
    assert_eq!(stored, expected, "every batch once, in order, as it was stored");
    assert_eq!(journal.evidence(&RolloutId::new("r2")).await.expect("the evidence"), [batch("r2", 1, 5)]);
    journal.append(&key("logo", "production"), 0, &entries(0..1)).await.expect("events beside evidence");
    holds(journal, 1, 11).await;
}

/// An event that could not be read again would make its stream unreadable for ever.
async fn unreadable(journal: &impl Journal) {
    let key = key("logo", "production");
    let digest = davy_core::Digest::new("d");
    let workload = davy_core::Workload {
        run: davy_core::Run::Process(davy_core::Process { command: vec!["./logo".to_owned()], files: Vec::new() }),
        env: Default::default(),
        secrets: Vec::new(),
        replicas: 1,
        health: davy_core::HealthCheck { path: None, grace: davy_core::Millis(1), interval: davy_core::Millis(1) },
        route: davy_core::Route { host: None, path: "/".to_owned() },
    };
    let mut request = davy_core::rollout::Request {
        rollout: RolloutId::new("r"),
        release: davy_core::Release::new(&key, digest, workload),
        policy: davy_core::Policy::default(),
        by: Actor::new("somebody"),
        kind: davy_core::rollout::RequestKind::Deploy,
    };
    // A number whose nearest neighbour is read by a careless parser.
    request.policy.analysis.alpha = 0.010_000_000_000_000_002;
    let entry = |request| Entry { event: Event::RolloutRequested { request: Box::new(request) }, ..applied(1) };
    let good = entry(request.clone());
    journal.append(&key, 0, std::slice::from_ref(&good)).await.expect("numbers come back bit for bit");
    request.policy.analysis.alpha = f64::NAN;
    let refused = journal.append(&key, 1, &[applied(1), entry(request)]).await;
    assert!(matches!(refused, Err(JournalError::Damaged { .. })), "what cannot be read again is refused: {refused:?}");
    let records = journal.stream(&key, 0).await.expect("the stream");
    assert_eq!(records.into_iter().map(|record| record.entry).collect::<Vec<_>>(), [good]);
    holds(journal, 1, 0).await;
}
