//! Looks at services' containers. One goes on when whoever asked waits no longer: what it dialed and what it was answered is there
//! for the next one, so that an engine far away is seen, only later.

use davy_core::{Instance, ServiceKey};
use davy_ports::{Boxed, Error};
use futures_util::{FutureExt, future::Shared};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The longest wait for one engine: others are asked at the same time, and what they say is not to be late.
const PATIENCE: Duration = Duration::from_millis(1_200);
/// After so long without an answer an engine counts as one that cannot be reached.
const LOST: Duration = Duration::from_secs(15);
/// What was seen so long ago is looked at again.
const OLD: Duration = Duration::from_secs(1);

type Seen = Result<Vec<Instance>, Error>;

/// The looks of one engine that are under way, or that nobody has heard of yet.
#[derive(Default)]
pub(crate) struct Looks {
    under_way: Mutex<HashMap<ServiceKey, Look>>,
}

#[derive(Clone)]
struct Look {
    since: Instant,
    /// When it ended, and what was seen.
    seen: Shared<Boxed<'static, (Instant, Seen)>>,
}

/// What came of waiting for a look.
pub(crate) enum Heard {
    /// The engine answered, or could not be asked.
    Answer(Seen),
    /// The same, of a look that began before an order: it says nothing of what is there now.
    Before(Seen),
    /// Nothing yet.
    Nothing(Error),
}

impl Looks {
    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceKey, Look>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the look at a service that is under way, else for a new one.
    pub(crate) async fn hear(&self, key: &ServiceKey, look: impl Future<Output = Seen> + Send + 'static) -> Heard {
        let heard = self.join(key, look);
        let waited = tokio::time::timeout(PATIENCE, heard.seen.clone()).await;
        match waited {
            Ok((_, seen)) => {
                let mut under_way = self.lock();
                match under_way.get(key).is_some_and(|look| look.since == heard.since) {
                    true => {
                        under_way.remove(key);
                        Heard::Answer(seen)
                    }
                    false => Heard::Before(seen),
                }
            }
            Err(_) => {
                let late = heard.since.elapsed();
                let error =
                    Error::later("look at the containers", format!("no answer yet after {:.1} s", late.as_secs_f64()));
                let error = error.hint("see that the engine is well and near enough");
                if late > LOST { Heard::Answer(Err(error)) } else { Heard::Nothing(error) }
            }
        }
    }

    fn join(&self, key: &ServiceKey, look: impl Future<Output = Seen> + Send + 'static) -> Look {
        let mut under_way = self.lock();
        let is_old = |look: &Look| look.seen.peek().is_some_and(|(ended, _)| ended.elapsed() > OLD);
        if let Some(look) = under_way.get(key).filter(|look| !is_old(look)) {
            return look.clone();
        }
        let going = tokio::spawn(look);
        let seen = async move {
            let seen = going.await.unwrap_or_else(|error| Err(Error::later("look at the containers", error)));
            (Instant::now(), seen)
        };
        let look = Look { since: Instant::now(), seen: seen.boxed().shared() };
        under_way.insert(key.clone(), look.clone());
        look
    }

    /// What is under way says nothing of what is there from now on.
    pub(crate) fn forget(&self, key: &ServiceKey) {
        self.lock().remove(key);
    }
}
