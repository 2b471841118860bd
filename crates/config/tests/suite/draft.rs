//! Files that are guessed from a Dockerfile or a Compose file.

use davy_config::{
    draft::{Compose, Dockerfile, Draft, service_name},
    parse,
};
use davy_core::{Container, Run, Workload};
use proptest::prelude::*;
use std::path::Path;

/// Every draft is a file without errors.
fn workload(draft: &Draft) -> Workload {
    let file = parse(draft.text.as_bytes()).unwrap_or_else(|errors| panic!("{errors:?}\n{}", draft.text));
    file.resolve(None, Some(&draft.service)).unwrap_or_else(|errors| panic!("{errors:?}")).workload
}

fn container(workload: &Workload) -> &Container {
    match &workload.run {
        Run::Container(container) => container,
        Run::Process(process) => panic!("a process: {process:?}"),
    }
}

fn dockerfile(text: &str) -> Draft {
    Dockerfile::read("Dockerfile", text.as_bytes(), None).unwrap_or_else(|why| panic!("{why:?}\n{text}")).draft("shop")
}

fn compose(text: &str) -> Compose {
    Compose::read("compose.yaml", text.as_bytes(), Path::new("/srv/Shop.App")).unwrap_or_else(|why| panic!("{why:?}"))
}

fn drafted(text: &str) -> Draft {
    let compose = compose(text);
    compose.draft(&compose.services()[0], None)
}

#[test]
fn the_last_stage_of_a_dockerfile_counts_with_what_it_is_built_on() {
    let draft = dockerfile(
        "# syntax=docker/dockerfile:1\nARG BASE=node:20\nfrom ${BASE} as base\nENV A=1 \\\n  # a comment\n\n  PORT=3000\n\
         FROM base AS build\nEXPOSE 1111\nRUN <<EOT\nEXPOSE 2222\nEOT\nCOPY <<-\"A\" <<B /x/\n\tEXPOSE 3333\n\tA\nEXPOSE 4444\nB\n\
         FROM BASE\nexpose ${PORT}/tcp 53/udp\nExpose 9229\nuser ${WHO:-node}\nSTOPSIGNAL 2\n\
         HEALTHCHECK --interval=5s --start-period=1m \\\n CMD curl -f http://localhost:3000/ready || exit 1\n",
    );
    let workload = workload(&draft);
    let container = container(&workload);
    assert_eq!((container.image.as_str(), container.port), ("shop", Some(3000)));
    assert_eq!((container.user.as_deref(), container.stop_signal.as_deref()), (Some("node"), Some("SIGINT")));
    let health = workload.health;
    assert_eq!((health.path.as_deref(), health.grace.0, health.interval.0), (Some("/ready"), 60_000, 5_000));
    let told: Vec<usize> = draft.notes.iter().map(|note| note.line).collect();
    assert_eq!(told, [19, 20], "the datagram port and the second port: {:?}", draft.notes);
    for guess in ["port:", "user:", "stop-signal:", "image:"] {
        let line = draft.text.lines().find(|line| line.starts_with(guess)).unwrap_or_else(|| panic!("{guess}"));
        assert!(line.contains("# guessed: "), "{line}");
    }
    assert!(draft.text.contains("# guessed: EXPOSE (Dockerfile:19)"), "{}", draft.text);
}

#[test]
fn dockerfiles_are_read_in_every_form() {
    let port = |text: &str| container(&workload(&dockerfile(text))).port;
    for (text, expected) in [
        ("FROM scratch\nARG PORT=8000\nEXPOSE $PORT\n", 8000),
        ("FROM scratch\nARG PORT=\"8000\"\nEXPOSE ${PORT:-1}\n", 8000),
        ("FROM scratch\nEXPOSE ${PORT:-8001}\n", 8001),
        ("ARG PORT=8002\nFROM scratch\nARG PORT\nEXPOSE $PORT\n", 8002),
        ("FROM scratch\r\nENV PORT 8003\r\nCMD [\"/x\"]\r\n", 8003),
        ("# escape=`\nFROM scratch\nEXPOSE `\n 8004\n", 8004),
        ("FROM scratch\nEXPOSE 8005-8010\n", 8005),
        ("FROM scratch\nRUN echo $((1 << 2)) 2>&1\nEXPOSE 8006\n", 8006),
        ("\u{feff}FROM --platform=linux/amd64 scratch\nEXPOSE 8007", 8007),
        // Nothing says it: marked, and told.
        ("FROM scratch\n", 8080),
        ("FROM scratch\nEXPOSE $NOBODY_KNOWS\n", 8080),
        ("FROM scratch\nEXPOSE 99999\n", 8080),
    ] {
        assert_eq!(port(text), Some(expected), "{text}");
    }
    let unknown = dockerfile("FROM scratch\nEXPOSE $NOBODY_KNOWS\nUSER ${UID}\nVOLUME /data\nHEALTHCHECK CMD /check\n");
    let notes: Vec<&str> = unknown.notes.iter().map(|note| note.message.as_str()).collect();
    assert!(notes.iter().any(|note| note.contains("$NOBODY_KNOWS")), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("${UID}")) && container(&workload(&unknown)).user.is_none());
    assert!(notes.iter().any(|note| note.contains("VOLUME /data")), "{notes:?}");
    assert!(
        workload(&unknown).health.path.is_none() && unknown.text.contains("HEALTHCHECK is heeded"),
        "{}",
        unknown.text
    );
    let target = "FROM scratch AS Web\nEXPOSE 1\nFROM scratch\nEXPOSE 2\n";
    let web = Dockerfile::read("Dockerfile", target.as_bytes(), Some("web")).expect("there is one").draft("shop");
    assert_eq!(container(&workload(&web)).port, Some(1));
}

#[test]
fn what_is_no_dockerfile_says_so_with_its_line() {
    for (text, line, says) in [
        ("", 1, "no FROM"),
        ("# only a comment\n", 1, "no FROM"),
        ("FROM\n", 1, "names no image"),
        ("EXPOSE 1\nFROM scratch\n", 1, "before any FROM"),
        ("FROM scratch\nservices:\n", 2, "no instruction"),
        ("FROM scratch\nRUN <<END\necho\n", 2, "<<END"),
        ("FROM scratch\n\u{0}", 2, "NUL"),
    ] {
        let why = Dockerfile::read("Dockerfile", text.as_bytes(), None).expect_err(text);
        assert!(why.line == line && why.message.contains(says) && !why.hint.is_empty(), "{text}: {why:?}");
    }
    let huge = Dockerfile::read("Dockerfile", &vec![b'#'; 2 << 20], None).expect_err("too large");
    assert!(huge.message.contains("1 MiB"), "{huge:?}");
    let stages =
        Dockerfile::read("Dockerfile", "FROM scratch\n".repeat(50_000).as_bytes(), None).expect_err("too many");
    assert!(stages.message.contains("stages"), "{stages:?}");
}

#[test]
fn a_service_of_a_compose_file_with_everything() {
    let compose = compose(include_str!("../drafts/compose.yaml"));
    let dockerfile = Dockerfile::read("Dockerfile", b"FROM scratch\nVOLUME /data\n", None).expect("a Dockerfile");
    let names: Vec<String> = compose
        .services()
        .iter()
        .map(|service| format!("{}: {}{}", service.name, service.what, if service.is_likely { ", likely" } else { "" }))
        .collect();
    let draft = compose.draft(&compose.services()[0], Some(&dockerfile));
    workload(&draft);
    let notes: Vec<String> =
        draft.notes.iter().map(|note| format!("{}:{}: {}", note.file, note.line, note.message)).collect();
    let all = format!("{}\n\n{}\n{}\n", names.join("\n"), draft.text, notes.join("\n"));
    assert!(!all.contains("hunter2"), "a secret was copied:\n{all}");
    insta::assert_snapshot!(all);
}

#[test]
fn compose_values_are_read_in_every_form() {
    let service = |rest: &str| drafted(&format!("services:\n  web:\n    image: web:1\n{rest}"));
    for (text, expected) in [
        ("    ports: [\"80:8000\"]\n", 8000),
        ("    ports: [\"127.0.0.1:80:8001/tcp\"]\n", 8001),
        ("    ports: [8002]\n", 8002),
        ("    ports: [\"53:53/udp\", \"8003-8004\"]\n", 8003),
        ("    ports: [\"${HOST_PORT}:8005\"]\n", 8005),
        ("    ports: [{ target: 8006, published: 80 }]\n", 8006),
        ("    expose: [\"8007\"]\n", 8007),
        ("    environment: [PORT=8008]\n", 8008),
        ("    environment: { PORT: \"${PORT:-8009}\" }\n", 8009),
    ] {
        let draft = service(text);
        assert_eq!(container(&workload(&draft)).port, Some(expected), "{text}\n{}", draft.text);
    }
    for (text, expected) in [
        ("    environment: [\"A=b=c\", B=]\n", vec![("A", "b=c"), ("B", "")]),
        ("    environment: { A: 1, B: true, C: \"x: y #z\" }\n", vec![("A", "1"), ("B", "true"), ("C", "x: y #z")]),
        ("    environment: { A: \"$$5\", B: \"${X:-d}${X-}\" }\n", vec![("B", "d")]),
        ("    environment:\n      A: |\n        two\n        lines\n", vec![("A", "two\nlines\n")]),
    ] {
        let draft = service(text);
        let env = workload(&draft).env;
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(env, expected, "{}", draft.text);
    }
    for (text, expected) in [
        ("    mem_limit: 512m\n    cpus: 1.5\n", (Some(1500), Some(512 << 20))),
        ("    mem_limit: 1073741824\n    cpus: \"0.25\"\n", (Some(250), Some(1 << 30))),
        ("    deploy: { resources: { limits: { memory: 1gb } } }\n", (None, Some(1 << 30))),
        ("    mem_limit: 1m\n    cpus: much\n", (None, None)),
    ] {
        let draft = service(text);
        let workload = workload(&draft);
        let container = container(&workload);
        assert_eq!((container.cpu, container.memory), expected, "{}", draft.text);
    }
    for (test, path) in [
        ("[CMD, curl, -f, \"http://localhost:80/up\"]", Some("/up")),
        ("[CMD-SHELL, \"wget -q -O- http://127.0.0.1/up || exit 1\"]", Some("/up")),
        ("curl -f http://localhost/", Some("/")),
        ("[CMD, pg_isready]", None),
        ("[NONE]", None),
    ] {
        let draft = service(&format!("    healthcheck: {{ test: {test}, interval: 1m30s }}\n"));
        assert_eq!(workload(&draft).health.path.as_deref(), path, "{}", draft.text);
        assert!(
            path.is_some() || draft.notes.iter().any(|note| note.message.contains("healthcheck")),
            "{:?}",
            draft.notes
        );
    }
    // What would be an error of the file is left out, and told.
    for (text, says) in [
        ("    deploy: { replicas: 500 }\n", "replicas"),
        ("    user: \"two words\"\n", "user"),
        ("    stop_grace_period: soon\n", "drain"),
        ("    command: sh -c \"a && b\" | tee\n", "command"),
        ("    command: [/x, --password, hunter2]\n", "secret"),
        ("    volumes: [\"~/x:/x\"]\n", "volume"),
    ] {
        let draft = service(text);
        workload(&draft);
        let told = draft.notes.iter().any(|note| note.message.contains(says));
        assert!(told && !draft.text.contains("hunter2"), "{text}: {:?}", draft.notes);
    }
}

#[test]
fn what_is_no_compose_file_says_so_with_its_line() {
    for (text, line, says) in [
        ("", 1, "empty"),
        ("# nothing\n", 1, "empty"),
        ("services:\n", 1, "no `services`"),
        ("services: {}\n", 1, "no `services`"),
        ("version: '3'\nweb: { image: a }\n", 1, "no `services`"),
        ("services:\n  web: [\n", 2, "not YAML"),
        ("services:\n\tweb: {}\n", 2, "tab"),
        ("services:\n  web: &a { x: *b }\n", 2, "alias"),
        ("services: { web: !reset {} }\n", 1, "tag"),
    ] {
        let why = Compose::read("compose.yaml", text.as_bytes(), Path::new("/srv")).expect_err(text);
        assert!(why.line == line && why.message.contains(says) && !why.hint.is_empty(), "{text}: {why:?}");
    }
    let huge = Compose::read("compose.yaml", &vec![b'#'; 2 << 20], Path::new("/srv")).expect_err("too large");
    assert!(huge.message.contains("1 MiB"), "{huge:?}");
}

#[test]
fn names_are_made_of_what_is_there() {
    for (text, name) in [("Shop_API", "shop-api"), ("42-web-", "web"), ("Läden", "l-den"), ("___", "")] {
        assert_eq!(service_name(text), name);
    }
}

proptest! {
    /// Whatever stands in a Compose file that can be read: the draft has no errors, and no secret.
    #[test]
    fn a_draft_has_no_errors(
        keys in proptest::collection::vec(
            (
                proptest::sample::select(&[
                    "image", "build", "command", "ports", "expose", "environment", "volumes", "user", "stop_signal",
                    "stop_grace_period", "deploy", "scale", "cpus", "mem_limit", "healthcheck", "restart", "depends_on",
                ][..]),
                proptest::sample::select(&[
                    "x", "''", "8080", "'80:90'", "[a, b]", "[8080]", "['a=b', c, 'T=${X:-1}']", "{a: b, PORT: 1, TOKEN: hunter2}",
                    "{test: x, interval: 1}", "{replicas: 1000}", "'${A}'", "'$$x \"y\" #: {'", "~", "\"\\e\\n\"", "-1", "30s",
                    "{resources: {limits: {cpus: '9e9', memory: 1b}}}", "['./a:/b', 'c:/d:ro', '/e', {type: bind}]", "SIGNAL X",
                ][..]),
            ),
            0..8,
        ),
        name in "[a-zA-Z0-9._-]{1,70}",
    ) {
        let mut text = format!("services:\n  '{name}':\n    x-any: 1\n");
        let mut seen = std::collections::BTreeSet::new();
        for (key, value) in keys {
            if seen.insert(key) {
                text.push_str(&format!("    {key}: {value}\n"));
            }
        }
        let draft = drafted(&text);
        workload(&draft);
        prop_assert!(!draft.text.contains("hunter2"));
    }

    #[test]
    fn a_dockerfile_never_breaks_the_draft(
        lines in proptest::collection::vec(
            proptest::sample::select(&[
                "FROM a", "FROM a AS b", "FROM b", "EXPOSE 1 2/udp $P", "ENV P=\"x", "ENV P 7", "ARG P=${P:-3}", "USER a b",
                "USER $P", "STOPSIGNAL kill", "HEALTHCHECK NONE", "HEALTHCHECK --interval=x CMD [\"curl\", \"localhost/#{\"]",
                "VOLUME [\"/a\"]", "VOLUME", "RUN x \\", "# c", "", "USER \u{7}\u{202e}", "HEALTHCHECK CMD curl localhost/\"",
            ][..]),
            0..12,
        ),
    ) {
        let text = format!("FROM scratch\n{}\n", lines.join("\n"));
        if let Ok(read) = Dockerfile::read("Dockerfile", text.as_bytes(), None) {
            workload(&read.draft("shop"));
        }
    }
}
