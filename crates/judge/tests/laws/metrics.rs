//! Metrics of the user: streams of their own, never healthy by silence.

use davy_judge::{Blindness, Counts, Judge, Kind, Measure, Policy, Window};

fn window(epoch: u64, weight: u16, from: u64, to: u64, canary: (u64, u64), stable: (u64, u64)) -> Window {
    Window {
        epoch,
        weight,
        from_ms: from * 1_000,
        to_ms: to * 1_000,
        canary: Counts::answered(canary.0, canary.1),
        stable: Counts::answered(stable.0, stable.1),
    }
}

fn judge(metrics: u8) -> Judge {
    Judge::new(Policy { metrics, ..Policy::default() }).expect("a valid policy")
}

/// Errors proven at 10 % by `to`, and nothing of any metric.
fn proven(judge: &mut Judge, epoch: u64, weight: u16, from: u64, to: u64) {
    for second in from..to {
        let canary = u64::from(weight) / 10;
        judge.observe(&window(epoch, weight, second, second + 1, (canary, 0), (1_000 - canary, 0)));
    }
}

fn scrape(judge: &mut Judge, index: u8, epoch: u64, weight: u16, from: u64, failures: u64) {
    judge.observe_metric(index, &window(epoch, weight, from, from + 10, (100, failures), (900, 9)));
}

#[test]
fn a_metric_never_heard_of_holds_every_step() {
    let mut judge = judge(2);
    proven(&mut judge, 1, 1_000, 0, 30);
    scrape(&mut judge, 0, 1, 1_000, 0, 1);
    let verdict = judge.verdict();
    assert_eq!((verdict.kind, &verdict.evidence.unheard[..]), (Kind::Undecided, &[1][..]));
    assert!(verdict.because.contains("metric 2 has not counted a trial of the canary"), "{}", verdict.because);
    judge.observe_metric(1, &window(1, 1_000, 0, 10, (0, 0), (900, 9)));
    assert_eq!(judge.verdict().kind, Kind::Undecided, "stable's trials say nothing of the canary");
    scrape(&mut judge, 1, 1, 1_000, 10, 1);
    assert_eq!(judge.verdict().kind, Kind::Safe);
    proven(&mut judge, 2, 2_500, 30, 60);
    scrape(&mut judge, 0, 2, 2_500, 30, 1);
    assert_eq!(judge.verdict().evidence.unheard, [1], "each step hears anew");
    scrape(&mut judge, 1, 2, 2_500, 30, 1);
    assert_eq!(judge.verdict().kind, Kind::Safe);
}

#[test]
fn a_blind_metric_blinds_until_its_next_good_window() {
    let mut judge = judge(1);
    proven(&mut judge, 1, 1_000, 0, 30);
    scrape(&mut judge, 0, 1, 1_000, 0, 1);
    judge.blind_metric(0, Blindness::Source);
    let verdict = judge.verdict();
    assert_eq!(verdict.kind, Kind::Blind);
    assert!(verdict.because.contains("a source of counts of metric 1 failed"), "{}", verdict.because);
    proven(&mut judge, 1, 1_000, 30, 31);
    assert_eq!(judge.verdict().kind, Kind::Blind, "other counts show nothing of it");
    scrape(&mut judge, 0, 1, 1_000, 0, 1);
    assert_eq!(judge.verdict().kind, Kind::Blind, "nor does a duplicate");
    scrape(&mut judge, 0, 1, 1_000, 10, 101);
    assert_eq!(judge.verdict().kind, Kind::Blind, "nor nonsense");
    scrape(&mut judge, 0, 1, 1_000, 10, 1);
    assert_eq!(judge.verdict().kind, Kind::Safe);
    let evidence = judge.verdict().evidence;
    assert_eq!((evidence.duplicates, evidence.nonsense), (1, 1));
    judge.observe_metric(7, &window(1, 1_000, 30, 40, (100, 0), (900, 0)));
    assert_eq!(judge.verdict().kind, Kind::Blind, "an unknown metric is nonsense");
}

#[test]
fn a_bad_metric_rolls_back_and_is_named() {
    let mut judge = judge(2);
    proven(&mut judge, 1, 1_000, 0, 10);
    scrape(&mut judge, 0, 1, 1_000, 0, 1);
    scrape(&mut judge, 1, 1, 1_000, 0, 5);
    let amber = judge.verdict();
    assert_eq!((amber.kind, amber.evidence.suspect), (Kind::Undecided, Some(Measure::Metric(1))), "{}", amber.because);
    scrape(&mut judge, 1, 1, 1_000, 10, 30);
    let verdict = judge.verdict();
    assert_eq!((verdict.kind, &verdict.evidence.causes[..]), (Kind::Harmful, &[Measure::Metric(1)][..]));
    assert!(verdict.because.contains("in metric 2 the canary failed 35 of 200 trials"), "{}", verdict.because);
}

/// Its own clock: a new epoch drops its unfinished block, and an old epoch is late, whatever the others do.
#[test]
fn a_metric_has_epochs_of_its_own() {
    let mut judge = judge(1);
    proven(&mut judge, 2, 1_000, 0, 30);
    judge.observe_metric(0, &window(1, 500, 0, 10, (10, 10), (5, 0)));
    judge.observe_metric(0, &window(2, 1_000, 10, 20, (100, 0), (900, 0)));
    let metric = *judge.verdict().evidence.metrics.last().expect("a metric");
    assert_eq!(metric.measure, Measure::Metric(0));
    assert_eq!((metric.since.canary.n, metric.since.canary.x), (100, 0), "15 trials at 5 % were no block");
    judge.observe_metric(0, &window(1, 500, 20, 30, (100, 100), (900, 0)));
    assert_eq!(judge.verdict().evidence.late, 1);
    assert_eq!(judge.verdict().kind, Kind::Safe);
}

/// At 100 % comparisons stand still.
#[test]
fn a_metric_stands_still_at_100_percent() {
    let mut judge = judge(1);
    proven(&mut judge, 1, 1_000, 0, 30);
    scrape(&mut judge, 0, 1, 1_000, 0, 1);
    let last = |judge: &Judge| judge.verdict().evidence.metrics.last().expect("a metric").ln_e;
    let before = last(&judge);
    proven(&mut judge, 2, 10_000, 30, 40);
    judge.observe_metric(0, &window(2, 10_000, 30, 40, (1_000, 500), (0, 0)));
    let verdict = judge.verdict();
    assert_eq!((verdict.kind, verdict.evidence.limit.is_some()), (Kind::Undecided, true));
    assert_eq!(last(&judge), before);
    assert!(!verdict.evidence.amber && verdict.evidence.unheard.is_empty());
}
