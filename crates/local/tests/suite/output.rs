//! What instances write, told from the end, and on.

use crate::house::{House, PATIENCE, get};
use davy_core::{Instance, Millis};
use davy_ports::{LogLine, LogQuery, LogSource, Platform};
use futures_util::StreamExt;
use std::time::Duration;

impl House {
    fn query(&self, tail: usize, follow: bool) -> LogQuery {
        LogQuery { key: self.key.clone(), release: None, tail, follow }
    }

    async fn tail(&self, tail: usize) -> Vec<LogLine> {
        let lines = self.platform.logs(&self.query(tail, false)).await.expect("logs");
        lines.map(|line| line.expect("a line")).collect().await
    }

    /// Output is read by the shim a moment after it is written.
    async fn tail_until(&self, tail: usize, what: &str) -> Vec<LogLine> {
        for _ in 0..PATIENCE.as_millis() / 20 {
            let lines = self.tail(tail).await;
            if lines.iter().any(|line| line.line == what) {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("`{what}` was never told");
    }
}

fn asks(instance: &Instance, paths: &[&str]) {
    for path in paths {
        get(instance, path);
    }
}

#[tokio::test]
async fn the_last_lines_come_first_with_their_origin() {
    let house = House::new();
    let mut workload = house.service();
    workload.health.path = None;
    let (release, instance) = house.run(workload).await;
    asks(&instance, &["/1", "/2", "/3", "/crash"]);
    house.until("back", |i| i.restarts == 1 && i.health.is_healthy()).await;
    let lines = house.tail_until(100, "told to crash").await;
    let crash = lines.iter().find(|line| line.line == "told to crash").expect("its last words");
    assert_eq!((crash.source, &crash.release, &crash.instance), (LogSource::Stderr, &release.id, &instance.id));
    assert!(lines.iter().any(|line| line.line == "asked /2" && line.source == LogSource::Stdout));
    assert!(lines.is_sorted_by_key(|line| line.at));
    assert_eq!(house.tail(2).await.len(), 2);
    assert_eq!(house.tail(0).await.len(), 0);
}

#[tokio::test]
async fn following_goes_on_over_rotation_and_ends_when_nobody_listens() {
    let house = House::new();
    // A line of a kilobyte 11,000 times is more than one file may hold; then it serves.
    let line = "x".repeat(1000);
    let script =
        format!("i=0; while [ $i -lt 11000 ]; do echo ${{i}}{line}; i=$((i+1)); done; echo done; exec ./service $PORT");
    let release = house.release(house.workload(&["sh", "-c", &script])).await;
    let mut lines = house.platform.logs(&house.query(100_000, true)).await.expect("logs");
    house.ensure(&release, 1).await;
    let mut next = 0;
    tokio::time::timeout(PATIENCE, async {
        while let Some(line) = lines.next().await {
            let line = line.expect("a line").line;
            if line == "done" {
                break;
            }
            assert!(
                line.starts_with(&format!("{next}x")),
                "line {next} is missing; {} came",
                line.get(..20).unwrap_or(&line)
            );
            next += 1;
        }
    })
    .await
    .expect("it goes on");
    assert_eq!(next, 11_000);
    house.remove(&release, Millis::seconds(20)).await;
}

#[tokio::test]
async fn one_that_ended_is_told_until_it_is_removed() {
    let house = House::new();
    let release = house.release(house.workload(&["./service", "fail"])).await;
    house.ensure(&release, 1).await;
    house.tail_until(100, "cannot open the moon").await;
    house.remove(&release, Millis(0)).await;
    assert!(house.tail(100).await.is_empty());
}
