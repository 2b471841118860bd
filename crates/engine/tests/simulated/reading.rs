//! What rollouts read of the journal while they go on.

use crate::{
    reach::{Reach, World},
    story::{deploy, key, steps},
};
use davy_engine::Engine;
use std::time::Duration;

/// What each of many rollouts costs must not grow with what the others wrote: the past is known without the journal.
#[tokio::test(start_paused = true)]
async fn a_rollout_reads_only_what_is_its_own() {
    let (world, reports) = (World::new(1), tempfile::tempdir().expect("a folder"));
    let engine = Engine::start(Reach::new(&world).ports(reports.path())).await.expect("an empty journal");
    let keys: Vec<_> = (0..5).map(|number| key(&format!("s{number}"))).collect();
    for (round, fails_one_in) in [(0, 0), (1, 1_000), (2, 3)] {
        for (number, key) in (0..).zip(&keys) {
            engine.deploy(deploy(key, 3 * number + round, fails_one_in, steps())).await.expect("nothing is under way");
        }
        let over = |key| engine.service(key).is_some_and(|live| live.state.rollout.is_none());
        while !keys.iter().all(over) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    for summary in engine.history(None) {
        let report = reports.path().join(summary.rollout.as_str()).join("deployment_report.md");
        let told = if summary.promoted.is_some() { "# Promoted" } else { "# Rolled back" };
        while !std::fs::read_to_string(&report).is_ok_and(|report| report.starts_with(told)) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    assert_eq!(engine.history(None).len(), 15);
    assert!(world.journal.records().len() > 15 * 10);
    assert_eq!(world.journal.read_of_all(), 0, "events of all streams were read");
    assert_eq!(world.journal.readers_at_once(), 2, "reports take turns");
    engine.pins().await.expect("the journal is there");
    assert_eq!(
        world.journal.read_of_all(),
        world.journal.records().len(),
        "each is read once where it has to be certain"
    );
    engine.pins().await.expect("the journal is there");
    assert_eq!(world.journal.read_of_all(), world.journal.records().len(), "and not again");
    engine.stop();
}
