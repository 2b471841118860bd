//! What is deployed is what runs, whatever happens to its source.

use crate::house::{House, get};
use davy_ports::{Platform, Retry};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

#[tokio::test]
async fn the_same_content_gives_the_same_digest_and_any_change_another() {
    let house = House::new();
    let prepare =
        async || house.platform.prepare(&house.key, &house.source, &house.service()).await.expect("prepared").digest;
    let kept = || fs::read_dir(house.data().join("releases/logo")).expect("releases").count();
    let first = prepare().await;
    assert!(first.as_str().starts_with("sha256:"), "{first}");
    assert_eq!(prepare().await, first);
    assert_eq!(kept(), 1);
    let data = house.source.folder.join("data.txt");
    fs::write(&data, "two").expect("written");
    let second = prepare().await;
    assert_ne!(second, first);
    fs::set_permissions(&data, fs::Permissions::from_mode(0o600)).expect("changed");
    let third = prepare().await;
    assert_ne!(third, second, "the mode counts");
    fs::write(&data, "one").expect("written");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o644)).expect("changed");
    assert_eq!(prepare().await, first);
    assert_eq!(kept(), 3, "nothing half-copied lies about");
}

#[tokio::test]
async fn a_changed_source_and_a_spoilt_copy_do_not_reach_a_release() {
    let house = House::new();
    let (release, instance) = house.run(house.service()).await;
    fs::write(house.source.folder.join("data.txt"), "two").expect("written");
    fs::remove_file(house.source.folder.join("service")).expect("removed");
    assert_eq!(get(&instance, "/data"), "one");
    get(&instance, "/crash");
    let again = house.until("healthy again", |i| i.restarts > 0 && i.health.is_healthy()).await;
    assert_eq!(get(&again, "/data"), "one", "a restart runs what was deployed");
    get(&again, "/spoil");
    assert_eq!(get(&again, "/data"), "spoilt", "the working copy is its own");
    house.ensure(&release, 2).await;
    let other = house.until("a second one", |i| i.id != instance.id && i.health.is_healthy()).await;
    assert_eq!(get(&other, "/data"), "one", "another instance of the release has its own copy");
}

#[tokio::test]
async fn words_are_substituted_and_named_files_are_copied() {
    let house = House::new();
    fs::create_dir(house.source.folder.join("config")).expect("a folder");
    fs::write(house.source.folder.join("config/app.toml"), "x").expect("a file");
    let mut workload =
        house.workload(&["./service", "${PORT}", "--config=config/app.toml", "$COLOUR", "$UNKNOWN", "a$PORT"]);
    workload.env.insert("COLOUR".to_owned(), "blue-$PORT".to_owned());
    let (_, instance) = house.run(workload).await;
    let port = instance.address.port();
    let log = house.data().join("instances").join(instance.id.as_str());
    assert!(log.join("work/config/app.toml").exists());
    let words = format!("[\"--config=config/app.toml\", \"blue-{port}\", \"$UNKNOWN\", \"a{port}\"]");
    let output = fs::read_to_string(log.join("output.log")).expect("output");
    assert!(output.contains(&words), "{output}");
    assert!(get(&instance, "/env").contains(&format!("COLOUR=blue-{port}\n")));
}

#[tokio::test]
async fn what_cannot_run_is_refused_with_the_path_that_was_tried() {
    let house = House::new();
    let outside = house.folder.path().join("secret");
    fs::write(&outside, "x").expect("a file");
    symlink(&outside, house.source.folder.join("link")).expect("a link");
    for (command, files, says) in [
        (vec!["./nothing"], vec![], house.source.folder.join("nothing").display().to_string()),
        (vec!["davy-no-such-program"], vec![], "in PATH".to_owned()),
        (vec!["./data.txt"], vec![], "not executable".to_owned()),
        (vec![], vec![], "empty".to_owned()),
        (vec!["./service"], vec!["../secret"], "leaves the folder".to_owned()),
        (vec!["./service"], vec!["/etc/passwd"], "leaves the folder".to_owned()),
        (vec!["./service"], vec!["link"], "leads out of the folder".to_owned()),
        (vec!["./service", "link"], vec![], "leads out of the folder".to_owned()),
        (vec!["./service"], vec!["absent"], "does not exist".to_owned()),
    ] {
        let mut workload = house.workload(&command);
        let davy_core::Run::Process(process) = &mut workload.run else { unreachable!("the house runs processes") };
        process.files = files.into_iter().map(str::to_owned).collect();
        let error = house.platform.prepare(&house.key, &house.source, &workload).await.expect_err("refused");
        assert!(error.to_string().contains(&says), "{command:?}: {error}");
        assert_eq!(error.retry, Retry::Never);
        assert!(!error.hint.is_empty(), "{error} needs a hint");
    }
    assert!(!house.data().join("releases/logo").exists(), "a refusal leaves nothing");
}

#[tokio::test]
async fn the_newest_ten_releases_are_kept_and_any_that_runs_or_is_needed() {
    let house = House::new();
    let (release, _) = house.run(house.service()).await;
    fs::write(house.source.folder.join("data.txt"), "it may serve again").expect("written");
    let needed = house.release(house.service()).await;
    for content in 0..11 {
        fs::write(house.source.folder.join("data.txt"), content.to_string()).expect("written");
        house.release(house.service()).await;
    }
    house.platform.prune(&house.key, std::slice::from_ref(&needed.digest)).await.expect("pruned");
    let kept: Vec<_> = fs::read_dir(house.data().join("releases/logo")).expect("releases").flatten().collect();
    assert_eq!(kept.len(), 12);
    for digest in [release.digest, needed.digest] {
        let name = digest.as_str().trim_start_matches("sha256:").to_owned();
        assert!(kept.iter().any(|entry| entry.file_name() == name.as_str()));
    }
}
