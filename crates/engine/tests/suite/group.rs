//! What waits for the same turn is written together, and each is answered as if it were alone.

use davy_core::{
    Actor, EnvironmentName, Generation, RolloutId, ServiceKey, ServiceName, Timestamp, Weight, Window, rollout::Event,
};
use davy_engine::store::Store;
use davy_ports::{Batch, Entry, Journal, JournalError, Record};
use sqlx::{ConnectOptions as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tempfile::TempDir;

fn key(service: usize) -> ServiceKey {
    let service = ServiceName::new(format!("s{service}")).unwrap();
    ServiceKey { service, environment: EnvironmentName::new("production").unwrap() }
}

fn applied(number: u64) -> Entry {
    let event = Event::WeightApplied { generation: Generation(number) };
    Entry { at: Timestamp(1000), by: Actor::new("davy"), rollout: Some(RolloutId::new("r")), event }
}

fn batch(rollout: &str, unserved: u64) -> Batch {
    let (generation, weight) = (Generation(1), Weight::new(100).unwrap());
    let window = Window {
        key: key(0),
        boot: "boot".to_owned(),
        sequence: 1,
        generation,
        weight,
        from: Timestamp(0),
        to: Timestamp(1000),
        cells: Vec::new(),
        unserved,
        cohorts: Vec::new(),
        clients_forgotten: false,
    };
    let rollout = RolloutId::new(rollout);
    let origin = Timestamp(0);
    Batch { rollout, number: 1, generation, weight, origin, window, evidence: true, blind: None, metrics: Vec::new() }
}

async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

async fn run(connection: &mut SqliteConnection, text: &'static str) {
    sqlx::query(text).execute(connection).await.unwrap();
}

/// What each of these was answered, all asked while nobody can write.
async fn together(path: &Path, journal: &Store, asked: Vec<(usize, u64)>) -> Vec<Result<Vec<Record>, JournalError>> {
    let mut other = raw(path).await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    let (begun, count) = (Arc::new(AtomicUsize::new(0)), asked.len());
    let answers: Vec<_> = asked
        .into_iter()
        .map(|(service, expected)| {
            let (journal, begun) = (journal.clone(), begun.clone());
            tokio::spawn(async move {
                begun.fetch_add(1, Ordering::SeqCst);
                journal.append(&key(service), expected, &[applied(1), applied(2)]).await
            })
        })
        .collect();
    // On one thread each goes on until it waits.
    while begun.load(Ordering::SeqCst) < count {
        tokio::task::yield_now().await;
    }
    assert!(answers.iter().all(|answer| !answer.is_finished()), "nobody can write");
    run(&mut other, "ROLLBACK").await;
    let mut answered = Vec::new();
    for answer in answers {
        answered.push(answer.await.unwrap());
    }
    answered
}

#[tokio::test]
async fn many_at_once_are_all_written_and_in_their_order() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.db");
    let journal = Store::open(&path).await.unwrap();
    // More than fit into one transaction; of one stream several follow each other.
    let asked: Vec<_> = (0..150).flat_map(|service| [(service, 0), (service, 2)]).collect();
    let answers = together(&path, &journal, asked).await;
    let records: Vec<Record> = answers.into_iter().flat_map(|answer| answer.expect("each fits")).collect();
    assert_eq!(records.len(), 600);
    assert!(records.is_sorted_by_key(|record| record.sequence), "as they were asked");
    assert_eq!(journal.after(0, 1_000).await.unwrap(), records);
    let verified = journal.verify().await.unwrap();
    assert_eq!((verified.events, verified.broken), (600, vec![]));
}

#[tokio::test]
async fn one_that_does_not_fit_harms_no_other() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.db");
    let journal = Store::open(&path).await.unwrap();
    let asked: Vec<_> = (0..40).map(|service| (service, if service % 7 == 3 { 9 } else { 0 })).collect();
    for (service, answer) in together(&path, &journal, asked).await.into_iter().enumerate() {
        match service % 7 {
            3 => assert_eq!(answer, Err(JournalError::Conflict { expected: 9, stands_at: 0 })),
            _ => assert_eq!(answer.expect("it fits").len(), 2, "service {service}"),
        }
    }
    // Evidence beside events: one that contradicts what is stored is refused, and only that one.
    journal.store(&batch("r", 1)).await.unwrap();
    let (again, other, next, event) = (batch("r", 1), batch("r", 2), batch("q", 3), [applied(3)]);
    let stream = key(0);
    let (again, other, next, event) = tokio::join!(
        journal.store(&again),
        journal.store(&other),
        journal.store(&next),
        journal.append(&stream, 2, &event)
    );
    assert!(matches!(other, Err(JournalError::Damaged { .. })), "{other:?}");
    again.unwrap();
    next.unwrap();
    assert_eq!(event.unwrap().len(), 1);
    let verified = journal.verify().await.unwrap();
    assert_eq!((verified.batches, verified.broken), (2, vec![]));
}
