//! What files without errors mean.

use crate::bad::corpus;
use davy_config::{Deployment, parse, template};
use davy_core::{
    Analysis, BlueGreen, Budget, CanaryStep, Container, Given, LatencyLimit, Match, Metric, MetricSource, Millis,
    Mirror, OnDeadline, Place, Policy, Process, Rolling, Run, Scale, Secret, SecretName, Strategy, Weight, Workload,
};
use proptest::prelude::*;

fn read(bytes: &[u8]) -> Deployment {
    parse(bytes).and_then(|file| file.resolve(None, None)).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn good(name: &str) -> Vec<u8> {
    corpus("good").into_iter().find(|(file, _)| file == name).unwrap().1
}

fn process(workload: &Workload) -> &Process {
    match &workload.run {
        Run::Process(process) => process,
        Run::Container(container) => panic!("a container: {container:?}"),
    }
}

fn steps(policy: &Policy) -> &[CanaryStep] {
    match &policy.strategy {
        Strategy::Canary(canary) => &canary.steps,
        other => panic!("not a canary: {other:?}"),
    }
}

#[test]
fn strategies_say_how_the_new_version_takes_over() {
    let of = |rollout: &str| {
        let file = format!("service: a\ncommand: ./a $PORT\nreplicas: 4\nrollout: {{ {rollout} }}");
        read(file.as_bytes()).policy
    };
    let blue_green = of("blue-green: { preview: 5s, host: New.Logo.Example.com, hold: 1s }");
    let host = Some("new.logo.example.com".to_owned());
    assert_eq!(blue_green.strategy, Strategy::BlueGreen(BlueGreen { preview: Millis(5_000), host }));
    assert_eq!(blue_green.hold, Millis(1_000));
    let rolling = of("rolling: { min-healthy: 50%, max: 125% }");
    assert_eq!(rolling.strategy, Strategy::Rolling(Rolling { min_healthy: 50, max: 125 }));
    assert_eq!(of("recreate: { hold: 1s, deadline: 2s }").strategy, Strategy::Recreate);
    assert_eq!(of("recreate:").strategy, Strategy::Recreate);
}

#[test]
fn a_step_may_say_more_than_its_weight() {
    let file = "service: a\ncommand: ./a $PORT\nreplicas: 4\nrollout:\n  canary:\n    scale: weight\n    sticky: true\n    steps:\n      \
                - { weight: 0%, scale: 1, mirror: 10%, match: { header: { X-Canary: Always }, cookie: { beta: '' }, host: c.example.com } }\n      \
                - { weight: 5%, mirror: { unsafe: true } }\n      - 50%\n      - 100%\n";
    let policy = read(file.as_bytes()).policy;
    let steps = steps(&policy);
    let header = Match::Header { name: "x-canary".to_owned(), value: Some("Always".to_owned()) };
    let cookie = Match::Cookie { name: "beta".to_owned(), value: None };
    assert_eq!(steps[0].matches, [header, cookie, Match::Host("c.example.com".to_owned())]);
    assert_eq!(steps[0].mirror, Some(Mirror { share: Weight::new(1_000).unwrap(), unsafe_methods: false }));
    assert_eq!(steps[1].mirror, Some(Mirror { share: Weight::ALL, unsafe_methods: true }));
    let counts: Vec<_> = steps.iter().map(|step| step.scale.of(4)).collect();
    assert_eq!(counts, [1, 1, 2, 4]);
    assert_eq!(steps[0].scale, Scale::Instances(1));
    assert!(matches!(&policy.strategy, Strategy::Canary(canary) if canary.sticky));
}

#[test]
fn an_image_is_enough_and_may_be_told_more() {
    let small = read(&good("image.yaml")).workload;
    let container = Container {
        image: "logo:2.0".to_owned(),
        command: Vec::new(),
        port: None,
        user: None,
        volumes: Vec::new(),
        stop_signal: None,
        cpu: None,
        memory: None,
        engine: None,
    };
    assert_eq!(small.run.place(), Place::Docker);
    assert_eq!(small.run, Run::Container(container));
    let full = read(&good("image-full.yaml")).workload;
    let container = Container {
        image: "registry.example.com:5000/shop/logo@sha256:0f".to_owned(),
        command: ["/logo", "--port", "$PORT"].map(str::to_owned).to_vec(),
        port: Some(8080),
        user: Some("1000:1000".to_owned()),
        volumes: vec!["logo-cache:/cache".to_owned(), "/srv/logo:/data:ro".to_owned()],
        stop_signal: Some("SIGQUIT".to_owned()),
        cpu: Some(500),
        memory: Some(256 * 1024 * 1024),
        engine: Some("ssh://deploy@shop-1.internal".to_owned()),
    };
    assert_eq!((full.run, full.replicas), (Run::Container(container), 3));
}

#[test]
fn secrets_are_names_and_how_they_are_given() {
    let secrets = read(&good("secrets.yaml")).workload.secrets;
    let seen: Vec<_> = secrets.iter().map(|secret| (secret.name.as_str(), secret.given)).collect();
    let wanted = [("DB_PASSWORD", Given::Variable), ("TLS_KEY", Given::File), ("API_KEY", Given::Variable)];
    assert_eq!(seen, wanted);
    assert!(secrets.iter().all(|secret| secret.pin.is_none()), "which value it is, the server says");
}

#[test]
fn a_small_file_is_enough() {
    let Deployment { key, workload, policy } = read(&good("small.yaml"));
    assert_eq!(key.to_string(), "production/logo");
    assert_eq!(workload.run.place(), Place::Local);
    assert_eq!(process(&workload).command, ["./logo", "--port", "$PORT"]);
    assert!(process(&workload).files.is_empty() && workload.env.is_empty());
    assert_eq!(workload.replicas, 1);
    assert_eq!((workload.health.path, workload.health.grace.0, workload.health.interval.0), (None, 60_000, 2_000));
    assert_eq!((workload.route.host, workload.route.path.as_str()), (None, "/"));
    assert_eq!(policy, Policy::default());
}

#[test]
fn a_full_file_says_all() {
    let file = parse(&good("full.yaml")).unwrap();
    let names: Vec<_> = file.environments().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["staging", "production"]);
    let Deployment { key, workload, policy, .. } = file.resolve(Some("staging"), Some("logo")).unwrap();
    assert_eq!(key.to_string(), "staging/logo");
    assert_eq!(
        process(&workload).command,
        ["./logo", "--port", "$PORT", "--color", "${COLOR}", "--title", "A \"good\" logo"]
    );
    assert_eq!(process(&workload).files, ["static", "conf/logo.toml"]);
    let env: Vec<_> = workload.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["COLOR=blue", "LISTEN=:$PORT", "RETRIES=3", "VERBOSE=no"]);
    assert_eq!(workload.replicas, 3);
    assert_eq!(workload.health.path.as_deref(), Some("/healthz"));
    assert_eq!((workload.health.grace, workload.health.interval), (Millis(90_000), Millis(250)));
    assert_eq!((workload.route.host.as_deref(), workload.route.path.as_str()), (Some("logo.example.com"), "/shop"));
    let points: Vec<_> = steps(&policy).iter().map(|step| step.weight.basis_points()).collect();
    assert_eq!(points, [50, 500, 2_500, 10_000]);
    assert_eq!((policy.hold, policy.deadline), (Millis(90_000), Millis(3_600_000)));
    assert_eq!((policy.drain, policy.bake), (Millis(10_000), Millis(86_400_000)));
    assert_eq!((policy.on_deadline, policy.pause_limit), (OnDeadline::Rollback, Millis(12 * 3_600_000)));
    assert_eq!((policy.analysis.alpha, policy.analysis.max_error_rate), (0.05, Some(0.02)));
    assert!(!policy.analysis.not_worse_than_stable);
    assert_eq!(policy.analysis.beta, Policy::default().analysis.beta);
}

#[test]
fn an_analysis_says_what_the_judge_may_spend_and_must_heed() {
    let analysis = read(&good("analysis.yaml")).policy.analysis;
    let expected = Analysis {
        alpha: 0.02,
        beta: 0.1,
        max_error_rate: Some(0.1),
        not_worse_than_stable: true,
        slo: Some(0.995),
        margin: Some(0.005),
        harm_budget: Some(Budget::Excess(20.0)),
        latency: Some(LatencyLimit { percentile: 99.9, most: Millis(1_500) }),
        not_slower_than: Some(1.25),
        burst: 3,
        metrics: vec![Metric {
            name: "checkout-failures".to_owned(),
            failures: "checkout_failures_total{release=\"$release\", service=\"$service\"}".to_owned(),
            of: "checkout_total{release=\"$release\", service=\"$service\"}".to_owned(),
        }],
        source: Some(MetricSource {
            prometheus: "https://prometheus.example.com/prom".to_owned(),
            token: SecretName::new("PROMETHEUS_TOKEN").ok().map(|name| Secret {
                name,
                given: Given::Variable,
                pin: None,
            }),
            interval: Millis::seconds(10),
        }),
    };
    assert_eq!(analysis, expected);
    let judge = analysis.judge();
    assert_eq!(judge.check(), Ok(()));
    assert_eq!((judge.max_slow, judge.metrics, judge.cluster), (Some(0.001), 1, 3.0));
    // 14.4 times what 99.5 % leaves is less than the limit that was given.
    assert!(judge.max_error_rate.is_some_and(|limit| (limit - 0.072).abs() < 1e-9));
    assert_eq!(analysis.slow_over(), Some(Millis(1_500)));
}

#[test]
fn a_budget_protects_without_a_word_and_latency_where_it_is_asked_for() {
    let small = read(&good("small.yaml")).policy.analysis;
    assert_eq!((small.not_slower_than, small.harm_budget), (None, Some(Budget::Excess(50.0))));
    let asked = b"service: a\ncommand: ./a $PORT\nrollout: { analysis: { latency: {} } }";
    assert_eq!(read(asked).policy.analysis.not_slower_than, Some(1.1));
    let file = parse(&good("hard-budget.yaml")).unwrap();
    assert_eq!((file.analysis().not_slower_than, file.analysis().harm_budget), (None, Some(Budget::Hard(50))));
    let [note] = file.notes() else { panic!("{:?}", file.notes()) };
    assert!(note.message.contains("less than 0.01 % at 10 requests/s") && note.line == 4, "{note:?}");
    let off = b"service: a\ncommand: ./a $PORT\nrollout: { analysis: { harm-budget: off } }";
    assert_eq!(read(off).policy.analysis.harm_budget, None);
}

#[test]
fn anchors_are_followed_and_a_program_may_read_its_port_by_itself() {
    let Deployment { workload, policy, .. } = read(&good("aliases.yaml"));
    assert_eq!(process(&workload).command, ["node", "server.js"]);
    assert!(workload.env.is_empty(), "PORT is given anyway");
    assert_eq!((policy.drain, policy.bake), (Millis(60_000), Millis(60_000)));
    assert_eq!(policy.hold, Policy::default().hold);
}

#[test]
fn blocks_of_text_are_text_tabs_and_all() {
    let Deployment { workload, .. } = read(&good("block.yaml"));
    assert_eq!(process(&workload).command, ["./logo", "--port", "$PORT", "--query", "a | b"]);
    assert_eq!(workload.env["TEXT"], "one\n\ttwo, after a tab\n");
}

#[test]
fn line_ends_and_a_byte_order_mark_change_nothing() {
    let unix = String::from_utf8(good("full.yaml")).unwrap();
    let expected = parse(unix.as_bytes()).unwrap().resolve(Some("staging"), None).unwrap();
    for other in
        [unix.replace('\n', "\r\n"), format!("\u{FEFF}{unix}"), format!("\u{FEFF}{}", unix.replace('\n', "\r\n"))]
    {
        assert_eq!(parse(other.as_bytes()).unwrap().resolve(Some("staging"), None).unwrap(), expected);
    }
}

#[test]
fn durations_and_percentages_are_exact() {
    for (text, millis) in [
        ("250ms", 250),
        ("1.5s", 1_500),
        ("60s", 60_000),
        ("1m30s", 90_000),
        ("1h0m5s", 3_605_000),
        ("0.5d", 43_200_000),
        ("365d", 31_536_000_000),
    ] {
        let file = format!("service: a\ncommand: ./a $PORT\nrollout: {{ bake: {text} }}");
        assert_eq!(read(file.as_bytes()).policy.bake, Millis(millis), "{text}");
    }
    for points in 1..10_000_u16 {
        let file = format!(
            "service: a\ncommand: ./a $PORT\nrollout: {{ canary: {{ steps: [{}.{:02}%, 100%] }} }}",
            points / 100,
            points % 100
        );
        assert_eq!(steps(&read(file.as_bytes()).policy)[0].weight.basis_points(), points);
    }
}

#[test]
fn the_examples_of_the_repository_have_no_errors() {
    let mut read_so_far = 0;
    for folder in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples")).unwrap().flatten() {
        for file in std::fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path()) {
            if file.extension().is_some_and(|extension| extension == "yaml") {
                read(&std::fs::read(file).unwrap());
                read_so_far += 1;
            }
        }
    }
    assert!(read_so_far >= 6);
}

#[test]
fn the_template_of_a_command_that_names_no_port_has_no_errors() {
    for command in ["node server.js", "./a --port $PORT", "./a '${PORT}'", "./it\\'s", "./a \"b c\""] {
        let text = template("shop", command);
        read(text.as_bytes());
        assert_eq!(text.contains("\nenv: { PORT: $PORT }"), !command.contains("PORT"), "{text}");
    }
}

proptest! {
    /// Whatever the command is made of, the file to start from gives the same words.
    #[test]
    fn the_template_has_no_errors(service in "[a-z][a-z0-9]{0,9}", word in "\\PC{1,20}|[\\x00-\\x7f\\u{85}\\u{feff}]{1,20}") {
        let quoted = format!("'{}'", word.replace(['\'', '\0', '$'], ""));
        let command = format!("./{service} --port $PORT --text {quoted}");
        let read = read(template(&service, &command).as_bytes());
        prop_assert_eq!(read.key.service.as_str(), service.as_str());
        prop_assert_eq!(process(&read.workload).command.join(" "), command.replace('\'', ""));
        prop_assert_eq!(read.policy, Policy::default());
    }
}
