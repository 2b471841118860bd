//! What is told, how often, and when it is given up.

use crate::receiver::Receiver;
use davy_core::{
    Actor, Address, Channel, Digest, EnvironmentName, HealthCheck, Millis, Occasion, Policy, Process, Receiver as To,
    Release, RolloutId, Route, Run, ServiceKey, ServiceName, Workload,
    rollout::{Cause, Event, Outcome, PauseReason, Request, RequestKind},
};
use davy_engine::{Deed, Ledger, now, store::Store};
use davy_notify::{Notifier, Options};
use davy_ports::{Entry, Journal, Mark, NoVault};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::sync::watch;

/// A journal, and who is told of what is written there.
struct World {
    _folder: TempDir,
    journal: Store,
    ledger: Arc<Ledger>,
    key: ServiceKey,
    written: watch::Sender<u64>,
    position: u64,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Store::open(&folder.path().join("journal.db")).await.unwrap();
        let ledger = Arc::new(Ledger::open(journal.clone()).await.unwrap());
        let service = ServiceName::new("logo").unwrap();
        let key = ServiceKey { service, environment: EnvironmentName::new("production").unwrap() };
        Self { _folder: folder, journal, ledger, key, written: watch::Sender::new(0), position: 0 }
    }

    fn notifier(&self, options: Options) -> Notifier {
        let journal = Arc::new(self.journal.clone());
        Notifier::start(journal, self.ledger.clone(), Arc::new(NoVault), self.written.subscribe(), options)
    }

    async fn happens(&mut self, events: &[Event]) {
        let entry = |event: &Event| {
            let (by, rollout) = (Actor::new("davy"), Some(RolloutId::new("r1")));
            Entry { at: now(), by, rollout, event: event.clone() }
        };
        let entries: Vec<Entry> = events.iter().map(entry).collect();
        let records = self.journal.append(&self.key, self.position, &entries).await.unwrap();
        self.position += records.len() as u64;
        self.written.send_replace(records.last().unwrap().sequence);
    }

    fn request(&self, urls: &[&str]) -> Event {
        let workload = Workload {
            run: Run::Process(Process { command: vec!["./logo".to_owned()], files: Vec::new() }),
            env: BTreeMap::new(),
            secrets: Vec::new(),
            replicas: 1,
            health: HealthCheck { path: None, grace: Millis::seconds(10), interval: Millis::seconds(1) },
            route: Route { host: None, path: "/".to_owned() },
        };
        let channel = |url: &&str| Channel {
            to: To::Webhook { address: Address::Plain((*url).to_owned()), secret: None },
            on: Occasion::ALL.into(),
        };
        let policy = Policy { notify: urls.iter().map(channel).collect(), ..Policy::default() };
        let release = Release::new(&self.key, Digest::new("sha256:1"), workload);
        let (rollout, by) = (RolloutId::new("r1"), Actor::new("lena"));
        Event::RolloutRequested {
            request: Box::new(Request { rollout, release, policy, by, kind: RequestKind::Deploy }),
        }
    }

    /// The messages that were given up, and why.
    fn untold(&self) -> Vec<(String, String)> {
        let untold = self.ledger.records().into_iter().filter_map(|record| match record.deed {
            Deed::Untold { untold } => Some((untold.message, untold.why)),
            _ => None,
        });
        untold.collect()
    }
}

fn options() -> Options {
    let (first_wait, longest_wait) = (Duration::from_millis(10), Duration::from_millis(40));
    Options { private: true, first_wait, longest_wait, deadline: Duration::from_secs(5), ..Options::default() }
}

fn paused() -> Event {
    Event::Paused { why: PauseReason::Person { by: Actor::new("lena") } }
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("never {what}"));
}

#[tokio::test]
async fn a_receiver_that_fails_twice_is_told_in_order_and_a_mark_says_so() {
    let mut world = World::new().await;
    let hook = Receiver::answering(|number| if number < 2 { "500 Oh" } else { "204 Yes" }.to_owned()).await;
    let notifier = world.notifier(options());
    world.happens(&[world.request(&[&hook.url]), paused(), Event::Promoted]).await;
    until("told", async || hook.all().len() >= 5).await;
    assert_eq!(hook.events(), ["started", "started", "started", "waiting", "promoted"]);
    let ids: Vec<String> = hook.all().iter().map(|(_, body)| body["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, ["r1-1", "r1-1", "r1-1", "r1-2", "r1-3"]);
    assert!(hook.all()[3].0.contains("idempotency-key: r1-2\r\n"));
    assert_eq!(hook.all()[3].1["why"], "lena asked for it");
    let all = [Mark { lane: None, sequence: 3 }];
    until("marked", async || world.journal.marks().await.unwrap() == all).await;
    assert!(notifier.standing().is_empty() && world.untold().is_empty());
    // Somebody else who goes on there tells nothing again.
    drop(notifier);
    let _next = world.notifier(options());
    world.happens(&[Event::BakeEnded, paused()]).await;
    until("told of the next", async || hook.all().len() >= 6).await;
    assert_eq!(hook.events()[5..], ["waiting"]);
}

#[tokio::test]
async fn each_outcome_is_told_once_when_it_is_felt() {
    let mut world = World::new().await;
    let hook = Receiver::answering(|_| "200 OK".to_owned()).await;
    let _notifier = world.notifier(options());
    let over = |outcome, why: &str| Event::RolloutFinished {
        rollout: RolloutId::new("r1"),
        outcome,
        why: why.to_owned(),
        cause: None,
    };
    let cause = Cause::Judge { why: format!("the canary fails more often {}", "x".repeat(5_000)) };
    let back = Event::Reverted { generation: davy_core::Generation(1), cause: Some(cause) };
    // Promoted, taken back in the bake, cleared away: the end says nothing new.
    world
        .happens(&[
            world.request(&[&hook.url]),
            Event::Promoted,
            back.clone(),
            back,
            over(Outcome::RolledBack, "x"),
            paused(),
        ])
        .await;
    until("told", async || hook.events().last().is_some_and(|event| event == "waiting")).await;
    assert_eq!(hook.events(), ["started", "promoted", "rolled-back", "waiting"]);
    let text = hook.all()[2].1["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("logo in production: rolled back. The canary fails more often xx"), "{text}");
    assert!(text.ends_with("xx….") && text.len() < 1_200, "{text}");
}

#[tokio::test]
async fn what_no_receiver_takes_is_given_up_written_down_and_holds_up_nothing() {
    let mut world = World::new().await;
    let (refuses, fails) = (
        Receiver::answering(|number| if number == 0 { "400 Bad" } else { "200 OK" }.to_owned()).await,
        Receiver::answering(|_| "503 Not now".to_owned()).await,
    );
    let patience = Duration::from_millis(300);
    let _notifier = world.notifier(Options { patience, ..options() });
    world.happens(&[world.request(&[&refuses.url, &fails.url]), paused()]).await;
    until("told and given up", async || refuses.all().len() >= 2 && world.untold().len() >= 3).await;
    assert_eq!(refuses.events(), ["started", "waiting"]);
    let mut untold = world.untold();
    untold.sort();
    let why = |status: &str| format!("it answered {status}");
    let (unavailable, bad) = (why("503 Service Unavailable"), why("400 Bad Request"));
    let expected = [("r1-1", &bad), ("r1-1", &unavailable), ("r1-2", &unavailable)];
    assert_eq!(untold, expected.map(|(id, why)| (id.to_owned(), why.clone())));
    assert!(fails.all().len() > 3, "it was tried again: {}", fails.all().len());
    assert!(world.journal.verify().await.unwrap().broken.is_empty());
    let again = Ledger::open(world.journal.clone()).await.unwrap();
    assert_eq!((again.is_sound(), again.records()), (true, world.ledger.records()));
}

#[tokio::test]
async fn what_is_tested_says_why_it_did_not_arrive() {
    let world = World::new().await;
    let untrusted = Receiver::untrusted().await;
    let notifier = world.notifier(Options { deadline: Duration::from_secs(2), ..options() });
    let Event::RolloutRequested { request } =
        world.request(&[&untrusted.url, "http://127.0.0.1:1/", "https://no-such-host.invalid/x"])
    else {
        panic!("no request");
    };
    let tested = notifier.test(&world.key, &request.policy.notify).await;
    let trouble: Vec<&str> = tested.iter().map(|one| one.trouble.as_deref().unwrap_or("none")).collect();
    assert!(trouble[0].starts_with("TLS failed: its certificate is not for its name"), "{trouble:?}");
    assert!(trouble[1].starts_with("no connection: connection refused"), "{trouble:?}");
    assert!(trouble[2].contains("could not be resolved") || trouble[2].contains("no answer within"), "{trouble:?}");
    assert!(untrusted.all().is_empty(), "nothing was sent to it");
}
