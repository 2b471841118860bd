//! Appends and evidence that wait for the same turn are written in one transaction: how long the disk takes to have them is then
//! paid once for all, and a thousand rollouts cost it little more than one.

use super::{
    explain::unavailable,
    journal::Writer,
    place::Place,
    seen::Mark,
    sql::Connection,
    write::{self, Failure, NewBatch, NewEvent, Turn},
};
use davy_core::ServiceKey;
use davy_ports::{JournalError, Record};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// So many at most in one transaction: who comes last does not wait for all the world.
const MOST: usize = 256;
const TRIED: &str = "write to the journal";

/// What is to be written.
pub(super) enum Job {
    /// Events, if the stream stands there.
    Append { stream: ServiceKey, expected: u64, events: Vec<NewEvent> },
    /// A batch of evidence, unless it is there.
    Store(NewBatch),
}

/// Writes for all who wait.
pub(super) struct Group {
    writer: Writer,
    place: Place,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Whether somebody writes what waits.
    busy: bool,
}

struct Waiting {
    job: Job,
    reply: oneshot::Sender<Answer>,
}

/// The records of an append; none of a batch.
type Answer = Result<Vec<Record>, JournalError>;

impl Group {
    pub(super) fn new(writer: Writer, place: Place) -> Arc<Self> {
        Arc::new(Self { writer, place, queue: Mutex::default() })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes something; it is carried to its end also if the caller stops waiting.
    pub(super) async fn write(self: &Arc<Self>, job: Job) -> Answer {
        let (reply, answer) = oneshot::channel();
        let idle = {
            let mut queue = self.queue();
            queue.waiting.push_back(Waiting { job, reply });
            !std::mem::replace(&mut queue.busy, true)
        };
        if idle {
            tokio::spawn(self.clone().work());
        }
        answer.await.unwrap_or_else(|_| Err(unavailable("a write to the journal was broken off".to_owned())))
    }

    /// Writes what waits until nothing does.
    async fn work(self: Arc<Self>) {
        let _busy = Busy(&self);
        loop {
            if !self.has_more() {
                return;
            }
            let turn = Turn::begin(self.writer.clone(), self.place.clone(), TRIED).await;
            let mut jobs = self.take();
            match turn {
                Ok(turn) => self.carry_out(turn, jobs).await,
                Err(error) => {
                    jobs.extend(std::mem::take(&mut self.queue().waiting));
                    answer(jobs, |_| Err(error.clone()));
                }
            }
        }
    }

    /// Whether anything waits; if not, the next one who comes begins anew.
    fn has_more(&self) -> bool {
        let mut queue = self.queue();
        queue.busy = !queue.waiting.is_empty();
        queue.busy
    }

    fn take(&self) -> Vec<Waiting> {
        let mut queue = self.queue();
        let count = queue.waiting.len().min(MOST);
        queue.waiting.drain(..count).collect()
    }

    async fn carry_out(&self, mut turn: Turn, jobs: Vec<Waiting>) {
        let mut done = VecDeque::with_capacity(jobs.len());
        for Waiting { job, .. } in &jobs {
            match run(&mut turn, job).await {
                Ok(records) => done.push_back(records),
                Err(failure) => {
                    let ended = turn.end::<Vec<Record>>(Err(failure)).await;
                    return match jobs.len() {
                        1 => answer(jobs, |_| ended.clone()),
                        _ => self.one_by_one(jobs).await,
                    };
                }
            }
        }
        let ended = turn.end(Ok(())).await;
        answer(jobs, |_| ended.clone().map(|()| done.pop_front().unwrap_or_default()));
    }

    /// One of them failed, and all of it was undone: each by itself, so that it harms no other one.
    async fn one_by_one(&self, jobs: Vec<Waiting>) {
        let mut unreachable: Option<JournalError> = None;
        for waiting in jobs {
            let answered = match &unreachable {
                Some(error) => Err(error.clone()),
                None => match Turn::begin(self.writer.clone(), self.place.clone(), TRIED).await {
                    Ok(mut turn) => {
                        let result = run(&mut turn, &waiting.job).await;
                        turn.end(result).await
                    }
                    Err(error) => {
                        unreachable = Some(error.clone());
                        Err(error)
                    }
                },
            };
            waiting.reply.send(answered).ok();
        }
    }
}

async fn run(turn: &mut Turn, job: &Job) -> Result<Vec<Record>, Failure> {
    let connection: &mut Connection = &mut turn.connection;
    match job {
        Job::Append { stream, expected, events } => {
            let records = write::append_in(connection, stream, *expected, events).await?;
            if let Some(record) = records.last() {
                turn.last = Some(Mark { sequence: record.sequence, hash: record.hash.clone() });
            }
            Ok(records)
        }
        Job::Store(batch) => write::store_in(connection, batch).await.map(|()| Vec::new()),
    }
}

fn answer(jobs: Vec<Waiting>, mut with: impl FnMut(&Job) -> Answer) {
    for Waiting { job, reply } in jobs {
        reply.send(with(&job)).ok();
    }
}

/// Whoever works says so until the end, also if that comes by a panic.
struct Busy<'a>(&'a Group);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = self.0.queue();
            queue.busy = false;
            queue.waiting.clear();
        }
    }
}
