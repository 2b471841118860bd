//! From an order to containers that serve, and back to nothing.

use crate::engine::{Engine, container, get, healthy, key, prepared, release, until, workload};
use davy_core::{Generation, Health, Millis};
use davy_ports::{LogQuery, Order, Platform, Retry};
use futures_util::StreamExt;

#[tokio::test]
async fn containers_serve_are_found_again_and_leave_nothing() {
    let mut engine = Engine::start();
    engine.image("web:1", "one", &[]);
    let place = engine.place();
    let one = release(&place, workload(container("web:1"))).await;
    assert!(one.digest.as_str().starts_with("sha256:"), "an image built here is named by its id: {}", one.digest);
    let order = engine.order(&one, 2);
    place.ensure(&order).await.expect("taken");
    let seen = healthy(&place, 2).await;
    assert_ne!(seen[0].address, seen[1].address);
    seen.iter().for_each(|instance| assert_eq!(get(instance.address), "one"));
    // The same order again, and from a server that knows nothing: nothing changes.
    place.ensure(&order).await.expect("taken");
    let other = engine.place();
    other.ensure(&engine.order(&one, 2)).await.expect("taken");
    let ids = |seen: &[davy_core::Instance]| seen.iter().map(|one| one.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&healthy(&other, 2).await), ids(&seen));
    let late = Order { generation: Generation(1), ..order };
    assert_eq!(other.ensure(&late).await.expect_err("an old order").retry, Retry::Never);
    // One that a person paused is left alone.
    let paused = engine.containers().remove(0);
    engine.said(&["pause", &paused]);
    other.ensure(&engine.order(&one, 2)).await.expect("taken");
    assert!(engine.containers().contains(&paused), "{paused} is there");
    engine.said(&["unpause", &paused]);
    assert_eq!(ids(&healthy(&other, 2).await), ids(&seen));
    // Another release beside it.
    engine.image("web:2", "two", &[]);
    let two = release(&other, workload(container("web:2"))).await;
    assert_ne!(two.id, one.id);
    other.ensure(&engine.order(&two, 1)).await.expect("taken");
    let three = healthy(&other, 3).await;
    assert_eq!(three.iter().filter(|instance| get(instance.address) == "two").count(), 1);
    other.remove(&key(), &one.id, engine.next(), Millis::seconds(1)).await.expect("removed");
    assert_eq!(healthy(&other, 1).await[0].release, two.id);
    // The engine is restarted: its containers come back by themselves.
    engine.restart();
    let again = healthy(&engine.place(), 1).await;
    assert_eq!((again[0].release.clone(), get(again[0].address)), (two.id.clone(), "two".to_owned()));
    // A container that a person stopped is replaced by the next order.
    let name = engine.containers().remove(0);
    engine.said(&["stop", "--time", "1", &name]);
    let place = engine.place();
    until(&place, "ended", |seen| matches!(seen[0].health, Health::Ended { .. })).await;
    place.ensure(&engine.order(&two, 1)).await.expect("taken");
    assert_ne!(healthy(&place, 1).await[0].id, again[0].id);
    place.stop_all(Millis::seconds(1)).await.expect("stopped");
    assert!(engine.containers().is_empty());
    assert!(!engine.said(&["network", "ls"]).contains("davy-"), "its network is gone");
}

#[tokio::test]
async fn the_file_s_settings_reach_the_container() {
    let engine = Engine::start();
    engine.image("web:1", "one", &["EXPOSE 8080"]);
    let place = engine.place();
    let mut asked = container("web:1");
    asked.command = ["/bin/sh", "-c", "echo to-stdout $COLOR; echo to-stderr >&2; exec httpd -f -p $PORT -h /www"]
        .map(str::to_owned)
        .to_vec();
    asked.port = None;
    asked.user = Some("1000:1000".to_owned());
    asked.volumes = vec!["web-cache:/cache".to_owned()];
    asked.stop_signal = Some("SIGINT".to_owned());
    (asked.cpu, asked.memory) = (Some(500), Some(64 * 1024 * 1024));
    let one = release(&place, workload(asked)).await;
    place.ensure(&engine.order(&one, 1)).await.expect("taken");
    let seen = healthy(&place, 1).await;
    assert_eq!(seen[0].address.port(), 8080, "the only port that the image exposes");
    let name = engine.containers().remove(0);
    let format =
        "{{.Config.User}} {{.Config.StopSignal}} {{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.Binds}}";
    let inspected = engine.said(&["inspect", "--format", format, &name]);
    assert_eq!(inspected, "1000:1000 SIGINT 500000000 67108864 [web-cache:/cache]");
    let query = LogQuery { key: key(), release: None, tail: 10, follow: false };
    let lines: Vec<_> = place.logs(&query).await.expect("lines").collect().await;
    let mut texts: Vec<String> = lines.into_iter().map(|line| line.expect("a line").line).collect();
    texts.sort();
    assert_eq!(texts, ["to-stderr", "to-stdout blue"]);
    // Whoever follows it sees what a later container writes, too.
    let query = LogQuery { follow: true, tail: 0, ..query };
    let mut followed = place.logs(&query).await.expect("lines");
    place.ensure(&engine.order(&one, 2)).await.expect("taken");
    let line = followed.next().await.expect("goes on").expect("a line");
    assert!(line.instance != seen[0].id && line.line.starts_with("to-std"), "{line:?}");
    place.stop_all(Millis::seconds(1)).await.expect("stopped");
}

#[tokio::test]
async fn health_comes_from_the_image_when_the_file_names_no_path() {
    let engine = Engine::start();
    let check =
        r"HEALTHCHECK --interval=100ms --timeout=1s --retries=1 CMD test -e /tmp-ok || { echo not yet; exit 1; }";
    engine.image("web:1", "one", &[check]);
    let place = engine.place();
    let mut asked = workload(container("web:1"));
    asked.health.path = None;
    let one = release(&place, asked).await;
    place.ensure(&engine.order(&one, 1)).await.expect("taken");
    let unhealthy = |seen: &[davy_core::Instance]| {
        seen.iter().any(|one| matches!(&one.health, Health::Unhealthy { why } if why.contains("not yet")))
    };
    until(&place, "unhealthy", unhealthy).await;
    let name = engine.containers().remove(0);
    engine.said(&["exec", &name, "/bin/sh", "-c", "echo > /tmp-ok"]);
    healthy(&place, 1).await;
    place.stop_all(Millis::seconds(1)).await.expect("stopped");
}

#[tokio::test]
async fn what_cannot_run_says_why_and_leaves_nothing() {
    let mut engine = Engine::start();
    engine.image("web:1", "one", &[]);
    let place = engine.place();
    // Dies at once: seen as ended, with its last words, and started again by the engine.
    let mut asked = container("web:1");
    asked.command = ["/bin/sh", "-c", "echo broken >&2; exit 3"].map(str::to_owned).to_vec();
    let dies = release(&place, workload(asked)).await;
    place.ensure(&engine.order(&dies, 1)).await.expect("taken");
    let ended = |seen: &[davy_core::Instance]| {
        let words = |why: &String| why.contains("exit status 3") && why.contains("broken");
        seen.iter().any(|one| one.restarts >= 2 && matches!(&one.health, Health::Ended { why } if words(why)))
    };
    until(&place, "ended", ended).await;
    place.remove(&key(), &dies.id, engine.next(), Millis::seconds(1)).await.expect("removed");
    // The same where only the one that was started again is seen.
    let mut asked = container("web:1");
    let once = "test -e /seen && exec sleep 1000; : >/seen; echo broken >&2; exit 3";
    asked.command = ["/bin/sh", "-c", once].map(str::to_owned).to_vec();
    let again = release(&place, workload(asked)).await;
    place.ensure(&engine.order(&again, 1)).await.expect("taken");
    let told = |seen: &[davy_core::Instance]| {
        seen.iter().any(|one| matches!(&one.health, Health::Starting { why } if why.contains("broken")))
    };
    until(&place, "told", told).await;
    place.remove(&key(), &again.id, engine.next(), Millis::seconds(1)).await.expect("removed");
    // A command that is not in the image.
    let mut asked = container("web:1");
    asked.command = vec!["/no-such-program".to_owned()];
    let absent = release(&place, workload(asked)).await;
    let error = place.ensure(&engine.order(&absent, 1)).await.expect_err("refused");
    assert_eq!(error.retry, Retry::Never, "{error}");
    assert!(error.to_string().contains("no such file") && error.hint.contains("command"), "{error}: {}", error.hint);
    assert!(engine.containers().is_empty(), "nothing is left");
    // No port.
    let mut asked = container("web:1");
    asked.port = None;
    let error = prepared(&place, &workload(asked)).await.expect_err("no port");
    assert!(error.to_string().contains("exposes no port") && error.hint.contains("`port`"), "{error}");
    // It ignores that it is asked to end: force, after the grace.
    let mut asked = container("web:1");
    asked.command =
        ["/bin/sh", "-c", "trap '' TERM; httpd -p 8080 -h /www; while :; do sleep 1; done"].map(str::to_owned).to_vec();
    let deaf = release(&place, workload(asked)).await;
    place.ensure(&engine.order(&deaf, 1)).await.expect("taken");
    healthy(&place, 1).await;
    place.remove(&key(), &deaf.id, engine.next(), Millis::seconds(1)).await.expect("removed");
    assert!(engine.containers().is_empty());
    // No engine: nothing is known of what is there; of a service that has left there is nothing to know.
    place.ensure(&engine.order(&deaf, 1)).await.expect("taken");
    healthy(&place, 1).await;
    engine.end();
    let error = engine.place().observe(&key()).await.expect_err("no engine");
    assert_eq!(error.retry, Retry::Later);
    assert!(error.tried.contains("reach the Docker engine") && error.hint.contains("DOCKER_HOST"), "{error}");
    engine.restart();
    place.remove(&key(), &deaf.id, engine.next(), Millis(0)).await.expect("removed");
    engine.end();
    assert_eq!(engine.place().observe(&key()).await.expect("no engine is needed"), []);
    engine.restart();
}
