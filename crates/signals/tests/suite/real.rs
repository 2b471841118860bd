//! What a real server scraped.

use crate::{
    exporter::Exporter,
    process::Server,
    server::{Readings, look},
};
use davy_ports::Of;

/// Scrapes these.
fn scraping(exporters: &[Exporter]) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let targets: Vec<String> = exporters.iter().map(|exporter| format!("\"{}\"", exporter.address)).collect();
    let file = folder.path().join("targets.json");
    std::fs::write(&file, format!("[{{\"targets\":[{}]}}]", targets.join(","))).expect("a file");
    (Server::following(&file), folder)
}

#[tokio::test]
async fn what_both_versions_count_is_read_and_restarts_are_seen_through() {
    let exporters = [Exporter::start(), Exporter::start(), Exporter::start()];
    let [canary, stable, other] = &exporters;
    canary.counts("new", 100, 7);
    stable.counts("old", 5_000, 11);
    other.counts("old", 700, 0);
    let (server, _folder) = scraping(&exporters);
    let mut readings = Readings::of(&server.url);
    let quiet = readings.until("both are scraped", |reading| reading.span.is_ok()).await.span.expect("counts");
    assert_eq!((quiet.canary.of, quiet.stable.of), (0, 0), "what was counted before is no news");
    assert!(quiet.since <= quiet.from && quiet.from < quiet.to);

    canary.counts("new", 130, 12);
    stable.counts("old", 5_200, 11);
    other.counts("old", 800, 1);
    let (mut new, mut old) = ((0, 0), (0, 0));
    readings
        .until("all of it is read", |reading| {
            if let Ok(span) = &reading.span {
                new = (new.0 + span.canary.of, new.1 + span.canary.failed);
                old = (old.0 + span.stable.of, old.1 + span.stable.failed);
            }
            (new, old) == ((30, 5), (300, 1))
        })
        .await;

    // The canary is started again: its counters begin at 0, and what it counts next is read, not what it stands at.
    canary.counts("new", 2, 0);
    let mut counted = 0;
    let mut later = false;
    readings
        .until("what it counts after its restart", |reading| {
            let Ok(span) = &reading.span else { return false };
            counted += span.canary.of;
            assert!(counted <= 40, "{counted} requests of 40");
            if !later {
                later = true;
                canary.counts("new", 42, 1);
            }
            span.canary.failed == 1
        })
        .await;
}

#[tokio::test]
async fn what_is_missing_is_nan_or_is_not_scraped_any_more_is_an_error() {
    let exporters = [Exporter::start(), Exporter::start()];
    let [canary, stable] = &exporters;
    stable.counts("old", 10, 0);
    canary.says("checkout_total{release=\"new\"} 5\n");
    let (mut server, _folder) = scraping(&exporters);
    let mut readings = Readings::of(&server.url);
    let told = readings.fails("there is no such counter").await;
    readings
        .until("only the failures are missing", |reading| {
            reading.span.as_ref().is_err_and(|error| {
                error.to_string().contains("checkout_failures_total{release=\"new\"} of the new version")
            })
        })
        .await;
    assert!(told.starts_with("read the metric checkout-failures, "), "{told}");
    // Who looks is told the same, counter by counter.
    let looked = look(&server.url).await.expect("it answers");
    let told: Vec<_> =
        looked.iter().map(|one| (one.release.as_str(), one.of, one.count.map(|count| count.value))).collect();
    let expected = [
        ("new", Of::Tries, Some(5)),
        ("new", Of::Failures, None),
        ("old", Of::Tries, Some(10)),
        ("old", Of::Failures, Some(0)),
    ];
    assert_eq!(told, expected);
    let troubles: Vec<bool> = looked.iter().map(|one| one.trouble.is_some()).collect();
    assert_eq!(troubles, [false, true, false, false], "{looked:?}");
    let missing = looked[1].trouble.as_ref().expect("it is not there");
    assert!(missing.happened.contains("there is no such counter") && missing.hint.contains("scraped"), "{missing:?}");
    canary.counts("new", 5, 0);
    readings.until("it is there", |reading| reading.span.is_ok()).await;
    canary.counts("new", 6, "NaN");
    readings.fails("stands at NaN").await;
    // Killed, it refuses the next connection.
    server.kill();
    let told = readings.fails("ask the metrics' server").await;
    assert!(told.contains("refused") || told.contains("closed") || told.contains("reset"), "{told}");
}
