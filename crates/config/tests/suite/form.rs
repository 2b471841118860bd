//! The form: what stands in it, where that comes from, and the file that it makes.

use davy_config::draft::{Compose, Dockerfile, Form, KEYS, of_container};
use davy_core::{Check, Found, Millis, Place, Reach, Run, Said, Speaker};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

fn filled(pairs: &[(&str, &str)]) -> Form {
    let values = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Form::filled(values.collect()).expect("known fields")
}

fn origin(form: &Form, name: &str) -> (String, String, bool) {
    let all = form.fields();
    let (_, field) = all.iter().find(|(key, _)| key.name == name).expect("a field");
    (field.value.clone(), field.origin.clone(), field.sure)
}

/// A container with a bit of everything.
fn container() -> Found {
    Found {
        id: "c0ffee".to_owned(),
        name: "shop-web-1".to_owned(),
        engine: None,
        compose: Some(("shop".to_owned(), "Web_1".to_owned())),
        image: "shop/web:2.0".to_owned(),
        command: ["serve", "--greeting", "hello world"].map(str::to_owned).to_vec(),
        user: Some("nobody".to_owned()),
        stop_signal: None,
        ports: vec![Said { value: 9000, by: Speaker::Image }, Said { value: 8080, by: Speaker::Image }],
        check: Some(Said {
            value: Check {
                test: ["CMD-SHELL", "curl -f http://localhost:8080/healthz || exit 1"].map(str::to_owned).to_vec(),
                interval: Some(Millis::seconds(10)),
                start: Some(Millis::seconds(90)),
            },
            by: Speaker::Image,
        }),
        volumes: vec!["data:/data:ro".to_owned()],
        nameless: vec!["/cache".to_owned()],
        env: BTreeMap::from(
            [("COLOR", "blue"), ("DB_PASSWORD", "hunter2"), ("PORT", "8080"), ("HOSTNAME", "x")]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        ),
        cpu: Some(500),
        memory: Some(256 << 20),
        reach: Reach {
            ip: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            published: BTreeMap::from([(8080, ([127, 0, 0, 1], 80).into())]),
        },
    }
}

#[test]
fn a_container_fills_the_form_and_each_field_says_who_said_it() {
    let (form, notes) = of_container(&container());
    assert_eq!(
        origin(&form, "service"),
        ("web-1".to_owned(), "service `Web_1` of the Compose project `shop`".to_owned(), true)
    );
    assert_eq!(origin(&form, "image"), ("shop/web:2.0".to_owned(), "the container `shop-web-1`".to_owned(), true));
    // The published one, and there is another: a person is to look.
    assert_eq!(
        origin(&form, "port"),
        ("8080".to_owned(), "the published port of the container `shop-web-1`".to_owned(), false)
    );
    assert_eq!(
        origin(&form, "health.path"),
        ("/healthz".to_owned(), "HEALTHCHECK of the image `shop/web:2.0`".to_owned(), true)
    );
    assert_eq!(origin(&form, "health.grace").0, "1m30s");
    assert_eq!(origin(&form, "replicas"), (String::new(), "default".to_owned(), true));
    assert_eq!(origin(&form, "env").0, "COLOR=blue");
    assert_eq!((origin(&form, "secrets").0, origin(&form, "secrets").2), ("DB_PASSWORD".to_owned(), false));
    let all = format!("{form:?} {notes:?} {}", form.write().text);
    assert!(!all.contains("hunter2"), "{all}");
    for part in ["9000, too", "`/cache`", "nothing stops it", "look like secrets"] {
        assert!(notes.iter().any(|note| note.contains(part)), "{part}: {notes:#?}");
    }
    let written = form.write();
    let file = written.file.unwrap_or_else(|| panic!("{}\n{:#?}", written.text, written.errors));
    let deployment = file.resolve(None, None).expect("one environment");
    let Run::Container(run) = &deployment.workload.run else { panic!("{deployment:?}") };
    assert_eq!(run.command, ["serve", "--greeting", "hello world"]);
    assert_eq!((run.port, run.cpu, run.memory), (Some(8080), Some(500), Some(256 << 20)));
    assert_eq!(run.volumes, ["data:/data:ro"]);
    assert_eq!(deployment.workload.health.path.as_deref(), Some("/healthz"));
    assert_eq!(deployment.workload.health.grace, Millis::seconds(90));
}

#[test]
fn a_bare_container_leaves_its_fields_open_and_says_so() {
    let bare = Found {
        compose: None,
        name: "///..–".to_owned(),
        image: "sha256:0123".to_owned(),
        ports: Vec::new(),
        check: None,
        ..container()
    };
    let (form, notes) = of_container(&bare);
    assert_eq!(origin(&form, "port"), (String::new(), "nothing says it".to_owned(), false));
    assert!(!origin(&form, "image").2, "an id is no name to keep");
    assert!(notes.iter().any(|note| note.contains("exposes no port")), "{notes:#?}");
    let errors = form.write().errors;
    assert!(errors.iter().any(|(key, _)| *key == "service"), "a name that cannot be one: {errors:?}");
}

#[test]
fn every_error_is_told_at_its_field() {
    for (name, value) in [
        ("service", "Not A Name"),
        ("image", "two words"),
        ("port", "80800"),
        ("replicas", "many"),
        ("user", "no body"),
        ("volumes", "good:/data\n../bad:/x"),
        ("stop-signal", "TERM"),
        ("resources.cpu", "half"),
        ("resources.memory", "256"),
        ("health.path", "healthz"),
        ("health.grace", "60"),
        ("health.interval", "soon"),
        ("route.host", "http://x"),
        ("route.path", "shop"),
        ("env", "COLOR=blue\n1A=x"),
        ("secrets", "A\nnot one"),
        ("engine", "docker"),
        ("environment", "Prod!"),
        ("strategy", "luck"),
        ("steps", "1%, banana"),
        ("hold", "60"),
        ("deadline", "1s"),
        ("error-rate.max", "2"),
        ("latency.p99", "fast"),
        ("harm-budget", "-1"),
        ("drain", "x"),
        ("bake", "x"),
    ] {
        let mut all = vec![("platform", "docker"), ("service", "web"), ("image", "web:1"), ("hold", "60s")];
        all.retain(|(known, _)| *known != name);
        all.push((name, value));
        let written = filled(&all).write();
        assert!(!written.errors.is_empty(), "{name}: nothing is wrong with\n{}", written.text);
        let keys: Vec<&str> = written.errors.iter().map(|(key, _)| *key).collect();
        assert!(keys.iter().all(|key| *key == name), "{name}: {:#?}\n{}", written.errors, written.text);
    }
    let local = filled(&[("platform", "local"), ("service", "web"), ("command", "./web | tee")]).write();
    assert!(local.errors.iter().all(|(key, _)| *key == "command") && !local.errors.is_empty(), "{:?}", local.errors);
    assert_eq!(Form::filled(BTreeMap::from([("colour".to_owned(), String::new())])).unwrap_err().0, "colour");
}

#[test]
fn the_defaults_that_are_told_are_those_that_hold() {
    for place in [Place::Docker, Place::Local] {
        let must =
            [("platform", place.as_str()), ("service", "web"), ("image", "web:1"), ("command", "./web --port $PORT")];
        let resolved = |form: Form| form.write().file.expect("a file").resolve(None, None).expect("one environment");
        let least = resolved(filled(&must));
        for key in KEYS.iter().filter(|key| !key.default.is_empty() && key.place.is_none_or(|only| only == place)) {
            let told = resolved(filled(&[&must[..], &[(key.name, key.default)]].concat()));
            assert_eq!(told, least, "{}", key.name);
        }
    }
}

#[test]
fn what_is_guessed_from_files_keeps_its_lines() {
    let yaml = "services:\n  web:\n    image: web:${TAG:-1}\n    ports: ['80:8080']\n    environment:\n      COLOR: blue\n      API_TOKEN: s3cret\n";
    let compose = Compose::read("compose.yaml", yaml.as_bytes(), Path::new("/shop")).expect("a Compose file");
    let draft = compose.draft(&compose.services()[0], None);
    assert_eq!(
        origin(&draft.form, "image"),
        ("web:1".to_owned(), "image, the default of ${TAG:-1} (compose.yaml:3)".to_owned(), false)
    );
    assert_eq!(origin(&draft.form, "port").1, "the container's side of the first port (compose.yaml:4)");
    assert_eq!(origin(&draft.form, "env").0, "COLOR=blue");
    assert_eq!(origin(&draft.form, "secrets").0, "API_TOKEN");
    assert_eq!(origin(&draft.form, "steps"), ("1%, 5%, 25%, 50%, 100%".to_owned(), "default".to_owned(), true));
    let written = draft.form.write();
    assert!(written.errors.is_empty() && !written.text.contains("s3cret"), "{}\n{:?}", written.text, written.errors);
    let dockerfile = Dockerfile::read("Dockerfile", b"FROM x\nHEALTHCHECK CMD curl -f http://localhost/up\n", None);
    let form = dockerfile.expect("a Dockerfile").draft("web").form;
    assert_eq!((origin(&form, "port").0, origin(&form, "port").2), ("8080".to_owned(), false));
    assert_eq!(origin(&form, "health.path").1, "HEALTHCHECK (Dockerfile:2)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is written into a field stays in it: no text of one becomes another key of the file.
    #[test]
    fn a_fields_text_stays_in_its_field(values in prop::collection::vec("\\PC*|[a-z:#\\n{}&*!|>'\" -]{0,30}", KEYS.len())) {
        let pairs = KEYS.iter().zip(&values).map(|(key, value)| (key.name.to_owned(), value.clone()));
        let mut values: BTreeMap<String, String> = pairs.collect();
        values.insert("service".to_owned(), "web".to_owned());
        values.insert("platform".to_owned(), "docker".to_owned());
        values.insert("strategy".to_owned(), "canary".to_owned());
        let form = Form::filled(values).expect("known fields");
        let written = form.write();
        for (key, error) in &written.errors {
            prop_assert!(!key.is_empty(), "{error:?}\n{}", written.text);
            prop_assert!(error.message != "`image` is missing", "{}", written.text);
            prop_assert!(error.code.to_string() != "E003", "{error:?}\n{}", written.text);
        }
        if let Some(file) = written.file {
            let found = file.resolve(None, None).expect("one environment");
            prop_assert_eq!(found.key.service.as_str(), "web");
        }
    }
}
