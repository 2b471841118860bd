//! Commands that others overtake on the way to their turn.

use crate::{
    reach::{Reach, World},
    story::{deploy, key, steps},
};
use davy_core::{
    Actor, RolloutId, ServiceKey,
    rollout::{Event, Outcome},
};
use davy_engine::{Action, Engine, EngineError, Live, Still};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// A service that serves, and the engine that looks after it.
struct Story {
    world: Arc<World>,
    engine: Arc<Engine>,
    key: ServiceKey,
    _reports: tempfile::TempDir,
}

impl Story {
    async fn new() -> Self {
        let (world, reports) = (World::new(7), tempfile::tempdir().expect("a folder"));
        let engine = Engine::start(Reach::new(&world).ports(reports.path())).await.expect("an empty journal");
        let story = Self { world, engine: Arc::new(engine), key: key("logo"), _reports: reports };
        story.deploy(0).await;
        story.until(|live| live.state.rollout.is_none() && live.state.stable.is_some()).await;
        story
    }

    async fn deploy(&self, number: u32) -> RolloutId {
        self.engine.deploy(deploy(&self.key, number, 0, steps())).await.expect("it is taken").rollout
    }

    fn live(&self) -> Live {
        self.engine.service(&self.key).expect("it is known")
    }

    fn word(&self) -> &'static str {
        self.live().state.rollout.as_ref().map_or("none", |rollout| rollout.word())
    }

    /// In virtual time, which goes by only while nothing else is to be done.
    async fn until(&self, is: impl Fn(&Live) -> bool) {
        for _ in 0..600_000 {
            if is(&self.live()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("never so: {:?}", self.live().state);
    }

    fn is_written(&self, is: impl Fn(&Event) -> bool) -> bool {
        self.world.journal.records().iter().any(|record| is(&record.entry.event))
    }

    async fn until_written(&self, is: impl Fn(&Event) -> bool) {
        self.until(|_| self.is_written(&is)).await;
    }

    fn act(&self, rollout: &RolloutId, action: Action, still: Option<Still>) -> JoinHandle<Result<(), EngineError>> {
        let (engine, rollout) = (self.engine.clone(), rollout.clone());
        tokio::spawn(async move { engine.act(&rollout, action, Actor::new("mira"), still).await })
    }
}

/// As it was when somebody looked.
fn as_seen(word: &'static str) -> Option<Still> {
    Some(Arc::new(move |live: &Live| live.state.rollout.as_ref().is_some_and(|rollout| rollout.word() == word)))
}

#[tokio::test(start_paused = true)]
async fn what_was_decided_on_is_compared_when_the_turn_comes() {
    for late in [Action::Promote, Action::Abort] {
        let story = Story::new().await;
        let rollout = story.deploy(1).await;
        story.until(|_| story.word() == "holding").await;
        let answering = story.world.answering.lock().await;
        let first = story.act(&rollout, Action::Pause, as_seen("holding"));
        story.until_written(|event| matches!(event, Event::Paused { .. })).await;
        // Nobody can see the pause yet: whoever decides now decides on what was before it.
        assert_eq!(story.word(), "holding");
        let second = story.act(&rollout, late, as_seen("holding"));
        tokio::task::yield_now().await;
        drop(answering);
        first.await.expect("it ends").expect("it was so");
        let second = second.await.expect("it ends");
        assert!(matches!(second, Err(EngineError::Changed)), "{late:?}: {second:?}");
        assert_eq!(story.word(), "paused", "nothing was done");
        // Who has seen the pause is heard.
        story.act(&rollout, late, as_seen("paused")).await.expect("it ends").expect("it is so");
        story.engine.stop();
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_is_not_taken_back_or_away_by_who_saw_another() {
    let story = Story::new().await;
    story.deploy(1).await;
    story.until(|_| story.word() == "holding").await;
    let (engine, key, mira) = (&story.engine, &story.key, Actor::new("mira"));
    let back = engine.rollback(key, None, mira.clone(), as_seen("baking")).await;
    assert!(matches!(back, Err(EngineError::Changed)), "{back:?}");
    let gone = engine.remove(key, mira.clone(), as_seen("baking")).await;
    assert!(matches!(gone, Err(EngineError::Changed)), "{gone:?}");
    assert_eq!(story.word(), "holding");
    engine.rollback(key, None, mira, as_seen("holding")).await.expect("it is so");
    story.until_written(|event| matches!(event, Event::RolloutFinished { outcome: Outcome::RolledBack, .. })).await;
    engine.stop();
}

#[tokio::test(start_paused = true)]
async fn one_that_is_over_and_the_one_that_has_begun_after_it_are_not_taken_for_each_other() {
    let story = Story::new().await;
    let old = story.deploy(1).await;
    story.until(|_| story.word() == "holding").await;
    let new = story.deploy(2).await;
    // What is written and not answered is looked for after a while: the old one ends all the same, and is not seen to at once.
    let answering = story.world.answering.lock().await;
    story.until_written(|event| matches!(event, Event::RolloutFinished { rollout, .. } if *rollout == old)).await;
    assert_eq!(story.live().state.rollout_id(), Some(&old), "its end is not seen yet");
    let abort = story.act(&old, Action::Abort, None);
    let pause = story.act(&new, Action::Pause, None);
    tokio::task::yield_now().await;
    drop(answering);
    let abort = abort.await.expect("it ends");
    assert!(matches!(&abort, Err(EngineError::Over(over)) if *over == old), "{abort:?}");
    story.until(|live| live.state.rollout_id() == Some(&new)).await;
    assert_eq!(story.live().state.rollout.as_ref().map(|rollout| rollout.ending.is_some()), Some(false));
    pause.await.expect("it ends").expect("it is under way");
    assert_eq!(story.word(), "paused");
    story.engine.stop();
}
