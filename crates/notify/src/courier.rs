//! The sending: one reader of the journal, and a task for each lane that has something to send.

use crate::{
    http::{Client, Failed, Letter, Next},
    message::{Message, body},
    sign::{SIGNATURE, TIMESTAMP, signature},
    story::{Story, story, subject},
};
use davy_core::{Address, Channel, Receiver, RolloutId, SecretName, ServiceKey, Timestamp};
use davy_ports::{Journal, Lane, Mark, Outbox, Record, SecretValue, Untold, Vault};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
};

/// So many events are read at once.
const PAGE: usize = 200;
/// The longest wait before the journal is looked at again, whether or not somebody says that there is more.
const LOOK: Duration = Duration::from_secs(5);
/// The longest single use of the journal.
const JOURNAL: Duration = Duration::from_secs(10);
/// So many requests are on their way at once.
const AT_ONCE: usize = 64;
/// After so many events without a message the mark is written anyway: a restart reads no more than these again.
const UNMARKED: u64 = 500;

/// How messages are sent.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether addresses inside the network may be told.
    pub private: bool,
    /// The server's address as others know it, if they do.
    pub link: Option<String>,
    /// The longest request.
    pub deadline: Duration,
    /// The wait after the first failure; each further one doubles it.
    pub first_wait: Duration,
    /// The longest wait between two attempts.
    pub longest_wait: Duration,
    /// How long after it happened something is worth telling.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            private: false,
            link: None,
            deadline: Duration::from_secs(10),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(300),
            patience: Duration::from_secs(24 * 3600),
        }
    }
}

/// A lane with something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whom it tells, and about what.
    pub lane: Lane,
    /// How many messages wait.
    pub waiting: usize,
    /// When the oldest of them happened.
    pub since: Timestamp,
    /// How often that one was tried.
    pub attempts: u32,
    /// What happened the last time.
    pub trouble: Option<String>,
}

/// What came of the test of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// The channel as the file names it.
    pub channel: String,
    /// Why the message did not arrive, if it did not.
    pub trouble: Option<String>,
}

/// Tells people what the journal says.
pub struct Notifier {
    shared: Arc<Shared>,
    reading: JoinHandle<()>,
}

struct Shared {
    journal: Arc<dyn Journal>,
    outbox: Arc<dyn Outbox>,
    vault: Arc<dyn Vault>,
    options: Options,
    client: Client,
    turns: Semaphore,
    lanes: Mutex<Lanes>,
    /// Marks are written one after the other, so that none is put back.
    marking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Lanes {
    all: BTreeMap<Lane, Waiting>,
    /// Up to which event everything was looked at.
    read: u64,
    /// What is known to be written down of that.
    marked: u64,
}

#[derive(Default)]
struct Waiting {
    queue: VecDeque<Item>,
    attempts: u32,
    trouble: Option<String>,
}

#[derive(Clone)]
struct Item {
    record: Arc<Record>,
    rollout: RolloutId,
    channel: Channel,
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Notifier {
    /// Goes on where the marks say. `written` changes whenever the journal has more.
    #[must_use]
    pub fn start(
        journal: Arc<dyn Journal>,
        outbox: Arc<dyn Outbox>,
        vault: Arc<dyn Vault>,
        written: watch::Receiver<u64>,
        options: Options,
    ) -> Self {
        let client = Client::new(options.private, options.deadline);
        let (turns, lanes, marking) = (Semaphore::new(AT_ONCE), Mutex::default(), tokio::sync::Mutex::default());
        let shared = Arc::new(Shared { journal, outbox, vault, options, client, turns, lanes, marking });
        let reading = tokio::spawn(shared.clone().read(written));
        Self { shared, reading }
    }

    /// Every lane with something to send.
    #[must_use]
    pub fn standing(&self) -> Vec<Standing> {
        let lanes = self.shared.lanes();
        let waiting = lanes.all.iter().filter_map(|(lane, waiting)| {
            let since = waiting.queue.front()?.record.entry.at;
            let Waiting { queue, attempts, trouble } = waiting;
            let (lane, trouble) = (lane.clone(), trouble.clone());
            Some(Standing { lane, waiting: queue.len(), since, attempts: *attempts, trouble })
        });
        waiting.collect()
    }

    /// Sends each channel a message that says that it is a test, once.
    pub async fn test(&self, key: &ServiceKey, channels: &[Channel]) -> Vec<Tested> {
        let mut testing = Vec::new();
        for channel in channels {
            let (shared, key, channel) = (self.shared.clone(), key.clone(), channel.clone());
            testing.push(tokio::spawn(async move {
                let id = format!("test-{}", uuid::Uuid::now_v7().simple());
                let message = Message::Test { id: &id, at: now(), key: &key };
                let sent = shared.send(&key, &channel, &message).await;
                Tested { channel: channel.to_string(), trouble: sent.err().map(|failed| failed.why) }
            }));
        }
        let mut all = Vec::new();
        for test in testing {
            all.extend(test.await.ok());
        }
        all
    }

    /// Reads nothing more; what is on its way is sent again by the next one unless it arrived and was written down.
    pub fn stop(&self) {
        self.reading.abort();
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the journal for ever. What cannot be read is read later: nobody waits for this.
    async fn read(self: Arc<Self>, mut written: watch::Receiver<u64>) {
        let marks = loop {
            match self.outbox.marks().await {
                Ok(marks) => break marks,
                Err(error) => tracing::warn!(%error, "nobody can be told what happened yet"),
            }
            tokio::time::sleep(LOOK).await;
        };
        let mut beyond = BTreeMap::new();
        for mark in marks {
            match mark.lane {
                None => (self.lanes().read, self.lanes().marked) = (mark.sequence, mark.sequence),
                Some(lane) => drop(beyond.insert(lane, mark.sequence)),
            }
        }
        loop {
            written.mark_unchanged();
            let from = self.lanes().read;
            let page = tokio::time::timeout(JOURNAL, self.journal.after(from, PAGE)).await;
            let records = match page {
                Ok(Ok(records)) => records,
                Ok(Err(_)) | Err(_) => {
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
            };
            let full = records.len() == PAGE;
            for record in records {
                self.clone().take(Arc::new(record), &beyond).await;
            }
            self.mark_all(UNMARKED).await;
            if !full {
                // A channel that closed says nothing any more: then only time does.
                let more = async {
                    if written.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::time::timeout(LOOK, more).await.ok();
            }
        }
    }

    /// Puts an event into the lanes of those who are told of it.
    async fn take(self: Arc<Self>, record: Arc<Record>, beyond: &BTreeMap<Lane, u64>) {
        let sequence = record.sequence;
        let mut items = Vec::new();
        if let Some(rollout) = subject(&record).cloned()
            && let Some(story) = self.story(&record, &rollout).await
        {
            for channel in story.request.policy.notify.iter().filter(|channel| channel.on.contains(&story.occasion)) {
                let lane = Lane { key: record.stream.clone(), channel: channel.to_string() };
                if beyond.get(&lane).is_none_or(|told| *told < sequence) {
                    let (record, rollout, channel) = (record.clone(), rollout.clone(), channel.clone());
                    items.push((lane, Item { record, rollout, channel }));
                }
            }
        }
        let mut begin = Vec::new();
        let mut lanes = self.lanes();
        for (lane, item) in items {
            let waiting = lanes.all.entry(lane.clone()).or_insert_with(|| {
                begin.push(lane);
                Waiting::default()
            });
            waiting.queue.push_back(item);
        }
        lanes.read = sequence;
        drop(lanes);
        for lane in begin {
            tokio::spawn(self.clone().tell(lane));
        }
    }

    /// What is told of an event; asked for until the journal answers.
    async fn story(&self, record: &Record, rollout: &RolloutId) -> Option<Story> {
        loop {
            match tokio::time::timeout(JOURNAL, self.journal.rollout(rollout)).await {
                Ok(Ok(own)) => return story(record, &own),
                Ok(Err(davy_ports::JournalError::Damaged { why })) => {
                    tracing::error!(why, "an event cannot be told");
                    return None;
                }
                Ok(Err(_)) | Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Sends what waits in a lane, one after the other, until nothing does.
    async fn tell(self: Arc<Self>, lane: Lane) {
        loop {
            let item = {
                let mut lanes = self.lanes();
                match lanes.all.get(&lane).and_then(|waiting| waiting.queue.front()).cloned() {
                    Some(item) => item,
                    None => {
                        lanes.all.remove(&lane);
                        return;
                    }
                }
            };
            self.deliver(&lane, &item).await;
            let mark = Mark { lane: Some(lane.clone()), sequence: item.record.sequence };
            self.mark(&mark).await;
            if let Some(waiting) = self.lanes().all.get_mut(&lane) {
                waiting.queue.pop_front();
                (waiting.attempts, waiting.trouble) = (0, None);
            }
            self.mark_all(0).await;
        }
    }

    /// Sends one message until it arrives or is no longer worth sending. It is tried once at least.
    async fn deliver(&self, lane: &Lane, item: &Item) {
        let Item { record, rollout, channel } = item;
        let Some(story) = self.story(record, rollout).await else { return };
        let mut wait = self.options.first_wait;
        let untold = loop {
            let turn = self.turns.acquire().await;
            let sent = self.send(&lane.key, channel, &Message::Story(&story)).await;
            drop(turn);
            let Err(Failed { why, next }) = sent else { return };
            if let Some(waiting) = self.lanes().all.get_mut(lane) {
                if waiting.trouble.as_ref() != Some(&why) {
                    tracing::warn!(service = %lane.key, channel = lane.channel, why, "a message did not arrive");
                }
                waiting.attempts += 1;
                waiting.trouble = Some(why.clone());
            }
            let after = match next {
                Next::GiveUp => break why,
                // Half of the wait is chance: receivers that come back are not asked by all at once.
                Next::Again(least) => wait.mul_f64(0.5 + fastrand::f64() / 2.0).max(least),
            };
            let end =
                story.at.plus(davy_core::Millis(u64::try_from(self.options.patience.as_millis()).unwrap_or(u64::MAX)));
            if Timestamp(now().0.saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX))) > end {
                break why;
            }
            tokio::time::sleep(after).await;
            wait = (wait * 2).min(self.options.longest_wait);
        };
        let untold = Untold { key: lane.key.clone(), channel: lane.channel.clone(), message: story.id, why: untold };
        tracing::error!(service = %untold.key, channel = untold.channel, why = untold.why, "a message was given up");
        while let Err(error) = self.outbox.give_up(&untold).await {
            tracing::warn!(%error, "that a message was given up is not written down yet");
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn send(&self, key: &ServiceKey, channel: &Channel, message: &Message<'_>) -> Result<(), Failed> {
        let body = body(message, channel, self.options.link.as_deref());
        let mut headers = vec![("idempotency-key", message.id().to_owned())];
        let value;
        let address = match &channel.to {
            Receiver::Slack { address } | Receiver::Webhook { address: Address::Secret(address), .. } => {
                value = self.secret(key, address).await?;
                std::str::from_utf8(value.bytes())
                    .map_err(|_| Failed::again(format!("the secret {address} is no address")))?
            }
            Receiver::Webhook { address: Address::Plain(address), .. } => address,
        };
        if let Receiver::Webhook { secret: Some(secret), .. } = &channel.to {
            let (secret, timestamp) = (self.secret(key, secret).await?, now().0 / 1000);
            headers.push((TIMESTAMP, timestamp.to_string()));
            headers.push((SIGNATURE, signature(secret.bytes(), timestamp, &body)));
        }
        self.client.post(Letter { address, body, headers }).await
    }

    /// The present value: one that was replaced is worth nothing to a receiver.
    async fn secret(&self, key: &ServiceKey, name: &SecretName) -> Result<SecretValue, Failed> {
        self.vault.current(key, name).await.map_err(Failed::again)
    }

    async fn mark(&self, mark: &Mark) {
        let _turn = self.marking.lock().await;
        if let Err(error) = self.outbox.mark(mark).await {
            tracing::warn!(%error, "what was told is not written down: it is told again after a restart");
        }
    }

    /// Writes down up to where everybody was told, if that is more than so many events further than it says.
    async fn mark_all(&self, least: u64) {
        let _turn = self.marking.lock().await;
        let (sequence, marked) = {
            let lanes = self.lanes();
            let first = lanes.all.values().filter_map(|waiting| waiting.queue.front()).map(|item| item.record.sequence);
            (first.min().map_or(lanes.read, |first| first - 1), lanes.marked)
        };
        if sequence <= marked.saturating_add(least) {
            return;
        }
        match self.outbox.mark(&Mark { lane: None, sequence }).await {
            Ok(()) => self.lanes().marked = sequence,
            Err(error) => tracing::debug!(%error, "the mark of what was told is written later"),
        }
    }
}
