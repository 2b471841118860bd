//! Instances from their start to their end, whatever dies in between.

use crate::house::{House, PATIENCE, ended_because, eventually, get, open};
use davy_core::{Generation, Health, Millis};
use davy_ports::{Platform, Retry};
use std::{fs, time::Instant};

const GRACE: Millis = Millis::seconds(20);

#[tokio::test]
async fn an_order_repeated_changes_nothing_and_a_lower_generation_is_refused() {
    let house = House::new();
    let (release, instance) = house.run(house.service()).await;
    let order = house.order(&release, 2);
    for _ in 0..3 {
        house.platform.ensure(&order).await.expect("taken");
    }
    let ids: Vec<_> = house.observe().await.into_iter().map(|instance| instance.id).collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.contains(&instance.id), "what runs is kept");
    let mut late = order.clone();
    late.generation = Generation(order.generation.0 - 1);
    late.count = 5;
    let error = house.platform.ensure(&late).await.expect_err("refused");
    assert_eq!(error.retry, Retry::Never);
    let removing = house.platform.remove(&house.key, &release.id, late.generation, GRACE).await;
    assert!(removing.is_err());
    let restarted = open(&house.data());
    assert!(restarted.ensure(&late).await.is_err(), "the fence outlives the server");
    assert_eq!(house.observe().await.len(), 2);
}

#[tokio::test]
async fn a_process_that_fails_is_started_again_on_its_port() {
    let house = House::new();
    let (_, before) = house.run(house.service()).await;
    get(&before, "/crash");
    let after = house.until("healthy again", |i| i.restarts == 1 && i.health.is_healthy()).await;
    assert_eq!((after.id, after.address), (before.id, before.address));
    assert!(after.since > before.since);
}

#[tokio::test]
async fn health_follows_the_answer() {
    let house = House::new();
    let (_, instance) = house.run(house.service()).await;
    get(&instance, "/sick");
    let sick = house.until("unhealthy", |i| matches!(i.health, Health::Unhealthy { .. })).await;
    let Health::Unhealthy { why } = sick.health else { unreachable!() };
    assert!(why.contains("503") && why.contains("/healthz"), "{why}");
    assert_eq!(sick.restarts, 0, "a sick process is not restarted");
}

#[tokio::test]
async fn one_that_never_listens_is_starting_and_says_why() {
    let house = House::new();
    let release = house.release(house.workload(&["sh", "-c", "sleep 1000"])).await;
    house.ensure(&release, 1).await;
    let instance =
        house.until("asked", |i| matches!(&i.health, Health::Starting { why } if why.contains("connect"))).await;
    assert_eq!(instance.restarts, 0);
}

#[tokio::test]
async fn one_that_dies_at_once_says_its_status_and_its_last_words() {
    let house = House::new();
    let release = house.release(house.workload(&["./service", "fail"])).await;
    house.ensure(&release, 1).await;
    let instance = house.until("ended twice", |i| i.restarts >= 1 && ended_because(i).is_some()).await;
    let why = ended_because(&instance).expect("a reason");
    assert!(why.contains("exit status 7") && why.contains("cannot open the moon"), "{why}");
    assert!(!why.contains("said on stdout"), "{why}");
    house.remove(&release, GRACE).await;
    house.assert_nothing_left();
}

#[tokio::test]
async fn one_that_was_started_again_says_why_the_one_before_ended() {
    let house = House::new();
    let once = "test -e seen && exec sleep 1000; touch seen; echo broken >&2; exit 3";
    let release = house.release(house.workload(&["sh", "-c", once])).await;
    house.ensure(&release, 1).await;
    let told = |why: &str| why.contains("connect") && why.contains("exit status 3") && why.contains("broken");
    house.until("told", |i| i.restarts == 1 && matches!(&i.health, Health::Starting { why } if told(why))).await;
}

#[tokio::test]
async fn one_that_vanished_from_path_is_told() {
    let house = House::new();
    let release = house.release(house.service()).await;
    house.ensure(&release, 1).await;
    let instance = house.until("healthy", |i| i.health.is_healthy()).await;
    fs::remove_file(house.data().join("instances").join(instance.id.as_str()).join("work/service")).expect("removed");
    get(&instance, "/crash");
    let ended = house.until("gone", |i| ended_because(i).is_some_and(|why| why.contains("cannot execute"))).await;
    assert!(ended_because(&ended).is_some_and(|why| why.contains("./service")), "{ended:?}");
}

#[tokio::test]
async fn a_server_that_crashed_finds_its_instances_by_their_sockets() {
    let house = House::new();
    let (release, before) = house.run(house.service()).await;
    // The second value knows nothing of the first; the instance belongs to neither.
    let second = open(&house.data());
    let deadline = Instant::now() + PATIENCE;
    let after = loop {
        let seen = second.observe(&house.key).await.expect("observed");
        if let Some(instance) = seen.into_iter().find(|instance| instance.health.is_healthy()) {
            break instance;
        }
        assert!(Instant::now() < deadline, "never healthy");
    };
    assert_eq!((&after.id, after.address, after.since), (&before.id, before.address, before.since));
    second.ensure(&house.order(&release, 1)).await.expect("taken");
    assert_eq!(second.observe(&house.key).await.expect("observed").len(), 1);
    second.remove(&house.key, &release.id, house.next(), GRACE).await.expect("removed");
    house.assert_nothing_left();
}

#[tokio::test]
async fn a_killed_shim_takes_its_process_with_it_and_is_replaced() {
    let house = House::new();
    let (release, before) = house.run(house.workload(&["sh", "-c", "sleep 1000 & exec ./service $PORT"])).await;
    assert_eq!(house.processes().len(), 2);
    house.kill(house.shim_of(&before));
    eventually("the service died with its shim", || get(&before, "/env").is_empty()).await;
    let gone = house.until("ended", |i| ended_because(i).is_some()).await;
    assert!(ended_because(&gone).is_some_and(|why| why.contains("shim is gone")), "{gone:?}");
    house.ensure(&release, 1).await;
    let after = house.until("replaced", |i| i.health.is_healthy()).await;
    assert_ne!(after.id, before.id);
    assert_eq!(house.observe().await.len(), 1);
    assert_eq!(house.processes().len(), 2, "the grandchild of the killed shim is gone too");
    house.remove(&release, GRACE).await;
    house.assert_nothing_left();
}

#[tokio::test]
async fn removal_leaves_nothing_not_even_what_left_its_group() {
    let house = House::new();
    let script = "sleep 1000 & setsid sleep 1000 & exec ./service $PORT";
    let (release, _) = house.run(house.workload(&["sh", "-c", script])).await;
    eventually("three processes", || house.processes().len() == 3).await;
    let other = house.release(house.service()).await;
    house.ensure(&other, 1).await;
    house.remove(&release, GRACE).await;
    let left = house.observe().await;
    assert!(left.len() == 1 && left[0].release == other.id, "{left:?}");
    house.remove(&release, GRACE).await;
    house.remove(&other, GRACE).await;
    house.assert_nothing_left();
    assert!(house.platform.leftovers().await.expect("listed").is_empty());
    house.ensure(&release, 1).await;
    house.until("healthy after a rollback", |i| i.health.is_healthy()).await;
}

#[tokio::test]
async fn one_that_ignores_the_request_to_stop_is_ended_by_force() {
    let house = House::new();
    let (release, _) = house.run(house.workload(&["sh", "-c", "trap '' TERM; exec ./service $PORT"])).await;
    let began = Instant::now();
    house.remove(&release, Millis(300)).await;
    assert!(began.elapsed() >= Millis(300).duration(), "it was given its grace");
    house.assert_nothing_left();
}

#[tokio::test]
async fn a_folder_that_vanishes_ends_its_instance() {
    let house = House::new();
    let (_, instance) = house.run(house.service()).await;
    fs::remove_dir_all(house.data().join("instances").join(instance.id.as_str())).expect("removed");
    eventually("nothing runs", || house.processes().is_empty()).await;
    eventually("no socket", || fs::read_dir(house.data().join("run")).expect("a folder").next().is_none()).await;
}

#[tokio::test]
async fn everything_is_stopped_without_a_server() {
    let house = House::new();
    let (release, _) = house.run(house.service()).await;
    house.ensure(&release, 3).await;
    let down = open(&house.data());
    let left = down.leftovers().await.expect("listed");
    assert_eq!(left.len(), 3);
    assert!(left.iter().all(|leftover| leftover.processes.len() == 2), "{left:?}");
    // As a server leaves them that is killed while it copies.
    let copy = house.data().join("releases/web/.new-1");
    fs::create_dir_all(house.data().join("instances/web-1/work")).expect("a folder");
    fs::create_dir_all(copy.join("files")).expect("a folder");
    down.stop_all(GRACE).await.expect("stopped");
    house.assert_nothing_left();
    assert!(!copy.exists(), "an unfinished copy is left");
}

#[tokio::test]
async fn an_order_under_way_starts_nothing_once_everything_is_stopped() {
    let house = House::new();
    let release = house.release(house.service()).await;
    let order = house.order(&release, 50);
    let stop = async {
        eventually("the order has begun", || house.processes().len() > 2).await;
        house.platform.stop_all(GRACE).await.expect("stopped");
    };
    let (ordered, ()) = tokio::join!(house.platform.ensure(&order), stop);
    assert!(ordered.is_err_and(|error| error.to_string().contains("being stopped")));
    house.assert_nothing_left();
}

#[tokio::test]
async fn nothing_of_the_servers_environment_reaches_a_service() {
    let house = House::new();
    let (_, instance) = house.run(house.service()).await;
    let environment = get(&instance, "/env");
    let names: Vec<&str> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    let own = ["DAVY_SERVICE", "DAVY_ENVIRONMENT", "DAVY_RELEASE", "DAVY_INSTANCE"];
    assert!(environment.contains(&format!("DAVY_RELEASE={}\n", instance.release)), "{environment}");
    assert!(own.iter().all(|name| names.contains(name)), "{names:?}");
    let allowed = [["PATH", "HOME", "LANG", "TZ"].as_slice(), &["PORT", "HOUSE"], &own].concat();
    assert!(names.contains(&"PORT") && names.contains(&"HOUSE"), "{names:?}");
    // The tests themselves run with CARGO_* and NEXTEST_* set.
    assert!(names.iter().all(|name| allowed.contains(name)), "{names:?}");
    let shim =
        fs::read(format!("/proc/{}/environ", house.shim_of(&instance).as_raw_nonzero())).expect("its environment");
    assert!(!String::from_utf8_lossy(&shim).contains("CARGO"), "the shim has none of it either");
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_named_and_nothing_is_left() {
    let house = House::new();
    let release = house.release(house.service()).await;
    fs::remove_dir_all(house.data().join("releases")).expect("removed");
    let error = house.platform.ensure(&house.order(&release, 1)).await.expect_err("refused");
    assert!(!error.hint.is_empty() && error.to_string().contains(release.id.as_str()), "{error}");
    house.assert_nothing_left();
    let blocked = house.folder.path().join("file");
    fs::write(&blocked, "").expect("a file");
    let shim = env!("CARGO_BIN_EXE_davy-local-fixture").into();
    let opened = davy_local::LocalPlatform::open(davy_local::Options { data: blocked.join("data"), shim });
    assert!(opened.err().is_some_and(|error| error.to_string().contains("file")));
}

#[tokio::test]
async fn a_shim_that_cannot_start_leaves_nothing() {
    let house = House::new();
    let release = house.release(house.service()).await;
    let shim = house.folder.path().join("no-davy");
    let platform = davy_local::LocalPlatform::open(davy_local::Options { data: house.data(), shim }).expect("a place");
    let error = platform.ensure(&house.order(&release, 1)).await.expect_err("refused");
    assert!(error.to_string().contains("no-davy"), "{error}");
    house.assert_nothing_left();
}
