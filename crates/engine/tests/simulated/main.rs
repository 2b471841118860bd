//! The engine in a simulated world: the real engine and its reconcilers, the real machine and the real judge, in virtual time, beside
//! a journal, a platform, a router and counts that do not do as they are asked. A story is a seed: it goes the same way each time.

#![expect(clippy::print_stderr, reason = "a failing story names its seed")]

mod journal;
mod laws;
mod overtaken;
mod reach;
mod reading;
mod site;
mod story;

fn stories(seeds: std::ops::Range<u64>, trouble: u32) {
    let (mut rollouts, mut faults, mut crashes) = (0, 0, 0);
    for seed in seeds {
        let end = story::told(seed, trouble);
        assert_eq!(end.broken, [""; 0], "seed {seed}, {trouble} of 1,000 calls");
        rollouts += end.rollouts;
        faults += end.faults;
        crashes += end.crashes;
    }
    eprintln!("{rollouts} rollouts, {faults} faults, {crashes} crashes");
    assert!(rollouts > 0 && crashes > 0 && (faults > 0) == (trouble > 0));
}

#[test]
fn without_faults_every_story_ends_as_it_should() {
    stories(0..15, 0);
}

#[test]
fn with_some_faults_every_story_ends_as_it_should() {
    stories(100..125, 20);
}

#[test]
fn with_many_faults_every_story_ends_as_it_should() {
    stories(200..225, 150);
}

#[test]
fn a_story_is_told_the_same_way_each_time() {
    for seed in [1, 102, 203] {
        assert_eq!(story::told(seed, 50).told, story::told(seed, 50).told, "seed {seed}");
    }
}
