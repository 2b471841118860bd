//! The judge's promises in short; `benches/judge promises` draws ten thousand rollouts.

use davy_simulation::schedule::Schedule;

/// The judge's part of α is 0.7 %: of 486 healthy rollouts more than 11 have a chance below one in a thousand.
#[test]
fn healthy_canaries_are_rarely_rolled_back_whatever_the_traffic_and_the_looks() {
    let back: Vec<u64> = (0..486)
        .filter(|number| Schedule::healthy(*number).is_rolled_back(number + 1).expect("a valid policy"))
        .collect();
    assert!(back.len() <= 11, "rolled back: {back:?}");
}
