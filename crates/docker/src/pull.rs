//! Pulls: one for each image at a time. It goes on without whoever asked for it, the next one joins it, and it is given up only
//! when nothing comes any more.

use crate::{
    engine::{failed, status},
    image::{Reference, credentials, explain},
};
use bollard::{Docker, models::CreateImageInfo, query_parameters::CreateImageOptionsBuilder};
use davy_core::{Digest, ServiceKey};
use davy_ports::Error;
use futures_util::StreamExt;
use std::{
    collections::HashMap,
    fmt::{self, Display},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// The pulls of one engine.
pub(crate) struct Pulls {
    /// The longest wait for the next bytes.
    patience: Duration,
    under_way: Arc<Mutex<HashMap<Digest, watch::Receiver<Pull>>>>,
    /// What each service waits for, or waited for last, under the name that it has for it.
    services: Mutex<HashMap<ServiceKey, (String, watch::Receiver<Pull>)>>,
}

/// How a pull stands.
#[derive(Clone, Debug, Default)]
struct Pull {
    came: Came,
    ended: Option<Result<(), Error>>,
}

/// What has come of an image: bytes of each layer, and of how many.
#[derive(Clone, Debug, Default)]
struct Came {
    layers: HashMap<String, (i64, i64)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pulls {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, under_way: Arc::default(), services: Mutex::default() }
    }

    /// Pulls the image of a digest, which a service calls `name`.
    pub(crate) async fn fetch(
        &self,
        docker: &Docker,
        key: &ServiceKey,
        name: &str,
        digest: &Digest,
    ) -> Result<(), Error> {
        let mut pull = self.join(docker, digest);
        lock(&self.services).insert(key.clone(), (name.to_owned(), pull.clone()));
        let ended = pull.wait_for(|pull| pull.ended.is_some()).await.ok().and_then(|pull| pull.ended.clone());
        ended.unwrap_or_else(|| Err(Error::later(format!("pull {name}"), "it was given up").hint("try again")))
    }

    /// What a service waits for, in words, while it does not end.
    pub(crate) fn of(&self, key: &ServiceKey) -> Option<String> {
        let services = lock(&self.services);
        let (name, pull) = services.get(key)?;
        let (pull, goes_on) = (pull.borrow(), pull.has_changed().is_ok());
        (pull.ended.is_none() && goes_on).then(|| format!("pulling {name}{}", pull.came))
    }

    fn join(&self, docker: &Docker, digest: &Digest) -> watch::Receiver<Pull> {
        let mut under_way = lock(&self.under_way);
        if let Some(pull) = under_way.get(digest).filter(|pull| pull.has_changed().is_ok()) {
            return pull.clone();
        }
        let (sender, pull) = watch::channel(Pull::default());
        under_way.insert(digest.clone(), pull.clone());
        let (docker, digest, patience) = (docker.clone(), digest.clone(), self.patience);
        let all = Arc::clone(&self.under_way);
        tokio::spawn(async move {
            let ended = run(&docker, &Reference::parse(digest.as_str()), patience, &sender).await;
            lock(&all).remove(&digest);
            sender.send_modify(|pull| pull.ended = Some(ended));
        });
        pull
    }
}

async fn run(
    docker: &Docker,
    reference: &Reference,
    patience: Duration,
    told: &watch::Sender<Pull>,
) -> Result<(), Error> {
    let tried = format!("pull {}", reference.repository);
    let digest = reference.digest.clone().unwrap_or_default();
    let options = CreateImageOptionsBuilder::new().from_image(&reference.repository).tag(&digest).build();
    let credentials = credentials(reference).await?;
    let mut progress = std::pin::pin!(docker.create_image(Some(options), None, credentials));
    let mut last = Instant::now();
    loop {
        match tokio::time::timeout_at(last + patience, progress.next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(info))) => {
                if let Some(message) = info.error_detail.as_ref().and_then(|detail| detail.message.clone()) {
                    return Err(explain(Error::later(tried, message), None, reference));
                }
                // That the engine tries again by itself is no sign that anything comes.
                if !info.status.as_deref().is_some_and(|status| status.starts_with("Retrying")) {
                    last = Instant::now();
                }
                told.send_modify(|pull| pull.came.note(info));
            }
            Ok(Some(Err(error))) => return Err(explain(failed(tried, &error), status(&error), reference)),
            Err(_) => {
                let happened = format!("nothing came for {} s{}", patience.as_secs(), told.borrow().came);
                return Err(Error::later(tried, happened).hint(
                    "see that the registry is well and that the engine reaches it: `docker pull` there shows the same; then try again",
                ));
            }
        }
    }
}

impl Came {
    fn note(&mut self, info: CreateImageInfo) {
        let (Some(layer), Some(status)) = (info.id, info.status) else { return };
        let detail = info.progress_detail.unwrap_or_default();
        match (status.as_str(), detail.current, detail.total) {
            ("Downloading", Some(came), Some(all)) if all > 0 => {
                self.layers.insert(layer, (came.min(all), all));
            }
            ("Downloading", _, _) => {}
            // What is checked or unpacked has come.
            _ => {
                if let Some((came, all)) = self.layers.get_mut(&layer) {
                    *came = *all;
                }
            }
        }
    }
}

/// `: 12 of 80 MB`; nothing before the first byte.
impl Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (came, all) = self.layers.values().fold((0, 0), |(came, all), layer| (came + layer.0, all + layer.1));
        let tenths = |bytes: i64| (bytes / 1_000_000, bytes % 1_000_000 / 100_000);
        match (tenths(came), tenths(all)) {
            _ if all == 0 => Ok(()),
            ((came, part), (all @ 0..10, rest)) => write!(f, ": {came}.{part} of {all}.{rest} MB"),
            ((came, _), (all, _)) => write!(f, ": {came} of {all} MB"),
        }
    }
}
