//! `davy init` in folders as projects have them.

use crate::host::{Host, text};
use std::fs;

const WEB: &str = "services:\n  web:\n    build: .\n    ports: [\"80:8000\"]\n    environment: { API_TOKEN: hunter2, COLOR: blue }\n    depends_on: [db]\n  db: { image: \"postgres:16\" }\n";

#[test]
fn a_file_is_guessed_from_what_the_folder_has() {
    let host = Host::new();
    let path = |name: &str| host.folder.path().join(name);
    let davy = |words: &[&str]| host.davy(words);
    let written = |words: &[&str]| {
        let output = davy(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output));
        assert!(!text(&output).contains("hunter2"), "{}", text(&output));
        let checked = davy(&["config", "check"]);
        assert!(checked.status.success(), "{words:?}: {}", text(&checked));
        let file = fs::read_to_string(path("davy.yaml")).expect("a file");
        assert!(!file.contains("hunter2"), "{file}");
        fs::remove_file(path("davy.yaml")).expect("it is there");
        (file, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // Nothing to guess from.
    assert!(written(&["init", "shop"]).0.contains("command: './shop --port $PORT'"));
    fs::write(path("Dockerfile"), "FROM scratch\nEXPOSE 8000\nHEALTHCHECK CMD curl -f localhost:8000/up\n")
        .expect("a file");
    let (file, told) = written(&["init", "shop"]);
    assert!(file.contains("port: 8000 ") && file.contains("path: /up") && told.is_empty(), "{file}\n{told}");
    assert!(written(&["init", "shop", "--command", "./x $PORT"]).0.contains("command: './x $PORT'"));
    // A Compose file that has only a database: not that is meant, unless it is named.
    fs::write(path("docker-compose.yml"), "services: { db: { image: postgres } }\n").expect("a file");
    assert!(written(&["init", "db"]).0.contains("image: postgres "));
    let none = davy(&["init", "shop"]);
    assert!(
        none.status.code() == Some(2) && text(&none).contains("there are db (postgres, a store)"),
        "{}",
        text(&none)
    );
    assert!(written(&["init", "shop", "--from", "Dockerfile"]).0.contains("service: shop"));
    // One that is built here is meant, and its Dockerfile is read; Compose's own order of names holds.
    fs::write(path("compose.yaml"), WEB).expect("a file");
    let (file, told) = written(&["init"]);
    assert!(file.contains("service: web\n") && file.contains("path: /up") && file.contains("COLOR: blue"), "{file}");
    assert!(file.contains("# API_TOKEN looks like a secret"), "{file}");
    assert!(told.starts_with("compose.yaml:1: web was taken; db stays with Compose\n"), "{told}");
    for line in ["compose.yaml:5: `API_TOKEN` looks like a secret", "compose.yaml:6: `depends_on` was left out"] {
        assert!(told.lines().any(|told| told.starts_with(line)), "{line}: {told}");
    }
    // What Compose would merge by itself is named.
    fs::write(path("compose.override.yml"), "services: { web: { environment: { DEBUG: 1 } } }\n").expect("a file");
    assert!(written(&["init"]).1.contains("compose.override.yml:1: it was not read"));
    // Two that could be meant.
    fs::write(path("compose.yaml"), format!("{WEB}  worker: {{ build: . }}\n")).expect("a file");
    let several = davy(&["init"]);
    assert_eq!(several.status.code(), Some(2), "{}", text(&several));
    assert!(text(&several).contains("web (built here, port 8000), db (postgres:16, a store), worker (built here)"));
    assert!(written(&["init", "worker"]).0.contains("service: worker\n"));
    // What is there stays, and nothing is said of a file that was not written.
    fs::write(path("davy.yaml"), "mine\n").expect("a file");
    let output = davy(&["init", "web"]);
    assert!(output.status.code() == Some(2) && text(&output).contains("--file"), "{}", text(&output));
    assert_eq!(fs::read_to_string(path("davy.yaml")).expect("a file"), "mine\n");
    let other = davy(&["init", "web", "--file", "web.yaml", "--json"]);
    let last = crate::host::last(&other);
    assert!(other.status.success() && last["type"] == "written" && last["service"] == "web", "{}", text(&other));
    // What cannot be read.
    for (name, content, says) in [
        ("bad.yaml", "services: [\n", "bad.yaml:1: this is not YAML"),
        ("empty.yaml", "", "empty.yaml:1: the file is empty"),
        ("Dockerfile.bad", "hello\n", "Dockerfile.bad:1: `HELLO` is no instruction"),
        ("none.yaml", "", "cannot read none.yaml"),
    ] {
        if name != "none.yaml" {
            fs::write(path(name), content).expect("a file");
        }
        let output = davy(&["init", "x", "--file", "x.yaml", "--from", name]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text(&output));
        assert!(text(&output).contains(says) && text(&output).contains("help: "), "{name}: {}", text(&output));
        assert!(!path("x.yaml").exists());
    }
}
