//! A whole canary of containers, on an engine of its own.

use crate::{
    engine::{Engine, get},
    host::{DAVY, Host, Load, last, text},
    registry::Registry,
};
use std::{fs, process::Command};

fn write(host: &Host, image: &str, version: &str) {
    let file = format!(
        "service: logo\nimage: {image}\ncommand: /davy logo --host 0.0.0.0 --port $PORT --version {version}\nport: 8080\nstop-signal: SIGKILL\nreplicas: 2\n\
         health: {{ path: /healthz, grace: 20s, interval: 500ms }}\n\
         rollout:\n  canary: {{ steps: [50%, 100%], hold: 1s, deadline: 60s }}\n  drain: 2s\n  bake: 2s\n"
    );
    fs::write(host.folder.path().join("davy.yaml"), file).expect("a file");
}

/// An image with nothing but the sample service and the libraries that it is linked with.
pub(crate) fn sample(engine: &Engine, name: &str) {
    sample_with(engine, name, &[]);
}

/// The same with these lines of a Dockerfile.
pub(crate) fn sample_with(engine: &Engine, name: &str, lines: &[&str]) {
    let folder = tempfile::tempdir_in("/tmp").expect("a folder");
    let root = folder.path().join("root");
    fs::create_dir(&root).expect("a folder");
    fs::copy(DAVY, root.join("davy")).expect("the binary");
    let linked = Command::new("ldd").arg(DAVY).output().expect("ldd runs").stdout;
    for word in String::from_utf8_lossy(&linked).split_whitespace().filter(|word| word.starts_with('/')) {
        let place = root.join(word.trim_start_matches('/'));
        fs::create_dir_all(place.parent().expect("a folder")).expect("a folder");
        fs::copy(word, place).expect("a library");
    }
    let tar = folder.path().join("image.tar").to_str().expect("a plain path").to_owned();
    let packed = Command::new("tar").arg("-C").arg(&root).args(["-cf", &tar, "."]).status();
    assert!(packed.expect("tar runs").success());
    let changes: Vec<&str> = lines.iter().flat_map(|line| ["--change", line]).collect();
    engine.said(&[&["import"], &changes[..], &[&tar, name]].concat());
}

#[test]
fn containers_go_through_a_canary_and_nothing_is_left() {
    let engine = Engine::start();
    sample(&engine, "logo:1");
    let mut host = Host::new();
    host.environment.push(("DOCKER_HOST".to_owned(), engine.host()));
    host.start();
    write(&host, "logo:1", "v1");
    let first = host.davy(&["deploy", "--watch"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    assert_eq!(host.get(), Some((200, "v1".to_owned())));
    assert!(text(&host.davy(&["doctor"])).contains("docker    engine"), "doctor tells of the engine");
    let load = Load::start(&host.gateway);
    // The server is killed in the middle: the next one finds the containers.
    host.kill();
    host.start();
    write(&host, "logo:1", "v2");
    let second = host.davy(&["deploy", "--watch", "--json"]);
    assert_eq!(second.status.code(), Some(0), "{}", text(&second));
    assert_eq!(last(&second)["outcome"], "promoted");
    host.until("over", |status| status["state"] == "promoted");
    assert_eq!(host.get(), Some((200, "v2".to_owned())));
    assert_eq!(engine.containers().len(), 2, "the old version's containers are gone");
    write(&host, "127.0.0.1:9/absent:3", "v1");
    let absent = host.davy(&["deploy", "--watch"]);
    assert_eq!(absent.status.code(), Some(2), "{}", text(&absent));
    assert!(text(&absent).contains("127.0.0.1:9"), "{}", text(&absent));
    // The image that a build has just made, in place of the file's.
    let planned = host.davy(&["deploy", "logo", "--image", "logo:1", "--dry-run"]);
    assert!(planned.status.success() && text(&planned).contains("× `logo:1 /davy logo"), "{}", text(&planned));
    let third = host.davy(&["deploy", "logo", "--image", "logo:1", "--watch"]);
    assert_eq!(third.status.code(), Some(0), "{}", text(&third));
    assert_eq!(host.get(), Some((200, "v1".to_owned())));
    let (sent, failed) = load.stop();
    assert!(sent > 300 && failed == 0, "{failed} of {sent}");
    host.down();
    assert!(engine.containers().is_empty(), "{:?}", engine.containers());
}

#[test]
fn containers_that_run_are_adopted_after_a_restore() {
    let engine = Engine::start();
    sample(&engine, "logo:1");
    let mut host = Host::new();
    host.environment.push(("DOCKER_HOST".to_owned(), engine.host()));
    host.start();
    assert!(host.davy_reads(&["secret", "set", "DB_PASSWORD"], "correct-horse").status.success());
    write(&host, "logo:1", "v1");
    let file = host.folder.path().join("davy.yaml");
    let text_of = fs::read_to_string(&file).expect("the file") + "secrets: [DB_PASSWORD]\n";
    fs::write(&file, text_of).expect("a file");
    let first = host.davy(&["deploy", "--watch"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    let before = engine.containers();
    assert!(engine.said(&["inspect", &before[0]]).contains("DB_PASSWORD=correct-horse"));
    assert!(host.davy(&["backup", "all.davy", "--with-keys"]).status.success());
    // The folder is lost while the containers run.
    let data = host.data().to_str().expect("a plain path").to_owned();
    assert!(host.davy(&["down", "--keep-traffic", "--data", &data]).status.success());
    let gateway = crate::host::gateway_of(&host.data());
    Command::new("kill").arg(gateway.to_string()).status().expect("kill runs");
    host.ended();
    fs::remove_dir_all(&data).expect("gone");
    let restored = host.davy(&["restore", "all.davy", "--data", &data]);
    assert!(restored.status.success(), "{}", text(&restored));
    host.start();
    host.until("served again", |_| host.get() == Some((200, "v1".to_owned())));
    host.until("looked at", |_| {
        let shown = text(&host.davy(&["service", "show", "logo"]));
        shown.contains("serves the split") && shown.contains("2 of 2")
    });
    assert_eq!(engine.containers(), before, "none was ended and none was started");
    host.down();
    assert!(engine.containers().is_empty(), "{:?}", engine.containers());
}

#[test]
fn images_of_a_private_registry_are_named_by_digest_and_refusals_are_told() {
    let (engine, mut registry) = (Engine::start(), Registry::private());
    engine.image("web:1", "one", &[]);
    engine.image("web:2", "two", &[]);
    let name = format!("{}/shop/web:stable", registry.address);
    registry.push(&engine, "web:1", &name);
    let file = format!(
        "service: web\nimage: {name}\nport: 8080\nstop-signal: SIGKILL\nhealth: {{ path: /, grace: 20s, interval: 500ms }}\n\
         rollout:\n  canary: {{ steps: [50%, 100%], hold: 1s, deadline: 60s }}\n  drain: 1s\n  bake: 1s\n"
    );
    // A server whose user is not logged in, then one with another password.
    for login in [registry.folder.path().join("nobody"), registry.login("wrong")] {
        let mut host = Host::new();
        host.environment.push(("DOCKER_HOST".to_owned(), engine.host()));
        host.environment.push(("DOCKER_CONFIG".to_owned(), login.display().to_string()));
        host.start();
        fs::write(host.folder.path().join("davy.yaml"), &file).expect("a file");
        let refused = host.davy(&["deploy"]);
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
        let told = text(&refused);
        assert!(told.contains(&format!("docker login {}", registry.address)) && !told.contains("ZGF2"), "{told}");
        host.down();
    }
    let mut host = Host::new();
    host.environment.push(("DOCKER_HOST".to_owned(), engine.host()));
    host.environment.push(("DOCKER_CONFIG".to_owned(), registry.login("lamp").display().to_string()));
    host.start();
    fs::write(host.folder.path().join("davy.yaml"), &file).expect("a file");
    let first = host.davy(&["deploy", "--watch"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    // The same name again is the same release, until the registry says another digest.
    let same = host.davy(&["deploy", "--watch"]);
    assert!(text(&same).contains("serves already"), "{}", text(&same));
    registry.push(&engine, "web:2", &name);
    let second = host.davy(&["deploy", "--json"]);
    assert_eq!(second.status.code(), Some(0), "{}", text(&second));
    host.until("on its way", |status| status["state"] == "holding");
    let images = engine.said(&["ps", "--format", "{{.Label \"davy.image\"}}"]);
    let images: std::collections::BTreeSet<&str> = images.lines().collect();
    assert_eq!(images.len(), 2, "{images:?}");
    assert!(images.iter().all(|image| image.contains("/shop/web@sha256:")), "{images:?}");
    assert!(host.davy(&["rollout", "abort"]).status.success());
    host.until("over", |status| status["state"] == "aborted");
    // Without its registry, what runs goes on.
    registry.end();
    let unreachable = host.davy(&["deploy"]);
    assert_eq!(unreachable.status.code(), Some(2), "{}", text(&unreachable));
    assert!(text(&unreachable).contains("registry"), "{}", text(&unreachable));
    assert_eq!(get(host.gateway.parse().expect("an address")), "one");
    host.down();
}
