//! Several servers on one journal: one works, the others wait, pass on what they are asked, and take over when it is gone.

use crate::{client::At, exit::Failure, home::OwnTls, server::Base};
use davy_core::Timestamp;
use davy_engine::store::{Bid, Bidder, Lease, Store};
use davy_server::Forward;
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{Read as _, Seek as _, Write as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::Instant,
};

/// Between two looks of one that waits.
const LOOK: Duration = Duration::from_millis(250);
/// Between two renewals: three fit into a lease.
const RENEW: Duration = Duration::from_secs(1);

/// How the others reach a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Reach {
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<OwnTls>,
}

/// The time in which this server works. The lease is held beside whatever else it does, from the moment that it is taken.
pub(crate) struct Term {
    since: Option<(Timestamp, Instant)>,
    lost: watch::Receiver<bool>,
    end: oneshot::Sender<bool>,
    holding: JoinHandle<()>,
}

/// Waits until this server may work; none when all are told to stop. `waits` hears behind which one.
pub(crate) async fn turn(
    base: &Arc<Base>,
    journal: &Store,
    starts: bool,
    mut waits: impl FnMut(&str),
) -> Result<Option<Term>, Failure> {
    let mut bidding = Bidding { base: base.clone(), starts, folder: base.home.name()? };
    match bidding.bid(journal).await? {
        Outcome::Won(term) => Ok(Some(term)),
        Outcome::Stopped => Ok(None),
        Outcome::Waits(reach) => {
            waits(&reach.url);
            base.keep();
            let known = Arc::new(Mutex::new(reach));
            // Only one that has just been started begins again what all were told to stop.
            bidding.starts = false;
            let passing = pass_on(base, known.clone());
            tokio::select! {
                ended = passing => Err(ended.err().unwrap_or_else(|| anyhow::anyhow!("the API is no longer served").into())),
                won = bidding.wait(journal, &known) => won,
            }
        }
    }
}

struct Bidding {
    base: Arc<Base>,
    starts: bool,
    folder: String,
}

enum Outcome {
    Won(Term),
    Waits(Reach),
    Stopped,
}

impl Bidding {
    async fn wait(&self, journal: &Store, known: &Mutex<Reach>) -> Result<Option<Term>, Failure> {
        let mut trouble = false;
        loop {
            tokio::time::sleep(LOOK).await;
            match self.bid(journal).await {
                Ok(Outcome::Won(term)) => return Ok(Some(term)),
                Ok(Outcome::Stopped) => return Ok(None),
                Ok(Outcome::Waits(reach)) => {
                    *known.lock().unwrap_or_else(PoisonError::into_inner) = reach;
                    trouble = false;
                }
                Err(failure) if !trouble => {
                    tracing::warn!(
                        error = failure.message,
                        "whether another server works cannot be seen; trying again"
                    );
                    trouble = true;
                }
                Err(_) => {}
            }
        }
    }

    async fn bid(&self, journal: &Store) -> Result<Outcome, Failure> {
        let base = &self.base;
        let reach = Reach { url: base.url.clone(), tls: base.tls.clone() };
        let reach = serde_json::to_string(&reach).map_err(anyhow::Error::new)?;
        let working = working(base)?;
        let ended = working.as_ref().and_then(token_in);
        let bidder = Bidder { reach, folder: self.folder.clone(), starts: self.starts, ended };
        match journal.bid(&bidder).await.map_err(|error| base.database.unheld(&error))? {
            Bid::Won(lease) => Ok(Outcome::Won(Term::begin(Held { lease, working, base: base.clone() }))),
            Bid::Waits(reach) => match serde_json::from_str(&reach) {
                Ok(reach) => Ok(Outcome::Waits(reach)),
                Err(error) => Err(base.database.unheld(&error)),
            },
            Bid::Stopped => Ok(Outcome::Stopped),
            Bid::Elsewhere(name) => Err(base.database.elsewhere(&base.home, &name)),
        }
    }
}

/// The lock of the one that works, unless somebody has it.
fn working(base: &Base) -> Result<Option<File>, Failure> {
    if !base.database.is_shared() {
        return Ok(None);
    }
    let file = base.home.working()?;
    Ok(file.try_lock().is_ok().then_some(file))
}

/// Whose lease it was when the lock was given up.
fn token_in(mut file: &File) -> Option<i64> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
    text.trim().parse().ok()
}

impl Term {
    fn begin(mut held: Held) -> Self {
        let since = held.lease.since();
        let (losing, lost) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        held.sign();
        let holding = tokio::spawn(async move {
            let stop = tokio::select! {
                () = held.until_lost() => {
                    losing.send(true).ok();
                    return;
                }
                stop = ended => stop.unwrap_or(false),
            };
            if let Err(error) = held.lease.release(stop).await {
                tracing::warn!(%error, "the lease could not be given up; it runs out in seconds");
            }
        });
        Self { since, lost, end, holding }
    }

    /// When it began, by the clock of the database's server, and when that was heard; if it has one.
    pub(crate) const fn since(&self) -> Option<(Timestamp, Instant)> {
        self.since
    }

    /// Completes when another server works.
    pub(crate) async fn lost(&mut self) {
        self.lost.wait_for(|lost| *lost).await.ok();
    }

    /// Gives the lease up; with `stop`, the other servers end, too.
    pub(crate) async fn end(self, stop: bool) {
        self.end.send(stop).ok();
        self.holding.await.ok();
    }
}

/// What the one that works holds.
struct Held {
    lease: Lease,
    /// Whoever gets it knows that the one before has ended, and which lease that had.
    working: Option<File>,
    base: Arc<Base>,
}

impl Held {
    /// Writes into the lock whose it is, and takes it if one that hung has let go of it.
    fn sign(&mut self) {
        if self.working.is_none() {
            self.working = working(&self.base).ok().flatten();
        }
        if let Some(file) = &mut self.working
            && token_in(file) != Some(self.lease.token())
        {
            let token = self.lease.token().to_string();
            let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(token.as_bytes()));
            if let Err(error) = written {
                tracing::warn!(%error, "should this server be killed, another one waits until its lease runs out");
            }
        }
    }

    /// Renews the lease for as long as it is ours.
    async fn until_lost(&mut self) {
        let mut trouble = false;
        loop {
            tokio::time::sleep(RENEW).await;
            match self.lease.renew().await {
                Ok(true) => trouble = false,
                Ok(false) => return,
                // Nothing can be written then, and traffic is looked after as before.
                Err(error) => {
                    if !trouble {
                        tracing::warn!(%error, "the lease cannot be renewed; another server may take over");
                    }
                    trouble = true;
                }
            }
            self.sign();
        }
    }
}

/// Passes on what is asked to the server that works.
async fn pass_on(base: &Arc<Base>, known: Arc<Mutex<Reach>>) -> Result<(), Failure> {
    let forward: Forward = Arc::new(move |request| {
        let Reach { url, tls } = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            let at = At::of(url, None, tls.as_ref()).map_err(|failure| failure.message)?;
            at.send(request.map(Full::new)).await.map_err(|failure| failure.message)
        })
    });
    let (listener, api) = (base.listener()?, &base.api);
    let waiting = davy_server::wait(listener, api.acceptor()?, api.known_as(), forward);
    Ok(waiting.await.map_err(anyhow::Error::new)?)
}
