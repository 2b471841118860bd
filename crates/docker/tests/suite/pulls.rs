//! Pulls that take long, and what of their images is kept.

use crate::{
    engine::{Engine, container, healthy, key, prepared, release, workload},
    registry::{Registry, Trickle},
};
use davy_core::{Digest, Millis, Release};
use davy_docker::{DockerPlatform, Options};
use davy_ports::{Platform, Retry};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// Waits for what a place says that it fetches.
async fn until(place: &DockerPlatform, what: &str, is: impl Fn(Option<&str>) -> bool) {
    let since = Instant::now();
    loop {
        let fetching = place.fetching(&key());
        if is(fetching.as_deref()) {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "never {what}: {fetching:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_pull_goes_on_without_its_caller_and_the_next_one_joins_it() {
    let (engine, registry) = (Engine::start(), Registry::public());
    let slow = Trickle::to(&registry);
    let name = format!("{}/shop/web:1", slow.address);
    registry.publish(&engine, &format!("{}/shop/web:1", registry.address), "one", 3_000_000, &[]);
    let place = engine.place();
    let asked = workload(container(&name));
    slow.at(800_000);
    let begun = |told: Option<&str>| {
        told.is_some_and(|told| told.starts_with(&format!("pulling {name}: ")) && told.ends_with(" MB"))
    };
    // Whoever asked goes away in the middle.
    tokio::select! {
        prepared = prepared(&place, &asked) => panic!("it came at once: {prepared:?}"),
        () = until(&place, "begun", begun) => {}
    }
    let before = place.fetching(&key());
    until(&place, "further", |told| told.is_some() && told != before.as_deref()).await;
    let digest = prepared(&place, &asked).await.expect("it comes");
    assert_eq!(place.fetching(&key()), None);
    assert_eq!(slow.layers(), 1, "it came once");
    // An order for an image that was removed: what else is asked of the service does not wait for it.
    let one = Release::new(&key(), digest, asked);
    engine.said(&["rmi", "--force", one.digest.as_str()]);
    let (order, late) = (engine.order(&one, 1), engine.next());
    let cut = tokio::time::timeout(Duration::from_secs(1), place.ensure(&order));
    assert!(cut.await.is_err(), "it takes longer");
    let service = key();
    tokio::select! {
        taken = place.ensure(&order) => panic!("it came at once: {taken:?}"),
        removed = place.remove(&service, &one.id, order.generation, Millis(0)) => removed.expect("nothing is there"),
    }
    place.ensure(&order).await.expect("it comes");
    healthy(&place, 1).await;
    assert_eq!(slow.layers(), 2, "once more");
    place.remove(&key(), &one.id, late, Millis(0)).await.expect("removed");
}

#[tokio::test]
async fn a_pull_that_stalls_is_given_up_and_told() {
    let (engine, registry) = (Engine::start(), Registry::public());
    let slow = Trickle::to(&registry);
    let name = format!("{}/shop/web:1", slow.address);
    registry.publish(&engine, &format!("{}/shop/web:1", registry.address), "one", 3_000_000, &[]);
    let options = Options { stall: Duration::from_secs(2), ..Options::at(engine.data(), Some(engine.host())) };
    let place = DockerPlatform::open(options).expect("a place");
    let asked = workload(container(&name));
    slow.at(800_000);
    let stalled = async {
        until(&place, "begun", |told| told.is_some_and(|told| told.ends_with(" MB"))).await;
        slow.at(0);
        std::future::pending::<()>().await;
    };
    let error = tokio::select! {
        prepared = prepared(&place, &asked) => prepared.expect_err("nothing comes"),
        () = stalled => unreachable!("it never ends"),
    };
    let told = error.to_string();
    assert!(told.contains(&slow.address) && told.contains("nothing came for 2 s: ") && told.ends_with(" MB"), "{told}");
    assert!(error.hint.contains("docker pull") && error.retry == Retry::Later, "{}", error.hint);
    assert_eq!(place.fetching(&key()), None);
    slow.freely();
    prepared(&place, &asked).await.expect("the next one begins anew");
}

#[tokio::test]
async fn images_that_nobody_needs_are_removed_and_no_others() {
    let (engine, registry) = (Engine::start(), Registry::public());
    let place = engine.place();
    let mut digests = Vec::new();
    for number in 1..=14 {
        let name = format!("{}/shop/web:{number}", registry.address);
        registry.publish(&engine, &name, &number.to_string(), 0, &[]);
        digests.push(release(&place, workload(container(&name))).await.digest);
    }
    let there = || -> BTreeSet<String> {
        let all = engine.said(&["images", "--digests", "--no-trunc", "--format", "{{.Repository}}@{{.Digest}}"]);
        all.lines().map(str::to_owned).collect()
    };
    let named = |digests: &[Digest]| -> BTreeSet<String> { digests.iter().map(Digest::to_string).collect() };
    assert_eq!(there(), named(&digests));
    // One more runs, the last is used by somebody else, and the first ten may serve again.
    let runs = Release::new(&key(), digests[11].clone(), workload(container("web")));
    place.ensure(&engine.order(&runs, 1)).await.expect("taken");
    engine.said(&["create", "--name", "theirs", digests[13].as_str()]);
    place.prune(&key(), &digests[..10]).await.expect("pruned");
    let mut kept = digests[..10].to_vec();
    kept.extend([digests[11].clone(), digests[13].clone()]);
    assert_eq!(there(), named(&kept));
    // What could not be removed is not forgotten, nor what ran.
    engine.said(&["rm", "theirs"]);
    place.remove(&key(), &runs.id, engine.next(), Millis(0)).await.expect("removed");
    engine.place().prune(&key(), &digests[2..10]).await.expect("pruned");
    assert_eq!(there(), named(&digests[2..10]));
}
